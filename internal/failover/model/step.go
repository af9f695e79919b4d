package model

import (
	"slices"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// kind is what happens.
type kind uint8

const (
	clientWrites kind = iota
	commits
	kills
	receives
	acknowledges
	applies
	disconnects
	reconnects
	fills
	empties
	works // an agent
	seals
	learns
	relapses
	crashes
	starts
	wipes
	rebuilds
	doubts
	hears
	decides
)

// event is what happens, to whom, and with what.
type event struct {
	kind    kind
	a       uint8 // the member
	trx     uint8
	patient bool   // of decides
	old     bool   // of decides: who is down and was heard of before counts as lost
	rec     uint16 // of relapses; of decides: the old record that it is about
	stale   uint8  // a member of whom the manager heard just before, and from then on nothing, +1
}

// each calls do with everything that can happen next.
func (w *world) each(s *state, do func(event)) {
	for i := range w.ids {
		m := &s.m[i]
		if !m.up {
			do(event{kind: starts, a: uint8(i)})
			continue
		}
		w.eachServer(s, i, m, do)
		w.eachReceiver(s, i, m, do)
		w.eachAgent(s, i, m, do)
	}
	w.eachManager(s, do)
}

func (w *world) eachServer(s *state, i int, m *member, do func(event)) {
	at := uint8(i)
	if m.open() && !m.guarded && int(s.trx) < w.cfg.Trx {
		do(event{kind: clientWrites, a: at})
	}
	for t := range w.cfg.Trx {
		if m.waiting().has(t) {
			if m.ackBy[t].count() >= w.effective(m) || w.cfg.Rules.AckTimeout {
				do(event{kind: commits, a: at, trx: uint8(t)})
			}
			if s.left.kill > 0 {
				do(event{kind: kills, a: at, trx: uint8(t)})
			}
		}
	}
	if m.relay.minus(m.exec) != 0 {
		do(event{kind: applies, a: at})
	}
	if m.sealing != 0 && w.proven(s, i) {
		do(event{kind: seals, a: at})
	}
	if s.left.crash > 0 {
		do(event{kind: crashes, a: at})
	}
	if m.full {
		do(event{kind: empties, a: at})
	} else if s.left.fill > 0 {
		do(event{kind: fills, a: at})
	}
	if s.left.wipe > 0 && !(w.cfg.Spare && (w.terms[s.cur].members.has(i) || w.terms[s.cur].primary == i)) {
		do(event{kind: wipes, a: at})
	}
}

func (w *world) eachReceiver(s *state, i int, m *member, do func(event)) {
	at := uint8(i)
	if m.cut {
		do(event{kind: reconnects, a: at})
	}
	if m.recv != recvRunning {
		return
	}
	src := &s.m[m.src]
	if src.logged.minus(m.has()) != 0 {
		do(event{kind: receives, a: at})
	}
	for t := range w.cfg.Trx {
		if m.latch && src.waiting().has(t) && !src.ackBy[t].has(i) && m.has().holds(src.logged.upTo(t)) {
			do(event{kind: acknowledges, a: at, trx: uint8(t)})
		}
	}
	if s.left.cut > 0 {
		do(event{kind: disconnects, a: at})
	}
}

func (w *world) eachAgent(s *state, i int, m *member, do func(event)) {
	at := uint8(i)
	if w.busy(s, i, w.conduct(s, i)) {
		do(event{kind: works, a: at})
	}
	if w.newer(s.cur, m.rec) {
		do(event{kind: learns, a: at})
	}
	if w.cfg.Rules.ObeyOld || w.cfg.Rules.ForgetEpoch && m.rec == 0 {
		for r := 1; r < len(w.records); r++ {
			if w.terms[r].epoch < w.terms[s.cur].epoch && uint16(r) != m.rec && w.remembered(s, r) {
				do(event{kind: relapses, a: at, rec: uint16(r)})
			}
		}
	}
	if r := s.rebuild[i]; r.rec != 0 && s.m[r.donor].up {
		do(event{kind: rebuilds, a: at})
	}
	if s.mgr.lost.has(i) || s.mgr.seen[i] != 0 {
		do(event{kind: hears, a: at})
	} else if s.left.doubt > 0 {
		do(event{kind: doubts, a: at})
	}
}

// busy says whether an agent has something to do.
func (w *world) busy(s *state, i int, a act) bool {
	switch a.kind {
	case failover.ActNone, failover.ActWait, failover.ActDrain:
		return false
	case failover.ActSeal:
		return s.m[i].sealing != s.m[i].rec
	case failover.ActGuard: // it waits for commits that are under way
		return s.m[i].waiting() == 0
	}
	return true
}

// newer says whether an agent that goes by one record takes another one.
func (w *world) newer(r, than uint16) bool { return w.terms[r].epoch > w.terms[than].epoch }

// remembered says whether somebody still has a record, so that a late message can carry it.
func (w *world) remembered(s *state, r int) bool {
	for i := range w.ids {
		if int(s.m[i].rec) == r {
			return true
		}
	}
	return r == 1
}

func (w *world) eachManager(s *state, do func(event)) {
	var done [8]answer
	n := 0
	for _, old := range []bool{false, true} {
		for _, patient := range []bool{true, false} {
			q, ok := w.question(s, patient, old)
			if !ok {
				continue
			}
			a := w.decide(q)
			if (a.next == 0 || int(w.terms[a.next].epoch) > w.cfg.Epochs) && (a.rebuild < 0 || s.rebuild[a.rebuild] == rebuildOrder{s.cur, uint8(a.donor),
				uint8(a.inc)}) {
				continue
			}
			a.problem = ""
			if !slices.Contains(done[:n], a) {
				done[n] = a
				n++
				do(event{kind: decides, patient: patient, old: old})
			}
		}
	}

	for r := 1; w.cfg.Rules.BlindWrite && r < len(w.records); r++ {
		if uint16(r) != s.cur && w.remembered(s, r) {
			q, _ := w.question(s, false, false)
			q.rec = uint16(r)
			if a := w.decide(q); a.next != 0 && int(w.terms[a.next].epoch) <= w.cfg.Epochs {
				do(event{kind: decides, rec: uint16(r)})
			}
		}
	}
}

// question is what the manager sees when it decides. With old, whoever it has an old view of and is down counts as lost.
func (w *world) question(s *state, patient, old bool) (question, bool) {
	q := question{rec: s.cur, patient: patient}
	some := false
	for i := range w.ids {
		switch m := &s.m[i]; {
		case s.mgr.seen[i] != 0:
			q.seen[i] = s.mgr.seen[i]
			q.old |= one(i)
			if old && !m.up {
				some = true
				q.lost |= one(i)
			}
		case m.up && !s.mgr.lost.has(i):
			q.seen[i] = w.look(s, i)
		default:
			q.lost |= one(i)
		}
	}
	return q, some || !old
}

// asked is the question that led to a decision.
func (w *world) asked(s *state, e event) question {
	q, _ := w.question(s, e.patient, e.old)
	if e.rec != 0 {
		q.rec = e.rec
	}
	return q
}

// proven says whether enough members have acknowledged the transaction with which a primary seals.
func (w *world) proven(s *state, i int) bool {
	m := &s.m[i]
	if w.cfg.Rules.SealUnacked || !m.semi {
		return true
	}
	n, attached := 0, w.attached(s, i)
	for k := range w.ids {
		if attached.has(k) && s.m[k].has().holds(m.proving) {
			n++
		}
	}
	return n >= int(m.acks)
}

// apply makes an event happen, and what follows from it at once. It gives an error when an invariant is broken by it.
func (w *world) apply(s *state, e event) error {
	i := int(e.a)
	var stale uint16
	if e.stale > 0 {
		stale = w.look(s, int(e.stale)-1)
	}
	err := w.happen(s, e, i, &s.m[i])
	for k := range w.ids {
		w.connect(s, k)
	}
	if e.stale > 0 {
		s.mgr.seen[e.stale-1] = stale
	}
	for k := range w.ids { // a view that is not old
		if v := s.mgr.seen[k]; v != 0 && s.m[k].up && v == w.look(s, k) {
			s.mgr.seen[k] = 0
		}
	}
	return err
}

func (w *world) happen(s *state, e event, i int, m *member) error {
	switch e.kind {
	case clientWrites:
		m.logged |= one(int(s.trx))
		s.trx++
	case commits:
		t := int(e.trx)
		m.exec |= one(t)
		m.ackBy[t] = 0
		s.acked |= one(t)
		return w.acknowledged(s, i, t)
	case kills:
		s.left.kill--
		m.exec |= one(int(e.trx))
		m.shown |= one(int(e.trx)) // what MySQL shows then is not ours to keep
		m.ackBy[e.trx] = 0
	case receives:
		return w.receive(s, i)
	case acknowledges:
		return w.acknowledge(s, i, int(e.trx))
	case applies:
		m.exec |= m.relay
		m.logged |= m.relay
	case works:
		return w.work(s, i)
	case seals:
		m.sealed, m.served, m.sealing, m.proving = m.sealing, true, 0, 0
	case learns:
		w.learn(s, i, s.cur)
	case relapses:
		w.learn(s, i, e.rec)
	case rebuilds:
		w.rebuild(s, i)
	case decides:
		return w.manage(s, e)
	default:
		w.fail(s, e, i, m)
	}
	return nil
}

// fail is what goes wrong, and what ends it.
func (w *world) fail(s *state, e event, i int, m *member) {
	switch e.kind {
	case disconnects:
		s.left.cut--
		m.cut = true
	case reconnects:
		m.cut = false
	case starts:
		m.up = true
	case crashes:
		s.left.crash--
		w.crash(s, i)
		if w.cfg.Power {
			m.relay &= m.exec
			if w.records[s.cur].Policy == durability.Fast {
				m.boot++
			}
		}
	case fills:
		s.left.fill--
		m.full = true
	case empties:
		m.full = false
	case wipes:
		s.left.wipe--
		*m = member{inc: m.inc + 1, boot: m.boot, src: nobody, full: m.full, offline: true}
		s.mgr.lost = s.mgr.lost.without(i)
	case doubts:
		s.left.doubt--
		s.mgr.lost |= one(i)
	case hears:
		s.mgr.lost = s.mgr.lost.without(i)
		s.mgr.seen[i] = 0
	}
}

// connect has a receiver that can reach its source be connected, and one that cannot not.
func (w *world) connect(s *state, k int) {
	m := &s.m[k]
	if m.recv == recvStopped || m.src == nobody {
		m.recv, m.cut, m.latch = recvStopped, false, false
		return
	}
	m.recv = recvConnecting
	if src := &s.m[m.src]; src.up && !m.cut && (src.admit.has(k) || w.cfg.Rules.NoAdmission) {
		m.recv = recvRunning
	}
}

func (w *world) receive(s *state, i int) error {
	m := &s.m[i]
	src := &s.m[m.src]
	t := src.logged.minus(m.has()).lowest()
	m.relay |= one(t)
	if m.latch && src.waiting().has(t) {
		return w.acknowledge(s, i, t)
	}
	return nil
}

// acknowledge is of a position, so of everything before it.
func (w *world) acknowledge(s *state, i, t int) error {
	m := &s.m[i]
	src := &s.m[m.src]
	for k := range t + 1 {
		if src.waiting().has(k) {
			src.ackBy[k] |= one(i)
		}
	}
	c := &w.terms[s.cur]
	from := int(m.src)
	if from == c.source && !c.opening && !c.members.has(i) || from == c.primary && c.opening && !c.next.has(i) {
		return w.broken(Terms, "%s acknowledges to %s, and is no published member", w.ids[i], w.ids[from])
	}
	return nil
}

// manage does what is decided. Whoever has the same duty under the new record is taken to know it: to know it later makes no difference but that
// the manager waits.
func (w *world) manage(s *state, e event) error {
	a := w.decide(w.asked(s, e))
	if a.rebuild >= 0 {
		s.rebuild[a.rebuild] = rebuildOrder{s.cur, uint8(a.donor), uint8(a.inc)}
	}
	if a.next == 0 {
		return nil
	}
	s.cur = a.next
	if !w.cfg.Keep {
		s.mgr.seen = [maxMembers]uint16{}
	}
	for i := range w.ids {
		if m := &s.m[i]; m.up && m.rec != 0 && w.newer(s.cur, m.rec) && s.rebuild[i].rec == 0 && w.duty(i, m, m.rec) == w.duty(i, m, s.cur) {
			w.learn(s, i, s.cur)
		}
	}
	return w.published(s)
}
