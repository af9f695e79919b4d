package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func TestALoneDatabaseIsOpenedAndOpenedAgain(t *testing.T) {
	g := newGuest(t)
	g.store.setAway(true) // a lone database needs no coordination
	a := g.start()
	for {
		s := a.status.get()
		if serving(s) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	g.store.setAway(false)
	s := g.until("serving", serving)
	if s.Instance != self || s.AgentVersion != "test" || s.Epoch != 1 || s.Mysqld.UUID == "" || s.Mysqld.Pid != 101 || s.Fault != "" || s.ConfigMemMB != 512 {
		t.Fatalf("%+v", s)
	}
	must(t, g.call(protocol.KindPrepare, model.Bootstrap{
		Databases: []model.Database{{Name: "app"}}, Users: []model.User{{Name: "joe", Password: "secret-of-joe", Databases: []string{"app"}}}}, nil))
	if out, err := g.mysqld.SQL("joe", "secret-of-joe", "create table app.t (a int); insert into app.t values (1)"); err != nil {
		t.Fatal(out)
	}

	must(t, g.mysqld.Kill())
	g.sup.started()
	begun := time.Now()
	s = g.until("serving again", func(s protocol.GuestStatus) bool { return serving(s) && s.Mysqld.Pid == 102 })
	t.Logf("serving %s after mysqld was killed", time.Since(begun))
	if out, err := g.mysqld.SQL("joe", "secret-of-joe", "select * from app.t"); err != nil || strings.TrimSpace(out) != "1" {
		t.Fatalf("%v: %s", err, out)
	}

	// The next agent goes on where this one was.
	g.stop()
	g.start()
	g.until("serving under a new agent", func(n protocol.GuestStatus) bool { return serving(n) && n.AgentSince.After(s.AgentSince) })
	if strings.Contains(g.log.String(), "secret-of-joe") {
		t.Error("a password was logged")
	}
	for _, f := range []string{passwordFile, recordFile, accountsFile} {
		st, err := os.Stat(filepath.Join(g.cfg.StateDir, f))
		must(t, err)
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", f, st.Mode().Perm())
		}
	}
	if _, readied := g.sup.counts(); readied != 2 {
		t.Errorf("ready was said %d times by 2 agents", readied)
	}
}

func TestTheNewestRecordDecides(t *testing.T) {
	g := newGuest(t)
	g.start()
	g.until("serving", serving)
	must(t, g.call(protocol.KindPrepare, model.Bootstrap{Users: []model.User{{Name: "joe", Password: "x"}}}, nil))

	other := lone(3)
	other.Primary = "another"
	g.put(other)
	s := g.until("locked", func(s protocol.GuestStatus) bool { return s.Mysqld.State == protocol.MysqldLocked && s.Epoch == 3 })
	if !strings.Contains(s.Fault, "another") {
		t.Errorf("fault %q", s.Fault)
	}
	if out, err := g.mysqld.SQL("joe", "x", "select 1"); err == nil {
		t.Fatalf("a client came into a database that is not the primary: %s", out)
	}
	wantCode(t, g.call(protocol.KindDatabaseList, protocol.ListRequest{}, nil), protocol.CodeNotReady)

	g.put(lone(2)) // older: refused
	members := lone(4)
	members.Members, members.MinAcks, members.SetAcks = []string{"r1"}, 1, 1
	g.put(members)
	g.until("locked by epoch 4", func(s protocol.GuestStatus) bool { return s.Mysqld.State == protocol.MysqldLocked && s.Epoch == 4 })

	// The volume remembers it: neither a new agent nor a mysqld started anew falls back to the configuration's epoch 1.
	g.stop()
	g.store.setAway(true)
	a := g.start()
	must(t, g.mysqld.Kill())
	g.sup.started()
	waitCtx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	must(t, a.status.holds(waitCtx, g.sup.run()))
	if s := a.status.get(); s.Mysqld.State != protocol.MysqldLocked || s.Epoch != 4 {
		t.Fatalf("%+v", s)
	}
	g.store.setAway(false)
	g.put(lone(5))
	g.until("serving at epoch 5", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 5 })
	if out, err := g.mysqld.SQL("joe", "x", "select 1"); err != nil {
		t.Fatal(out)
	}
}

func TestAGateThatSomebodyMovedIsPutBack(t *testing.T) {
	g := newGuest(t)
	a := g.start()
	g.until("serving", serving)
	server, _ := a.status.serving()
	must(t, server.Lock(t.Context()))
	a.wake()
	deadline := time.Now().Add(10 * time.Second)
	for {
		st, err := server.State(t.Context())
		must(t, err)
		if st.Open() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it stays locked")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCoordinationMayComeAndGo(t *testing.T) {
	g := newGuest(t)
	g.start()
	g.until("serving", serving)
	for range 3 {
		g.store.setAway(true)
		must(t, g.call(protocol.KindDatabaseList, protocol.ListRequest{}, nil))
		time.Sleep(50 * time.Millisecond)
		g.store.setAway(false)
		g.until("published again", serving)
	}
	g.store.mu.Lock()
	g.store.puts = 0
	g.store.mu.Unlock()
	time.Sleep(2 * verifyEvery)
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.store.puts != 0 {
		t.Errorf("the status was written %d times while nothing changed", g.store.puts)
	}
}

func TestRestartHappensOncePerSerial(t *testing.T) {
	g := newGuest(t)
	g.start()
	g.until("serving", serving)
	for range 2 {
		must(t, g.call(protocol.KindRestart, protocol.RestartRequest{Serial: 1}, nil))
		var s protocol.GuestStatus
		must(t, g.call(protocol.KindGuestStatus, nil, &s))
		if !serving(s) || s.RestartsDone != 1 {
			t.Fatalf("%+v", s)
		}
	}
	if n, _ := g.sup.counts(); n != 1 {
		t.Fatalf("restarted %d times", n)
	}
	must(t, g.call(protocol.KindRestart, protocol.RestartRequest{Serial: 2}, nil))
	must(t, g.call(protocol.KindRestart, protocol.RestartRequest{Serial: 1}, nil))
	if n, _ := g.sup.counts(); n != 2 {
		t.Fatalf("restarted %d times", n)
	}
	// An agent that died after the restart and before it wrote so down.
	g.stop()
	j := journal{dir: g.cfg.StateDir}
	must(t, j.keepRestarts(restartMarks{Done: 2, Pending: 3, Of: time.Now().Add(-time.Hour)}))
	g.start()
	must(t, g.redeliver(2, protocol.KindRestart, protocol.RestartRequest{Serial: 3}, nil))
	if n, _ := g.sup.counts(); n != 2 {
		t.Fatalf("restarted again: %d", n)
	}
	g.until("done", func(s protocol.GuestStatus) bool { return s.RestartsDone == 3 })
	// One that died before it.
	g.stop()
	must(t, j.keepRestarts(restartMarks{Done: 3, Pending: 4, Of: g.sup.run()}))
	g.start()
	must(t, g.redeliver(2, protocol.KindRestart, protocol.RestartRequest{Serial: 4}, nil))
	if n, _ := g.sup.counts(); n != 3 {
		t.Fatalf("not restarted: %d", n)
	}
}

func TestConfigureAndLogsSurvive(t *testing.T) {
	g := newGuest(t)
	g.start()
	g.until("serving", serving)
	var s protocol.GuestStatus
	must(t, g.call(protocol.KindConfigure, protocol.ConfigureRequest{MemoryMB: 1024, CPUs: 1}, &s))
	if s.ConfigMemMB != 1024 {
		t.Fatalf("%+v", s)
	}
	wantCode(t, g.call(protocol.KindConfigure, protocol.ConfigureRequest{MemoryMB: 50}, nil), protocol.CodeInvalid)
	g.stop()
	a := g.start()
	g.until("the size is remembered", func(s protocol.GuestStatus) bool { return serving(s) && s.ConfigMemMB == 1024 })
	server, _ := a.status.serving()
	if st, err := server.State(t.Context()); err != nil || st.BufferPool != 256<<20 {
		t.Fatalf("%+v, %v", st, err)
	}
	var l protocol.Log
	must(t, g.call(protocol.KindLogSet, protocol.LogSet{Name: "slow_query", Enable: true}, &l))
	must(t, g.call(protocol.KindRestart, protocol.RestartRequest{Serial: 1}, nil))
	s = g.until("serving", serving)
	if s.ConfigMemMB != 512 { // started anew: as the supervisor says
		t.Errorf("config memory %d", s.ConfigMemMB)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		must(t, g.call(protocol.KindLogSet, protocol.LogSet{Name: "slow_query"}, &l))
		if l.Enabled {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the log is off after a restart")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestCalls(t *testing.T) {
	g := newGuest(t)
	a := g.start()
	g.until("serving", serving)
	dbs := []model.Database{{Name: "d1"}, {Name: "d2"}}
	must(t, g.call(protocol.KindDatabaseCreate, dbs, nil))
	wantCode(t, g.call(protocol.KindDatabaseCreate, dbs, nil), protocol.CodeExists)
	must(t, g.redeliver(2, protocol.KindDatabaseCreate, dbs, nil))
	var got []model.Database
	must(t, g.call(protocol.KindDatabaseList, protocol.ListRequest{}, &got))
	if len(got) != 2 || got[0].Name != "d1" {
		t.Fatalf("%+v", got)
	}
	must(t, g.call(protocol.KindDatabaseDelete, protocol.NameRequest{Name: "d2"}, nil))
	wantCode(t, g.call(protocol.KindDatabaseDelete, protocol.NameRequest{Name: "d2"}, nil), protocol.CodeNotFound)
	must(t, g.redeliver(2, protocol.KindDatabaseDelete, protocol.NameRequest{Name: "d2"}, nil))

	users := []model.User{{Name: "joe", Password: "x", Databases: []string{"d1"}}}
	must(t, g.call(protocol.KindUserCreate, users, nil))
	wantCode(t, g.call(protocol.KindUserCreate, users, nil), protocol.CodeExists)
	must(t, g.redeliver(2, protocol.KindUserCreate, users, nil))
	var u model.User
	must(t, g.call(protocol.KindUserShow, protocol.UserRequest{Name: "joe"}, &u))
	if u.Host != "%" || len(u.Databases) != 1 {
		t.Fatalf("%+v", u)
	}
	must(t, g.call(protocol.KindGrant, protocol.GrantRequest{Name: "joe", Databases: []string{"d3"}}, nil))
	must(t, g.call(protocol.KindRevoke, protocol.GrantRequest{Name: "joe", Databases: []string{"d3"}}, nil))
	wantCode(t, g.call(protocol.KindRevoke, protocol.GrantRequest{Name: "joe", Databases: []string{"d3"}}, nil), protocol.CodeNotFound)
	name := "jane"
	must(t, g.call(protocol.KindUserUpdate, protocol.UserUpdate{Name: "joe", NewName: &name}, nil))
	var list []model.User
	must(t, g.call(protocol.KindUserList, protocol.ListRequest{}, &list))
	if len(list) != 1 || list[0].Name != "jane" {
		t.Fatalf("%+v", list)
	}
	must(t, g.call(protocol.KindUserDelete, protocol.UserRequest{Name: "jane"}, nil))

	var root protocol.RootReply
	must(t, g.call(protocol.KindRootEnable, protocol.RootRequest{}, &root))
	if root.Password == "" || !root.Enabled {
		t.Fatal("no password")
	}
	root = protocol.RootReply{}
	must(t, g.call(protocol.KindRootShow, nil, &root))
	if !root.Enabled || root.Password != "" {
		t.Fatal("root is not shown as enabled, or with its password")
	}
	must(t, g.call(protocol.KindRootDisable, nil, nil))
	var logs []protocol.Log
	must(t, g.call(protocol.KindLogList, nil, &logs))
	var chunk protocol.LogChunk
	must(t, g.call(protocol.KindLogRead, protocol.LogRead{Name: "error", Offset: -100}, &chunk))
	if len(logs) != 3 || len(chunk.Data) != 100 {
		t.Fatalf("%+v, %d bytes", logs, len(chunk.Data))
	}
	wantCode(t, g.call("no.such", nil, nil), protocol.CodeInvalid)
	_, err := g.handle(t.Context(), bus.Message{Kind: protocol.KindUserCreate, Body: []byte(`[{"password": 4711`)})
	wantCode(t, err, protocol.CodeInvalid)
	if strings.Contains(err.Error(), "4711") {
		t.Errorf("the error repeats the request: %v", err)
	}
	for kind := range a.handlers {
		if !strings.Contains(kind, ".") {
			t.Errorf("kind %q", kind)
		}
	}
}

func FuzzHandle(f *testing.F) {
	dir := f.TempDir()
	log := newTestLog()
	a := &Agent{
		handlers: handlers(), status: newStatus(protocol.GuestStatus{}), log: log, recheck: make(chan struct{}, 1), roster: newRoster(dir, self, log, func() {}),
		records: newRecords(protocol.GuestConfig{Record: lone(1)}, dir, log, func() {}),
	}
	for kind := range a.handlers {
		f.Add(kind, []byte(`{"name":"x"}`))
	}
	f.Add("user.create", []byte(`[{"name":1}]`))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		switch kind { // these ask the supervisor
		case protocol.KindRestart, protocol.KindConfigure:
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := a.handle(ctx, bus.Message{Kind: kind, Body: body})
		if c := bus.Coder(nil); err != nil && !errors.As(err, &c) {
			t.Fatalf("an error without a code: %v", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
