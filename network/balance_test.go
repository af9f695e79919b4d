package network_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime/docker"
)

// hostDial connects from the host, and says what becomes of it.
func hostDial(address string) (net.Conn, string) {
	c, err := net.DialTimeout("tcp4", address, 1500*time.Millisecond)
	switch {
	case err == nil:
		return c, "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, "refused"
	}
	return nil, "dropped"
}

// reaches dials, and says which server answered: the greeting is its own address.
func (s *street) reaches(t *testing.T, from, address string) string {
	t.Helper()
	if from == "host" {
		c, got := hostDial(address)
		if c != nil {
			_ = c.Close()
		}
		return got
	}
	return s.from(t, from, address)
}

// TestEndpoints: clients of all kinds are led to the primary, wherever it is; without one they are refused at once.
func TestEndpoints(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	s := newStreet(t)
	done, err := testenv.HostRules(true)
	require.NoError(t, err)
	t.Cleanup(done)
	name := s.prefix + "fw"
	bridge := docker.BridgeName(s.prefix + "home")
	f, err := network.NewFirewall(name, bridge)
	require.NoError(t, err)
	b := network.NewBalancer(name, bridge)
	t.Cleanup(func() {
		require.NoError(t, errors.Join(b.Remove(context.Background()), f.Remove(context.Background())))
	})
	neighbour := s.address(t, "neighbour")
	require.NoError(t, f.Set(t.Context(), []network.Access{{Address: s.db}, {Address: neighbour}}))

	subnet := s.db[:strings.LastIndexByte(s.db, '.')] + ".0/24"
	within, err := network.EndpointSubnet(subnet)
	require.NoError(t, err)
	rw, err := network.NextEndpoint(within, nil)
	require.NoError(t, err)
	ro, err := network.NextEndpoint(within, []string{rw})
	require.NoError(t, err)
	require.NoError(t, b.Place(subnet, subnet, within))
	l, err := net.Listen("tcp4", "127.0.0.1:0") // a port that is nobody's
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	local := l.Addr().String()
	endpoint := network.Endpoint{ID: "c", ReadWrite: network.Front{Address: rw, Port: port}, ReadOnly: network.Front{Address: ro}}
	set := func(primary string, readers ...string) {
		endpoint.Primary, endpoint.Readers = primary, readers
		require.NoError(t, b.Set(t.Context(), []network.Endpoint{endpoint}))
	}
	clients := []string{"host", "default", "other"}

	set("")
	for _, c := range clients {
		require.Equal(t, "refused", s.reaches(t, c, rw+":3306"), c)
		require.Equal(t, "refused", s.reaches(t, c, ro+":3306"), c)
	}
	require.Equal(t, "refused", s.reaches(t, "host", local))

	set(s.db)
	for _, c := range clients {
		require.Equal(t, "open", s.reaches(t, c, rw+":3306"), c)
		require.Equal(t, "open", s.reaches(t, c, ro+":3306"), "%s: without a reader the primary is read from", c)
	}
	require.Equal(t, "open", s.reaches(t, "host", local))
	gateway := s.db[:strings.LastIndexByte(s.db, '.')] + ".1"
	require.Equal(t, "open", s.reaches(t, "default", gateway+local[strings.LastIndexByte(local, ':'):]), "any address of the host")

	t.Run("who may not reach the server may not by its endpoint", func(t *testing.T) {
		require.NoError(t, f.Set(t.Context(), []network.Access{{Address: s.db, AllowedCIDRs: []string{s.address(t, "other") + "/32"}}}))
		require.Equal(t, "dropped", s.reaches(t, "default", rw+":3306"))
		require.Equal(t, "open", s.reaches(t, "other", rw+":3306"), "the server sees the client's own address")
		require.NoError(t, f.Set(t.Context(), []network.Access{{Address: s.db}, {Address: neighbour}}))
	})

	t.Run("another primary", func(t *testing.T) {
		holder, err := network.Next(subnet, []string{s.db, neighbour})
		require.NoError(t, err)
		s.run(t, "holder", s.prefix+"home", holder, "hold", "0.0.0.0:3306")
		defer func() { require.NoError(t, s.d.Remove(context.Background(), s.prefix+"holder")) }()
		require.Eventually(t, func() bool { return s.reaches(t, "host", holder+":3306") == "open" }, 10*time.Second, 20*time.Millisecond)
		set(holder)
		c, got := hostDial(rw + ":3306")
		require.Equal(t, "open", got)
		defer func() { _ = c.Close() }()
		local, got := hostDial(local)
		require.Equal(t, "open", got)
		defer func() { _ = local.Close() }()
		began := time.Now()
		set(neighbour)
		t.Logf("set in %s", time.Since(began).Round(100*time.Microsecond))
		for what, c := range map[string]net.Conn{"address": c, "port": local} {
			require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			_, err := bufio.NewReader(c).ReadString(0)
			require.ErrorIs(t, err, syscall.ECONNRESET, "%s: a connection to the former primary", what)
		}
		for _, c := range clients {
			require.Equal(t, "open", s.reaches(t, c, rw+":3306"), c)
		}
	})

	t.Run("readers", func(t *testing.T) {
		set(s.db, s.db, neighbour)
		for range 4 {
			require.Equal(t, "open", s.reaches(t, "default", ro+":3306"))
		}
		nat := iptables(t, "-t", "nat", "-S")
		require.Contains(t, nat, "--mode nth --every 2")
	})

	t.Run("what others flushed comes back", func(t *testing.T) {
		changed, err := b.Ensure(t.Context())
		require.NoError(t, err)
		require.False(t, changed)
		iptables(t, "-t", "nat", "-F", "OUTPUT")
		changed, err = b.Ensure(t.Context())
		require.NoError(t, err)
		require.True(t, changed)
		require.Equal(t, "open", s.reaches(t, "host", rw+":3306"))
		changed, err = b.Ensure(t.Context())
		require.NoError(t, err)
		require.False(t, changed)
	})

	t.Run("what others changed before something else is set", func(t *testing.T) {
		set(s.db)
		// As Docker does whenever somebody makes a network.
		iptables(t, "-D", "FORWARD", "-j", "DOCKER-USER")
		iptables(t, "-I", "FORWARD", "1", "-j", "DOCKER-USER")
		ensure := func(want bool) {
			changed, err := b.Ensure(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, changed)
		}
		set("")
		ensure(true)
		for _, c := range clients {
			require.Equal(t, "refused", s.reaches(t, c, rw+":3306"), c)
		}
		iptables(t, "-t", "nat", "-F", "OUTPUT")
		set(s.db)
		ensure(true)
		for _, c := range clients {
			require.Equal(t, "open", s.reaches(t, c, rw+":3306"), c)
		}
		set("")
		set(s.db, neighbour)
		ensure(false) // what is set is no change of others
		ensure(false)
		set("")
		set(s.db)
		for line := range strings.Lines(iptables(t, "-t", "nat", "-S")) {
			if rule := strings.Fields(line); strings.HasPrefix(line, "-A HUKER-T-") && slices.Contains(rule, s.db+":3306") {
				iptables(t, append([]string{"-t", "nat", "-D"}, rule[1:]...)...)
			}
		}
		ensure(true) // where they changed what was set a moment ago
		require.Equal(t, "open", s.reaches(t, "host", rw+":3306"))
		ensure(false)
	})

	t.Run("nothing is left", func(t *testing.T) {
		require.NoError(t, b.Remove(t.Context()))
		for _, table := range []string{"nat", "filter"} {
			require.NotContains(t, iptables(t, "-t", table, "-S"), " "+rw+"/32")
		}
		require.NotEqual(t, "open", s.reaches(t, "host", rw+":3306"))
	})
}

func TestEndpointAddresses(t *testing.T) {
	for within, want := range map[string]string{"10.88.0.0/16": "10.88.255.0/24", "10.88.3.0/24": "10.88.3.192/26", "10.0.0.0/8": "10.255.255.0/24", "10.88.4.0/22": "10.88.7.0/24"} {
		got, err := network.EndpointSubnet(within)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, wrong := range []string{"", "10.88.0.0/25", "fd00::/16", "x"} {
		_, err := network.EndpointSubnet(wrong)
		require.ErrorIs(t, err, network.ErrInvalid, wrong)
	}
	a, err := network.NextEndpoint("10.88.3.192/30", nil)
	require.NoError(t, err)
	require.Equal(t, "10.88.3.193", a)
	_, err = network.NextEndpoint("10.88.3.192/30", []string{"10.88.3.193", "10.88.3.194"})
	require.ErrorIs(t, err, network.ErrExhausted)
	rw, ro, err := network.EndpointPorts([]int{20000, 20001, 20003})
	require.NoError(t, err)
	require.Equal(t, []int{20004, 20005}, []int{rw, ro})
}
