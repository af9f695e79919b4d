package rabbitmq_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/bustest"
	"github.com/huker/huker/internal/bus/rabbitmq"
	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
	"github.com/huker/huker/internal/coord/coordtest"
)

func testLog() *slog.Logger {
	if os.Getenv("HUKER_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func open(t *testing.T, cfg rabbitmq.Config) *rabbitmq.Bus {
	t.Helper()
	cfg.Log, cfg.RetryFirst = testLog(), 20*time.Millisecond
	b, err := rabbitmq.Open(context.WithoutCancel(t.Context()), cfg)
	require.NoError(t, err)
	return b
}

// mortal is the heartbeat of servers that are to die.
const mortal = time.Second

// starter is the thread that starts tests' processes: it stays, see testenv.StartChild.
const starter = "github.com/huker/huker/internal/testenv.init.func1.1"

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction(starter))
	t.Run("suite", func(t *testing.T) {
		s := rabbitmqtest.Start(t)
		bustest.Run(t, bustest.Harness{
			Open: func(t *testing.T) bus.Bus { return open(t, s.Config(t, rabbitmqtest.Root)) },
			OpenKillable: func(t *testing.T) (bus.Bus, func()) {
				proxy := coordtest.NewProxy(t, s.Address)
				cfg := s.Config(t, rabbitmqtest.Root)
				cfg.Servers, cfg.Heartbeat = []string{proxy.Address}, mortal
				b := open(t, cfg)
				t.Cleanup(func() { _ = b.Close() })
				return b, proxy.Cut
			},
			RedeliveredWithin: 20 * time.Second,
			Kill:              func(*testing.T) { s.Kill() },
			Revive:            func(t *testing.T) { s.Up(t) },
			Gatekeeper:        func(t *testing.T) bus.Gatekeeper { return gatekeeper(t, s) },
			OpenAs:            func(t *testing.T, principal string) bus.Bus { return open(t, s.Config(t, principal)) },
		})
	})
}

func gatekeeper(t *testing.T, s *rabbitmqtest.Server) *rabbitmq.Gatekeeper {
	t.Helper()
	admin := open(t, s.Config(t, rabbitmqtest.Root))
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	return rabbitmq.NewGatekeeper(admin, rabbitmq.GateConfig{
		Management: s.Management, TLS: s.TLS(t, rabbitmqtest.Root), Username: rabbitmqtest.Root, Password: s.Password,
	})
}
