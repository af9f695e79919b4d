package sysmgr_test

import (
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

func readGuest(t *testing.T, r *rig, q protocol.EnsureRequest) protocol.GuestConfig {
	t.Helper()
	var g protocol.GuestConfig
	data, err := os.ReadFile(r.file(q, "etc", "guest.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

func testEnsureInOrder(t *testing.T, r *rig) {
	r.start()
	r.idle()
	r.journal.take()
	q := r.request()
	s := r.ensured(q)
	require.Equal(t, []string{"firewall " + q.Address, "volume", "container", "start"}, r.journal.take(), "the firewall stands before anything can listen")
	require.EqualValues(t, 1, s.Generation)

	state := r.inspect(q)
	require.Equal(t, q.Address, state.Address)
	require.Equal(t, q.Instance, state.Labels["io.huker.instance"])
	require.Equal(t, runtime.Limits{CPUs: 1, MemoryMB: 512, Pids: 4096}, state.Limits)
	require.False(t, r.wall.rules()[0].Public)
	require.Equal(t, q.Access.AllowedCIDRs, r.wall.rules()[0].AllowedCIDRs)
	volumes, err := r.driver.ListVolumes(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	require.Equal(t, q.Instance, volumes[0].Labels["io.huker.instance"])
	published, ok := r.published(q)
	require.True(t, ok)
	require.Equal(t, s, published)

	for name, want := range map[string]string{"agent-key.pem": "secret", "ca.pem": "public"} {
		i, err := os.Stat(r.file(q, "etc", name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o400), i.Mode(), name)
		data, err := os.ReadFile(r.file(q, "etc", name))
		require.NoError(t, err)
		require.Equal(t, want, string(data))
	}
	for _, dir := range []string{r.file(q), r.file(q, "etc")} {
		i, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), i.Mode().Perm(), dir)
	}
	g := readGuest(t, r, q)
	require.Equal(t, "agent-1", g.Agent, "the host says which agent runs on it")
	require.Equal(t, q.Instance, g.Instance)
	var kept protocol.EnsureRequest
	data, err := os.ReadFile(r.file(q, "ensure.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &kept))
	require.Empty(t, kept.Files, "private files are in one place only")
}

func testEnsureTwice(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	before, e := r.inspect(q), r.entry(q)
	r.journal.take()
	r.ensured(q)
	require.Equal(t, []string{"firewall " + q.Address}, r.journal.take(), "which changes nothing that is there already")
	require.Equal(t, before, r.inspect(q))
	require.Equal(t, e, r.entry(q), "nodekeeper is told nothing that it knows")
}

func testEnsureStale(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	q.Generation = 5
	r.ensured(q)
	old := q
	old.Generation, old.MemoryMB, old.Access.IsPublic = 4, 2048, true
	_, err := r.ensure(old)
	r.refused(err, protocol.CodeStale)
	r.stop()
	r.start()
	_, err = r.ensure(old)
	r.refused(err, protocol.CodeStale)
	require.Equal(t, 512, r.inspect(q).Limits.MemoryMB)
	require.False(t, r.wall.rules()[0].Public)
	r.ensured(q)
	r.awaitPublished(q, "the newer stays", func(s protocol.ContainerStatus) bool { return s.Generation == 5 })
}

func testEnsureLimits(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	before := r.inspect(q)
	r.journal.take()
	q.Generation, q.CPUs, q.MemoryMB, q.Guest.MemoryMB = 2, 2, 1024, 1024
	s := r.ensured(q)
	require.EqualValues(t, 2, s.Generation)
	require.Equal(t, []string{"firewall " + q.Address, "limits 2 1024"}, r.journal.take())
	after := r.inspect(q)
	require.Equal(t, runtime.Limits{CPUs: 2, MemoryMB: 1024, Pids: 4096}, after.Limits)
	require.Equal(t, before.Started, after.Started, "without a restart")
	require.Equal(t, 1024, readGuest(t, r, q).MemoryMB)
}

func testEnsureNoImage(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	q.Image = "not-built-yet"
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeNoImage)
	require.ErrorContains(t, err, "huker image build", "it says what to do")
	r.awaitPublished(q, "nodekeeper knows why", func(s protocol.ContainerStatus) bool {
		return s.Phase == protocol.PhaseAbsent && s.Error == err.Error()
	})
	told := r.entry(q)
	for range 10 { // tried again, and paused
		r.awaitResync()
		require.Equal(t, told, r.entry(q), "and goes on knowing")
	}
	r.engine.AddImage(runtime.Image{Ref: q.Image})
	r.awaitPublished(q, "it comes about with nobody's help", func(s protocol.ContainerStatus) bool { return running(s) && s.Error == "" })
}

func testEnsureDiskFull(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	for _, op := range []fake.Op{fake.OpCreateVolume, fake.OpCreate, fake.OpStart} {
		r.engine.Inject(fake.Fault{Op: op, Err: runtime.ErrNoSpace, Times: 1})
		_, err := r.ensure(q)
		r.refused(err, protocol.CodeNoSpace)
		require.ErrorContains(t, err, "the host's disk is full")
		s, ok := r.published(q)
		require.True(t, ok)
		require.Equal(t, err.Error(), s.Error)
	}
	r.ensured(q)

	// The host's own disk, with the guests' files.
	q = r.request()
	require.NoError(t, os.MkdirAll(r.file(q, "etc"), 0o700))
	require.NoError(t, os.Symlink("/dev/full", r.file(q, "etc", "ca.pem.tmp")))
	r.journal.take()
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeNoSpace)
	require.Empty(t, r.journal.take(), "nothing is made that is not written down")
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
}

func testEnsureEngineAway(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	before := r.entry(q)
	r.engine.SetDown(true)
	q.Generation, q.MemoryMB = 2, 1024
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeUnavailable)
	require.Equal(t, before, r.entry(q), "what is not known is not told: the database may be running")
	r.engine.SetDown(false)
	r.awaitPublished(q, "carried out when the engine is back", func(s protocol.ContainerStatus) bool { return running(s) && s.Generation == 2 })
	require.Equal(t, 1024, r.inspect(q).Limits.MemoryMB)

	// It goes away when all is done but the telling.
	q = r.request()
	looked := r.engine.Calls(fake.OpInspect)
	r.ensured(q)
	r.eventually("the event of its start is dealt with", func() bool { return r.engine.Calls(fake.OpInspect) >= looked+4 })
	before = r.entry(q)
	r.engine.Inject(fake.Fault{Op: fake.OpInspect, Times: 1})
	r.engine.Inject(fake.Fault{Op: fake.OpInspect, Times: 1, Err: runtime.ErrUnavailable})
	_, err = r.ensure(q)
	r.refused(err, protocol.CodeUnavailable)
	require.Equal(t, before, r.entry(q))
}

func testEnsureFirewallFails(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	r.idle()
	r.wall.failWith(errors.New("xtables is locked"))
	q := r.request()
	_, err := r.ensure(q)
	require.ErrorContains(t, err, "xtables is locked")
	for range 3 { // nor does a resync
		r.awaitResync()
	}
	require.Zero(t, r.engine.Calls(fake.OpStart), "nothing listens without a firewall")
	r.wall.failWith(nil)
	r.awaitPublished(q, "it comes about with nobody's help", func(s protocol.ContainerStatus) bool { return running(s) && s.Error == "" })
	require.Equal(t, q.Address, r.wall.rules()[0].Address)
}

// testEnsureAccessFails: nodekeeper must not take for done what is not.
func testEnsureAccessFails(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	q.Access.IsPublic = true
	r.ensured(q)
	r.wall.failWith(errors.New("xtables is locked"))
	q.Generation, q.Access.IsPublic = 2, false
	_, err := r.ensure(q)
	require.Error(t, err)
	for range 3 {
		r.awaitResync()
		s, _ := r.published(q)
		require.EqualValues(t, 1, s.Generation, "the firewall still lets everybody in")
		require.True(t, running(s))
	}
	r.wall.failWith(nil)
	r.awaitPublished(q, "it is made good", func(s protocol.ContainerStatus) bool { return s.Generation == 2 && s.Error == "" })
	require.False(t, r.wall.rules()[0].Public)
}

func testBadRequests(t *testing.T, r *rig) {
	r.start()
	r.idle()
	r.journal.take()
	for _, id := range []string{"", ".", "../x", "A1B2C3D4-0000-7000-8000-000000000000", "0198a1b2-0000-7000-8000-00000000000"} {
		q := r.request()
		q.Instance = id
		_, err := r.ensure(q)
		r.refused(err, protocol.CodeInvalid)
		r.refused(r.remove(protocol.RemoveRequest{Instance: id, Purge: true}), protocol.CodeInvalid)
	}
	for _, name := range []string{"../ensure.json", ".hidden", "a/b", ""} {
		q := r.request()
		q.Files[name] = []byte("x")
		_, err := r.ensure(q)
		r.refused(err, protocol.CodeInvalid)
		require.NoFileExists(t, r.file(q, "etc", "ca.pem"), "nothing is written of a request that cannot be right")
	}
	r.refused(r.call(protocol.KindEnsure, "no object", nil), protocol.CodeInvalid)
	var called *bus.CallError
	require.ErrorAs(t, r.call("instance.dance", struct{}{}, nil), &called)
	require.Contains(t, called.Message, "unknown kind")
	require.Empty(t, r.journal.take())
}

func testEnsuresAtOnce(t *testing.T, r *rig) {
	r.start()
	r.idle()
	r.journal.take()
	q, other := r.request(), r.request()
	errs := make(chan error, 12)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			one := q
			if i%3 == 0 {
				one = other
			}
			_, err := r.ensure(one)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	made := map[string]int{}
	for _, line := range r.journal.take() {
		made[line]++
	}
	require.Equal(t, 2, made["container"])
	require.Equal(t, 2, made["start"])
	require.Len(t, r.wall.rules(), 2)
}
