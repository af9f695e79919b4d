package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func TestRoomLimits(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for _, c := range []struct{ size, closes, opens int64 }{
		{256 * mib, 32 * mib, 64 * mib}, {600 * mib, 64 * mib, 128 * mib}, {3 * gib, 64 * mib, 128 * mib}, {10 * gib, 10 * gib / 50, 2 * (10 * gib / 50)},
		{1000 * gib, gib, 2 * gib},
	} {
		if got := limitsOf(nil, c.size); got != (protocol.RoomLimits{CloseBelow: c.closes, OpenAbove: c.opens}) {
			t.Errorf("of %d MiB: %+v", c.size/mib, got)
		}
	}
	if got := limitsOf(&protocol.RoomLimits{CloseBelow: 7, OpenAbove: 9}, gib); got != (protocol.RoomLimits{CloseBelow: 7, OpenAbove: 9}) {
		t.Errorf("given: %+v", got)
	}
	if got := limitsOf(&protocol.RoomLimits{CloseBelow: 7}, gib); got.OpenAbove != 7 {
		t.Errorf("given one: %+v", got)
	}
}

func TestRoomHasHysteresis(t *testing.T) {
	free, broken := int64(0), error(nil)
	r := &room{given: &protocol.RoomLimits{CloseBelow: 100 << 20, OpenAbove: 200 << 20}, log: newTestLog(), measure: func(string) (int64, int64, error) {
		return free, 1000 << 20, broken
	}}
	var first string
	for i, c := range []struct {
		free      int64
		low, last bool
	}{{300, false, false}, {150, false, false}, {100, false, false}, {99, true, false}, {150, true, false}, {50, true, false}, {49, true, true}, {199, true, false}, {200, false, false}, {101, false, false}} {
		free = c.free << 20
		was := r.now
		turned := r.turned()
		if r.now.Low != c.low || r.now.Last != c.last || r.now.Free != free || turned != (was.Low != c.low || was.Last != c.last) {
			t.Errorf("%d: at %d: %+v, turned %v", i, c.free, r.now, turned)
		}
		text := r.notice(refusal(true))
		if (text != "") != c.low {
			t.Errorf("%d: %q", i, text)
		}
		if first == "" {
			first = text
		}
		if c.low && text != first {
			t.Errorf("its words change with every byte: %q after %q", text, first)
		}
	}
	for _, part := range []string{"99 of 1000 MiB", "200 MiB are free", "1290"} {
		if !strings.Contains(first, part) {
			t.Errorf("%q does not say %q", first, part)
		}
	}
	free, broken = 0, errors.New("gone")
	if now := r.look(); now.Low {
		t.Error("what cannot be measured is not full")
	}
	broken = nil
	if r.look(); r.notice(refusal(false)) != "" {
		t.Error("that it takes a moment is not told")
	}
	r.since = time.Now().Add(-time.Minute)
	if !strings.Contains(r.notice(refusal(false)), "go on") {
		t.Error("that it takes long is")
	}
}

// small makes a file system of so many MiB at dir, and gives a function that leaves so many MiB of it free.
func small(t *testing.T, dir string, size string) (leave func(mib int64)) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	f, err := os.Create(filepath.Join(dir, "fill"))
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return func(mib int64) {
		t.Helper()
		must(t, f.Truncate(0))
		free, _, err := measureRoom(dir)
		must(t, err)
		if fill := free - mib<<20; fill > 0 {
			must(t, syscall.Fallocate(int(f.Fd()), 0, 0, fill))
		}
	}
}

// TestALoneDatabaseWithoutRoom: it refuses what its users write, and nothing else, through deaths of its agent and of mysqld; and takes writes again by itself.
func TestALoneDatabaseWithoutRoom(t *testing.T) {
	g := newGuest(t)
	leave := small(t, g.cfg.VolumeDir, "64m")
	g.cfg.Guest.Room = &protocol.RoomLimits{CloseBelow: 20 << 20, OpenAbove: 40 << 20}
	g.start()
	g.until("serving", serving)
	must(t, g.call(protocol.KindPrepare, model.Bootstrap{
		Databases: []model.Database{{Name: "app"}}, Users: []model.User{{Name: "joe", Password: "pw", Databases: []string{"app"}}},
	}, nil))
	var root protocol.RootReply
	must(t, g.call(protocol.KindRootEnable, protocol.RootRequest{Password: "Root-pw-1"}, &root))
	sql := func(user, password, text, want string) {
		t.Helper()
		out, err := g.mysqld.SQL(user, password, text)
		if failed := strings.HasPrefix(want, "ERROR"); !strings.Contains(out, want) || failed != (err != nil) {
			t.Fatalf("%s: %s: %v: %s", user, text, err, out)
		}
	}
	sql("joe", "pw", "create table app.t (a int primary key); insert into app.t values (1)", "")
	guarded := func(s protocol.GuestStatus) bool { return serving(s) && strings.Contains(s.Notice, "takes no writes") }
	writes := func(s protocol.GuestStatus) bool { return serving(s) && s.Notice == "" }

	leave(30)
	time.Sleep(4 * lookEvery) // nothing is to happen
	sql("joe", "pw", "insert into app.t values (2)", "")
	leave(15)
	began := time.Now()
	g.until("guarded", guarded)
	t.Logf("guarded after %s", time.Since(began))
	sql("joe", "pw", "insert into app.t values (3)", "ERROR 1290")
	sql("joe", "pw", "start transaction; select count(*) from app.t; delete from app.t", "ERROR 1290")
	sql("joe", "pw", "drop table app.t", "ERROR 1290")
	sql("root", root.Password, "insert into app.t values (3)", "ERROR 1290")
	sql("root", root.Password, "set global read_only = off", "ERROR 1227")
	sql("joe", "pw", "select count(*) from app.t", "2")
	// What its user can do: Huker itself writes.
	must(t, g.call(protocol.KindDatabaseCreate, []model.Database{{Name: "spare"}}, nil))
	must(t, g.call(protocol.KindDatabaseDelete, protocol.NameRequest{Name: "spare"}, nil))

	g.stop()
	s := g.start().status.get()
	g.until("guarded under a new agent", func(n protocol.GuestStatus) bool { return guarded(n) && !n.AgentSince.Before(s.AgentSince) })
	sql("joe", "pw", "insert into app.t values (3)", "ERROR 1290")
	must(t, g.mysqld.Kill())
	g.sup.started()
	g.until("guarded again", func(s protocol.GuestStatus) bool { return guarded(s) && s.Mysqld.Pid == 102 })
	sql("joe", "pw", "insert into app.t values (3)", "ERROR 1290")
	leave(30)
	time.Sleep(4 * lookEvery)
	sql("joe", "pw", "insert into app.t values (3)", "ERROR 1290")
	leave(60)
	began = time.Now()
	g.until("taking writes", writes)
	t.Logf("it takes writes after %s", time.Since(began))
	sql("joe", "pw", "insert into app.t values (3)", "")

	// A statement that goes on keeps it from being guarded: others read, and write in between. When the last of the room goes, it does not.
	long := make(chan string, 1)
	go func() {
		out, _ := g.mysqld.SQL("joe", "pw", "insert into app.t select 100 + sleep(60)")
		long <- out
	}()
	for began = time.Now(); ; {
		if out, err := g.mysqld.SQL("root", root.Password, "select count(*) from information_schema.processlist where info like 'insert into app.t select%'"); err != nil || strings.TrimSpace(out) == "1" {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the statement does not run")
		}
	}
	leave(15)
	g.until("said to be still written to", func(s protocol.GuestStatus) bool {
		return serving(s) && strings.Contains(s.Notice, "statements that write go on")
	})
	sql("joe", "pw", "select count(*) from app.t", "3")
	sql("joe", "pw", "insert into app.t values (4)", "")
	select {
	case out := <-long:
		t.Fatalf("the statement was broken off: %s", out)
	default:
	}
	leave(5)
	g.until("guarded at last", guarded)
	if out := <-long; !strings.Contains(out, "ERROR") {
		t.Errorf("the statement was not: %s", out)
	}
	sql("joe", "pw", "select count(*) from app.t where a < 100", "4") // what became of that of a client who was cut off, nobody knows
	leave(60)
	g.until("taking writes at last", writes)
	sql("joe", "pw", "insert into app.t values (5)", "")
}

// TestAMemberWithoutRoom: its part says so; as the primary it is guarded, and as a replica it receives nothing, and both are told.
func TestAMemberWithoutRoom(t *testing.T) {
	g, f := newMember(t)
	leave := small(t, g.cfg.VolumeDir, "64m")
	g.cfg.Guest.Room = &protocol.RoomLimits{CloseBelow: 20 << 20, OpenAbove: 40 << 20}
	g.start()
	g.put(led(1))
	g.until("following", func(s protocol.GuestStatus) bool {
		return serving(s) && s.Part.Receiver.State == failover.ReceiverRunning
	})
	leave(15)
	s := g.until("deaf", func(s protocol.GuestStatus) bool {
		return s.Part.Receiver.State == failover.ReceiverStopped && s.Notice != ""
	})
	if !serving(s) || !strings.Contains(s.Notice, "receives nothing") || !s.Part.Room.Low || s.Part.Room.Size != 64<<20 {
		t.Errorf("%+v, %+v", s, s.Part)
	}
	g.put(leading(2))
	s = g.until("leading", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 2 && s.Part.Open() })
	if !s.Part.Guarded || !strings.Contains(s.Notice, "takes no writes") {
		t.Errorf("%+v, %+v", s, s.Part)
	}
	leave(60)
	g.until("taking writes", func(s protocol.GuestStatus) bool { return serving(s) && !s.Part.Guarded && s.Notice == "" })
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.acts[len(f.acts)-1]
	if last != failover.ActWritable || slices.Contains(f.acts[:len(f.acts)-1], failover.ActWritable) {
		t.Errorf("acts %v", f.acts)
	}
}
