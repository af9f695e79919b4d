package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
)

func echo(_ context.Context, m bus.Message) ([]byte, error) {
	return append([]byte(m.Kind+":"), m.Body...), nil
}

func testCall(t *testing.T, h Harness) {
	b, s := open(t, h), open(t, h)
	q := queue(t, b)
	serve(t, s, q, 4, func(ctx context.Context, m bus.Message) ([]byte, error) {
		if _, ok := ctx.Deadline(); !ok {
			return nil, errors.New("a call's handler should know how long it has")
		}
		if string(m.Body) == "nothing" {
			return nil, nil
		}
		return echo(ctx, m)
	})
	for i := range 5 {
		got, err := b.Call(soon(t), q, bus.Message{Kind: "echo", Body: fmt.Append(nil, i)})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("echo:%d", i), string(got))
	}
	got, err := b.Call(soon(t), q, bus.Message{Body: []byte("nothing")})
	require.NoError(t, err)
	require.Empty(t, got)
	got, err = b.Call(soon(t), q, bus.Message{ID: "same", Kind: "echo", Body: []byte("1")})
	require.NoError(t, err)
	require.Equal(t, "echo:1", string(got))
	got, err = b.Call(soon(t), q, bus.Message{ID: "same", Kind: "echo", Body: []byte("2")})
	require.NoError(t, err)
	require.Equal(t, "echo:2", string(got), "an old reply is not taken for a new one")
	// A server that comes later answers too.
	late := queue(t, b)
	timer := time.AfterFunc(300*time.Millisecond, func() { serve(t, s, late, 1, echo) })
	defer timer.Stop()
	got, err = b.Call(soon(t), late, bus.Message{Kind: "late"})
	require.NoError(t, err)
	require.Equal(t, "late:", string(got))
}

type coded struct{}

func (coded) Error() string     { return "it is not there" }
func (coded) ErrorCode() string { return "not_found" }

func testCallErrors(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var calls atomic.Int32
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		calls.Add(1)
		switch m.Kind {
		case "coded":
			return []byte("ignored"), fmt.Errorf("look up: %w", coded{})
		case "rejected":
			return nil, bus.ErrRejected
		case "panic":
			panic("a handler's mistake")
		default:
			return nil, errors.New("plain")
		}
	})
	for _, c := range []struct{ kind, code, message string }{
		{"coded", "not_found", "look up: it is not there"}, {"plain", "", "plain"}, {"rejected", "", bus.ErrRejected.Error()}, {"panic", "", "the handler panicked"},
	} {
		body, err := b.Call(soon(t), q, bus.Message{Kind: c.kind})
		var ce *bus.CallError
		require.ErrorAs(t, err, &ce, c.kind)
		require.Equal(t, c.code, ce.Code)
		require.Equal(t, c.message, ce.Message)
		require.Empty(t, body)
	}
	require.EqualValues(t, 4, calls.Load(), "a call that failed is done with")
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func testCallTimeout(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := b.Call(ctx, q, bus.Message{Body: []byte("nobody listens")})
	require.ErrorIs(t, err, bus.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(start), 2*time.Second)
	time.Sleep(100 * time.Millisecond)
	empty(t, b, q) // what nobody waits for any more is not handled

	var handled log
	ended := make(chan struct{})
	serve(t, b, q, 1, func(ctx context.Context, m bus.Message) ([]byte, error) {
		handled.add(m)
		<-ctx.Done() // the caller's deadline is the handler's
		close(ended)
		return nil, ctx.Err()
	})
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = b.Call(ctx, q, bus.Message{})
	require.ErrorIs(t, err, bus.ErrTimeout)
	select {
	case <-ended:
	case <-time.After(patience):
		require.Fail(t, "the handler was not told that its time is over")
	}
	time.Sleep(300 * time.Millisecond)
	require.Len(t, handled.all(), 1, "it does not come again")
}

func testCallsAtOnce(t *testing.T, h Harness) {
	b, s := open(t, h), open(t, h)
	q := queue(t, b)
	serve(t, s, q, 8, echo)
	var wg sync.WaitGroup
	errs := make(chan error, 200)
	for i := range 200 {
		wg.Go(func() {
			got, err := b.Call(soon(t), q, bus.Message{Kind: "k", Body: fmt.Append(nil, i)})
			if err == nil && string(got) != fmt.Sprintf("k:%d", i) {
				err = fmt.Errorf("call %d was answered %q", i, got)
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

func testCallLatency(t *testing.T, h Harness) {
	b, s := open(t, h), open(t, h)
	q := queue(t, b)
	serve(t, s, q, 1, echo)
	var times []time.Duration
	for range 60 {
		start := time.Now()
		_, err := b.Call(soon(t), q, bus.Message{})
		require.NoError(t, err)
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	t.Logf("call: median %s, 95 %% %s", times[len(times)/2], times[len(times)*95/100])
	// The aim is 15 ms (a benchmark measures it); a loaded machine under the race detector gets room, polling would not fit in.
	require.Less(t, times[len(times)/2], 150*time.Millisecond)
}

func testCallBig(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	big := bytes.Repeat([]byte("x"), bus.MaxBody)
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		if m.Kind == "more" {
			return append(m.Body, 'x'), nil
		}
		return m.Body, nil
	})
	got, err := b.Call(soon(t), q, bus.Message{Body: big})
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, got))
	_, err = b.Call(soon(t), q, bus.Message{Kind: "more", Body: big})
	var ce *bus.CallError
	require.ErrorAs(t, err, &ce, "a reply that is too large is the caller's to know")
}
