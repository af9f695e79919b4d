package replication_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

func serving(l *lab) (a, b, c *node, r durability.Record) {
	r = l.found(durability.Strict)
	a, b, c = l.nodes[0], l.nodes[1], l.nodes[2]
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT PRIMARY KEY)")
	a.exec("INSERT INTO d.t VALUES (1)")
	for _, n := range []*node{b, c} { // one of them has it when it is acknowledged
		n.await("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'", "1")
		n.await("SELECT COUNT(*) FROM d.t", "1")
	}
	return a, b, c, r
}

// ended says whether a statement has ended, within a moment.
func ended(done <-chan error) bool {
	select {
	case <-done:
		return true
	case <-time.After(300 * time.Millisecond):
		return false
	}
}

// mute has members receive nothing.
func mute(nodes ...*node) {
	for _, n := range nodes {
		n.ok(n.do(failover.Act{Kind: failover.ActStop}))
	}
}

// TestWaiting: while a commit waits for acknowledgements nothing here does: not the status, nor an act that makes the server read-only, and the latter can be
// taken back. What is waited for is neither ended nor answered.
func TestWaiting(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	mute(b, c)
	write := a.begin("INSERT INTO d.t VALUES (2)")
	a.await(waiters, "1")
	// That a receiver was stopped its source finds out with the next heartbeat.
	l.until("nobody is attached", func() bool { return len(a.status().Serving.Attached) == 0 })
	began := time.Now()
	s := a.status()
	if took := time.Since(began); took > time.Second || s.Serving.Waiting != 1 || s.Owned.Empty() || s.Executed.Contains(s.Owned) || len(s.Serving.Attached) != 0 {
		t.Errorf("after %s: %+v", took, s)
	}
	// Clients out: whoever waits stays.
	a.ok(a.do(failover.Act{Kind: failover.ActShut}))
	began = time.Now()
	a.ok(a.do(failover.Act{Kind: failover.ActReadOnly}))
	a.ok(a.do(failover.Act{Kind: failover.ActReadOnly})) // twice is no harm
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("read only: %s", took)
	}
	began = time.Now()
	if s := a.status(); s.Writes != failover.WritesStopping || s.Serving.Waiting != 1 || !s.Offline || time.Since(began) > time.Second {
		t.Errorf("after %s: %+v", time.Since(began), s)
	}
	if ended(write) {
		t.Fatal("the commit has ended")
	}
	// Switching semi-sync off would answer it.
	if err := a.do(failover.Act{Kind: failover.ActAsynchronous}); !errors.Is(err, replication.ErrRefused) {
		t.Errorf("asynchronous: %v", err)
	}
	// An agent that takes over knows of the statement that waits, and undoes it as well.
	a.restartAgent()
	if s := a.status(); s.Writes != failover.WritesStopping {
		t.Errorf("after the agent: %+v", s)
	}
	began = time.Now()
	a.ok(a.do(failover.Act{Kind: failover.ActWritable}))
	l.logf("writable again after %s", time.Since(began))
	if s := a.status(); s.Writes != failover.WritesOn || s.Serving.Waiting != 1 || s.Serving.Proven || s.Serving.Seal.Epoch != 0 {
		t.Errorf("%+v", s)
	}
	learn(r, b, c)
	l.until("an acknowledgement", func() bool { return ended(write) }, a, b, c)
	l.settle(a, b, c)
	if s := a.status(); !s.Serving.Proven || s.Serving.Seal.Epoch != r.Epoch || s.Offline {
		t.Errorf("%+v", s)
	}
	// Now that nothing waits, it takes hold at once, and is known for what it is by the next agent, too.
	a.ok(a.do(failover.Act{Kind: failover.ActReadOnly}))
	if s := a.status(); s.Writes != failover.WritesOff {
		t.Errorf("%+v", s)
	}
	a.restartAgent()
	if s := a.status(); s.Writes != failover.WritesOff {
		t.Errorf("after the agent: %+v", s)
	}
	a.ok(a.do(failover.Act{Kind: failover.ActAsynchronous}))
	if s := a.status(); s.Serving.SemiSync {
		t.Errorf("%+v", s)
	}
}

// TestRetired: row 3 and 12. An old primary with a commit that waits is killed, not made asynchronous; what waited is kept by it, and answered to nobody.
func TestRetired(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	mute(b, c)
	write := a.begin("INSERT INTO d.t VALUES (2)")
	a.await(waiters, "1")
	r = r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{})
	learn(r, b, c)
	l.settle(b, c)
	b.drained(l)
	r = r.Promote(b.Instance, []string{c.Instance}, 1)
	learn(r, b, c)
	l.settle(b, c)
	r = r.Establish()
	learn(r, a, b, c)
	l.settle(b, c)
	l.settle(a)
	select {
	case err := <-write:
		if err == nil {
			t.Error("a commit was answered OK that nobody else has")
		}
	case <-time.After(5 * time.Second):
		t.Error("the commit still waits")
	}
	if want := []string{string(failover.ActShut), string(failover.ActRestart)}; !containsInOrder(a.acts, want) || slices.Contains(a.acts, string(failover.ActAsynchronous)) {
		t.Errorf("a did %v", a.acts)
	}
	s, p := a.status(), b.status()
	if s.Writes != failover.WritesOff || !s.Offline || p.Executed.Contains(s.Executed) {
		t.Errorf("the old primary has nothing of its own: %+v", s)
	}
	if got := b.value("SELECT COUNT(*) FROM d.t"); got != "1" {
		t.Errorf("the new primary has %s rows", got)
	}
}

func containsInOrder(list, want []string) bool {
	for _, s := range list {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// drained has a node apply what it received.
func (n *node) drained(l *lab) {
	l.until("all is applied", func() bool {
		s := n.status()
		return s.Executed.Contains(s.Retrieved)
	})
}

// TestShutOut: who is not admitted has no session left, and does not come back; what he could acknowledge is not waited for.
func TestShutOut(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	r = r.Leave(c.Instance)
	learn(r, a) // c knows nothing of it
	l.settle(a)
	s := a.status()
	if s.Serving.Seal.Epoch != r.Epoch || !slices.Equal(s.Serving.Seal.Ackers, instancesOf(b)) || !slices.Equal(s.Serving.Admitted, instancesOf(b)) ||
		!slices.Equal(s.Serving.Attached, instancesOf(b)) || s.Serving.Enforced != r.Epoch {
		t.Fatalf("%+v", s.Serving)
	}
	sessions := "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_USER = '" + c.account() + "'"
	a.await(sessions, "0")
	a.exec("INSERT INTO d.t VALUES (2)")
	l.until("c is out", func() bool { return c.status().Receiver.State == failover.ReceiverConnecting })
	before := c.value("SELECT LAST_ERROR_TIMESTAMP FROM performance_schema.replication_connection_status")
	c.ok(c.do(failover.Act{Kind: failover.ActStop}))
	c.ok(c.do(failover.Act{Kind: failover.ActStart, Acknowledge: true}))
	l.until("c tries again", func() bool {
		return c.value("SELECT LAST_ERROR_TIMESTAMP FROM performance_schema.replication_connection_status") != before
	})
	if got := a.value(sessions); got != "0" {
		t.Errorf("c has %s sessions", got)
	}
	if s := c.status(); s.Receiver.State != failover.ReceiverConnecting {
		t.Errorf("%+v", s.Receiver)
	}
	// With b gone, too, nobody acknowledges.
	mute(b)
	write := a.begin("INSERT INTO d.t VALUES (3)")
	a.await(waiters, "1")
	if ended(write) {
		t.Error("somebody acknowledged")
	}
	// It is let in again, and its account is what it has to be.
	own, err := a.db.Conn(t.Context())
	a.ok(err)
	for _, text := range []string{"SET SESSION sql_log_bin = 0", "ALTER USER '" + c.account() + "'@'%' REQUIRE NONE"} {
		_, err := own.ExecContext(t.Context(), text)
		a.ok(err)
	}
	a.ok(own.Close())
	r = r.Stay(c.Instance)
	learn(r, a, c)
	l.until("c acknowledges", func() bool { return ended(write) }, a, c)
	if got := a.value("SELECT x509_subject FROM mysql.user WHERE User = '" + c.account() + "'"); got != replication.Subject(c.Instance) {
		t.Errorf("its certificate has to say %q", got)
	}
}

// TestSigningIn: a session that had not said who it is when accounts were locked is not overlooked.
func TestSigningIn(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	silent := b.signIn(a)
	defer silent()
	a.await("SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID IS NOT NULL AND PROCESSLIST_USER IS NULL AND PROCESSLIST_COMMAND <> 'Daemon'", "1")
	r = r.Promise(0)
	learn(r.Leave(b.Instance), a)
	began := time.Now()
	l.until("b is shut out", func() bool { return len(a.status().Serving.Admitted) == 0 }, a)
	a.await("SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID IS NOT NULL AND PROCESSLIST_USER IS NULL AND PROCESSLIST_COMMAND <> 'Daemon'", "0")
	l.logf("shut out after %s", time.Since(began))
}

// TestCertificates: an account is entered with its own certificate only.
func TestCertificates(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, _ := serving(l)
	for _, try := range []struct {
		from *node
		user string
		tls  bool
		want bool
	}{{b, b.account(), true, true}, {b, b.account(), false, false}, {c, b.account(), true, false}, {c, "huker_clone", true, true}, {c, "huker_clone", false, false}} {
		argv := []string{"mysql", "-h", a.Address, "-u" + try.user, "--ssl-mode=REQUIRED", "-e", "SELECT 1"}
		if try.tls {
			etc := try.from.Inside.Etc
			argv = append(argv, "--ssl-mode=VERIFY_IDENTITY", "--ssl-ca="+etc+"/ca.pem", "--ssl-cert="+etc+"/server-cert.pem", "--ssl-key="+etc+"/server-key.pem")
		}
		out, err := try.from.Exec(argv...)
		if (err == nil) != try.want {
			t.Errorf("%s as %s, certificate %v: %v: %s", try.from.name, try.user, try.tls, err, out)
		}
	}
}

// TestHidden: users do not see the agents' schema, nor can root write there.
func TestHidden(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a := l.nodes[0]
	l.found(durability.Strict)
	server := admin.New(a.db, admin.Logs{})
	if _, err := server.RootEnable(t.Context(), rootRequest); err != nil {
		t.Fatal(err)
	}
	databases, err := server.Databases(t.Context(), listRequest)
	a.ok(err)
	if len(databases) != 0 {
		t.Errorf("%+v", databases)
	}
	for _, text := range []string{
		"INSERT INTO huker.probe VALUES (7, NOW())", "DELETE FROM huker.journal", "DROP DATABASE huker", "CREATE TABLE huker.x (i INT)",
		"ALTER USER " + l.nodes[1].account() + "@'%' IDENTIFIED BY 'x' REQUIRE NONE", "DROP USER huker_clone@'%'",
		"GRANT INSERT ON huker.* TO root@'%'",
	} {
		if out, err := a.SQL("root", rootRequest.Password, text); err == nil {
			t.Errorf("root may %s: %s", text, out)
		}
	}
	if out, err := a.SQL("root", rootRequest.Password, "CREATE DATABASE mine; CREATE TABLE mine.t (i INT PRIMARY KEY); INSERT INTO mine.t VALUES (1)"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := server.DeleteDatabase(t.Context(), replication.Schema); !errors.Is(err, admin.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestRefused: what would lose something is not done, whoever asks.
func TestRefused(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	l.found(durability.Strict)
	for _, c := range []struct {
		n *node
		a failover.Act
	}{
		{a, failover.Act{Kind: failover.ActAsynchronous}},
		{b, failover.Act{Kind: failover.ActPoint, Source: a.Instance}}, // the receiver runs
		{b, failover.Act{Kind: failover.ActStart, Acknowledge: true}},  // likewise
		{b, failover.Act{Kind: failover.ActSeal}},                      // it is not the primary
		{a, failover.Act{Kind: "something new"}},
	} {
		if err := c.n.do(c.a); !errors.Is(err, replication.ErrRefused) {
			t.Errorf("%s: %s: %v", c.n.name, c.a.Kind, err)
		}
	}
	if err := b.server.Clone(t.Context(), a.Instance, l.peers, nil); !errors.Is(err, replication.ErrRefused) {
		t.Errorf("clone: %v", err)
	}
	mute(b)
	if err := b.do(failover.Act{Kind: failover.ActPoint, Source: "0b5b3f5e-0000-4000-8000-000000000000"}); !errors.Is(err, replication.ErrUnknownMember) {
		t.Errorf("point: %v", err)
	}
	// Whoever asks with little patience hears so, and the next one gets an answer.
	ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
	defer cancel()
	if _, err := a.server.Status(ctx, a.record, l.peers); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("status: %v", err)
	}
	if s := a.status(); !s.Serving.Proven {
		t.Errorf("a reading that was left cost the memory: %+v", s)
	}
}

// TestSeals: the seal stands for the terms that it was made under, and no others.
func TestSeals(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
	r := l.found(durability.Strict)
	// Two acknowledgements, of which only one comes.
	mute(c)
	r = r.Require(2)
	learn(r, a, b)
	for range 20 {
		a.step()
	}
	if s := a.status(); s.Serving.Seal.Epoch == r.Epoch || s.Serving.Acks != 2 || s.Serving.Enforced != r.Epoch || !s.Serving.Proven {
		t.Fatalf("%+v", s.Serving)
	}
	// Fewer are asked for while it waits: what comes in then is of other terms.
	r = r.Promise(1)
	learn(r, a, b)
	l.settle(a, b)
	if s := a.status(); s.Serving.Seal.Epoch != r.Epoch || s.Serving.Seal.Acks != 1 {
		t.Errorf("%+v", s.Serving)
	}
	// One more member: no stricter, so nothing is sealed anew.
	journal := a.value("SELECT COUNT(*) FROM huker.journal")
	r = r.Leave(c.Instance)
	learn(r, a, b)
	l.settle(a, b)
	if got := a.value("SELECT COUNT(*) FROM huker.journal"); got == journal {
		t.Error("a member less, and not sealed")
	}
	if s := a.status(); !slices.Equal(s.Serving.Seal.Ackers, instancesOf(b)) {
		t.Errorf("%+v", s.Serving)
	}
	journal = a.value("SELECT COUNT(*) FROM huker.journal")
	r = r.Stay(c.Instance)
	learn(r, a, b, c)
	l.settle(a, b, c)
	if got := a.value("SELECT COUNT(*) FROM huker.journal"); got != journal {
		t.Error("sealed anew for one member more")
	}
	if s := a.status(); s.Serving.Seal.Epoch != r.Epoch || !slices.Equal(s.Serving.Seal.Ackers, instancesOf(b, c)) {
		t.Errorf("%+v", s.Serving)
	}
	// An epoch that was missed.
	learn(r.Require(2).Promise(1), a)
	a.step()
	if s := a.status(); s.Serving.Seal.Epoch != 0 || !s.Serving.Proven {
		t.Errorf("%+v", s.Serving)
	}
}

// TestLostAcknowledgements: what members say is lost, with their connections: of a commit, and of what was committed to have them acknowledge that. They have it all,
// and do not say so again; nobody writes. It comes to its end.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, _ := serving(l)
	hear, err := a.Deaf(b.Member, c.Member)
	a.ok(err)
	write := a.begin("INSERT INTO d.t VALUES (2)")
	a.await(waiters, "1")
	// The commit, what helps it, and the agent's probe. Only the first is seen to wait: the others wait for their turn to.
	l.until("others wait behind it", func() bool { return a.status().Owned.Count() == 3 }, a)
	written := a.status().Owned
	l.until("members have it all", func() bool { return b.status().Executed.Contains(written) && c.status().Executed.Contains(written) })
	for _, id := range strings.Fields(a.value("SELECT GROUP_CONCAT(PROCESSLIST_ID SEPARATOR ' ') FROM performance_schema.threads WHERE PROCESSLIST_COMMAND LIKE 'Binlog Dump%'")) {
		a.exec("KILL " + id)
	}
	a.ok(hear())
	l.until("an acknowledgement", func() bool { return ended(write) }, a, b, c)
	a.await(waiters, "0")
}
