package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/gtid"
)

// TestConduct: one thing at a time, by what is, not by what was done.
func TestConduct(t *testing.T) {
	settled := record(1)
	failing, handing, opening := failing(1).Record, handing().Record, opening().Record
	promised := settled.Leave("b").Leave("c")
	barren := record(1) // under strict, with nobody left
	barren.Members, barren.MinAcks = nil, 0
	primary := func(change func(*Status)) Status { s := leading(settled); change(&s); return s }
	replica := func(change func(*Status)) Status { s := following(settled, "b"); change(&s); return s }
	fresh := primary(func(s *Status) { // a primary whose mysqld has just started
		s.Offline, s.Writes, s.Serving = true, WritesOff, Serving{}
	})
	booted := from(fresh, func(s *Status) { s.Serving.SemiSync, s.Serving.Acks, s.Writes = true, 1, WritesOn })
	admitted := from(booted, func(s *Status) { s.Serving.Admitted = []string{"b", "c"} })
	for _, c := range []struct {
		name   string
		id     string
		record durability.Record
		status Status
		want   Act
	}{
		{"mysqld does not run", "a", settled, Status{Mysqld: MysqldDown}, Act{Kind: ActWait, Reason: "mysqld is down"}},
		{"mysqld starts", "a", settled, Status{Mysqld: MysqldStarting}, Act{Kind: ActWait, Reason: "mysqld is starting"}},
		{"its data is being replaced", "b", settled, Status{Mysqld: MysqldUp, Rebuilding: true}, Act{Kind: ActWait, Reason: "mysqld is up"}},

		{"primary: nothing to do", "a", settled, primary(func(*Status) {}), Act{Kind: ActNone}},
		{"rule 8: semi-sync is on before writes are", "a", settled, fresh, Act{Kind: ActAcks, Acks: 1}},
		{"rule 8: then it may write, shut", "a", settled, from(fresh, func(s *Status) { s.Serving.SemiSync, s.Serving.Acks = true, 1 }), Act{Kind: ActWritable}},
		{"rule 3: then it lets in those who may replicate, and nobody else", "a", settled, booted, Act{Kind: ActAdmit, Admit: []string{"b", "c"}}},
		{"rule 8: then members have to hold what crash recovery brought back", "a", settled, admitted, Act{Kind: ActSeal, Acks: 1}},
		{"rule 8: only then it opens", "a", settled, from(admitted, func(s *Status) { s.Serving.Seal, s.Serving.Proven = Seal{7, 1, []string{"b", "c"}}, true }),
			Act{Kind: ActOpen}},
		{"what was proven under an older epoch is enough to be open, and is sealed anew", "a", settled,
			from(admitted, func(s *Status) { s.Serving.Proven = true }), Act{Kind: ActOpen}},
		{"open, and to be sealed anew", "a", settled, primary(func(s *Status) { s.Serving.Seal = Seal{} }), Act{Kind: ActSeal, Acks: 1}},
		{"a primary that still receives", "a", settled, primary(func(s *Status) { s.Receiver.State = ReceiverConnecting }), Act{Kind: ActStop}},
		{"3.5: everything received is applied first", "a", settled, primary(func(s *Status) { s.Retrieved = trx(1, 110) }),
			Act{Kind: ActDrain, Reason: "applied before the first write"}},
		{"open, though it cannot be written to", "a", settled, primary(func(s *Status) { s.Writes = WritesOff }), Act{Kind: ActShut}},
		{"3.10: somebody has turned semi-sync off", "a", settled, primary(func(s *Status) { s.Serving.SemiSync = false }), Act{Kind: ActAcks, Acks: 1}},
		{"more are waited for as soon as the record says so", "a", settled.Require(2), primary(func(s *Status) { s.Serving.Seal.Epoch = 0 }),
			Act{Kind: ActAcks, Acks: 2}},
		{"more are waited for: what was sealed is not sealed any more, before that", "a", settled.Require(2), primary(func(*Status) {}), Act{Kind: ActDropSeal}},
		{"fewer: what was sealed stays sealed, before that", "a", settled.Promise(0), primary(func(*Status) {}), Act{Kind: ActKeepSeal}},
		{"fewer are waited for after others are shut out", "a", settled, primary(func(s *Status) {
			s.Serving.Acks, s.Serving.Admitted = 2, []string{"b", "c", "d"}
		}), Act{Kind: ActAdmit, Admit: []string{"b", "c"}}},
		{"fewer are waited for", "a", settled, primary(func(s *Status) { s.Serving.Acks = 2 }), Act{Kind: ActAcks, Acks: 1}},
		{"4.10: nobody may acknowledge, and nothing is promised: a commit that waits would have a clone of this server wait, too", "a", barren,
			from(leading(barren), func(s *Status) { s.Serving.Waiting = 1 }), Act{Kind: ActRestart, Reason: "could be cloned"}},
		{"4.10: nor does a seal begin to wait", "a", barren, from(leading(barren), func(s *Status) { s.Offline, s.Serving.Seal, s.Serving.Proven = true, Seal{}, false }),
			Act{Kind: ActWait, Reason: "nobody may acknowledge"}},
		{"4.10: while something is promised, what waits may be all that there is of it", "a", promised,
			from(leading(promised), func(s *Status) { s.Serving.Waiting = 1 }), Act{Kind: ActNone}},
		{"rule 5: a new primary that the record does not open yet stays shut", "b", opening, leading(opening), Act{Kind: ActShut}},
		{"who comes to a new primary is not long looked for in its binary log", "b", opening,
			from(leading(opening), func(s *Status) { s.Offline, s.Writes, s.Serving = true, WritesOff, Serving{} }), Act{Kind: ActAcks, Acks: 1, Rotate: true}},
		{"but no binary log is begun where there is no room for it", "b", opening,
			from(leading(opening), func(s *Status) { s.Offline, s.Writes, s.Serving, s.Room.Low = true, WritesOff, Serving{}, true }), Act{Kind: ActAcks, Acks: 1}},
		{"rule 5: and seals shut", "b", opening, from(leading(opening), func(s *Status) { s.Offline, s.Serving.Seal = true, Seal{} }), Act{Kind: ActSeal, Acks: 1}},
		{"rule 5: and then waits for the record", "b", opening, from(leading(opening), func(s *Status) { s.Offline = true }), Act{Kind: ActNone}},

		{"replica: nothing to do", "b", settled, replica(func(*Status) {}), Act{Kind: ActNone}},
		{"replica: it opens to readers", "b", settled, replica(func(s *Status) { s.Offline = true }), Act{Kind: ActOpen, Reason: "for readers"}},
		{"replica: connecting is at work too", "b", settled, replica(func(s *Status) { s.Receiver.State = ReceiverConnecting }), Act{Kind: ActNone}},
		{"replica: of somebody else", "b", settled, replica(func(s *Status) { s.Receiver.Source = "c" }), Act{Kind: ActStop}},
		{"replica: rule 2: to acknowledge, it has to start anew", "b", settled, replica(func(s *Status) { s.Receiver.Acknowledges = false }), Act{Kind: ActStop}},
		{"learner: it must not acknowledge", "d", settled.Admit("d", "sd"), from(following(settled, "d"), func(s *Status) { s.Receiver.Acknowledges = true }),
			Act{Kind: ActStop}},
		{"learner: it is shut to readers", "d", settled.Admit("d", "sd"), from(following(settled, "d"), func(s *Status) { s.Offline = true }), Act{Kind: ActNone}},
		{"3.2: relay logs are applied before they go", "b", settled, replica(func(s *Status) {
			s.Receiver.State, s.Receiver.Source, s.Retrieved = ReceiverStopped, "c", trx(90, 110)
		}), Act{Kind: ActDrain, Reason: "applied before relay logs go"}},
		{"replica: then it is pointed", "b", settled, replica(func(s *Status) { s.Receiver.State, s.Receiver.Source = ReceiverStopped, "c" }),
			Act{Kind: ActPoint, Source: "a"}},
		{"3.2: who is pointed right is not pointed again", "b", settled, replica(func(s *Status) {
			s.Receiver.State, s.Retrieved = ReceiverStopped, trx(90, 110)
		}), Act{Kind: ActStart, Acknowledge: true}},
		{"learner: it starts without acknowledging", "d", settled.Admit("d", "sd"), from(following(settled, "d"), func(s *Status) {
			s.Receiver.State = ReceiverStopped
		}), Act{Kind: ActStart}},

		{"stopped: it stops", "b", failing, following(settled, "b"), Act{Kind: ActStop}},
		{"stopped: 3.4: connecting is not stopped", "b", failing, replica(func(s *Status) { s.Receiver.State = ReceiverConnecting }), Act{Kind: ActStop}},
		{"stopped: it waits for a disk that has room again", "b", failing, replica(func(s *Status) { s.Receiver.StoppingFor = 11 * time.Second }), Act{
			Kind: ActRestart, Reason: "does not stop",
		}},
		{"stopped: it is given time", "b", failing, replica(func(s *Status) { s.Receiver.StoppingFor = 9 * time.Second }), Act{Kind: ActStop}},
		{"stopped: mysqld is not started anew where there is no room", "b", failing,
			replica(func(s *Status) { s.Receiver.StoppingFor, s.Room = time.Minute, low }), Act{Kind: ActStop}},
		{"replica: of somebody else, and its receiver waits for a disk", "b", settled,
			replica(func(s *Status) { s.Receiver.Source, s.Receiver.StoppingFor = "c", 11*time.Second }), Act{Kind: ActRestart, Reason: "does not stop"}},
		{"stopped: it stands", "b", failing, replica(func(s *Status) { s.Receiver.State = ReceiverStopped }), Act{Kind: ActNone}},
		{"3.5: stopped, and mysqld was started anew: what was received is applied", "b", failing,
			replica(func(s *Status) { s.Receiver.State, s.Retrieved = ReceiverStopped, trx(90, 110) }), Act{Kind: ActDrain, Reason: "whoever takes over"}},
		{"stopped: an applier that gave up stays as it is, and says why", "b", failing,
			replica(func(s *Status) {
				s.Receiver.State, s.Retrieved, s.Applier = ReceiverStopped, trx(90, 110), "1062: duplicate"
			}), Act{Kind: ActNone}},

		{"quiesced: clients out first", "a", handing, leading(settled), Act{Kind: ActShut}},
		{"quiesced: a commit that waits may still be acknowledged", "a", handing, primary(func(s *Status) { s.Offline, s.Serving.Waiting = true, 1 }), Act{
			Kind: ActWait, Reason: "commits wait",
		}},
		{"quiesced: then read-only", "a", handing, primary(func(s *Status) { s.Offline = true }), Act{Kind: ActReadOnly}},
		{"quiesced: read-only under way", "a", handing, primary(func(s *Status) { s.Offline, s.Writes = true, WritesStopping }), Act{Kind: ActReadOnly}},
		{"quiesced: nobody takes over while anything is on its way", "a", handing, primary(func(s *Status) {
			s.Offline, s.Writes, s.Owned = true, WritesOff, trx(101, 101)
		}), Act{Kind: ActWait, Reason: "come to their end"}},
		{"quiesced: then no acknowledgements", "a", handing, primary(func(s *Status) { s.Offline, s.Writes = true, WritesOff }), Act{Kind: ActAsynchronous}},
		{"quiesced: it stands", "a", handing, primary(func(s *Status) { s.Offline, s.Writes, s.Serving.SemiSync = true, WritesOff, false }), Act{Kind: ActNone}},
		{"quiesced: in a failover too", "a", failing, leading(settled), Act{Kind: ActShut}},
		{"quiesced: one that receives", "a", failing, primary(func(s *Status) { s.Receiver.State = ReceiverRunning }), Act{Kind: ActStop}},

		{"3.3: a demoted primary: clients out", "a", opening, leading(settled), Act{Kind: ActShut}},
		{"3.3: then read-only", "a", opening, primary(func(s *Status) { s.Offline = true }), Act{Kind: ActReadOnly}},
		{"4.2: sessions wait for an acknowledgement that will not come: KILL would answer them, so mysqld is", "a", opening,
			primary(func(s *Status) { s.Offline, s.Serving.Waiting = true, 1 }), Act{Kind: ActRestart, Reason: "will not come"}},
		{"3.3: and only then semi-sync off", "a", opening, primary(func(s *Status) { s.Offline, s.Writes = true, WritesOff }), Act{Kind: ActAsynchronous}},
		{"4.7: a partitioned old primary that comes back is shut", "a", opening, primary(func(s *Status) { s.Epoch = 3 }), Act{Kind: ActShut}},
		{"a demoted primary that is done", "a", opening, from(fresh, func(*Status) {}), Act{Kind: ActNone}},
		{"an outsider receives nothing", "c", settled.Leave("c"), from(following(settled, "c"), func(s *Status) { s.Offline = true }), Act{Kind: ActStop}},
		{"an outsider serves no readers", "c", settled.Leave("c"), following(settled, "c"), Act{Kind: ActShut}},
		{"another server by the name of the primary serves nobody", "a", settled, primary(func(s *Status) { s.Server = "sx" }), Act{Kind: ActShut}},
		{"3.3: a demoted primary that is a replica again", "a", record(1).Begin(durability.Switchover, "b", "", now, now).Promote("b", []string{"a"}, 1),
			primary(func(s *Status) { s.Offline, s.Writes = true, WritesOff }), Act{Kind: ActAsynchronous}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Conduct(c.id, c.record, c.status)
			if got.Kind != c.want.Kind || got.Source != c.want.Source || got.Acknowledge != c.want.Acknowledge || got.Acks != c.want.Acks || got.Rotate != c.want.Rotate ||
				!slices.Equal(got.Admit, c.want.Admit) || !strings.Contains(got.Reason, c.want.Reason) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// does is what an act makes of a server whose sessions and applier do as they are told.
func does(r durability.Record, id string, s Status, a Act) Status {
	switch a.Kind {
	case ActShut:
		s.Offline = true
	case ActReadOnly:
		s.Writes, s.Guarded = WritesOff, false
	case ActRestart:
		s.Guarded = false
		s.Offline, s.Writes, s.Serving, s.Receiver.State = true, WritesOff, Serving{}, ReceiverStopped
		s.Executed, s.Owned = s.Executed.Union(s.Owned), gtid.Set{}
	case ActAsynchronous:
		s.Serving.SemiSync, s.Serving.Acks = false, 0
	case ActStop:
		s.Receiver.State, s.Receiver.Acknowledges, s.Receiver.StoppingFor = ReceiverStopped, false, 0
	case ActDrain:
		s.Executed, s.Applier = s.Has(), ""
	case ActPoint:
		s.Receiver.Source, s.Retrieved = a.Source, gtid.Set{}
	case ActStart:
		s.Receiver.State, s.Receiver.Acknowledges, s.Applier = ReceiverRunning, a.Acknowledge, ""
	case ActAcks:
		s.Serving.SemiSync, s.Serving.Acks = a.Acks > 0, a.Acks
	case ActWritable:
		s.Writes, s.Guarded = WritesOn, false
	case ActGuard:
		s.Writes, s.Guarded = WritesOn, true
	case ActAdmit:
		s.Serving.Admitted = a.Admit
	case ActSeal:
		s.Serving.Seal, s.Serving.Proven = Seal{r.Epoch, a.Acks, Assign(id, s.Server, r).Ackers}, true
	case ActKeepSeal:
		d := Assign(id, s.Server, r)
		s.Serving.Seal = Seal{r.Epoch, d.Acks, d.Ackers}
	case ActDropSeal:
		s.Serving.Seal = Seal{}
	case ActOpen:
		s.Offline = false
	}
	return s
}

// run has an agent act until there is nothing left to do, and tells what it did.
func run(t *testing.T, id string, r durability.Record, s Status) ([]ActKind, Status) {
	t.Helper()
	var acts []ActKind
	for range 20 {
		a := Conduct(id, r, s)
		if a.Kind == ActNone || a.Kind == ActWait {
			return acts, s
		}
		acts = append(acts, a.Kind)
		s = does(r, id, s, a)
	}
	t.Fatalf("%s does not come to an end: %v", id, acts)
	return nil, s
}

// TestOrderOfActs is whole ways of a server, from one role to another.
func TestOrderOfActs(t *testing.T) {
	opening := opening().Record
	established := opening.Establish()
	waits := leading(record(1))
	waits.Serving.Waiting, waits.Owned = 1, trx(101, 101)
	undrained := following(record(1), "b")
	undrained.Retrieved = trx(90, 110)
	crashed := Status{Epoch: 7, Server: "sa", Mysqld: MysqldUp, MysqldFor: time.Second, Offline: true, Writes: WritesOff, Executed: trx(1, 100),
		Receiver: Receiver{State: ReceiverStopped}}
	for _, c := range []struct {
		name   string
		id     string
		record durability.Record
		status Status
		want   []ActKind
	}{
		{"3.3: primary to outsider", "a", opening, leading(record(1)), []ActKind{ActShut, ActReadOnly, ActAsynchronous}},
		{"4.2: with a session that waits", "a", opening, waits, []ActKind{ActShut, ActRestart}},
		{"primary to replica", "a", record(1).Begin(durability.Switchover, "b", "", now, now).Promote("b", []string{"a"}, 1).Establish(), leading(record(1)),
			[]ActKind{ActShut, ActReadOnly, ActAsynchronous, ActPoint, ActStart, ActOpen}},
		{"primary to replica, while the other one is not open", "a", record(1).Begin(durability.Switchover, "b", "", now, now).Promote("b", []string{"a"}, 1), leading(record(1)),
			[]ActKind{ActShut, ActReadOnly, ActAsynchronous, ActPoint, ActStart}},
		{"who is to take over shuts before it does", "b", record(1).Begin(durability.Switchover, "b", "", now, now), following(record(1), "b"), []ActKind{ActShut}},
		{"and has not to, then", "b", record(1).Begin(durability.Switchover, "b", "", now, now).Promote("b", []string{"a"}, 1),
			from(undrained, func(s *Status) { s.Offline = true }), []ActKind{ActStop, ActDrain, ActAcks, ActWritable, ActAdmit, ActSeal}},
		{"who was to take over, and did not, opens again", "b", record(1).Begin(durability.Switchover, "b", "", now, now).Back(),
			from(following(record(1), "b"), func(s *Status) { s.Offline = true }), []ActKind{ActOpen}},
		{"3.5: replica to new primary", "b", opening, undrained, []ActKind{ActStop, ActDrain, ActShut, ActAcks, ActWritable, ActAdmit, ActSeal}},
		{"new primary to primary", "b", established, from(leading(opening), func(s *Status) { s.Offline = true }), []ActKind{ActKeepSeal, ActOpen}},
		{"3.2: replica to replica of another one", "c", established, from(undrained, func(s *Status) { s.Server = "sc" }),
			[]ActKind{ActStop, ActDrain, ActPoint, ActStart}},
		{"rule 8: a primary that restarts in place", "a", record(1), crashed, []ActKind{ActAcks, ActWritable, ActAdmit, ActSeal, ActOpen}},
		{"rule 4: alone", "a", durability.Record{Cluster: "m", Epoch: 7, Primary: "a", Policy: durability.Available}, crashed,
			[]ActKind{ActWritable, ActSeal, ActOpen}},
		{"a primary that stood still opens again", "a", record(1), from(leading(record(1)), func(s *Status) { s.Offline, s.Writes = true, WritesOff }),
			[]ActKind{ActWritable, ActOpen}},
		{"and waits for acknowledgements again before it can be written to", "a", record(1),
			from(leading(record(1)), func(s *Status) { s.Offline, s.Writes, s.Serving.SemiSync = true, WritesOff, false }),
			[]ActKind{ActAcks, ActWritable, ActOpen}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, s := run(t, c.id, c.record, c.status); !slices.Equal(got, c.want) {
				t.Errorf("%v", got)
			} else if again := Conduct(c.id, c.record, s); again.Kind != ActNone {
				t.Errorf("and then %s", again.Kind)
			}
		})
	}
}

func from(s Status, change func(*Status)) Status { change(&s); return s }

// TestConductFromAnywhere: whatever a server is like, its agent comes to an end, and on the way there never answers OK to who waits while it is no
// primary, never drops relay logs that are not applied, and never opens what is not sealed.
func TestConductFromAnywhere(t *testing.T) {
	yes := []bool{false, true}
	receivers := []Receiver{{State: ReceiverStopped}, {State: ReceiverConnecting, Source: "a", Acknowledges: true}, {State: ReceiverRunning, Source: "c"}}
	for name, r := range map[string]durability.Record{
		"settled": record(1), "leaving": record(1).Leave("b"), "learning": record(1).Admit("d", "sd"), "stopping": failing(1).Record, "quiescing": handing().Record,
		"opening": opening().Record, "raising": record(1).Require(2),
	} {
		for _, id := range []string{"a", "b", "d"} {
			for _, writes := range []WriteState{WritesOff, WritesStopping, WritesOn} {
				for _, receiver := range receivers {
					for bits := range 256 {
						is := func(k int) bool { return yes[bits>>k&1] }
						s := Status{Epoch: r.Epoch, Server: "s" + id, Mysqld: MysqldUp, Writes: writes, Receiver: receiver, Offline: is(0), Executed: trx(1, 100)}
						if is(1) {
							s.Retrieved = trx(90, 110)
						}
						if is(2) {
							s.Serving.SemiSync, s.Serving.Acks, s.Serving.Admitted = true, 1, []string{"b", "c"}
						}
						if is(3) && writes != WritesOff {
							s.Serving.Waiting = 1
						}
						if is(4) {
							s.Serving.Seal, s.Serving.Proven = Seal{r.Epoch - 1, 1, []string{"b", "c"}}, true
						}
						s.Room.Low, s.Room.Last, s.Guarded = is(5) || is(6), is(6), is(7) && writes == WritesOn
						for range 20 {
							a := Conduct(id, r, s)
							d := Assign(id, s.Server, r)
							unsafe := a.Kind == ActAsynchronous && s.Writes != WritesOff ||
								a.Kind == ActPoint && !s.drained() ||
								(a.Kind == ActWritable || a.Kind == ActGuard) && (d.Role != RolePrimary || s.acks() < d.Acks || !s.drained()) ||
								a.Kind == ActWritable && (!s.Offline && !s.Guarded || s.Room.Low) || a.Kind == ActGuard && !s.Room.Low ||
								a.Kind == ActStart && s.Room.Low ||
								a.Kind == ActOpen && d.Role == RolePrimary && (!s.Serving.Proven || !d.Open || s.acks() < d.Acks) ||
								a.Kind == ActOpen && d.Role != RolePrimary && s.Writes != WritesOff
							if unsafe {
								t.Fatalf("%s, %s: %s of %+v", name, id, a.Kind, s)
							}
							if s = does(r, id, s, a); a.Kind == ActNone || a.Kind == ActWait {
								break
							}
						}
						if a := Conduct(id, r, s); a.Kind != ActNone && a.Kind != ActWait {
							t.Fatalf("%s, %s: no end: %s of %+v", name, id, a.Kind, s)
						}
					}
				}
			}
		}
	}
}

func TestInEffect(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Status)
		want   bool
	}{
		{"it is", func(*Status) {}, true},
		{"another server", func(s *Status) { s.Server = "sx" }, false},
		{"mysqld does not answer", func(s *Status) { s.Mysqld = MysqldStarting }, false},
		{"it receives", func(s *Status) { s.Receiver.State = ReceiverConnecting }, false},
		{"it waits for fewer", func(s *Status) { s.Serving.Acks = 0 }, false},
		{"it waits for more", func(s *Status) { s.Serving.Acks = 2 }, false},
		{"semi-sync is off", func(s *Status) { s.Serving.SemiSync = false }, false},
		{"it lets in somebody else", func(s *Status) { s.Serving.Admitted = []string{"b", "c", "d"} }, false},
		{"it lets in somebody less", func(s *Status) { s.Serving.Admitted = []string{"b"} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := leading(record(1))
			c.change(&s)
			if got := InEffect("a", record(1), s); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
	if InEffect("b", record(1), following(record(1), "b")) {
		t.Error("a replica has no terms")
	}
}
