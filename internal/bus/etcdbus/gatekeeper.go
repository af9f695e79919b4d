package etcdbus

import (
	"context"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord/etcd"
)

// Gatekeeper is bus.Gatekeeper on etcd. It shares principals with coord's: Admit of either adds to what the other gave, Expel of
// either takes back both.
type Gatekeeper struct{ inner *etcd.Gatekeeper }

var _ bus.Gatekeeper = (*Gatekeeper)(nil)

// NewGatekeeper gives the bus's side of a gatekeeper.
func NewGatekeeper(g *etcd.Gatekeeper) *Gatekeeper { return &Gatekeeper{inner: g} }

// Admit implements bus.Gatekeeper.
func (g *Gatekeeper) Admit(ctx context.Context, principal string, queues []string) error {
	for _, q := range queues {
		if err := bus.CheckQueue(q); err != nil {
			return err
		}
	}
	return mapError("admit "+principal, g.inner.AdmitQueues(ctx, principal, queues))
}

// Expel implements bus.Gatekeeper.
func (g *Gatekeeper) Expel(ctx context.Context, principal string) error {
	return mapError("expel "+principal, g.inner.Expel(ctx, principal))
}
