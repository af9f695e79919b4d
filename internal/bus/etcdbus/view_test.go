package etcdbus

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// world is a queue as etcd has it, with the log of its events. Views see that log late.
type world struct {
	keys     queueKeys
	revision int64
	kvs      map[string]*mvccpb.KeyValue
	log      [][]*clientv3.Event // by transaction
	handled  map[string]int
}

func newWorld() *world {
	return &world{keys: keysOf("q"), revision: 1, kvs: map[string]*mvccpb.KeyValue{}, handled: map[string]int{}}
}

func (w *world) txn(puts map[string]string, deletes ...string) int64 {
	w.revision++
	var events []*clientv3.Event
	for k, v := range puts {
		kv := &mvccpb.KeyValue{Key: []byte(k), Value: []byte(v), CreateRevision: w.revision, ModRevision: w.revision}
		if old := w.kvs[k]; old != nil {
			kv.CreateRevision = old.CreateRevision
		}
		w.kvs[k] = kv
		events = append(events, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
	}
	for _, k := range deletes {
		if w.kvs[k] == nil {
			continue
		}
		delete(w.kvs, k)
		events = append(events, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: w.revision}})
	}
	if len(events) > 0 {
		w.log = append(w.log, events)
	}
	return w.revision
}

func (w *world) key(kind, id string) string { return w.keys.key(kind, id) }

func (w *world) countRev(id string) int64 {
	if kv := w.kvs[w.key(kindCount, id)]; kv != nil {
		return kv.ModRevision
	}
	return 0
}

// claim is what delivery.claim does.
func (w *world) claim(it *item) (revision int64, ok bool) {
	if w.kvs[w.key(kindEntry, it.id)] == nil || w.kvs[w.key(kindClaim, it.id)] != nil || w.countRev(it.id) != it.countRev {
		w.revision++ // others write elsewhere
		return w.revision, false
	}
	return w.txn(map[string]string{w.key(kindClaim, it.id): "t", w.key(kindCount, it.id): encodeCount(it.deliveries+1, 0)}), true
}

func encodeCount(n int, pause time.Duration) string {
	b, _ := json.Marshal(count{Deliveries: n, Pause: pause})
	return string(b)
}

func (w *world) snapshot() []*mvccpb.KeyValue {
	var kvs []*mvccpb.KeyValue
	for _, kv := range w.kvs {
		kvs = append(kvs, kv)
	}
	return kvs
}

// peer is a server with its view, which lags behind the world.
type peer struct {
	view *view
	seen int // transactions of the log
	held *item
	rev  int64
	ours bool
	over bool // settled, but the view has not been told
}

// TestViewNeverStuck runs random interleavings of servers whose views lag: every message is handled, and none by two at once.
func TestViewNeverStuck(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, now := newWorld(), time.Unix(0, 0)
		peers := make([]*peer, 1+rng.IntN(3))
		for i := range peers {
			peers[i] = &peer{view: newView(w.keys)}
			peers[i].view.load(w.snapshot(), w.revision, now)
		}
		const messages = 12
		published := 0
		steps := 0
		for ; len(w.handled) < messages; steps++ {
			require.Less(t, steps, 20000, "seed %d: stuck with %d of %d handled", seed, len(w.handled), messages)
			now = now.Add(10 * time.Millisecond)
			if published < messages && rng.IntN(4) == 0 {
				published++
				w.txn(map[string]string{w.key(kindEntry, fmt.Sprint(published)): ""})
			}
			step(t, rng, w, peers[rng.IntN(len(peers))], now, seed%4 == 0)
		}
	}
}

func step(t *testing.T, rng *rand.Rand, w *world, p *peer, now time.Time, gaps bool) {
	t.Helper()
	switch rng.IntN(6) {
	case 0, 1: // some events come in
		for range rng.IntN(3) {
			if p.seen < len(w.log) {
				p.view.apply(w.log[p.seen], now)
				p.seen++
			}
		}
	case 2: // take a message
		if p.held != nil {
			return
		}
		if it := p.view.next(now); it != nil {
			copied := *it
			p.held = &copied
			p.rev, p.ours = w.claim(&copied)
		}
	case 3: // be done with it
		if p.held == nil || p.over {
			return
		}
		p.over = true
		if p.ours {
			p.rev = settleAtRandom(rng, w, p.held)
		}
	case 4: // its result may come after the events that tell of it
		if !p.over {
			return
		}
		p.view.finished(p.held.id, p.rev, now)
		p.held, p.over = nil, false
	case 5: // rarely, and in some runs only: a gap, so everything is read anew
		if gaps && rng.IntN(10) == 0 {
			p.view.load(w.snapshot(), w.revision, now)
			p.seen = len(w.log)
		}
	}
}

func settleAtRandom(rng *rand.Rand, w *world, it *item) int64 {
	if rng.IntN(3) == 0 {
		return w.txn(map[string]string{w.key(kindCount, it.id): encodeCount(it.deliveries+1, 30*time.Millisecond)}, w.key(kindClaim, it.id))
	}
	w.handled[it.id]++
	return w.txn(nil, w.key(kindClaim, it.id), w.key(kindCount, it.id), w.key(kindEntry, it.id))
}

func TestViewOrderAndDelay(t *testing.T) {
	w, v, now := newWorld(), newView(keysOf("q")), time.Unix(0, 0)
	w.txn(map[string]string{w.key(kindEntry, "z"): ""})
	w.txn(map[string]string{w.key(kindEntry, "a"): ""})
	w.txn(map[string]string{w.key(kindCount, "a"): encodeCount(2, time.Second)})
	w.txn(map[string]string{w.key(kindEntry, "m"): ""})
	w.txn(map[string]string{w.key(kindCount, "orphan"): encodeCount(1, 0)})
	orphans := v.load(w.snapshot(), w.revision, now)
	require.Equal(t, []orphan{{id: "orphan", revision: w.revision}}, orphans)
	require.Equal(t, "z", v.next(now).id, "by place, not by name")
	require.Equal(t, "m", v.next(now).id)
	require.Nil(t, v.next(now))
	require.Equal(t, now.Add(time.Second), v.wake())
	a := v.next(now.Add(time.Second))
	require.Equal(t, "a", a.id)
	require.Equal(t, 2, a.deliveries)

	// The message's lease runs out while it waits: its count is to be removed.
	w.txn(nil, w.key(kindEntry, "a"))
	require.Len(t, v.apply(w.log[len(w.log)-1], now), 1)
	// Done with in one transaction: nothing is left over.
	w.txn(map[string]string{w.key(kindCount, "m"): encodeCount(1, 0)})
	v.apply(w.log[len(w.log)-1], now)
	w.txn(nil, w.key(kindEntry, "m"), w.key(kindCount, "m"))
	require.Empty(t, v.apply(w.log[len(w.log)-1], now))
}

// TestCountFromHostileGuest: a guest may write nonsense into its own queue; whoever else looks at it must bear that.
func TestCountFromHostileGuest(t *testing.T) {
	now := time.Unix(0, 0)
	for _, value := range []string{"", "x", "null", `{"n":-5,"pause":-1}`, `{"n":1e99}`, `{"pause":9223372036854775807}`} {
		it := &item{}
		it.counted(&mvccpb.KeyValue{Value: []byte(value), ModRevision: 7}, now)
		require.GreaterOrEqual(t, it.deliveries, 0, value)
		require.False(t, it.readyAt.Before(now), value)
		require.False(t, it.readyAt.After(now.Add(retryMax)), value)
	}
}

func TestKeyID(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"a", "a b", "a/b", "a!", "é", "", "~x", "A-Z_0.9:"} {
		k := keyID(id)
		require.False(t, seen[k], id)
		seen[k] = true
		require.Regexp(t, `^~?[A-Za-z0-9._:-]+$`, k)
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte("{}\nbody"))
	f.Add([]byte(`{"id":"x","deadline":"2026-01-01T00:00:00Z","call":true}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var e envelope
		if body, err := unseal(stored, &e); err == nil {
			again, err := seal(e, body)
			require.NoError(t, err)
			var e2 envelope
			body2, err := unseal([]byte(again), &e2)
			require.NoError(t, err)
			require.Equal(t, body, body2)
		}
		_, _ = opened(stored)
	})
}
