package sysmgr_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// images is a depot whose answer a test gives.
type images struct {
	mu     sync.Mutex
	answer error
	asked  []string
}

func (i *images) Ensure(_ context.Context, ref string, sources []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append([]string{ref}, sources...)
	return i.answer
}

func (i *images) set(answer error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *images) last() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func testImages(t *testing.T, r *rig) {
	depot := &images{answer: context.DeadlineExceeded}
	r.cfg.Images, r.cfg.Resync = depot, shortResync
	r.start()
	q := r.request()
	q.Sources = []string{"https://10.0.0.2:8782"}
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeFetching)
	require.Equal(t, []string{image, "https://10.0.0.2:8782"}, depot.last())
	for range 10 {
		r.awaitResync()
		s, ok := r.published(q)
		require.True(t, ok)
		require.Equal(t, protocol.PhaseAbsent, s.Phase)
		require.Empty(t, s.Error, "an image on its way is no fault")
	}
	require.Zero(t, r.engine.Calls(fake.OpCreate))
	depot.set(runtime.ErrNoImage)
	r.awaitPublished(q, "nobody has it", func(s protocol.ContainerStatus) bool { return s.Error != "" })
	depot.set(nil)
	r.awaitPublished(q, "it comes about when the image is there", func(s protocol.ContainerStatus) bool { return running(s) && s.Error == "" })
}

func testTerms(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	q.Term = 2
	r.ensured(q)
	for range 2 {
		old := q
		old.Term, old.Generation, old.MemoryMB = 1, 9, 2048
		_, err := r.ensure(old)
		r.refused(err, protocol.CodeTermOver)
		r.refused(r.remove(protocol.RemoveRequest{Term: 1, Instance: q.Instance, Purge: true}), protocol.CodeTermOver)
		r.refused(r.call(protocol.KindHost, protocol.HostRequest{Term: 1}, nil), protocol.CodeTermOver)
		require.Equal(t, 512, r.inspect(q).Limits.MemoryMB)
		r.stop()
		r.start()
	}
	require.NoError(t, r.remove(protocol.RemoveRequest{Term: 3, Instance: q.Instance, Purge: true}))
	r.nothingLeft(q)
}

// ground is where a host takes its place.
type ground struct {
	mu    sync.Mutex
	fail  error
	joins []protocol.HostConfig
}

func (g *ground) Join(_ context.Context, c protocol.HostConfig) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail == nil {
		g.joins = append(g.joins, c)
	}
	return g.fail
}

func (g *ground) set(fail error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail, g.joins = fail, nil
}

func (g *ground) all() []protocol.HostConfig {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]protocol.HostConfig(nil), g.joins...)
}

func testPlace(t *testing.T, r *rig) {
	g := &ground{fail: errors.New("the network is in use")}
	r.cfg.Place = g
	r.start()
	c := protocol.HostConfig{Subnet: "10.88.3.0/24", Range: "10.88.0.0/16", Peers: []protocol.Peer{{Subnet: "10.88.4.0/24", Address: "10.0.0.4"}}}
	require.Error(t, r.call(protocol.KindHost, protocol.HostRequest{Term: 1, HostConfig: c}, nil))
	r.eventually("operators see why", func() bool {
		s, _, ok := r.host()
		return ok && s.Trouble == "the network is in use" && s.Config != c.Hash()
	})
	g.set(nil)
	require.NoError(t, r.call(protocol.KindHost, protocol.HostRequest{Term: 1, HostConfig: c}, nil))
	r.eventually("nodekeeper sees it", func() bool {
		s, _, ok := r.host()
		return ok && s.Trouble == "" && s.Config == c.Hash() && s.Subnet == c.Subnet
	})
	r.stop()
	g.set(nil)
	r.start()
	r.eventually("taken again, before anybody tells it", func() bool { return len(g.all()) > 0 })
	require.Equal(t, c, g.all()[0])
	r.eventually("and said", func() bool { s, _, ok := r.host(); return ok && s.Config == c.Hash() })
}
