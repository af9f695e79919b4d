package failover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/durability"
)

// view is an observation with what follows from it.
type view struct {
	o *Observation
	r durability.Record

	primary *Instance // Record.Primary
	source  *Instance // Record.Source: whose acknowledgements the record's members stand for

	lost    string // why the primary has to be replaced; empty: it need not be
	doubt   string // why it might have to be
	stops   []durability.Stop
	quorum  bool // enough members are stopped that the source acknowledges nothing more
	missing string
	fit     []string // who may take the source's place by that
	diverge error
}

func look(o *Observation) *view {
	v := &view{o: o, r: o.Record}
	v.primary, v.source = o.instance(v.r.Primary), o.instance(v.r.Source())
	v.lost, v.doubt = v.judge(v.primary)
	if i := v.r.Intent; i != nil && i.Phase == durability.Stopping {
		v.stops = v.confirmed()
		v.quorum, v.missing = durability.MayPromote(v.r, v.stops)
		v.fit, v.diverge = durability.Candidates(v.r, v.stops)
	}
	return v
}

// confirmed gives the members that said under this intent that their receivers stand. Their word holds even when they have fallen silent since:
// what makes a receiver run again is a newer record, and there is none.
func (v *view) confirmed() []durability.Stop {
	var stops []durability.Stop
	for i := range v.o.Instances {
		m := &v.o.Instances[i]
		if s := m.Status; !m.Seen.IsZero() && s.Mysqld == MysqldUp && !s.Rebuilding && s.Receiver.State == ReceiverStopped {
			stops = append(stops, durability.Stop{Member: m.ID, Server: s.Server, Epoch: s.Epoch, Has: s.Has()})
		}
	}
	return stops
}

// judge says why a primary is lost, or why it is in doubt.
func (v *view) judge(p *Instance) (lost, doubt string) {
	o := v.o
	hearing, deaf := v.hearing(p.ID)
	switch {
	case p.ID == "":
		return "", ""
	case o.fresh(p):
		return v.judgeFresh(p, deaf)
	case p.Host.Alive && p.Host.Down:
		return "its container does not run", ""
	case !o.silent(p):
		return "", ""
	case hearing > 0:
		return "", "its agent is silent, though replicas hear of it"
	case deaf > 0:
		return "it is silent, and no replica hears of it", ""
	case len(v.r.Members) == 0:
		return "it is silent", ""
	}
	return "it is silent, and so are its replicas", ""
}

func (v *view) judgeFresh(p *Instance, deaf int) (lost, doubt string) {
	s := p.Status
	switch starved := v.fed(p) < v.r.Acks(); {
	case !v.r.Is(p.ID, s.Server):
		return "its data is gone: another server answers by its name", ""
	case s.Mysqld == MysqldDown:
		return "mysqld does not run", ""
	case s.Mysqld == MysqldStarting:
		return "mysqld starts again", ""
	case s.Rebuilding:
		return "its data is being replaced", ""
	case !s.Open() || s.Serving.ProbeAgo <= min(v.o.Timing.Probe, v.o.Timing.CutOff)/2:
		return "", ""
	case starved && (deaf == 0 || !v.othersSuffice()):
		return "", "" // it waits for acknowledgements, and nobody could do better
	case starved && s.Serving.ProbeAgo > v.o.Timing.CutOff:
		return "it is cut off from its replicas, which are well", ""
	case !starved && s.Serving.ProbeAgo > v.o.Timing.Probe:
		return "its writes do not get through, though enough replicas acknowledge", ""
	}
	return "", "its writes take long"
}

// fed counts the members from which a primary should have got acknowledgements by now: those that heard of it clearly after its last commit. That a connection is
// there says little: of a member that fell silent without a word, it stays for minutes; and where it is new, what had waited for it is only about to be acknowledged.
// Nor does a member's word from before its silence: whoever is cut off, and with it the primary's writes, said a moment ago that all was well.
func (v *view) fed(p *Instance) int {
	since := p.Seen.Add(v.o.Timing.CutOff/2 - p.Status.Serving.ProbeAgo)
	return len(v.those(p.Status.Serving.Attached, func(m *Instance) bool {
		r := m.Status.Receiver
		return v.o.well(m) && r.State == ReceiverRunning && r.Source == p.ID && !r.Fresh && r.HeardAgo <= v.o.Timing.CutOff && m.read().Add(-r.HeardAgo).After(since)
	}))
}

// hearing counts the replicas of a primary that answer and hear of it, and those that answer and do not.
func (v *view) hearing(primary string) (hearing, deaf int) {
	for i := range v.o.Instances {
		m := &v.o.Instances[i]
		r := m.Status.Receiver
		switch {
		case m.ID == primary || !v.o.well(m) || r.Source != primary || r.State == ReceiverStopped:
		case r.State == ReceiverRunning && r.HeardAgo <= v.o.Timing.CutOff:
			hearing++
		default:
			deaf++
		}
	}
	return hearing, deaf
}

// othersSuffice says whether the members that are well could be a cluster without the primary that acknowledges as before.
func (v *view) othersSuffice() bool {
	n := len(v.wellMembers())
	return n >= durability.NeededStops(v.r) && v.r.MinAcks > 0 && v.heirsAckers() >= v.r.Acks()
}

// wellMembers are the members that can be asked to stop, or to go on.
func (v *view) wellMembers() []string { return v.those(v.r.Members, v.o.well) }

func (v *view) those(ids []string, is func(*Instance) bool) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !is(v.o.instance(id)) })
}

// replaceable says whether enough members answer for a failover, and if not, whom it takes.
func (v *view) replaceable() (bool, string) {
	well, needed := v.wellMembers(), durability.NeededStops(v.r)
	switch {
	case v.r.MinAcks < 1:
		return false, "nobody is promised to hold what it acknowledged"
	case len(well) < needed:
		away := v.those(v.r.Members, func(m *Instance) bool { return !v.o.well(m) })
		return false, fmt.Sprintf("%d of the members %s have to answer, %d do; %s not", needed, list(v.r.Members), len(well), verb(away))
	}
	return true, ""
}

// heirsAckers is how many members could acknowledge if one of them became the primary.
func (v *view) heirsAckers() int { return max(0, len(v.those(v.r.Members, v.o.follows))-1) }

// couldOpen says whether a successor would have enough acknowledgers to open.
func (v *view) couldOpen() bool {
	n := v.heirsAckers()
	return n >= v.r.Policy.InEffect(v.acksOf(n))
}

// lostFor is how long ago the primary was last known to do its work.
func (v *view) lostFor() time.Duration {
	switch s := v.primary.Status; {
	case !v.o.fresh(v.primary):
		return v.o.silence(v.primary)
	case s.Open(): // its writes do not get through, however long its mysqld has run
		return s.Serving.ProbeAgo
	default:
		return s.MysqldFor
	}
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "nobody"
	}
	return strings.Join(ids, ", ")
}

func verb(ids []string) string {
	if len(ids) == 1 {
		return ids[0] + " does"
	}
	return list(ids) + " do"
}

// best orders instances by who should rather be the primary: not on its way out, applies, has room to take writes, preferred, has applied more, lower id.
func (v *view) best(ids []string) []string {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b string) int {
		x, y := v.o.instance(a), v.o.instance(b)
		return cmp.Or(
			cmp.Compare(rank(slices.Contains(v.r.Leaving, a)), rank(slices.Contains(v.r.Leaving, b))),
			cmp.Compare(rank(x.Status.Applier != ""), rank(y.Status.Applier != "")),
			cmp.Compare(rank(x.Status.Room.Low), rank(y.Status.Room.Low)),
			cmp.Compare(y.Priority, x.Priority),
			cmp.Compare(y.Status.Executed.Count(), x.Status.Executed.Count()),
			strings.Compare(a, b))
	})
	return ids
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// successor is the one who takes the place of a source that is stopped, if somebody does that answers. Who was chosen stays chosen.
func (v *view) successor() *Instance {
	alive := v.best(v.those(v.fit, v.o.well))
	switch {
	case len(alive) == 0:
		return nil
	case slices.Contains(alive, v.r.Intent.To):
		return v.o.instance(v.r.Intent.To)
	}
	return v.o.instance(alive[0])
}

// ready says whether an instance has applied everything that it has received.
func ready(m *Instance) bool { return m.Status.Executed.Contains(m.Status.Retrieved) }

// quiet is the source's word that it acknowledges nothing more, and whether it is given.
func (v *view) quiet() (durability.Quiet, bool) {
	s := v.source.Status
	q := durability.Quiet{Server: s.Server, Epoch: s.Epoch, Executed: s.Executed}
	return q, !v.source.Seen.IsZero() && s.Mysqld == MysqldUp && !s.Rebuilding && s.Writes == WritesOff && s.Serving.Waiting == 0 && s.Owned.Empty() &&
		s.Receiver.State == ReceiverStopped
}

// heir is a member that has executed all that a quiet source has, if there is one that answers; to says who is wanted, if anybody in particular is.
func (v *view) heir(to string) *Instance {
	q, ok := v.quiet()
	if !ok {
		return nil
	}
	for _, id := range v.best(v.those(v.r.Ackers(), v.o.well)) {
		m := v.o.instance(id)
		if may, _ := durability.MayHandOver(v.r, q, m.Status.Executed); may && ready(m) && (to == "" || to == id) && m.Status.Epoch >= v.r.Intent.Since {
			return m
		}
	}
	return nil
}

// court is who can acknowledge to a new primary: members that stopped for it or, with a source that is quiet, all that answer, the source too. All of what they
// have, the new primary has. Members without room are left out, as they receive nothing. The source is not: if nobody acknowledges but it, it opens again.
func (v *view) court(to *Instance) []string {
	var court []string
	for _, id := range v.those(v.r.Ackers(), v.o.follows) {
		m := v.o.instance(id)
		known := m.Status.Epoch >= v.r.Intent.Since
		stands := m.Status.Receiver.State == ReceiverStopped || v.r.Intent.Phase == durability.Quiescing
		if id != to.ID && known && stands && to.Status.Executed.Contains(m.Status.Has()) {
			court = append(court, id)
		}
	}
	asked := v.r.Intent.Kind == durability.Switchover && v.o.well(v.source)
	if q, ok := v.quiet(); ok && asked && q.Epoch >= v.r.Intent.Since && to.Status.Executed.Contains(q.Executed) {
		court = append(court, v.source.ID)
	}
	return court
}

// acksOf is how many acknowledgements are to be promised with so many members.
func (v *view) acksOf(members int) int {
	return v.r.Policy.Published(v.o.Want.Acks, v.o.Want.Replicas, members)
}

// acking are those who may acknowledge and do, as far as is known.
func (v *view) acking() []string {
	return v.those(v.r.Ackers(), func(m *Instance) bool {
		r := m.Status.Receiver
		return v.o.well(m) && r.State == ReceiverRunning && r.Source == v.r.Primary && r.Acknowledges
	})
}

// leads says whether the primary answers and does not have to be replaced, so that members may be changed.
func (v *view) leads() bool {
	return v.r.Intent == nil && v.lost == "" && v.doubt == "" && v.o.well(v.primary)
}

// unfit says why an instance cannot replicate from the primary; empty: it can, or it is not known. What a replica has must have been read before what
// the primary has, or it would seem to be ahead.
func (v *view) unfit(m *Instance) string {
	p := v.primary
	switch s := m.Status; {
	case !v.o.well(p) || !v.o.fresh(m) || s.Mysqld != MysqldUp || s.Rebuilding || p.Asked.Before(m.Seen):
		return ""
	case !p.Status.all().Contains(s.all()):
		return fmt.Sprintf("it has %d transactions that the primary does not have", s.all().Subtract(p.Status.all()).Count())
	case !s.Has().Contains(p.Status.Purged):
		return "the primary has purged transactions that it lacks"
	case s.Receiver.Broken != "":
		return "it cannot replicate: " + s.Receiver.Broken
	}
	return ""
}

// compared says whether unfit can be known.
func (v *view) compared(m *Instance) bool {
	return v.o.well(v.primary) && v.o.fresh(m) && m.Status.Mysqld == MysqldUp && !v.primary.Asked.Before(m.Seen)
}

// suspected says whether an instance seems to have what the primary does not have, as far as is known: what the primary had was read before, so it is to be asked
// again, and meanwhile the instance counts neither as fit nor as unfit.
func (v *view) suspected(m *Instance) bool {
	return !v.compared(m) && v.o.fresh(m) && m.Status.Mysqld == MysqldUp && !m.Status.Rebuilding && !v.primary.Status.all().Contains(m.Status.all())
}

// seen is what the plans of durability go by.
func (v *view) seen(member string) durability.Seen {
	var s durability.Seen
	if p := v.primary; v.o.well(p) {
		s.Primary = durability.View{
			Epoch: p.Status.Epoch, Server: p.Status.Server, Enforced: p.Status.Serving.Enforced, Sealed: p.Status.Serving.Seal.Epoch,
		}
	}
	if m := v.o.instance(member); member != "" && v.o.fresh(m) && m.Status.Mysqld == MysqldUp && !m.Status.Rebuilding {
		r := m.Status.Receiver
		s.Member = durability.View{
			Epoch: m.Status.Epoch, Server: m.Status.Server, Receiving: r.State != ReceiverStopped, Acknowledges: r.State != ReceiverStopped && r.Acknowledges,
			Fits: v.compared(m) && v.unfit(m) == "" && m.Status.Writes == WritesOff && m.Status.Owned.Empty(),
			CaughtUp: r.State == ReceiverRunning && r.Source == v.r.Primary &&
				v.primary.Status.Executed.Subtract(m.Status.Has()).Count() <= v.o.Timing.Near,
		}
	}
	return s
}

// short says what it means that a disk is nearly full, and what helps.
func (v *view) short(m *Instance) string {
	room := m.Status.Room
	left := fmt.Sprintf("%d of %d MiB are left on the disk of %s", room.Free>>20, room.Size>>20, m.ID)
	switch {
	case m.ID != v.r.Primary:
		return left + ": it receives nothing, and cannot acknowledge. It goes on by itself when there is room: make some on its host"
	case !m.Status.Guarded:
		return left + ": its writes are to be stopped, and statements that go on keep that from taking effect. Make room on its host"
	}
	return left + ": it takes no writes (error 1290), and is read from. It goes on by itself when there is room: make some on its host, " +
		"delete a database, or have a member with room be the primary (huker cluster switchover)"
}
