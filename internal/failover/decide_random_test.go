package failover

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/gtid"
)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// anyRecord is some lawful record that a cluster of four may come to.
func anyRecord(r *rand.Rand) durability.Record {
	rec := record(pick(r, 1, 2))
	if r.IntN(20) == 0 {
		delete(rec.Servers, "a")
	}
	rec.Policy = pick(r, durability.Strict, durability.Available, durability.Fast)
	deadline := now.Add(pick(r, -time.Second, time.Minute))
	began := now.Add(-pick(r, 0, time.Second, time.Minute))
	for range r.IntN(6) {
		var next durability.Record
		switch i := rec.Intent; {
		case i == nil:
			next = pick(r,
				func() durability.Record { return rec.Begin(durability.Failover, "", "lost", began, time.Time{}) },
				func() durability.Record { return rec.Begin(durability.Switchover, "b", "asked for", began, deadline) },
				func() durability.Record { return rec.Admit("d", "sd") },
				func() durability.Record { return rec.Leave("c") },
				func() durability.Record { return rec.Require(2) },
				func() durability.Record { return rec.Promise(0) },
			)()
		case i.Phase == durability.Opening:
			next = pick(r, rec.Establish, rec.Back)()
		default:
			next = pick(r, rec.Promote("b", []string{"c"}, 1), rec.Promote("c", nil, 0), rec.Choose("c"))
		}
		if next.Validate() == nil {
			rec = next
		}
	}
	return rec
}

// anyStatus is what an agent might say, however odd.
func anyStatus(r *rand.Rand, rec durability.Record, id string) Status {
	has := func() gtid.Set {
		return pick(r, trx(1, 100), trx(1, 101), trx(1, 90), trx(1, 100).Union(errant(1, 1)), gtid.Set{})
	}
	s := Status{
		Epoch: rec.Epoch - pick(r, int64(0), 0, 0, 1, 3), Server: pick(r, "s"+id, "s"+id, "s"+id, "sx"), Mysqld: pick(r, MysqldUp, MysqldUp, MysqldUp,
			MysqldStarting, MysqldDown),
		MysqldFor: pick(r, time.Second, time.Minute), Offline: r.IntN(2) == 0, Writes: pick(r, WritesOff, WritesOff, WritesStopping, WritesOn),
		Rebuilding: r.IntN(20) == 0, Guarded: r.IntN(4) == 0, Room: Room{Low: r.IntN(4) == 0},
		Executed: has(), Retrieved: has(), Purged: pick(r, gtid.Set{}, gtid.Set{}, trx(1, 50)), Owned: pick(r, gtid.Set{}, gtid.Set{}, trx(102, 102)),
		Applier: pick(r, "", "", "1062"),
		Receiver: Receiver{
			State: pick(r, ReceiverStopped, ReceiverStopped, ReceiverConnecting, ReceiverRunning), Source: pick(r, "a", "b", "c", ""), Acknowledges: r.IntN(2) == 0,
			HeardAgo: pick(r, time.Millisecond, time.Minute), Broken: pick(r, "", "", "", "1236"),
		},
		Serving: Serving{
			SemiSync: r.IntN(2) == 0, Acks: r.IntN(3), Attached: pick(r, nil, []string{"b"}, []string{"b", "c"}), Waiting: pick(r, 0, 0, 1), Proven: r.IntN(2) == 0,
			Enforced: rec.Epoch - int64(r.IntN(2)), Seal: Seal{Epoch: rec.Epoch - int64(r.IntN(2))}, ProbeAgo: pick(r, 0, 1500*time.Millisecond, time.Minute),
		},
	}
	return s
}

func anyObservation(r *rand.Rand) Observation {
	rec := anyRecord(r)
	o := Observation{Record: rec, Now: now, Since: now.Add(-pick(r, time.Second, time.Hour)), Timing: DefaultTiming(), Want: Want{Replicas: r.IntN(4),
		Acks: r.IntN(3), Policy: pick(r, "", durability.Strict, durability.Available, durability.Fast)}}
	if r.IntN(4) == 0 {
		o.Want.Switchover = &Switchover{pick(r, "a", "b", "c", "x"), now.Add(pick(r, -time.Second, time.Minute))}
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		in := Instance{ID: id, Unwanted: r.IntN(20) == 0, Priority: r.IntN(2), Host: Host{Alive: r.IntN(2) == 0, Down: r.IntN(4) == 0, Fenced: r.IntN(4) == 0}}
		if r.IntN(10) > 0 {
			in.Status, in.Seen = anyStatus(r, rec, id), now.Add(-pick(r, 0, 100*time.Millisecond, 3*time.Second, time.Minute))
			in.Asked, in.Lost = in.Seen.Add(-pick(r, 0, time.Millisecond)), r.IntN(5) == 0
		}
		o.Instances = append(o.Instances, in)
	}
	return o
}

// TestDecideOnAnything: whatever agents say, a record that is written is lawful and the next one, and nobody is promoted by it without proof. What is asked of
// members is asked by a primary that answers, or in a failover.
func TestDecideOnAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	count := map[StepKind]int{}
	for n := range 30_000 {
		o := anyObservation(r)
		before := o.Record
		d := Decide(o)
		swaps := 0
		for _, s := range d.Steps {
			count[s.Kind]++
			if s.Kind == StepRebuild && s.Donor == s.Members[0] {
				t.Fatalf("%d: %s is cloned from itself", n, s.Donor)
			}
			if s.Next == nil {
				continue
			}
			swaps++
			if err := s.Next.Validate(); err != nil || s.Next.Epoch != before.Epoch+1 || s.Next.Cluster != before.Cluster {
				t.Fatalf("%d: %s: epoch %d after %d, %v: %s", n, s.Kind, s.Next.Epoch, before.Epoch, err, brief(*s.Next))
			}
			if s.Kind == StepPromote {
				proof(t, &o, s.Next.Primary)
			} else if s.Next.Primary != before.Primary && s.Next.Primary != before.Source() {
				t.Fatalf("%d: %s made %s the primary", n, s.Kind, s.Next.Primary)
			}
			if s.Kind == StepMember && !o.fresh(o.instance(before.Primary)) {
				t.Fatalf("%d: rule 12: members are changed towards a primary that does not answer: %s", n, s.Reason)
			}
			if s.Kind == StepBegin && s.Next.Intent.Kind == durability.Failover && before.MinAcks < 1 {
				t.Fatalf("%d: rule 4: a failover, and nothing is promised", n)
			}
		}
		if swaps > 1 {
			t.Fatalf("%d: %d records at once", n, swaps)
		}
	}
	for _, k := range []StepKind{
		StepWait, StepSuspect, StepFreeze, StepName, StepBegin, StepChoose, StepPromote, StepExpect, StepEstablish, StepBack, StepMember, StepStop, StepQuiesce,
		StepLead,
		StepFollow, StepDemote, StepRebuild, StepFence, StepUnfence,
	} {
		if count[k] == 0 {
			t.Errorf("it never came to %s", k)
		}
	}
}

// proof is rule 1, said anew: enough members are stopped, and it has what they have; or the old primary stands still, and it has what that one has.
func proof(t *testing.T, o *Observation, to string) {
	t.Helper()
	r, has := o.Record, o.status(to).Executed
	stopped, contained := 0, 0
	for _, id := range r.Members {
		m := o.instance(id)
		s := m.Status
		said := !m.Seen.IsZero() && s.Mysqld == MysqldUp && !s.Rebuilding && s.Epoch >= r.Intent.Since && r.Servers[id] == s.Server
		if said && s.Receiver.State == ReceiverStopped {
			stopped++
			if has.Contains(s.Has()) {
				contained++
			}
		}
	}
	if r.MinAcks > 0 && stopped+r.MinAcks > len(r.Members) && contained+r.MinAcks > len(r.Members) && has.Contains(o.status(to).Retrieved) {
		return
	}
	old := o.instance(r.Intent.From)
	s := old.Status
	if old.Seen.IsZero() || s.Mysqld != MysqldUp || s.Rebuilding || s.Epoch < r.Intent.Since || !r.Is(old.ID,
		s.Server) || s.Writes != WritesOff || s.Serving.Waiting > 0 ||
		!s.Owned.Empty() || !has.Contains(s.Executed) || !slices.Contains(r.Members, to) {
		t.Fatalf("%s is promoted without proof: %d stopped, %d of them contained, old primary %+v; %s", to, stopped, contained, s, brief(r))
	}
}
