package durability

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// follows is a primary that does all that the record says, and has sealed it.
func follows(r Record) View {
	return View{Epoch: r.Epoch, Server: r.Servers[r.Primary], Enforced: r.Epoch, Sealed: r.Epoch}
}

// fits is somebody who could join.
func fits(r Record) View { return View{Epoch: r.Epoch, Server: "sd", Fits: true} }

func TestChange(t *testing.T) {
	learning := settled().Admit("d", "sd")
	leaving := settled().Leave("c")
	raising := settled().Require(2)
	pair := cluster(2, 2)
	alone := cluster(1, 1)
	last := alone.Promise(0).Leave("b")
	enforced := func(r Record) View { v := follows(r); v.Sealed = 0; return v }
	member := func(r Record, change func(*View)) View { v := fits(r); change(&v); return v }
	for _, c := range []struct {
		name   string
		change Change
		r      Record
		seen   Seen
		want   ActionKind
		reason string
	}{
		{"no change is made during a failover", Change{Kind: Add, Member: "d"}, failing(), Seen{}, Wait, "a failover is under way"},
		{"no change is made during a switchover", Change{Kind: Lower}, switching(), Seen{}, Wait, "a switchover is under way"},
		{"no such change", Change{Kind: "replace"}, settled(), Seen{}, Wait, "no change is called"},

		{"add: one that does not know that it must not acknowledge", Change{Kind: Add, Member: "d"}, settled(), Seen{Member: View{Epoch: 6, Fits: true}}, Tell,
			"does not go by epoch 7"},
		{"add: one that still replicates from somebody", Change{Kind: Add, Member: "d"}, settled(),
			Seen{Member: member(settled(), func(v *View) { v.Receiving = true })}, Wait, "still replicates"},
		{"add: another history", Change{Kind: Add, Member: "d"}, settled(), Seen{Member: member(settled(), func(v *View) { v.Fits = false })}, Wait,
			"another history"},
		{"add: let in without acknowledging", Change{Kind: Add, Member: "d"}, settled(), Seen{Member: fits(settled())}, Swap, "without acknowledging"},
		{"add: a learner that lags", Change{Kind: Add, Member: "d"}, learning, Seen{Member: fits(learning)}, Wait, "catches up"},
		{"add: a learner whose data is gone", Change{Kind: Add, Member: "d"}, learning,
			Seen{Member: member(learning, func(v *View) { v.Server = "sx" })}, Swap, "another server than was let in"},
		{"add: a learner that has caught up is published", Change{Kind: Add, Member: "d"}, learning,
			Seen{Member: member(learning, func(v *View) { v.CaughtUp = true })}, Swap, "publish d"},
		{"add: a member is told to acknowledge, after it was published", Change{Kind: Add, Member: "b"}, settled(), Seen{}, Tell, "has to acknowledge"},
		{"add: done", Change{Kind: Add, Member: "b"}, settled(), Seen{Member: View{Epoch: 7, Acknowledges: true}}, Done, ""},
		{"add: one that leaves", Change{Kind: Add, Member: "c"}, leaving, Seen{}, Wait, "is being removed"},

		{"remove: a learner", Change{Kind: Remove, Member: "d"}, learning, Seen{}, Swap, "replicates no more"},
		{"remove: nobody", Change{Kind: Remove, Member: "d"}, settled(), Seen{}, Done, ""},
		{"remove: shut out first", Change{Kind: Remove, Member: "c"}, settled(), Seen{}, Swap, "shut c out"},
		{"remove: fewer are promised first, where too few are left", Change{Kind: Remove, Member: "c"}, pair, Seen{}, Swap, "1 acknowledgements from now on"},
		{"remove: the last one", Change{Kind: Remove, Member: "b"}, alone, Seen{}, Swap, "0 acknowledgements from now on"},
		{"remove: not published before the primary knows", Change{Kind: Remove, Member: "c"}, leaving, Seen{Primary: follows(settled())}, Tell,
			"does not go by epoch 8"},
		{"remove: not published before the others hold everything", Change{Kind: Remove, Member: "c"}, leaving, Seen{Primary: enforced(leaving)}, Wait,
			"the others hold everything"},
		{"remove: another server's word does not count", Change{Kind: Remove, Member: "c"}, leaving,
			Seen{Primary: View{Epoch: 8, Server: "sx", Enforced: 8, Sealed: 8}}, Tell, "does not go by"},
		{"remove: published when it is sealed", Change{Kind: Remove, Member: "c"}, leaving, Seen{Primary: follows(leaving)}, Swap, "no member any more"},
		{"remove: of the last one nothing is promised, so nothing sealed", Change{Kind: Remove, Member: "b"}, last, Seen{Primary: enforced(last)}, Swap,
			"no member any more"},
		{"remove: but the primary has to be alive", Change{Kind: Remove, Member: "b"}, last, Seen{}, Tell, "does not go by"},

		{"raise: set first", Change{Kind: Raise, Acks: 2}, settled(), Seen{Primary: follows(settled())}, Swap, "have the primary wait for 2"},
		{"raise: more than there are members", Change{Kind: Raise, Acks: 3}, settled(), Seen{}, Wait, "need as many members"},
		{"raise: not published before it is in effect", Change{Kind: Raise, Acks: 2}, raising, Seen{Primary: follows(settled())}, Tell, "does not go by"},
		{"raise: not published before it is held", Change{Kind: Raise, Acks: 2}, raising, Seen{Primary: enforced(raising)}, Wait, "2 members hold everything"},
		{"raise: published when it is sealed", Change{Kind: Raise, Acks: 2}, raising, Seen{Primary: follows(raising)}, Swap, "promise it"},
		{"raise: done", Change{Kind: Raise, Acks: 2}, pair, Seen{}, Done, ""},

		{"lower: published first", Change{Kind: Lower, Acks: 1}, pair, Seen{}, Swap, "1 acknowledgements from now on"},
		{"lower: what was to be raised is not", Change{Kind: Lower, Acks: 1}, raising, Seen{}, Swap, "1 acknowledgements from now on"},
		{"lower: never raises", Change{Kind: Lower, Acks: 2}, raising, Seen{}, Swap, "1 acknowledgements from now on"},
		{"lower: done", Change{Kind: Lower, Acks: 1}, settled(), Seen{}, Done, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.change.Next(c.r, c.seen)
			if got.Kind != c.want || !strings.Contains(got.Reason, c.reason) {
				t.Errorf("%s, %q", got.Kind, got.Reason)
			}
			if got.Kind == Swap && (got.Next.Epoch != c.r.Epoch+1 || got.Next.Validate() != nil) {
				t.Errorf("%+v: %v", got.Next, got.Next.Validate())
			}
			if got.Kind == Tell && got.Target == "" {
				t.Errorf("nobody is told")
			}
		})
	}
}

// reality is what a primary and the others do, however late.
type reality struct {
	acks    int
	admit   []string // at the primary
	latched map[string]bool
}

func (x reality) actual() (out []string) {
	for _, id := range x.admit {
		if x.latched[id] {
			out = append(out, id)
		}
	}
	return out
}

// TestOrderOfPublishing is rule 2: whatever the plan, whoever is late, and wherever it is stopped and gone on with: actual acknowledgers are
// published members, and the primary waits for at least as many as are published.
func TestOrderOfPublishing(t *testing.T) {
	for _, plan := range []struct {
		change Change
		of     Record
		done   func(Record) bool
	}{
		{Change{Kind: Add, Member: "d"}, settled(), func(r Record) bool { return slices.Contains(r.Members, "d") }},
		{Change{Kind: Remove, Member: "c"}, settled(), func(r Record) bool { return !slices.Contains(r.Members, "c") }},
		{Change{Kind: Remove, Member: "c"}, cluster(2, 2), func(r Record) bool { return !slices.Contains(r.Members, "c") && r.MinAcks == 1 }},
		{Change{Kind: Raise, Acks: 2}, settled(), func(r Record) bool { return r.MinAcks == 2 }},
		{Change{Kind: Lower, Acks: 1}, cluster(2, 2), func(r Record) bool { return r.MinAcks == 1 && r.SetAcks == 1 }},
	} {
		for order := range 1 << 12 { // at each step, who acts: the primary (1) or the member (0) before the plan is asked
			r := plan.of
			x := reality{acks: r.Acks(), admit: r.Ackers(), latched: map[string]bool{"b": true, "c": true}}
			primary, member := follows(r), View{Server: "sd", Fits: true}
			var told []string
			for step := range 12 {
				if order>>step&1 == 1 {
					x.acks, x.admit = r.Acks(), append(r.Ackers(), r.Learners...)
					primary = follows(r)
				} else if plan.change.Kind == Add {
					in := slices.Contains(r.Learners, "d") || slices.Contains(r.Members, "d")
					x.latched["d"] = slices.Contains(r.Ackers(), "d")
					member = View{Epoch: r.Epoch, Server: "sd", Fits: true, Receiving: in, CaughtUp: in && slices.Contains(x.admit, "d"), Acknowledges: x.latched["d"]}
				}
				a := plan.change.Next(r, Seen{Primary: primary, Member: member})
				told = append(told, fmt.Sprintf("%s %s", a.Kind, a.Reason))
				if a.Kind == Swap {
					r = a.Next
				}
				for _, id := range x.actual() {
					if !slices.Contains(r.Members, id) {
						t.Fatalf("%+v: %s acknowledges and is no member:\n%s", plan.change, id, strings.Join(told, "\n"))
					}
				}
				if x.acks < r.MinAcks {
					t.Fatalf("%+v: %d are waited for, %d published:\n%s", plan.change, x.acks, r.MinAcks, strings.Join(told, "\n"))
				}
			}
			if order == 0xaaa && !plan.done(r) { // in turn
				t.Errorf("%+v: not done: %+v:\n%s", plan.change, r, strings.Join(told, "\n"))
			}
		}
	}
}

// TestDeadlines are of switchovers only: a failover is not given up by the clock.
func TestDeadlines(t *testing.T) {
	if r := failing(); !r.Intent.Deadline.IsZero() {
		t.Error(r.Intent.Deadline)
	}
	if r := switching(); r.Intent.Deadline.Sub(r.Intent.Began) != time.Minute {
		t.Error(r.Intent.Deadline)
	}
}
