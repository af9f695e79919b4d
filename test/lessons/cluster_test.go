package lessons

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
	"github.com/huker/huker/test/plane"
)

const (
	user     = "app"
	password = "Lessons-password-1"
	database = "shop"
	// healthLimit is how long after the last fault all may take to be well.
	healthLimit = 120 * time.Second
	// beat is between two looks at something that is waited for.
	beat = 50 * time.Millisecond
)

// cluster is one that scenarios share, one after the other.
type cluster struct {
	plane    *plane.Plane
	id       string
	endpoint driver.Connector
	address  string    // of the endpoint
	members  []*member // oldest first
}

// member is one of it, in its container.
type member struct {
	fault.Container
	id, name, address string
	account           string           // that it replicates with
	direct            driver.Connector // at its own address; waits for an answer for a second
}

// shared is a cluster that is made by the first scenario that needs it, and another one after a scenario that has failed.
type shared struct {
	size  int
	made  *cluster
	ill   bool // the last scenario has not come to its end
	suite *suite
}

func (l *shared) get(t *testing.T) *cluster {
	t.Helper()
	if l.ill && l.made != nil {
		require.NoError(t, l.made.plane.API.ForceDeleteCluster(t.Context(), l.made.id))
		l.made = nil
	}
	l.ill = true
	if l.made == nil {
		l.made = found(t, l.suite.plane(t), l.size)
	}
	return l.made
}

func endpointAt(t *testing.T, address string, answer time.Duration) driver.Connector {
	t.Helper()
	c, err := workload.Endpoint{Address: address + ":3306", User: user, Password: password, Database: database, Answer: answer}.Connector()
	require.NoError(t, err)
	return c
}

// found makes a cluster under strict that asks for one acknowledgement.
func found(t *testing.T, p *plane.Plane, size int) *cluster {
	t.Helper()
	began := time.Now()
	acks := 1
	n := client.NewCluster{
		Name: fmt.Sprintf("lessons-%d", size), Instances: make([]client.NewMember, size),
		Properties: client.ClusterProperties{
			Policy: "strict", MinAcks: &acks, Databases: []client.Database{{Name: database}},
			Users: []client.NewUser{{Name: user, Password: password, Databases: []client.Database{{Name: database}}}},
		},
	}
	for i := range n.Instances {
		n.Instances[i] = client.NewMember{Flavor: "1", Volume: &client.Volume{Size: 5}}
	}
	made, err := p.API.CreateCluster(t.Context(), n)
	require.NoError(t, err)
	c := &cluster{plane: p, id: made.ID}
	var now client.Cluster
	until(t, "the cluster is whole", healthLimit, func() error {
		now, err = p.API.Cluster(t.Context(), c.id)
		return errors.Join(err, troubles(now))
	})
	c.address = now.Endpoints.ReadWrite.Address
	c.endpoint = endpointAt(t, c.address, 0)
	for _, m := range now.Instances {
		all, err := p.Engine.List(t.Context(), map[string]string{"io.huker.instance": m.ID})
		require.NoError(t, err)
		require.Len(t, all, 1)
		account, err := replication.Account(m.ID)
		require.NoError(t, err)
		c.members = append(c.members, &member{
			Container: fault.Container{Machine: fault.Here{}, Name: all[0].Name},
			id:        m.ID, name: m.Name, address: m.IP[0], account: account, direct: endpointAt(t, m.IP[0], time.Second),
		})
	}
	t.Logf("a cluster of %d is ready after %s", size, time.Since(began).Round(time.Millisecond))
	return c
}

// troubles are what keeps a cluster from being whole.
func troubles(c client.Cluster) error {
	var all []string
	if c.Status != "ACTIVE" {
		all = append(all, "it is "+c.Status)
	}
	if c.Condition != "" {
		all = append(all, c.Condition)
	}
	for _, a := range c.Alarms {
		all = append(all, a.Name)
	}
	for _, m := range c.Instances {
		if m.Status != "ACTIVE" {
			all = append(all, m.Name+" is "+m.Status)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

// until waits until something is so, which is when it gives no error.
func until(t *testing.T, what string, limit time.Duration, so func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for {
		err := so()
		if err == nil {
			return
		}
		if workload.Wait(ctx, beat) != nil {
			require.NoError(t, err, "it does not come about within %s: %s", limit, what)
		}
	}
}

// sql runs statements on a member by its agent's socket, as the agent, in one session, and gives what they gave, a line for each row.
func (m *member) sql(ctx context.Context, text string) ([]string, error) {
	const script = `MYSQL_PWD=$(cat /var/lib/mysql/huker/agent.password) exec mysql --no-defaults -N -B -S /huker/run/mysqld.sock -u huker_agent -e "$1"`
	out, err := m.Machine.Exec(ctx, "docker", "exec", m.Name, "bash", "-c", script, "bash", text)
	if err != nil {
		return nil, err
	}
	return strings.FieldsFunc(out, func(r rune) bool { return r == '\n' }), nil
}

// log is what the programs in the container have written.
func (m *member) log(ctx context.Context) string {
	out, err := m.Machine.Exec(ctx, "sh", "-c", "docker logs --tail 400 "+m.Name+" 2>&1")
	if err != nil {
		return err.Error()
	}
	return out
}

// inNetwork runs a program of this machine in the container's network namespace.
func (m *member) inNetwork(ctx context.Context, args ...string) (string, error) {
	pid, err := m.Machine.Exec(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", m.Name)
	if err != nil {
		return "", err
	}
	return m.Machine.Exec(ctx, slices.Concat([]string{"nsenter", "--net=/proc/" + strings.TrimSpace(pid) + "/ns/net"}, args)...)
}

// cutFrom drops what comes from others, and what goes to them unless only that is said, in the member's network namespace. The host still reaches it.
func (m *member) cutFrom(onlyIn bool, others ...*member) fault.Fault {
	var rules [][]string
	var names []string
	for _, o := range others {
		rules = append(rules, []string{"INPUT", "-s", o.address})
		if !onlyIn {
			rules = append(rules, []string{"OUTPUT", "-d", o.address})
		}
		names = append(names, o.name)
	}
	rule := func(ctx context.Context, verb string, of []string) error {
		_, err := m.inNetwork(ctx, slices.Concat([]string{"iptables", "--wait", verb}, of, []string{"-j", "DROP"})...)
		return err
	}
	return fault.Step{
		What: m.name + " is cut off from " + strings.Join(names, " and "),
		Strike: func(ctx context.Context) error {
			var errs []error
			for _, of := range rules {
				errs = append(errs, rule(ctx, "-A", of))
			}
			return errors.Join(errs...)
		},
		Undo: func(ctx context.Context) error {
			for _, of := range rules {
				if rule(ctx, "-C", of) != nil {
					continue // undone before, or the namespace is another one
				}
				if err := rule(ctx, "-D", of); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// gtids reads a GTID set of a member.
func gtids(t *testing.T, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	require.NoError(t, err)
	return s
}

// value is what a query gives that gives one value.
func (m *member) value(s *scenario, query string) string {
	s.Helper()
	return strings.ReplaceAll(strings.Join(s.sql(m, query), ""), `\n`, "") // line breaks, as the client writes them
}

func (m *member) executed(s *scenario) gtid.Set {
	s.Helper()
	return gtids(s.T, m.value(s, "SELECT @@GLOBAL.gtid_executed"))
}

// acknowledging is what a client's session does that waits for an acknowledgement. Others may wait behind it.
const acknowledging = "PROCESSLIST_USER = '" + user + "' AND PROCESSLIST_STATE LIKE 'Waiting for semi-sync ACK%'"

// killed is statements that kill one session of those for which a condition holds, if there is one: all of it is one round trip, since what can be seen here lasts
// no longer than it takes to be noticed and ended.
func killed(condition string) string {
	return "SET @k = IFNULL((SELECT CONCAT('KILL ', PROCESSLIST_ID) FROM performance_schema.threads WHERE " + condition + " LIMIT 1), 'DO 0'); PREPARE k FROM @k; EXECUTE k; "
}

// dumping is what a member does for another one that replicates from it. Known by its account: addresses may be rewritten on the way.
func dumping(to *member) string {
	return "PROCESSLIST_COMMAND LIKE 'Binlog Dump%' AND PROCESSLIST_USER = '" + to.account + "'"
}

// slow bounds how much a member sends.
func (m *member) slow(rate string) fault.Fault {
	tc := func(ctx context.Context, args ...string) (string, error) {
		return m.inNetwork(ctx, slices.Concat([]string{"tc", "qdisc"}, args)...)
	}
	return fault.Step{
		What: m.name + " sends at most " + rate,
		Strike: func(ctx context.Context) error {
			_, err := tc(ctx, "add", "dev", "eth0", "root", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
			return err
		},
		Undo: func(ctx context.Context) error {
			there, err := tc(ctx, "show", "dev", "eth0")
			if err == nil && strings.Contains(there, "tbf") { // else it was undone before
				_, err = tc(ctx, "del", "dev", "eth0", "root")
			}
			return err
		},
	}
}

// errNotYet is of what is waited for.
var errNotYet = errors.New("not yet")

func atLeast(want, n int) error {
	if n < want {
		return fmt.Errorf("%d, and not %d", n, want)
	}
	return nil
}
