package bustest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
)

// hang handles a message until its context ends.
func hang(started chan<- bus.Message) bus.Handler {
	return func(ctx context.Context, m bus.Message) ([]byte, error) {
		started <- m
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func receive(t *testing.T, ch <-chan bus.Message, within time.Duration) bus.Message {
	t.Helper()
	select {
	case m := <-ch:
		return m
	case <-time.After(within):
		require.Fail(t, "no message came")
		return bus.Message{}
	}
}

// testServeStops: a server that stops gives back what it has not done, at once.
func testServeStops(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	started := make(chan bus.Message, 10)
	stop := serve(t, b, q, 2, hang(started))
	publish(t, b, q, "a")
	publish(t, b, q, "b")
	receive(t, started, patience)
	receive(t, started, patience)
	stop()
	var got log
	start := time.Now()
	serve(t, open(t, h), q, 1, got.handler())
	got.await(t, 2)
	require.Less(t, time.Since(start), time.Second)
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters)

	// One that finishes although it was told to stop has its work counted.
	q2 := queue(t, b)
	begun := make(chan bus.Message, 1)
	stop = serve(t, b, q2, 1, func(ctx context.Context, m bus.Message) ([]byte, error) {
		begun <- m
		<-ctx.Done()
		return nil, nil
	})
	publish(t, b, q2, "done")
	receive(t, begun, patience)
	stop()
	empty(t, b, q2)
}

func testServerClosed(t *testing.T, h Harness) {
	b, s := open(t, h), h.Open(t)
	q := queue(t, b)
	started := make(chan bus.Message, 1)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.WithoutCancel(t.Context()), q, 1, hang(started)) }()
	publish(t, b, q, "a")
	receive(t, started, patience)
	require.NoError(t, s.Close())
	require.NoError(t, <-served, "Close ends Serve")
	var got log
	start := time.Now()
	serve(t, b, q, 1, got.handler())
	got.await(t, 1)
	require.Less(t, time.Since(start), time.Second, "what a closed server had in hand is free at once")
}

func testServerDies(t *testing.T, h Harness) {
	needKillable(t, h)
	b := open(t, h)
	q := queue(t, b)
	doomed, kill := h.OpenKillable(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	started := make(chan bus.Message, 1)
	stopped := make(chan bool, 1)
	go func() {
		_ = doomed.Serve(ctx, q, 1, func(ctx context.Context, m bus.Message) ([]byte, error) {
			started <- m
			<-ctx.Done()
			stopped <- true
			return nil, nil // it believes that it is done: too late
		})
	}()
	publish(t, b, q, "a")
	first := receive(t, started, patience)
	require.Equal(t, 1, first.Delivery)
	second := make(chan bus.Message, 10)
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) { second <- m; return nil, nil })
	select {
	case <-second:
		require.Fail(t, "delivered to another while the first lives")
	case <-time.After(300 * time.Millisecond):
	}
	kill()
	m := receive(t, second, h.RedeliveredWithin)
	require.Equal(t, first.ID, m.ID)
	require.Equal(t, 2, m.Delivery)
	select {
	case <-stopped:
	case <-time.After(time.Second):
		require.Fail(t, "a server that may have lost its message must stop handling it")
	}
	cancel()
	_ = doomed.Close()
	select {
	case <-second:
		require.Fail(t, "it came again")
	case <-time.After(500 * time.Millisecond):
	}
}

func testCallServerDies(t *testing.T, h Harness) {
	needKillable(t, h)
	b := open(t, h)
	q := queue(t, b)
	doomed, kill := h.OpenKillable(t)
	defer doomed.Close()
	started := make(chan bus.Message, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = doomed.Serve(ctx, q, 1, hang(started)) }()
	answered := make(chan error, 1)
	go func() {
		got, err := b.Call(soon(t), q, bus.Message{Kind: "k"})
		if err == nil && string(got) != "k:" {
			err = fmt.Errorf("answer %q", got)
		}
		answered <- err
	}()
	receive(t, started, patience)
	kill()
	serve(t, b, q, 1, echo)
	select {
	case err := <-answered:
		require.NoError(t, err, "another server answers")
	case <-time.After(h.RedeliveredWithin):
		require.Fail(t, "no answer")
	}
}

func testManyQueues(t *testing.T, h Harness) {
	b := open(t, h)
	base := queue(t, b)
	n := 300
	if testing.Short() {
		n = 30
	}
	start := time.Now()
	// At once: an engine may take its time to make one queue, not the sum of all.
	published := make(chan error, n)
	for i := range n {
		go func() {
			published <- b.Publish(soon(t), fmt.Sprintf("%s.%d", base, i), bus.Message{Body: fmt.Append(nil, i)})
		}()
	}
	for range n {
		require.NoError(t, <-published)
	}
	var got log
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, n)
	for i := range n {
		go func() { ended <- b.Serve(ctx, fmt.Sprintf("%s.%d", base, i), 1, got.handler()) }()
	}
	got.await(t, n)
	t.Logf("%d queues published, served and handled in %s", n, time.Since(start))
	cancel()
	for range n {
		require.NoError(t, <-ended)
	}
	dropped := make(chan error, n)
	for i := range n {
		go func() { dropped <- b.Drop(soon(t), fmt.Sprintf("%s.%d", base, i)) }()
	}
	for range n {
		require.NoError(t, <-dropped)
	}
}

func testCloseEnds(t *testing.T, h Harness) {
	b := h.Open(t)
	q := "bustest." + strings.ToLower(rand.Text())
	called := make(chan error, 1)
	go func() {
		_, err := b.Call(soon(t), q, bus.Message{})
		called <- err
	}()
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, b.Close())
	select {
	case err := <-called:
		require.Error(t, err)
	case <-time.After(patience):
		require.Fail(t, "Close leaves a call waiting")
	}
	require.ErrorIs(t, b.Publish(soon(t), q, bus.Message{}), bus.ErrUnavailable)
	_, err := b.Call(soon(t), q, bus.Message{})
	require.ErrorIs(t, err, bus.ErrUnavailable)
	require.ErrorIs(t, b.Serve(soon(t), q, 1, echo), bus.ErrUnavailable)
	require.NoError(t, b.Close(), "closing twice")
	other := open(t, h)
	require.NoError(t, other.Drop(soon(t), q))
}

func testEngineRestart(t *testing.T, h Harness) {
	needKill(t, h)
	b := open(t, h)
	q := queue(t, b)
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
		publish(t, b, q, want[i])
	}
	h.Kill(t)
	h.Revive(t)
	var got log
	serve(t, b, q, 1, got.handler())
	got.await(t, 50)
	require.Equal(t, want, got.bodies(), "what Publish answered is stored, in order")
}

func testEngineOutage(t *testing.T, h Harness) {
	needKill(t, h)
	b := open(t, h)
	q := queue(t, b)
	publish(t, b, q, "before")
	h.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.Publish(ctx, q, bus.Message{Body: []byte("unknown")}), bus.ErrUnavailable)
	_, err := b.Call(ctx, q, bus.Message{})
	require.Error(t, err)
	riding := make(chan error, 1)
	go func() { riding <- b.Publish(soon(t), q, bus.Message{Body: []byte("patient")}) }()
	var got log
	serve(t, b, q, 1, got.handler())
	h.Revive(t)
	require.NoError(t, <-riding, "who has time outlives the outage")
	eventually(t, "both come", func() bool {
		return slices.Contains(got.bodies(), "before") && slices.Contains(got.bodies(), "patient")
	})
}

// testServeAcrossRestarts has publishers, callers and servers at work while the engine is killed again and again: whatever was
// answered is done at least once, and in the end the queue is empty.
func testServeAcrossRestarts(t *testing.T, h Harness) {
	needKill(t, h)
	b := open(t, h)
	q := queue(t, b)
	var got log
	for range 2 {
		serve(t, open(t, h), q, 2, func(ctx context.Context, m bus.Message) ([]byte, error) {
			got.add(m)
			return echo(ctx, m)
		})
	}
	var answered, failed atomic.Int32
	stop := make(chan struct{})
	published := make(chan []string, 1)
	go func() {
		var ok []string
		for i := 0; ; i++ {
			select {
			case <-stop:
				published <- ok
				return
			default:
			}
			id := fmt.Sprintf("m%d", i)
			if b.Publish(soon(t), q, bus.Message{ID: id}) == nil {
				ok = append(ok, id)
			}
			_, err := b.Call(soon(t), q, bus.Message{Kind: "k"})
			if err == nil {
				answered.Add(1)
			} else if !errors.Is(err, bus.ErrUnavailable) {
				failed.Add(1)
			}
		}
	}()
	for range 4 {
		time.Sleep(400 * time.Millisecond)
		h.Kill(t)
		h.Revive(t)
	}
	time.Sleep(400 * time.Millisecond)
	close(stop)
	var ids []string
	select {
	case ids = <-published:
	case <-time.After(patience):
		require.Fail(t, "the publisher hangs")
	}
	require.NotEmpty(t, ids)
	require.Positive(t, answered.Load())
	require.Zero(t, failed.Load(), "calls with time to spare")
	eventually(t, "all that was stored is handled", func() bool {
		seen := map[string]bool{}
		for _, m := range got.all() {
			seen[m.ID] = true
		}
		for _, id := range ids {
			if !seen[id] {
				return false
			}
		}
		return true
	})
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func needRights(t *testing.T, h Harness) (bus.Gatekeeper, string) {
	t.Helper()
	if h.Gatekeeper == nil || h.OpenAs == nil {
		t.Skip("the engine has no rights here")
	}
	gate, principal := h.Gatekeeper(t), "guest."+strings.ToLower(rand.Text())
	t.Cleanup(func() { _ = gate.Expel(context.WithoutCancel(t.Context()), principal) })
	return gate, principal
}

func openAs(t *testing.T, h Harness, principal string) bus.Bus {
	t.Helper()
	b := h.OpenAs(t, principal)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func testRights(t *testing.T, h Harness) {
	gate, principal := needRights(t, h)
	b := open(t, h)
	own, other := queue(t, b), queue(t, b)
	near := own + "-x"
	t.Cleanup(func() { _ = b.Drop(context.WithoutCancel(t.Context()), near) })
	publish(t, b, other, "secret")
	publish(t, b, near, "secret")
	guest := openAs(t, h, principal)
	require.ErrorIs(t, guest.Serve(soon(t), own, 1, echo), bus.ErrDenied, "before it is admitted")

	require.NoError(t, gate.Admit(soon(t), principal, []string{own}))
	require.NoError(t, gate.Admit(soon(t), principal, []string{own}))
	guest = openAs(t, h, principal)
	var got log
	serve(t, guest, own, 2, func(ctx context.Context, m bus.Message) ([]byte, error) {
		got.add(m)
		if m.Kind == "fail" && m.Delivery < 2 {
			return nil, errors.New("once more")
		}
		if m.Kind == "reject" {
			return nil, bus.ErrRejected
		}
		return echo(ctx, m)
	})
	answer, err := b.Call(soon(t), own, bus.Message{Kind: "k", Body: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "k:x", string(answer))
	require.NoError(t, b.Publish(soon(t), own, bus.Message{Kind: "fail"}))
	require.NoError(t, b.Publish(soon(t), own, bus.Message{Kind: "reject"}))
	require.NoError(t, b.Publish(soon(t), own, bus.Message{Kind: "timed", Deadline: time.Now().Add(time.Minute)}))
	eventually(t, "a guest has all that serving needs", func() bool {
		letters, err := b.DeadLetters(t.Context(), own)
		return err == nil && len(letters) == 1 && len(got.all()) == 5
	})

	for _, q := range []string{other, near} {
		require.ErrorIs(t, guest.Serve(soon(t), q, 1, got.handler()), bus.ErrDenied, q)
		require.ErrorIs(t, guest.Publish(soon(t), q, bus.Message{}), bus.ErrDenied, q)
		_, err := guest.Call(soon(t), q, bus.Message{})
		require.ErrorIs(t, err, bus.ErrDenied, q)
		require.ErrorIs(t, guest.Drop(soon(t), q), bus.ErrDenied, q)
		_, err = guest.DeadLetters(soon(t), q)
		require.ErrorIs(t, err, bus.ErrDenied, q)
		var kept log
		serve(t, b, q, 1, kept.handler())
		kept.await(t, 1)
		require.Equal(t, []string{"secret"}, kept.bodies())
	}
	require.ErrorIs(t, gate.Admit(soon(t), principal, []string{"BAD"}), bus.ErrInvalid)
}

func testExpel(t *testing.T, h Harness) {
	gate, principal := needRights(t, h)
	takesTime(t, "a server that was thrown out learns it, and loses what it has in hand, by its session")
	b := open(t, h)
	q := queue(t, b)
	require.NoError(t, gate.Admit(soon(t), principal, []string{q}))
	guest := openAs(t, h, principal)
	started := make(chan bus.Message, 1)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	go func() { served <- guest.Serve(ctx, q, 1, hang(started)) }()
	publish(t, b, q, "a")
	receive(t, started, patience)
	require.NoError(t, gate.Expel(soon(t), principal))
	require.NoError(t, gate.Expel(soon(t), principal))
	select {
	case err := <-served:
		require.ErrorIs(t, err, bus.ErrDenied, "a server that was thrown out ends")
	case <-time.After(patience):
		require.Fail(t, "a server that was thrown out goes on")
	}
	var got log
	serve(t, b, q, 1, got.handler())
	got.await(t, 1) // what it had in hand is free again
}
