package rabbitmq_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/rabbitmq"
	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
)

// TestManyQueuesAtOnce has more queues asked for at once than RabbitMQ makes in the time that one has: all are made, on the first connection.
func TestManyQueuesAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a thousand queues")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction(starter))
	t.Run("many", func(t *testing.T) {
		s := rabbitmqtest.Start(t)
		log := &lines{}
		cfg := s.Config(t, rabbitmqtest.Root)
		cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		b, err := rabbitmq.Open(context.WithoutCancel(t.Context()), cfg)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if err := b.Publish(ctx, fmt.Sprintf("many-%d", i), bus.Message{ID: "m"}); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
		t.Logf("made in %s", time.Since(began))
		require.Empty(t, log.String(), "the connection was lost on the way")
	})
}

// lines is a log that may be written to by many.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
