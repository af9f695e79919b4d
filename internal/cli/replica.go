package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

// createReplicas makes replicas of an instance.
func (a *app) createReplicas(cmd *cobra.Command, name string, f createFlags) error {
	if f.replicaOf == "" {
		return usagef("--replica-count is for --replica-of")
	}
	for _, own := range []string{"flavor", "volume", "datastore", "version", "database", "user", "host", "password-stdin", "password-file", "ask-password"} {
		if cmd.Flags().Changed(own) {
			return usagef("a replica has what its source has: --%s cannot be given with --replica-of", own)
		}
	}
	if f.replicas < 1 || f.replicas > 3 {
		return usagef("--replica-count %d: want 1 to 3", f.replicas)
	}
	if err := f.wait.check(); err != nil {
		return err
	}
	c, source, err := a.connected(cmd, f.replicaOf)
	if err != nil {
		return err
	}
	made, err := c.CreateReplicas(cmd.Context(), client.NewReplicas{Name: name, Of: source.ID, Count: f.replicas, Access: f.access.access()})
	if err != nil {
		return err
	}
	all := []client.Instance{made}
	if f.replicas > 1 { // the answer holds the first only
		now, err := c.Instance(cmd.Context(), source.ID)
		if err != nil {
			return err
		}
		for _, r := range now.Replicas {
			if r.ID != made.ID && !slices.Contains(source.Replicas, r) {
				all = append(all, client.Instance{ID: r.ID})
			}
		}
	}
	for n := range all {
		if all[n], err = c.Instance(cmd.Context(), all[n].ID); err != nil {
			return err
		}
		if f.wait.on() {
			if all[n], err = a.ready(cmd, c, all[n], f.wait); err != nil {
				return err
			}
		}
	}
	switch {
	case len(all) == 1:
		return a.printInstance(cmd, c, all[0])
	case a.output == "json":
		return a.printJSON(cmd, all)
	}
	return a.printInstances(cmd, c, all)
}

// onReplica is a command that asks something of one instance among its replicas or sources. check is held against how it is afterwards.
func (a *app) onReplica(use, short, long, question string, ask func(c *client.Client) func(cmd *cobra.Command, id string) error,
	check func(i client.Instance) error,
) *cobra.Command {
	var w waitFlags
	var yes bool
	cmd := &cobra.Command{
		Use: use + " INSTANCE", Short: short, Long: long, Example: "  huker instance " + use + " shop-copy", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeInstances,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, i, err := a.connected(cmd, args[0])
			if err != nil {
				return err
			}
			if question != "" {
				if err := a.confirm(cmd, yes, fmt.Sprintf(question, printable(i.Name), i.ID)); err != nil {
					return err
				}
			}
			if err := ask(c)(cmd, i.ID); err != nil {
				return err
			}
			if w.on() {
				if i, err = a.ready(cmd, c, i, w); err != nil {
					return err
				}
				if err := check(i); err != nil {
					return err
				}
				return a.printInstance(cmd, c, i)
			}
			return a.finish(cmd, c, i, w)
		},
	}
	if question != "" {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	w.register(cmd)
	return cmd
}

func (a *app) newInstancePromote() *cobra.Command {
	return a.onReplica("promote", "Make a replica the primary; the primary becomes its replica", `Make a replica the primary; the primary that there was becomes its replica, and so do the others. The old
primary finishes what it has begun first, and nothing is lost. It opens again if the replica cannot take over.`, "",
		func(c *client.Client) func(*cobra.Command, string) error {
			return func(cmd *cobra.Command, id string) error { return c.Promote(cmd.Context(), id) }
		}, func(i client.Instance) error {
			if i.ReplicaOf != nil || i.Role == "replica" {
				return fmt.Errorf("it did not come about: %s is a replica as before (\"huker instance events\" of the primary may tell more)", i.Name)
			}
			return nil
		})
}

func (a *app) newInstanceDetach() *cobra.Command {
	return a.onReplica("detach", "Have a replica leave its source, with its data", `Have a replica leave its source, with its data as they are, and be an instance of its own, open for writes.`, "",
		func(c *client.Client) func(*cobra.Command, string) error {
			return func(cmd *cobra.Command, id string) error { return c.Detach(cmd.Context(), id) }
		}, func(i client.Instance) error {
			if i.ReplicaOf != nil {
				return fmt.Errorf("it did not come about: %s is a replica of %s as before", i.Name, i.ReplicaOf.ID)
			}
			return nil
		})
}

func (a *app) newInstanceEject() *cobra.Command {
	cmd := a.onReplica("eject", "Give up a primary that does not answer", `Give up a primary that does not answer, and make one of its replicas the primary. One that answers is not given up: promote a replica.`,
		"Give up the primary %s (%s)?", func(c *client.Client) func(*cobra.Command, string) error {
			return func(cmd *cobra.Command, id string) error { return c.Eject(cmd.Context(), id) }
		}, func(client.Instance) error { return nil })
	cmd.Example = "  huker instance eject shop --no-wait"
	return cmd
}
