package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/failover/failovertest"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// sim is a cluster without MySQL: its agents go by the real record in a real etcd, and by failover.Conduct, on servers that are only numbers.
type sim struct {
	t     *testing.T
	store coord.Store
	meta  metastore.Store
	ctx   context.Context

	site *failovertest.Site
}

const simCluster = "c"

// newSim makes a cluster whose members a, b, c are placed and running, but have not heard of a record.
func newSim(t *testing.T, members ...string) *sim {
	t.Helper()
	s := &sim{
		t: t, store: etcdtest.Start(t).Root(t), meta: openStore(t), ctx: t.Context(),
	}
	s.site = failovertest.NewSite(s.ctx, t, s.store)
	now := time.Now().UTC()
	require.NoError(t, s.meta.Update(t.Context(), func(tx metastore.Tx) error {
		if err := tx.Catalogue().PutFlavor(t.Context(), model.Flavor{ID: "1", Name: "f", RAMMB: 512}); err != nil {
			return err
		}
		if err := tx.Catalogue().PutVersion(t.Context(), model.DatastoreVersion{ID: "v", Name: "9.7.4", Created: now}); err != nil {
			return err
		}
		row := model.Cluster{
			ID: simCluster, ProjectID: "p", Name: "c", Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: "v", Policy: "strict", MaxLag: time.Second,
			Status: model.StatusBuild, Created: now, Updated: now,
		}
		if err := tx.Clusters().Create(t.Context(), &row); err != nil {
			return err
		}
		for n, id := range members {
			i := model.Instance{
				ID: id, ProjectID: "p", Name: id, ClusterID: simCluster, Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: "v", FlavorID: "1",
				HostID: "h" + id, Address: fmt.Sprintf("10.0.0.%d", n+1), Status: model.StatusActive, OperatingStatus: model.OperatingHealthy,
				ObservedGeneration: 1, Created: now.Add(time.Duration(n) * time.Millisecond), Updated: now,
			}
			if err := tx.Instances().Create(t.Context(), &i); err != nil {
				return err
			}
		}
		return nil
	}))
	for n, id := range members {
		s.host("h"+id, n)
		_, err := s.ensure(t.Context(), "h"+id, protocol.EnsureRequest{Instance: id, Generation: 1})
		require.NoError(t, err)
	}
	return s
}

// host has a host be there.
func (s *sim) host(id string, n int) {
	s.t.Helper()
	text, err := json.Marshal(protocol.HostStatus{Host: id, RAMMB: 1 << 20, CPUs: 64, DiskGB: 1 << 10, Subnet: fmt.Sprintf("10.0.%d.0/24", n)})
	require.NoError(s.t, err)
	require.NoError(s.t, s.store.Apply(s.ctx, coord.Put(protocol.HostAliveKey(id), text, nil)))
}

// ensure is a sysmgr that has a server run.
func (s *sim) ensure(ctx context.Context, host string, r protocol.EnsureRequest) (protocol.EnsureReply, error) {
	c := protocol.ContainerStatus{Instance: r.Instance, Phase: runningPhase, Generation: r.Generation, Started: time.Now()}
	text, err := json.Marshal(c)
	if err != nil {
		return protocol.EnsureReply{}, err
	}
	s.site.Start(r.Instance, simCluster)
	return protocol.EnsureReply{Container: c}, s.store.Apply(ctx, coord.Put(protocol.HostContainerKey(host, r.Instance), text, nil))
}

// remove is a sysmgr that takes a server away.
func (s *sim) remove(ctx context.Context, host, id string) error {
	s.site.Remove(id)
	return s.store.Apply(ctx, coord.Delete(protocol.HostContainerKey(host, id), 0))
}

// keep runs a nodekeeper; the function that it returns ends it.
func (s *sim) keep() (end func()) { return s.runs(s.keeper()) }

func (s *sim) keeper() *Keeper {
	s.t.Helper()
	k, err := New(Config{Deployment: "test", Coordination: "etcd://x", Range: "10.0.0.0/16", SessionTTL: 2 * time.Second}, Engines{
		Store: s.meta, Coord: s.store, Bus: simBus{s}, Addresses: simAddresses{}, Keys: simKeys{}, Queues: simGates{}, Certs: simGates{},
	}, slog.New(slog.NewTextHandler(testWriter{s.t}, &slog.HandlerOptions{Level: slog.LevelInfo})))
	require.NoError(s.t, err)
	return k
}

// runsUntil runs a nodekeeper that dies when it passes a point.
func (s *sim) runsUntil(k *Keeper, point fault.Point) (dead <-chan struct{}) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(fault.With(ctx, &death{point, cancel})) }()
	s.t.Cleanup(func() { cancel(); <-done })
	return done
}

// death ends a nodekeeper at a point: nothing that comes after it is done.
type death struct {
	at  fault.Point
	end func()
}

func (d *death) Strike(p fault.Point) {
	if p == d.at {
		d.end()
		runtime.Goexit()
	}
}

func (s *sim) runs(k *Keeper) (end func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	end = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(end)
	return end
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { w.t.Log(string(p)); return len(p), nil }

type simAddresses struct{}

func (simAddresses) Next(subnet string, _ []string) (string, error) {
	return strings.Replace(subnet, "0/24", "9", 1), nil
}
func (simAddresses) Endpoint(_ string, used []string) (string, error) {
	if slices.Contains(used, "10.0.255.1") {
		return "10.0.255.2", nil
	}
	return "10.0.255.1", nil
}
func (simAddresses) Ports([]int) (int, int, error) { return 20000, 20001, nil }

// simKeys lets everybody at every key.
type simKeys struct{}

func (simKeys) Admit(context.Context, string, coord.Rights) error { return nil }
func (simKeys) Expel(context.Context, string) error               { return nil }

// simGates lets everybody in, with certificates that are none.
type simGates struct{}

func (simGates) Admit(context.Context, string, []string) error { return nil }
func (simGates) Expel(context.Context, string) error           { return nil }
func (simGates) Principal(string) (ca, cert, key []byte, err error) {
	return []byte("a"), []byte("b"), []byte("c"), nil
}

func (simGates) Database(string, []string) (ca, caKey, cert, key []byte, err error) {
	return []byte("a"), []byte("b"), []byte("c"), []byte("d"), nil
}

func (simGates) Member(_, _ []byte, _ string, _ []string) (cert, key []byte, err error) {
	return []byte("c"), []byte("d"), nil
}

// simBus leads calls to the servers.
type simBus struct{ s *sim }

func (b simBus) Call(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	switch m.Kind {
	case protocol.KindLook:
		return b.look(ctx, queue, m)
	case protocol.KindEnsure:
		var r protocol.EnsureRequest
		if err := json.Unmarshal(m.Body, &r); err != nil {
			return nil, err
		}
		reply, err := b.s.ensure(ctx, strings.TrimPrefix(queue, "host."), r)
		if err != nil {
			return nil, err
		}
		return json.Marshal(reply)
	case protocol.KindRemove:
		var r protocol.RemoveRequest
		if err := json.Unmarshal(m.Body, &r); err != nil {
			return nil, err
		}
		return nil, b.s.remove(ctx, strings.TrimPrefix(queue, "host."), r.Instance)
	case protocol.KindRestart:
		return nil, b.s.restart(strings.TrimPrefix(queue, "guest."), m.Body)
	case protocol.KindGuestStatus:
		return b.look(ctx, queue, bus.Message{Body: []byte("{}")})
	case protocol.KindFence:
		var r protocol.FenceRequest
		if err := json.Unmarshal(m.Body, &r); err != nil {
			return nil, err
		}
		return nil, b.s.fence(ctx, r.Instance, r.Fenced)
	}
	return []byte("{}"), nil
}

func (b simBus) look(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	var r protocol.LookRequest
	if err := json.Unmarshal(m.Body, &r); err != nil {
		return nil, err
	}
	if w, ok := b.s.site.Look(strings.TrimPrefix(queue, "guest."), r.Record); ok {
		return json.Marshal(w)
	}
	<-ctx.Done()
	return nil, bus.ErrTimeout
}

func (simBus) Publish(context.Context, string, bus.Message) error { return nil }
func (simBus) Serve(ctx context.Context, _ string, _ int, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}
func (simBus) Drop(context.Context, string) error                         { return nil }
func (simBus) DeadLetters(context.Context, string) ([]bus.Message, error) { return nil, nil }
func (simBus) Close() error                                               { return nil }

func (s *sim) fence(ctx context.Context, id string, fenced bool) error {
	c, err := json.Marshal(protocol.ContainerStatus{Instance: id, Phase: runningPhase, Generation: 1, Fenced: fenced, Started: time.Now()})
	if err != nil {
		return err
	}
	return s.store.Apply(ctx, coord.Put(protocol.HostContainerKey("h"+id, id), c, nil))
}

// write commits through the endpoint, as a client would; the transaction, if it was acknowledged.
func (s *sim) write() (gtid.Set, bool) {
	e, err := s.store.Get(s.ctx, protocol.EndpointKey(simCluster))
	if err != nil {
		return gtid.Set{}, false
	}
	var to protocol.Endpoint
	if err := json.Unmarshal(e.Value, &to); err != nil {
		s.t.Errorf("the endpoint: %v", err)
	}
	primary := ""
	_ = s.meta.View(s.ctx, func(tx metastore.Tx) error {
		all, err := tx.Instances().List(s.ctx, metastore.InstanceFilter{ClusterID: simCluster})
		for i := range all {
			if all[i].Address == to.Primary {
				primary = all[i].ID
			}
		}
		return err
	})
	return s.site.Commit(primary)
}

// kill has a server be gone, or come back as after a crash.
func (s *sim) kill(id string, back bool) {
	if back {
		s.site.Revive(id, 0)
		return
	}
	s.site.Kill(id)
}

// restart has a server be as after a start.
func (s *sim) restart(id string, body []byte) error {
	var r protocol.RestartRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	s.site.Revive(id, r.Serial)
	return nil
}

// row is the cluster's row.
func (s *sim) row() model.Cluster {
	var row model.Cluster
	require.NoError(s.t, s.meta.View(s.ctx, func(tx metastore.Tx) (err error) {
		row, err = tx.Clusters().Get(s.ctx, simCluster)
		return err
	}))
	return row
}

// until waits for the row to be as wanted.
func (s *sim) until(what string, good func(model.Cluster) bool) model.Cluster {
	s.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		row := s.row()
		if good(row) {
			return row
		}
		if time.Now().After(deadline) {
			record, _ := s.store.Get(s.ctx, protocol.RecordKey(simCluster))
			require.FailNow(s.t, "never "+what, "%+v\n%s", row, record.Value)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func wholeAgain(row model.Cluster) bool {
	return row.Status == model.StatusActive && row.Condition == "" && len(row.Alarms) == 0
}
