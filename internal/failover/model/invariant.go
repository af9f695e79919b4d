package model

import "fmt"

// Invariant is something that holds in every state. They can be checked one by one, so that a search for what a client would notice goes on where
// another one finds fault with the record.
type Invariant uint8

// The invariants.
const (
	// Kept: whoever opens to clients as the primary has everything that was acknowledged, and nobody acknowledges what the one that took its place lacks.
	Kept Invariant = 1 << iota
	// Single: of those that are open, at most one can acknowledge.
	Single
	// Shown: nobody shows what the primary does not have.
	Shown
	// Terms: the primary waits for as many acknowledgements as are published, and for those of published members only (rule 2).
	Terms
	// Lineage: no published member has a history of its own.
	Lineage
	// Held: MinAcks of the members hold whatever was acknowledged. The others follow from it; no client would notice.
	Held
	// Progress: when nothing fails any more, the cluster comes to be at work with all its members.
	Progress
	// Lawful: every record that is written is valid.
	Lawful

	Everything Invariant = 1<<iota - 1
)

// violation is an invariant that does not hold.
type violation struct {
	of   Invariant
	what string
}

func (v *violation) Error() string { return v.what }

// broken gives an error, when that invariant is looked at.
func (w *world) broken(of Invariant, format string, args ...any) error {
	if w.cfg.Check != 0 && w.cfg.Check&of == 0 {
		return nil
	}
	return &violation{of, fmt.Sprintf(format, args...)}
}

// opened is checked when a member opens to clients. The primary has everything that any client was told; what can be read from then on, and could not before,
// counts as acknowledged. One whose place is taken, which does not know yet, shows nothing that the primary does not have.
func (w *world) opened(s *state, i int) error {
	m, c := &s.m[i], &w.terms[s.cur]
	shown := m.exec.minus(m.shown)
	m.shown = 0
	if i != c.source || c.opening {
		if more := shown.minus(s.m[c.primary].has()); more != 0 && w.is(s.cur, c.primary, &s.m[c.primary]) {
			return w.broken(Shown, "%s opens with transaction %d, and %s became the primary without it", w.ids[i], more.lowest()+1, w.ids[c.primary])
		}
		return nil
	}
	if lost := s.acked.minus(m.exec); lost != 0 {
		return w.broken(Kept, "%s opens without transaction %d, which was acknowledged", w.ids[i], lost.lowest()+1)
	}
	s.acked |= shown
	return nil
}

// acknowledged is checked when a client is answered OK: it is the primary that answers, or the new primary has the transaction
// (unless its data is gone since: then it will not open).
func (w *world) acknowledged(s *state, i, t int) error {
	c := &w.terms[s.cur]
	if p := &s.m[c.primary]; (i != c.source || c.opening) && !p.has().has(t) && w.is(s.cur, c.primary, p) {
		return w.broken(Kept, "%s acknowledges transaction %d after %s became the primary without it", w.ids[i], t+1, w.ids[c.primary])
	}
	return nil
}

// published is checked when the record changes: no member has a history of its own.
func (w *world) published(s *state) error {
	c := &w.terms[s.cur]
	if c.opening || c.source != c.primary {
		return nil
	}
	p := &s.m[c.primary]
	for i := range w.ids {
		if m := &s.m[i]; c.members.has(i) && w.is(s.cur, i, m) && w.is(s.cur, c.primary,
			p) && !p.logged.holds(m.has()) && w.records[s.cur].Intent == nil && !w.leaving(s, i) {
			return w.broken(Lineage, "%s is published as a member with transactions that the primary %s does not have", w.ids[i], w.ids[c.primary])
		}
	}
	return nil
}

func (w *world) leaving(s *state, i int) bool {
	return w.mask(w.records[s.cur].Leaving).has(i)
}

// check is of every state.
func (w *world) check(s *state) error {
	c := &w.terms[s.cur]
	var powerful set // open, and able to acknowledge
	for i := range w.ids {
		if m := &s.m[i]; m.open() && w.canAcknowledge(s, i) {
			powerful |= one(i)
		}
	}
	if powerful.count() > 1 && w.cfg.checks(Single) {
		return w.broken(Single, "%s are open, and each can acknowledge", w.names(powerful))
	}
	if p := &s.m[c.source]; w.cfg.checks(Terms) && !c.opening && p.open() && w.is(s.cur, c.source, p) {
		if w.effective(p) < c.minAcks {
			return w.broken(Terms, "%s waits for %d acknowledgements, and %d are published", w.ids[c.source], w.effective(p), c.minAcks)
		}
		if extra := w.attached(s, c.source).minus(c.members); extra != 0 {
			return w.broken(Terms, "%s can acknowledge to %s, and is no published member", w.names(extra), w.ids[c.source])
		}
	}
	if !w.cfg.checks(Held) || c.minAcks == 0 {
		return nil
	}
	for t := range w.cfg.Trx {
		if s.acked.has(t) && w.holders(s, t) < c.minAcks {
			return w.broken(Held, "transaction %d was acknowledged, and %d of the members hold it; %d are to", t+1, w.holders(s, t), c.minAcks)
		}
	}
	return nil
}

func (w *world) effective(m *member) int {
	if !m.semi {
		return 0
	}
	return int(m.acks)
}

// canAcknowledge says whether a commit on i could be answered OK, now or when connections come about that are being tried.
func (w *world) canAcknowledge(s *state, i int) bool {
	m, n := &s.m[i], 0
	for k := range w.ids {
		if r := &s.m[k]; r.up && r.recv != recvStopped && int(r.src) == i && r.latch && m.admit.has(k) {
			n++
		}
	}
	return n >= w.effective(m)
}

// holders counts the members that hold a transaction, as the servers that the record means.
func (w *world) holders(s *state, t int) (n int) {
	c := &w.terms[s.cur]
	for i := range w.ids {
		if m := &s.m[i]; c.members.has(i) && w.is(s.cur, i, m) && m.has().has(t) {
			n++
		}
	}
	return n
}
