package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/client"
)

func (a *app) newClusterShow() *cobra.Command {
	var f showFlags
	var readOnly, history bool
	cmd := &cobra.Command{
		Use:   "show CLUSTER",
		Short: "Show a cluster and how its members do at this moment, or a connection string for it",
		Long: `Show a cluster: where clients find it, what is wrong with it, and its members by the word of their own agents, at this moment. With
--history its changes of primary, too: what was seen, what was decided, and how long each phase took.

With --dsn a connection string for its read-write address, or with --read-only for the other: uri (MySQL Shell and others), go (go-sql-driver),
jdbc (Connector/J), or mysql (a command line). The password is PASSWORD in it, unless it is given.`,
		Example: `  huker cluster show shop
  huker cluster show shop --history
  huker cluster show shop --dsn go --user app --database shop --ca shop-ca.pem
  huker cluster show shop --dsn jdbc --user report --read-only`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.dsn == "" && readOnly {
				return usagef("--read-only is for --dsn")
			}
			if f.dsn != "" && history {
				return usagef("--history is not for --dsn")
			}
			c, k, err := a.grouped(cmd, args[0])
			if err != nil {
				return err
			}
			if done, err := a.showPlace(cmd, c, clusterPlace(k, readOnly), f); done || err != nil {
				return err
			}
			return a.printCluster(cmd, c, k, history)
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "a connection string for the address where the replicas answer")
	cmd.Flags().BoolVar(&history, "history", false, "show the changes of primary, too")
	return cmd
}

// shownCluster is a cluster for programs, with its members as they are at this moment.
type shownCluster struct {
	client.Cluster
	Members []client.LiveMember `json:"members"`
	History []client.Turn       `json:"history,omitempty"`
}

// printCluster shows one with all there is to say.
func (a *app) printCluster(cmd *cobra.Command, c *client.Client, k client.Cluster, history bool, more ...pair) error {
	members, err := c.ClusterMembers(cmd.Context(), k.ID)
	if err != nil {
		return err
	}
	var turns []client.Turn
	if history {
		if turns, err = c.ClusterHistory(cmd.Context(), k.ID, 0); err != nil {
			return err
		}
	}
	if a.output == "json" {
		return a.printJSON(cmd, shownCluster{Cluster: k, Members: members, History: turns})
	}
	var alarms []string
	for _, alarm := range k.Alarms {
		alarms = append(alarms, fmt.Sprintf("%s since %s: %s", alarm.Name, stamp(alarm.Since), alarm.Text))
	}
	pairs := []pair{
		{"id", k.ID}, {"name", k.Name}, {"status", clusterState(k)}, {"datastore", strings.TrimSpace(k.Datastore.Type + " " + k.Datastore.Version)},
		{"policy", fmt.Sprintf("%s, %s", k.Policy, acknowledged(k))}, {"max lag", seconds(k.MaxLag)}, {"locality", k.Locality},
		{"read-write", endpoint(k.Endpoints.ReadWrite)}, {"read-only", endpoint(k.Endpoints.ReadOnly)}, {"epoch", unlessZero(k.Epoch)},
		{"condition", k.Condition}, {"alarms", strings.Join(alarms, "\n")}, {"switchover", switchover(k)}, {"project", k.Project},
		{"created", stamp(k.Created)}, {"updated", stamp(k.Updated)},
	}
	if k.Fault != nil {
		pairs = append(pairs, pair{"fault", strings.TrimSpace(k.Fault.Message + "\n" + k.Fault.Details)}, pair{"fault since", stamp(k.Fault.Created)})
	}
	if err := a.printOne(cmd, k, append(pairs, more...)); err != nil {
		return err
	}
	var rows [][]any
	for _, m := range members {
		rows = append(rows, []any{m.Name, first(m.Role, "-"), m.Status, first(m.Host, "-"), first(m.Address, "-"), or(unlessZero(m.Epoch), "-"), lag(m), doing(m)})
	}
	_, _ = fmt.Fprintln(cmd.OutOrStdout())
	if err := a.printList(cmd, members, []string{"member", "role", "status", "host", "address", "epoch", "lag", "at this moment"}, rows); err != nil {
		return err
	}
	if history {
		return printTurns(cmd, turns)
	}
	return nil
}

// acknowledged says what a write waits for.
func acknowledged(k client.Cluster) string {
	if k.MinAcks == 0 {
		return "no replica holds a write when it is acknowledged"
	}
	verb := "hold"
	if k.MinAcks == 1 {
		verb = "holds"
	}
	return fmt.Sprintf("%s of %d %s a write when it is acknowledged", count(k.MinAcks, "replica"), max(len(k.Instances)-1, k.MinAcks), verb)
}

func seconds(s float64) string { return time.Duration(s * float64(time.Second)).String() }

func endpoint(e *client.Endpoint) any {
	if e == nil {
		return nil
	}
	text := fmt.Sprintf("%s:%d", e.Address, e.Port)
	if e.HostPort != 0 {
		text += fmt.Sprintf(", or port %d of every host", e.HostPort)
	}
	return text
}

func unlessZero(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

func or(v, d any) any {
	if v == nil {
		return d
	}
	return v
}

// switchover says what became of the newest that was asked for, if that is worth telling.
func switchover(k client.Cluster) any {
	s := k.Switchover
	if s == nil || s.Finished && s.Fault == "" {
		return nil
	}
	text := "from " + k.MemberName(s.From)
	if s.To != "" {
		text += " to " + k.MemberName(s.To)
	}
	text += ", asked for at " + s.Asked
	if !s.Finished {
		return text + ", is under way"
	}
	return text + ", did not come about: " + s.Fault
}

func lag(m client.LiveMember) string {
	if m.Lag == nil {
		return "-"
	}
	return time.Duration(*m.Lag * float64(time.Second)).Round(time.Millisecond).String()
}

// doing says in a few words what a member does.
func doing(m client.LiveMember) string {
	switch {
	case !m.Reachable:
		return m.Error
	case m.Fault != "":
		return m.Fault
	case m.Notice != "":
		return m.Notice
	case m.Rebuild:
		return "its data is being replaced by a clone"
	case m.Applier != "":
		return "does not apply: " + m.Applier
	case m.Receiver != nil && m.Receiver.Broken != "":
		return "cannot replicate: " + m.Receiver.Broken
	case m.Receiver != nil && m.Receiver.State == "running" && m.Receiver.Acknowledges:
		return "replicates, acknowledges"
	case m.Receiver != nil && m.Receiver.State == "running":
		return "replicates"
	case m.Receiver != nil:
		return "its receiver is " + m.Receiver.State
	case m.Open && m.Serving != nil && m.Serving.Waiting > 0:
		return fmt.Sprintf("takes writes; %s for an acknowledgement", count(m.Serving.Waiting, "session")+" waiting")
	case m.Open:
		return "takes writes"
	}
	return "mysqld is " + m.Mysqld
}

func (a *app) newClusterHistory() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history CLUSTER",
		Short: "Show a cluster's changes of primary, newest first",
		Long:  "Show a cluster's changes of primary, newest first: what was seen, what was decided, and how long each phase took.",
		Example: `  huker cluster history shop
  huker cluster history shop --limit 1 -o json | jq '.[0].gap_ms'`,
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
			turns, err := c.ClusterHistory(cmd.Context(), k.ID, limit)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.printJSON(cmd, turns)
			}
			return printTurns(cmd, turns)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "only so many of the newest")
	return cmd
}

// printTurns tells the story of each change of primary.
func printTurns(cmd *cobra.Command, turns []client.Turn) error {
	var b strings.Builder
	if len(turns) == 0 {
		b.WriteString("\nThe primary has never changed.\n")
	}
	for _, t := range turns {
		fmt.Fprintf(&b, "\n%s  %s, epoch %d: %s\n", strings.Replace(t.Began, "T", " ", 1)+"Z", t.Kind, t.Epoch, outcome(t))
		fmt.Fprintf(&b, "  why      %s\n", printable(first(t.Reason, "nobody said")))
		for n, seen := range t.Seen {
			label := "         "
			if n == 0 {
				label = "  seen   "
			}
			fmt.Fprintf(&b, "%s  %s\n", label, printable(seen))
		}
		for n, p := range t.Phases {
			label := "         "
			if n == 0 {
				label = "  phases "
			}
			fmt.Fprintf(&b, "%s  %-10s %10s  %s", label, printable(p.Name), took(p.TookMS), printable(p.Note))
			b.WriteString("\n")
		}
	}
	text := strings.TrimPrefix(b.String(), "\n")
	lines := strings.Split(text, "\n")
	for n := range lines {
		lines[n] = strings.TrimRight(lines[n], " ")
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), strings.Join(lines, "\n"))
	return err
}

func outcome(t client.Turn) string {
	from, to := printable(t.FromName), printable(t.ToName)
	if t.Kind == "back" {
		return fmt.Sprintf("%s stayed the primary, %s did not take over", from, first(to, "nobody"))
	}
	return fmt.Sprintf("from %s to %s, no writes for %s", from, to, took(t.GapMS))
}

func took(ms float64) string {
	return (time.Duration(ms*1e3) * time.Microsecond).Round(100 * time.Microsecond).String()
}
