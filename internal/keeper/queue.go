package keeper

import (
	"context"
	"sync"
	"time"
)

// Bounds of the pause before an instance whose step failed is looked at again.
const (
	minRetry = 200 * time.Millisecond
	maxRetry = 30 * time.Second
)

// queue holds the ids of instances that are worth a look: each at most once, never two workers on the same one, and one that was
// added while it was worked on is looked at again.
type queue struct {
	mu       sync.Mutex
	waiting  []string
	queued   map[string]bool
	working  map[string]bool
	again    map[string]bool
	failures map[string]int
	ready    chan struct{} // capacity 1: there may be something to take
}

func newQueue() *queue {
	return &queue{
		queued: map[string]bool{}, working: map[string]bool{}, again: map[string]bool{}, failures: map[string]int{},
		ready: make(chan struct{}, 1),
	}
}

func (q *queue) add(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(id)
}

func (q *queue) put(id string) {
	if q.working[id] {
		q.again[id] = true
		return
	}
	if q.queued[id] {
		return
	}
	q.queued[id] = true
	q.waiting = append(q.waiting, id)
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for an id; false when ctx ends. Every id taken is given back with done or failed.
func (q *queue) take(ctx context.Context) (string, bool) {
	for {
		if ctx.Err() != nil {
			return "", false
		}
		q.mu.Lock()
		if len(q.waiting) > 0 {
			id := q.waiting[0]
			q.waiting = q.waiting[1:]
			delete(q.queued, id)
			q.working[id] = true
			if len(q.waiting) > 0 {
				q.signal()
			}
			q.mu.Unlock()
			return id, true
		}
		q.mu.Unlock()
		select {
		case <-q.ready:
		case <-ctx.Done():
			return "", false
		}
	}
}

func (q *queue) done(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.failures, id)
	q.release(id)
}

// failed gives an id back to be looked at again after a pause that grows with each failure, or as soon as something is heard of it.
func (q *queue) failed(id string) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	after := min(minRetry<<min(q.failures[id], 10), maxRetry)
	q.failures[id]++
	time.AfterFunc(after, func() { q.add(id) })
	q.release(id)
	return after
}

func (q *queue) release(id string) {
	delete(q.working, id)
	if q.again[id] {
		delete(q.again, id)
		q.put(id)
	}
}
