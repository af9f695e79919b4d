package etcdbus_test

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
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
)

func TestMain(m *testing.M) {
	etcdtest.Serve()
	os.Exit(m.Run())
}

// Servers that are to die have short sessions; the others' must outlive the slow disk of a loaded machine, because a session that
// is lost means a second delivery.
const (
	mortal = 2 * time.Second
	steady = 15 * time.Second
)

// owned closes the store with the bus.
type owned struct {
	*etcdbus.Bus
	store *etcd.Store
}

func (o owned) Close() error {
	if err := o.Bus.Close(); err != nil {
		return err
	}
	return o.store.Close()
}

func on(store *etcd.Store, ttl time.Duration) bus.Bus {
	return owned{etcdbus.New(store, etcdbus.Config{SessionTTL: ttl, RetryFirst: 20 * time.Millisecond, Logger: testLog()}), store}
}

func testLog() *slog.Logger {
	if os.Getenv("HUKER_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("suite", func(t *testing.T) {
		e := etcdtest.StartProcess(t)
		admin := e.Root(t)
		bustest.Run(t, bustest.Harness{
			Open: func(t *testing.T) bus.Bus { return on(e.Root(t), steady) },
			OpenKillable: func(t *testing.T) (bus.Bus, func()) {
				proxy := coordtest.NewProxy(t, e.Address)
				cfg := e.Config(t, etcd.RootPrincipal)
				cfg.Endpoints = []string{"https://" + proxy.Address}
				s, err := etcd.Dial(context.Background(), cfg)
				require.NoError(t, err)
				b := on(s, mortal)
				t.Cleanup(func() { _ = b.Close() })
				return b, proxy.Cut
			},
			RedeliveredWithin: mortal + 8*time.Second,
			Kill:              func(*testing.T) { e.Down() },
			Revive:            func(t *testing.T) { e.Up(t) },
			Gatekeeper:        func(*testing.T) bus.Gatekeeper { return etcdbus.NewGatekeeper(etcd.NewGatekeeper(admin)) },
			OpenAs:            func(t *testing.T, principal string) bus.Bus { return on(e.Open(t, principal), steady) },
		})
	})
}
