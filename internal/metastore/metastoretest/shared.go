package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// OpenShared gives a new database that nobody else uses. Each call of what it returns opens one more store on it, as one more process
// would; the first of them makes the tables. Stores are closed when the test is done. It may be called by several goroutines at once.
type OpenShared func(tb testing.TB) func() (metastore.Store, error)

// processes is how many stores the tests below have on one database, and hands how many goroutines use each.
const (
	processes = 4
	hands     = 3
)

// RunShared runs the part of the suite that is about several processes on one database.
func RunShared(t *testing.T, open OpenShared) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, []metastore.Store){
		"seen by all at once":         seenByAll,
		"one row, one winner":         oneWinner,
		"counters":                    sharedCounters,
		"quota is never exceeded":     sharedQuota,
		"unique names":                uniqueNames,
		"unique ids and addresses":    uniqueInstances,
		"what was read stays true":    noWriteSkew,
		"no token without an account": noOrphanTokens,
		"events":                      sharedEvents,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, openAll(t, open(t)))
		})
	}
}

// openAll opens the stores at the same moment: the tables are made once, and nobody fails for it.
func openAll(t *testing.T, open func() (metastore.Store, error)) []metastore.Store {
	t.Helper()
	stores := make([]metastore.Store, processes)
	var g errgroup.Group
	for n := range stores {
		g.Go(func() (err error) {
			stores[n], err = open()
			return err
		})
	}
	require.NoError(t, g.Wait())
	return stores
}

// atOnce has every hand of every process do something at the same moment. hand counts through all of them.
func atOnce(t *testing.T, stores []metastore.Store, do func(s metastore.Store, hand int) error) {
	t.Helper()
	var g errgroup.Group
	start := make(chan struct{})
	for n := range len(stores) * hands {
		g.Go(func() error {
			<-start
			if err := do(stores[n%len(stores)], n); err != nil {
				return fmt.Errorf("hand %d: %w", n, err)
			}
			return nil
		})
	}
	close(start)
	require.NoError(t, g.Wait())
}

func seenByAll(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	create(t, stores[0], instance(1))
	for n := range 10 * len(stores) {
		writer := stores[n%len(stores)]
		i := get(t, writer, instance(1).ID)
		i.Name = fmt.Sprint("written ", n)
		update(t, writer, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &i) })
		for _, s := range stores {
			require.Equal(t, i, get(t, s, i.ID))
		}
	}
}

func oneWinner(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	create(t, stores[0], instance(1))
	for round := range 10 {
		seen := get(t, stores[0], instance(1).ID)
		var mu sync.Mutex
		winners := []string{}
		atOnce(t, stores, func(s metastore.Store, hand int) error {
			i := seen
			i.Name = fmt.Sprintf("round %d hand %d", round, hand)
			err := s.Update(ctx, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &i) })
			if errors.Is(err, metastore.ErrConflict) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			winners = append(winners, i.Name)
			return err
		})
		require.Len(t, winners, 1)
		now := get(t, stores[0], seen.ID)
		require.Equal(t, winners[0], now.Name)
		require.Equal(t, seen.Version+1, now.Version)
	}
}

// increment adds one without any version: it comes out right only if transactions are serializable.
func increment(ctx context.Context, s metastore.Store, id string) error {
	return s.Update(ctx, func(tx metastore.Tx) error {
		q, err := tx.Quotas().Get(ctx, id)
		if err != nil && !errors.Is(err, metastore.ErrNotFound) {
			return err
		}
		return tx.Quotas().Put(ctx, model.Quota{ProjectID: id, Instances: q.Instances + 1})
	})
}

func counted(t *testing.T, s metastore.Store, id string) int {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) (int, error) {
		q, err := tx.Quotas().Get(ctx, id)
		return q.Instances, err
	})
}

func sharedCounters(t *testing.T, stores []metastore.Store) {
	const each = 10
	atOnce(t, stores, func(s metastore.Store, _ int) error {
		for range each {
			if err := increment(t.Context(), s, "p"); err != nil {
				return err
			}
		}
		return nil
	})
	require.Equal(t, processes*hands*each, counted(t, stores[0], "p"))
}

// sharedQuota: two projects, each asked for more than its quota by all at once. A project's first instance is the hardest: there is no row yet
// that a lock could be on.
func sharedQuota(t *testing.T, stores []metastore.Store) {
	const quota, each = 5, 3
	ctx := t.Context()
	errOver := errors.New("over quota")
	var created, refused atomic.Int64
	atOnce(t, stores, func(s metastore.Store, hand int) error {
		for ask := range each {
			i := instance(hand*each + ask)
			i.ProjectID = fmt.Sprint("project ", hand%2)
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
			switch {
			case errors.Is(err, errOver):
				refused.Add(1)
			case err != nil:
				return err
			default:
				created.Add(1)
			}
		}
		return nil
	})
	require.EqualValues(t, 2*quota, created.Load())
	require.EqualValues(t, processes*hands*each-2*quota, refused.Load())
	for n := range 2 {
		require.Len(t, list(t, stores[0], metastore.InstanceFilter{ProjectID: fmt.Sprint("project ", n)}), quota)
	}
}

// race has all try to create the same thing; one does, and the others get ErrExists.
func race(t *testing.T, stores []metastore.Store, create func(tx metastore.Tx, hand int) error) (winner int) {
	t.Helper()
	var mu sync.Mutex
	winners := []int{}
	atOnce(t, stores, func(s metastore.Store, hand int) error {
		err := s.Update(t.Context(), func(tx metastore.Tx) error { return create(tx, hand) })
		if errors.Is(err, metastore.ErrExists) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		winners = append(winners, hand)
		return err
	})
	require.Len(t, winners, 1)
	return winners[0]
}

func uniqueNames(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	for round := range 5 {
		name := fmt.Sprint("name ", round)
		winner := race(t, stores, func(tx metastore.Tx, hand int) error {
			if round%2 == 1 { // look first, as identity's seed does
				if _, err := tx.Identity().Projects().ByName(ctx, name); !errors.Is(err, metastore.ErrNotFound) {
					return errors.Join(metastore.ErrExists, err)
				}
			}
			return tx.Identity().Projects().Create(ctx, model.Project{ID: fmt.Sprintf("%d %d", round, hand), Name: name})
		})
		p := read(t, stores[0], func(ctx context.Context, tx metastore.Tx) (model.Project, error) {
			return tx.Identity().Projects().ByName(ctx, name)
		})
		require.Equal(t, fmt.Sprintf("%d %d", round, winner), p.ID)
	}
	ps := read(t, stores[0], func(ctx context.Context, tx metastore.Tx) ([]model.Project, error) {
		return tx.Identity().Projects().List(ctx)
	})
	require.Len(t, ps, 5)
}

func uniqueInstances(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	for round := range 5 {
		winner := race(t, stores, func(tx metastore.Tx, hand int) error {
			i := instance(1000 * round)
			i.Address, i.Name = fmt.Sprintf("10.1.%d.%d", round, hand), fmt.Sprint(hand)
			return tx.Instances().Create(ctx, &i)
		})
		require.Equal(t, fmt.Sprint(winner), get(t, stores[0], instance(1000*round).ID).Name)
		address := fmt.Sprintf("10.2.0.%d", round)
		winner = race(t, stores, func(tx metastore.Tx, hand int) error {
			i := instance(1000*round + 1 + hand)
			i.Address = address
			return tx.Instances().Create(ctx, &i)
		})
		require.Equal(t, address, get(t, stores[0], instance(1000*round+1+winner).ID).Address)
	}
	require.Len(t, list(t, stores[0], metastore.InstanceFilter{}), 10)
}

// noWriteSkew: everybody takes one account's power away if another account keeps it. They write different rows, but each relies on the rows of
// the others: the last one must stay, as identity's last administrator must.
func noWriteSkew(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	for round := range 5 {
		update(t, stores[0], func(tx metastore.Tx) error {
			for hand := range processes * hands {
				a := model.Account{ID: fmt.Sprintf("%d %d", round, hand), Name: fmt.Sprintf("%d %d", round, hand), Enabled: true}
				if err := tx.Identity().Accounts().Create(ctx, a); err != nil {
					return err
				}
			}
			return nil
		})
		enabled := func(tx metastore.Tx) (as []model.Account, err error) {
			as, err = tx.Identity().Accounts().List(ctx)
			return slices.DeleteFunc(as, func(a model.Account) bool { return !a.Enabled }), err
		}
		atOnce(t, stores, func(s metastore.Store, hand int) error {
			return s.Update(ctx, func(tx metastore.Tx) error {
				as, err := enabled(tx)
				if err != nil || len(as) < 2 {
					return err
				}
				a := model.Account{ID: fmt.Sprintf("%d %d", round, hand), Name: fmt.Sprintf("%d %d", round, hand)}
				return tx.Identity().Accounts().Update(ctx, a)
			})
		})
		view(t, stores[0], func(tx metastore.Tx) error {
			as, err := enabled(tx)
			require.Len(t, as, 1)
			return err
		})
		update(t, stores[0], func(tx metastore.Tx) error {
			as, err := enabled(tx)
			if err != nil {
				return err
			}
			as[0].Enabled = false
			return tx.Identity().Accounts().Update(ctx, as[0])
		})
	}
}

// noOrphanTokens: tokens are made for an account while it is deleted.
func noOrphanTokens(t *testing.T, stores []metastore.Store) {
	ctx := t.Context()
	for round := range 5 {
		id := fmt.Sprint("account ", round)
		update(t, stores[0], func(tx metastore.Tx) error {
			return tx.Identity().Accounts().Create(ctx, model.Account{ID: id, Name: id})
		})
		hash := func(hand int) string { return fmt.Sprintf("%d %d", round, hand) }
		atOnce(t, stores, func(s metastore.Store, hand int) error {
			if hand == processes*hands/2 {
				return s.Update(ctx, func(tx metastore.Tx) error { return tx.Identity().Accounts().Delete(ctx, id) })
			}
			err := s.Update(ctx, func(tx metastore.Tx) error {
				return tx.Identity().Tokens().Create(ctx, token(hash(hand), id, "", at(9)))
			})
			if errors.Is(err, metastore.ErrNotFound) {
				return nil
			}
			return err
		})
		view(t, stores[0], func(tx metastore.Tx) error {
			for hand := range processes * hands {
				_, err := tx.Identity().Tokens().Get(ctx, hash(hand))
				require.ErrorIs(t, err, metastore.ErrNotFound, "a token outlived its account")
			}
			return nil
		})
	}
}

func sharedEvents(t *testing.T, stores []metastore.Store) {
	const each = 10
	ctx := t.Context()
	atOnce(t, stores, func(s metastore.Store, hand int) error {
		last := int64(0)
		for n := range each {
			e := model.Event{InstanceID: "i", Message: fmt.Sprintf("%d %d", hand, n), Time: at(n)}
			if err := s.Update(ctx, func(tx metastore.Tx) error { return tx.Events().Append(ctx, &e) }); err != nil {
				return err
			}
			if e.ID <= last {
				return fmt.Errorf("event %d after %d", e.ID, last)
			}
			last = e.ID
		}
		return nil
	})
	es := read(t, stores[0], func(ctx context.Context, tx metastore.Tx) ([]model.Event, error) {
		return tx.Events().List(ctx, "i", 0)
	})
	require.Len(t, es, processes*hands*each)
	seen := map[string]bool{}
	for _, e := range es {
		require.False(t, seen[e.Message], e.Message)
		seen[e.Message] = true
	}
}
