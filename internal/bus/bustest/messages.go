package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
)

func testPublishServe(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 1, got.handler())
	deadline := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	sent := bus.Message{ID: "an id with / and é", Kind: "kind", Body: []byte("body\n\x00\xff"), Deadline: deadline}
	require.NoError(t, b.Publish(soon(t), q, sent))
	publish(t, b, q, "")
	got.await(t, 2)
	first := got.all()[0]
	require.True(t, deadline.Equal(first.Deadline))
	first.Deadline = sent.Deadline
	sent.Delivery = 1
	require.Equal(t, sent, first)
	second := got.all()[1]
	require.NotEmpty(t, second.ID, "the engine makes one")
	require.Empty(t, second.Body)
	require.True(t, second.Deadline.IsZero())
	time.Sleep(100 * time.Millisecond)
	require.Len(t, got.all(), 2, "what was acknowledged does not come again")
}

func testKept(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	publisher := h.Open(t)
	for i := range 5 {
		require.NoError(t, publisher.Publish(soon(t), q, bus.Message{Body: fmt.Append(nil, i)}))
	}
	require.NoError(t, publisher.Close())
	var got log
	serve(t, b, q, 1, got.handler())
	got.await(t, 5)
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, got.bodies())
}

func testOrder(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	const n = 100
	var want []string
	for i := range n / 2 {
		publish(t, b, q, fmt.Sprint(i))
	}
	serve(t, b, q, 1, got.handler())
	for i := n / 2; i < n; i++ {
		publish(t, b, q, fmt.Sprint(i))
	}
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	got.await(t, n)
	require.Equal(t, want, got.bodies())
}

func testConcurrency(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var now, most atomic.Int32
	var got log
	serve(t, b, q, 3, func(_ context.Context, m bus.Message) ([]byte, error) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
		got.add(m)
		return nil, nil
	})
	for i := range 30 {
		publish(t, b, q, fmt.Sprint(i))
	}
	got.await(t, 30)
	require.EqualValues(t, 3, most.Load(), "as many at once as asked for, and no more")
}

func testShare(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	const servers, n = 4, 120
	var got log
	var per [servers]atomic.Int32
	for i := range servers {
		serve(t, open(t, h), q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
			per[i].Add(1)
			time.Sleep(2 * time.Millisecond)
			got.add(m)
			return nil, nil
		})
	}
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("%03d", i))
		publish(t, b, q, want[i])
	}
	got.await(t, n)
	time.Sleep(100 * time.Millisecond)
	bodies := got.bodies()
	slices.Sort(bodies)
	require.Equal(t, want, bodies, "each once, while nothing fails")
	working := 0
	for i := range per {
		if per[i].Load() > 0 {
			working++
		}
	}
	require.Greater(t, working, 1, "the work is shared")
}

func testRetry(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		got.add(m)
		if string(m.Body) == "bad" && m.Delivery < 3 {
			return nil, errors.New("not yet")
		}
		return nil, nil
	})
	publish(t, b, q, "bad")
	publish(t, b, q, "good")
	got.await(t, 4)
	messages := got.all()
	var deliveries []int
	for _, m := range messages {
		if string(m.Body) == "bad" {
			deliveries = append(deliveries, m.Delivery)
			require.Equal(t, messages[0].ID, m.ID, "the id makes it recognizable")
		}
	}
	require.Equal(t, []int{1, 2, 3}, deliveries)
	require.Equal(t, "good", string(messages[1].Body), "others do not wait for one that failed")
	empty(t, b, q)
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func testPoison(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 2, func(_ context.Context, m bus.Message) ([]byte, error) {
		got.add(m)
		return nil, errors.New("never")
	})
	publish(t, b, q, "poison")
	eventually(t, "given up", func() bool {
		letters, err := b.DeadLetters(t.Context(), q)
		return err == nil && len(letters) == 1 && string(letters[0].Body) == "poison" && letters[0].Kind == "test"
	})
	require.Len(t, got.all(), bus.MaxDeliveries)
	for i, m := range got.all() {
		require.Equal(t, i+1, m.Delivery)
	}
	empty(t, b, q)
}

func testRejected(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		got.add(m)
		return nil, fmt.Errorf("nonsense: %w", bus.ErrRejected)
	})
	publish(t, b, q, "one")
	publish(t, b, q, "two")
	eventually(t, "given up at once", func() bool {
		letters, err := b.DeadLetters(t.Context(), q)
		return err == nil && len(letters) == 2
	})
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Equal(t, "one", string(letters[0].Body))
	require.Equal(t, got.all()[0].ID, letters[0].ID)
	require.Equal(t, 1, letters[0].Delivery)
	require.Len(t, got.all(), 2)
}

func testPanic(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		if got.add(m) == 1 {
			panic("a handler's mistake")
		}
		return nil, nil
	})
	publish(t, b, q, "x")
	got.await(t, 2)
	require.Equal(t, 2, got.all()[1].Delivery)
}

func testDuplicates(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	for i := range 3 {
		require.NoError(t, b.Publish(soon(t), q, bus.Message{ID: "same", Body: fmt.Append(nil, i)}))
	}
	require.NoError(t, b.Publish(soon(t), q, bus.Message{ID: "other", Body: []byte("other")}))
	var got log
	stop := serve(t, b, q, 1, got.handler())
	eventually(t, "the last", func() bool { return slices.Contains(got.bodies(), "other") })
	stop()
	// An engine may drop what is queued already, or deliver all: then the id tells.
	require.Equal(t, "0", got.bodies()[0])
	for _, m := range got.all()[:len(got.all())-1] {
		require.Equal(t, "same", m.ID)
	}
	require.NoError(t, b.Publish(soon(t), q, bus.Message{ID: "same", Body: []byte("again")}))
	serve(t, b, q, 1, got.handler())
	eventually(t, "once it is done, the same id may come again", func() bool { return slices.Contains(got.bodies(), "again") })
}

func testDeadline(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	require.NoError(t, b.Publish(soon(t), q, bus.Message{Body: []byte("late"), Deadline: time.Now().Add(50 * time.Millisecond)}))
	require.NoError(t, b.Publish(soon(t), q, bus.Message{Body: []byte("past"), Deadline: time.Now().Add(-time.Hour)}))
	require.NoError(t, b.Publish(soon(t), q, bus.Message{Body: []byte("in time"), Deadline: time.Now().Add(time.Hour)}))
	time.Sleep(100 * time.Millisecond)
	var got log
	serve(t, b, q, 1, got.handler())
	got.await(t, 1)
	time.Sleep(100 * time.Millisecond)
	require.Equal(t, []string{"in time"}, got.bodies())
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters)
}

func testSlowConsumer(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	release := make(chan struct{})
	var got log
	serve(t, b, q, 1, func(ctx context.Context, m bus.Message) ([]byte, error) {
		select {
		case <-release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		got.add(m)
		return nil, nil
	})
	const n = 300
	body := bytes.Repeat([]byte("x"), 16<<10)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for w := range 6 {
		wg.Go(func() {
			for i := range n / 6 {
				if b.Publish(t.Context(), q, bus.Message{ID: fmt.Sprintf("%d-%d", w, i), Body: body}) != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load(), "publishers do not wait for the consumer")
	close(release)
	got.await(t, n)
	ids := map[string]int{}
	for _, m := range got.all() {
		ids[m.ID]++
	}
	require.Len(t, ids, n)
}

func testLimits(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	var got log
	serve(t, b, q, 1, got.handler())
	big := bytes.Repeat([]byte{0xff}, bus.MaxBody)
	require.ErrorIs(t, b.Publish(soon(t), q, bus.Message{Body: append(big, 0)}), bus.ErrTooLarge)
	_, err := b.Call(soon(t), q, bus.Message{Body: append(big, 0)})
	require.ErrorIs(t, err, bus.ErrTooLarge)
	require.NoError(t, b.Publish(soon(t), q, bus.Message{Body: big}))
	got.await(t, 1)
	require.True(t, bytes.Equal(big, got.all()[0].Body))
	for _, name := range []string{"", "A", "a b", "a/b", "a_b", "é", "a\n", "*", "#", strings.Repeat("x", 300)} {
		require.ErrorIs(t, b.Publish(soon(t), name, bus.Message{}), bus.ErrInvalid, "%q", name)
		_, err := b.Call(soon(t), name, bus.Message{})
		require.ErrorIs(t, err, bus.ErrInvalid, "%q", name)
		require.ErrorIs(t, b.Serve(soon(t), name, 1, got.handler()), bus.ErrInvalid, "%q", name)
		require.ErrorIs(t, b.Drop(soon(t), name), bus.ErrInvalid, "%q", name)
		_, err = b.DeadLetters(soon(t), name)
		require.ErrorIs(t, err, bus.ErrInvalid, "%q", name)
	}
	require.ErrorIs(t, b.Serve(soon(t), q, 0, got.handler()), bus.ErrInvalid)
	_, err = b.Call(t.Context(), q, bus.Message{})
	require.ErrorIs(t, err, bus.ErrInvalid, "a call needs a deadline")
	require.ErrorIs(t, b.Publish(soon(t), q, bus.Message{ID: strings.Repeat("x", 300)}), bus.ErrInvalid)
}

func testDrop(t *testing.T, h Harness) {
	b := open(t, h)
	q := queue(t, b)
	near := q + "-x" // a name that begins alike
	for i := range 10 {
		publish(t, b, q, fmt.Sprint(i))
	}
	publish(t, b, near, "stays")
	t.Cleanup(func() { _ = b.Drop(context.WithoutCancel(t.Context()), near) })
	require.NoError(t, b.Drop(soon(t), q))
	require.NoError(t, b.Drop(soon(t), q), "twice is the same as once")
	empty(t, b, q)
	var got log
	serve(t, b, near, 1, got.handler())
	got.await(t, 1)

	reject := serve(t, b, q, 1, func(context.Context, bus.Message) ([]byte, error) { return nil, bus.ErrRejected })
	publish(t, b, q, "dead")
	eventually(t, "dead", func() bool { l, err := b.DeadLetters(t.Context(), q); return err == nil && len(l) == 1 })
	require.NoError(t, b.Drop(soon(t), q))
	letters, err := b.DeadLetters(soon(t), q)
	require.NoError(t, err)
	require.Empty(t, letters, "dead letters go too")
	publish(t, b, q, "a server that was there goes on")
	eventually(t, "served", func() bool { l, err := b.DeadLetters(t.Context(), q); return err == nil && len(l) == 1 })
	reject()
}
