package sysmgr_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// balancer remembers what it was told last.
type balancer struct {
	mu   sync.Mutex
	told []network.Endpoint
}

func (b *balancer) Set(_ context.Context, endpoints []network.Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = slices.Clone(endpoints)
	return nil
}

func (b *balancer) Ensure(context.Context) (bool, error) { return false, nil }

// of gives a cluster's endpoint.
func (b *balancer) of(id string) (network.Endpoint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.told, func(e network.Endpoint) bool { return e.ID == id })
	if i < 0 {
		return network.Endpoint{}, false
	}
	return b.told[i], true
}

// testEndpoints: clients are led where coordination says, and those who may be are said with it; what is older is refused, also after a restart.
func testEndpoints(t *testing.T, r *rig) {
	b := &balancer{}
	r.cfg.Balancer = b
	r.start()
	id := r.cfg.Host + "-cluster" // all tests' hosts hear of it
	put := func(e protocol.Endpoint) {
		e.Cluster = id
		text, err := json.Marshal(e)
		require.NoError(t, err)
		require.NoError(t, r.admin.Apply(t.Context(), coord.Put(protocol.EndpointKey(id), text, nil)))
	}
	led := func(what string, good func(network.Endpoint) bool) {
		r.eventually(what, func() bool { e, ok := b.of(id); return ok && good(e) })
	}
	e := protocol.Endpoint{
		Epoch: 4, ReadWrite: protocol.Front{Address: "10.88.255.1", Port: 20000}, Primary: "10.88.0.10",
		Access: map[string]model.Access{"10.88.0.11": {AllowedCIDRs: []string{"10.1.0.0/16"}}, "10.88.0.10": {IsPublic: true}},
	}
	put(e)
	led("led to the primary", func(e network.Endpoint) bool { return e.Primary == "10.88.0.10" })
	now, _ := b.of(id)
	require.Equal(t, []network.Access{{Address: "10.88.0.10", Public: true}, {Address: "10.88.0.11", AllowedCIDRs: []string{"10.1.0.0/16"}}}, now.Members)
	member := r.request()
	r.ensured(member)
	e.Access[member.Address], e.Access["10.88.9.9"] = model.Access{}, model.Access{}
	put(e)
	r.eventually("the other members reach the one on this host", func() bool {
		rules := r.wall.rules()
		return len(rules) == 1 && slices.Equal(rules[0].Peers, slices.DeleteFunc(slices.Sorted(maps.Keys(e.Access)), func(a string) bool { return a == member.Address }))
	})
	e.Access = map[string]model.Access{"10.88.0.10": {IsPublic: true, AllowedCIDRs: []string{"192.0.2.0/24"}}}
	put(e)
	led("access alone has changed", func(e network.Endpoint) bool {
		return len(e.Members) == 1 && slices.Equal(e.Members[0].AllowedCIDRs, []string{"192.0.2.0/24"})
	})

	r.stop()
	*b = balancer{}
	older := e
	older.Epoch, older.Primary = 3, "10.88.0.12"
	put(older)
	r.start()
	led("as before the restart", func(e network.Endpoint) bool { return e.Primary == "10.88.0.10" && len(e.Members) == 1 })
	e.Epoch, e.Primary = 5, ""
	put(e)
	led("to nobody", func(e network.Endpoint) bool { return e.Primary == "" })
	e.Epoch, e.ReadWrite, e.Access = 6, protocol.Front{}, map[string]model.Access{member.Address: {}, "10.88.9.8": {}}
	put(e) // replicas of an instance have no address in common
	r.eventually("they reach each other", func() bool { return slices.Equal(r.wall.rules()[0].Peers, []string{"10.88.9.8"}) })
	_, told := b.of(id)
	require.False(t, told)
	put(protocol.Endpoint{Epoch: 7, ReadWrite: protocol.Front{Address: "10.88.255.1"}})
	led("with an address again", func(e network.Endpoint) bool { return e.ReadWrite.Address == "10.88.255.1" })
	require.NoError(t, r.admin.Apply(t.Context(), coord.Delete(protocol.EndpointKey(id), 0)))
	r.eventually("forgotten", func() bool { _, ok := b.of(id); return !ok })
}

// groundwork notes what a host's network is told when the host takes its place.
type groundwork struct {
	leaders []string
	egress  []network.Egress
}

func (g *groundwork) SetEgress(e []network.Egress) error { g.egress = e; return nil }
func (g *groundwork) SetLeaders(a []string) error        { g.leaders = a; return nil }

func (g *groundwork) EnsureNetwork(_ context.Context, name, subnet string, _ map[string]string) (runtime.Network, error) {
	return runtime.Network{Name: name, Subnet: subnet}, nil
}
func (g *groundwork) RemoveNetwork(context.Context, string) error { return nil }
func (g *groundwork) ListNetworks(context.Context, map[string]string) ([]runtime.Network, error) {
	return nil, nil
}

// TestGroundKnowsTheOtherHosts: databases are let out to the others', and clients in whom the other hosts lead here.
func TestGroundKnowsTheOtherHosts(t *testing.T) {
	g := &groundwork{}
	ground := sysmgr.Ground{Networks: g, Network: "n", Firewall: g}
	c := protocol.HostConfig{Subnet: "10.88.3.0/24", Range: "10.88.0.0/16", Peers: []protocol.Peer{
		{Subnet: "10.88.5.32/27", Address: "203.0.113.5"}, {Subnet: "10.88.4.0/24", Address: "203.0.113.4"},
	}}
	err := ground.Join(t.Context(), c)
	require.Error(t, err, "there is no way to these hosts from here")
	require.True(t, strings.Contains(err.Error(), "adding the route"), err)
	require.Equal(t, []string{"10.88.4.1", "10.88.5.33"}, g.leaders)
	require.Equal(t, []network.Egress{{To: "10.88.4.0/24", Port: 3306}, {To: "10.88.5.32/27", Port: 3306}}, g.egress)
	c.Peers[0].Subnet = "elsewhere"
	require.ErrorIs(t, ground.Join(t.Context(), c), network.ErrInvalid)
}
