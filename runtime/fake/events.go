package fake

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/huker/huker/runtime"
)

// listener is one call of Events. Its queue has no bound: a test's reader may be slow.
type listener struct {
	owner string
	deaf  bool

	mu    sync.Mutex
	queue []runtime.Event
	more  chan struct{} // capacity 1
}

func (l *listener) add(ev runtime.Event) {
	l.mu.Lock()
	l.queue = append(l.queue, ev)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *listener) take() []runtime.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue
	l.queue = nil
	return q
}

// Events implements runtime.Runtime.
func (d *Driver) Events(ctx context.Context) (<-chan runtime.Event, error) {
	l := &listener{owner: d.owner, more: make(chan struct{}, 1)}
	err := d.e.call(ctx, OpEvents, "", func() error {
		d.e.listeners[l] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make(chan runtime.Event)
	go func() {
		defer close(out)
		defer func() {
			d.e.mu.Lock()
			defer d.e.mu.Unlock()
			delete(d.e.listeners, l)
		}()
		for {
			for _, ev := range l.take() {
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-l.more:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// emit tells the owner's listeners. e.mu is held.
func (e *Engine) emit(c *container, kind runtime.EventKind, code int) {
	for l := range e.listeners {
		if l.owner == c.owner && !l.deaf {
			l.add(runtime.Event{Name: c.spec.Name, Labels: maps.Clone(c.state.Labels), Kind: kind, ExitCode: code, Time: time.Now().UTC()})
		}
	}
}

// deafen has all listeners hear nothing until undeafen, which tells them to list again. e.mu is held.
func (e *Engine) deafen() {
	for l := range e.listeners {
		l.deaf = true
	}
}

func (e *Engine) undeafen() {
	for l := range e.listeners {
		if l.deaf {
			l.deaf = false
			l.add(runtime.Event{Kind: runtime.EventResync, Time: time.Now().UTC()})
		}
	}
}
