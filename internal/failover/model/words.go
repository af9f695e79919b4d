package model

import (
	"fmt"
	"strings"

	"github.com/huker/huker/internal/failover"
)

// text is an event in words; s is the state before it.
func (w *world) text(s *state, e event) string {
	text := w.eventText(s, e)
	if e.stale > 0 {
		text += fmt.Sprintf(" (the manager heard of %s just before)", w.ids[e.stale-1])
	}
	return text
}

func (w *world) eventText(s *state, e event) string {
	i := int(e.a)
	m, who := &s.m[i], w.ids[i]
	source := "nobody"
	if m.src != nobody {
		source = w.ids[m.src]
	}
	switch e.kind {
	case clientWrites:
		return fmt.Sprintf("a client writes transaction %d on %s: it is in the binlog, and waits", s.trx+1, who)
	case commits:
		return fmt.Sprintf("%s commits transaction %d and answers OK; acknowledged by %s", who, e.trx+1, w.list(m.ackBy[e.trx]))
	case kills:
		return fmt.Sprintf("the session of transaction %d on %s is killed: it commits, nobody is told", e.trx+1, who)
	case receives:
		return fmt.Sprintf("%s receives transaction %d from %s", who, s.m[m.src].logged.minus(m.has()).lowest()+1, source)
	case acknowledges:
		return fmt.Sprintf("%s acknowledges transaction %d to %s", who, e.trx+1, source)
	case applies:
		return fmt.Sprintf("%s applies what it has received: %s", who, w.numbers(m.relay.minus(m.exec)))
	case works:
		return fmt.Sprintf("the agent of %s: %s", who, w.workText(*s, i))
	case seals:
		return fmt.Sprintf("%s has sealed epoch %d", who, w.terms[m.sealing].epoch)
	case learns:
		return fmt.Sprintf("the agent of %s learns of epoch %d: %s", who, w.terms[s.cur].epoch, w.duty(i, m, s.cur).role)
	case relapses:
		return fmt.Sprintf("the agent of %s takes the old epoch %d: %s", who, w.terms[e.rec].epoch, w.duty(i, m, e.rec).role)
	case rebuilds:
		return fmt.Sprintf("%s is told to be rebuilt from %s, by an order of epoch %d; it goes by epoch %d", who, w.ids[s.rebuild[i].donor],
			w.terms[s.rebuild[i].rec].epoch, w.terms[m.rec].epoch)
	case decides:
		return w.decision(s, e)
	}
	return failureText(e.kind, who, source)
}

func failureText(k kind, who, source string) string {
	switch k {
	case disconnects:
		return fmt.Sprintf("%s loses its connection to %s, and tries again", who, source)
	case reconnects:
		return fmt.Sprintf("%s can reach %s again", who, source)
	case fills:
		return "the disk of " + who + " is nearly full"
	case empties:
		return "there is room again on the disk of " + who
	case crashes:
		return who + " crashes"
	case starts:
		return who + " starts, shut"
	case wipes:
		return who + " loses its data, and is down"
	case doubts:
		return fmt.Sprintf("the manager hears nothing of %s any more, which is well", who)
	case hears:
		return fmt.Sprintf("the manager hears of %s", who)
	}
	return "?"
}

func (w *world) workText(s state, i int) string {
	var acts []string
	for len(acts) < 20 {
		a := w.conduct(&s, i)
		if !w.busy(&s, i, a) {
			break
		}
		acts = append(acts, w.actText(a))
		if w.act(&s, i, a) != nil || w.noticed(&s, i, a) {
			break
		}
	}
	return strings.Join(acts, "; ")
}

func (w *world) actText(a act) string {
	switch a.kind {
	case failover.ActPoint:
		return "point the receiver at " + w.ids[a.src]
	case failover.ActStart:
		if a.ack {
			return "start the receiver, acknowledging"
		}
		return "start the receiver, not acknowledging"
	case failover.ActStop:
		return "stop the receiver"
	case failover.ActAcks:
		return fmt.Sprintf("wait for %d acknowledgements", a.acks)
	case failover.ActAdmit:
		return "let in " + w.list(a.admit) + " only"
	}
	return string(a.kind)
}

func (w *world) decision(s *state, e event) string {
	q := w.asked(s, e)
	a := w.decide(q)
	views := ""
	if e.rec != 0 {
		views = fmt.Sprintf(", which still goes by epoch %d,", w.terms[e.rec].epoch)
	}
	if q.old != 0 {
		views = fmt.Sprintf(" (with an old view of %s)", w.list(q.old))
	}
	if a.next == 0 {
		return fmt.Sprintf("the manager%s: %s: have %s rebuilt from %s", views, a.problem, w.ids[a.rebuild], w.ids[a.donor])
	}
	return fmt.Sprintf("the manager%s: %s: %s", views, a.problem, w.recordText(a.next))
}

func (w *world) recordText(n uint16) string {
	r := w.records[n]
	text := fmt.Sprintf("epoch %d: primary %s, %d of {%s}", r.Epoch, r.Primary, r.MinAcks, strings.Join(r.Members, " "))
	if r.SetAcks != r.MinAcks {
		text += fmt.Sprintf(", it waits for %d", r.SetAcks)
	}
	if len(r.Leaving) > 0 {
		text += ", leaving " + strings.Join(r.Leaving, " ")
	}
	if len(r.Learners) > 0 {
		text += ", learning " + strings.Join(r.Learners, " ")
	}
	if i := r.Intent; i != nil {
		text += fmt.Sprintf("; %s of %s, %s", i.Kind, i.From, i.Phase)
		if i.To != "" {
			text += " " + i.To
		}
		if w.terms[n].opening {
			text += fmt.Sprintf(" with %d of {%s}", i.MinAcks, strings.Join(i.Members, " "))
		}
	}
	return text
}

func (w *world) list(s set) string {
	if s == 0 {
		return "nobody"
	}
	return strings.Join(w.names(s), " and ")
}

func (w *world) numbers(s set) string {
	var out []string
	for t := range maxTrx {
		if s.has(t) {
			out = append(out, fmt.Sprint(t+1))
		}
	}
	return strings.Join(out, ", ")
}

func joinLines(lines []string) string { return strings.Join(lines, "\n    ") }
