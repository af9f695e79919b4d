package replication_test

import (
	"slices"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// TestFound: three fresh servers become a cluster, whose primary is open and has sealed, with both others acknowledging.
func TestFound(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
	r := l.found(durability.Strict)
	l.logf("founded: %v / %v / %v", a.acts, b.acts, c.acts)
	s := a.status()
	if s.Offline || s.Writes != failover.WritesOn || !s.Serving.SemiSync || s.Serving.Acks != 1 || !s.Serving.Proven || s.Serving.Enforced != r.Epoch ||
		s.Serving.Seal.Epoch != r.Epoch || !slices.Equal(s.Serving.Admitted, instancesOf(b, c)) || !slices.Equal(s.Serving.Attached, instancesOf(b, c)) {
		t.Errorf("%+v", s)
	}
	for _, n := range []*node{b, c} {
		s := n.status()
		if s.Writes != failover.WritesOff || s.Receiver.State != failover.ReceiverRunning || s.Receiver.Source != a.Instance || !s.Receiver.Acknowledges ||
			s.Receiver.HeardAgo > 2*time.Second || s.Receiver.Broken != "" || s.Applier != "" || s.Serving.SemiSync || s.Offline {
			t.Errorf("%s: %+v", n.name, s)
		}
	}
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT PRIMARY KEY)")
	a.exec("INSERT INTO d.t VALUES (1)")
	for _, n := range []*node{b, c} {
		n.await("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'", "1")
		n.await("SELECT COUNT(*) FROM d.t", "1")
	}
	l.until("a probe", func() bool { ago := a.status().Serving.ProbeAgo; return ago >= 0 && ago < time.Second }, a)
}

// TestProbesOfTwoTenures: what an earlier tenure as the primary tried says nothing: neither of a replica, nor of a primary that has just opened again.
func TestProbesOfTwoTenures(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	over := func(from, to *node) {
		t.Helper()
		l.until("a probe", func() bool { return from.status().Serving.ProbeAgo >= 0 }, from)
		r = learn(r.Begin(durability.Switchover, to.Instance, "a test", time.Now(), time.Now().Add(time.Minute)), from, to)
		l.settle(from, to)
		if ago := from.status().Serving.ProbeAgo; ago >= 0 {
			t.Errorf("%s, which takes no writes, has tried one %s ago", from.name, ago)
		}
		r = learn(r.Promote(to.Instance, []string{from.Instance}, 1), from, to)
		l.until("it is sealed", func() bool { return to.status().Serving.Seal.Epoch == r.Epoch }, from, to)
		r = learn(r.Establish(), from, to)
		l.until("it is open", func() bool {
			s := to.status()
			if s.Serving.ProbeAgo > 2*time.Second {
				t.Fatalf("%s has tried a write %s ago, when it was the primary before", to.name, s.Serving.ProbeAgo)
			}
			return s.Open()
		}, from, to)
		if ago := from.status().Serving.ProbeAgo; ago >= 0 {
			t.Errorf("%s, a replica, has tried a write %s ago", from.name, ago)
		}
	}
	over(a, b)
	time.Sleep(3 * time.Second) // so that what b tries now is told from what a tried
	over(b, a)
}

// TestProbesOfAnAgentThatHung: while an agent hangs it tries nothing, which is not that nothing gets through.
func TestProbesOfAnAgentThatHung(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a := l.nodes[0]
	l.found(durability.Strict)
	l.until("a probe", func() bool { ago := a.status().Serving.ProbeAgo; return ago >= 0 && ago < 500*time.Millisecond }, a)
	time.Sleep(3 * time.Second) // nobody looks: so it is with an agent that hangs
	for range 5 {
		if ago := a.status().Serving.ProbeAgo; ago < 0 || ago > time.Second {
			t.Errorf("a write has not got through for %s", ago)
		}
	}
}

// TestAReceiverThatIsFresh says so: what had waited for it is only about to be acknowledged.
func TestAReceiverThatIsFresh(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	b := l.nodes[1]
	r := l.found(durability.Strict)
	l.until("it has been running for a while", func() bool { return !b.status().Receiver.Fresh })
	mute(b)
	learn(r, b)
	l.until("it runs again", func() bool { return b.status().Receiver.State == failover.ReceiverRunning }, b)
	if s := b.status(); !s.Receiver.Fresh {
		t.Errorf("%+v", s.Receiver)
	}
	l.until("it has been running for a while", func() bool { return !b.status().Receiver.Fresh })
}

// TestBinaryLogIsShort: whoever comes to a new primary has little to be searched for in its newest binary log, unless that is short anyhow.
func TestBinaryLogIsShort(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY, v BLOB)")
	newest := func(n *node) string {
		return n.value("SELECT SUBSTRING_INDEX(MAX(FILE_NAME), '/', -1) FROM performance_schema.file_instances WHERE EVENT_NAME = 'wait/io/file/sql/binlog'")
	}
	turn := func(from, to *node) {
		t.Helper()
		l.until("the other has all", func() bool { return to.status().Executed.Contains(from.status().Executed) })
		r = learn(r.Begin(durability.Switchover, to.Instance, "asked for", time.Now(), time.Now().Add(time.Minute)), a, b)
		l.settle(a, b)
		r = learn(r.Promote(to.Instance, []string{from.Instance}, 1), a, b)
		l.until("it holds", func() bool { return to.status().Serving.Seal.Epoch == r.Epoch }, a, b)
		r = learn(r.Establish(), a, b)
		l.settle(a, b)
	}
	was := newest(b)
	turn(a, b)
	if now := newest(b); now != was {
		t.Errorf("a short one: %s, then %s", was, now)
	}
	for range 20 {
		b.exec("INSERT INTO d.t (v) WITH RECURSIVE n AS (SELECT 1 i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n") // nothing makes that shorter
	}
	was = newest(a)
	turn(b, a)
	if now := newest(a); now <= was {
		t.Errorf("a long one: %s, then %s", was, now)
	}
}
