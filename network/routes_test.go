package network_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/network"
)

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
	require.NoError(t, err, "ip %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func TestRoutes(t *testing.T) {
	alone(t)
	ip(t, "link", "add", "out", "type", "veth", "peer", "name", "far")
	ip(t, "addr", "add", "192.0.2.1/24", "dev", "out")
	ip(t, "link", "set", "out", "up")
	ip(t, "link", "set", "far", "up")
	ip(t, "route", "add", "10.88.200.0/24", "via", "192.0.2.99") // somebody else's
	const within = "10.88.0.0/16"
	listed := func() string { return ip(t, "route", "show", "root", within) }
	second, third := network.Route{Subnet: "10.88.2.0/24", Via: "192.0.2.2"}, network.Route{Subnet: "10.88.3.0/24", Via: "192.0.2.3"}

	require.NoError(t, network.SetRoutes(within, []network.Route{second, third}))
	require.Contains(t, listed(), "10.88.2.0/24 via 192.0.2.2")
	require.Contains(t, listed(), "10.88.3.0/24 via 192.0.2.3")
	before := listed()
	require.NoError(t, network.SetRoutes(within, []network.Route{third, second}))
	require.Equal(t, before, listed())

	second.Via = "192.0.2.22" // the host has another address now
	require.NoError(t, network.SetRoutes(within, []network.Route{second}))
	require.Contains(t, listed(), "10.88.2.0/24 via 192.0.2.22")
	require.NotContains(t, listed(), "10.88.3.0/24")

	// One that cannot be made does not keep the others from being made.
	err := network.SetRoutes(within, []network.Route{{Subnet: "10.88.4.0/24", Via: "198.51.100.1"}, third, {Subnet: "10.99.0.0/24", Via: "192.0.2.2"}})
	require.ErrorContains(t, err, "10.88.4.0/24 by 198.51.100.1")
	require.ErrorIs(t, err, network.ErrInvalid, "outside of the range")
	require.Contains(t, listed(), "10.88.3.0/24 via 192.0.2.3")

	require.NoError(t, network.SetRoutes(within, nil))
	require.Equal(t, "10.88.200.0/24 via 192.0.2.99 dev out", listed(), "somebody else's stays")
	require.ErrorIs(t, network.SetRoutes("everything", nil), network.ErrInvalid)
}
