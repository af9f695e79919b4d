package identity

import (
	"container/list"
	"sync"
	"time"
)

// lru is a bounded map: the entry that was not used for the longest time makes room. Safe for concurrent use.
type lru[V any] struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *lruEntry[V], newest use first
	byKey map[string]*list.Element
}

type lruEntry[V any] struct {
	key     string
	value   V
	expires time.Time // zero: never
}

func newLRU[V any](size int) *lru[V] {
	return &lru[V]{max: size, order: list.New(), byKey: make(map[string]*list.Element)}
}

func (l *lru[V]) get(key string, now time.Time) (V, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var zero V
	e, ok := l.byKey[key]
	if !ok {
		return zero, false
	}
	entry := e.Value.(*lruEntry[V])
	if !entry.expires.IsZero() && !now.Before(entry.expires) {
		l.order.Remove(e)
		delete(l.byKey, key)
		return zero, false
	}
	l.order.MoveToFront(e)
	return entry.value, true
}

// getOrPut gives what is there, or puts what create makes.
func (l *lru[V]) getOrPut(key string, create func() V) V {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*lruEntry[V]).value
	}
	v := create()
	l.insert(&lruEntry[V]{key: key, value: v})
	return v
}

func (l *lru[V]) put(key string, v V, expires time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.byKey[key]; ok {
		l.order.Remove(e)
		delete(l.byKey, key)
	}
	l.insert(&lruEntry[V]{key: key, value: v, expires: expires})
}

func (l *lru[V]) insert(e *lruEntry[V]) {
	l.byKey[e.key] = l.order.PushFront(e)
	for l.order.Len() > l.max {
		oldest := l.order.Back()
		l.order.Remove(oldest)
		delete(l.byKey, oldest.Value.(*lruEntry[V]).key)
	}
}

func (l *lru[V]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}
