package zk_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// starter is the thread that starts tests' processes: it stays, see testenv.StartChild.
const starter = "github.com/huker/huker/internal/testenv.init.func1.1"

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreAnyFunction(starter))
	t.Run("suite", func(t *testing.T) {
		e := zktest.Start(t, 1)
		admin := e.Root(t)
		coordtest.Run(t, coordtest.Harness{
			Open: func(t *testing.T) coord.Store { return e.Root(t) },
			OpenCuttable: func(t *testing.T) (coord.Store, func(), func()) {
				proxy := coordtest.NewProxy(t, e.Servers[0].Address)
				cfg := e.Config(t, zk.RootPrincipal)
				cfg.Servers = []string{proxy.Address}
				return zktest.OpenConfig(t, cfg), proxy.Cut, proxy.Mend
			},
			Kill:       func(*testing.T) { e.Servers[0].Kill() },
			Revive:     func(t *testing.T) { e.Servers[0].Launch(t); e.AwaitUp(t, 0) },
			Gatekeeper: func(*testing.T) coord.Gatekeeper { return zk.NewGatekeeper(admin) },
			OpenAs:     func(t *testing.T, principal string) coord.Store { return e.Open(t, principal) },
		})
	})
}
