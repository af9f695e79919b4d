package etcdbus

import (
	"container/heap"
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// view is what a server knows of its queue: which messages are there, who has them, when they may be delivered. It does no input or
// output, and is used by one goroutine.
type view struct {
	keys     queueKeys
	items    map[string]*item
	ready    itemHeap // by place in the queue
	delayed  itemHeap // by time
	revision int64    // of the newest event that is in it
}

type item struct {
	id         string
	place      int64 // revision of its creation
	deliveries int
	countRev   int64 // revision of its count; 0: none
	readyAt    time.Time
	claimed    bool // by anyone, as far as events have told
	busy       bool // in the hands of this server
	// stale: this server knows that the view is behind for this item; an event that is under way will put it right.
	stale bool
	gone  bool

	inReady, inDelayed bool
}

func newView(keys queueKeys) *view {
	return &view{
		keys:    keys,
		items:   map[string]*item{},
		ready:   itemHeap{less: func(a, b *item) bool { return a.place < b.place }},
		delayed: itemHeap{less: func(a, b *item) bool { return a.readyAt.Before(b.readyAt) }},
	}
}

// load replaces everything by what was there at revision; what is busy stays so. It gives counts that belong to no message.
func (v *view) load(kvs []*mvccpb.KeyValue, revision int64, now time.Time) (orphans []orphan) {
	old := v.items
	*v = *newView(v.keys)
	v.revision = revision
	var counts []*mvccpb.KeyValue
	claims := map[string]bool{}
	for _, kv := range kvs {
		switch kind, id := v.keys.split(kv.Key); kind {
		case kindEntry:
			v.items[id] = &item{id: id, place: kv.CreateRevision}
		case kindClaim:
			claims[id] = true
		case kindCount:
			counts = append(counts, kv)
		}
	}
	for _, kv := range counts {
		_, id := v.keys.split(kv.Key)
		it := v.items[id]
		if it == nil {
			orphans = append(orphans, orphan{id: id, revision: kv.ModRevision})
			continue
		}
		it.counted(kv, now)
	}
	for id, it := range v.items {
		it.claimed = claims[id]
		if was := old[id]; was != nil && was.busy {
			// The worker's result comes for the id, so it finds this item.
			it.busy = true
		}
		v.consider(it, now)
	}
	return orphans
}

// orphan is a count whose message is gone (its lease ran out between two deliveries).
type orphan struct {
	id       string
	revision int64
}

func (it *item) counted(kv *mvccpb.KeyValue, now time.Time) {
	var c count
	// A malformed count (only a hostile guest's own queue can hold one) counts as none.
	_ = json.Unmarshal(kv.Value, &c)
	it.deliveries, it.countRev = max(0, c.Deliveries), kv.ModRevision
	it.readyAt = now.Add(min(max(0, c.Pause), retryMax))
}

// apply takes in the events of whole transactions.
func (v *view) apply(events []*clientv3.Event, now time.Time) (orphans []orphan) {
	touched := map[string]*item{}
	for _, e := range events {
		kind, id := v.keys.split(e.Kv.Key)
		put := e.Type == clientv3.EventTypePut
		v.revision = e.Kv.ModRevision
		it := v.items[id]
		if it == nil && kind == kindEntry && put {
			it = &item{id: id, place: e.Kv.CreateRevision}
			v.items[id] = it
		}
		if it == nil {
			it = touched[id] // its end, told in the same batch
		}
		if it == nil {
			continue
		}
		touched[id] = it
		it.stale = false
		switch {
		case kind == kindEntry && !put:
			it.gone = true
			delete(v.items, id)
		case kind == kindClaim:
			it.claimed = put
		case kind == kindCount && put:
			it.counted(e.Kv, now)
		case kind == kindCount:
			it.deliveries, it.countRev, it.readyAt = 0, 0, time.Time{}
		}
	}
	for id, it := range touched {
		if it.gone {
			if it.countRev != 0 && v.items[id] == nil {
				orphans = append(orphans, orphan{id: id, revision: it.countRev})
			}
			continue
		}
		v.consider(it, now)
	}
	return orphans
}

// finished says that this server's hands are off a message since revision.
func (v *view) finished(id string, revision int64, now time.Time) {
	it := v.items[id]
	if it == nil {
		return
	}
	it.busy = false
	// What was done, or seen, at revision is not in the view yet. The event that will bring it is under way for sure: either this
	// server changed the item at revision, or it saw at revision what differs from the view.
	it.stale = v.revision < revision
	v.consider(it, now)
}

func (v *view) consider(it *item, now time.Time) {
	if it.inDelayed {
		heap.Init(&v.delayed) // readyAt may have changed
	}
	if it.gone || it.claimed || it.busy || it.stale {
		return
	}
	if it.readyAt.After(now) {
		if it.inDelayed {
			return
		}
		it.inDelayed = true
		heap.Push(&v.delayed, it)
		return
	}
	if !it.inReady {
		it.inReady = true
		heap.Push(&v.ready, it)
	}
}

// next takes the first message that may be delivered now, nil when there is none.
func (v *view) next(now time.Time) *item {
	for len(v.delayed.items) > 0 && !v.delayed.items[0].readyAt.After(now) {
		it := heap.Pop(&v.delayed).(*item)
		it.inDelayed = false
		v.consider(it, now)
	}
	for len(v.ready.items) > 0 {
		it := heap.Pop(&v.ready).(*item)
		it.inReady = false
		if it.gone || it.claimed || it.busy || it.stale {
			continue // whatever ends that considers it again
		}
		if it.readyAt.After(now) {
			v.consider(it, now)
			continue
		}
		it.busy = true
		return it
	}
	return nil
}

// wake is when next should be asked again although nothing happened; zero: never.
func (v *view) wake() time.Time {
	if len(v.delayed.items) == 0 {
		return time.Time{}
	}
	return v.delayed.items[0].readyAt
}

// itemHeap is a heap of items in the order of less.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h *itemHeap) Swap(i, j int)      { h.items[i], h.items[j] = h.items[j], h.items[i] }

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) { h.items = append(h.items, x.(*item)) }

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	x := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return x
}
