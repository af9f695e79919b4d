package replication_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// TestConnecting: row 4. A receiver that cannot reach its source is not stopped; one that was stopped says so, and does not run again by itself.
func TestConnecting(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	a.ok(a.Down())
	l.until("b notices", func() bool { return b.status().Receiver.State == failover.ReceiverConnecting })
	s := b.status()
	if s.Receiver.Source != a.Instance || !s.Receiver.Acknowledges || s.Receiver.Broken != "" {
		t.Errorf("%+v", s.Receiver)
	}
	l.until("b fails to connect", func() bool { return b.status().Receiver.Refused })
	learn(r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}), b)
	began := time.Now()
	l.settle(b)
	took := time.Since(began)
	l.logf("a receiver that cannot reach its source stopped after %s", took)
	if s := b.status(); s.Receiver.State != failover.ReceiverStopped || s.Receiver.Acknowledges || s.Receiver.Refused {
		t.Errorf("%+v", s.Receiver)
	}
	a.ok(a.Up())
	a.disconnect()
	a.connect()
	learn(r, a)
	for range 50 {
		a.step()
		if s := b.status(); s.Receiver.State != failover.ReceiverStopped {
			t.Fatalf("%+v", s.Receiver)
		}
	}
	if s := a.status(); s.Serving.Proven || !s.Offline {
		t.Errorf("a has opened alone: %+v", s)
	}
	// A source that hangs: the receiver stops while it reads.
	learn(r, b)
	l.settle(a, b)
	l.until("b has come through", func() bool {
		s := b.status()
		return s.Receiver.State == failover.ReceiverRunning && !s.Receiver.Refused
	})
	a.ok(a.Pause(true))
	defer func() { _ = a.Pause(false) }()
	learn(r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}), b)
	began = time.Now()
	l.settle(b)
	l.logf("a receiver whose source hangs stopped after %s", time.Since(began))
	a.ok(a.Pause(false))
}

// TestRelayLogs: rows 1, 2, 5 and 11. What was received and not applied outlives the death of mysqld, is known, is not given up when the receiver is
// pointed elsewhere, and is applied before that.
func TestRelayLogs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	b.exec("STOP REPLICA SQL_THREAD")
	mute(c)
	for i := range 20 {
		a.exec("INSERT INTO d.t VALUES (?)", 100+i)
	}
	s := b.status()
	if missing := a.status().Executed.Subtract(s.Executed); missing.Count() < 20 || !s.Retrieved.Contains(missing) {
		t.Fatalf("b has %s, received %s, the primary %s", s.Executed, s.Retrieved, a.status().Executed)
	}
	has := s.Has()
	b.crash()
	if s := b.status(); !s.Has().Contains(has) || s.Executed.Contains(has) || s.Receiver.State != failover.ReceiverStopped {
		t.Fatalf("after a crash b has %s and %s; it had %s", s.Executed, s.Retrieved, has)
	}
	if err := b.do(failover.Act{Kind: failover.ActPoint, Source: c.Instance}); !errors.Is(err, replication.ErrRefused) {
		t.Errorf("point: %v", err)
	}
	if s := b.status(); !s.Has().Contains(has) {
		t.Fatalf("after point b has %s and %s; it had %s", s.Executed, s.Retrieved, has)
	}
	// Pointed elsewhere by its record.
	b.acts = nil
	r = r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}).Promote(c.Instance, []string{b.Instance}, 1)
	learn(r, b)
	l.until("b is pointed at c", func() bool { return b.status().Receiver.Source == c.Instance }, b)
	if !containsInOrder(b.acts, []string{string(failover.ActDrain), string(failover.ActPoint)}) {
		t.Errorf("b did %v", b.acts)
	}
	if s := b.status(); !s.Executed.Contains(has) {
		t.Errorf("b has executed %s, had %s", s.Executed, has)
	}
	if got := b.value("SELECT COUNT(*) FROM d.t WHERE i >= 100"); got != "20" {
		t.Errorf("b has %s rows", got)
	}
}

// TestPointKeepsRelayLogs: the applier runs while the receiver is pointed elsewhere, so MySQL keeps the relay logs, whatever is in them.
func TestPointKeepsRelayLogs(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, _ := serving(l)
	for i := range 5 {
		a.exec("INSERT INTO d.t VALUES (?)", 100+i)
	}
	l.until("b has it", func() bool { return b.status().Executed.Contains(a.status().Executed) })
	before := b.status().Retrieved
	mute(b)
	b.exec("STOP REPLICA SQL_THREAD")
	b.ok(b.do(failover.Act{Kind: failover.ActPoint, Source: c.Instance}))
	if s := b.status(); !s.Retrieved.Contains(before) || s.Receiver.Source != c.Instance {
		t.Errorf("b had received %s, and has %s; %+v", before, s.Retrieved, s.Receiver)
	}
	if got := b.value("SELECT SERVICE_STATE FROM performance_schema.replication_applier_status"); got != "ON" {
		t.Errorf("the applier is %s", got)
	}
	b.ok(b.do(failover.Act{Kind: failover.ActPoint, Source: c.Instance}))
	options := `SELECT CONCAT_WS(' ', HOST, AUTO_POSITION, SSL_ALLOWED, SSL_VERIFY_SERVER_CERTIFICATE, CONNECTION_RETRY_INTERVAL, CONNECTION_RETRY_COUNT, HEARTBEAT_INTERVAL,
		COMPRESSION_ALGORITHM, USER) FROM performance_schema.replication_connection_configuration`
	if got, want := b.value(options), c.Address+" 1 YES YES 1 4294967295 0.500 uncompressed "+b.account(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// An address that is nobody's any more.
	moved := l.peers[c.Instance]
	delete(l.peers, c.Instance)
	if s := b.status(); s.Receiver.Source != c.Instance {
		t.Errorf("nobody says where c is: %+v", s.Receiver)
	}
	l.peers[c.Instance] = l.peers[a.Instance]
	if s := b.status(); s.Receiver.Source != "" {
		t.Errorf("c has moved: %+v", s.Receiver)
	}
	l.peers[c.Instance] = moved
}

// TestTornRelayLog: the end of what was being written when the machine died is no transaction, and does not stop the applier, whether or not its source is there.
func TestTornRelayLog(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT PRIMARY KEY, x VARCHAR(2000))")
	b.await("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'", "1")
	b.exec("STOP REPLICA SQL_THREAD")
	a.exec("INSERT INTO d.t VALUES (1, HEX(RANDOM_BYTES(1000)))")
	a.exec("INSERT INTO d.t VALUES (2, HEX(RANDOM_BYTES(1000)))")
	has := b.status().Has()
	if n := has.Subtract(b.status().Executed).Count(); n != 2 {
		t.Fatalf("%d transactions are not applied", n)
	}
	b.ok(b.Down())
	out, err := b.Exec("bash", "-c", "cd /shared/var/lib/mysql/data; f=$(tail -1 relay.index); truncate -s -700 $f && echo $f")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.ok(b.Up())
	b.disconnect()
	b.connect()
	r = learn(r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}), a, b)
	l.until("what is whole is applied by a member that stands", func() bool {
		s := b.status()
		return s.Receiver.State == failover.ReceiverStopped && s.Applier == "" && has.Subtract(s.Executed).Count() == 1
	}, b)
	learn(r.Back(), a, b)
	l.settle(a, b)
	l.until("b has it again", func() bool { return b.status().Executed.Contains(has) }, a, b)
	if got := b.value("SELECT GROUP_CONCAT(i ORDER BY i) FROM d.t"); got != "1,2" {
		t.Errorf("%s", got)
	}
}

// TestBroken: a receiver whose source has purged what it needs says so, for as long as it is so.
func TestBroken(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, _ := serving(l)
	mute(c)
	a.exec("INSERT INTO d.t VALUES (2)")
	a.exec("FLUSH BINARY LOGS")
	a.exec("INSERT INTO d.t VALUES (3)")
	l.until("the others have all", func() bool { return b.status().Executed.Contains(a.status().Executed) })
	a.exec("PURGE BINARY LOGS TO '" + a.value("SELECT SUBSTRING_INDEX(FILE, '/', -1) FROM (SELECT FILE_NAME FILE FROM performance_schema.file_instances WHERE FILE_NAME LIKE '%/binlog.0%' ORDER BY 1 DESC LIMIT 1) x") + "'")
	if s := a.status(); s.Purged.Empty() {
		t.Fatalf("nothing was purged: %+v", s)
	}
	l.until("c is broken", func() bool { return c.status().Receiver.Broken != "" }, c)
	l.logf("broken: %s", c.status().Receiver.Broken)
	for range 200 {
		c.step()
		if s := c.status(); s.Receiver.Broken == "" {
			t.Fatalf("it is not broken any more: %+v", s.Receiver)
		}
	}
}

// TestApplier: an applier that does not work says why.
func TestApplier(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	l.found(durability.Strict)
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT PRIMARY KEY)")
	b.await("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'", "1")
	b.exec("SET GLOBAL super_read_only = OFF")
	conn, err := b.db.Conn(t.Context())
	b.ok(err)
	for _, text := range []string{"SET SESSION sql_log_bin = 0", "INSERT INTO d.t VALUES (1)"} {
		_, err := conn.ExecContext(t.Context(), text)
		b.ok(err)
	}
	_ = conn.Close()
	if s := b.status(); s.Writes == failover.WritesOff {
		t.Errorf("%+v", s)
	}
	a.exec("INSERT INTO d.t VALUES (1)")
	l.until("the applier fails", func() bool { return b.status().Applier != "" })
	if s := b.status(); !strings.Contains(s.Applier, "1062") || s.Receiver.State != failover.ReceiverRunning {
		t.Errorf("%q, %+v", s.Applier, s.Receiver)
	}
}

// TestFast: under policy fast a server goes by its machine's boot, and its relay log is not flushed with each transaction.
func TestFast(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Fast)
	for _, n := range l.nodes {
		if s := n.status(); !strings.HasSuffix(s.Server, "@boot-1") {
			t.Errorf("%s: %s", n.name, s.Server)
		}
	}
	if got := b.value("SELECT @@GLOBAL.sync_relay_log"); got != "10000" {
		t.Errorf("sync_relay_log %s", got)
	}
	// Without a promise it goes on alone.
	mute(b)
	learn(r.Promise(0), a)
	l.settle(a)
	if s := a.status(); s.Serving.SemiSync || s.Serving.Seal.Epoch != a.record.Epoch {
		t.Errorf("%+v", s.Serving)
	}
	a.exec("CREATE DATABASE d")
}

// TestLag: how far a replica is behind, as far as it knows.
func TestLag(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	l.found(durability.Strict)
	if lag := a.server.Lag(t.Context()); lag >= 0 {
		t.Errorf("of a primary: %s", lag)
	}
	l.until("it has caught up", func() bool { lag := b.server.Lag(t.Context()); return lag >= 0 && lag < 500*time.Millisecond })
	b.exec("STOP REPLICA SQL_THREAD")
	a.exec("CREATE DATABASE d")
	l.until("it lags", func() bool { return b.server.Lag(t.Context()) > time.Second })
	b.exec("START REPLICA SQL_THREAD")
	l.until("it has caught up", func() bool { lag := b.server.Lag(t.Context()); return lag >= 0 && lag < 500*time.Millisecond })
	a.ok(a.Down())
	l.until("it hears nothing", func() bool { return b.server.Lag(t.Context()) > time.Second })
	l.logf("lag: %s", fmt.Sprint(b.server.Lag(t.Context())))
}

// TestAlone: a replica that leaves its cluster has everything that it received when it opens, and follows nobody.
func TestAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	a, b := l.nodes[0], l.nodes[1]
	l.found(durability.Strict)
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.t (i INT PRIMARY KEY)")
	b.await("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'", "1")
	b.exec("STOP REPLICA SQL_THREAD")
	a.exec("INSERT INTO d.t VALUES (1)")
	mute(b)
	if got := b.value("SELECT COUNT(*) FROM d.t"); got != "0" {
		t.Fatalf("nothing is left to apply: %s rows", got)
	}
	server := admin.New(b.db, admin.Logs{})
	_, err := server.Open(t.Context())
	if !errors.Is(err, admin.ErrNotReady) {
		t.Errorf("it opens before it has applied what it received: %v", err)
	}
	l.until("it is open", func() bool {
		_, err := server.Open(t.Context())
		return err == nil
	})
	if got := b.value("SELECT COUNT(*) FROM d.t"); got != "1" {
		t.Errorf("%s rows", got)
	}
	if got := b.value("SELECT COUNT(*) FROM performance_schema.replication_connection_configuration WHERE HOST <> ''"); got != "0" {
		t.Error("it still knows its source")
	}
	b.exec("INSERT INTO d.t VALUES (2)")
}
