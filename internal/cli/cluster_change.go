package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newClusterGrow() *cobra.Command {
	var w waitFlags
	var more int
	var named []string
	cmd := &cobra.Command{
		Use:   "grow CLUSTER",
		Short: "Add members to a cluster",
		Long:  "Add members to a cluster, of the size that the others have. They copy what the cluster holds, and count once they have all of it.",
		Example: `  huker cluster grow shop
  huker cluster grow shop --count 2`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if more < 1 || more > 8 {
				return usagef("--count %d: want 1 to 8", more)
			}
			if len(named) > 0 && cmd.Flags().Changed("count") && len(named) != more {
				return usagef("--count is %d, and there are %d names", more, len(named))
			}
			if err := w.check(); err != nil {
				return err
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			members := make([]client.NewMember, max(more, len(named)))
			for n, name := range named {
				members[n].Name = name
			}
			if k, err = c.GrowCluster(cmd.Context(), k.ID, members); err != nil {
				return err
			}
			return a.finishCluster(cmd, c, k, w)
		},
	}
	cmd.Flags().IntVar(&more, "count", 1, "how many more")
	cmd.Flags().StringSliceVar(&named, "name", nil, "name of a new member; can be repeated (default: the cluster's name and a number)")
	w.register(cmd)
	return cmd
}

func (a *app) newClusterShrink() *cobra.Command {
	var w waitFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "shrink CLUSTER MEMBER...",
		Short: "Remove members from a cluster, with their copies of the data",
		Long: `Remove members from a cluster, with their copies of the data. What is acknowledged is held by the others before they go. The primary cannot be
removed: switch over to another member first.`,
		Example:           "  huker cluster shrink shop shop-member-3",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			var doomed []client.Member
			for _, ref := range args[1:] {
				m, err := member(k, ref)
				if err != nil {
					return err
				}
				doomed = append(doomed, m)
			}
			var ids []string
			for _, m := range doomed {
				if err := a.confirm(cmd, yes, fmt.Sprintf("Remove %s (%s) from cluster %s?", printable(m.Name), m.ID, printable(k.Name))); err != nil {
					return err
				}
				ids = append(ids, m.ID)
			}
			if k, err = c.ShrinkCluster(cmd.Context(), k.ID, ids); err != nil {
				return err
			}
			return a.finishCluster(cmd, c, k, w)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	w.register(cmd)
	return cmd
}

// member finds one of a cluster by id or name; of two with one name, of which one takes the other's place, the one that stays.
func member(k client.Cluster, ref string) (client.Member, error) {
	var known []string
	var found []client.Member
	for _, m := range k.Instances {
		if m.ID == ref {
			return m, nil
		}
		if m.Name == ref {
			found = append(found, m)
		}
		known = append(known, m.Name)
	}
	slices.SortStableFunc(found, func(a, b client.Member) int { return leaving(a) - leaving(b) })
	if len(found) > 0 {
		return found[0], nil
	}
	return client.Member{}, fmt.Errorf("cluster %s has no member %q; there are %q", k.Name, ref, known)
}

func leaving(m client.Member) int {
	if m.Status == "SHUTDOWN" {
		return 1
	}
	return 0
}

func (a *app) newClusterRestart() *cobra.Command {
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "restart CLUSTER",
		Short: "Restart the database servers of a cluster, one after the other",
		Long: `Restart the database servers of a cluster: the replicas one after the other, then another one becomes the primary, and the old primary is the last.
Clients see a change of primary.`,
		Example:           "  huker cluster restart shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			if k, err = c.RestartCluster(cmd.Context(), k.ID); err != nil {
				return err
			}
			return a.finishCluster(cmd, c, k, w)
		},
	}
	w.register(cmd)
	return cmd
}

func (a *app) newClusterSwitchover() *cobra.Command {
	var w waitFlags
	var to string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "switchover CLUSTER",
		Short: "Make another member the primary, without loss",
		Long: `Make another member the primary. The old one lets nobody in any more and finishes what it has begun; the new one opens when it has all of that. If
it takes longer than --within, the old one opens again.`,
		Example: `  huker cluster switchover shop
  huker cluster switchover shop --to shop-member-2 --within 10s`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("within") && (within < time.Second || within > time.Hour) {
				return usagef("--within %s: want 1s to 1h", within)
			}
			return a.turn(cmd, args[0], to, w, "", func(c *client.Client, id, to string) (client.Cluster, error) {
				return c.Switchover(cmd.Context(), id, to, within)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "member that is to be the primary, by name or id (default: whoever fits best)")
	cmd.Flags().DurationVar(&within, "within", 0, "how long it may take before the old primary opens again (default 30s)")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeSuccessors)
	w.register(cmd)
	return cmd
}

func (a *app) newClusterFailover() *cobra.Command {
	var w waitFlags
	var to string
	var yes bool
	cmd := &cobra.Command{
		Use:   "failover CLUSTER",
		Short: "Give the primary up, and make another member the primary",
		Long: `Give the primary up, whether it answers or not, and make another member the primary. That happens by itself when a primary is lost; this is for one that
is in a way nobody has thought of. What was acknowledged is kept. Where the primary is well, use "huker cluster switchover".`,
		Example:           "  huker cluster failover shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			question := "Give up %s, the primary of cluster %s, without asking it?"
			if yes {
				question = ""
			}
			return a.turn(cmd, args[0], to, w, question, func(c *client.Client, id, to string) (client.Cluster, error) {
				return c.Failover(cmd.Context(), id, to)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "member that is to be the primary, by name or id; another one is taken if that one lacks something (default: whoever fits best)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeSuccessors)
	w.register(cmd)
	return cmd
}

// turn asks for another primary, and waits until there is one, or it has not come about. question is asked before; empty: none.
func (a *app) turn(cmd *cobra.Command, ref, to string, w waitFlags, question string, ask func(c *client.Client, id, to string) (client.Cluster, error)) error {
	if err := w.check(); err != nil {
		return err
	}
	c, k, err := a.grouped(cmd, ref)
	if err != nil {
		return err
	}
	if to != "" {
		m, err := member(k, to)
		if err != nil {
			return err
		}
		to = m.ID
	}
	if question != "" {
		if err := a.confirm(cmd, false, fmt.Sprintf(question, printable(k.MemberName(k.Primary)), printable(k.Name))); err != nil {
			return err
		}
	}
	if k, err = ask(c, k.ID, to); err != nil {
		return err
	}
	if !w.on() {
		return a.printCluster(cmd, c, k, false)
	}
	before := k.Primary
	err = a.poll(cmd, w, "cluster "+k.Name+" to have another primary", "huker cluster show "+k.ID, func(ctx context.Context) (string, bool, error) {
		now, err := c.Cluster(ctx, k.ID)
		if err != nil {
			return "", client.NotFound(err), err
		}
		k = now
		switch s := now.Switchover; {
		case s == nil || !s.Finished:
			return awaited(now), false, nil
		case s.Fault != "":
			return "", true, fmt.Errorf("the primary is %s: %s", now.MemberName(now.Primary), s.Fault)
		}
		return "", true, nil
	})
	if err != nil {
		return err
	}
	say(cmd, "The primary of cluster %s is %s; it was %s.", printable(k.Name), printable(k.MemberName(k.Primary)), printable(k.MemberName(before)))
	return a.printCluster(cmd, c, k, false)
}

func (a *app) newClusterUpdate() *cobra.Command {
	var w waitFlags
	var f promiseFlags
	var name string
	cmd := &cobra.Command{
		Use:   "update CLUSTER",
		Short: "Change what a cluster promises, or its name",
		Example: `  huker cluster update shop --policy available
  huker cluster update shop --min-acks 2 --max-lag 30s
  huker cluster update shop --name store`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			acks, lag, err := f.check(cmd)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc([]string{"policy", "min-acks", "max-lag", "name"}, cmd.Flags().Changed) {
				return usagef("give at least one of --policy, --min-acks, --max-lag and --name")
			}
			if err := w.check(); err != nil {
				return err
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			if k, err = c.UpdateCluster(cmd.Context(), k.ID, client.ClusterUpdate{Name: name, Policy: f.policy, MinAcks: acks, MaxLag: lag}); err != nil {
				return err
			}
			return a.finishCluster(cmd, c, k, w)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVar(&name, "name", "", "a new name")
	w.register(cmd)
	return cmd
}
