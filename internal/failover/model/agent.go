package model

import "github.com/huker/huker/internal/failover"

func (w *world) learn(s *state, i int, rec uint16) {
	m := &s.m[i]
	m.rec, m.sealing, m.proving = rec, 0, 0
	if r := w.duty(i, m, rec).role; r != failover.RolePrimary && r != failover.RoleQuiesced {
		m.sealed, m.served = 0, false
	}
}

// crash ends mysqld and the agent; what they find when they start is here already.
func (w *world) crash(s *state, i int) {
	m := &s.m[i]
	*m = member{rec: m.rec, inc: m.inc, boot: m.boot, logged: m.logged, exec: m.logged, relay: m.relay, src: m.src, admit: m.admit, full: m.full,
		offline: true}
	if w.cfg.Rules.RelayLost {
		m.relay &= m.exec
	}
	if w.cfg.Rules.ForgetEpoch {
		m.rec = 0
	}
	s.mgr.lost = s.mgr.lost.without(i)
}

func (w *world) rebuild(s *state, i int) {
	r := s.rebuild[i]
	s.rebuild[i] = rebuildOrder{}
	m, donor := &s.m[i], s.m[r.donor]
	if !w.cfg.Rules.RebuildStale && (m.rec != r.rec || m.inc != r.inc || w.duty(i, m, m.rec).role != failover.RoleOutsider) {
		return // refused: an order of another epoch, or to somebody who has a part
	}
	*m = member{rec: m.rec, inc: m.inc + 1, boot: m.boot, logged: donor.exec, exec: donor.exec, src: nobody, full: m.full, offline: true,
		up: true}
}

// work has an agent do what it has to, up to what others can notice.
func (w *world) work(s *state, i int) error {
	for {
		a := w.conduct(s, i)
		if !w.busy(s, i, a) {
			return nil
		}
		if err := w.act(s, i, a); err != nil {
			return err
		}
		for k := range w.ids {
			w.connect(s, k)
		}
		if w.noticed(s, i, a) {
			return nil
		}
	}
}

// noticed says whether others can notice an act before the next one.
func (w *world) noticed(s *state, i int, a act) bool {
	switch a.kind {
	case failover.ActSeal, failover.ActRestart, failover.ActStart:
		return true
	case failover.ActOpen:
		return w.cfg.Fine || s.m[i].writes
	case failover.ActAsynchronous: // whoever waits is answered
		return w.cfg.Fine || s.m[i].waiting() != 0
	}
	return w.cfg.Fine
}

func (w *world) act(s *state, i int, a act) error {
	m := &s.m[i]
	switch a.kind {
	case failover.ActShut:
		if m.open() {
			m.shown = m.exec
		}
		m.offline = true
	case failover.ActReadOnly:
		m.writes, m.guarded = false, false
	case failover.ActRestart:
		w.crash(s, i)
		m.up = true
	case failover.ActAsynchronous:
		m.semi, m.acks = false, 0
	case failover.ActStop:
		m.recv, m.latch = recvStopped, false
	case failover.ActPoint:
		m.src, m.relay = a.src, 0
	case failover.ActStart:
		m.recv, m.latch = recvConnecting, a.ack
		m.offline = m.offline && (w.cfg.Fine || !a.ack) // to open for readers is what follows, and changes nothing for anybody here
		if w.cfg.Rules.StartPurges {
			m.relay = 0
		}
	case failover.ActAcks:
		m.semi, m.acks = a.acks > 0, a.acks
	case failover.ActWritable, failover.ActGuard:
		m.writes, m.guarded = true, a.kind == failover.ActGuard
	case failover.ActAdmit:
		m.admit = a.admit
	case failover.ActSeal:
		m.sealing, m.proving = m.rec, m.logged
	case failover.ActKeepSeal:
		m.sealed = m.rec
	case failover.ActDropSeal:
		m.sealed = 0
	case failover.ActOpen:
		m.offline = false
		if m.writes {
			return w.opened(s, i)
		}
	}
	return nil
}
