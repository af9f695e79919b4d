package rabbitmq_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
)

// TestKilledWhileQueuesAreMade kills RabbitMQ at several moments after a queue was asked for: what Publish answered is there, and queues that were
// half made are usable.
func TestKilledWhileQueuesAreMade(t *testing.T) {
	if testing.Short() {
		t.Skip("starts RabbitMQ several times")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction(starter))
	t.Run("killed", func(t *testing.T) {
		s := rabbitmqtest.Start(t)
		b := open(t, s.Config(t, rabbitmqtest.Root))
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		for i, after := range []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second, 1700 * time.Millisecond} {
			q := fmt.Sprintf("half-made-%d", i)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			answered := make(chan error, 1)
			go func() { answered <- b.Publish(ctx, q, bus.Message{ID: "m"}) }()
			time.Sleep(after) // the moment is what is tested
			s.Kill()
			s.Up(t)
			require.NoError(t, <-answered, "killed %s after", after)
			got := make(chan string, 8)
			serving, stop := context.WithCancel(ctx)
			served := make(chan error, 1)
			go func() {
				served <- b.Serve(serving, q, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
					got <- m.ID
					return nil, nil
				})
			}()
			select {
			case id := <-got:
				require.Equal(t, "m", id)
			case <-ctx.Done():
				require.Fail(t, "a message that was answered for is lost", "killed %s after", after)
			}
			stop()
			require.NoError(t, <-served)
			cancel()
		}
	})
}

// TestKilledInAStorm kills RabbitMQ while many publish to queues that are new and old: each message that was answered for is handled.
func TestKilledInAStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("starts RabbitMQ several times")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction(starter))
	t.Run("storm", func(t *testing.T) {
		s := rabbitmqtest.Start(t)
		b := open(t, s.Config(t, rabbitmqtest.Root))
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		const queues, publishers = 4, 16
		name := func(i int) string { return fmt.Sprintf("storm-%d", i%queues) }
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		var mu sync.Mutex
		var answered []string
		storm, calm := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for p := range publishers {
			wg.Go(func() {
				for i := 0; storm.Err() == nil; i++ {
					id := fmt.Sprintf("%d-%d", p, i)
					// With the storm's end a message may be stored or not: it does not count.
					if b.Publish(storm, name(p), bus.Message{ID: id, Body: []byte(strings.Repeat("x", 1000))}) == nil {
						mu.Lock()
						answered = append(answered, id)
						mu.Unlock()
					}
				}
			})
		}
		for range 3 {
			time.Sleep(2 * time.Second) // let it blow
			s.Kill()
			s.Up(t)
		}
		time.Sleep(2 * time.Second)
		calm()
		wg.Wait()
		require.NotEmpty(t, answered)

		seen := map[string]int{}
		serving, stop := context.WithCancel(ctx)
		for i := range queues {
			wg.Go(func() {
				_ = b.Serve(serving, name(i), 32, func(_ context.Context, m bus.Message) ([]byte, error) {
					mu.Lock()
					defer mu.Unlock()
					seen[m.ID]++
					return nil, nil
				})
			})
		}
		missing := func() (n int) {
			mu.Lock()
			defer mu.Unlock()
			for _, id := range answered {
				if seen[id] == 0 {
					n++
				}
			}
			return n
		}
		require.Eventually(t, func() bool { return missing() == 0 }, time.Minute, 100*time.Millisecond, "messages that were answered for are lost")
		stop()
		wg.Wait()
		t.Logf("%d messages answered for in a storm with 3 kills, %d handled", len(answered), len(seen))
	})
}
