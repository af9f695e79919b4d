package failovertest

import (
	"slices"
	"time"

	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
)

// members of a cluster that run here. The caller holds mu.
func (s *Site) members(cluster string) []string {
	var ids []string
	if s.shared != nil { // by name: thousands are looked for
		for n := range 9 {
			if id := Member(cluster, n); s.servers[id] != nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for id, v := range s.servers {
		if v.cluster == cluster {
			ids = append(ids, id)
		}
	}
	return ids
}

// Member names the members of clusters whose servers share a session.
func Member(cluster string, n int) string { return cluster + "-" + string(rune('a'+n)) }

// step does whatever the record asks for. The caller holds mu.
func (v *Server) step() {
	for v.alive {
		s := &v.status
		v.wire()
		a := failover.Conduct(v.id, v.record, *s)
		r := &s.Receiver
		switch a.Kind {
		case failover.ActNone, failover.ActWait:
			if failover.InEffect(v.id, v.record, *s) {
				s.Serving.Enforced = v.record.Epoch
			}
			return
		case failover.ActShut:
			s.Offline = true
		case failover.ActOpen:
			s.Offline = false
		case failover.ActReadOnly:
			s.Writes, s.Guarded = failover.WritesOff, false
		case failover.ActWritable:
			s.Writes, s.Guarded = failover.WritesOn, false
		case failover.ActGuard:
			s.Writes, s.Guarded = failover.WritesOn, true
		case failover.ActAsynchronous:
			s.Serving.SemiSync, s.Serving.Acks = false, 0
		case failover.ActAcks:
			s.Serving.SemiSync, s.Serving.Acks = a.Acks > 0, a.Acks
		case failover.ActAdmit:
			s.Serving.Admitted = a.Admit
		case failover.ActStop:
			r.State = failover.ReceiverStopped
		case failover.ActDrain:
			s.Executed = s.Has()
		case failover.ActPoint:
			r.Source, s.Retrieved = a.Source, gtid.Set{}
		case failover.ActStart:
			r.State, r.Acknowledges = failover.ReceiverConnecting, a.Acknowledge
		case failover.ActKeepSeal:
			s.Serving.Seal.Epoch = v.record.Epoch
		case failover.ActDropSeal:
			s.Serving.Seal = failover.Seal{}
		case failover.ActSeal:
			if _, ok := v.site.commit(v); !ok {
				return // it waits for acknowledgements
			}
			d := failover.Assign(v.id, s.Server, v.record)
			s.Serving.Seal, s.Serving.Proven = failover.Seal{Epoch: v.record.Epoch, Acks: a.Acks, Ackers: d.Ackers}, true
			s.Serving.Enforced = v.record.Epoch
		default:
			v.site.t.Errorf("%s: no act %s", v.id, a.Kind)
			return
		}
	}
}

// wire connects a replica to its source, or loses it; what the source has, it has. The caller holds mu.
func (v *Server) wire() {
	r := &v.status.Receiver
	if r.State == failover.ReceiverStopped {
		return
	}
	source := v.site.servers[r.Source]
	if source == nil || !source.alive || !slices.Contains(source.status.Serving.Admitted, v.id) {
		r.State, r.HeardAgo = failover.ReceiverConnecting, time.Minute
		return
	}
	if !source.status.Executed.Contains(v.status.Executed) {
		v.site.t.Errorf("%s replicates from %s, which lacks some of what it has", v.id, r.Source)
	}
	r.State, r.HeardAgo = failover.ReceiverRunning, 0
	v.status.Retrieved = source.status.Executed
	v.status.Executed = source.status.Executed
}

// commit commits one more transaction on a server, if enough acknowledge. The caller holds mu.
func (s *Site) commit(v *Server) (gtid.Set, bool) {
	var acks []*Server
	v.status.Serving.Attached = nil
	for _, id := range s.members(v.cluster) {
		other := s.servers[id]
		r := other.status.Receiver
		if other.alive && r.State != failover.ReceiverStopped && r.Source == v.id && slices.Contains(v.status.Serving.Admitted, other.id) {
			other.wire()
			if r.Acknowledges {
				acks = append(acks, other)
				v.status.Serving.Attached = append(v.status.Serving.Attached, other.id)
			}
		}
	}
	if v.status.Serving.SemiSync && len(acks) < v.status.Serving.Acks {
		return gtid.Set{}, false
	}
	one := Number(s.next, s.next)
	s.next++
	for _, x := range append(acks, v) {
		x.status.Executed = x.status.Executed.Union(one)
	}
	return one, true
}
