package agent

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

// fakePart is a server that does what it is told at once; *replication.Server passes what is asked of the real one in its own package's tests.
type fakePart struct {
	mu     sync.Mutex
	now    failover.Status
	acts   []failover.ActKind
	away   error
	clones []string
	cloned chan error
	writes bool // statements go on that writing waits for: it cannot be switched off yet
}

func newFakePart() *fakePart {
	return &fakePart{
		cloned: make(chan error, 1),
		now: failover.Status{
			Server: "s1", Mysqld: failover.MysqldUp, Offline: true, Writes: failover.WritesOff, Receiver: failover.Receiver{State: failover.ReceiverStopped},
		},
	}
}

func (f *fakePart) Status(ctx context.Context, _ durability.Record, _ map[string]protocol.Member) (failover.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, errors.Join(f.away, ctx.Err())
}

func (f *fakePart) change(by func(*failover.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by(&f.now)
}

func (f *fakePart) Do(_ context.Context, r durability.Record, a failover.Act, _ map[string]protocol.Member) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, a.Kind)
	s := &f.now
	switch a.Kind {
	case failover.ActShut:
		s.Offline = true
	case failover.ActOpen:
		s.Offline = false
	case failover.ActReadOnly:
		if f.writes {
			return replication.ErrPending
		}
		s.Writes = failover.WritesOff
	case failover.ActWritable:
		s.Writes, s.Guarded = failover.WritesOn, false
	case failover.ActGuard:
		s.Writes, s.Guarded = failover.WritesOn, true
	case failover.ActAcks:
		s.Serving.SemiSync, s.Serving.Acks = a.Acks > 0, a.Acks
	case failover.ActAdmit:
		s.Serving.Admitted = a.Admit
	case failover.ActSeal:
		s.Serving.Seal, s.Serving.Proven = failover.Seal{Epoch: r.Epoch, Acks: a.Acks}, true
	case failover.ActAsynchronous:
		s.Serving.SemiSync, s.Serving.Acks = false, 0
	case failover.ActStop:
		s.Receiver.State = failover.ReceiverStopped
	case failover.ActPoint:
		s.Receiver.Source = a.Source
	case failover.ActStart:
		s.Receiver.State, s.Receiver.Acknowledges = failover.ReceiverRunning, a.Acknowledge
	default:
	}
	return nil
}

func (f *fakePart) Lag(context.Context) time.Duration { return 0 }

func (f *fakePart) Clone(ctx context.Context, donor string, peers map[string]protocol.Member) error {
	f.mu.Lock()
	shut := f.now.Offline && f.now.Writes == failover.WritesOff && f.now.Receiver.State == failover.ReceiverStopped
	if shut {
		f.clones = append(f.clones, peers[donor].Address)
	}
	f.mu.Unlock()
	if !shut {
		return replication.ErrRefused
	}
	select {
	case err := <-f.cloned:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakePart) awaitClones(t *testing.T, want int) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		n := len(f.clones)
		f.mu.Unlock()
		if n == want {
			return
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%d clones were begun", n)
		}
	}
}

func (f *fakePart) Close() {}

// newMember is a guest in a cluster with one other member.
func newMember(t *testing.T) (*guest, *fakePart) {
	t.Helper()
	g := newGuest(t)
	f := newFakePart()
	g.cfg.Part = func(*sql.DB, control.Mysqld) (Part, error) { return f, nil }
	g.cfg.PartSessions = 1
	g.cfg.Guest.Record = durability.Unborn(self)
	b, err := json.Marshal(protocol.Roster{Members: map[string]protocol.Member{self: {Address: "10.0.0.1"}, "other": {Address: "10.0.0.2"}}})
	must(t, err)
	must(t, g.store.Apply(context.Background(), coord.Put(protocol.RosterKey(self), b, nil)))
	return g, f
}

func leading(epoch int64) durability.Record {
	return durability.Record{Cluster: self, Epoch: epoch, Primary: self, Members: []string{"other"}, MinAcks: 1, SetAcks: 1}
}

func led(epoch int64) durability.Record {
	return durability.Record{Cluster: self, Epoch: epoch, Primary: "other", Members: []string{self}, MinAcks: 1, SetAcks: 1}
}

func TestAMemberDoesItsPart(t *testing.T) {
	g, f := newMember(t)
	g.start()
	s := g.until("known as a member without a part", func(s protocol.GuestStatus) bool { return s.Part != nil && s.Mysqld.State == protocol.MysqldLocked })
	if s.Part.Server != "s1" || s.Fault == "" {
		t.Fatalf("%+v", s)
	}
	g.put(led(1))
	s = g.until("following", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 1 })
	if r := s.Part.Receiver; r.Source != "other" || r.State != failover.ReceiverRunning || !r.Acknowledges || s.Part.Writes != failover.WritesOff {
		t.Fatalf("%+v", s.Part)
	}
	g.put(led(1).Begin(durability.Failover, "", "a test", time.Now(), time.Time{}))
	g.until("stopped", func(s protocol.GuestStatus) bool {
		return s.Epoch == 2 && s.Part.Receiver.State == failover.ReceiverStopped && s.Turning && s.Mysqld.State == protocol.MysqldLocked
	})
	g.put(leading(3))
	s = g.until("leading", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 3 })
	if !s.Part.Open() || s.Part.Serving.Acks != 1 || s.Part.Serving.Seal.Epoch != 3 {
		t.Fatalf("%+v", s.Part)
	}
	f.mu.Lock()
	acts := slices.Compact(slices.Clone(f.acts))
	f.mu.Unlock()
	want := []failover.ActKind{
		failover.ActPoint, failover.ActStart, failover.ActOpen, failover.ActStop, // followed
		failover.ActShut, failover.ActAcks, failover.ActWritable, failover.ActAdmit, failover.ActSeal, failover.ActOpen, // leads
	}
	if !slices.Equal(acts, want) {
		t.Errorf("acts %v", acts)
	}
}

func TestALookIsNewerThanTheQuestion(t *testing.T) {
	g, f := newMember(t)
	g.start()
	g.put(led(1))
	g.until("following", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 1 })
	last := int64(0)
	for n := int64(1); n <= 50; n++ {
		set, err := gtid.Parse(fmt.Sprintf("00000000-0000-4000-8000-000000000001:1-%d", n))
		must(t, err)
		f.change(func(s *failover.Status) { s.Executed = set })
		var s protocol.GuestStatus
		must(t, g.call(protocol.KindLook, protocol.LookRequest{}, &s))
		if !s.Part.Executed.Equal(set) || s.Serial <= last {
			t.Fatalf("look %d: %v, serial %d after %d", n, s.Part.Executed, s.Serial, last)
		}
		last = s.Serial
	}
	var s protocol.GuestStatus
	must(t, g.call(protocol.KindLook, protocol.LookRequest{Record: leading(5)}, &s))
	if s.Epoch != 5 {
		t.Errorf("it goes by epoch %d after it was told 5", s.Epoch)
	}
	// Its way to leading is news at each step; what comes after it is not.
	g.until("leading", func(s protocol.GuestStatus) bool { return serving(s) && s.Epoch == 5 })
	// What changes with every commit is no news: nothing is published for it.
	before := g.store.count()
	for range 20 {
		f.change(func(s *failover.Status) { s.Executed = gtid.Set{} })
		must(t, g.call(protocol.KindLook, protocol.LookRequest{}, nil))
	}
	if after := g.store.count(); after-before > 3 {
		t.Errorf("%d statuses were published for nothing", after-before)
	}
}

func TestASilentServerIsTold(t *testing.T) {
	g, f := newMember(t)
	g.start()
	g.put(leading(1))
	g.until("leading", serving)
	f.mu.Lock()
	f.away = errors.New("no answer")
	f.mu.Unlock()
	s := g.until("told", func(s protocol.GuestStatus) bool { return s.Part.Mysqld != failover.MysqldUp })
	if s.Part.Server != "s1" || s.Part.Epoch != 1 || serving(s) {
		t.Errorf("%+v", s)
	}
	f.mu.Lock()
	f.away = nil
	f.mu.Unlock()
	g.until("back", serving)
	g.sup.set(func(s *control.Status) { s.Mysqld = control.Mysqld{Phase: control.Starting} })
	g.until("down", func(s protocol.GuestStatus) bool { return s.Part.Mysqld == failover.MysqldDown })
}

func TestARebuild(t *testing.T) {
	g, f := newMember(t)
	g.start()
	g.put(led(4))
	g.until("following", serving)
	order := protocol.RebuildRequest{Epoch: 4, Server: "s1", Donor: "other"}
	wantCode(t, g.call(protocol.KindRebuild, order, nil), protocol.CodeInvalid) // it has a part
	without := led(5)
	without.Members = nil
	without.MinAcks = 0
	g.put(without)
	g.until("outside", func(s protocol.GuestStatus) bool {
		return s.Epoch == 5 && s.Part.Receiver.State == failover.ReceiverStopped
	})
	wantCode(t, g.call(protocol.KindRebuild, order, nil), protocol.CodeNotReady) // another epoch
	order.Epoch = 5
	another := order
	another.Server = "s0"
	wantCode(t, g.call(protocol.KindRebuild, another, nil), protocol.CodeInvalid)
	another = order
	another.Donor = "stranger"
	wantCode(t, g.call(protocol.KindRebuild, another, nil), protocol.CodeNotReady)

	must(t, g.call(protocol.KindRebuild, order, nil))
	g.until("rebuilding", func(s protocol.GuestStatus) bool { return s.Part.Rebuilding })
	// The agent dies in the middle. The data is nobody's until it is whole, whatever the record says.
	g.stop()
	g.put(led(6))
	g.start()
	g.until("rebuilding still", func(s protocol.GuestStatus) bool { return s.Part != nil && s.Part.Rebuilding && s.Epoch == 6 })
	f.awaitClones(t, 2)
	f.change(func(s *failover.Status) { s.Server = "s2" })
	f.cloned <- nil
	g.until("whole", func(s protocol.GuestStatus) bool { return !s.Part.Rebuilding && s.Part.Server == "s2" })
	if f.clones[0] != "10.0.0.2" {
		t.Errorf("cloned %v", f.clones)
	}
}

// TestARebuildOfAServerThatWrites: the order may come before a former primary has come to a stop. It does so first, since no clone is made otherwise.
func TestARebuildOfAServerThatWrites(t *testing.T) {
	g, f := newMember(t)
	g.start()
	g.put(leading(1))
	g.until("leading", serving)
	f.mu.Lock()
	f.writes = true
	f.mu.Unlock()
	without := led(2)
	without.Members, without.MinAcks = nil, 0
	g.put(without)
	g.until("shut", func(s protocol.GuestStatus) bool { return s.Epoch == 2 && s.Part.Offline })
	must(t, g.call(protocol.KindRebuild, protocol.RebuildRequest{Epoch: 2, Server: "s1", Donor: "other"}, nil))
	s := g.until("rebuilding", func(s protocol.GuestStatus) bool { return s.Part.Rebuilding })
	if s.Part.Writes == failover.WritesOff {
		t.Fatal("it cannot be read-only yet")
	}
	f.mu.Lock()
	f.writes = false
	f.mu.Unlock()
	f.awaitClones(t, 1)
	f.change(func(s *failover.Status) { s.Server = "s2" })
	f.cloned <- nil
	g.until("whole", func(s protocol.GuestStatus) bool { return !s.Part.Rebuilding && s.Part.Server == "s2" })
}

// TestAGuestThatLeftItsCluster goes by the record of its configuration, whatever epoch the other cluster's had; and knows nobody of those.
func TestAGuestThatLeftItsCluster(t *testing.T) {
	dir := t.TempDir()
	of := func(r durability.Record) (*records, *roster) {
		return newRecords(protocol.GuestConfig{Record: r}, dir, newTestLog(), func() {}), newRoster(dir, r.Cluster, newTestLog(), func() {})
	}
	r, members := of(durability.Unborn("cluster"))
	r.offer(durability.Record{Cluster: "cluster", Epoch: 9, Primary: "other"}, "a test")
	members.take(protocol.Roster{Members: map[string]protocol.Member{"other": {Address: "10.0.0.2"}}})
	r, members = of(durability.Unborn("cluster"))
	if got, err := r.newest(); err != nil || got.Epoch != 9 || !members.several() {
		t.Fatalf("%+v, %v, %v", got, err, members.peers())
	}
	r, members = of(durability.Alone(self))
	if got, err := r.newest(); err != nil || got.Epoch != 1 || got.Primary != self || members.several() {
		t.Fatalf("%+v, %v, %v", got, err, members.peers())
	}
}

// TestAnAgentThatComesSaysNothingBeforeItHasLooked: mysqld runs and leads. The agent dies, and another one comes: nobody is told that mysqld starts, which
// would have it replaced.
func TestAnAgentThatComesSaysNothingBeforeItHasLooked(t *testing.T) {
	g, _ := newMember(t)
	g.start()
	g.put(leading(1))
	g.until("leading", func(s protocol.GuestStatus) bool { return serving(s) && s.Part != nil && s.Part.Open() })
	g.sup.set(func(s *control.Status) { s.Mysqld.Phase = control.Running })
	told, err := g.store.Watch(t.Context(), protocol.GuestStatusKey(self))
	must(t, err)
	for range 5 {
		g.stop()
		g.start()
		var s protocol.GuestStatus
		must(t, g.call(protocol.KindLook, protocol.LookRequest{}, &s))
		if s.Part == nil || !s.Part.Open() {
			t.Fatalf("asked at once, it says %+v of %+v", s.Part, s.Mysqld)
		}
		g.until("published", func(s protocol.GuestStatus) bool { return !s.AgentSince.IsZero() })
	}
	for {
		select {
		case e := <-told:
			var s protocol.GuestStatus
			if e.Entry == nil {
				continue // a session has ended
			}
			must(t, json.Unmarshal(e.Entry.Value, &s))
			if s.Part == nil || !s.Part.Open() {
				t.Fatalf("it told %+v of %+v", s.Part, s.Mysqld)
			}
		default:
			return
		}
	}
}
