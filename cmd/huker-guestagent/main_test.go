package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// The promises of a guest's agent.
const (
	maxResident = 30 << 20
	maxIdle     = 0.01 // of a core
	// maxOpening is what polling would not fit in on a machine that has other work too; without any it takes a few milliseconds.
	maxOpening = time.Second
)

// supervisor is a stand-in for PID 1, over its real socket: mysqld runs in a container of its own.
type supervisor struct {
	mysqld *mysqltest.Server

	mu      sync.Mutex
	now     control.Status
	changed chan struct{}
	readied int
}

func (s *supervisor) set(change func(*control.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Serial++
	change(&s.now)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *supervisor) started() {
	s.set(func(st *control.Status) {
		n := st.Mysqld.Starts + 1
		st.Mysqld = control.Mysqld{Phase: control.Starting, Pid: 100 + n, Starts: n, Started: time.Now(), Since: time.Now(), MemoryMB: 512}
	})
}

func (s *supervisor) Watch(ctx context.Context, after uint64) (control.Status, error) {
	for {
		s.mu.Lock()
		now, changed := s.now, s.changed
		s.mu.Unlock()
		if now.Serial > after {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, nil
		case <-changed:
		}
	}
}

func (s *supervisor) StartMysqld(context.Context) error  { return errors.ErrUnsupported }
func (s *supervisor) StopMysqld(context.Context) error   { return errors.ErrUnsupported }
func (s *supervisor) ReplaceAgent(context.Context) error { return errors.ErrUnsupported }

func (s *supervisor) KillMysqld(ctx context.Context) error { return s.RestartMysqld(ctx) }

func (s *supervisor) RestartMysqld(context.Context) error {
	if err := s.mysqld.Kill(); err != nil {
		return err
	}
	s.started()
	return nil
}

func (s *supervisor) AgentReady(context.Context, int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readied++
	return nil
}

// rig is a guest on this machine: mysqld in a container, the agent as a process, etcd within the test.
type rig struct {
	t      *testing.T
	binary string
	root   string
	sup    *supervisor
	engine *etcdtest.Engine
	store  *etcd.Store
	bus    *etcdbus.Bus
	agent  *exec.Cmd
	log    bytes.Buffer
}

const self = "4b1f0b8e-0000-4000-8000-000000000002"

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, root: t.TempDir(), binary: filepath.Join(t.TempDir(), "huker-guestagent"), engine: etcdtest.Start(t)}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", r.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	r.store = r.engine.Root(t)
	r.bus = etcdbus.New(r.store, etcdbus.Config{})
	t.Cleanup(func() { _ = r.bus.Close() })
	gate := etcd.NewGatekeeper(r.store)
	principal := "guest." + self
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, gate.Admit(ctx, principal, coord.Rights{Own: []string{protocol.GuestPrefix(self)}, Read: []string{protocol.ClusterPrefix(self)}}))
	require.NoError(t, etcdbus.NewGatekeeper(gate).Admit(ctx, principal, []string{protocol.GuestQueue(self)}))

	p := paths.Under(r.root)
	for _, dir := range []string{p.Etc, p.Run, p.Volume, p.Log()} {
		require.NoError(t, os.MkdirAll(dir, 0o700))
	}
	dialled := r.engine.Config(t, principal)
	for name, content := range map[string][]byte{paths.FileCoordCA: dialled.CA, paths.FileAgentCert: dialled.Cert, paths.FileAgentKey: dialled.Key} {
		require.NoError(t, os.WriteFile(p.Secret(name), content, 0o600))
	}
	m := mysqltest.Start(t) // last: mysqld is to meet an agent that waits for it
	guest, err := json.Marshal(protocol.GuestConfig{Instance: self, Version: "9.7.4", MemoryMB: 512, CPUs: 1, Coordination: engines.Etcd(dialled.Endpoints...),
		Principal: principal, Record: durability.Alone(self)})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.Config(), guest, 0o600))
	require.NoError(t, os.Symlink(m.Socket(), p.MysqldSocket()))

	r.sup = &supervisor{mysqld: m, changed: make(chan struct{})}
	r.sup.started()
	l, err := net.Listen("unix", p.SupervisorSocket())
	require.NoError(t, err)
	server := &http.Server{Handler: control.NewHandler(r.sup), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.agent = exec.Command(r.binary, "-root", r.root) //nolint:noctx // it is killed, hard, by the test
	r.agent.Env = []string{"GOMAXPROCS=1"}
	r.agent.Stderr = &r.log
	require.NoError(r.t, r.agent.Start())
	r.t.Cleanup(r.kill)
}

// kill kills the agent with SIGKILL.
func (r *rig) kill() {
	if r.agent != nil {
		_ = r.agent.Process.Kill()
		_ = r.agent.Wait()
		r.agent = nil
	}
}

func (r *rig) until(what string, ok func(protocol.GuestStatus) bool) protocol.GuestStatus {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Second)
		e, err := r.store.Get(ctx, protocol.GuestStatusKey(self))
		cancel()
		var s protocol.GuestStatus
		if err == nil {
			require.NoError(r.t, json.Unmarshal(e.Value, &s))
			if ok(s) {
				return s
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never %s: %+v, %v", what, s, err)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

func serving(s protocol.GuestStatus) bool { return s.Mysqld.State == protocol.MysqldServing }

func (r *rig) call(kind string, request any) error {
	body, err := json.Marshal(request)
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	_, err = r.bus.Call(ctx, protocol.GuestQueue(self), bus.Message{Kind: kind, Body: body})
	return err
}

func TestTheProgramOnEtcd(t *testing.T) {
	r := newRig(t)
	r.start()
	first := r.until("serving", serving)
	r.openedSoon(t, first)
	require.NoError(t, r.call(protocol.KindPrepare, model.Bootstrap{Databases: []model.Database{{Name: "app"}}, Users: []model.User{{Name: "joe", Password: "secret-of-joe", Databases: []string{"app"}}}}))
	err := r.call(protocol.KindDatabaseCreate, []model.Database{{Name: "app"}})
	var ce *bus.CallError
	require.ErrorAs(t, err, &ce)
	require.Equal(t, protocol.CodeExists, ce.Code)
	query := func() {
		t.Helper()
		out, err := r.sup.mysqld.SQL("joe", "secret-of-joe", "select 1")
		require.NoError(t, err, out)
	}
	query()

	t.Run("killed and begun anew", func(t *testing.T) {
		r.kill()
		query()
		begun := time.Now()
		r.start()
		r.until("serving under a new agent", func(s protocol.GuestStatus) bool { return serving(s) && s.AgentSince.After(first.AgentSince) })
		took := time.Since(begun)
		t.Logf("a new agent had said that it serves %s after its start", took)
		require.NoError(t, r.call(protocol.KindDatabaseList, protocol.ListRequest{}))
	})
	t.Run("mysqld killed", func(t *testing.T) {
		require.NoError(t, r.sup.RestartMysqld(t.Context()))
		s := r.until("serving again", func(s protocol.GuestStatus) bool { return serving(s) && s.Mysqld.Pid == 102 })
		query()
		r.openedSoon(t, s)
	})
	t.Run("a record of another primary and back", func(t *testing.T) {
		for epoch, primary := range []string{"another", self} {
			b, err := json.Marshal(durability.Record{Cluster: self, Epoch: int64(epoch + 2), Primary: primary})
			require.NoError(t, err)
			require.NoError(t, r.store.Apply(t.Context(), coord.Put(protocol.RecordKey(self), b, nil)))
			r.until("at the new epoch", func(s protocol.GuestStatus) bool {
				return s.Epoch == int64(epoch+2) && serving(s) == (primary == self)
			})
		}
	})
	t.Run("etcd away and back", func(t *testing.T) {
		r.engine.Down()
		require.NoError(t, r.sup.RestartMysqld(t.Context()))
		deadline := time.Now().Add(20 * time.Second)
		for {
			if _, err := r.sup.mysqld.SQL("joe", "secret-of-joe", "select 1"); err == nil {
				break
			}
			require.True(t, time.Now().Before(deadline), "the database does not serve while etcd is away")
			time.Sleep(50 * time.Millisecond)
		}
		r.engine.Up(t)
		r.until("published again", func(s protocol.GuestStatus) bool { return serving(s) && s.Mysqld.Pid == 103 })
		require.NoError(t, r.call(protocol.KindDatabaseList, protocol.ListRequest{}))
	})
	t.Run("small and quiet", func(t *testing.T) { smallAndQuiet(t, r.agent.Process.Pid) })
	for _, f := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.agent.Process.Pid, f))
		require.NoError(t, err)
		require.NotContains(t, string(b), "secret")
	}
	pid := r.agent.Process.Pid
	r.kill()
	require.NotContains(t, r.log.String(), "secret-of-joe", "of agent %d", pid)
	password, err := os.ReadFile(filepath.Join(paths.Under(r.root).State(), "agent.password"))
	require.NoError(t, err)
	require.NotContains(t, r.log.String(), string(password))
}

// openedSoon compares when mysqld said that it takes connections with when the agent had opened it.
func (r *rig) openedSoon(t *testing.T, s protocol.GuestStatus) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.sup.mysqld.Dir, "error.log"))
	require.NoError(t, err)
	var ready time.Time
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, "ready for connections") {
			ready, err = time.Parse(time.RFC3339Nano, strings.Fields(l)[0])
			require.NoError(t, err)
		}
	}
	require.False(t, ready.IsZero(), "mysqld never said that it is ready")
	took := s.Mysqld.Since.Sub(ready)
	t.Logf("open %s after mysqld was ready", took)
	if took > maxOpening {
		t.Errorf("open %s after mysqld was ready, more than %s", took, maxOpening)
	}
}

// smallAndQuiet measures the agent at rest.
func smallAndQuiet(t *testing.T, pid int) {
	t.Helper()
	rest := 30 * time.Second
	if testing.Short() {
		rest = 10 * time.Second
	}
	before := cpuOf(t, pid)
	time.Sleep(rest)
	used := cpuOf(t, pid) - before
	share := used.Seconds() / rest.Seconds()
	resident := residentOf(t, pid)
	t.Logf("at rest for %s: %.2f %% of a core, %.1f MB resident", rest, 100*share, float64(resident)/(1<<20))
	if share > maxIdle {
		t.Errorf("%.2f %% of a core, more than %.0f %%", 100*share, 100*maxIdle)
	}
	if resident > maxResident {
		t.Errorf("%d bytes resident, more than %d", resident, maxResident)
	}
}

func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.Atoi(f[11])
	require.NoError(t, err)
	system, err := strconv.Atoi(f[12])
	require.NoError(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

func residentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
