package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// writer commits through the endpoint all the time.
type writer struct {
	mu    sync.Mutex
	acked gtid.Set
	gap   time.Duration
	last  time.Time
}

func (s *sim) writes() (*writer, func()) {
	w := &writer{last: time.Now()}
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if trx, ok := s.write(); ok {
				w.mu.Lock()
				w.acked, w.gap, w.last = w.acked.Union(trx), max(w.gap, time.Since(w.last)), time.Now()
				w.mu.Unlock()
			}
			time.Sleep(time.Millisecond)
		}
	})
	return w, func() { cancel(); wg.Wait() }
}

// longest is the longest time without an acknowledgement since the last call.
func (w *writer) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap := w.gap
	w.gap, w.last = 0, time.Now()
	return gap
}

// holds says that the primary has all that was acknowledged.
func (s *sim) holds(w *writer) {
	s.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	open := s.site.Open(simCluster)
	require.Len(s.t, open, 1, "servers that are open")
	for _, executed := range open {
		require.True(s.t, executed.Contains(w.acked), "lost: %v", w.acked.Subtract(executed))
	}
}

func TestAClusterComesUpAndFailsOver(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	s.keep()
	row := s.until("whole", wholeAgain)
	require.Equal(t, "a", row.PrimaryID)
	require.Equal(t, "10.0.255.1", row.ReadWrite)
	w, stop := s.writes()
	defer stop()
	for i, primary := range []string{"a", "b", "c", "a"} {
		was := s.row().PrimaryID
		w.longest()
		s.kill(was, false)
		row := s.until("led by another one", func(row model.Cluster) bool { return row.PrimaryID != was })
		s.kill(was, true)
		s.until("whole again", wholeAgain)
		t.Logf("%d (%s): %s took over from %s; no write for %s", i, primary, row.PrimaryID, was, w.longest())
		s.holds(w)
	}
	var turns []model.Turn
	require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) (err error) {
		turns, err = tx.Clusters().Turns(t.Context(), simCluster, 0)
		return err
	}))
	require.Len(t, turns, 4)
	for _, turn := range turns {
		t.Logf("%+v", turn)
		require.Equal(t, "failover", turn.Kind)
		require.NotEmpty(t, turn.Phases)
		require.NotEmpty(t, turn.Seen)
		require.NotEmpty(t, turn.To)
	}
}

func (s *sim) ask(change func(*model.Cluster)) {
	s.t.Helper()
	require.NoError(s.t, s.meta.Update(s.ctx, func(tx metastore.Tx) error {
		row, err := tx.Clusters().Get(s.ctx, simCluster)
		if err != nil {
			return err
		}
		change(&row)
		return tx.Clusters().Update(s.ctx, &row)
	}))
}

func TestASwitchover(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	k := s.keeper()
	s.runs(k)
	s.until("whole", wholeAgain)
	w, stop := s.writes()
	defer stop()
	time.Sleep(50 * time.Millisecond)
	w.longest()
	for serial, to := range []string{"c", "b", ""} {
		was := s.row().PrimaryID
		s.ask(func(row *model.Cluster) {
			row.Switchover = &model.Switchover{Serial: int64(serial + 1), From: was, To: to, Asked: time.Now(), Timeout: 10 * time.Second}
		})
		k.clusterChanged(simCluster)
		row := s.until("switched", func(row model.Cluster) bool { return row.Switchover.Finished && wholeAgain(row) })
		require.NotEqual(t, was, row.PrimaryID)
		if to != "" {
			require.Equal(t, to, row.PrimaryID)
		}
		require.Empty(t, row.Switchover.Fault)
		require.EqualValues(t, serial+1, row.ObservedSwitchover)
		t.Logf("to %q: no write for %s", to, w.longest())
		s.holds(w)
	}
}

// TestKeepersDieInAFailover: one nodekeeper after the other is ended while the primary is being replaced; the next one goes on.
func TestKeepersDieInAFailover(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	end := s.keep()
	s.until("whole", wholeAgain)
	w, stop := s.writes()
	defer stop()
	for i := range 6 {
		was := s.row().PrimaryID
		s.kill(was, false)
		time.Sleep(time.Duration(i*7) * time.Millisecond)
		end()
		end = s.keep()
		s.until("led by another one", func(row model.Cluster) bool { return row.PrimaryID != was })
		s.kill(was, true)
		s.until("whole again", wholeAgain)
		s.holds(w)
	}
}

func (s *sim) members() []model.Instance {
	s.t.Helper()
	var all []model.Instance
	require.NoError(s.t, s.meta.View(s.ctx, func(tx metastore.Tx) (err error) {
		all, err = tx.Instances().List(s.ctx, metastore.InstanceFilter{ClusterID: simCluster})
		return err
	}))
	return all
}

func (s *sim) askMember(id string, change func(*model.Instance)) {
	s.t.Helper()
	require.NoError(s.t, s.meta.Update(s.ctx, func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(s.ctx, id)
		if err != nil {
			return err
		}
		change(&i)
		return tx.Instances().Update(s.ctx, &i)
	}))
}

// TestAccessGoesWithTheEndpoint: hosts that lead clients to a member hear who may reach it, and when that is changed.
func TestAccessGoesWithTheEndpoint(t *testing.T) {
	s := newSim(t, "a", "b")
	s.keep()
	s.until("whole", wholeAgain)
	access := func() map[string]model.Access {
		e, err := s.store.Get(s.ctx, protocol.EndpointKey(simCluster))
		require.NoError(t, err)
		var to protocol.Endpoint
		require.NoError(t, json.Unmarshal(e.Value, &to))
		return to.Access
	}
	members := s.members()
	require.Len(t, members, 2)
	require.Equal(t, map[string]model.Access{members[0].Address: {}, members[1].Address: {}}, access())
	changed := model.Access{IsPublic: true, AllowedCIDRs: []string{"192.0.2.0/24"}}
	s.askMember(members[1].ID, func(i *model.Instance) { i.Access = changed; i.Generation++ })
	require.Eventually(t, func() bool { return reflect.DeepEqual(access()[members[1].Address], changed) }, 20*time.Second, 10*time.Millisecond)
}

// TestReadersWaitWhileThePrimaryChanges: the endpoint rests in the first second of a change of primary, and no longer, whatever clocks say.
func TestReadersWaitWhileThePrimaryChanges(t *testing.T) {
	s := newSim(t, "a", "b")
	k := s.keeper()
	end := s.runs(k)
	row := s.until("whole", wholeAgain)
	end()
	entry, err := s.store.Get(s.ctx, protocol.RecordKey(simCluster))
	require.NoError(t, err)
	now := time.Now()
	written := func(intent *durability.Intent) bool {
		before, err := s.store.Get(s.ctx, protocol.EndpointKey(simCluster))
		require.NoError(t, err)
		o := failover.Observation{Record: s.recorded(), Now: now}
		o.Record.Intent = intent
		require.NoError(t, k.writeEndpoint(s.ctx, &cluster{id: simCluster}, storedRecord{Record: o.Record, revision: entry.Revision}, o, row, s.members()))
		after, err := s.store.Get(s.ctx, protocol.EndpointKey(simCluster))
		require.NoError(t, err)
		return before.Revision != after.Revision
	}
	require.True(t, written(nil))
	for began, want := range map[time.Duration]bool{0: false, -endpointRests / 2: false, -endpointRests: true, -time.Hour: true, time.Hour: true} {
		require.Equal(t, want, written(&durability.Intent{Began: now.Add(began)}), began)
	}
}

// TestReplicasHaveNoAddressInCommon: hosts hear who replicates from an instance, and lead nobody there; of a cluster they hear nothing before it has addresses.
func TestReplicasHaveNoAddressInCommon(t *testing.T) {
	members := []model.Instance{{ID: "c", Address: "10.0.0.10"}, {ID: "r", Address: "10.0.1.10"}, {ID: "s"}}
	o := failover.Observation{Record: durability.Alone("c")}
	text, changed, err := (&Keeper{}).endpointOf(&cluster{id: "c"}, o, model.Cluster{ID: "c", Implicit: true}, members)
	require.NoError(t, err)
	require.True(t, changed)
	var e protocol.Endpoint
	require.NoError(t, json.Unmarshal([]byte(text), &e))
	require.Empty(t, e.ReadWrite)
	require.Equal(t, map[string]model.Access{"10.0.0.10": {}, "10.0.1.10": {}}, e.Access)
	_, changed, err = (&Keeper{}).endpointOf(&cluster{id: "c"}, o, model.Cluster{ID: "c"}, members)
	require.NoError(t, err)
	require.False(t, changed)
}

// TestMembersComeAndGo: one is asked for besides, one is deleted, one leaves with its data; and the cluster goes as a whole, leaving nothing.
func TestMembersComeAndGo(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	k := s.keeper()
	s.runs(k)
	s.until("whole", wholeAgain)
	w, stop := s.writes()

	s.host("hd", 7)
	require.NoError(t, s.meta.Update(t.Context(), func(tx metastore.Tx) error {
		now := time.Now().UTC()
		return tx.Instances().Create(t.Context(), &model.Instance{
			ID: "d", ProjectID: "p", Name: "d", ClusterID: simCluster, Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: "v", FlavorID: "1",
			Status: model.StatusBuild, Created: now, Updated: now,
		})
	}))
	k.queue.add("d")
	s.until("a cluster of four", func(row model.Cluster) bool { return wholeAgain(row) && len(s.recorded().Members) == 3 })
	require.Equal(t, 2, s.recorded().MinAcks)

	s.askMember("b", func(i *model.Instance) { i.Desired, i.Generation = model.DesiredDeleted, 2 })
	k.queue.add("b")
	k.clusterChanged(simCluster)
	s.until("without b", func(row model.Cluster) bool { return wholeAgain(row) && len(s.members()) == 3 })
	require.NotContains(t, s.recorded().Members, "b")

	s.askMember("c", func(i *model.Instance) { i.Detaching = true })
	k.clusterChanged(simCluster)
	s.until("without c", func(row model.Cluster) bool { return wholeAgain(row) && len(s.members()) == 2 })
	s.holds(w)
	stop()

	s.ask(func(row *model.Cluster) { row.Desired = model.DesiredDeleted })
	for _, m := range s.members() {
		s.askMember(m.ID, func(i *model.Instance) { i.Desired = model.DesiredDeleted })
	}
	k.clusterChanged(simCluster)
	require.Eventually(t, func() bool {
		err := s.meta.View(t.Context(), func(tx metastore.Tx) error { _, err := tx.Clusters().Get(t.Context(), simCluster); return err })
		return errors.Is(err, metastore.ErrNotFound)
	}, 20*time.Second, 5*time.Millisecond)
	for _, prefix := range []string{protocol.ClusterPrefix(simCluster), protocol.EndpointsKey} {
		left, err := s.store.List(t.Context(), prefix)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// TestALostMemberIsReplaced on another host, once its own has been silent for long; and once, whoever dies meanwhile.
func TestALostMemberIsReplaced(t *testing.T) {
	t.Run("by one nodekeeper", func(t *testing.T) { testALostMember(t, "") })
	t.Run("by one that dies when it is written down", func(t *testing.T) { testALostMember(t, PointReplaced) })
}

func testALostMember(t *testing.T, dies fault.Point) {
	s := newSim(t, "a", "b", "c")
	var later atomic.Int64
	keeper := func() *Keeper {
		k := s.keeper()
		k.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		return k
	}
	k := keeper()
	dead := s.runsUntil(k, dies)
	s.until("whole", wholeAgain)
	s.host("hd", 7)
	s.kill("c", false)
	require.NoError(t, s.store.Apply(t.Context(), coord.Delete(protocol.HostAliveKey("hc"), 0)))
	s.until("missing one", func(row model.Cluster) bool { return len(row.Alarms) > 0 })
	require.Len(t, s.members(), 3, "replaced too soon")
	later.Store(int64(replaceAfter + time.Minute))
	k.clusterChanged(simCluster)
	if dies != "" {
		<-dead
		s.runs(keeper())
	}
	s.until("whole again", func(row model.Cluster) bool { return wholeAgain(row) && len(s.recorded().Members) == 2 })
	members := s.members()
	require.Len(t, members, 4, "what is left of the lost one has still to be removed")
	s.host("hc", 3)
	require.Eventually(t, func() bool { return len(s.members()) == 3 }, 20*time.Second, 5*time.Millisecond)
}

// TestARollingRestart restarts all, the primary last and after it has handed over.
func TestARollingRestart(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	k := s.keeper()
	s.runs(k)
	s.until("whole", wholeAgain)
	w, stop := s.writes()
	defer stop()
	w.longest()
	s.ask(func(row *model.Cluster) { row.RestartSerial = 1 })
	k.clusterChanged(simCluster)
	row := s.until("restarted", func(row model.Cluster) bool { return row.ObservedRestart == 1 && wholeAgain(row) })
	require.NotEqual(t, "a", row.PrimaryID)
	for _, m := range s.members() {
		require.EqualValues(t, 1, m.ObservedRestart, m.ID)
	}
	t.Logf("no write for %s", w.longest())
	s.holds(w)
}

// recorded is the record.
func (s *sim) recorded() durability.Record {
	e, err := s.store.Get(s.ctx, protocol.RecordKey(simCluster))
	if err != nil {
		return durability.Record{}
	}
	r, err := durability.Parse(e.Value)
	require.NoError(s.t, err)
	return r
}
