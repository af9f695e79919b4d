package network_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/network"
)

const (
	townFront = "10.87.255.1"
	townPort  = 20000
)

func townEndpoint(primary string) network.Endpoint {
	return network.Endpoint{ID: "c", ReadWrite: network.Front{Address: townFront, Port: townPort}, ReadOnly: network.Front{Address: "10.87.255.2", Port: townPort + 1}, Primary: primary}
}

// Clients of all kinds are led to the primary, whichever host they are on, or send by, and whichever host it is on.
func TestEndpointsAcrossHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	front := townFront + ":3306"
	for _, primary := range w.hosts {
		w.admit(t, townEndpoint(primary.db), network.Access{})
		want := fmt.Sprintf("db%d ", primary.n)
		for _, h := range w.hosts {
			says := fmt.Sprintf("primary on %d, by host %d", primary.n, h.n)
			port := fmt.Sprintf(":%d", townPort)
			require.Contains(t, h.reach(t, front), want, says)
			require.Contains(t, h.reach(t, "127.0.0.1"+port), want, says)
			require.Contains(t, h.reach(t, h.address+port), want, says)
			require.Contains(t, h.away.reach(t, front), want, says)
			require.Contains(t, h.away.reach(t, h.address+port), want, says)
			w.street.route(t, townEndpoints, h.address)
			got, other := w.street.reach(t, front), w.street.reach(t, h.address+port)
			require.Contains(t, got, want, says)
			require.Contains(t, other, want, says)
			if h == primary {
				require.Equal(t, want+townStreet+".1", got, "where the answer comes back by itself the client's address is kept")
			}
		}
	}
	w.admit(t, townEndpoint(""), network.Access{})
	for _, from := range []*place{w.street, w.hosts[0].place, w.hosts[1].away} {
		require.Equal(t, "refused", from.reach(t, front), "nobody takes writes")
	}
	h := w.hosts[0]
	ensure := func() (changed bool) {
		h.must(t, func() (err error) { changed, err = h.balancer.Ensure(context.Background()); return err })
		return changed
	}
	require.False(t, ensure())
	h.do(func() { iptables(t, "-F", "FORWARD") })
	require.True(t, ensure())
	h.must(t, func() error {
		return errors.Join(h.balancer.Remove(context.Background()), h.firewall.Remove(context.Background()))
	})
	h.do(func() { require.NotContains(t, iptables(t, "-S")+iptables(t, "-t", "nat", "-S"), "HUKER-") })
}

// A host that is alone has its endpoints in the last quarter of its databases' subnet.
func TestEndpointsOfOneHost(t *testing.T) {
	t.Parallel()
	w := newTown(t, 1)
	h := w.hosts[0]
	within, err := network.EndpointSubnet(h.subnet)
	require.NoError(t, err)
	front, err := network.NextEndpoint(within, nil)
	require.NoError(t, err)
	h.must(t, func() error { return h.balancer.Place(h.subnet, h.subnet, within) })
	e := network.Endpoint{ID: "c", ReadWrite: network.Front{Address: front, Port: townPort}, ReadOnly: network.Front{Address: "10.87.1.200"}, Primary: h.db}
	w.admit(t, e, network.Access{AllowedCIDRs: []string{townStreet + ".1/32"}})
	port := fmt.Sprintf(":%d", townPort)
	require.Contains(t, h.reach(t, front+":3306"), "db1 ")
	require.Contains(t, h.reach(t, "127.0.0.1"+port), "db1 ")
	require.Equal(t, "db1 "+townStreet+".1", w.street.reach(t, front+":3306"))
	require.Equal(t, "db1 "+townStreet+".1", w.street.reach(t, h.address+port))
	require.Equal(t, "dropped", h.away.reach(t, front+":3306"))
	w.admit(t, e, network.Access{})
	require.Contains(t, h.away.reach(t, front+":3306"), "db1 ")
	e.Primary = ""
	w.admit(t, e, network.Access{})
	require.Equal(t, "refused", h.away.reach(t, front+":3306"))
	require.Equal(t, "refused", h.reach(t, "127.0.0.1"+port))
}

// Who may not reach the primary may not by way of another host, which hides the client's address from it; who may reach it still may.
func TestAccessAcrossHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t, 2)
	by, primary := w.hosts[0], w.hosts[1]
	front, port := townFront+":3306", fmt.Sprintf(":%d", townPort)
	client := townStreet + ".1/32"
	for name, c := range map[string]struct {
		access       network.Access
		street, away bool // who gets in
	}{
		"private":        {network.Access{}, true, true},
		"public":         {network.Access{Public: true}, true, true},
		"the client":     {network.Access{AllowedCIDRs: []string{client}}, true, false},
		"the container":  {network.Access{AllowedCIDRs: []string{"192.168.1.2/32", "192.168.2.2/32"}}, false, true},
		"the other host": {network.Access{AllowedCIDRs: []string{by.address + "/32", "10.87.1.1/32"}}, false, false},
		"somebody else":  {network.Access{Public: true, AllowedCIDRs: []string{"203.0.113.0/24"}}, false, false},
	} {
		w.admit(t, townEndpoint(primary.db), c.access)
		for _, h := range w.hosts {
			w.street.route(t, townEndpoints, h.address)
			for from, may := range map[*place]bool{w.street: c.street, h.away: c.away} {
				for _, to := range []string{front, h.address + port} {
					got := from.reach(t, to)
					require.Equal(t, may, got != "dropped", "%s: by host %d at %s: %s", name, h.n, to, got)
				}
			}
			require.Contains(t, h.reach(t, front), "db2 ", "%s: hosts themselves may, wherever the primary is", name)
			require.Contains(t, h.reach(t, "127.0.0.1"+port), "db2 ", name)
		}
		require.Equal(t, c.street, w.street.reach(t, primary.db+":3306") != "dropped", "%s: at the member's own address", name)
	}

	t.Run("nobody who is not led there has a host's word", func(t *testing.T) {
		w.admit(t, townEndpoint(primary.db), network.Access{AllowedCIDRs: []string{"203.0.113.0/24"}, Public: true})
		require.Equal(t, "dropped", by.reach(t, primary.db+":3306"))
		_, got := by.dialFrom(t, "10.87.1.1", primary.db+":3306")
		require.Equal(t, "refused", got)
		require.Equal(t, "dropped", by.away.reach(t, primary.db+":3306"))
	})
	t.Run("a fence holds for those, too", func(t *testing.T) {
		w.admit(t, townEndpoint(primary.db), network.Access{Fenced: true})
		w.street.route(t, townEndpoints, by.address)
		require.Equal(t, "dropped", w.street.reach(t, front))
		require.Equal(t, "dropped", by.reach(t, front))
	})
	t.Run("a member of which nothing is said is reached by nobody from elsewhere", func(t *testing.T) {
		w.admit(t, townEndpoint(primary.db), network.Access{})
		e := townEndpoint(primary.db)
		by.must(t, func() error { return by.balancer.Set(t.Context(), []network.Endpoint{e}) })
		require.Equal(t, "dropped", w.street.reach(t, front))
	})
}

// Members of a cluster reach each other, whoever else may, and are known by their own addresses; databases that are no members are not let in for that.
func TestMembersReachEachOther(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	one, two, three := w.hosts[0], w.hosts[1], w.hosts[2]
	w.admit(t, townEndpoint(one.db), network.Access{AllowedCIDRs: []string{"10.1.2.3/32"}, Peers: []string{one.db, two.db}})
	require.Equal(t, "db1 "+two.db, two.server.reach(t, one.db+":3306"))
	require.Equal(t, "db2 "+one.db, one.server.reach(t, two.db+":3306"))
	require.Equal(t, "dropped", three.server.reach(t, one.db+":3306"))
	require.Equal(t, "dropped", two.away.reach(t, one.db+":3306"))
	require.Equal(t, "dropped", two.server.reach(t, townFront+":3306"), "nor do databases go anywhere by an endpoint")
	w.admit(t, townEndpoint(one.db), network.Access{Fenced: true, Peers: []string{two.db}})
	require.Equal(t, "dropped", two.server.reach(t, one.db+":3306"))
}

// A connection by way of another host goes on when access is taken away, as it does to the member itself, and ends at once when there is another primary.
func TestConnectionsAcrossHosts(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	by, primary := w.hosts[0], w.hosts[1]
	w.admit(t, townEndpoint(primary.db), network.Access{})
	w.street.route(t, townEndpoints, by.address)
	c, got := w.street.dial(t, townFront+":3306")
	require.Contains(t, got, "db2 ")
	w.admit(t, townEndpoint(primary.db), network.Access{AllowedCIDRs: []string{"10.1.2.3/32"}})
	require.Equal(t, "dropped", w.street.reach(t, townFront+":3306"))
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := c.Write([]byte("x\n"))
	require.NoError(t, err)
	said, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "x\n", said)

	for _, next := range []*townHost{w.hosts[0], w.hosts[2]} {
		w.admit(t, townEndpoint(primary.db), network.Access{})
		c, got := w.street.dial(t, townFront+":3306")
		require.Contains(t, got, "db2 ")
		w.admit(t, townEndpoint(next.db), network.Access{})
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = bufio.NewReader(c).ReadString(0)
		require.ErrorIs(t, err, syscall.ECONNRESET, "the new primary on host %d", next.n)
	}

	w.admit(t, townEndpoint(primary.db), network.Access{})
	for _, address := range []string{townFront + ":3306", fmt.Sprintf("%s:%d", by.address, townPort)} {
		by.must(t, func() error { return by.balancer.Set(t.Context(), []network.Endpoint{withMembers(w, primary)}) })
		c, got := w.street.dial(t, address)
		require.Contains(t, got, "db2 ")
		by.must(t, func() error { return by.balancer.Set(t.Context(), nil) })
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = bufio.NewReader(c).ReadString(0)
		require.ErrorIs(t, err, syscall.ECONNRESET, "the cluster is gone")
	}
}

// withMembers is the endpoint with all databases as members that everybody private may reach.
func withMembers(w *town, primary *townHost) network.Endpoint {
	e := townEndpoint(primary.db)
	for _, h := range w.hosts {
		e.Members = append(e.Members, network.Access{Address: h.db})
	}
	return e
}

// Who waits for an answer and sends nothing is told, too, that the primary is another one, or that there is none: a server that hangs tells nobody.
func TestWhoWaitsIsTold(t *testing.T) {
	t.Parallel()
	w := newTown(t, 3)
	by, primary := w.hosts[0], w.hosts[1]
	w.street.route(t, townEndpoints, by.address)
	port := fmt.Sprintf(":%d", townPort)
	for _, next := range []string{"", w.hosts[0].db, w.hosts[2].db} {
		for _, from := range []*townHost{by, primary} {
			w.admit(t, townEndpoint(from.db), network.Access{})
			clients := map[string]net.Conn{}
			dial := func(who string, at *place, address string) {
				c, got := at.dial(t, address)
				require.Contains(t, got, fmt.Sprintf("db%d ", from.n), who)
				clients[who] = c
			}
			dial("a machine that is no host", w.street, townFront+":3306")
			dial("the host itself", by.place, townFront+":3306")
			dial("the host itself, by its port", by.place, "127.0.0.1"+port)
			dial("a container on another bridge", by.away, townFront+":3306")
			dial("another machine, by the port", w.street, by.address+port)
			if next == from.db {
				continue // it is the primary already
			}
			w.admit(t, townEndpoint(next), network.Access{})
			for who, c := range clients {
				require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
				_, err := c.Read(make([]byte, 1))
				require.ErrorIs(t, err, syscall.ECONNRESET, "%s, of the primary on host %d; then it is %q", who, from.n, next)
			}
		}
	}
}
