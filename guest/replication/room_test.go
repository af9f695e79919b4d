package replication_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

const erReadOnly = 1290

// client gives sessions of somebody without any right that a user of Huker does not have.
func (n *node) client() *sql.DB {
	n.t.Helper()
	n.exec("CREATE USER IF NOT EXISTS joe@'%' IDENTIFIED BY 'joe-1'")
	n.exec("GRANT ALL ON d.* TO joe@'%'")
	return n.dial("joe", "joe-1", false)
}

func refused(err error) bool {
	var me *mysql.MySQLError
	return errors.As(err, &me) && me.Number == erReadOnly
}

// TestGuarded: a primary without room refuses what clients write, also at the commit of what was begun before; it is open for everything else, its agent writes,
// it hands over, and takes writes again.
func TestGuarded(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	joe := a.client()
	defer func() { _ = joe.Close() }()
	ctx := t.Context()
	write := func(i int) error { _, err := joe.ExecContext(ctx, "INSERT INTO d.t VALUES (?)", i); return err }
	a.ok(write(10))

	begun, err := joe.BeginTx(ctx, nil)
	a.ok(err)
	_, err = begun.ExecContext(ctx, "INSERT INTO d.t VALUES (11)")
	a.ok(err)
	a.room = failover.Room{Low: true}
	began := time.Now()
	l.until("guarded", func() bool { return a.status().Guarded }, a)
	l.logf("guarded after %s", time.Since(began))
	if s := a.status(); !s.Open() || s.Writes != failover.WritesOn || !s.Serving.Proven || s.Serving.Seal.Epoch != r.Epoch {
		t.Errorf("%+v", s)
	}
	l.settle(a)
	if err := begun.Commit(); !refused(err) {
		t.Errorf("the commit of what was begun before: %v", err)
	}
	_ = begun.Rollback()
	if err := write(12); !refused(err) {
		t.Errorf("a write: %v", err)
	}
	var count int
	a.ok(joe.QueryRowContext(ctx, "SELECT COUNT(*) FROM d.t").Scan(&count))
	if count != 2 {
		t.Errorf("%d rows", count)
	}
	// It writes seldom, and that is not taken for writes that do not get through; nor is it in the moment when there is room again.
	deadline := time.Now().Add(3 * time.Second)
	for time.Now().Before(deadline) {
		a.step()
		if s := a.status(); s.Serving.ProbeAgo > time.Second || !s.Guarded {
			t.Fatalf("%+v", s)
		}
		<-time.After(20 * time.Millisecond)
	}
	a.restartAgent()
	l.settle(a, b, c)
	if s := a.status(); !s.Guarded || !s.Open() {
		t.Errorf("under another agent: %+v", s)
	}
	a.room = failover.Room{}
	l.until("room again", func() bool { s := a.status(); return !s.Guarded && s.Open() }, a)
	deadline = time.Now().Add(time.Second)
	for time.Now().Before(deadline) {
		a.step()
		if s := a.status(); s.Serving.ProbeAgo > time.Second {
			t.Fatalf("%+v", s)
		}
		<-time.After(5 * time.Millisecond)
	}
	a.ok(write(13))

	// Without room it hands over all the same, and whoever takes over without room opens guarded.
	a.room, b.room = failover.Room{Low: true}, failover.Room{Low: true}
	l.until("guarded once more", func() bool { return a.status().Guarded }, a, b, c)
	b.room = failover.Room{}
	l.settle(a, b, c)
	r = learn(r.Begin(durability.Switchover, b.Instance, "a test", time.Now(), time.Now().Add(time.Minute)), a, b, c)
	l.until("quiet", func() bool { return a.status().Writes == failover.WritesOff }, a, b, c)
	l.until("caught up", func() bool { return b.status().Executed.Contains(a.status().Executed) }, a, b, c)
	b.room = failover.Room{Low: true}
	r = learn(r.Promote(b.Instance, []string{c.Instance}, 1), a, b, c)
	l.until("sealed", func() bool { return b.status().Serving.Seal.Epoch == r.Epoch }, a, b, c)
	r = learn(r.Establish(), a, b, c)
	l.settle(a, b, c)
	if s := b.status(); !s.Open() || !s.Guarded {
		t.Errorf("the new primary: %+v", s)
	}
	b.room = failover.Room{}
	l.settle(a, b, c)
	b.exec("INSERT INTO d.t VALUES (14)")
	if n := b.value("SELECT COUNT(*) FROM d.t"); n != "4" {
		t.Errorf("%s rows at the new primary", n)
	}
}

// TestGuardWaits: commits that wait for acknowledgements, and statements that go on, keep a primary from being guarded; neither is broken off, and its status is
// read all the while. The write with which the agent proves that it is well gets through in between.
func TestGuardWaits(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	a, b, c, r := serving(l)
	joe := a.client()
	defer func() { _ = joe.Close() }()
	background := context.WithoutCancel(t.Context())
	begin := func(text string) <-chan error {
		done := make(chan error, 1)
		go func() { _, err := joe.ExecContext(background, text); done <- err }()
		return done
	}
	mute(b, c)
	write := begin("INSERT INTO d.t VALUES (20)")
	a.await(waiters, "1")
	a.room = failover.Room{Low: true, Last: true}
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		began := time.Now()
		if s := a.status(); s.Guarded || s.Offline || s.Writes != failover.WritesOn || time.Since(began) > time.Second {
			t.Fatalf("after %s: %+v", time.Since(began), s)
		}
		a.step()
	}
	if ended(write) {
		t.Fatal("a commit that waits has ended")
	}
	learn(r, b, c)
	l.until("an acknowledgement", func() bool { return ended(write) }, a, b, c)
	l.until("guarded", func() bool { return a.status().Guarded }, a, b, c)
	a.room = failover.Room{}
	l.settle(a, b, c)

	long := begin("INSERT INTO d.t SELECT 30 + SLEEP(6)")
	a.await("SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_INFO LIKE 'INSERT INTO d.t SELECT 30%'", "1")
	a.room = failover.Room{Low: true}
	var most time.Duration
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		a.step()
		s := a.status()
		most = max(most, s.Serving.ProbeAgo)
		if s.Guarded || s.Offline {
			t.Fatalf("%+v", s)
		}
	}
	l.logf("the agent's writes took %s at most", most)
	if most > 1900*time.Millisecond { // from 2 s on a primary is taken for lost
		t.Errorf("the agent's writes took %s", most)
	}
	a.ok(<-long)
	l.until("guarded at last", func() bool { return a.status().Guarded }, a, b, c)
	if n := a.value("SELECT COUNT(*) FROM d.t"); n != "3" {
		t.Errorf("%s rows", n)
	}
}

// TestAReplicaWithoutRoom: it stops receiving before its disk is full, applies all that it acknowledged, and goes on when there is room. If its disk gets full all the
// same, 9.7.4 waits in the middle of what it writes to the binary log and the relay log, and looks again after a minute; so does STOP REPLICA. Its receiver looks as if
// nothing was the matter meanwhile. An applier that cannot write its temporary files gives up; START REPLICA, when there is room, starts it with the receiver.
func TestAReplicaWithoutRoom(t *testing.T) {
	t.Parallel()
	var disk string
	l := newLab(t, 3, func(i int, volume string) error {
		if i != 2 {
			return nil
		}
		disk = volume
		t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		return syscall.Mount("tmpfs", volume, "tmpfs", 0, "mode=0777,size=700m")
	})
	a, b, c, _ := serving(l)
	a.exec("CREATE TABLE d.big (i INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)")
	l.settle(a, b, c)
	fill := func(left int64) { t.Helper(); fillDisk(a, disk, left) }
	rows := 0
	write := func(n int) { // the other one acknowledges
		for range n {
			a.exec("INSERT INTO d.big (v) VALUES (REPEAT('x', 1000000))")
			rows++
		}
	}
	fill(60 << 20)
	write(3)
	c.room = failover.Room{Low: true}
	l.until("it stands", func() bool { return c.status().Receiver.State == failover.ReceiverStopped }, c)
	l.settle(a, b, c)
	write(30)
	if s := c.status(); s.Applier != "" || s.Executed.Contains(a.status().Executed) || !s.Executed.Contains(s.Retrieved) {
		t.Errorf("without room: %+v", s)
	}
	a.ok(os.Remove(filepath.Join(disk, "fill")))
	c.room = failover.Room{}
	began := time.Now()
	l.until("it goes on", func() bool { return c.status().Executed.Contains(a.status().Executed) }, a, b, c)
	l.logf("it has caught up %s after there was room", time.Since(began))
	l.settle(a, b, c)
	if s := c.status(); s.Applier != "" || s.Receiver.Broken != "" || s.Receiver.State != failover.ReceiverRunning {
		t.Errorf("%+v", s)
	}
	c.await("SELECT COUNT(*) FROM d.big", fmt.Sprint(rows))
}

// fillDisk leaves so many bytes on a disk. What it puts there is in the file "fill".
func fillDisk(n *node, disk string, left int64) {
	n.t.Helper()
	var fs syscall.Statfs_t
	n.ok(syscall.Statfs(disk, &fs))
	f, err := os.OpenFile(filepath.Join(disk, "fill"), os.O_CREATE|os.O_WRONLY, 0o600)
	n.ok(err)
	n.ok(syscall.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-left))
	n.ok(f.Close())
}

// TestReceiverThatDoesNotStop: a replica whose disk was full to the last byte, so quickly that nothing could be done before, does not keep others waiting for a minute when there is
// room again: its mysqld is started anew, and it has all that it has acknowledged.
func TestReceiverThatDoesNotStop(t *testing.T) {
	t.Parallel()
	var disk string
	l := newLab(t, 2, func(i int, volume string) error {
		if i != 1 {
			return nil
		}
		disk = volume
		t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		return syscall.Mount("tmpfs", volume, "tmpfs", 0, "mode=0777,size=700m")
	})
	a, b := l.nodes[0], l.nodes[1]
	r := l.found(durability.Strict)
	a.exec("CREATE DATABASE d")
	a.exec("CREATE TABLE d.big (i INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)")
	l.settle(a, b)
	acknowledged := a.status().Executed
	fillDisk(a, disk, 0)
	write := a.begin("INSERT INTO d.big (v) VALUES (RANDOM_BYTES(1000)), (REPEAT(RANDOM_BYTES(1000), 3000))")
	a.await(waiters, "1")
	select {
	case err := <-write:
		t.Fatalf("a full disk has acknowledged it: %v", err)
	case <-time.After(2 * time.Second):
	}
	a.ok(os.Remove(filepath.Join(disk, "fill")))
	learn(r.Begin(durability.Failover, "", "a test", time.Now(), time.Time{}), b)
	began := time.Now()
	l.until("its receiver stands", func() bool {
		s := b.status()
		return s.Receiver.State == failover.ReceiverStopped && s.Receiver.StoppingFor == 0
	}, b)
	took := time.Since(began)
	l.logf("its receiver stands after %s: %v", took, b.acts)
	if took > 30*time.Second || !slices.Contains(b.acts, string(failover.ActRestart)) {
		t.Errorf("after %s: %v", took, b.acts)
	}
	if s := b.status(); !s.Has().Contains(acknowledged) {
		t.Errorf("%s was acknowledged: %+v", acknowledged, s)
	}
	learn(r, a, b)
	l.until("it goes on", func() bool { return ended(write) }, a, b)
}
