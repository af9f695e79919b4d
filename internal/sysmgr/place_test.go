package sysmgr_test

import (
	"context"
	"errors"
	"slices"
	"strings"
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

// programs are lacking until they are fetched.
type programs struct {
	mu     sync.Mutex
	there  bool
	asked  []string
	answer error
}

var agentOfBuild = protocol.Program{Name: "huker-guestagent", Sum: "a1"}

func (p *programs) list(there bool) []protocol.Program {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.there == there {
		return []protocol.Program{agentOfBuild}
	}
	return nil
}

func (p *programs) Here() []protocol.Program    { return p.list(true) }
func (p *programs) Lacking() []protocol.Program { return p.list(false) }

func (p *programs) Agent() string {
	if len(p.Lacking()) > 0 {
		return ""
	}
	return "agent-a1"
}

func (p *programs) Fetch(_ context.Context, sources []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.there = sources, p.answer == nil
	return p.answer
}

func (p *programs) sources() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *programs) set(answer error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// testPrograms: a host without what guests run says so, makes no guests, gets it from others, and hands it to the guests that have an older one.
func testPrograms(t *testing.T, r *rig) {
	r.start()
	old := r.request()
	r.ensured(old)
	r.stop()
	p := &programs{answer: errors.New("they are all asleep")}
	r.cfg.Programs, r.cfg.Resync = p, shortResync
	r.start()
	status := func() protocol.HostStatus {
		s, _, _ := r.host()
		return s
	}
	r.eventually("it says what it lacks", func() bool { return slices.Equal(status().Lacks, []protocol.Program{agentOfBuild}) })
	require.Empty(t, status().Programs)
	require.Contains(t, status().Trouble, "it has no huker-guestagent (SHA-256 a1) yet")
	q := r.request()
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeFetching)
	require.Zero(t, r.engine.Calls(fake.OpCreate)-1, "of the old one alone")
	old.Generation++
	r.ensured(old)
	require.Equal(t, "agent-1", readGuest(t, r, old).Agent, "it goes on with the one that it has")

	ask := func() {
		require.NoError(t, r.call(protocol.KindPrograms, protocol.ProgramsRequest{Sources: []string{"https://10.0.0.2:8782"}}, nil))
	}
	ask()
	r.eventually("it says why they do not come", func() bool { return strings.Contains(status().Trouble, "they are all asleep") })
	p.set(nil)
	r.eventually("they come", func() bool { ask(); return len(status().Lacks) == 0 })
	require.Equal(t, []string{"https://10.0.0.2:8782"}, p.sources())
	require.Equal(t, []protocol.Program{agentOfBuild}, status().Programs)
	require.Empty(t, status().Trouble)
	r.ensured(q)
	require.Equal(t, "agent-a1", readGuest(t, r, q).Agent)
	r.eventually("the old one is told", func() bool { return readGuest(t, r, old).Agent == "agent-a1" })
}
