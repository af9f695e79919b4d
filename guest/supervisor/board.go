package supervisor

import (
	"context"
	"sync"

	"github.com/huker/huker/guest/control"
)

// board is the status, and who waits for it to change.
type board struct {
	mu      sync.Mutex
	status  control.Status
	changed chan struct{} // closed and renewed with each change
}

func newBoard() *board {
	b := &board{changed: make(chan struct{})}
	b.status.Serial = 1
	return b
}

// update changes the status.
func (b *board) update(f func(*control.Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.status)
	b.status.Serial++
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) get() (control.Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.changed
}

// watch implements control.Supervisor's Watch.
func (b *board) watch(ctx context.Context, after uint64) control.Status {
	for {
		st, changed := b.get()
		if st.Serial > after {
			return st
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return st
		}
	}
}
