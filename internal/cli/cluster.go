package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newClusterCommand() *cobra.Command {
	cmd := group("cluster", "Create, look at and change clusters: a primary, and replicas that can take its place",
		a.newClusterCreate(), a.newClusterList(), a.newClusterShow(), a.newClusterDelete(), a.newClusterConnect(), a.newClusterGrow(), a.newClusterShrink(),
		a.newClusterRestart(), a.newClusterSwitchover(), a.newClusterFailover(), a.newClusterUpdate(), a.newClusterHistory(), a.newClusterEvents())
	cmd.Aliases = []string{"clusters"}
	return cmd
}

func (a *app) newClusterList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the clusters of the project, newest first",
		Example: "  huker cluster list\n  huker cluster list -o json | jq -r '.[].name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			all, err := c.Clusters(cmd.Context())
			if err != nil {
				return err
			}
			var rows [][]any
			for _, k := range all {
				rows = append(rows, []any{
					k.ID, k.Name, clusterState(k), strings.TrimSpace(k.Datastore.Type + " " + k.Datastore.Version), len(k.Instances), k.Policy,
					first(clusterPlace(k, false).address, "-"), len(k.Alarms),
				})
			}
			return a.printList(cmd, all, []string{"id", "name", "status", "datastore", "members", "policy", "read-write", "alarms"}, rows)
		},
	}
}

// clusterState is the status, and what it is busy with.
func clusterState(k client.Cluster) string {
	if k.Task.Name == "NONE" || k.Status == "BUILD" || k.Status == "SHUTDOWN" {
		return k.Status
	}
	return k.Status + " (" + k.Task.Name + ")"
}

// clusterPlace is one of a cluster's endpoints.
func clusterPlace(k client.Cluster, readOnly bool) place {
	p := place{what: "cluster", name: k.Name, status: k.Status}
	e := k.Endpoints.ReadWrite
	if readOnly {
		e = k.Endpoints.ReadOnly
	}
	if e != nil {
		p.address = e.Address
	}
	for _, m := range k.Instances { // the primary first: it has what there is for sure
		if m.ID == k.Primary {
			p.members = append([]string{m.ID}, p.members...)
		} else {
			p.members = append(p.members, m.ID)
		}
	}
	return p
}

func (a *app) newClusterConnect() *cobra.Command {
	var f connectFlags
	var readOnly bool
	cmd := &cobra.Command{
		Use:   "connect CLUSTER [-- MYSQL-OPTIONS]",
		Short: "Open a mysql shell on a cluster's primary, whoever it is, or run SQL from standard input",
		Long: `Open a mysql shell at a cluster's read-write address, where its primary answers, or with --read-only at the address where its replicas do.
When standard input is not a terminal, SQL is read from it. Everything else is as with "huker instance connect".`,
		Example: `  huker cluster connect shop --user app
  huker cluster connect shop --user app --read-only
  huker cluster connect shop --user app --password-file app.pw < schema.sql`,
		Args:              oneAndOptions("cluster"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			return a.connectTo(cmd, c, clusterPlace(k, readOnly), args[1:], f)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "where the replicas answer, for reading")
	return cmd
}

func (a *app) newClusterDelete() *cobra.Command {
	var w waitFlags
	var yes, force bool
	cmd := &cobra.Command{
		Use:               "delete CLUSTER...",
		Short:             "Delete clusters with all their members and data",
		Example:           "  huker cluster delete shop\n  huker cluster delete shop test --yes --no-wait",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeSeveralClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			c, err := a.client(cmd)
			if err != nil {
				return err
			}
			var doomed []client.Cluster
			for _, ref := range args { // all are found before the first goes
				k, err := a.cluster(cmd.Context(), c, ref)
				if err != nil {
					return err
				}
				doomed = append(doomed, k)
			}
			for _, k := range doomed {
				question := fmt.Sprintf("Delete cluster %s (%s) with its %s and all data?", printable(k.Name), k.ID, count(len(k.Instances), "member"))
				if err := a.confirm(cmd, yes, question); err != nil {
					return err
				}
			}
			for _, k := range doomed {
				remove := c.DeleteCluster
				if force {
					remove = c.ForceDeleteCluster
				}
				if err := remove(cmd.Context(), k.ID); err != nil {
					return fmt.Errorf("delete %s: %w", k.Name, err)
				}
			}
			if !w.on() {
				return nil
			}
			for _, k := range doomed {
				if err := a.clusterGone(cmd, c, k, w); err != nil {
					return err
				}
				say(cmd, "Cluster %s is deleted.", printable(k.Name))
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "give up what is under way first")
	w.register(cmd)
	return cmd
}

// count is a number of things: "1 member", "3 members".
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (a *app) newClusterEvents() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:               "events CLUSTER",
		Short:             "Show what became of a cluster, oldest first",
		Example:           "  huker cluster events shop --limit 20",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit must not be negative")
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			events, err := c.ClusterEvents(cmd.Context(), k.ID, limit)
			if err != nil {
				return err
			}
			var rows [][]any
			for _, e := range events {
				rows = append(rows, []any{stamp(e.Time), e.Kind, e.Message})
			}
			return a.printList(cmd, events, []string{"time", "event", "what happened"}, rows)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "only so many of the newest")
	return cmd
}

// clusterReady waits until a cluster serves with all its members and nothing is under way.
func (a *app) clusterReady(cmd *cobra.Command, c *client.Client, k client.Cluster, f waitFlags) (client.Cluster, error) {
	id := k.ID
	err := a.poll(cmd, f, "cluster "+k.Name+" to be ready", "huker cluster show "+id, func(ctx context.Context) (string, bool, error) {
		now, err := c.Cluster(ctx, id)
		if client.NotFound(err) {
			return "", true, fmt.Errorf("the cluster was deleted meanwhile")
		}
		if err != nil {
			return "", false, err
		}
		k = now
		switch {
		case now.Status == "ERROR":
			return "", true, clusterFailure(now)
		case now.Ready():
			return "", true, nil
		}
		if broken := slices.IndexFunc(now.Instances, func(m client.Member) bool { return m.Status == "ERROR" }); broken >= 0 && (now.Status == "BUILD" || now.Status == "RESIZE") {
			m := now.Instances[broken]
			if i, err := c.Instance(ctx, m.ID); err == nil {
				return "", true, fmt.Errorf("cluster %s is not made as it should be: %w", now.Name, failure(i))
			}
		}
		return awaited(now), false, nil
	})
	return k, err
}

func clusterFailure(k client.Cluster) error {
	why := "no reason was given"
	if k.Fault != nil {
		why = strings.TrimSpace(strings.TrimRight(k.Fault.Message, ".") + ". " + k.Fault.Details)
	}
	return fmt.Errorf("cluster %s is in %s: %s", k.Name, k.Status, why)
}

// awaited says what a cluster still lacks.
func awaited(k client.Cluster) string {
	var waiting []string
	for _, m := range k.Instances {
		if m.Status != "ACTIVE" {
			waiting = append(waiting, m.Name+" is in "+m.Status)
		}
	}
	parts := []string{fmt.Sprintf("%s: %d of %d members are ready", clusterState(k), len(k.Instances)-len(waiting), len(k.Instances))}
	parts = append(parts, waiting...)
	if k.Condition != "" {
		parts = append(parts, k.Condition)
	}
	return printable(strings.Join(parts, "; "))
}

// clusterGone waits until a cluster does not exist any more.
func (a *app) clusterGone(cmd *cobra.Command, c *client.Client, k client.Cluster, f waitFlags) error {
	return a.poll(cmd, f, "cluster "+k.Name+" to be gone", "huker cluster show "+k.ID, func(ctx context.Context) (string, bool, error) {
		now, err := c.Cluster(ctx, k.ID)
		if client.NotFound(err) {
			return "", true, nil
		}
		return fmt.Sprintf("%s: %s left", now.Status, count(len(now.Instances), "member")), false, err
	})
}

// finishCluster waits if it is wanted, and shows how the cluster is then.
func (a *app) finishCluster(cmd *cobra.Command, c *client.Client, k client.Cluster, w waitFlags) error {
	var err error
	if w.on() {
		if k, err = a.clusterReady(cmd, c, k, w); err != nil {
			return err
		}
	}
	return a.printCluster(cmd, c, k, false)
}
