package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// RunCrash is for engines with a server: crash kills it with SIGKILL, in the middle of whatever it does, and has it started again. Nothing that was
// acknowledged may be missing afterwards, nothing half there, and nothing there twice; and nobody has to open their store anew.
func RunCrash(t *testing.T, open OpenShared, crash func() error) {
	crashes := 8
	if testing.Short() {
		crashes = 2
	}
	stores := openAll(t, open(t))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log ledger
	var g errgroup.Group
	for n := range processes * hands {
		s := stores[n%len(stores)]
		g.Go(func() error { return log.write(ctx, s, n) })
		g.Go(func() error { return log.count(ctx, s) })
	}
	g.Go(func() error { return log.look(ctx, stores[0]) })
	g.Go(func() error {
		defer stop()
		for n := range crashes {
			// Not before there is something to lose: every crash meets a server that answered since the last one.
			if err := log.await(ctx, int64(n+1)*processes*hands*3); err != nil {
				return err
			}
			if err := crash(); err != nil {
				return err
			}
		}
		return log.await(ctx, log.done.Load()+processes*hands*3)
	})
	require.NoError(t, g.Wait())
	log.check(t, stores[len(stores)-1])
}

// ledger is what the writers were told.
type ledger struct {
	done atomic.Int64 // writes that were acknowledged

	mu       sync.Mutex
	writes   map[string]error // by message: nil, metastore.ErrUnknown, or metastore.ErrUnavailable
	counted  int
	unknown  int
	slowest  time.Duration
	lookedAt int
}

func message(writer, n int) string { return fmt.Sprintf("%d %d", writer, n) }

// write appends events, each together with a secret that says which was the last, until ctx ends.
func (l *ledger) write(ctx context.Context, s metastore.Store, writer int) error {
	for n := 0; ctx.Err() == nil; n++ {
		started := time.Now()
		err := s.Update(context.WithoutCancel(ctx), func(tx metastore.Tx) error {
			ctx := context.WithoutCancel(ctx)
			e := model.Event{InstanceID: "i", Message: message(writer, n), Time: at(n)}
			return errors.Join(tx.Events().Append(ctx, &e), tx.Secrets().Put(ctx, "last", fmt.Sprint(writer), fmt.Append(nil, n)))
		})
		if err != nil && !errors.Is(err, metastore.ErrUnknown) && !errors.Is(err, metastore.ErrUnavailable) {
			return fmt.Errorf("write %s: %w", message(writer, n), err)
		}
		l.mu.Lock()
		if l.writes == nil {
			l.writes = map[string]error{}
		}
		l.writes[message(writer, n)] = err
		l.slowest = max(l.slowest, time.Since(started))
		l.mu.Unlock()
		if err == nil {
			l.done.Add(1)
		}
	}
	return nil
}

// count adds one to a counter that everybody shares, until ctx ends.
func (l *ledger) count(ctx context.Context, s metastore.Store) error {
	for ctx.Err() == nil {
		err := increment(context.WithoutCancel(ctx), s, "counter")
		l.mu.Lock()
		switch {
		case err == nil:
			l.counted++
		case errors.Is(err, metastore.ErrUnknown):
			l.unknown++
		case !errors.Is(err, metastore.ErrUnavailable):
			l.mu.Unlock()
			return fmt.Errorf("count: %w", err)
		}
		l.mu.Unlock()
	}
	return nil
}

// look reads all the time: Views have nothing to fear from a crash but to wait.
func (l *ledger) look(ctx context.Context, s metastore.Store) error {
	ctx2 := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		err := s.View(ctx2, func(tx metastore.Tx) error {
			_, err := tx.Events().List(ctx2, "i", 10)
			return err
		})
		if err != nil && !errors.Is(err, metastore.ErrUnavailable) {
			return fmt.Errorf("look: %w", err)
		}
		l.lookedAt++
	}
	return nil
}

// await waits until so many writes have been acknowledged.
func (l *ledger) await(ctx context.Context, writes int64) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for l.done.Load() < writes {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d writes came to pass: %w", l.done.Load(), writes, ctx.Err())
		}
	}
	return nil
}

func (l *ledger) check(t *testing.T, s metastore.Store) {
	t.Helper()
	ctx := t.Context()
	view(t, s, func(tx metastore.Tx) error {
		es, err := tx.Events().List(ctx, "i", 0)
		require.NoError(t, err)
		there := map[string]bool{}
		for _, e := range es {
			require.False(t, there[e.Message], "%s is there twice", e.Message)
			there[e.Message] = true
		}
		unknown, unavailable, last := 0, 0, map[int]int{}
		for m, err := range l.writes {
			var writer, n int
			_, serr := fmt.Sscan(m, &writer, &n)
			require.NoError(t, serr)
			switch {
			case err == nil:
				require.True(t, there[m], "%s was acknowledged, and is gone", m)
			case errors.Is(err, metastore.ErrUnknown):
				unknown++
			default:
				unavailable++
				require.False(t, there[m], "%s is there, though it was said not to be", m)
			}
			if there[m] {
				last[writer] = max(last[writer], n)
			}
			delete(there, m)
		}
		require.Empty(t, there, "written by nobody")
		for writer, n := range last {
			v, err := tx.Secrets().Get(ctx, "last", fmt.Sprint(writer))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(n), string(v), "half a transaction")
		}
		q, err := tx.Quotas().Get(ctx, "counter")
		require.NoError(t, err)
		require.GreaterOrEqual(t, q.Instances, l.counted, "a count is gone")
		require.LessOrEqual(t, q.Instances, l.counted+l.unknown, "a count is there twice")
		t.Logf("%d writes, %d of them not known and %d not possible; %d counts, %d not known; %d looks; the slowest write took %s", len(l.writes),
			unknown, unavailable, l.counted+l.unknown, l.unknown, l.lookedAt, l.slowest.Round(time.Millisecond))
		return nil
	})
}
