package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord"
)

// pageSize bounds how much of a long list is in flight at once.
const pageSize = 512

// Get implements coord.Store.
func (s *Store) Get(ctx context.Context, key string) (coord.Entry, error) {
	if err := coord.CheckKey(key); err != nil {
		return coord.Entry{}, err
	}
	var resp *clientv3.GetResponse
	err := s.Do(ctx, "get "+key, func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, encode(key))
		return err
	})
	if err != nil {
		return coord.Entry{}, err
	}
	if len(resp.Kvs) == 0 {
		return coord.Entry{}, fmt.Errorf("get %s: %w", key, coord.ErrNotFound)
	}
	return entry(resp.Kvs[0]), nil
}

// List implements coord.Store: all entries are of one moment.
func (s *Store) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	for {
		entries, err := s.list(ctx, prefix)
		// The moment was compacted away between two pages: begin again, at a newer one.
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return entries, err
		}
	}
}

func (s *Store) list(ctx context.Context, prefix string) ([]coord.Entry, error) {
	r := below(prefix)
	var entries []coord.Entry
	var revision int64 // 0: now
	for {
		var resp *clientv3.GetResponse
		err := s.Do(ctx, "list "+prefix, func(ctx context.Context) (err error) {
			resp, err = s.client.Get(ctx, r.From, clientv3.WithRange(r.To), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, kv := range resp.Kvs {
			entries = append(entries, entry(kv))
		}
		if !resp.More {
			break
		}
		revision = resp.Header.Revision
		r.From = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	// Stored keys sort a little differently, because "/" is not a space.
	slices.SortFunc(entries, func(a, b coord.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, nil
}

// Apply implements coord.Store.
func (s *Store) Apply(ctx context.Context, ops ...coord.Op) error {
	if err := coord.CheckOps(ops); err != nil {
		return err
	}
	what := "apply to " + ops[0].Key
	var conditions []clientv3.Cmp
	var then []clientv3.Op
	for _, op := range ops {
		lease, err := s.leaseOf(op.Session)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		key, value := encode(op.Key), string(op.Value)
		switch op.Kind {
		case coord.OpCreate:
			conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
			then = append(then, clientv3.OpPut(key, value, clientv3.WithLease(lease)))
		case coord.OpPut:
			then = append(then, clientv3.OpPut(key, value, clientv3.WithLease(lease)))
		case coord.OpUpdate:
			if op.Revision == 0 {
				return fmt.Errorf("%s: %w: an absent key cannot be updated", what, coord.ErrConflict)
			}
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", int64(op.Revision)))
			then = append(then, clientv3.OpPut(key, value, clientv3.WithIgnoreLease()))
		case coord.OpDelete:
			if op.Revision != 0 {
				conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", int64(op.Revision)))
			}
			then = append(then, clientv3.OpDelete(key))
		case coord.OpCheck:
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(key), "=", int64(op.Revision)))
		}
	}
	resp, err := s.Commit(ctx, what, conditions, then, nil)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return fmt.Errorf("%s: %w", what, coord.ErrConflict)
	}
	return nil
}

func entry(kv *mvccpb.KeyValue) coord.Entry {
	e := coord.Entry{
		Key:      decode(kv.Key),
		Value:    kv.Value,
		Revision: coord.Revision(kv.ModRevision),
		Created:  kv.CreateRevision,
	}
	if kv.Lease != 0 {
		e.Session = sessionID(clientv3.LeaseID(kv.Lease))
	}
	return e
}
