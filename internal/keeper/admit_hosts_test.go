package keeper

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// slowGate is a bus that takes its time over each host.
type slowGate struct {
	simGates
	within atomic.Int32
	open   chan struct{}
}

func (g *slowGate) Admit(ctx context.Context, _ string, _ []string) error {
	g.within.Add(1)
	defer g.within.Add(-1)
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Where a bus takes seconds for each host, hosts are admitted side by side, and what becomes of others is seen meanwhile.
func TestSlowAdmissionsHoldUpNothing(t *testing.T) {
	s := newSim(t)
	const hosts = 8
	for n := range hosts {
		s.host(string(rune('a'+n)), n)
	}
	gate := &slowGate{open: make(chan struct{})}
	k := s.keeper()
	k.cfg.AdmitHosts, k.e.Queues = true, gate
	s.runs(k)
	require.Eventually(t, func() bool { return gate.within.Load() == hosts }, 20*time.Second, 10*time.Millisecond, "one after the other")

	up := func(id string) (up bool) {
		require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) error {
			rows, err := tx.Hosts().List(t.Context())
			for _, h := range rows {
				if h.ID == id {
					up = h.Up
				}
			}
			return err
		}))
		return up
	}
	require.True(t, up("a"))
	require.NoError(t, s.store.Apply(t.Context(), coord.Delete(protocol.HostAliveKey("a"), 0)))
	require.Eventually(t, func() bool { return !up("a") }, 20*time.Second, 10*time.Millisecond, "its end is not written down")
	require.EqualValues(t, hosts, gate.within.Load())
	close(gate.open)
	require.Eventually(t, func() bool { return gate.within.Load() == 0 }, 20*time.Second, 10*time.Millisecond)
}

// A host that could not be admitted is tried again; one that was is left alone.
func TestAdmissionIsTriedAgain(t *testing.T) {
	s := newSim(t)
	s.host("a", 0)
	s.host("b", 1)
	k := s.keeper()
	k.cfg.AdmitHosts, k.cfg.Resync = true, 50*time.Millisecond
	keys := &countedKeys{refuse: 2}
	k.e.Keys = keys
	s.runs(k)
	require.Eventually(t, func() bool { return keys.admitted.Load() == 2 }, 20*time.Second, 10*time.Millisecond)
	rows := map[string]model.Host{"a": {ID: "a"}, "b": {ID: "b"}}
	for range 3 { // it is not asked again for those
		k.toAdmit(rows)
		require.Eventually(t, func() bool { return len(k.known) == 0 }, 20*time.Second, time.Millisecond)
	}
	require.EqualValues(t, 4, keys.asked.Load())
}

type countedKeys struct {
	simKeys
	refuse          int32
	asked, admitted atomic.Int32
}

func (c *countedKeys) Admit(context.Context, string, coord.Rights) error {
	if c.asked.Add(1) <= c.refuse {
		return coord.ErrUnavailable
	}
	c.admitted.Add(1)
	return nil
}
