package zk_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// TestKilledMidCall: what was answered is there after each kill -9, and nothing is there that was not asked for.
func TestKilledMidCall(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	reader := e.Root(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const writers = 4
	var acked, asked [writers]atomic.Int64
	var unavailable atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range writers {
		s := e.Root(t)
		wg.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				asked[w].Store(n)
				// Now and then a key that is made and deleted, so that all kinds of change are cut short.
				ops := []coord.Op{coord.Put(fmt.Sprintf("/w%d", w), []byte(strconv.FormatInt(n, 10)), nil)}
				if side := fmt.Sprintf("/side/%d/x", w); n%2 == 0 {
					ops = append(ops, coord.Put(side, nil, nil))
				} else {
					ops = append(ops, coord.Delete(side, 0))
				}
				callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				err := s.Apply(callCtx, ops...)
				cancel()
				switch {
				case err == nil:
					acked[w].Store(n)
				case errors.Is(err, coord.ErrUnavailable):
					unavailable.Add(1)
				default:
					errs <- err
					return
				}
			}
		})
	}
	for range 3 {
		var before [writers]int64
		for w := range writers { // however slow the machine is
			from := acked[w].Load()
			require.Eventually(t, func() bool { return acked[w].Load() >= from+20 }, 60*time.Second, time.Millisecond)
			before[w] = acked[w].Load()
		}
		e.Servers[0].Kill()
		e.Servers[0].Launch(t)
		e.AwaitUp(t, 0)
		for w := range writers {
			n, err := strconv.ParseInt(string(get(t, reader, fmt.Sprintf("/w%d", w)).Value), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, before[w], "acknowledged writes are kept")
			require.LessOrEqual(t, n, asked[w].Load())
		}
	}
	stop()
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err, "a server that is away gives ErrUnavailable, and nothing else")
	}
	require.Positive(t, unavailable.Load(), "no call was cut short: the test tested nothing")
}

// TestCounterUnderLeaders: clients raise one counter by compare-and-set while leaders are killed. Every acknowledged increment counts
// once, and none counts that nobody asked for.
func TestCounterUnderLeaders(t *testing.T) {
	long(t)
	e := zktest.Start(t, 3)
	first := e.Root(t)
	put(t, first, "/n", "0")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var acked, ambiguous, conflicts atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 6)
	for range 6 {
		s := e.Root(t)
		wg.Go(func() {
			for ctx.Err() == nil {
				at, err := s.Get(context.WithoutCancel(ctx), "/n")
				if errors.Is(err, coord.ErrUnavailable) {
					continue
				}
				if err != nil {
					errs <- err
					return
				}
				n, _ := strconv.Atoi(string(at.Value))
				switch err := s.Apply(context.WithoutCancel(ctx), coord.Update("/n", []byte(strconv.Itoa(n+1)), at.Revision)); {
				case err == nil:
					acked.Add(1)
				case errors.Is(err, coord.ErrUnavailable):
					ambiguous.Add(1)
				case errors.Is(err, coord.ErrConflict):
					conflicts.Add(1)
				default:
					errs <- err
					return
				}
			}
		})
	}
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		leader := e.Leader(t)
		e.Servers[leader].Kill()
		e.Leader(t)
		before := acked.Load()
		require.Eventually(t, func() bool { return acked.Load() > before }, 30*time.Second, 10*time.Millisecond, "it goes on with the others")
		e.Servers[leader].Launch(t)
		e.AwaitUp(t, leader)
	}
	stop()
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	n, err := strconv.ParseInt(string(get(t, first, "/n").Value), 10, 64)
	require.NoError(t, err)
	t.Logf("counter %d, acknowledged %d, ambiguous %d, conflicts %d", n, acked.Load(), ambiguous.Load(), conflicts.Load())
	require.GreaterOrEqual(t, n, acked.Load())
	require.LessOrEqual(t, n, acked.Load()+ambiguous.Load())
	require.Positive(t, conflicts.Load())
}

// TestReadsOnAnyServer: what one client was answered, another one reads at once, on whatever server.
func TestReadsOnAnyServer(t *testing.T) {
	long(t)
	e := zktest.Start(t, 3)
	var stores []coord.Store
	for _, server := range e.Servers {
		cfg := e.Config(t, "root")
		cfg.Servers = []string{server.Address}
		stores = append(stores, zktest.OpenConfig(t, cfg))
	}
	ctx := soon(t)
	for i := range 100 {
		writer, reader := stores[i%3], stores[(i+1)%3]
		value := strconv.Itoa(i)
		require.NoError(t, writer.Apply(ctx, coord.Put("/k", []byte(value), nil)))
		at, err := reader.Get(ctx, "/k")
		require.NoError(t, err)
		require.Equal(t, value, string(at.Value))
		require.NoError(t, stores[(i+2)%3].Apply(ctx, coord.Update("/k", []byte(value), at.Revision)), "no conflict because a server lags")
		entries, err := reader.List(ctx, "/")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.NotEqual(t, at.Revision, entries[0].Revision)
	}
}
