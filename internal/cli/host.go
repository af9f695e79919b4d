package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newHostCommand() *cobra.Command {
	return group("host", "Look at and manage the machines that databases are on (for administrators)",
		a.newHostList(), a.newHostShow(), a.newHostAdd(),
		a.newHostAction("drain", "Let a host take no new databases", `Let a host take no new databases. Those that are on it stay and serve.`),
		a.newHostAction("undrain", "Let a host take new databases again", `Let a host take new databases again.`), a.newHostRemove())
}

func hostState(h client.Host) string {
	switch {
	case h.Removed:
		return "being removed"
	case h.Up && h.Drained:
		return "up, drained"
	case h.Up && h.Trouble != "":
		return "up, in trouble"
	case h.Up:
		return "up"
	case h.Since == "":
		return "expected"
	case h.Drained:
		return "down, drained"
	}
	return "down"
}

func labelList(labels map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, k+"="+labels[k])
	}
	return strings.Join(all, " ")
}

func (a *app) newHostList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the hosts with what they have and what is taken",
		Example: "  huker host list\n  huker host list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			hosts, err := c.Hosts(cmd.Context())
			if err != nil {
				return err
			}
			var rows [][]any
			for _, h := range hosts {
				rows = append(rows, []any{
					h.Name, hostState(h), h.Address, h.Subnet, h.Instances, fmt.Sprintf("%d of %d MB", h.Used.RAM, h.Capacity.RAM),
					fmt.Sprintf("%d of %d GB", h.Used.Disk, h.Capacity.Disk), fmt.Sprintf("%g for %g", h.Capacity.CPUs, h.Used.CPUs), labelList(h.Labels),
				})
			}
			return a.printList(cmd, hosts, []string{"name", "state", "address", "databases in", "databases", "memory", "disk", "cpus", "labels"}, rows)
		},
	}
}

func (a *app) newHostShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show HOST",
		Short:   "Show a host",
		Example: "  huker host show db3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			h, err := c.Host(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printHost(cmd, h)
		},
	}
}

func (a *app) printHost(cmd *cobra.Command, h client.Host) error {
	fields := []pair{
		{"name", h.Name}, {"state", hostState(h)}, {"since", h.Since}, {"address", h.Address}, {"databases in", h.Subnet},
		{"databases", h.Instances}, {"memory", fmt.Sprintf("%d of %d MB taken", h.Used.RAM, h.Capacity.RAM)},
		{"disk", fmt.Sprintf("%d of %d GB taken", h.Used.Disk, h.Capacity.Disk)},
		{"cpus", fmt.Sprintf("%g, promised %g times over", h.Capacity.CPUs, h.Used.CPUs/max(h.Capacity.CPUs, 1))},
		{"labels", labelList(h.Labels)}, {"sysmgr", h.Version}, {"container runtime", h.Engine}, {"added", h.Created},
	}
	if h.Trouble != "" {
		fields = append(fields, pair{"trouble", h.Trouble})
	}
	return a.printOne(cmd, h, fields)
}

func (a *app) newHostAdd() *cobra.Command {
	return &cobra.Command{
		Use:   "add HOST",
		Short: "Let a host come: its sysmgr may connect from then on",
		Long: `Let a host come. Give it an identity (huker pki issue host HOST …), copy that to it, and start huker-sysmgr there with --host HOST.
It is in "huker host list" as expected, and up as soon as its sysmgr has come.`,
		Example: "  huker host add db3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			h, err := c.AddHost(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printHost(cmd, h)
		},
	}
}

func (a *app) newHostRemove() *cobra.Command {
	var w waitFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "remove HOST",
		Short: "Remove a host that is gone for good",
		Long: `Remove a host that does not come back. It must be down, and no database may be on it but those that are being deleted, which then need not wait
for it. Its identity is good for nothing any more, and its subnet is given to other hosts. What is on its disk is not touched.`,
		Example: "  huker host remove db3\n  huker host remove db3 --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			h, err := c.Host(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			question := fmt.Sprintf("Remove host %s for good?", h.Name)
			if h.Instances > 0 {
				question = fmt.Sprintf("Remove host %s for good, and give up what it has of %s?", h.Name, count(h.Instances, "deleted database"))
			}
			if err := a.confirm(cmd, yes, question); err != nil {
				return err
			}
			if err := c.RemoveHost(cmd.Context(), h.Name); err != nil {
				return err
			}
			if !w.on() {
				return nil
			}
			if err := a.hostGone(cmd, c, h.Name, w); err != nil {
				return err
			}
			say(cmd, "Host %s is removed.", h.Name)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	w.register(cmd)
	return cmd
}

func (a *app) hostGone(cmd *cobra.Command, c *client.Client, name string, w waitFlags) error {
	return a.poll(cmd, w, "host "+name+" to be gone", "huker host show "+name, func(ctx context.Context) (string, bool, error) {
		now, err := c.Host(ctx, name)
		if client.NotFound(err) {
			return "", true, nil
		}
		return fmt.Sprintf("%s left on it", count(now.Instances, "database")), false, err
	})
}

func (a *app) newHostAction(action, short, long string) *cobra.Command {
	return &cobra.Command{
		Use:     action + " HOST",
		Short:   short,
		Long:    long,
		Example: "  huker host " + action + " db3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			if err := c.ActOnHost(cmd.Context(), args[0], action); err != nil {
				return err
			}
			h, err := c.Host(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printHost(cmd, h)
		},
	}
}
