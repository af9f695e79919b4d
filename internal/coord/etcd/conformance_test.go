package etcd_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
)

func TestMain(m *testing.M) {
	etcdtest.Serve()
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("suite", func(t *testing.T) {
		e := etcdtest.StartProcess(t)
		admin := e.Root(t)
		coordtest.Run(t, coordtest.Harness{
			Open: func(t *testing.T) coord.Store { return e.Root(t) },
			OpenCuttable: func(t *testing.T) (coord.Store, func(), func()) {
				proxy := coordtest.NewProxy(t, e.Address)
				cfg := e.Config(t, etcd.RootPrincipal)
				cfg.Endpoints = []string{"https://" + proxy.Address}
				s, err := etcd.Dial(context.Background(), cfg)
				require.NoError(t, err)
				t.Cleanup(func() { _ = s.Close() })
				return s, proxy.Cut, proxy.Mend
			},
			Kill:       func(*testing.T) { e.Down() },
			Revive:     func(t *testing.T) { e.Up(t) },
			Gatekeeper: func(*testing.T) coord.Gatekeeper { return etcd.NewGatekeeper(admin) },
			OpenAs:     func(t *testing.T, principal string) coord.Store { return e.Open(t, principal) },
		})
	})
}
