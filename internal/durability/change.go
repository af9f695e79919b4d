package durability

import (
	"fmt"
	"slices"
)

// ChangeKind is a change of who acknowledges.
type ChangeKind string

// Kinds of Change.
const (
	Add    ChangeKind = "add"    // publish, then enable
	Remove ChangeKind = "remove" // disable at the primary and have it sealed, then publish
	Raise  ChangeKind = "raise"  // set and have it sealed, then publish
	Lower  ChangeKind = "lower"  // publish, then set
)

// Change is a plan: an order of steps, each of which is one compare-and-set or one command. What the next step is follows from the record and from
// what was seen alone, so that anyone may go on with a plan, from any point.
type Change struct {
	Kind   ChangeKind
	Member string // of Add and Remove
	Acks   int    // of Raise and Lower
}

// Seen is what the primary and the member said last. The zero value of a View is that nothing is known.
type Seen struct{ Primary, Member View }

// View is what an agent said of its server.
type View struct {
	Epoch  int64 // the record that it goes by
	Server string
	// Of a primary: the newest epoch whose terms are in effect (who is let in, verified; how many acknowledgements), and the newest under which
	// a transaction was committed and acknowledged that was begun after.
	Enforced, Sealed int64
	// Of a replica.
	Receiving    bool // its receiver runs, or tries to
	Acknowledges bool // its receiver was started so that it acknowledges
	CaughtUp     bool
	Fits         bool // it has nothing that the primary lacks, and the primary still has all that it lacks
}

// ActionKind is what a step of a plan is.
type ActionKind string

// Kinds of Action.
const (
	Done ActionKind = "done"
	Wait ActionKind = "wait"
	Swap ActionKind = "swap" // replace the record by Next
	Tell ActionKind = "tell" // have Target's agent go by the record, which says what it has to do
)

// Action is the next step of a plan.
type Action struct {
	Kind   ActionKind
	Next   Record
	Target string
	Reason string
}

func swap(next Record, format string, args ...any) Action {
	return Action{Kind: Swap, Next: next, Reason: fmt.Sprintf(format, args...)}
}

func tell(target, format string, args ...any) Action {
	return Action{Kind: Tell, Target: target, Reason: fmt.Sprintf(format, args...)}
}

func wait(format string, args ...any) Action {
	return Action{Kind: Wait, Reason: fmt.Sprintf(format, args...)}
}

// Next is the next step. While a change of primary is under way, it waits.
func (c Change) Next(r Record, s Seen) Action {
	if r.Intent != nil {
		return wait("a %s is under way", r.Intent.Kind)
	}
	switch c.Kind {
	case Add:
		return c.add(r, s)
	case Remove:
		return c.remove(r, s)
	case Raise:
		return c.raise(r, s)
	case Lower:
		return c.lower(r)
	}
	return wait("no change is called %q", c.Kind)
}

func (c Change) add(r Record, s Seen) Action {
	m := s.Member
	switch known := m.Epoch >= r.Epoch; {
	case slices.Contains(r.Leaving, c.Member):
		return wait("%s is being removed", c.Member)
	case slices.Contains(r.Members, c.Member):
		if known && m.Acknowledges {
			return Action{Kind: Done}
		}
		return tell(c.Member, "%s has to acknowledge", c.Member)
	case !known:
		return tell(c.Member, "%s does not go by epoch %d yet", c.Member, r.Epoch)
	case slices.Contains(r.Learners, c.Member):
		switch {
		case r.Servers[c.Member] != m.Server:
			return swap(r.Dismiss(c.Member), "%s is another server than was let in", c.Member)
		case !m.CaughtUp:
			return wait("%s catches up", c.Member)
		}
		return swap(r.Publish(c.Member), "publish %s, which then begins to acknowledge", c.Member)
	// Only who knows that it must not acknowledge is let in at the primary.
	case m.Receiving:
		return wait("%s still replicates from somebody", c.Member)
	case !m.Fits:
		return wait("%s has another history, or too old a one", c.Member)
	}
	return swap(r.Admit(c.Member, m.Server), "let %s replicate, without acknowledging", c.Member)
}

func (c Change) remove(r Record, s Seen) Action {
	switch left := len(without(without(r.Members, r.Leaving...), c.Member)); {
	case slices.Contains(r.Learners, c.Member):
		return swap(r.Dismiss(c.Member), "%s replicates no more", c.Member)
	case !slices.Contains(r.Members, c.Member):
		return Action{Kind: Done}
	case r.MinAcks > left:
		return swap(r.Promise(left), "%d acknowledgements from now on, as %s goes", left, c.Member)
	case !slices.Contains(r.Leaving, c.Member):
		return swap(r.Leave(c.Member), "have the primary shut %s out", c.Member)
	case r.sealed(s.Primary) || r.MinAcks == 0 && r.enforced(s.Primary):
		return swap(r.Unpublish(c.Member), "%s is shut out, and the others hold everything: it is no member any more", c.Member)
	}
	return r.asked(s.Primary, c.Member+" is shut out and the others hold everything")
}

func (c Change) raise(r Record, s Seen) Action {
	switch {
	case r.MinAcks >= c.Acks:
		return Action{Kind: Done}
	case len(r.Ackers()) < c.Acks:
		return wait("%d acknowledgements need as many members", c.Acks)
	case r.SetAcks < c.Acks:
		return swap(r.Require(c.Acks), "have the primary wait for %d acknowledgements", c.Acks)
	case r.sealed(s.Primary):
		return swap(r.Promise(c.Acks), "%d members hold everything: promise it", c.Acks)
	}
	return r.asked(s.Primary, fmt.Sprintf("%d members hold everything", c.Acks))
}

func (c Change) lower(r Record) Action {
	if r.MinAcks <= c.Acks && r.SetAcks == r.Policy.InEffect(r.MinAcks) {
		return Action{Kind: Done}
	}
	acks := min(r.MinAcks, c.Acks)
	return swap(r.Promise(acks), "%d acknowledgements from now on", acks)
}

// asked waits for the primary to say that it is so.
func (r Record) asked(primary View, what string) Action {
	if !r.enforced(primary) {
		return tell(r.Primary, "the primary %s does not go by epoch %d yet", r.Primary, r.Epoch)
	}
	return wait("until %s", what)
}

func (r Record) enforced(primary View) bool {
	return primary.Enforced >= r.Epoch && r.Is(r.Primary, primary.Server)
}

func (r Record) sealed(primary View) bool { return r.enforced(primary) && primary.Sealed >= r.Epoch }
