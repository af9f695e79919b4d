package agent

import (
	"context"
	"errors"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/protocol"
)

func newTestLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestDecide(t *testing.T) {
	with := func(change func(*durability.Record)) *durability.Record { r := lone(7); change(&r); return &r }
	for _, c := range []struct {
		name   string
		record *durability.Record
		open   bool
	}{
		{"alone", with(func(*durability.Record) {}), true},
		{"unknown", nil, false},
		{"nobody", with(func(r *durability.Record) { r.Primary = "" }), false},
		{"another", with(func(r *durability.Record) { r.Primary = "x" }), false},
		{"members", with(func(r *durability.Record) { r.Members = []string{"x"} }), false},
		{"acks", with(func(r *durability.Record) { r.MinAcks = 1 }), false},
	} {
		if got := decide(self, c.record); got.open != c.open || got.open == (got.why != "") {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestRecords(t *testing.T) {
	dir := t.TempDir()
	changes := 0
	load := func(configured durability.Record) *records {
		return newRecords(protocol.GuestConfig{Instance: self, Record: configured}, dir, newTestLog(), func() { changes++ })
	}
	want := func(r *records, epoch int64, primary string) {
		t.Helper()
		got, err := r.newest()
		must(t, err)
		if got == nil || got.Epoch != epoch || got.Primary != primary {
			t.Fatalf("%+v, want epoch %d with %s", got, epoch, primary)
		}
	}
	r := load(lone(1))
	want(r, 1, self)
	r.offer(lone(5), "test")
	want(r, 5, self)
	r.offer(lone(4), "test")
	same := lone(5)
	same.Primary = "x"
	r.offer(same, "test") // two records of one epoch
	foreign := lone(9)
	foreign.Cluster = "another"
	r.offer(foreign, "test")
	want(r, 5, self)
	if changes != 2 {
		t.Errorf("%d changes, want 2", changes)
	}
	want(load(lone(1)), 5, self)
	want(load(lone(6)), 6, self)

	// Not readable: the configuration may be older than what it said.
	must(t, os.WriteFile(filepath.Join(dir, recordFile), []byte(`{"epoch":`), 0o600))
	r = load(lone(6))
	if got, err := r.newest(); got != nil || err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	r.offer(lone(7), "coordination")
	want(r, 7, self)

	// Not writable: what cannot be remembered must not be acted on, nor what is older than it.
	must(t, os.RemoveAll(dir))
	r.offer(lone(8), "coordination")
	if _, err := r.newest(); err == nil {
		t.Fatal("a record that could not be kept takes effect")
	}
	must(t, os.Mkdir(dir, 0o700))
	want(r, 8, self)
	want(load(lone(1)), 8, self)
}

// killed is what a struck fault point panics with: the agent dies there.
type killed struct{ at fault.Point }

type strikeAt fault.Point

func (s strikeAt) Strike(p fault.Point) {
	if p == fault.Point(s) {
		panic(killed{p})
	}
}

// The agent is killed at every point of its first way in; the next one ends in the same state, and no client gets in meanwhile.
func TestTheWayInSurvivesDeathAtEveryPoint(t *testing.T) {
	for _, p := range []fault.Point{pointPassword, pointWritable, pointAccount, pointDropped, pointClosed, pointMarked, "none"} {
		t.Run(string(p), func(t *testing.T) {
			m := mysqltest.Start(t)
			e := entry{socket: m.Socket(), dir: t.TempDir()}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			waitForMysqld(ctx, t, e)
			died := comeAndDie(fault.With(ctx, strikeAt(p)), t, e)
			if died != (p != "none") {
				t.Fatalf("died: %v", died)
			}
			if out, err := m.SQL("root", "", "select 1"); err == nil {
				t.Fatalf("root comes in from outside: %s", out)
			}
			db, server, err := e.come(ctx)
			must(t, err)
			defer func() { _ = db.Close() }()
			st, err := server.State(ctx)
			must(t, err)
			if !st.Locked() {
				t.Errorf("open before its role is known: %+v", st)
			}
			var n int
			must(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE account_locked = 'N' AND ssl_type <> 'X509'").Scan(&n))
			if n != 1 {
				t.Errorf("%d accounts can be entered without a member's certificate, want the agent's alone", n)
			}
			var gtids string
			must(t, db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&gtids))
			if gtids != "" {
				t.Errorf("the server's own accounts are in its replicated history: %s", gtids)
			}
			if _, err := server.Open(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

func waitForMysqld(ctx context.Context, t *testing.T, e entry) {
	t.Helper()
	for {
		db, err := e.dial(ctx, admin.Login{Socket: e.socket, User: "root"}, 1)
		if err == nil {
			_ = db.Close()
			return
		}
		if !admin.Absent(err) || !pause(ctx, pollSocket) {
			t.Fatal(err)
		}
	}
}

func comeAndDie(ctx context.Context, t *testing.T, e entry) (died bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	db, _, err := e.come(ctx)
	must(t, err)
	must(t, db.Close())
	return false
}

// What is on the volume is of a data directory that a crash took: the fresh one is taken over like any.
func TestAFreshDirectoryUnderAnOldMark(t *testing.T) {
	m := mysqltest.Start(t)
	e := entry{socket: m.Socket(), dir: t.TempDir()}
	must(t, writeJSON(filepath.Join(e.dir, accountsFile), accountsMark{Version: accountsVersion}))
	must(t, writeFile(filepath.Join(e.dir, passwordFile), []byte("of-before")))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waitForMysqld(ctx, t, e)
	db, _, err := e.come(ctx)
	must(t, err)
	defer func() { _ = db.Close() }()
	var n int
	must(t, db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE User = 'root'").Scan(&n))
	if n != 0 {
		t.Fatal("root without a password is left")
	}
}

// A volume whose accounts are not this agent's: it says so, and does not get in.
func TestForeignAccounts(t *testing.T) {
	m := mysqltest.Start(t)
	e := entry{socket: m.Socket(), dir: t.TempDir()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waitForMysqld(ctx, t, e)
	db, _, err := e.come(ctx)
	must(t, err)
	must(t, db.Close())
	e.dir = t.TempDir()
	if _, _, err := e.come(ctx); !errors.Is(err, errShut) {
		t.Fatalf("%v", err)
	}
}

func TestANewerAgentTakesOver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guest.json")
	sup := &fakeSupervisor{changed: make(chan struct{})}
	a, err := New(Config{
		Guest: protocol.GuestConfig{Instance: self, Record: lone(1)}, GuestFile: file, Socket: "/nowhere", StateDir: t.TempDir(), VolumeDir: t.TempDir(),
		Supervisor: sup, Settings: func(protocol.ConfigureRequest, int64) (map[string]string, error) { return nil, nil },
	})
	must(t, err)
	for _, c := range []struct {
		name, configured, running, fault string
		unchanged                        bool
		want                             int
	}{
		{"the same", "a1", "a1", "", false, 0},
		{"named while this one started", "a2", "a1", "", true, 1},
		{"given up, and nothing new", "a2", "a1", "a2 did not become ready", true, 0},
		{"another after one that was given up", "a3", "a1", "a2 did not become ready", false, 1},
		{"none named", "", "a1", "", false, 0},
	} {
		sup.replaced = 0
		sup.set(func(s *control.Status) { s.Agent.Binary, s.Agent.Fault = c.running, c.fault })
		must(t, writeJSON(file, protocol.GuestConfig{Instance: self, Agent: c.configured, Record: lone(2)}))
		must(t, a.followConfig(t.Context(), c.unchanged))
		if sup.replaced != c.want {
			t.Errorf("%s: replaced %d times, want %d", c.name, sup.replaced, c.want)
		}
	}
	if a.records.epoch() != 2 {
		t.Errorf("the record of the changed configuration is not in effect: epoch %d", a.records.epoch())
	}
}

func TestNotable(t *testing.T) {
	for _, c := range []struct {
		was, is int64
		want    bool
	}{{0, 0, false}, {0, 1, true}, {1, 0, true}, {1000, 1010, false}, {1000, 1011, true}, {1000, 989, true}, {1000, 990, false}} {
		if got := notable(c.was, c.is); got != c.want {
			t.Errorf("%d to %d: %v", c.was, c.is, got)
		}
	}
}

func TestMeasureVolume(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "data", "f"), []byte(strings.Repeat("x", 1<<20)), 0o600))
	use, err := measureVolume(t.Context(), dir)
	must(t, err)
	if use.used < 1<<20 || use.used > 2<<20 || use.size < use.used {
		t.Fatalf("%+v", use)
	}
}

func TestWriteFileReplacesWholeOrNot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for i := range 3 {
		must(t, writeFile(path, []byte(fmt.Sprint(i))))
	}
	must(t, os.Chmod(path, 0o600))
	if err := writeFile(filepath.Join(dir, "no", "f"), nil); err == nil {
		t.Fatal("written into a directory that is not there")
	}
	must(t, os.WriteFile(filepath.Join(dir, ".f.123"), []byte("half"), 0o600))
	removeLeftovers(dir)
	left, err := os.ReadDir(dir)
	must(t, err)
	if b, err := os.ReadFile(path); err != nil || string(b) != "2" || len(left) != 1 {
		t.Fatalf("%q, %v, %v", b, err, left)
	}
}
