package etcdbus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord/etcd"
)

// tidyTimeout bounds what is removed after a call. If it fails, leases do it later.
const tidyTimeout = 2 * time.Second

// Call implements bus.Bus.
func (b *Bus) Call(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, fmt.Errorf("%w: a call needs a deadline", bus.ErrInvalid)
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if m.Deadline.IsZero() || m.Deadline.After(deadline) {
		m.Deadline = deadline
	}
	if m.ID == "" {
		m.ID = rand.Text()
	}
	q, id := keysOf(queue), keyID(m.ID)
	following, stop := context.WithCancel(ctx)
	defer stop()
	key := q.key(kindReply, id)
	changes := b.store.Follow(following, etcd.Range{From: key, To: key + "\x00"}, 0)
	revision, err := b.put(ctx, queue, &m, true)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // stored or not: no reply came
			return nil, fmt.Errorf("call %s of %s: %w: %w: %w", m.Kind, queue, bus.ErrTimeout, ctx.Err(), err)
		}
		return nil, err
	}
	stored, err := b.await(ctx, changes, key, revision)
	if err != nil {
		b.wg.Go(func() { b.withdraw(ctx, q, id) })
		return nil, fmt.Errorf("call %s of %s: %w", m.Kind, queue, err)
	}
	b.wg.Go(func() { b.discard(ctx, key) })
	return opened(stored)
}

// opened takes a reply apart.
func opened(stored []byte) ([]byte, error) {
	var a answer
	body, err := unseal(stored, &a)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if a.Failed {
		return nil, &bus.CallError{Code: a.Code, Message: a.Message}
	}
	return body, nil
}

// await gives the reply that is written after revision. Older ones belong to an earlier call of the same id.
func (b *Bus) await(ctx context.Context, changes <-chan etcd.Change, key string, revision int64) ([]byte, error) {
	for change := range changes {
		for _, e := range change.Events {
			if e.Type == clientv3.EventTypePut && e.Kv.ModRevision > revision {
				return e.Kv.Value, nil
			}
		}
		if !change.Gap && change.Since <= revision { // else it may have come before we listened
			continue
		}
		var resp *clientv3.GetResponse
		err := b.store.Do(ctx, "read reply", func(ctx context.Context) (err error) {
			resp, err = b.store.Client().Get(ctx, key)
			return err
		})
		if err != nil {
			return nil, mapError("read reply", err)
		}
		if len(resp.Kvs) > 0 && resp.Kvs[0].ModRevision > revision {
			return resp.Kvs[0].Value, nil
		}
	}
	err := ctx.Err()
	if err == nil {
		return nil, fmt.Errorf("%w: the connection was closed", bus.ErrUnavailable)
	}
	if errors.Is(err, context.Canceled) && b.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: the bus was closed", bus.ErrUnavailable)
	}
	return nil, fmt.Errorf("%w: %w", bus.ErrTimeout, err)
}

// discard removes a reply that was read.
func (b *Bus) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	_, err := b.store.Client().Delete(ctx, key)
	b.tidied(ctx, err)
}

// withdraw removes a call's message unless a server has it in hand.
func (b *Bus) withdraw(ctx context.Context, q queueKeys, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTimeout)
	defer cancel()
	unclaimed := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(q.key(kindClaim, id)), "=", 0)}
	_, err := b.store.Commit(ctx, "withdraw", unclaimed, []clientv3.Op{
		clientv3.OpDelete(q.key(kindBody, id)),
		clientv3.OpDelete(q.key(kindCount, id)),
		clientv3.OpDelete(q.key(kindEntry, id)),
	}, nil)
	b.tidied(ctx, err)
}

func (b *Bus) tidied(ctx context.Context, err error) {
	if err != nil {
		b.cfg.Logger.DebugContext(ctx, "left to its lease", "op", "bus.tidy", "error", err)
	}
}
