package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

var errStop = errors.New("stop") // a constant

func rollback(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	create(t, s, instance(1))
	gives(t, s, errStop, func(tx metastore.Tx) error {
		two := instance(2)
		one, err := tx.Instances().Get(ctx, instance(1).ID)
		require.NoError(t, err)
		one.Name = "changed"
		return errors.Join(
			tx.Instances().Create(ctx, &two), tx.Instances().Update(ctx, &one),
			tx.Events().Append(ctx, &model.Event{InstanceID: two.ID}), tx.Secrets().Put(ctx, "o", "n", []byte("v")),
			tx.Hosts().Put(ctx, model.Host{ID: "h"}), tx.Instances().Delete(ctx, one.ID), errStop,
		)
	})
	view(t, s, func(tx metastore.Tx) error {
		is, err := tx.Instances().List(ctx, metastore.InstanceFilter{})
		require.NoError(t, err)
		require.Equal(t, []model.Instance{instance(1)}, is)
		_, err = tx.Secrets().Get(ctx, "o", "n")
		require.ErrorIs(t, err, metastore.ErrNotFound)
		hs, err := tx.Hosts().List(ctx)
		require.NoError(t, err)
		require.Empty(t, hs)
		return nil
	})
}

func rollbackOnPanic(t *testing.T, s metastore.Store) {
	for range 3 { // more often than a small pool has connections to lose
		require.PanicsWithValue(t, "boom", func() {
			_ = s.Update(t.Context(), func(tx metastore.Tx) error {
				i := instance(1)
				require.NoError(t, tx.Instances().Create(t.Context(), &i))
				panic("boom")
			})
		})
	}
	require.Empty(t, list(t, s, metastore.InstanceFilter{}))
	create(t, s, instance(1))
}

// goesOn: an error of one call undoes that call only.
func goesOn(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	create(t, s, instance(1))
	update(t, s, func(tx metastore.Tx) error {
		before, again, after := instance(2), instance(1), instance(3)
		require.NoError(t, tx.Instances().Create(ctx, &before))
		require.ErrorIs(t, tx.Instances().Create(ctx, &again), metastore.ErrExists)
		_, err := tx.Instances().Get(ctx, "none")
		require.ErrorIs(t, err, metastore.ErrNotFound)
		require.ErrorIs(t, tx.Identity().Assign(ctx, model.Assignment{AccountID: "x"}), metastore.ErrNotFound)
		return tx.Instances().Create(ctx, &after)
	})
	require.Len(t, list(t, s, metastore.InstanceFilter{}), 3)
}

func viewReadOnly(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	create(t, s, instance(1))
	for name, write := range map[string]func(metastore.Tx) error{
		"create":  func(tx metastore.Tx) error { i := instance(2); return tx.Instances().Create(ctx, &i) },
		"update":  func(tx metastore.Tx) error { i := instance(1); return tx.Instances().Update(ctx, &i) },
		"delete":  func(tx metastore.Tx) error { return tx.Instances().Delete(ctx, instance(1).ID) },
		"cluster": func(tx metastore.Tx) error { c := cluster(1); return tx.Clusters().Create(ctx, &c) },
		"turn": func(tx metastore.Tx) error {
			return tx.Clusters().AppendTurn(ctx, &model.Turn{ClusterID: "c", Epoch: 1})
		},
		"event":  func(tx metastore.Tx) error { return tx.Events().Append(ctx, &model.Event{}) },
		"secret": func(tx metastore.Tx) error { return tx.Secrets().Put(ctx, "o", "n", nil) },
		"role":   func(tx metastore.Tx) error { return tx.Identity().Roles().Create(ctx, model.Role{}) },
	} {
		require.ErrorIs(t, s.View(ctx, write), metastore.ErrReadOnly, name)
	}
	require.Equal(t, instance(1), get(t, s, instance(1).ID))
}

// viewSnapshot: what a View reads does not move while others write, and it does not keep them from writing.
func viewSnapshot(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	create(t, s, instance(1))
	view(t, s, func(tx metastore.Tx) error {
		first, err := tx.Instances().List(ctx, metastore.InstanceFilter{})
		require.NoError(t, err)
		update(t, s, func(tx metastore.Tx) error {
			one, two := instance(1), instance(2)
			one.Name = "changed"
			return errors.Join(tx.Instances().Update(ctx, &one), tx.Instances().Create(ctx, &two))
		})
		second, err := tx.Instances().List(ctx, metastore.InstanceFilter{})
		require.NoError(t, err)
		require.Equal(t, first, second)
		return nil
	})
	require.Len(t, list(t, s, metastore.InstanceFilter{}), 2) // and the next View sees it all
	require.Equal(t, "changed", get(t, s, instance(1).ID).Name)
}

func ownWrites(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	update(t, s, func(tx metastore.Tx) error {
		i := instance(1)
		require.NoError(t, tx.Instances().Create(ctx, &i))
		i.Name = "changed"
		require.NoError(t, tx.Instances().Update(ctx, &i))
		got, err := tx.Instances().Get(ctx, i.ID)
		require.NoError(t, err)
		require.Equal(t, i, got)
		u, err := tx.Instances().Usage(ctx, "p1")
		require.NoError(t, err)
		require.Equal(t, 1, u.Instances)
		require.NoError(t, tx.Instances().Delete(ctx, i.ID))
		_, err = tx.Instances().Get(ctx, i.ID)
		require.ErrorIs(t, err, metastore.ErrNotFound)
		return nil
	})
}

func noDirtyReads(t *testing.T, s metastore.Store) {
	gives(t, s, errStop, func(tx metastore.Tx) error {
		i := instance(1)
		require.NoError(t, tx.Instances().Create(t.Context(), &i))
		require.Empty(t, list(t, s, metastore.InstanceFilter{}), "seen before it was committed")
		return errStop
	})
}

// lostUpdates: of those who read the same version, one writes, and the others are told.
func lostUpdates(t *testing.T, s metastore.Store) {
	const writers, rounds = 8, 10
	ctx := t.Context()
	create(t, s, instance(1))
	for round := range rounds {
		read := get(t, s, instance(1).ID)
		var mu sync.Mutex
		winners := []string{}
		var g errgroup.Group
		for w := range writers {
			g.Go(func() error {
				i := read
				i.Name = fmt.Sprintf("round %d writer %d", round, w)
				err := s.Update(ctx, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &i) })
				if errors.Is(err, metastore.ErrConflict) {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				winners = append(winners, i.Name)
				return err
			})
		}
		require.NoError(t, g.Wait())
		require.Len(t, winners, 1)
		now := get(t, s, instance(1).ID)
		require.Equal(t, winners[0], now.Name)
		require.Equal(t, read.Version+1, now.Version)
	}
}

// countersRunAgain: read, add one, write back, by many at once and without any version. It comes out right only if the transactions
// are serializable, and without errors only if the store runs fn again when a transaction loses.
func countersRunAgain(t *testing.T, s metastore.Store) {
	const writers, each = 8, 15
	ctx := t.Context()
	var g errgroup.Group
	for range writers {
		g.Go(func() error {
			for range each {
				err := s.Update(ctx, func(tx metastore.Tx) error {
					q, err := tx.Quotas().Get(ctx, "p")
					if err != nil && !errors.Is(err, metastore.ErrNotFound) {
						return err
					}
					return tx.Quotas().Put(ctx, model.Quota{ProjectID: "p", Instances: q.Instances + 1})
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	q := read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Quota, error) { return tx.Quotas().Get(ctx, "p") })
	require.Equal(t, writers*each, q.Instances)
}

// quotaHolds: usage is checked and an instance created in one transaction, by more than the quota allows, at once.
func quotaHolds(t *testing.T, s metastore.Store) {
	const askers, quota = 20, 7
	ctx := t.Context()
	errOver := errors.New("over quota")
	var g errgroup.Group
	var mu sync.Mutex
	created := 0
	for n := range askers {
		g.Go(func() error {
			i := instance(n)
			err := s.Update(ctx, func(tx metastore.Tx) error {
				u, err := tx.Instances().Usage(ctx, i.ProjectID)
				if err != nil {
					return err
				}
				if u.Instances >= quota {
					return errOver
				}
				return tx.Instances().Create(ctx, &i)
			})
			if errors.Is(err, errOver) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			created++
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, quota, created)
	require.Len(t, list(t, s, metastore.InstanceFilter{}), quota)
}

// addressRace: many look for a free address in the same small range and take it.
func addressRace(t *testing.T, s metastore.Store) {
	const askers = 12
	ctx := t.Context()
	var g errgroup.Group
	for n := range askers {
		g.Go(func() error {
			i := instance(n)
			return s.Update(ctx, func(tx metastore.Tx) error {
				taken, err := tx.Instances().Addresses(ctx)
				if err != nil {
					return err
				}
				i.Address = fmt.Sprintf("10.9.0.%d", 1+len(taken))
				return tx.Instances().Create(ctx, &i)
			})
		})
	}
	require.NoError(t, g.Wait())
	as := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]string, error) { return tx.Instances().Addresses(ctx) })
	require.Len(t, as, askers)
}

func contexts(t *testing.T, s metastore.Store) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(metastore.Tx) error { t.Error("fn ran with a cancelled context"); return nil }
	require.ErrorIs(t, s.Update(cancelled, never), context.Canceled)
	require.ErrorIs(t, s.View(cancelled, never), context.Canceled)
	require.ErrorIs(t, s.Ping(cancelled), context.Canceled)

	// Cancelled on the way: nothing of it stays.
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(tx metastore.Tx) error {
		i := instance(1)
		if err := tx.Instances().Create(ctx, &i); err != nil {
			return err
		}
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, list(t, s, metastore.InstanceFilter{}))

	// A deadline ends the wait for somebody else's transaction.
	create(t, s, instance(1))
	update(t, s, func(tx metastore.Tx) error {
		one := instance(1)
		require.NoError(t, tx.Instances().Update(t.Context(), &one))
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := s.Update(short, func(tx metastore.Tx) error {
			other := instance(1)
			return tx.Instances().Update(short, &other)
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(start), 5*time.Second)
		return nil
	})
	require.NoError(t, s.Ping(t.Context())) // no connection was lost in all this
}

func goodOnlyInside(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	var kept metastore.Tx
	update(t, s, func(tx metastore.Tx) error { kept = tx; return nil })
	i := instance(1)
	require.Error(t, kept.Instances().Create(ctx, &i))
	_, err := kept.Instances().List(ctx, metastore.InstanceFilter{})
	require.Error(t, err)
	require.Empty(t, list(t, s, metastore.InstanceFilter{}))
}

func ping(t *testing.T, s metastore.Store) {
	for range 3 {
		require.NoError(t, s.Ping(t.Context()))
	}
}

func closing(t *testing.T, s metastore.Store) {
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice")
	never := func(metastore.Tx) error { t.Error("fn ran on a closed store"); return nil }
	require.ErrorIs(t, s.Update(t.Context(), never), metastore.ErrClosed)
	require.ErrorIs(t, s.View(t.Context(), never), metastore.ErrClosed)
	require.ErrorIs(t, s.Ping(t.Context()), metastore.ErrClosed)
}

func closeWaits(t *testing.T, s metastore.Store) {
	inside, closed := make(chan struct{}), make(chan error, 1)
	go func() {
		<-inside
		closed <- s.Close()
	}()
	update(t, s, func(tx metastore.Tx) error {
		close(inside)
		select {
		case <-closed:
			return errors.New("closed under a running transaction")
		case <-time.After(100 * time.Millisecond):
		}
		i := instance(1)
		return tx.Instances().Create(t.Context(), &i)
	})
	require.NoError(t, <-closed)
}
