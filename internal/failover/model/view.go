package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
)

// world translates between the compact state and what the decisions are made on, and remembers decisions, which are pure.
type world struct {
	cfg     Config
	ids     []string
	sets    [1 << maxTrx]gtid.Set
	records []durability.Record // by index; 0 is no record
	terms   []terms
	byText  map[string]uint16
	snaps   []snap
	bySnap  map[snap]uint16
	decided map[question]answer
	acts    map[task]act
	known   map[identity]bool
	err     error // the world is too small for what happened
}

// terms are a record as the simulation looks at it.
type terms struct {
	epoch           int64
	since           int64 // who does not know this epoch is not in the know
	source, primary int
	members         set
	minAcks         int
	opening         bool
	next            set              // members of the new primary
	duty            [maxMembers]duty // of the server that is meant
	outside         [maxMembers]duty // of any other by its name
}

// duty is failover.Duty, to be compared.
type duty struct {
	role          failover.Role
	source        string
	ack, open     bool
	acks          int
	ackers, admit set
}

type question struct {
	rec     uint16
	seen    [maxMembers]uint16 // 0: nothing
	old     set                // these views are old
	lost    set
	patient bool
	calm    bool // nothing more is asked for: the run is to end
}

type answer struct {
	problem string
	next    uint16 // 0: the record stays
	rebuild int    // -1: nobody
	donor   int
	inc     int // of whom is rebuilt
}

type task struct {
	who  uint8
	snap snap
}

type identity struct {
	rec          uint16
	i, inc, boot uint8
}

type act struct {
	kind  failover.ActKind
	src   uint8
	ack   bool
	acks  uint8
	admit set
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const longTime = time.Hour

func newWorld(cfg Config) *world {
	w := &world{
		cfg: cfg, byText: map[string]uint16{}, bySnap: map[snap]uint16{}, decided: map[question]answer{}, acts: map[task]act{}, known: map[identity]bool{},
		records: make([]durability.Record, 1), terms: make([]terms, 1), snaps: make([]snap, 1),
	}
	for i := range cfg.Members {
		w.ids = append(w.ids, string(rune('a'+i)))
	}
	uuid, err := gtid.ParseUUID("00000000-0000-0000-0000-000000000001")
	w.err = err
	for s := range w.sets {
		for k := range maxTrx {
			if set(s).has(k) {
				w.sets[s] = w.sets[s].Union(gtid.Of(uuid, int64(k+1), int64(k+1)))
			}
		}
	}
	return w
}

func (w *world) server(i int, inc, boot uint8) string {
	if w.cfg.Policy == durability.Fast {
		return fmt.Sprintf("%s.%d@%d", w.ids[i], inc, boot)
	}
	return fmt.Sprintf("%s.%d", w.ids[i], inc)
}

func (w *world) index(id string) int { return slices.Index(w.ids, id) }

func (w *world) mask(ids []string) (s set) {
	for _, id := range ids {
		s |= one(w.index(id))
	}
	return s
}

func (w *world) names(s set) (out []string) {
	for i, id := range w.ids {
		if s.has(i) {
			out = append(out, id)
		}
	}
	return out
}

// record gives the index of a record. Texts and times in it make no difference.
func (w *world) record(r durability.Record) uint16 {
	if r.Intent != nil {
		i := *r.Intent
		i.Reason, i.Began, i.Deadline = "", epochStart, epochStart.Add(time.Minute)
		r.Intent = &i
	}
	text, err := json.Marshal(r)
	if err == nil {
		if bad := r.Validate(); bad != nil {
			err = w.broken(Lawful, "%v", bad)
		}
	}
	if err != nil && w.err == nil {
		w.err = err
	}
	if n, ok := w.byText[string(text)]; ok {
		return n
	}
	n := uint16(len(w.records))
	w.byText[string(text)] = n
	w.records = append(w.records, r)
	w.terms = append(w.terms, w.read(r))
	return n
}

func (w *world) read(r durability.Record) terms {
	t := terms{
		epoch: r.Epoch, since: r.Epoch, source: w.index(r.Source()), primary: w.index(r.Primary), members: w.mask(r.Members), minAcks: r.MinAcks,
	}
	if r.Intent != nil {
		t.since = r.Intent.Since
	}
	if i := r.Intent; i != nil && i.Phase == durability.Opening {
		t.opening, t.next = true, w.mask(i.Members)
	}
	for i, id := range w.ids {
		server := r.Servers[id]
		t.duty[i], t.outside[i] = w.assign(id, server, r), w.assign(id, "another", r)
	}
	return t
}

func (w *world) assign(id, server string, r durability.Record) duty {
	d := failover.Assign(id, server, r)
	return duty{d.Role, d.Source, d.Acknowledge, d.Open, d.Acks, w.mask(d.Ackers), w.mask(d.Admit)}
}

// is says whether a record means a server as it is now.
func (w *world) is(rec uint16, i int, m *member) bool {
	k := identity{rec, uint8(i), m.inc, m.boot}
	is, ok := w.known[k]
	if !ok {
		is = w.records[rec].Is(w.ids[i], w.server(i, m.inc, m.boot))
		w.known[k] = is
	}
	return is
}

// duty is what a record makes of a server.
func (w *world) duty(i int, m *member, rec uint16) duty {
	switch {
	case rec == 0:
		return duty{role: failover.RoleOutsider}
	case w.cfg.Rules.Nameless || w.is(rec, i, m):
		return w.terms[rec].duty[i]
	}
	return w.terms[rec].outside[i]
}

// attached are those whose receivers acknowledge to i.
func (w *world) attached(s *state, i int) (a set) {
	for k := range w.ids {
		if m := &s.m[k]; m.up && m.recv == recvRunning && int(m.src) == i && m.latch {
			a |= one(k)
		}
	}
	return a
}

// snap is all that can be said of a server.
func (w *world) snap(s *state, i int) snap {
	m := &s.m[i]
	n := snap{
		rec: m.rec, sealed: m.sealed, inc: m.inc, boot: m.boot, src: m.src, acks: m.acks, logged: m.logged, exec: m.exec, relay: m.relay, admit: m.admit,
		sealing: m.sealing, served: m.served,
		recv: m.recv, offline: m.offline, writes: m.writes, semi: m.semi, latched: m.latch, full: m.full, guarded: m.guarded,
	}
	if m.writes {
		n.attached = w.attached(s, i)
	}
	return n
}

// look is what a manager hears of a server: what makes no difference to it is left out.
func (w *world) look(s *state, i int) uint16 {
	n := w.snap(s, i)
	n.sealing = 0
	if w.terms[n.rec].epoch < w.terms[s.cur].since { // how old a record is that does not count makes no difference
		n.rec = 0
	}
	if n.sealed != s.cur {
		n.sealed = 0
	}
	if !n.writes {
		n.sealed, n.served, n.acks, n.admit, n.semi = 0, false, 0, 0, false
	}
	if n.recv == recvStopped {
		n.src = nobody
	}
	return w.intern(n)
}

func (w *world) intern(n snap) uint16 {
	if k, ok := w.bySnap[n]; ok {
		return k
	}
	k := uint16(len(w.snaps))
	if len(w.snaps) == 1<<16-1 {
		w.err = fmt.Errorf("too many snapshots")
	}
	w.snaps = append(w.snaps, n)
	w.bySnap[n] = k
	return k
}

func (w *world) status(i int, n snap) failover.Status {
	s := failover.Status{
		Epoch: w.terms[n.rec].epoch, Server: w.server(i, n.inc, n.boot), Mysqld: failover.MysqldUp, Offline: n.offline, Writes: failover.WritesOff,
		Executed: w.sets[n.exec], Retrieved: w.sets[n.relay], Owned: w.sets[n.logged.minus(n.exec)],
		Serving: failover.Serving{
			SemiSync: n.semi, Acks: int(n.acks), Admitted: w.names(n.admit), Attached: w.names(n.attached), Waiting: n.logged.minus(n.exec).count(),
		},
		Receiver: failover.Receiver{Acknowledges: n.latched}, Guarded: n.guarded, Room: failover.Room{Low: n.full},
	}
	if w.cfg.Rules.Nameless {
		s.Server = w.server(i, 0, 0)
	}
	s.Serving.Proven = n.served
	if n.writes {
		s.Writes = failover.WritesOn
	}
	if n.src != nobody {
		s.Receiver.Source = w.ids[n.src]
	}
	s.Receiver.State = []failover.ReceiverState{failover.ReceiverStopped, failover.ReceiverConnecting, failover.ReceiverRunning}[n.recv]
	r := w.records[n.rec]
	if n.rec != 0 && failover.InEffect(w.ids[i], r, s) {
		s.Serving.Enforced = r.Epoch
	}
	if n.sealed != 0 {
		under := w.records[n.sealed]
		d := failover.Assign(w.ids[i], s.Server, under)
		s.Serving.Seal = failover.Seal{Epoch: under.Epoch, Acks: d.Acks, Ackers: d.Ackers}
	}
	return s
}

// observe makes a manager's view into an observation. Patient: nothing has lasted for long yet; otherwise everything has.
func (w *world) observe(q question) failover.Observation {
	now, began := epochStart, epochStart
	if !q.patient {
		now = epochStart.Add(longTime)
	}
	o := failover.Observation{
		Record: w.records[q.rec], Now: now, Since: began, Timing: failover.DefaultTiming(),
		Want: failover.Want{Replicas: len(w.ids) - 1, Acks: w.cfg.Acks},
	}
	o.Timing.Near = 0 // there are no thousands of transactions here
	if w.cfg.Switchover && !q.calm && o.Record.Primary == w.ids[0] {
		o.Want.Switchover = &failover.Switchover{To: w.ids[1], Deadline: now.Add(time.Minute)}
	}
	for i, id := range w.ids {
		in := failover.Instance{ID: id, Lost: q.lost.has(i)}
		if q.seen[i] != 0 {
			n := w.snaps[q.seen[i]]
			in.Status, in.Seen, in.Asked = w.status(i, n), now, now.Add(-time.Millisecond)
			if !q.old.has(i) { // whoever is looked at anew is asked after all others were heard of
				in.Asked = now
			}
			if in.Lost {
				in.Seen, in.Asked = began, began
			}
			if !q.patient {
				in.Status.MysqldFor = longTime
				if n.logged != n.exec {
					in.Status.Serving.ProbeAgo = longTime
				}
			}
			if n.src != nobody && (q.lost.has(int(n.src)) || n.recv != recvRunning) {
				in.Status.Receiver.HeardAgo = longTime
			}
		}
		o.Instances = append(o.Instances, in)
	}
	if w.cfg.Rules.Observe != nil {
		w.cfg.Rules.Observe(&o)
	}
	return o
}

func (w *world) decide(q question) answer {
	if a, ok := w.decided[q]; ok {
		return a
	}
	o := w.observe(q)
	d := failover.Decide(o)
	if w.cfg.Rules.Decide != nil {
		d = w.cfg.Rules.Decide(o, d)
	}
	a := answer{problem: d.Problem, rebuild: -1}
	if s := d.Swap(); s != nil {
		a.next = w.record(*s.Next)
	}
	for _, s := range d.Steps {
		if s.Kind == failover.StepRebuild {
			a.rebuild, a.donor = w.index(s.Members[0]), w.index(s.Donor)
			a.inc = int(w.snaps[q.seen[a.rebuild]].inc)
		}
	}
	w.decided[q] = a
	return a
}

func (w *world) conduct(s *state, i int) act {
	m := &s.m[i]
	if m.rec == 0 {
		return act{kind: failover.ActNone}
	}
	t := task{uint8(i), w.snap(s, i)}
	if a, ok := w.acts[t]; ok {
		return a
	}
	status, r := w.status(i, t.snap), w.records[m.rec]
	c := failover.Conduct(w.ids[i], r, status)
	if w.cfg.Rules.Conduct != nil {
		c = w.cfg.Rules.Conduct(w.ids[i], r, status, c)
	}
	a := act{kind: c.Kind, src: nobody, ack: c.Acknowledge, acks: uint8(c.Acks), admit: w.mask(c.Admit)}
	if c.Source != "" {
		a.src = uint8(w.index(c.Source))
	}
	w.acts[t] = a
	return a
}
