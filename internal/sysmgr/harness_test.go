package sysmgr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// patience bounds what should happen soon.
const patience = 20 * time.Second

const (
	image      = "mysql-of-the-test"
	deployment = "test"
)

// TestSysmgr runs everything on one etcd, for hosts of different names.
func TestSysmgr(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("suite", func(t *testing.T) {
		e := etcdtest.Start(t)
		for name, test := range map[string]func(*testing.T, *rig){
			"EnsureInOrder": testEnsureInOrder, "EnsureTwice": testEnsureTwice, "EnsureStale": testEnsureStale, "EnsureLimits": testEnsureLimits,
			"EnsureNoImage": testEnsureNoImage, "EnsureDiskFull": testEnsureDiskFull, "EnsureEngineAway": testEnsureEngineAway,
			"EnsureFirewallFails": testEnsureFirewallFails, "EnsureAccessFails": testEnsureAccessFails, "BadRequests": testBadRequests,
			"EnsuresAtOnce": testEnsuresAtOnce,
			"Remove":        testRemove, "RemoveKeepsData": testRemoveKeepsData, "RemoveUnknown": testRemoveUnknown, "RemoveLateEnsure": testRemoveLateEnsure,
			"RemoveNotForgotten": testRemoveNotForgotten, "RemoveEngineAway": testRemoveEngineAway,
			"Killed": testKilled, "NewerAgent": testNewerAgent,
			"KeepDying": testKeepDying, "KeepOneTimer": testKeepOneTimer, "KeepAfterLostEvents": testKeepAfterLostEvents, "KeepRemovedByHand": testKeepRemovedByHand,
			"KeepEngineRestart": testKeepEngineRestart, "KeepEngineAway": testKeepEngineAway, "KeepOneHangs": testKeepOneHangs, "KeepStartedAgain": testKeepStartedAgain,
			"KeepEndWhileItHangs": testKeepEndWhileItHangs, "KeepEndWhileItIsTold": testKeepEndWhileItIsTold, "KeepLimits": testKeepLimits,
			"FirewallFlushed": testFirewallFlushed, "FirewallAtStart": testFirewallAtStart, "FirewallOneUnreadable": testFirewallOneUnreadable,
			"Images": testImages, "Programs": testPrograms, "Terms": testTerms, "Place": testPlace, "Endpoints": testEndpoints,
			"StatusAfterCoordination": testStatusAfterCoordination, "Announce": testAnnounce, "Inventory": testInventory, "Configuration": testConfiguration,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // they wait more than they work
				test(t, newRig(t, e))
			})
		}
	})
}

// journal is what was done to the engine and the firewall, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.lines
	j.lines = nil
	return l
}

// engine is the fake with a journal of what changes something.
type engine struct {
	*fake.Driver
	journal *journal
}

func (e engine) CreateVolume(ctx context.Context, name string, labels map[string]string) error {
	e.journal.add("volume")
	return e.Driver.CreateVolume(ctx, name, labels)
}

func (e engine) Create(ctx context.Context, s runtime.Spec) error {
	e.journal.add("container")
	return e.Driver.Create(ctx, s)
}

func (e engine) Start(ctx context.Context, name string) error {
	e.journal.add("start")
	return e.Driver.Start(ctx, name)
}

func (e engine) UpdateLimits(ctx context.Context, name string, l runtime.Limits) error {
	e.journal.add("limits %g %d", l.CPUs, l.MemoryMB)
	return e.Driver.UpdateLimits(ctx, name, l)
}

func (e engine) Stop(ctx context.Context, name string, grace time.Duration) error {
	e.journal.add("stop")
	return e.Driver.Stop(ctx, name, grace)
}

func (e engine) Remove(ctx context.Context, name string) error {
	e.journal.add("remove container")
	return e.Driver.Remove(ctx, name)
}

func (e engine) RemoveVolume(ctx context.Context, name string) error {
	e.journal.add("remove volume")
	return e.Driver.RemoveVolume(ctx, name)
}

// wall is a firewall that remembers, and that fails when told to. It outlives sysmgr, as the kernel's rules do.
type wall struct {
	journal *journal

	mu    sync.Mutex
	calls int
	sets  [][]network.Access
	fail  error
}

func (w *wall) Set(_ context.Context, access []network.Access) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if w.fail != nil {
		return w.fail
	}
	w.sets = append(w.sets, slices.Clone(access))
	w.journal.add("firewall %s", strings.Join(addresses(access), " "))
	return nil
}

func addresses(access []network.Access) []string {
	var all []string
	for _, a := range access {
		all = append(all, a.Address)
	}
	return all
}

func (w *wall) failWith(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// rules gives those in effect.
func (w *wall) rules() []network.Access {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sets) == 0 {
		return nil
	}
	return w.sets[len(w.sets)-1]
}

// asked says how often Set was called.
func (w *wall) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

func (w *wall) all() [][]network.Access {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sets)
}

// flush is what somebody else's iptables -F does; history goes too.
func (w *wall) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = nil
}

// faulty is a store some of whose changes fail, or are made and not answered at once.
type faulty struct {
	coord.Store

	mu   sync.Mutex
	fail func(coord.Op) error
	made func(coord.Op)
}

func (f *faulty) Apply(ctx context.Context, ops ...coord.Op) error {
	f.mu.Lock()
	fail, made := f.fail, f.made
	f.mu.Unlock()
	for _, op := range ops {
		if fail == nil {
			break
		}
		if err := fail(op); err != nil {
			return err
		}
	}
	err := f.Store.Apply(ctx, ops...)
	for _, op := range ops {
		if err == nil && made != nil {
			made(op)
		}
	}
	return err
}

// after has f be called between each change and its answer.
func (f *faulty) after(made func(coord.Op)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made = made
}

func (f *faulty) set(fail func(coord.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// rig is a host without its sysmgr: an engine, a firewall, a directory, and the services that it talks to.
type rig struct {
	t       *testing.T
	etcd    *etcdtest.Engine
	journal *journal
	engine  *fake.Engine
	driver  *fake.Driver
	wall    *wall
	store   *faulty // sysmgr's
	admin   *etcd.Store
	bus     bus.Bus // nodekeeper's
	cfg     sysmgr.Config
	stop    func()
	serial  int
}

func newRig(t *testing.T, e *etcdtest.Engine) *rig {
	t.Helper()
	dir := t.TempDir()
	j := &journal{}
	r := &rig{t: t, etcd: e, journal: j, engine: fake.New(), wall: &wall{journal: j}, admin: e.Root(t), stop: func() {}}
	r.engine.RestartPause = time.Hour // what restarts a container here is sysmgr
	r.engine.AddImage(runtime.Image{Ref: image})
	r.driver = r.engine.Open(deployment)
	_, err := r.driver.EnsureNetwork(t.Context(), deployment, "10.88.0.0/24", nil)
	require.NoError(t, err)
	r.cfg = sysmgr.Config{
		Host: "host-" + testenv.Suffix(t), Deployment: deployment, Version: "1", GuestsDir: filepath.Join(dir, "guests"), BinDir: filepath.Join(dir, "bin"),
		Programs: sysmgr.Installed("agent-1"), Network: deployment, UID: os.Getuid(), GID: os.Getgid(),
		Resync: time.Hour, // a test that is about it has it shorter
	}
	caller := etcdbus.New(r.admin, etcdbus.Config{})
	r.bus = caller
	t.Cleanup(func() { _ = caller.Close() })
	return r
}

// start runs a sysmgr, on what an earlier one left.
func (r *rig) start() { r.startIn(context.WithoutCancel(r.t.Context())) }

func (r *rig) startIn(ctx context.Context) {
	r.t.Helper()
	store := r.etcd.Root(r.t)
	r.t.Cleanup(func() { r.stop() }) // before the store is closed
	r.store = &faulty{Store: store}
	server := etcdbus.New(store, etcdbus.Config{})
	h, err := sysmgr.New(r.cfg, engine{r.driver, r.journal}, r.wall, r.store, server, sysmgr.Capacity{CPUs: 2, RAMMB: 4096, DiskGB: 50, Engine: "fake 1"}, logger())
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	r.stop = func() {
		r.stop = func() {}
		cancel()
		select {
		case err := <-ended:
			require.NoError(r.t, err)
		case <-time.After(patience):
			require.Fail(r.t, "sysmgr does not end")
		}
		require.NoError(r.t, server.Close())
		require.NoError(r.t, store.Close())
	}
}

func logger() *slog.Logger {
	if os.Getenv("HUKER_TEST_LOG") == "" {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// request asks for another instance.
func (r *rig) request() protocol.EnsureRequest {
	r.serial++
	id := uuid.Must(uuid.NewV7()).String()
	return protocol.EnsureRequest{
		Instance: id, Generation: 1, Image: image, Address: fmt.Sprintf("10.88.0.%d", 10+r.serial), CPUs: 1, MemoryMB: 512,
		Access: model.Access{AllowedCIDRs: []string{"192.168.7.0/24"}},
		Guest:  protocol.GuestConfig{Instance: id, Deployment: deployment, Version: "9.7.4", MemoryMB: 512},
		Files:  map[string][]byte{"agent-key.pem": []byte("secret"), "ca.pem": []byte("public")},
	}
}

func (r *rig) call(kind string, request, reply any) error {
	body, err := json.Marshal(request)
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	answer, err := r.bus.Call(ctx, protocol.HostQueue(r.cfg.Host), bus.Message{Kind: kind, Body: body})
	if err == nil && reply != nil {
		require.NoError(r.t, json.Unmarshal(answer, reply))
	}
	return err
}

func (r *rig) ensure(q protocol.EnsureRequest) (protocol.ContainerStatus, error) {
	var reply protocol.EnsureReply
	err := r.call(protocol.KindEnsure, q, &reply)
	return reply.Container, err
}

// ensured is ensure of what must come about.
func (r *rig) ensured(q protocol.EnsureRequest) protocol.ContainerStatus {
	r.t.Helper()
	s, err := r.ensure(q)
	require.NoError(r.t, err)
	require.Equal(r.t, string(runtime.PhaseRunning), s.Phase)
	return s
}

func (r *rig) remove(q protocol.RemoveRequest) error { return r.call(protocol.KindRemove, q, nil) }

// refused asks that an error came with that code.
func (r *rig) refused(err error, code string) {
	r.t.Helper()
	var called *bus.CallError
	require.ErrorAs(r.t, err, &called)
	require.Equal(r.t, code, called.Code, called.Message)
}

func (r *rig) container(q protocol.EnsureRequest) string { return deployment + "-db-" + q.Instance }

func (r *rig) inspect(q protocol.EnsureRequest) runtime.State {
	r.t.Helper()
	s, err := r.driver.Inspect(r.t.Context(), r.container(q))
	require.NoError(r.t, err)
	return s
}

func (r *rig) file(q protocol.EnsureRequest, parts ...string) string {
	return filepath.Join(append([]string{r.cfg.GuestsDir, q.Instance}, parts...)...)
}

// published is what nodekeeper sees; false when there is nothing.
func (r *rig) published(q protocol.EnsureRequest) (protocol.ContainerStatus, bool) {
	var s protocol.ContainerStatus
	e, err := r.admin.Get(r.t.Context(), protocol.HostContainerKey(r.cfg.Host, q.Instance))
	if errors.Is(err, coord.ErrNotFound) {
		return s, false
	}
	require.NoError(r.t, err)
	require.NoError(r.t, json.Unmarshal(e.Value, &s))
	return s, true
}

// awaitPublished waits until nodekeeper sees what it should.
func (r *rig) awaitPublished(q protocol.EnsureRequest, what string, ok func(protocol.ContainerStatus) bool) {
	r.t.Helper()
	r.eventually(what, func() bool {
		s, there := r.published(q)
		return there && ok(s)
	})
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	require.Eventually(r.t, ok, patience, 5*time.Millisecond, what)
}

func running(s protocol.ContainerStatus) bool { return s.Phase == string(runtime.PhaseRunning) }

// idle waits until sysmgr has looked at everything once, so that a journal holds only what comes after.
func (r *rig) idle() {
	r.t.Helper()
	require.NoError(r.t, r.call(protocol.KindInventory, struct{}{}, nil))
	r.eventually("the first resync is done", func() bool { return len(r.wall.all()) > 0 })
}
