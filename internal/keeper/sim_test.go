package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
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
	"github.com/huker/huker/internal/failover"
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

	mu      sync.Mutex
	servers map[string]*server
	next    int64
	fenced  map[string]bool
}

type server struct {
	s        *sim
	id       string
	record   durability.Record
	status   failover.Status
	alive    bool // agent and mysqld
	removed  bool
	session  coord.Session
	serial   int64
	restarts int64
	since    time.Time
	said     protocol.GuestStatus
}

const simCluster = "c"

func trx(first, last int64) gtid.Set {
	s, err := gtid.Parse(fmt.Sprintf("00000000-0000-4000-8000-000000000001:%d-%d", first, last))
	if err != nil {
		panic(err)
	}
	return s
}

// newSim makes a cluster whose members a, b, c are placed and running, but have not heard of a record.
func newSim(t *testing.T, members ...string) *sim {
	t.Helper()
	s := &sim{
		t: t, store: etcdtest.Start(t).Root(t), meta: openStore(t), servers: map[string]*server{}, next: 1, fenced: map[string]bool{}, ctx: t.Context(),
	}
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
	s.mu.Lock()
	if s.servers[r.Instance] == nil {
		v := &server{s: s, id: r.Instance, alive: true, since: time.Now(), status: failover.Status{
			Server: "s" + r.Instance, Mysqld: failover.MysqldUp, Offline: true, Writes: failover.WritesOff, Receiver: failover.Receiver{State: failover.ReceiverStopped},
		}}
		s.servers[v.id] = v
		var wg sync.WaitGroup
		wg.Go(v.run)
		s.t.Cleanup(wg.Wait)
	}
	s.mu.Unlock()
	return protocol.EnsureReply{Container: c}, s.store.Apply(ctx, coord.Put(protocol.HostContainerKey(host, r.Instance), text, nil))
}

// remove is a sysmgr that takes a server away.
func (s *sim) remove(ctx context.Context, host, id string) error {
	s.mu.Lock()
	if v := s.servers[id]; v != nil {
		v.alive, v.removed = false, true
	}
	delete(s.servers, id)
	s.mu.Unlock()
	return s.store.Apply(ctx, coord.Delete(protocol.HostContainerKey(host, id), 0))
}

// keep runs a nodekeeper; the function that it returns ends it.
func (s *sim) keep() (end func()) { return s.runs(s.keeper()) }

func (s *sim) keeper() *Keeper {
	s.t.Helper()
	k, err := New(Config{Deployment: "test", Coordination: "etcd://x", Range: "10.0.0.0/16", SessionTTL: 2 * time.Second}, Engines{
		Store: s.meta, Coord: s.store, Bus: simBus{s}, Addresses: simAddresses{}, Keys: simGates{}, Queues: simGates{}, Certs: simGates{},
	}, slog.New(slog.NewTextHandler(testWriter{s.t}, &slog.HandlerOptions{Level: slog.LevelInfo})))
	require.NoError(s.t, err)
	return k
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
	b.s.mu.Lock()
	v := b.s.servers[strings.TrimPrefix(queue, "guest.")]
	if v != nil && v.alive {
		if r.Record.Epoch > v.record.Epoch {
			v.record = r.Record
		}
		defer b.s.mu.Unlock()
		return json.Marshal(v.word())
	}
	b.s.mu.Unlock()
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
	s.mu.Lock()
	s.fenced[id] = fenced
	s.mu.Unlock()
	c, err := json.Marshal(protocol.ContainerStatus{Instance: id, Phase: runningPhase, Generation: 1, Fenced: fenced, Started: time.Now()})
	if err != nil {
		return err
	}
	return s.store.Apply(ctx, coord.Put(protocol.HostContainerKey("h"+id, id), c, nil))
}

// word is what the agent says now. The caller holds mu.
func (v *server) word() protocol.GuestStatus {
	s := v.status
	s.Epoch = v.record.Epoch
	v.serial++
	w := protocol.GuestStatus{Instance: v.id, AgentSince: v.since, Serial: v.serial, Epoch: s.Epoch, Part: &s, Turning: v.record.Intent != nil}
	w.Mysqld.State = protocol.MysqldLocked
	if !s.Offline {
		w.Mysqld.State = protocol.MysqldServing
	}
	w.ConfigMemMB, w.RestartsDone = 512, v.restarts
	return w
}

// run is an agent, of a server that does everything at once.
func (v *server) run() {
	ctx := v.s.ctx
	events, err := v.s.store.Watch(ctx, protocol.ClusterPrefix(simCluster))
	if err != nil {
		return
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !v.over() {
		v.step()
		v.publish(ctx)
		select {
		case <-ctx.Done():
		case e := <-events:
			v.hear(e)
		case <-tick.C:
		}
	}
}

func (v *server) over() bool {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.removed && v.session == nil
}

func (v *server) hear(e coord.Event) {
	if e.Entry == nil || e.Key != protocol.RecordKey(simCluster) {
		return
	}
	r, err := durability.Parse(e.Entry.Value)
	if err != nil {
		v.s.t.Errorf("the record: %v", err)
		return
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.alive && r.Epoch > v.record.Epoch {
		v.record = r
	}
}

// step does whatever the record asks for.
func (v *server) step() {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	for v.alive {
		s := &v.status
		v.s.wire(v)
		a := failover.Conduct(v.id, v.record, *s)
		r := &s.Receiver
		switch a.Kind {
		case failover.ActNone, failover.ActWait:
			if failover.InEffect(v.id, v.record, *s) {
				s.Serving.Enforced = v.record.Epoch
			}
			return
		case failover.ActShut:
			s.Offline = true
		case failover.ActOpen:
			s.Offline = false
		case failover.ActReadOnly:
			s.Writes = failover.WritesOff
		case failover.ActWritable:
			s.Writes = failover.WritesOn
		case failover.ActAsynchronous:
			s.Serving.SemiSync, s.Serving.Acks = false, 0
		case failover.ActAcks:
			s.Serving.SemiSync, s.Serving.Acks = a.Acks > 0, a.Acks
		case failover.ActAdmit:
			s.Serving.Admitted = a.Admit
		case failover.ActStop:
			r.State = failover.ReceiverStopped
		case failover.ActDrain:
			s.Executed = s.Has()
		case failover.ActPoint:
			r.Source, s.Retrieved = a.Source, gtid.Set{}
		case failover.ActStart:
			r.State, r.Acknowledges = failover.ReceiverConnecting, a.Acknowledge
		case failover.ActKeepSeal, failover.ActDropSeal:
			s.Serving.Seal.Epoch = 0
			if a.Kind == failover.ActKeepSeal {
				s.Serving.Seal.Epoch = v.record.Epoch
			}
		case failover.ActSeal:
			if !v.s.commitTo(v) {
				return // it waits for acknowledgements
			}
			d := failover.Assign(v.id, s.Server, v.record)
			s.Serving.Seal, s.Serving.Proven = failover.Seal{Epoch: v.record.Epoch, Acks: a.Acks, Ackers: d.Ackers}, true
			s.Serving.Enforced = v.record.Epoch
		default:
			v.s.t.Errorf("%s: no act %s", v.id, a.Kind)
			return
		}
	}
}

// wire connects a replica to its source, or loses it; what the source has, it has. The caller holds mu.
func (s *sim) wire(v *server) {
	r := &v.status.Receiver
	if r.State == failover.ReceiverStopped {
		return
	}
	source := s.servers[r.Source]
	if source == nil || !source.alive || !slices.Contains(source.status.Serving.Admitted, v.id) {
		r.State, r.HeardAgo = failover.ReceiverConnecting, time.Minute
		return
	}
	if !source.status.Executed.Contains(v.status.Executed) {
		s.t.Errorf("%s replicates from %s, which lacks some of what it has", v.id, r.Source)
	}
	r.State, r.HeardAgo = failover.ReceiverRunning, 0
	v.status.Retrieved = source.status.Executed
	v.status.Executed = source.status.Executed
}

// commitTo commits one more transaction on a server, if it is open to writes and enough acknowledge. The caller holds mu.
func (s *sim) commitTo(v *server) bool {
	var acks []*server
	v.status.Serving.Attached = nil
	for _, other := range s.servers {
		r := other.status.Receiver
		if other.alive && r.State != failover.ReceiverStopped && r.Source == v.id && slices.Contains(v.status.Serving.Admitted, other.id) {
			s.wire(other)
			if r.Acknowledges {
				acks = append(acks, other)
				v.status.Serving.Attached = append(v.status.Serving.Attached, other.id)
			}
		}
	}
	if v.status.Serving.SemiSync && len(acks) < v.status.Serving.Acks {
		return false
	}
	one := trx(s.next, s.next)
	s.next++
	for _, x := range append(acks, v) {
		x.status.Executed = x.status.Executed.Union(one)
	}
	return true
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
	addresses := map[string]string{}
	_ = s.meta.View(s.ctx, func(tx metastore.Tx) error {
		all, err := tx.Instances().List(s.ctx, metastore.InstanceFilter{ClusterID: simCluster})
		for i := range all {
			addresses[all[i].ID] = all[i].Address
		}
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.servers {
		if v.alive && v.status.Open() && to.Primary == addresses[v.id] {
			return trx(s.next, s.next), s.commitTo(v)
		}
	}
	return gtid.Set{}, false
}

// publish keeps the status in coordination, when it tells something new.
func (v *server) publish(ctx context.Context) {
	v.s.mu.Lock()
	if !v.alive {
		session := v.session
		v.session = nil
		v.s.mu.Unlock()
		if session != nil {
			_ = session.Close(ctx)
		}
		return
	}
	w := v.word()
	same := v.said
	same.Serial = w.Serial
	v.s.mu.Unlock()
	if reflect.DeepEqual(same, w) {
		return
	}
	if v.session == nil {
		session, err := v.s.store.NewSession(ctx, 2*time.Second)
		if err != nil {
			return
		}
		v.session = session
	}
	text, err := json.Marshal(w)
	if err != nil {
		v.s.t.Error(err)
	}
	if v.s.store.Apply(ctx, coord.Put(protocol.GuestStatusKey(v.id), text, v.session)) == nil {
		v.said = w
	}
}

// restart has a server be as after a start.
func (s *sim) restart(id string, body []byte) error {
	var r protocol.RestartRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	s.kill(id, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[id].restarts = r.Serial
	return nil
}

// kill has a server be gone, or come back as after a crash.
func (s *sim) kill(id string, back bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[id]
	v.alive = back
	if back {
		v.since = time.Now()
		v.status.Offline, v.status.Writes, v.status.Serving = true, failover.WritesOff, failover.Serving{}
		v.status.Receiver.State = failover.ReceiverStopped
		v.said = protocol.GuestStatus{}
	}
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
