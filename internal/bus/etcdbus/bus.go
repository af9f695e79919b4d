package etcdbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
)

// Defaults.
const (
	// sessionTTL is how long a dead server's messages wait for another. It also bounds how long the engine may be away
	// without handlers being interrupted.
	sessionTTL = 5 * time.Second
	// publishTimeout bounds Publish when its context has no deadline.
	publishTimeout = 10 * time.Second
	// The pause before a failed message's second delivery; it doubles with each further one. With MaxDeliveries = 8 a message
	// is given up after about 25 s.
	retryFirst = 200 * time.Millisecond
	retryMax   = 30 * time.Second
	// replyLife is how long a reply waits for a caller that is cut off.
	replyLife = time.Minute
)

// Config tunes a Bus; its zero value is good.
type Config struct {
	SessionTTL time.Duration // 0: 5 s
	RetryFirst time.Duration // 0: 200 ms
	Logger     *slog.Logger  // nil: silent
}

// Bus is bus.Bus on a store's connection. It is safe for concurrent use.
type Bus struct {
	store  *etcd.Store
	cfg    Config
	leases *leases

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

var _ bus.Bus = (*Bus)(nil)

// New gives a bus on store, which stays the caller's to close, after the bus.
func New(store *etcd.Store, cfg Config) *Bus {
	if cfg.SessionTTL <= 0 {
		cfg.SessionTTL = sessionTTL
	}
	if cfg.RetryFirst <= 0 {
		cfg.RetryFirst = retryFirst
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bus{store: store, cfg: cfg, leases: newLeases(store)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Close ends what goes on: servers finish the messages that they have in hand, with their contexts cancelled; calls fail.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
	return nil
}

// enter counts a running operation, whose context then ends with the bus.
func (b *Bus) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, nil, fmt.Errorf("%w: the bus is closed", bus.ErrUnavailable)
	}
	b.wg.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.ctx, cancel)
	return ctx, func() { stop(); cancel(); b.wg.Done() }, nil
}

// Publish implements bus.Bus. While the engine is away it tries again until ctx ends (10 s when it has no deadline), which does
// no harm, since an id is queued once.
func (b *Bus) Publish(ctx context.Context, queue string, m bus.Message) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, publishTimeout)
		defer cancel()
	}
	_, err = b.put(ctx, queue, &m, false)
	return err
}

// put stores a message, and gives the revision as of which it is queued.
func (b *Bus) put(ctx context.Context, queue string, m *bus.Message, call bool) (int64, error) {
	if err := bus.CheckQueue(queue); err != nil {
		return 0, err
	}
	if err := bus.CheckMessage(*m); err != nil {
		return 0, err
	}
	if m.ID == "" {
		m.ID = rand.Text()
	}
	stored, err := seal(envelope{ID: m.ID, Kind: m.Kind, Deadline: m.Deadline, Call: call}, m.Body)
	if err != nil {
		return 0, err
	}
	q, id := keysOf(queue), keyID(m.ID)
	absent := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(q.key(kindEntry, id)), "=", 0)}
	for {
		revision, err := b.putOnce(ctx, q, id, stored, m.Deadline, absent)
		if errors.Is(err, coord.ErrSessionLost) {
			b.leases.forget()
			continue
		}
		if err == nil || !errors.Is(err, coord.ErrUnavailable) || !pause(ctx, 50*time.Millisecond) {
			return revision, mapError(fmt.Sprintf("publish to %s", queue), err)
		}
	}
}

func (b *Bus) putOnce(ctx context.Context, q queueKeys, id, stored string, deadline time.Time, absent []clientv3.Cmp) (int64, error) {
	hang := clientv3.NoLease
	if !deadline.IsZero() {
		var err error
		// It goes by itself when nobody serves the queue. Servers look at the deadline, the lease only tidies up.
		if hang, err = b.leases.covering(ctx, max(0, time.Until(deadline))); err != nil {
			return 0, err
		}
	}
	// One attempt is bounded, so that a connection that hangs is not waited on for all of ctx.
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	resp, err := b.store.Commit(ctx, "publish", absent, []clientv3.Op{
		clientv3.OpPut(q.key(kindBody, id), stored, clientv3.WithLease(hang)),
		clientv3.OpPut(q.key(kindEntry, id), "", clientv3.WithLease(hang)),
	}, nil)
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil // also when it was queued already
}

// Drop implements bus.Bus.
func (b *Bus) Drop(ctx context.Context, queue string) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := bus.CheckQueue(queue); err != nil {
		return err
	}
	all := keysOf(queue).everything()
	return mapError("drop "+queue, b.store.Do(ctx, "drop", func(ctx context.Context) error {
		_, err := b.store.Client().Delete(ctx, all.From, clientv3.WithRange(all.To))
		return err
	}))
}

// DeadLetters implements bus.Bus: the oldest first.
func (b *Bus) DeadLetters(ctx context.Context, queue string) ([]bus.Message, error) {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := bus.CheckQueue(queue); err != nil {
		return nil, err
	}
	dead := keysOf(queue).all(kindDead)
	var resp *clientv3.GetResponse
	err = b.store.Do(ctx, "dead letters", func(ctx context.Context) (err error) {
		resp, err = b.store.Client().Get(ctx, dead.From, clientv3.WithRange(dead.To),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
		return err
	})
	if err != nil {
		return nil, mapError("dead letters of "+queue, err)
	}
	letters := make([]bus.Message, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var e envelope
		body, err := unseal(kv.Value, &e)
		if err != nil {
			body = kv.Value // better to show it than to hide it
		}
		letters = append(letters, e.message(body, e.Delivery))
	}
	return letters, nil
}

// mapError gives coord's errors the meaning that package bus gives its own.
func mapError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, coord.ErrDenied):
		return fmt.Errorf("%s: %w: %w", what, bus.ErrDenied, err)
	case errors.Is(err, coord.ErrUnavailable):
		return fmt.Errorf("%s: %w: %w", what, bus.ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// pause waits for d; false means that ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
