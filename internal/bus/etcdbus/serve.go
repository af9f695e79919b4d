package etcdbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
)

// Pauses before a server whose session or watch was lost begins again.
const (
	serveRetryFirst = 50 * time.Millisecond
	serveRetryMax   = 2 * time.Second
)

// Serve implements bus.Bus. It outlives outages of the engine, and returns nil when ctx ends or the bus is closed, after the
// handlers (whose contexts end then) have returned. An error means that it can never serve: ErrDenied, ErrInvalid.
func (b *Bus) Serve(ctx context.Context, queue string, concurrency int, h bus.Handler) error {
	if err := bus.CheckQueue(queue); err != nil {
		return err
	}
	if concurrency < 1 {
		return fmt.Errorf("%w: concurrency %d", bus.ErrInvalid, concurrency)
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	retry := serveRetryFirst
	for ctx.Err() == nil {
		started := time.Now()
		err := b.serveSession(ctx, queue, concurrency, h)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, coord.ErrDenied) {
			return mapError("serve "+queue, err)
		}
		if time.Since(started) > serveRetryMax {
			retry = serveRetryFirst
		}
		b.cfg.Logger.WarnContext(ctx, "serving was interrupted", "op", "bus.serve", "queue", queue, "error", err, "retry", retry)
		pause(ctx, retry)
		retry = min(2*retry, serveRetryMax)
	}
	return nil
}

// server is one Serve for as long as its session lasts. All claims hang on that session: when the process dies they go with it,
// and when Serve ends they go at once.
type server struct {
	bus     *Bus
	keys    queueKeys
	queue   string
	handler bus.Handler
	session *etcd.Session
	// settling outlives Serve's context, so that what a handler did is still recorded; it ends with the session.
	settling context.Context

	view    *view
	workers sync.WaitGroup
	results chan result
}

// result is what a worker leaves: its hands are off id since revision. err means that the session is of no use any more.
type result struct {
	id       string
	revision int64
	err      error
}

func (b *Bus) serveSession(ctx context.Context, queue string, concurrency int, h bus.Handler) error {
	session, err := b.store.OpenSession(ctx, b.cfg.SessionTTL)
	if err != nil {
		return err
	}
	settling, settled := context.WithCancel(context.WithoutCancel(ctx))
	serving, stop := context.WithCancel(ctx)
	s := &server{
		bus: b, keys: keysOf(queue), queue: queue, handler: h, session: session, settling: settling,
		view: newView(keysOf(queue)), results: make(chan result, concurrency),
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-session.Done():
			stop()
			settled()
		case <-settling.Done():
		}
	}()
	err = s.run(serving, concurrency)
	stop()
	s.workers.Wait() // handlers are told by their context, and have their say recorded
	settled()
	<-watching
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	if closeErr := session.Close(closing); closeErr != nil {
		b.cfg.Logger.DebugContext(ctx, "session is left to run out", "op", "bus.serve", "queue", queue, "error", closeErr)
	}
	return err
}

// run delivers until serving ends, the session is lost or the watch ends.
func (s *server) run(ctx context.Context, concurrency int) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	changes := s.bus.store.Follow(ctx, s.keys.watched(), s.view.revision+1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	busy := 0
	for {
		for busy < concurrency {
			it := s.view.next(time.Now())
			if it == nil {
				break
			}
			busy++
			d := delivery{server: s, id: it.id, deliveries: it.deliveries, countRev: it.countRev}
			s.workers.Go(func() { s.results <- d.run(ctx) })
		}
		var due <-chan time.Time
		if at := s.view.wake(); busy < concurrency && !at.IsZero() {
			timer.Reset(time.Until(at))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("serve %s: %w", s.queue, s.reason(ctx))
		case <-due:
		case r := <-s.results:
			busy--
			if r.err != nil {
				return r.err
			}
			s.view.finished(r.id, r.revision, time.Now())
		case change, open := <-changes:
			if !open {
				return fmt.Errorf("serve %s: %w: the watch ended", s.queue, coord.ErrUnavailable)
			}
			if change.Gap {
				if err := s.load(ctx); err != nil {
					return err
				}
			}
			s.tidy(s.view.apply(change.Events, time.Now()))
		}
	}
}

func (s *server) reason(ctx context.Context) error {
	select {
	case <-s.session.Done():
		return coord.ErrSessionLost
	default:
		return ctx.Err()
	}
}

// loadPage bounds how much of a long queue is in flight at once.
const loadPage = 2048

// load reads the queue as it is at one moment.
func (s *server) load(ctx context.Context) error {
	r := s.keys.watched()
	var kvs []*mvccpb.KeyValue
	var revision int64
	for {
		var resp *clientv3.GetResponse
		err := s.bus.store.Do(ctx, "read queue "+s.queue, func(ctx context.Context) (err error) {
			resp, err = s.bus.store.Client().Get(ctx, r.From, clientv3.WithRange(r.To), clientv3.WithLimit(loadPage), clientv3.WithRev(revision))
			return err
		})
		if err != nil {
			return err
		}
		kvs = append(kvs, resp.Kvs...)
		if revision == 0 {
			revision = resp.Header.Revision
		}
		if !resp.More {
			break
		}
		r.From = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	s.tidy(s.view.load(kvs, revision, time.Now()))
	return nil
}

// tidy removes counts whose messages ran out of time.
func (s *server) tidy(orphans []orphan) {
	for _, o := range orphans {
		s.workers.Go(func() {
			count := s.keys.key(kindCount, o.id)
			_, err := s.bus.store.Commit(s.settling, "tidy", []clientv3.Cmp{
				clientv3.Compare(clientv3.ModRevision(count), "=", o.revision),
				clientv3.Compare(clientv3.CreateRevision(s.keys.key(kindEntry, o.id)), "=", 0),
			}, []clientv3.Op{clientv3.OpDelete(count)}, nil)
			s.bus.tidied(s.settling, err)
		})
	}
}
