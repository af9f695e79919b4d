package sysmgr_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// starts collects when containers began.
type starts struct {
	mu    sync.Mutex
	times []time.Time
}

func (s *starts) add(_ context.Context, p *fake.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, p.Container.Started)
}

func (s *starts) all() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.times...)
}

func dies(context.Context, *fake.Process) int { return 1 }

func testKeepDying(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	var seen starts
	r.engine.OnStart(seen.add)
	r.engine.SetProgram(dies)
	r.start()
	q := r.request()
	_, err := r.ensure(q)
	require.NoError(t, err)
	r.eventually("started again and again", func() bool { return len(seen.all()) >= 4 })
	at := seen.all()
	require.Less(t, at[1].Sub(at[0]), 400*time.Millisecond, "the first time at once")
	require.GreaterOrEqual(t, at[2].Sub(at[1]), 490*time.Millisecond)
	require.GreaterOrEqual(t, at[3].Sub(at[2]), 990*time.Millisecond, "and ever more slowly")
	r.awaitPublished(q, "nodekeeper sees it down", func(s protocol.ContainerStatus) bool { return s.Phase == "exited" && s.ExitCode == 1 })
	r.engine.SetProgram(nil)
	r.awaitPublished(q, "it lives", running)
}

// testKeepOneTimer: however often a dead container is looked at, it is tried once when its pause is over.
func testKeepOneTimer(t *testing.T, r *rig) {
	var seen starts
	r.engine.OnStart(seen.add)
	r.engine.SetProgram(dies)
	r.start()
	_, err := r.ensure(r.request())
	require.NoError(t, err)
	r.eventually("dead, and pausing", func() bool { return len(seen.all()) == 2 })
	for range 100 {
		looked := r.engine.Calls(fake.OpInspect)
		r.engine.LoseEvents(func() {})
		r.eventually("looked at", func() bool { return r.engine.Calls(fake.OpInspect) > looked })
	}
	n := len(seen.all())
	r.eventually("tried again", func() bool { return len(seen.all()) > n })
	before := r.engine.Calls(fake.OpInspect)
	r.eventually("and again", func() bool { return len(seen.all()) > n+1 })
	require.Less(t, r.engine.Calls(fake.OpInspect)-before, 50)
}

func testKeepAfterLostEvents(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	s := r.ensured(q)
	r.engine.LoseEvents(func() { require.NoError(t, r.engine.OOM(r.container(q))) })
	r.awaitPublished(q, "started again", func(now protocol.ContainerStatus) bool { return running(now) && now.Started.After(s.Started) })
}

func testKeepRemovedByHand(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	s := r.ensured(q)
	r.journal.take()
	require.NoError(t, r.driver.Remove(t.Context(), r.container(q)))
	r.awaitPublished(q, "made again", func(now protocol.ContainerStatus) bool { return running(now) && now.Created.After(s.Created) })
	require.Equal(t, []string{"firewall " + q.Address, "volume", "container", "start"}, r.journal.take())
}

func testKeepEngineRestart(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	s := r.ensured(q)
	r.engine.Restart()
	r.awaitPublished(q, "the engine starts it, and nodekeeper knows", func(now protocol.ContainerStatus) bool {
		return running(now) && now.Started.After(s.Started)
	})
}

func testKeepEngineAway(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	s := r.ensured(q)
	before := r.entry(q)
	r.engine.SetDown(true)
	for range 3 {
		r.awaitResync()
	}
	require.Equal(t, before, r.entry(q), "what is not known is not told")
	require.NoError(t, r.engine.Exit(r.container(q), 3))
	r.engine.SetDown(false)
	r.awaitPublished(q, "started again", func(now protocol.ContainerStatus) bool { return running(now) && now.Started.After(s.Started) })
}

// testKeepOneHangs: an engine that does not answer for one container keeps no other from being looked after.
func testKeepOneHangs(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	stuck, q := r.request(), r.request()
	r.ensured(stuck)
	s := r.ensured(q)
	asked := r.engine.Calls(fake.OpInspect)
	r.engine.Inject(fake.Fault{Op: fake.OpInspect, Name: r.container(stuck), Hang: true})
	r.eventually("a resync meets it", func() bool { return r.engine.Calls(fake.OpInspect) > asked+4 })
	require.NoError(t, r.engine.Exit(r.container(q), 1))
	r.awaitPublished(q, "the other is started again", func(now protocol.ContainerStatus) bool { return running(now) && now.Started.After(s.Started) })
	r.engine.LoseEvents(func() {
		require.NoError(t, r.driver.UpdateLimits(t.Context(), r.container(q), runtime.Limits{MemoryMB: 1}))
	})
	r.eventually("and resynced", func() bool { return r.inspect(q).Limits.MemoryMB == 512 })
}

// testKeepStartedAgain: that a container has ended is told, also where the engine has started it again before anybody looked, and where it does not answer meanwhile.
func testKeepStartedAgain(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	s := r.ensured(q)
	events, err := r.admin.Watch(t.Context(), protocol.HostContainerKey(r.cfg.Host, q.Instance))
	require.NoError(t, err)
	require.NoError(t, r.engine.Exit(r.container(q), 137))
	require.NoError(t, r.driver.Start(t.Context(), r.container(q)))
	var phases []string
	for !slices.Contains(phases, "running") {
		select {
		case e := <-events:
			var now protocol.ContainerStatus
			require.NotNil(t, e.Entry)
			require.NoError(t, json.Unmarshal(e.Entry.Value, &now))
			require.Equal(t, running(now), now.Started.After(s.Started), "which run it is of")
			phases = append(phases, now.Phase)
		case <-time.After(20 * time.Second):
			require.Fail(t, "not told", "%v", phases)
		}
	}
	require.Equal(t, []string{"exited", "running"}, phases)

	r.engine.Inject(fake.Fault{Op: fake.OpInspect, Name: r.container(q), Hang: true})
	require.NoError(t, r.engine.Exit(r.container(q), 137))
	r.awaitPublished(q, "its end is told", func(now protocol.ContainerStatus) bool { return now.Phase == string(runtime.PhaseExited) })
}

// testKeepEndWhileItHangs: so it is where somebody waits for the engine's answer about that container already.
func testKeepEndWhileItHangs(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	r.ensured(q)
	r.engine.Inject(fake.Fault{Op: fake.OpInspect, Name: r.container(q), Hang: true})
	asked := r.engine.Calls(fake.OpInspect)
	r.eventually("a resync meets it", func() bool { return r.engine.Calls(fake.OpInspect) > asked })
	require.NoError(t, r.engine.Exit(r.container(q), 137))
	r.awaitPublished(q, "its end is told", func(now protocol.ContainerStatus) bool { return now.Phase == string(runtime.PhaseExited) })
}

// testKeepEndWhileItIsTold: so it is where it ends between the moment at which others see that it runs, and the moment at which this host knows that they do.
func testKeepEndWhileItIsTold(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	var once sync.Once
	r.store.after(func(op coord.Op) {
		var s protocol.ContainerStatus
		if op.Key != protocol.HostContainerKey(r.cfg.Host, q.Instance) || json.Unmarshal(op.Value, &s) != nil || !running(s) {
			return
		}
		once.Do(func() {
			r.engine.Inject(fake.Fault{Op: fake.OpInspect, Name: r.container(q), Hang: true})
			assert.NoError(t, r.engine.Exit(r.container(q), 137))
			time.Sleep(200 * time.Millisecond) // enough for its end to come in, which nobody may wait for
		})
	})
	r.ensured(q)
	r.awaitPublished(q, "its end is told", func(now protocol.ContainerStatus) bool { return now.Phase == string(runtime.PhaseExited) })
}

func testKeepLimits(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	r.ensured(q)
	before := r.inspect(q)
	require.NoError(t, r.driver.UpdateLimits(t.Context(), r.container(q), runtime.Limits{MemoryMB: 9999}))
	r.eventually("put back", func() bool { return r.inspect(q).Limits == before.Limits })
	require.Equal(t, before, r.inspect(q), "without a restart")
}

func testNewerAgent(t *testing.T, r *rig) {
	r.start()
	q, removed := r.request(), r.request()
	r.ensured(q)
	r.ensured(removed)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: removed.Instance}))
	before := r.inspect(q)
	r.stop()
	r.cfg.Programs = sysmgr.Installed("agent-2")
	r.start()
	r.eventually("the guest is told", func() bool { return readGuest(t, r, q).Agent == "agent-2" })
	require.Equal(t, before, r.inspect(q), "the database goes on")
	key, err := os.ReadFile(r.file(q, "etc", "agent-key.pem"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(key), "its other files stay")
	g := readGuest(t, r, q)
	g.Agent = ""
	require.Equal(t, q.Guest, g, "nothing else is changed")
	r.ensured(q)
	require.Equal(t, "agent-2", readGuest(t, r, q).Agent, "nodekeeper has no say in it")
	require.NoDirExists(t, r.file(removed, "etc"))
}
