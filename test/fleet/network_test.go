package fleet_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
	"github.com/huker/huker/test/fleet"
)

// Databases on three hosts reach each other by address, and the machine reaches them all; the machine's firewall is as it was.
func TestContainersReachEachOther(t *testing.T) {
	t.Parallel()
	rules := firewall(t)
	s := newSite(t, fleet.Options{})
	require.Len(t, s.Hosts, 3)
	var addresses []string
	for n, h := range s.Hosts {
		addresses = append(addresses, s.database(h, "db", 10+n))
	}
	for n, h := range s.Hosts {
		s.becomes("open", func() string { return reach(t.Context(), dialer(), addresses[n], silence) })
		for m, a := range addresses {
			require.Contains(t, s.from(h, "db", a, patience), "open ", "from %s to %s", h.Name, a)
			if n != m {
				require.Equal(t, "open", reach(t.Context(), h.Dial, a, patience), "from %s itself to %s", h.Name, a)
			}
		}
	}
	// What is not let in by the host's firewall stays out: the way there is all that a fleet gives.
	_, err := s.Hosts[1].Exec(t.Context(), "iptables", "-w", "10", "-D", "DOCKER-USER", "-d", s.Hosts[1].Subnet(), "-j", "ACCEPT")
	require.NoError(t, err)
	require.Equal(t, "dropped", reach(t.Context(), dialer(), addresses[1], silence))

	// An engine that does not masquerade has the container's own address seen.
	h := s.Hosts[0]
	out, err := h.Exec(t.Context(), "iptables-save", "-t", "nat")
	require.NoError(t, err)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "-s "+h.Subnet()) {
			_, err := h.Exec(t.Context(), append([]string{"iptables", "-w", "10", "-t", "nat", "-D"}, strings.Fields(line)[1:]...)...)
			require.NoError(t, err)
		}
	}
	own, _, err := net.SplitHostPort(addresses[0])
	require.NoError(t, err)
	require.Equal(t, "open "+own, s.from(h, "db", addresses[2], patience))

	now := firewall(t)
	for _, mine := range []string{"hkf-" + s.Name, s.Controller.Address, h.Subnet()} {
		require.NotContains(t, now, mine)
	}
	require.Equal(t, strings.Contains(rules, "FORWARD DROP"), strings.Contains(now, "FORWARD DROP"))
}

func firewall(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("iptables-save").Output()
	require.NoError(t, err)
	return string(out)
}

// Everything that can be cut, seen from both sides. What was cut in a step is healed at its end.
func TestCuts(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{})
	h1, h2, h3 := s.Hosts[0], s.Hosts[1], s.Hosts[2]
	db1, db2, db3 := s.database(h1, "db", 10), s.database(h2, "db", 10), s.database(h3, "db", 10)
	other2 := s.database(h2, "other", 11)
	for _, a := range []string{db1, db2, db3, other2} {
		s.becomes("open", func() string { return reach(t.Context(), dialer(), a, silence) })
	}
	const open, dropped = true, false
	check := func(t *testing.T, want bool, h *fleet.Host, address string) {
		t.Helper()
		if want == open {
			require.Contains(t, s.from(h, "db", address, patience), "open ", "from %s to %s", h.Name, address)
		} else {
			require.Equal(t, "dropped", s.from(h, "db", address, silence), "from %s to %s", h.Name, address)
		}
	}
	step := func(name string, host *fleet.Host, c fleet.Cut, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, host.CutFrom(t.Context(), c))
			f(t)
			require.NoError(t, host.Heal(t.Context()))
			check(t, open, h1, db2)
			check(t, open, h2, db1)
			require.Equal(t, "open", reach(t.Context(), dialer(), db1, patience))
		})
	}
	step("from all", h1, fleet.Cut{}, func(t *testing.T) {
		check(t, dropped, h1, db2)
		check(t, dropped, h2, db1)
		check(t, dropped, h3, db1)
		check(t, open, h1, db1) // within the host
		check(t, open, h2, db3)
		require.Equal(t, "dropped", reach(t.Context(), dialer(), db1, silence))
		require.Equal(t, "open", reach(t.Context(), dialer(), db2, patience))
	})
	step("from one host", h1, fleet.Cut{From: []fleet.Side{h2}}, func(t *testing.T) {
		check(t, dropped, h1, db2)
		check(t, dropped, h2, db1)
		check(t, open, h1, db3)
		check(t, open, h3, db1)
		require.Equal(t, "open", reach(t.Context(), dialer(), db1, patience))
	})
	step("from the controller", h1, fleet.Cut{From: []fleet.Side{s.Controller}}, func(t *testing.T) {
		require.Equal(t, "dropped", reach(t.Context(), dialer(), db1, silence))
		check(t, open, h2, db1)
	})
	step("from an address", h1, fleet.Cut{From: []fleet.Side{fleet.Net(strings.TrimSuffix(db2, ":3306"))}}, func(t *testing.T) {
		check(t, dropped, h1, db2)
		check(t, open, h1, other2)
	})
	step("from a port", h1, fleet.Cut{From: []fleet.Side{h2}, Ports: []uint16{3306, 3307}}, func(t *testing.T) {
		check(t, dropped, h1, db2)
		check(t, dropped, h2, db1)
		require.Equal(t, "refused", reach(t.Context(), h1.Dial, net.JoinHostPort(h2.Address, "7"), patience))
	})
	t.Run("two at once, and one is healed", func(t *testing.T) {
		require.NoError(t, h1.Cut(t.Context()))
		require.NoError(t, h2.CutFrom(t.Context(), fleet.Cut{From: []fleet.Side{h3, s.Controller}}))
		require.NoError(t, h3.Heal(t.Context()))
		check(t, open, h2, db3)
		require.Equal(t, "dropped", reach(t.Context(), dialer(), db2, silence))
		check(t, dropped, h3, db1)
		require.NoError(t, s.Heal(t.Context()))
		check(t, open, h3, db1)
	})
	t.Run("what cannot be", func(t *testing.T) {
		require.ErrorIs(t, h1.CutFrom(t.Context(), fleet.Cut{From: []fleet.Side{fleet.Net("h9")}}), fleet.ErrInvalid)
		check(t, open, h1, db2)
	})
}

// A connection that is open hears nothing while its host is cut off, and goes on after.
func TestConnectionOutlivesCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	h := s.Hosts[0]
	_, address := s.holder(h, false)
	c := held(t, dialer(), address)
	require.NoError(t, h.Cut(t.Context()))
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	quiet(t, c)
	require.Equal(t, "dropped", reach(t.Context(), dialer(), address, silence))
	require.NoError(t, h.Heal(t.Context()))
	quiet(t, c)
	require.Equal(t, "open", reach(t.Context(), dialer(), address, patience))
}

// A cut of one direction lets the other one through.
func TestOneWay(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 2})
	h1, h2 := s.Hosts[0], s.Hosts[1]
	one, two := socket(t, h1), socket(t, h2)
	arrive(t, one, two, true)
	arrive(t, two, one, true)
	for _, way := range []fleet.Way{fleet.Outbound, fleet.Inbound} {
		require.NoError(t, h1.CutFrom(t.Context(), fleet.Cut{From: []fleet.Side{h2}, Way: way}))
		arrive(t, one, two, way == fleet.Inbound)
		arrive(t, two, one, way == fleet.Outbound)
		require.NoError(t, h1.Heal(t.Context()))
		arrive(t, one, two, true)
		arrive(t, two, one, true)
	}
}

func socket(t *testing.T, h *fleet.Host) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	require.NoError(t, h.Inside(func() (err error) {
		c, err = net.ListenPacket("udp4", net.JoinHostPort(h.Address, "0"))
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// arrive sends a packet that is to arrive, or not.
func arrive(t *testing.T, from, to net.PacketConn, want bool) {
	t.Helper()
	_, err := from.WriteTo([]byte("x"), to.LocalAddr())
	require.NoError(t, err)
	in := patience
	if !want {
		in = silence
	}
	require.NoError(t, to.SetReadDeadline(time.Now().Add(in)))
	if _, _, err = to.ReadFrom(make([]byte, 1)); want {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

// A limit holds in both directions and over a reboot, until it is lifted.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	h := s.Hosts[0]
	const bytes, least = 250_000, 1500 * time.Millisecond // 2 s at a million bits per second, less what buffers let through at once
	to := func() time.Duration { return send(t, dialer(), h.Inside, h.Address, bytes) }
	from := func() time.Duration { return send(t, h.Dial, here, s.Controller.Address, bytes) }
	require.NoError(t, h.Slow(1_000_000))
	require.Greater(t, to(), least)
	require.NoError(t, h.Reboot(t.Context()))
	require.Greater(t, from(), least)
	require.NoError(t, h.Heal(t.Context()))
	require.Less(t, to(), least)
	require.Less(t, from(), least)
	require.ErrorIs(t, h.Slow(1), fleet.ErrInvalid)
}

func here(f func() error) error { return f() }

// send takes the time until all bytes have come to an address.
func send(t *testing.T, d dial, where func(func() error) error, address string, bytes int) time.Duration {
	t.Helper()
	var l net.Listener
	require.NoError(t, where(func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort(address, "0"))
		return err
	}))
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			for n, got := 0, 0; got < bytes && err == nil; got += n {
				n, err = c.Read(make([]byte, 64<<10))
			}
		}
		done <- err
	}()
	start := time.Now()
	c, err := d(t.Context(), "tcp4", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write(make([]byte, bytes))
	require.NoError(t, err)
	require.NoError(t, <-done)
	return time.Since(start)
}

// Routes follow a host's subnet; hosts that are to find the way themselves are told none.
func TestSubnetsAreRouted(t *testing.T) {
	t.Parallel()
	f := fleet.ForTest(t, fleet.Options{Hosts: 2, NoRoutes: true})
	h1, h2 := f.Hosts[0], f.Hosts[1]
	out, err := h1.Exec(t.Context(), "ip", "route")
	require.NoError(t, err)
	require.NotContains(t, out, h2.Subnet())
	require.Contains(t, machineRoutes(t), h2.Subnet()+" via "+h2.Address)

	before, other := h2.Subnet(), strings.Replace(h2.Subnet(), ".1.0/24", ".77.0/24", 1)
	require.NotEqual(t, before, other)
	require.NoError(t, h2.SetSubnet(other))
	require.Equal(t, other, h2.Subnet())
	require.Contains(t, machineRoutes(t), other+" via "+h2.Address)
	require.NotContains(t, machineRoutes(t), before)
	require.ErrorIs(t, h2.SetSubnet("nowhere"), fleet.ErrInvalid)

	g := fleet.ForTest(t, fleet.Options{Hosts: 2})
	require.NotEqual(t, f.Range, g.Range, "two fleets side by side")
	h1, h2 = g.Hosts[0], g.Hosts[1]
	other = strings.Replace(h2.Subnet(), ".1.0/24", ".77.0/24", 1)
	require.NoError(t, h2.SetSubnet(other))
	for range 2 {
		out, err = h1.Exec(t.Context(), "ip", "route")
		require.NoError(t, err)
		require.Contains(t, out, other+" via "+h2.Address)
		require.NoError(t, h1.Reboot(t.Context()))
	}
}

func machineRoutes(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "route").Output()
	require.NoError(t, err)
	return string(out)
}

// A container in Docker's own network on a host is no part of the routed ones, but gets out.
func TestDefaultBridge(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 2})
	h1, h2 := s.Hosts[0], s.Hosts[1]
	address := s.database(h2, "db", 10)
	s.container(h1, runtime.Spec{Name: "client", Args: []string{"wait"}, Network: "bridge"})
	s.becomes("open "+h1.Address, func() string { return s.from(h1, "client", address, silence) })
}
