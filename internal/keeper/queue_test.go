package keeper

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQueueGivesEachOnce(t *testing.T) {
	t.Parallel()
	q := newQueue()
	for range 3 {
		q.add("a")
	}
	q.add("b")
	first, ok := q.take(t.Context())
	require.True(t, ok)
	second, ok := q.take(t.Context())
	require.True(t, ok)
	require.Equal(t, []string{"a", "b"}, []string{first, second})
	q.add("a") // while it is worked on
	q.done("b")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, ok = q.take(ctx)
	require.False(t, ok, "two workers on the same instance")
	q.done("a")
	again, ok := q.take(t.Context())
	require.True(t, ok)
	require.Equal(t, "a", again, "what was added meanwhile is looked at again")
}

func TestQueueRetriesLater(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.add("a")
	pauses := []time.Duration{}
	for range 3 {
		id, ok := q.take(t.Context())
		require.True(t, ok)
		pauses = append(pauses, q.failed(id))
	}
	require.Equal(t, []time.Duration{minRetry, 2 * minRetry, 4 * minRetry}, pauses)
}

// Many workers and many adds: never two on the same id, and what was added last is always looked at after.
func TestQueueUnderLoad(t *testing.T) {
	t.Parallel()
	q := newQueue()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var busy, seen [5]atomic.Int64
	var asked [5]atomic.Int64
	ids := []string{"0", "1", "2", "3", "4"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				id, ok := q.take(ctx)
				if !ok {
					return
				}
				n := id[0] - '0'
				if busy[n].Add(1) != 1 {
					t.Error("two workers on", id)
				}
				seen[n].Store(asked[n].Load())
				busy[n].Add(-1)
				q.done(id)
			}
		}()
	}
	for i := range 5000 {
		asked[i%5].Add(1)
		q.add(ids[i%5])
	}
	require.Eventually(t, func() bool {
		for n := range ids {
			if seen[n].Load() != 1000 {
				return false
			}
		}
		return true
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	wg.Wait()
}
