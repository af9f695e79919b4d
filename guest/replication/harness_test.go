package replication_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/protocol"
)

// lab is a cluster of real servers, whose agents are the test.
type lab struct {
	t     *testing.T
	nodes []*node
	peers map[string]protocol.Member
	began time.Time
}

// node is a server with its agent. What the agent knows of the record is the test's to say.
type node struct {
	t *testing.T
	*mysqltest.Member
	lab  *lab
	name string // for people: a, b, c

	password string
	pool     *sql.DB // the Server's
	db       *sql.DB // the test's own: clients with all rights
	server   *replication.Server
	record   durability.Record
	acts     []string // what was done
	room     failover.Room
}

func newLab(t *testing.T, n int, prepare ...func(i int, volume string) error) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	l := &lab{t: t, peers: map[string]protocol.Member{}, began: time.Now()}
	for i, m := range mysqltest.StartMembers(t, n, prepare...) {
		node := &node{t: t, Member: m, lab: l, name: string(rune('a' + i)), password: "agent-of-" + m.Instance}
		l.nodes = append(l.nodes, node)
		l.peers[m.Instance] = protocol.Member{Address: m.Address}
		t.Cleanup(func() {
			node.disconnect()
			if t.Failed() {
				log, _ := os.ReadFile(node.Outside.ErrorLog())
				t.Logf("%s (%s) did %v; its log:\n%s", node.name, node.Instance, node.acts, last(string(log), 3000))
			}
		})
	}
	for _, node := range l.nodes {
		node.prepare()
	}
	return l
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

func (n *node) ok(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
}

// prepare takes a fresh server over as the agent does: its own account, no root.
func (n *node) prepare() {
	n.t.Helper()
	root := n.dial("root", "", true)
	accounts := admin.NewAccounts(admin.New(root, admin.Logs{}))
	ctx := n.t.Context()
	n.ok(accounts.AllowWrites(ctx))
	n.ok(accounts.MakeAgent(ctx, n.password))
	n.ok(root.Close())
	local := n.dial(admin.AgentUser, n.password, true)
	accounts = admin.NewAccounts(admin.New(local, admin.Logs{}))
	n.ok(accounts.DropDefaults(ctx))
	n.ok(replication.PrepareDonor(ctx, local))
	n.ok(replication.PrepareDonor(ctx, local)) // twice is no harm
	n.ok(accounts.Close(ctx))
	n.ok(local.Close())
	n.connect()
}

// dial gives sessions of a server that answers.
func (n *node) dial(user, password string, local bool) *sql.DB {
	n.t.Helper()
	db, err := admin.Dial(admin.Login{Socket: n.Socket(), User: user, Password: password, Local: local}, replication.MinConnections+20)
	n.ok(err)
	deadline := time.Now().Add(time.Minute)
	for {
		err := db.PingContext(n.t.Context())
		if err == nil {
			return db
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("%s does not answer: %v", n.name, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// connect is the beginning of a tenure: mysqld or the agent has started.
func (n *node) connect() {
	n.t.Helper()
	n.pool, n.db = n.dial(admin.AgentUser, n.password, false), n.dial(admin.AgentUser, n.password, false)
	n.tenure()
}

func (n *node) tenure() {
	n.t.Helper()
	var log *slog.Logger
	if os.Getenv("HUKER_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.name)
	}
	server, err := replication.New(n.pool, time.Now(), replication.Config{
		Instance: n.Instance, CA: n.Inside.Secret(paths.FileCA), Cert: n.Inside.Secret(paths.FileServerCert), Key: n.Inside.Secret(paths.FileServerKey),
		Machine: "boot-1", Log: log, Kill: func(context.Context) error { return n.Kill() },
		Clones: replication.Clones{State: n.Outside.State(), InitFile: n.Outside.InitFile(), AutoCnf: filepath.Join(n.Outside.Data(), "auto.cnf"), CPUs: 2},
	})
	n.ok(err)
	n.server = server
}

func (n *node) disconnect() {
	if n.server != nil {
		n.server.Close()
		_ = n.pool.Close()
		_ = n.db.Close()
		n.server = nil
	}
}

// restartAgent has another agent take over the same mysqld.
func (n *node) restartAgent() {
	n.t.Helper()
	n.server.Close()
	n.tenure()
}

// crash kills mysqld; it is another run afterwards.
func (n *node) crash() {
	n.t.Helper()
	n.ok(n.Kill())
	n.disconnect()
	n.connect()
}

func (n *node) status() failover.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	s, err := n.server.Status(ctx, n.record, n.lab.peers)
	n.ok(err)
	s.Room = n.room
	return s
}

func (n *node) do(a failover.Act) error {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	return n.server.Do(ctx, n.record, a, n.lab.peers)
}

// step does what Conduct asks for next, and says what that was.
func (n *node) step() failover.Act {
	n.t.Helper()
	a := failover.Conduct(n.Instance, n.record, n.status())
	if len(n.acts) == 0 || n.acts[len(n.acts)-1] != string(a.Kind) {
		n.acts = append(n.acts, string(a.Kind))
	}
	if a.Kind == failover.ActRestart {
		n.crash()
		return a
	}
	if err := n.do(a); err != nil {
		n.acts = append(n.acts, err.Error())
	}
	return a
}

// until has agents do their part until something is so.
func (l *lab) until(what string, is func() bool, nodes ...*node) {
	l.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !is() {
		for _, n := range nodes {
			n.step()
		}
		if time.Now().After(deadline) {
			for _, n := range nodes {
				l.t.Errorf("%s: did %v, is %+v", n.name, n.acts, n.status())
			}
			l.t.Fatalf("%s does not come about", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// settle has agents do their part until there is nothing left to do.
func (l *lab) settle(nodes ...*node) {
	l.t.Helper()
	l.until("nothing to do", func() bool {
		for _, n := range nodes {
			if failover.Conduct(n.Instance, n.record, n.status()).Kind != failover.ActNone {
				return false
			}
		}
		return true
	}, nodes...)
}

// learn has agents know a record.
func learn(r durability.Record, nodes ...*node) durability.Record {
	for _, n := range nodes {
		n.record = r
	}
	return r
}

// found makes a cluster whose first node is the primary and the others are members, and settles it.
func (l *lab) found(policy durability.Policy) durability.Record {
	l.t.Helper()
	a, others := l.nodes[0], l.nodes[1:]
	r := durability.Founding("test", a.Instance, policy)
	r = r.Named(a.Instance, a.id(r))
	learn(r, l.nodes...)
	for _, n := range others {
		r = r.Admit(n.Instance, n.id(r))
	}
	learn(r, l.nodes...)
	l.until("catching up", func() bool {
		return !slices.ContainsFunc(others, func(n *node) bool { return n.status().Receiver.State != failover.ReceiverRunning })
	}, l.nodes...)
	for _, n := range others {
		r = r.Publish(n.Instance)
	}
	learn(r, l.nodes...)
	l.settle(l.nodes...)
	r = learn(r.Promise(1), l.nodes...)
	l.settle(l.nodes...)
	return r
}

func (n *node) id(r durability.Record) string {
	n.t.Helper()
	n.record = r
	return n.status().Server
}

func (n *node) exec(text string, args ...any) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := n.db.ExecContext(ctx, text, args...); err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, text, err)
	}
}

// begin runs a statement in the background; the channel gives how it ended.
func (n *node) begin(text string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := n.db.ExecContext(context.WithoutCancel(n.t.Context()), text)
		done <- err
	}()
	return done
}

func (n *node) value(text string, args ...any) string {
	n.t.Helper()
	var v sql.NullString
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	if err := n.db.QueryRowContext(ctx, text, args...).Scan(&v); err != nil {
		n.t.Fatalf("%s: %s: %v", n.name, text, err)
	}
	return v.String
}

// await waits until a query gives something.
func (n *node) await(text, want string) {
	n.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for got := n.value(text); got != want; got = n.value(text) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s: %s: %q, want %q", n.name, text, got, want)
		}
		<-time.After(5 * time.Millisecond)
	}
}

const waiters = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID IS NOT NULL AND PROCESSLIST_STATE = 'Waiting for semi-sync ACK from replica'"

func (n *node) account() string {
	a, err := replication.Account(n.Instance)
	n.ok(err)
	return a
}

func instancesOf(nodes ...*node) []string {
	var ids []string
	for _, n := range nodes {
		ids = append(ids, n.Instance)
	}
	slices.Sort(ids)
	return ids
}

func (l *lab) logf(format string, args ...any) {
	l.t.Logf("%6.2fs %s", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

var (
	rootRequest = protocol.RootRequest{Password: "root-password-1"}
	listRequest = protocol.ListRequest{}
)

// signIn begins to sign in at another server, and says no more, until it is told to leave.
func (n *node) signIn(at *node) (leave func()) {
	n.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(n.t.Context(), "tcp", at.Address+":3306")
	n.ok(err)
	return func() { _ = conn.Close() }
}
