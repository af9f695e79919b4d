package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// fakeStore is coordination in memory that can be away.
type fakeStore struct {
	mu       sync.Mutex
	away     bool
	values   map[string]coord.Entry
	watchers map[chan coord.Event]string
	sessions []*fakeSession
	puts     int
	revision int64
}

var _ coord.Store = (*fakeStore)(nil)

func newFakeStore() *fakeStore {
	return &fakeStore{values: map[string]coord.Entry{}, watchers: map[chan coord.Event]string{}}
}

type fakeSession struct {
	id   string
	done chan struct{}
	once sync.Once
}

func (s *fakeSession) ID() string                  { return s.id }
func (s *fakeSession) Done() <-chan struct{}       { return s.done }
func (s *fakeSession) Close(context.Context) error { s.once.Do(func() { close(s.done) }); return nil }

// count is how often something ephemeral was written.
func (f *fakeStore) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.puts
}

func (f *fakeStore) check() error {
	if f.away {
		return fmt.Errorf("fake: %w", coord.ErrUnavailable)
	}
	return nil
}

func (f *fakeStore) Get(_ context.Context, key string) (coord.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return coord.Entry{}, err
	}
	e, ok := f.values[key]
	if !ok {
		return e, coord.ErrNotFound
	}
	return e, nil
}

func (f *fakeStore) List(context.Context, string) ([]coord.Entry, error) { return nil, nil }

func (f *fakeStore) Apply(_ context.Context, ops ...coord.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return err
	}
	for _, op := range ops {
		e := coord.Entry{Key: op.Key, Value: op.Value}
		if op.Session != nil {
			select {
			case <-op.Session.Done():
				return coord.ErrSessionLost
			default:
			}
			e.Session = op.Session.ID()
			f.puts++
		}
		f.revision++
		e.Revision = coord.Revision(f.revision)
		f.values[op.Key] = e
		for w, prefix := range f.watchers {
			if strings.HasPrefix(op.Key, prefix) {
				w <- coord.Event{Key: op.Key, Entry: &e}
			}
		}
	}
	return nil
}

func (f *fakeStore) Watch(ctx context.Context, prefix string) (<-chan coord.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return nil, err
	}
	w := make(chan coord.Event, 100)
	f.watchers[w] = prefix
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
		close(w)
	})
	return w, nil
}

func (f *fakeStore) NewSession(context.Context, time.Duration) (coord.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(); err != nil {
		return nil, err
	}
	s := &fakeSession{id: fmt.Sprint(len(f.sessions)), done: make(chan struct{})}
	f.sessions = append(f.sessions, s)
	return s, nil
}

func (f *fakeStore) Close() error { return nil }

// setAway takes coordination away; the sessions are lost, and what hangs on them.
func (f *fakeStore) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
	if !away {
		return
	}
	for _, s := range f.sessions {
		_ = s.Close(context.Background())
	}
	for k, e := range f.values {
		if e.Session != "" {
			delete(f.values, k)
		}
	}
}

// fakeBus hands calls straight to who serves.
type fakeBus struct {
	bus.Bus
	handler chan bus.Handler
}

func newFakeBus() *fakeBus { return &fakeBus{handler: make(chan bus.Handler, 1)} }

func (f *fakeBus) Serve(ctx context.Context, _ string, _ int, h bus.Handler) error {
	select {
	case f.handler <- h:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}

// fakeSupervisor speaks for a mysqltest.Server, which starts mysqld again by itself.
type fakeSupervisor struct {
	mysqld *mysqltest.Server

	mu       sync.Mutex
	changed  chan struct{}
	now      control.Status
	restarts int
	readied  int
	replaced int
	down     bool
}

var _ Supervisor = (*fakeSupervisor)(nil)

func newFakeSupervisor(m *mysqltest.Server) *fakeSupervisor {
	f := &fakeSupervisor{mysqld: m, changed: make(chan struct{})}
	f.started()
	return f
}

// started tells of a new mysqld.
func (f *fakeSupervisor) started() {
	f.set(func(s *control.Status) {
		s.Mysqld.Starts++
		s.Mysqld = control.Mysqld{Phase: control.Starting, Pid: 100 + s.Mysqld.Starts, Starts: s.Mysqld.Starts, Started: time.Now(), Since: time.Now(), MemoryMB: 512}
	})
}

func (f *fakeSupervisor) set(change func(*control.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.Serial++
	change(&f.now)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeSupervisor) Watch(ctx context.Context, after uint64) (control.Status, error) {
	for {
		f.mu.Lock()
		now, changed, down := f.now, f.changed, f.down
		f.mu.Unlock()
		if down {
			return control.Status{}, control.ErrUnavailable
		}
		if now.Serial > after {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return control.Status{}, ctx.Err()
		case <-changed:
		}
	}
}

func (f *fakeSupervisor) RestartMysqld(context.Context) error {
	f.mu.Lock()
	f.restarts++
	f.mu.Unlock()
	if err := f.mysqld.Kill(); err != nil {
		return err
	}
	f.started()
	return nil
}

func (f *fakeSupervisor) KillMysqld(ctx context.Context) error { return f.RestartMysqld(ctx) }

func (f *fakeSupervisor) ReplaceAgent(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaced++
	return nil
}

func (f *fakeSupervisor) Ready(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readied++
	return nil
}

// counts gives how often mysqld was restarted and an agent was ready.
func (f *fakeSupervisor) counts() (restarts, readied int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.restarts, f.readied
}

// run is the start of the present mysqld.
func (f *fakeSupervisor) run() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now.Mysqld.Started
}

// guest is an agent with all that it needs.
type guest struct {
	t      *testing.T
	cfg    Config
	mysqld *mysqltest.Server
	sup    *fakeSupervisor
	store  *fakeStore
	bus    *fakeBus
	log    *lockedBuffer
	handle bus.Handler
	stop   func()
	agent  *Agent
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const self = "4b1f0b8e-0000-4000-8000-000000000001"

func lone(epoch int64) durability.Record {
	return durability.Record{Cluster: self, Epoch: epoch, Primary: self}
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	m := mysqltest.Start(t)
	g := &guest{t: t, mysqld: m, store: newFakeStore(), log: &lockedBuffer{}}
	g.sup = newFakeSupervisor(m)
	volume := t.TempDir()
	g.cfg = Config{
		Guest:   protocol.GuestConfig{Instance: self, Version: "9.7.4", MemoryMB: 512, Record: lone(1)},
		Version: "test", Socket: m.Socket(), StateDir: volume + "/huker", VolumeDir: volume,
		Logs:       admin.Logs{Error: m.Dir + "/error.log", SlowQuery: m.Dir + "/slow.log", General: m.Dir + "/general.log"},
		Supervisor: g.sup, Store: g.store, Log: slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Settings: func(r protocol.ConfigureRequest, granule int64) (map[string]string, error) {
			if r.MemoryMB < 100 || granule == 0 {
				return nil, errors.New("too small")
			}
			return map[string]string{"innodb_buffer_pool_size": fmt.Sprint(int64(r.MemoryMB) / 4 << 20 / granule * granule)}, nil
		},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(g.log.String())
		}
	})
	return g
}

// start runs a new agent; the one before must have been stopped.
func (g *guest) start() *Agent {
	g.t.Helper()
	g.bus = newFakeBus()
	g.cfg.Bus = g.bus
	a, err := New(g.cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			g.t.Errorf("Run: %v", err)
		}
	}()
	g.stop = sync.OnceFunc(func() { cancel(); <-done })
	g.t.Cleanup(g.stop)
	g.handle = <-g.bus.handler
	g.agent = a
	return a
}

// published is the present agent's status in coordination; zero while there is none.
func (g *guest) published() protocol.GuestStatus {
	s := g.anyPublished()
	if now := g.agent.status.get(); !s.AgentSince.Equal(now.AgentSince) {
		return protocol.GuestStatus{}
	}
	return s
}

func (g *guest) anyPublished() protocol.GuestStatus {
	var s protocol.GuestStatus
	e, err := g.store.Get(context.Background(), protocol.GuestStatusKey(self))
	if err == nil {
		if err := json.Unmarshal(e.Value, &s); err != nil {
			g.t.Errorf("the status in coordination: %v", err)
		}
	}
	return s
}

// until waits for the published status to be as wanted.
func (g *guest) until(what string, ok func(protocol.GuestStatus) bool) protocol.GuestStatus {
	g.t.Helper()
	deadline := time.Now().Add(2 * time.Minute) // patience, not a measure: it is for a machine that does much else
	for {
		s := g.published()
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("never %s; last: %+v", what, s)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func serving(s protocol.GuestStatus) bool { return s.Mysqld.State == protocol.MysqldServing }

// call asks the agent; reply may be nil.
func (g *guest) call(kind string, request, reply any) error {
	g.t.Helper()
	return g.redeliver(1, kind, request, reply)
}

func (g *guest) redeliver(delivery int, kind string, request, reply any) error {
	g.t.Helper()
	var body []byte
	if request != nil {
		var err error
		if body, err = json.Marshal(request); err != nil {
			g.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b, err := g.handle(ctx, bus.Message{ID: "1", Kind: kind, Body: body, Delivery: delivery})
	if err == nil && reply != nil {
		if err := json.Unmarshal(b, reply); err != nil {
			g.t.Fatal(err)
		}
	}
	return err
}

func (g *guest) put(rec durability.Record) {
	g.t.Helper()
	b, err := json.Marshal(rec)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.store.Apply(context.Background(), coord.Put(protocol.RecordKey(self), b, nil)); err != nil {
		g.t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var c bus.Coder
	if !errors.As(err, &c) || c.ErrorCode() != code {
		t.Fatalf("got %v, want an error with code %q", err, code)
	}
}
