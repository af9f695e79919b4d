package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/huker/huker/internal/bus"
)

// Bus is one client of RabbitMQ. It is safe for concurrent use.
type Bus struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	making  chan struct{} // capacity makingConcurrency: held by who makes a queue, until that rests
	dialing chan struct{} // capacity 1: held by who looks for a server
	next    int           // the server to try; under dialing

	mu      sync.Mutex
	closed  bool
	current *session
	made    time.Time      // when the last queue was made
	inside  sync.WaitGroup // requests under way; raised under mu while not closed
}

var _ bus.Bus = (*Bus)(nil)

// Open prepares a connection, which is made, and made again, when it is needed: RabbitMQ need not be up yet. An error means that the
// configuration is unusable.
func Open(_ context.Context, cfg Config) (*Bus, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg, making: make(chan struct{}, makingConcurrency), dialing: make(chan struct{}, 1)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// enter begins a request, whose context ends with the bus too. Without a deadline of its own it gets one if bounded.
func (b *Bus) enter(ctx context.Context, bounded bool) (context.Context, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, fmt.Errorf("%w: the bus was closed", bus.ErrUnavailable)
	}
	b.inside.Add(1)
	cancel := context.CancelFunc(nil)
	if _, has := ctx.Deadline(); bounded && !has {
		ctx, cancel = context.WithTimeout(ctx, requestTimeout)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	stop := context.AfterFunc(b.ctx, cancel)
	return ctx, func() { stop(); cancel(); b.inside.Done() }, nil
}

// Ping says whether RabbitMQ answers.
func (b *Bus) Ping(ctx context.Context) error {
	ctx, leave, err := b.enter(ctx, true)
	if err != nil {
		return err
	}
	defer leave()
	s, err := b.session(ctx)
	if err != nil {
		return mapError("ping", err)
	}
	ch, err := s.conn.Channel() // asks, and is answered
	if err != nil {
		return mapError("ping", err)
	}
	return mapError("ping", ch.Close())
}

// Close implements bus.Bus. It ends Serves, which give back what they have in hand, and calls.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.inside.Wait()
	b.mu.Lock()
	current := b.current
	b.mu.Unlock()
	if current != nil {
		_ = current.conn.Close() // nothing to add when it was lost already
	}
	b.wg.Wait()
	return nil
}
