package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/huker/huker/internal/durability"
)

// Result is what a search found.
type Result struct {
	States  int // different ones
	Events  int // that were tried
	Depth   int // of the deepest state
	Whole   bool
	Settled int // states that were seen to come to rest
	// Names of problems that were decided on, and how often a different observation led to them.
	Problems map[string]int
}

func (r Result) String() string {
	bound := "all there are"
	if !r.Whole {
		bound = "up to the bound"
	}
	return fmt.Sprintf("%d states (%s), %d events, depth %d, %d settled", r.States, bound, r.Events, r.Depth, r.Settled)
}

// Counterexample is how an invariant was broken.
type Counterexample struct {
	Cause error
	Trace []string
}

func (c *Counterexample) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n", c.Cause)
	for i, line := range c.Trace {
		fmt.Fprintf(&b, "%4d. %s\n", i+1, line)
	}
	return b.String()
}

func (c *Counterexample) Unwrap() error { return c.Cause }

// come is how a state was come by.
type come struct {
	from uint32
	by   event
}

type search struct {
	w     *world
	seed  maphash.Seed
	known map[uint64]struct{}
	paths []come // by number of state
	next  []queued
	res   Result
}

type queued struct {
	s  state
	no uint32
}

// Explore goes through all states breadth first. The error is a *Counterexample, or says that the model itself is too small.
//
// States are told apart by 64 bits of hash: of ten million, two are mistaken for the same with a probability of 3 in a million.
func Explore(cfg Config) (Result, error) {
	w := newWorld(cfg)
	x := &search{w: w, seed: maphash.MakeSeed(), known: map[uint64]struct{}{}}
	x.res.Whole = true
	start := w.start()
	x.add(start, come{})
	var level []queued
	for len(x.next) > 0 {
		level, x.next = x.next, level[:0]
		if cfg.MaxDepth > 0 && x.res.Depth == cfg.MaxDepth {
			x.res.Whole = false
			break
		}
		x.res.Depth++
		for i := range level {
			if cfg.MaxStates > 0 && len(x.paths) >= cfg.MaxStates {
				x.res.Whole = false
				break
			}
			if err := x.expand(&level[i]); err != nil {
				return x.result(), err
			}
		}
	}
	return x.result(), w.err
}

func (x *search) result() Result {
	x.res.States = len(x.paths)
	x.res.Problems = map[string]int{}
	for _, a := range x.w.decided {
		x.res.Problems[a.problem]++
	}
	return x.res
}

func (x *search) add(s state, c come) {
	h := maphash.Comparable(x.seed, s)
	if _, ok := x.known[h]; ok {
		return
	}
	x.known[h] = struct{}{}
	x.next = append(x.next, queued{s, uint32(len(x.paths))})
	x.paths = append(x.paths, c)
}

func (x *search) expand(q *queued) (err error) {
	if n := x.w.cfg.Settle; n > 0 && int(q.no)%n == 0 {
		x.res.Settled++
		gone := (x.res.Settled-1)%(len(x.w.ids)+1) - 1 // in turn: nobody, and each
		if gone < 0 {
			gone = nobody
		}
		if cause := x.w.settle(q.s, gone); cause != nil {
			return x.counterexample(q.no, cause)
		}
		if cause := x.w.settleFull(q.s); cause != nil {
			return x.counterexample(q.no, cause)
		}
	}
	x.w.each(&q.s, func(e event) {
		if err != nil {
			return
		}
		x.res.Events++
		next := q.s
		cause := x.w.apply(&next, e)
		if cause == nil {
			cause = x.w.check(&next)
		}
		if cause == nil {
			cause = x.w.err
		}
		if cause != nil {
			x.paths = append(x.paths, come{q.no, e})
			err = x.counterexample(uint32(len(x.paths)-1), cause)
			return
		}
		x.add(next, come{q.no, e})
		x.stale(q, &next, e)
	})
	return err
}

// stale adds what follows from an event when the manager heard of a member just before it, and of what became of it hears only later.
func (x *search) stale(q *queued, next *state, e event) {
	w := x.w
	n := 0
	for i := range w.ids {
		if next.mgr.seen[i] != 0 {
			n++
		}
	}
	if n >= w.cfg.Stale || !telling(e.kind) && !w.cfg.AllViews {
		return
	}
	for i := range w.ids {
		if q.s.m[i].up && next.mgr.seen[i] == 0 && !q.s.mgr.lost.has(i) && (!next.m[i].up || w.look(&q.s, i) != w.look(next, i)) {
			e.stale = uint8(i) + 1
			other := q.s
			_ = w.apply(&other, e) // it went well without
			x.add(other, come{q.no, e})
		}
	}
}

// telling says whether somebody who missed an event may decide on more than somebody who did not. To miss that a member learned, received,
// applied or sealed something is only to wait for it.
func telling(k kind) bool {
	switch k {
	case learns, seals, applies, receives, acknowledges, starts, reconnects, empties, doubts, hears, decides:
		return false
	}
	return true
}

func (x *search) counterexample(no uint32, cause error) error {
	var events []event
	for ; no != 0; no = x.paths[no].from {
		events = append(events, x.paths[no].by)
	}
	slices.Reverse(events)
	return &Counterexample{cause, x.w.replay(events)}
}

// replay tells a story in words.
func (w *world) replay(events []event) []string {
	s := w.start()
	lines := make([]string, 0, len(events))
	for _, e := range events {
		lines = append(lines, w.text(&s, e))
		_ = w.apply(&s, e) // the last one is what breaks an invariant
	}
	return lines
}

// start is a cluster at work: the first member is the primary, all others that are published replicate from it.
func (w *world) start() state {
	var s state
	cfg := w.cfg
	published := cfg.Published
	if published == 0 {
		published = cfg.Members - 1
	}
	members := w.ids[1 : 1+published]
	promised := cfg.Promised
	if promised == 0 {
		promised = min(cfg.Acks, published)
	}
	r := durability.Record{
		Cluster: "m", Epoch: 1, Primary: w.ids[0], Members: members, MinAcks: promised, Policy: cfg.Policy, Servers: map[string]string{},
	}
	r.SetAcks = r.Policy.InEffect(r.MinAcks)
	for _, id := range append([]string{w.ids[0]}, members...) {
		r.Servers[id] = w.server(w.index(id), 0, 0)
	}
	s.cur = w.record(r)
	for i := range w.ids {
		s.m[i] = member{rec: s.cur, up: true, offline: i > 0, src: nobody}
		if i > 0 && i <= published {
			m := &s.m[i]
			m.src, m.recv, m.latch, m.offline = 0, recvRunning, true, false
		}
		if m := &s.m[i]; i > published && cfg.Ahead {
			m.logged, m.exec, s.trx = one(0), one(0), 1
		}
	}
	p := &s.m[0]
	p.writes, p.semi, p.acks, p.admit, p.sealed = true, r.SetAcks > 0, uint8(r.SetAcks), w.mask(members), s.cur
	p.served = true
	s.left = budget{uint8(cfg.Crashes), uint8(cfg.Cuts), uint8(cfg.Doubts), uint8(cfg.Kills), uint8(cfg.Wipes), uint8(cfg.Fills)}
	return s
}
