package replication_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/protocol"
)

// diverged makes a cluster of three whose first primary has a transaction of its own, and whose second one is b.
func diverged(l *lab) (a, b, c *node, r durability.Record) {
	a, b, c, r = serving(l)
	mute(b, c)
	a.begin("INSERT INTO d.t VALUES (2)")
	a.await(waiters, "1")
	learn(r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}), b, c)
	r = b.record
	l.settle(b, c)
	r = learn(r.Promote(b.Instance, []string{c.Instance}, 1), b, c)
	l.settle(b, c)
	r = learn(r.Establish(), a, b, c)
	l.settle(b, c)
	l.settle(a)
	return a, b, c, r
}

// cloneFrom has a node's data be replaced, and mysqld start with it.
func (n *node) cloneFrom(donor string, members map[string]protocol.Member) error {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	var hand sync.WaitGroup
	defer hand.Wait()
	done := make(chan struct{})
	defer close(done)
	hand.Go(func() { // the agent is mysqld's user, and this is root: mysqld has to be able to read what it starts with
		for os.Chown(n.Outside.InitFile(), 999, 999) != nil {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	old, err := n.db.Conn(ctx) // ends when mysqld no longer takes sessions, and not before: one that is on its way down answers for a while
	n.ok(err)
	defer func() { _ = old.Close() }()
	if err := n.server.Clone(ctx, donor, members, nil); err != nil {
		return err
	}
	for old.PingContext(ctx) == nil {
		<-time.After(time.Millisecond)
	}
	n.ok(ctx.Err())
	n.disconnect()
	n.connect()
	return nil
}

// TestClone: a server whose history is another one's than the primary's has its data replaced: as another server, without anything of its own, and joins again.
func TestClone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := diverged(l)
	was := a.status()
	if b.status().Executed.Contains(was.Executed) {
		t.Fatalf("it has nothing of its own: %v", was.Executed)
	}
	a.ok(a.cloneFrom(c.Instance, l.peers))
	l.until("it is whole", func() bool { return !a.status().Rebuilding })
	s := a.status()
	if s.Server == was.Server || s.Writes != failover.WritesOff || !s.Offline || s.Receiver.State != failover.ReceiverStopped || s.Receiver.Source != "" {
		t.Errorf("%+v", s)
	}
	if !b.status().Executed.Contains(s.Executed) {
		t.Errorf("it has something that the primary lacks: %v", s.Executed)
	}
	if got := a.value("SELECT COUNT(*) FROM d.t WHERE i = 2"); got != "0" {
		t.Error("it has its own row still")
	}
	// Whoever it is to let in some day has an account there, locked: all that is left to do then is to open it.
	for _, member := range l.nodes {
		account := "FROM mysql.user WHERE User = '" + member.account() + "' AND account_locked = 'Y' AND x509_subject = '" + replication.Subject(member.Instance) + "'"
		if got := a.value("SELECT COUNT(*) " + account); got != "1" {
			t.Errorf("%s has %s accounts there", member.name, got)
		}
	}
	count := func() string {
		return a.value("SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM performance_schema.global_status WHERE VARIABLE_NAME IN ('Com_create_user', 'Com_grant')")
	}
	a.ok(a.do(failover.Act{Kind: failover.ActWritable}))
	before := count()
	a.ok(a.do(failover.Act{Kind: failover.ActAdmit, Admit: instancesOf(b, c)}))
	if got := a.status().Serving.Admitted; !slices.Equal(got, instancesOf(b, c)) {
		t.Errorf("it lets in %v", got)
	}
	if got := count(); got != before {
		t.Errorf("accounts were made: %s, %s before", got, before)
	}
	a.ok(a.do(failover.Act{Kind: failover.ActReadOnly}))
	r = learn(r.Admit(a.Instance, a.id(r)), a, b, c)
	l.settle(a, b, c)
	b.exec("INSERT INTO d.t VALUES (3)")
	a.await("SELECT COUNT(*) FROM d.t WHERE i = 3", "1")
	learn(r.Publish(a.Instance), a, b, c)
	l.settle(a, b, c)
}

// TestCloneThatFails: where nothing was touched, the server is who it was, shut, and can be asked again.
func TestCloneThatFails(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, _, c, _ := diverged(l)
	was := a.status()
	elsewhere := map[string]protocol.Member{c.Instance: {Address: "192.0.2.1"}}
	if err := a.server.Clone(t.Context(), c.Instance, elsewhere, nil); err == nil || errors.Is(err, replication.ErrPending) {
		t.Fatalf("a clone of nobody: %v", err)
	}
	l.until("it is shut again", func() bool {
		s := a.status()
		return !s.Rebuilding && s.Writes == failover.WritesOff && s.Offline
	}, a)
	if s := a.status(); s.Server != was.Server {
		t.Errorf("it is %s, and was %s", s.Server, was.Server)
	}
	a.ok(a.cloneFrom(c.Instance, l.peers))
	l.until("it is whole", func() bool { return !a.status().Rebuilding })
}
