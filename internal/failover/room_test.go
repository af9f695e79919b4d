package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
)

var (
	low  = Room{Low: true, Free: 60 << 20, Size: 600 << 20}
	last = Room{Low: true, Last: true, Free: 30 << 20, Size: 600 << 20}
)

// TestConductWithoutRoom: who has hardly any room left takes no writes, or receives nothing, in every role; and does again when there is room.
func TestConductWithoutRoom(t *testing.T) {
	settled, opening := record(1), opening().Record
	primary := func(change func(*Status)) Status { s := leading(settled); change(&s); return s }
	replica := func(change func(*Status)) Status { s := following(settled, "b"); change(&s); return s }
	for _, c := range []struct {
		name   string
		id     string
		record durability.Record
		status Status
		want   []ActKind
	}{
		{"the primary is guarded, and stays open", "a", settled, primary(func(s *Status) { s.Room = low }), []ActKind{ActGuard}},
		{"it is", "a", settled, primary(func(s *Status) { s.Room, s.Guarded = low, true }), nil},
		{"the last of it goes, and it is", "a", settled, primary(func(s *Status) { s.Room, s.Guarded = last, true }), nil},
		{"the last of it goes while statements go on that keep it from being guarded: clients go", "a", settled,
			primary(func(s *Status) { s.Room = last }), []ActKind{ActShut, ActGuard, ActOpen}},
		{"there is room again", "a", settled, primary(func(s *Status) { s.Guarded = true }), []ActKind{ActWritable}},
		{"members are shut out first, as commits may wait for that", "a", settled, primary(func(s *Status) {
			s.Room, s.Serving.Admitted = low, []string{"b", "c", "d"}
		}), []ActKind{ActAdmit, ActGuard}},
		{"fewer acknowledgements are waited for first", "a", settled, primary(func(s *Status) { s.Room, s.Serving.Acks = low, 2 }), []ActKind{ActAcks, ActGuard}},
		{"more are, too; then it is sealed", "a", settled.Require(2), primary(func(s *Status) { s.Room = low }),
			[]ActKind{ActDropSeal, ActAcks, ActSeal, ActGuard}},
		{"it starts without room: it is never open unguarded", "a", settled, primary(func(s *Status) {
			s.Offline, s.Writes, s.Serving, s.Room = true, WritesOff, Serving{}, low
		}), []ActKind{ActAcks, ActGuard, ActAdmit, ActSeal, ActOpen}},
		{"it stood still, and comes back", "a", settled, primary(func(s *Status) { s.Offline, s.Writes, s.Room = true, WritesOff, low }),
			[]ActKind{ActGuard, ActOpen}},
		{"its agent died before it opened", "a", settled, primary(func(s *Status) { s.Offline, s.Room = true, low }), []ActKind{ActGuard, ActOpen}},
		{"a new primary seals, guarded", "b", opening, from(leading(opening), func(s *Status) {
			s.Offline, s.Writes, s.Serving.Seal, s.Serving.Proven, s.Room = true, WritesOff, Seal{}, false, low
		}), []ActKind{ActGuard, ActSeal}},
		{"and opens, guarded", "b", opening.Establish(), from(leading(opening), func(s *Status) { s.Offline, s.Guarded, s.Room = true, true, low }),
			[]ActKind{ActKeepSeal, ActOpen}},
		{"a guarded primary hands over", "a", handing().Record, primary(func(s *Status) { s.Guarded, s.Room = true, low }),
			[]ActKind{ActShut, ActReadOnly, ActAsynchronous}},

		{"a replica receives nothing", "b", settled, replica(func(s *Status) { s.Room = low }), []ActKind{ActStop}},
		{"nor does it begin to", "b", settled, replica(func(s *Status) { s.Room, s.Receiver.State = low, ReceiverStopped }), nil},
		{"nor is it pointed elsewhere", "b", settled, replica(func(s *Status) { s.Room, s.Receiver = low, Receiver{State: ReceiverStopped, Source: "c"} }), nil},
		{"there is room again, and its receiver has still to stop", "b", settled, replica(func(s *Status) { s.Receiver.StoppingFor = time.Second }), []ActKind{ActStop, ActStart}},
		{"its applier gave up for want of room", "b", settled, replica(func(s *Status) { s.Room, s.Applier = low, "1114: the table is full" }), []ActKind{ActStop}},
		{"and there is some again", "b", settled, replica(func(s *Status) { s.Applier = "1114: the table is full" }), []ActKind{ActStop, ActStart}},
		{"it was started anew a moment ago", "b", settled, replica(func(s *Status) { s.Applier, s.Receiver.Fresh = "1114: the table is full", true }), nil},
		{"it gave up for another reason", "b", settled, replica(func(s *Status) { s.Applier = "1062: duplicate" }), nil},
		{"a stopped member's applier gave up for want of room, and there is some again", "b", failing(1).Record,
			replica(func(s *Status) {
				s.Receiver.State, s.Retrieved, s.Applier = ReceiverStopped, trx(90, 110), "1114: the table is full"
			}), []ActKind{ActDrain}},
		{"there is room again for a replica", "b", settled, replica(func(s *Status) { s.Receiver.State = ReceiverStopped }), []ActKind{ActStart}},
		{"a primary that becomes a replica", "a", opening, primary(func(s *Status) { s.Guarded, s.Room = true, low }),
			[]ActKind{ActShut, ActReadOnly, ActAsynchronous}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, s := run(t, c.id, c.record, c.status); !slices.Equal(got, c.want) {
				t.Errorf("%v", got)
			} else if again := Conduct(c.id, c.record, s); again.Kind != ActNone {
				t.Errorf("and then %s", again.Kind)
			}
		})
	}
	// Commits that wait for acknowledgements keep it from being guarded, and keep everybody from writing: it stays open to readers.
	starved := primary(func(s *Status) { s.Room, s.Serving.Waiting = last, 1 })
	if a := Conduct("a", settled, starved); a.Kind != ActGuard {
		t.Errorf("starved: %+v", a)
	}
	starved.Offline = true
	if a := Conduct("a", settled, starved); a.Kind != ActOpen {
		t.Errorf("starved and shut: %+v", a)
	}
}

// roomScenarios are of members without room.
func roomScenarios() []scenario {
	full := func(ids ...string) func(*Observation) {
		return func(o *Observation) {
			for _, id := range ids {
				if s := o.status(id); id == o.Record.Primary {
					s.Room, s.Guarded = low, true
				} else {
					s.Room, s.Receiver.State = low, ReceiverStopped
				}
			}
		}
	}
	both := func(changes ...func(*Observation)) func(*Observation) {
		return func(o *Observation) {
			for _, change := range changes {
				change(o)
			}
		}
	}
	switchover := func(to string) func(*Observation) {
		return func(o *Observation) { o.Want.Switchover = &Switchover{To: to, Deadline: now.Add(time.Minute)} }
	}
	pair := record(1)
	pair.Members, pair.Servers = []string{"b"}, map[string]string{"a": "sa", "b": "sb"}
	two := func() Observation {
		o := wellWith(pair)
		o.Instances, o.Want.Replicas = o.Instances[:2], 1
		return o
	}
	return []scenario{
		{name: "4.16: a primary without room is not lost", from: well(), change: full("a")},
		{name: "4.16: nor if its writes are not tried", from: well(), change: both(full("a"), func(o *Observation) { o.status("a").Serving.ProbeAgo = 0 })},
		{
			name: "4.16: a member without room acknowledges nothing; enough others do", from: well(), problem: "members to follow", steps: "wait",
			text: "there is hardly any room left on its disk", change: full("c"),
		},
		{
			name: "4.16: a member without room is not waited for", from: wellWith(record(2)), problem: "too few acknowledge", steps: "member",
			next: "a, 1 of [b c]", change: full("c"),
		},
		{
			name: "4.16: strict, and nobody has room: writes wait, nobody is replaced", from: well(), problem: "members to follow", steps: "wait",
			change: both(full("b", "c"), func(o *Observation) {
				o.status("a").Serving.Attached, o.status("a").Serving.ProbeAgo = nil, time.Minute
			}),
		},
		{
			name: "4.16: of two that have everything, the one with room", from: failing(1), problem: "successor ready", steps: "promote, quiesce a, fence a",
			next: "c, 1 of [b c]; failover of a, opening c with 0 of []", text: "c takes the place of a",
			change: both(full("b"), func(o *Observation) {
				o.stop("b", "c")
				o.instance("b").Priority = 5
				o.status("a").Mysqld = MysqldDown
			}),
		},
		{
			name: "4.16: one without room takes over, if it alone has everything", from: failing(1), problem: "successor ready", steps: "promote, quiesce a, fence a",
			next: "b, 1 of [b c]; failover of a, opening b with 1 of [c]",
			change: both(full("b"), func(o *Observation) {
				o.stop("b", "c")
				o.status("b").Executed, o.status("a").Mysqld = trx(1, 105), MysqldDown
			}),
		},
		{
			name: "4.16: a successor does not wait for a member that has no room by now", from: opening(), problem: "too few to acknowledge to the successor",
			steps: "expect", next: "b, 1 of [b c]; failover of a, opening b with 0 of []",
			change: both(full("c"), func(o *Observation) { o.Record.Intent.Began = now.Add(-time.Minute) }),
		},
		{
			name: "4.16: a primary without room hands over to one that has room", from: well(), problem: "switchover asked for", steps: "begin",
			next: "a, 1 of [b c]; switchover of a, quiescing b", change: both(full("a"), switchover("b")),
		},
		{name: "4.16: but not where nobody could acknowledge then", from: two(), change: both(full("a"), switchover("b"))},
		{
			name: "4.16: nobody hands over to one without room", from: well(), problem: "members to follow", steps: "wait",
			change: both(full("b"), switchover("b")),
		},
	}
}

// TestRoomIsTold: who has no room is named, with what is left and what helps.
func TestRoomIsTold(t *testing.T) {
	o := well()
	o.status("a").Room, o.status("c").Room = low, low
	texts := func() (all []string) {
		for _, a := range Decide(o).Alarms {
			if a.Name == "disk-full" {
				all = append(all, a.Text)
			}
		}
		return all
	}
	for i, want := range []string{"60 of 600 MiB are left on the disk of a: its writes are to be stopped", "on the disk of c: it receives nothing"} {
		if got := texts(); len(got) != 2 || !strings.Contains(got[i], want) {
			t.Errorf("%q", got)
		}
	}
	o.status("a").Guarded = true
	if got := texts(); !strings.Contains(got[0], "it takes no writes (error 1290)") || !strings.Contains(got[0], "huker cluster switchover") {
		t.Errorf("%q", got)
	}
	o.lose("a", "c")
	if got := texts(); len(got) != 0 {
		t.Errorf("of who does not answer: %q", got)
	}
	for to, why := range map[string]string{"c": "the disk of c is nearly full", "b": ""} {
		o := well()
		o.status("c").Room = low
		o.Want.Switchover = &Switchover{to, now.Add(time.Minute)}
		i := slices.IndexFunc(Decide(o).Alarms, func(a Alarm) bool { return a.Name == "switchover-refused" })
		if (i >= 0) != (why != "") || i >= 0 && !strings.Contains(Decide(o).Alarms[i].Text, why) {
			t.Errorf("to %s: %+v", to, Decide(o).Alarms)
		}
	}
}
