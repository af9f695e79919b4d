package sysmgr_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// shortResync is for tests that wait for one.
const shortResync = 20 * time.Millisecond

// awaitResync waits for a whole one: the second to begin from now.
func (r *rig) awaitResync() {
	r.t.Helper()
	before := r.wall.asked()
	r.eventually("two resyncs begin", func() bool { return r.wall.asked() >= before+2 })
}

// entry is what nodekeeper sees, with its revision.
func (r *rig) entry(q protocol.EnsureRequest) string {
	r.t.Helper()
	e, err := r.admin.Get(r.t.Context(), protocol.HostContainerKey(r.cfg.Host, q.Instance))
	require.NoError(r.t, err)
	return fmt.Sprintf("%d %s", e.Revision, e.Value)
}

func testStatusAfterCoordination(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	r.store.set(func(coord.Op) error { return coord.ErrUnavailable })
	q := r.request()
	r.ensured(q) // nodekeeper has the answer
	_, ok := r.published(q)
	require.False(t, ok)
	r.store.set(nil)
	r.awaitPublished(q, "made good by the next resync", running)
}

func (r *rig) host() (protocol.HostStatus, string, bool) {
	var s protocol.HostStatus
	e, err := r.admin.Get(r.t.Context(), protocol.HostAliveKey(r.cfg.Host))
	if err != nil {
		return s, "", false
	}
	require.NoError(r.t, json.Unmarshal(e.Value, &s))
	return s, e.Session, true
}

func testAnnounce(t *testing.T, r *rig) {
	r.start()
	r.eventually("announced", func() bool { _, _, ok := r.host(); return ok })
	s, session, _ := r.host()
	require.NotZero(t, s.Since)
	s.Since = time.Time{}
	require.Equal(t, protocol.HostStatus{Host: r.cfg.Host, Version: "1", CPUs: 2, RAMMB: 4096, DiskGB: 50, Engine: "fake 1"}, s)
	require.NotEmpty(t, session, "it goes with the session")

	lease, err := strconv.ParseInt(session, 16, 64)
	require.NoError(t, err)
	_, err = r.admin.Client().Revoke(t.Context(), clientv3.LeaseID(lease))
	require.NoError(t, err)
	r.eventually("announced again, under another session", func() bool { _, now, ok := r.host(); return ok && now != session })
	q := r.request()
	r.ensured(q)
	r.stop()
	_, _, ok := r.host()
	require.False(t, ok, "gone at once when sysmgr is stopped")
	require.Equal(t, runtime.PhaseRunning, r.inspect(q).Phase, "containers outlive it")
	_, ok = r.published(q)
	require.True(t, ok)
}

func testInventory(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	orphan := r.request()
	database := map[string]string{"io.huker.instance": orphan.Instance, "io.huker.role": "database"}
	require.NoError(t, r.driver.Create(t.Context(), runtime.Spec{Name: r.container(orphan), Image: image, Labels: database}))
	require.NoError(t, r.driver.CreateVolume(t.Context(), "lost", database))
	require.NoError(t, r.driver.Create(t.Context(), runtime.Spec{Name: "control", Image: image, Labels: map[string]string{"io.huker.role": "control-plane"}}))
	stranger := r.engine.Open("stranger")
	require.NoError(t, stranger.Create(t.Context(), runtime.Spec{Name: "other", Image: image, Labels: database}))

	var inv protocol.Inventory
	require.NoError(t, r.call(protocol.KindInventory, struct{}{}, &inv))
	phases := map[string]string{}
	for _, c := range inv.Containers {
		phases[c.Instance] = c.Phase
	}
	require.Equal(t, map[string]string{q.Instance: "running", orphan.Instance: "created"}, phases)
	var volumes []string
	for _, v := range inv.Volumes {
		volumes = append(volumes, v.Instance)
		require.NotZero(t, v.Created)
	}
	slices.Sort(volumes)
	require.Equal(t, []string{q.Instance, orphan.Instance}, volumes, "ids begin with the time")
	r.engine.SetDown(true)
	r.refused(r.call(protocol.KindInventory, struct{}{}, nil), protocol.CodeUnavailable)
}

func testFirewallFlushed(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	a, b := r.request(), r.request()
	r.ensured(a)
	r.ensured(b)
	r.wall.flush()
	r.eventually("put back", func() bool { return slices.Equal([]string{a.Address, b.Address}, addresses(r.wall.rules())) })
}

// testFirewallAtStart: a request that comes before anything was looked at shuts nobody else out.
func testFirewallAtStart(t *testing.T, r *rig) {
	r.start()
	a, b := r.request(), r.request()
	r.ensured(a)
	r.ensured(b)
	r.stop()
	r.wall.flush()
	r.engine.Inject(fake.Fault{Op: fake.OpEvents, Delay: time.Second, Times: 1})
	r.start()
	c := r.request()
	r.ensured(c)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: b.Instance, Purge: true}))
	for _, rules := range r.wall.all() {
		require.Contains(t, addresses(rules), a.Address)
	}
	require.Equal(t, []string{a.Address, c.Address}, addresses(r.wall.rules()))
}

// testFirewallOneUnreadable: what is known of one instance being lost costs no other its rules, and the next request mends it.
func testFirewallOneUnreadable(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	a, b := r.request(), r.request()
	r.ensured(a)
	r.ensured(b)
	r.stop()
	require.NoError(t, os.WriteFile(r.file(a, "ensure.json"), nil, 0o600))
	r.wall.flush()
	r.start()
	r.eventually("the other's rules stand", func() bool { return slices.Equal([]string{b.Address}, addresses(r.wall.rules())) })
	r.ensured(a)
	require.Equal(t, []string{a.Address, b.Address}, addresses(r.wall.rules()))
	r.stop()
	r.wall.flush()
	r.start()
	r.eventually("known again", func() bool { return len(r.wall.rules()) == 2 })
}

func testConfiguration(t *testing.T, r *rig) {
	for name, change := range map[string]func(*sysmgr.Config){
		"host":       func(c *sysmgr.Config) { c.Host = "" },
		"deployment": func(c *sysmgr.Config) { c.Deployment = "" },
		"guests":     func(c *sysmgr.Config) { c.GuestsDir = "" },
		"bin":        func(c *sysmgr.Config) { c.BinDir = "" },
		"programs":   func(c *sysmgr.Config) { c.Programs = nil },
		"network":    func(c *sysmgr.Config) { c.Network = "" },
		"relative":   func(c *sysmgr.Config) { c.GuestsDir = "guests" },
		"relative 2": func(c *sysmgr.Config) { c.BinDir = "bin" },
	} {
		cfg := r.cfg
		change(&cfg)
		_, err := sysmgr.New(cfg, engine{r.driver, r.journal}, r.wall, r.admin, r.bus, sysmgr.Capacity{}, slog.New(slog.DiscardHandler))
		require.Error(t, err, name)
	}
	require.NoDirExists(t, r.cfg.GuestsDir, "nothing is touched before Run")
}
