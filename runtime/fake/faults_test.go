package fake_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

func spec(name string) runtime.Spec { return runtime.Spec{Name: name, Image: "fake"} }

func TestFaults(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	t.Run("the next calls fail", func(t *testing.T) {
		t.Parallel()
		e := fake.New()
		d := e.Open("o")
		e.Inject(fake.Fault{Op: fake.OpCreate, Times: 2, Err: broken})
		for range 2 {
			require.ErrorIs(t, d.Create(t.Context(), spec("a")), broken)
			_, err := d.Inspect(t.Context(), "a")
			require.ErrorIs(t, err, runtime.ErrNotFound, "nothing was done")
		}
		require.NoError(t, d.Create(t.Context(), spec("a")))
		require.Equal(t, 3, e.Calls(fake.OpCreate))
	})
	t.Run("an answer is lost", func(t *testing.T) {
		t.Parallel()
		e := fake.New()
		d := e.Open("o")
		e.Inject(fake.Fault{Op: fake.OpCreate, Times: 1, Err: broken, After: true})
		require.ErrorIs(t, d.Create(t.Context(), spec("a")), broken)
		_, err := d.Inspect(t.Context(), "a")
		require.NoError(t, err, "it was done")
	})
	t.Run("a call hangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := fake.New()
			d := e.Open("o")
			e.Inject(fake.Fault{Op: fake.OpList, Hang: true})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			begin := time.Now()
			_, err := d.List(ctx, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Hour, time.Since(begin))
		})
	})
	t.Run("a call is slow", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := fake.New()
			begin := time.Now()
			takeBack := e.Inject(fake.Fault{Delay: time.Minute})
			require.NoError(t, e.Open("o").Create(t.Context(), spec("a")))
			require.Equal(t, time.Minute, time.Since(begin))
			takeBack()
			require.NoError(t, e.Open("o").Remove(t.Context(), "a"))
			require.Equal(t, time.Minute, time.Since(begin))
		})
	})
	t.Run("only what is named, in turn", func(t *testing.T) {
		t.Parallel()
		e := fake.New()
		d := e.Open("o")
		e.Inject(fake.Fault{Name: "b", Times: 1, Err: runtime.ErrNoSpace})
		e.Inject(fake.Fault{Name: "b", Times: 1, Err: broken})
		require.NoError(t, d.Create(t.Context(), spec("a")))
		require.ErrorIs(t, d.Create(t.Context(), spec("b")), runtime.ErrNoSpace)
		require.ErrorIs(t, d.CreateVolume(t.Context(), "b", nil), broken)
		require.NoError(t, d.Create(t.Context(), spec("b")))
		e.Inject(fake.Fault{Err: broken})
		e.ClearFaults()
		require.NoError(t, d.Start(t.Context(), "b"))
	})
}

func TestDeathsFromBehind(t *testing.T) {
	t.Parallel()
	e := fake.New()
	d := e.Open("o")
	events, err := d.Events(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Create(t.Context(), spec("a")))
	require.ErrorIs(t, e.Exit("a", 1), runtime.ErrNotRunning)
	require.ErrorIs(t, e.OOM("b"), runtime.ErrNotFound)
	require.NoError(t, d.Start(t.Context(), "a"))
	require.NoError(t, e.OOM("a"))
	for _, want := range []runtime.EventKind{runtime.EventStarted, runtime.EventOOM, runtime.EventDied} {
		require.Equal(t, want, (<-events).Kind)
	}
	s, err := d.Inspect(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, s.OOM)
	e.LoseEvents(func() { require.NoError(t, d.Start(t.Context(), "a")) })
	require.NoError(t, e.Exit("a", 9))
	require.Equal(t, runtime.EventResync, (<-events).Kind)
	died := <-events
	require.Equal(t, runtime.EventDied, died.Kind)
	require.Equal(t, 9, died.ExitCode)
}

func TestStartHookLivesAsLongAsTheContainer(t *testing.T) {
	t.Parallel()
	e := fake.New()
	d := e.Open("o")
	began, ended := make(chan string, 1), make(chan string, 1)
	e.OnStart(func(ctx context.Context, p *fake.Process) {
		began <- p.Container.Name
		<-ctx.Done()
		ended <- p.Container.Name
	})
	require.NoError(t, d.Create(t.Context(), spec("a")))
	require.NoError(t, d.Start(t.Context(), "a"))
	require.Equal(t, "a", <-began)
	require.Empty(t, ended)
	require.NoError(t, d.Stop(t.Context(), "a", 0))
	require.Equal(t, "a", <-ended)
}

// Ten thousand instances are made, started, listed, restarted and removed in seconds.
func TestTenThousand(t *testing.T) {
	t.Parallel()
	const n = 10_000
	e := fake.New()
	d := e.Open("o")
	var guests atomic.Int64
	e.OnStart(func(ctx context.Context, _ *fake.Process) {
		guests.Add(1)
		<-ctx.Done()
		guests.Add(-1)
	})
	events, err := d.Events(t.Context())
	require.NoError(t, err)
	begin := time.Now()
	for i := range n {
		s := spec(fmt.Sprintf("c%d", i))
		s.Labels, s.Restart = map[string]string{"shard": fmt.Sprint(i % 10)}, true
		require.NoError(t, d.CreateVolume(t.Context(), s.Name, nil))
		require.NoError(t, d.Create(t.Context(), s))
		require.NoError(t, d.Start(t.Context(), s.Name))
	}
	all, err := d.List(t.Context(), map[string]string{"shard": "3"})
	require.NoError(t, err)
	require.Len(t, all, n/10)
	e.Restart()
	require.Eventually(t, func() bool { return guests.Load() == n }, 30*time.Second, 10*time.Millisecond)
	for i := range n {
		require.NoError(t, d.Remove(t.Context(), fmt.Sprintf("c%d", i)))
	}
	require.Eventually(t, func() bool { return guests.Load() == 0 }, 30*time.Second, 10*time.Millisecond)
	heard := map[runtime.EventKind]int{}
	for heard[runtime.EventRemoved] < n {
		heard[(<-events).Kind]++
	}
	require.Equal(t, map[runtime.EventKind]int{
		runtime.EventStarted: n, runtime.EventResync: 1, runtime.EventDied: n, runtime.EventRemoved: n,
	}, heard)
	t.Logf("took %v", time.Since(begin))
}
