package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover/failovertest"
	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// Size of the simulated clusters: three members each, on hosts next to each other.
const (
	manyClusters = 1000
	manyHosts    = 300
	hostsLost    = 100
)

// BenchmarkPrimariesLost measures how long one nodekeeper takes to decide, and to have carried out, what is to be done when 100 of 300 hosts are lost at
// once, with the primaries of a third of 1,000 clusters. Agents, servers and hosts are simulated; nodekeeper, etcd and the metadata (SQLite) are real.
func BenchmarkPrimariesLost(b *testing.B) {
	n := sizeFrom(b, "HUKER_BENCH_CLUSTERS", manyClusters)
	for b.Loop() {
		m := newMany(b, n)
		began := time.Now()
		m.until(b, "founded", func(r durability.Record) bool { return r.Intent == nil && len(r.Members) == 2 && r.MinAcks == 1 }, m.all())
		founded := time.Since(began)
		time.Sleep(3 * time.Second) // what founding leaves to be written down is written

		affected := m.lose(hostsLost)
		began = time.Now()
		m.until(b, "decided", func(r durability.Record) bool { return !m.dead[r.Primary] }, affected)
		decided := time.Since(began)
		m.until(b, "open", func(r durability.Record) bool { return r.Intent == nil && len(m.site.Open(r.Cluster)) == 1 }, affected)
		opened := time.Since(began)
		b.ReportMetric(decided.Seconds(), "decided-s")
		b.ReportMetric(opened.Seconds(), "open-s")
		b.Logf("%d clusters, founded in %s; %d of them lost their primary at once: all decided after %s, all open after %s", n, founded.Round(time.Millisecond),
			len(affected), decided.Round(time.Millisecond), opened.Round(time.Millisecond))
		m.end()
	}
}

type many struct {
	b     *testing.B
	store coord.Store
	site  *failovertest.Site
	n     int
	dead  map[string]bool
	end   func()
}

func (m *many) cluster(i int) string { return fmt.Sprintf("c%04d", i) }

func (m *many) all() []string {
	var ids []string
	for i := range m.n {
		ids = append(ids, m.cluster(i))
	}
	return ids
}

// hostOf says where a member is: each of a cluster's in another failure domain, of which one is lost.
func hostOf(cluster, member int) int { return (cluster + member*hostsLost) % manyHosts }

func newMany(b *testing.B, n int) *many {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	m := &many{b: b, store: etcdtest.Start(b).Root(b), n: n, dead: map[string]bool{}}
	m.site = failovertest.NewSite(ctx, b, m.store)
	require.NoError(b, m.site.Share())
	require.NoError(b, m.site.Follow())
	meta, err := sqlite.Open(ctx, filepath.Join(b.TempDir(), "meta.db"))
	require.NoError(b, err)
	m.write(ctx, meta)

	k, err := keeper.New(keeper.Config{Deployment: "bench", Coordination: "etcd://x", Range: "10.0.0.0/8", Resync: time.Minute}, keeper.Engines{
		Store: meta, Coord: m.store, Bus: agents{m.site}, Addresses: noAddresses{},
	}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = k.Run(ctx) })
	m.end = sync.OnceFunc(func() { cancel(); wg.Wait(); _ = meta.Close() })
	b.Cleanup(m.end)
	return m
}

// write has hosts, clusters and members be there, placed and running.
func (m *many) write(ctx context.Context, meta metastore.Store) {
	now := time.Now().UTC()
	for h := range manyHosts {
		text, err := json.Marshal(protocol.HostStatus{Host: hostName(h)})
		require.NoError(m.b, err)
		require.NoError(m.b, m.store.Apply(ctx, coord.Put(protocol.HostAliveKey(hostName(h)), text, nil)))
	}
	require.NoError(m.b, meta.Update(ctx, func(tx metastore.Tx) error {
		if err := tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "1", Name: "f", RAMMB: 512}); err != nil {
			return err
		}
		if err := tx.Catalogue().PutVersion(ctx, model.DatastoreVersion{ID: "v", Name: "9.7.4", Created: now}); err != nil {
			return err
		}
		for i := range m.n {
			row := model.Cluster{
				ID: m.cluster(i), ProjectID: "p", Name: m.cluster(i), Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: "v", Policy: "strict",
				Status: model.StatusBuild, Created: now, Updated: now, ReadWrite: fmt.Sprintf("10.254.%d.%d", i/200, i%200+1), ReadOnly: fmt.Sprintf("10.255.%d.%d", i/200, i%200+1),
			}
			if err := tx.Clusters().Create(ctx, &row); err != nil {
				return err
			}
			for n := range 3 {
				in := model.Instance{
					ID: failovertest.Member(row.ID, n), ProjectID: "p", Name: "x", ClusterID: row.ID, Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: "v",
					FlavorID: "1", HostID: hostName(hostOf(i, n)), Address: fmt.Sprintf("10.%d.%d.%d", n+1, i/200, i%200+1), Status: model.StatusActive,
					OperatingStatus: model.OperatingHealthy, ObservedGeneration: 1, Created: now.Add(time.Duration(n) * time.Millisecond), Updated: now,
				}
				if err := tx.Instances().Create(ctx, &in); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	for i := range m.n {
		for n := range 3 {
			id := failovertest.Member(m.cluster(i), n)
			text, err := json.Marshal(protocol.ContainerStatus{Instance: id, Phase: string(runtime.PhaseRunning), Generation: 1, Started: now})
			require.NoError(m.b, err)
			require.NoError(m.b, m.store.Apply(ctx, coord.Put(protocol.HostContainerKey(hostName(hostOf(i, n)), id), text, nil)))
			m.site.Start(id, m.cluster(i))
		}
	}
}

func hostName(h int) string { return fmt.Sprintf("h%03d", h) }

// lose has the first hosts be gone with all that is on them, and gives the clusters whose primaries were there.
func (m *many) lose(hosts int) []string {
	records := m.records()
	var affected []string
	var ops []coord.Op
	for h := range hosts {
		ops = append(ops, coord.Delete(protocol.HostAliveKey(hostName(h)), 0))
	}
	for i := range m.n {
		for n := range 3 {
			if hostOf(i, n) < hosts {
				id := failovertest.Member(m.cluster(i), n)
				m.dead[id] = true
				m.site.Kill(id)
			}
		}
	}
	for some := range slices.Chunk(ops, 50) {
		require.NoError(m.b, m.store.Apply(m.b.Context(), some...))
	}
	for _, id := range m.all() {
		r := records[id]
		alive := 0
		for _, member := range r.Members {
			if !m.dead[member] {
				alive++
			}
		}
		if m.dead[r.Primary] && alive >= durability.NeededStops(r) { // of the others nobody can know what was acknowledged
			affected = append(affected, id)
		}
	}
	return affected
}

func (m *many) records() map[string]durability.Record {
	entries, err := m.store.List(m.b.Context(), protocol.ClustersKey)
	require.NoError(m.b, err)
	records := map[string]durability.Record{}
	for _, e := range entries {
		if strings.HasSuffix(e.Key, "/record") {
			r, err := durability.Parse(e.Value)
			require.NoError(m.b, err)
			records[r.Cluster] = r
		}
	}
	return records
}

// until waits for all of the clusters to be as wanted.
func (m *many) until(b *testing.B, what string, good func(durability.Record) bool, clusters []string) {
	b.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	for {
		records, missing := m.records(), 0
		for _, id := range clusters {
			if r, ok := records[id]; !ok || !good(r) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		require.Less(b, time.Now(), deadline, "%d clusters are not %s", missing, what)
		time.Sleep(20 * time.Millisecond)
	}
}

// agents leads nodekeeper's calls to the simulated agents.
type agents struct{ site *failovertest.Site }

func (a agents) Call(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	if m.Kind != protocol.KindLook {
		return []byte("{}"), nil
	}
	var r protocol.LookRequest
	if err := json.Unmarshal(m.Body, &r); err != nil {
		return nil, err
	}
	if w, ok := a.site.Look(strings.TrimPrefix(queue, "guest."), r.Record); ok {
		return json.Marshal(w)
	}
	<-ctx.Done()
	return nil, bus.ErrTimeout
}

func (agents) Publish(context.Context, string, bus.Message) error { return nil }
func (agents) Serve(ctx context.Context, _ string, _ int, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}
func (agents) Drop(context.Context, string) error                         { return nil }
func (agents) DeadLetters(context.Context, string) ([]bus.Message, error) { return nil, nil }
func (agents) Close() error                                               { return nil }

type noAddresses struct{}

func (noAddresses) Next(string, []string) (string, error)     { return "", bus.ErrRejected }
func (noAddresses) Endpoint(string, []string) (string, error) { return "", bus.ErrRejected }
func (noAddresses) Ports([]int) (int, int, error)             { return 0, 0, bus.ErrRejected }
