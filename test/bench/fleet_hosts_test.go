package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
	"github.com/huker/huker/test/chaos/workload"
)

func (s *simulated) subnet(host int) string { return fmt.Sprintf("10.88.%d.0/24", host) }

// enroll has nodekeeper take the hosts in: their rows are written as an operator's are, nodekeeper gives each its rights, and each one's sysmgr comes.
func (s *simulated) enroll(hosts int) {
	b := s.b
	b.Helper()
	now := time.Now().UTC()
	require.NoError(b, s.store.Update(b.Context(), func(tx metastore.Tx) error {
		s.hosts = nil
		for h := range hosts {
			id := fmt.Sprintf("host-%03d", h)
			if err := tx.Hosts().Put(b.Context(), model.Host{ID: id, Name: id, Subnet: s.subnet(h), Created: now}); err != nil {
				return err
			}
			s.hosts = append(s.hosts, id)
		}
		return nil
	}))
	k := s.keeper()
	b.Logf("%d hosts have their rights after %s", hosts, k.admitted(b, k.began, hosts).Round(time.Millisecond))
	began := time.Now()
	s.startHosts()
	require.Eventually(b, s.settled, 2*time.Minute, 100*time.Millisecond, k.log)
	b.Logf("all of them have come and know their places after %s more", time.Since(began).Round(time.Millisecond))
	k.kill()
}

// settled says whether all hosts are there and know their places.
func (s *simulated) settled() bool {
	entries, err := s.root.Coord.List(s.b.Context(), protocol.HostsKey)
	known := 0
	for _, e := range entries {
		var status protocol.HostStatus
		if strings.HasSuffix(e.Key, "/alive") && json.Unmarshal(e.Value, &status) == nil && status.Config != "" {
			known++
		}
	}
	return err == nil && known == len(s.hosts)
}

// populate writes down instances that are there already and well.
func (s *simulated) populate(instances int) {
	b := s.b
	b.Helper()
	now, hosts := time.Now().UTC(), len(s.hosts)
	var flavor model.Flavor
	var version model.DatastoreVersion
	require.NoError(b, s.store.View(b.Context(), func(tx metastore.Tx) error {
		flavors, err := tx.Catalogue().Flavors(b.Context())
		if err != nil {
			return err
		}
		versions, err := tx.Catalogue().Versions(b.Context())
		if err != nil {
			return err
		}
		flavor = flavors[slices.IndexFunc(flavors, func(f model.Flavor) bool { return f.ID == fleetFlavor })]
		version = versions[slices.IndexFunc(versions, func(v model.DatastoreVersion) bool { return v.Image == fleetImage })]
		return nil
	}))
	s.memory = flavor.RAMMB
	const batch = 500
	for from := 0; from < instances; from += batch {
		var ids []string
		require.NoError(b, s.store.Update(b.Context(), func(tx metastore.Tx) error {
			ids = nil
			for n := from; n < min(from+batch, instances); n++ {
				i := model.Instance{
					ID: uuid.Must(uuid.NewV7()).String(), ProjectID: s.project, Name: fmt.Sprintf("db-%05d", n), Desired: model.DesiredPresent, Generation: 1,
					DatastoreVersionID: version.ID, FlavorID: flavor.ID, VolumeGB: 5, HostID: s.hosts[n%hosts], Address: fmt.Sprintf("10.88.%d.%d", n%hosts, 10+n/hosts),
					Status: model.StatusActive, OperatingStatus: model.OperatingHealthy, ObservedGeneration: 1, VolumeUsedBytes: 1 << 28,
					Created: now.Add(time.Duration(n) * time.Microsecond), Updated: now, ServiceStatusUpdated: now,
				}
				if err := tx.Instances().Create(b.Context(), &i); err != nil {
					return err
				}
				ids = append(ids, i.ID)
			}
			return nil
		}))
		s.ids = append(s.ids, ids...)
	}
}

// open is a wall that lets everybody through.
type open struct{}

func (open) Set(context.Context, []network.Access) error { return nil }

// startHosts runs the hosts' sysmgrs, each as itself, with connections of its own.
func (s *simulated) startHosts() {
	b := s.b
	b.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	for h, id := range s.hosts {
		engine := fake.New()
		engine.AddImage(runtime.Image{Ref: fleetImage})
		driver := engine.Open("huker")
		_, err := driver.EnsureNetwork(ctx, "huker", s.subnet(h), nil)
		require.NoError(b, err)
		own := s.site.open(b, protocol.HostPrincipal(id))
		// A host's guests, 50 of them in the whole size, share one session: their agents are not what is measured.
		session, err := s.root.Coord.NewSession(ctx, 30*time.Second)
		require.NoError(b, err)
		engine.OnStart(func(_ context.Context, p *fake.Process) { s.guest(session, p.Container.Labels["io.huker.instance"]) })
		host, err := sysmgr.New(sysmgr.Config{
			Host: id, Deployment: "huker", Version: "bench", GuestsDir: filepath.Join(s.dir, id, "guests"), BinDir: filepath.Join(s.dir, id, "bin"),
			Programs: sysmgr.Installed("agent"), Network: "huker", UID: os.Getuid(), GID: os.Getgid(), Subnet: s.subnet(h), Address: fmt.Sprintf("10.1.0.%d", h+1),
		}, driver, open{}, own.Coord, own.Bus, sysmgr.Capacity{CPUs: 64, RAMMB: 512 << 10, DiskGB: 16 << 10, Engine: "fake"}, slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		running.Go(func() {
			if err := host.Run(ctx); err != nil && ctx.Err() == nil {
				b.Errorf("%s: %v", id, err)
			}
		})
	}
	b.Cleanup(func() { cancel(); running.Wait() }) // before their connections are closed
}

// parallel does something for every instance, for some at a time.
func (s *simulated) parallel(concurrency int, do func(ctx context.Context, n int) error) {
	s.b.Helper()
	todo := make(chan int)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for n := range todo {
				ctx, cancel := context.WithTimeout(s.b.Context(), 2*time.Minute)
				if err := do(ctx, n); err != nil {
					s.b.Errorf("%s: %v", s.ids[n], err)
				}
				cancel()
			}
		})
	}
	for n := range s.ids {
		todo <- n
	}
	close(todo)
	workers.Wait()
	if s.b.Failed() {
		s.b.FailNow()
	}
}

// admitGuests gives guests their rights and queues as nodekeeper does when it makes one, for many more at once than it makes: a queue that is new rests for
// seconds before it counts.
func (s *simulated) admitGuests() {
	b := s.b
	b.Helper()
	if !s.site.guests {
		return
	}
	s.site.weigh(b, "without guests' queues")
	began := time.Now()
	s.parallel(384, func(ctx context.Context, n int) error {
		return keeper.AdmitGuest(ctx, s.root.Keys, s.root.Queues, &model.Instance{ID: s.ids[n]})
	})
	took := time.Since(began)
	b.Logf("%d guests have their rights and queues after %s", len(s.ids), took.Round(time.Millisecond))
	b.ReportMetric(took.Seconds()*1e3/float64(len(s.ids)), "admit-ms")
	s.site.weigh(b, "with guests' queues")
}

// makeContainers tells every host of its instances, as nodekeeper would.
func (s *simulated) makeContainers() {
	b := s.b
	b.Helper()
	var term int64
	require.NoError(b, s.store.Update(b.Context(), func(tx metastore.Tx) (err error) {
		term, err = tx.Terms().Begin(b.Context(), "nodekeeper")
		return err
	}))
	began := time.Now()
	s.parallel(32, func(ctx context.Context, n int) error {
		body, err := json.Marshal(protocol.EnsureRequest{
			Term: term, Instance: s.ids[n], Generation: 1, Image: fleetImage, Address: fmt.Sprintf("10.88.%d.%d", n%len(s.hosts), 10+n/len(s.hosts)), CPUs: 1,
			MemoryMB: s.memory, Guest: protocol.GuestConfig{Instance: s.ids[n], Deployment: "huker", MemoryMB: s.memory},
		})
		if err != nil {
			return err
		}
		_, err = s.root.Bus.Call(ctx, protocol.HostQueue(s.hosts[n%len(s.hosts)]), bus.Message{Kind: protocol.KindEnsure, Body: body})
		return err
	})
	b.Logf("%d containers are made after %s", len(s.ids), time.Since(began).Round(time.Millisecond))
	require.Eventually(b, func() bool {
		guests, err := s.root.Coord.List(b.Context(), protocol.GuestsKey)
		return err == nil && len(guests) >= len(s.ids)
	}, 5*time.Minute, time.Second, "the pretended guests do not report")
}

// guest says what an agent would.
func (s *simulated) guest(session coord.Session, id string) {
	status, err := json.Marshal(protocol.GuestStatus{
		Instance: id, AgentVersion: "bench", AgentSince: time.Now(), ConfigMemMB: s.memory, VolumeUsed: 1 << 28, VolumeSize: 5 << 30,
		Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing, Version: "9.7.4", UUID: id, Pid: 1, Since: time.Now()},
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.b.Context()), 5*time.Minute)
	defer cancel()
	for again := err == nil; again; { // as an agent does
		err = s.root.Coord.Apply(ctx, coord.Put(protocol.GuestStatusKey(id), status, session))
		again = errors.Is(err, coord.ErrUnavailable) && workload.Wait(ctx, 100*time.Millisecond) == nil
	}
	if err != nil {
		s.b.Errorf("%s: %v", id, err)
	}
}
