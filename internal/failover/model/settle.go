package model

import (
	"fmt"
	"slices"

	"github.com/huker/huker/internal/durability"
)

// rounds is how many rounds a cluster may take to become whole again. A change of primary and the return of two members are about 40.
const rounds = 120

// settle checks that a cluster comes to itself: from a state on, nothing fails any more, everybody is reached, everything is done in turn, and no more is asked
// for. In the end it is at work, with every member; or, when one is gone for ever (nobody: none is), with as many as it may be at work with. The error tells
// what it did instead.
func (w *world) settle(s state, gone int) error {
	if gone != nobody {
		s.left = budget{crash: 1}
		if err := w.apply(&s, event{kind: crashes, a: uint8(gone)}); err != nil {
			return err
		}
	}
	return w.rest(s, gone, nobody)
}

// settleFull is settle, but with a member whose disk stays full for ever.
func (w *world) settleFull(s state) error {
	for i := range w.ids {
		if s.m[i].full {
			return w.rest(s, nobody, i)
		}
	}
	return nil
}

func (w *world) rest(s state, gone, full int) error {
	s.left = budget{}
	s.mgr = manager{}
	var told []string
	for range rounds {
		moved, err := w.round(&s, gone, full, &told)
		if err != nil {
			return err
		}
		if !moved {
			why := ""
			switch {
			case full != nobody:
				why = w.open(&s, full)
			case gone == nobody:
				why = w.whole(&s)
			default:
				why = w.open(&s, gone)
			}
			if why != "" {
				return w.broken(Progress, "when nothing fails any more, the cluster stands still: %s\n  %s", why, w.describe(&s))
			}
			return nil
		}
	}
	return w.broken(Progress, "after %d rounds without faults the cluster is not at rest; the last events:\n    %s", rounds, joinLines(told))
}

// round has everybody do all they can, and then the manager take a step.
func (w *world) round(s *state, gone, full int, told *[]string) (moved bool, err error) {
	do := func(e event) bool {
		line := w.text(s, e)
		if err = w.apply(s, e); err == nil {
			err = w.check(s)
		}
		if err != nil {
			return false
		}
		moved = true
		*told = append(*told, line)
		if n := len(*told) - 6; n > 0 {
			*told = (*told)[n:]
		}
		return true
	}
	for range 200 {
		var todo []event
		w.each(s, func(e event) {
			if (e.kind != starts || int(e.a) != gone) && (e.kind != empties || int(e.a) != full) && e.kind != decides && e.kind != clientWrites && e.kind != relapses {
				todo = append(todo, e)
			}
		})
		if len(todo) == 0 {
			break
		}
		if !do(todo[0]) {
			return moved, err
		}
	}
	limit := w.cfg.Epochs
	w.cfg.Epochs = 1 << 30 // a state may be at its bound already
	defer func() { w.cfg.Epochs = limit }()
	var steps []event
	w.eachManager(s, func(e event) { steps = append(steps, e) })
	if i := slices.IndexFunc(steps, func(e event) bool { return e.patient }); i >= 0 {
		do(steps[i])
	} else if len(steps) > 0 {
		do(steps[0])
	}
	return moved, err
}

// whole says what is missing for a cluster to be at work with all its members; empty: nothing.
func (w *world) whole(s *state) string {
	r := w.records[s.cur]
	switch p := &s.m[w.terms[s.cur].primary]; {
	case r.MinAcks == 0 && !w.is(s.cur, w.terms[s.cur].primary, p):
		return "" // all that was promised is gone; the alarms say so, and a person decides
	case r.Intent != nil:
		return "its primary is still being changed"
	case !p.open():
		return "its primary is not open"
	case p.guarded:
		return "its primary takes no writes"
	case len(r.Members) != len(w.ids)-1:
		return fmt.Sprintf("its members are %v", r.Members)
	case r.MinAcks != w.cfg.Acks || r.SetAcks != r.MinAcks:
		return fmt.Sprintf("%d acknowledgements are promised", r.MinAcks)
	case w.attached(s, w.terms[s.cur].primary) != w.terms[s.cur].members:
		return "a member does not acknowledge"
	}
	return ""
}

// open says why a cluster that one member is gone from is not at work, though it may be; empty: it is, or it may not.
func (w *world) open(s *state, gone int) string {
	r, c := &w.records[s.cur], &w.terms[s.cur]
	there := func(ids []string) (n int) {
		for i := range w.ids {
			if i != gone && w.mask(ids).has(i) && w.is(s.cur, i, &s.m[i]) {
				n++
			}
		}
		return n
	}
	p := &s.m[c.primary]
	switch {
	case p.open() && r.Intent == nil && w.attached(s, c.primary).count() >= w.effective(p):
		return ""
	case gone == c.source || gone == c.primary || !w.is(s.cur, c.primary, p): // somebody else has to be found
		if r.MinAcks == 0 || there(r.Members) < durability.NeededStops(*r) {
			return "" // rule 1: nobody may be
		}
		return "enough members are there for a failover"
	case len(w.ids)-2 < r.Policy.Floor():
		return "" // strict, and nobody is left to acknowledge
	}
	return "its primary does not serve, with enough members to acknowledge"
}

// describe is a state in words.
func (w *world) describe(s *state) string {
	text := w.recordText(s.cur)
	for i, id := range w.ids {
		m := &s.m[i]
		q, _ := w.question(s, false, false)
		text += fmt.Sprintf("\n  %s: up %v, server %d, epoch %d %s, executed %s, received %s, waiting %s; receiver %d from %d; open %v, act %s; %s", id, m.up,
			m.inc, w.terms[m.rec].epoch,
			w.duty(i, m, m.rec).role, w.numbers(m.exec), w.numbers(m.relay), w.numbers(m.waiting()), m.recv, m.src, m.open(), w.conduct(s, i).kind, w.decide(q).problem)
	}
	return text
}
