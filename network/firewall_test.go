package network_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
)

func iptables(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), "iptables", append([]string{"-w", "10"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// The real iptables: rules stand, are put back when somebody flushes them, and leave nothing.
func TestFirewall(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	testenv.RequireDocker(t) // its DOCKER-USER chain
	name := "test-" + testenv.Suffix(t)
	chain := network.ChainName(name)
	f, err := network.NewFirewall(name, "hk-test")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Remove(context.Background())) })

	access := []network.Access{{Address: "10.88.250.10", Public: true}}
	require.NoError(t, f.Set(t.Context(), access))
	rules := iptables(t, "-S", chain)
	require.Contains(t, rules, "-d 10.88.250.10/32 -o hk-test -p tcp -m tcp --dport 3306 -j ACCEPT")

	t.Run("again changes nothing", func(t *testing.T) {
		require.NoError(t, f.Set(t.Context(), access))
		require.Equal(t, rules, iptables(t, "-S", chain))
		require.Equal(t, 1, strings.Count(iptables(t, "-S", "DOCKER-USER"), chain))
	})
	t.Run("what others flushed comes back", func(t *testing.T) {
		iptables(t, "-F", chain)
		iptables(t, "-D", "DOCKER-USER", "-j", chain)
		require.NoError(t, f.Set(t.Context(), access))
		require.Equal(t, rules, iptables(t, "-S", chain))
		require.Equal(t, 1, strings.Count(iptables(t, "-S", "DOCKER-USER"), chain))
	})
	t.Run("a rule of others in front", func(t *testing.T) {
		iptables(t, "-I", "DOCKER-USER", "1", "-s", "192.0.2.1/32", "-j", "RETURN")
		t.Cleanup(func() { iptables(t, "-D", "DOCKER-USER", "-s", "192.0.2.1/32", "-j", "RETURN") })
		require.NoError(t, f.Set(t.Context(), access))
		lines := strings.Split(strings.TrimSpace(iptables(t, "-S", "DOCKER-USER")), "\n")
		require.Contains(t, lines[1], "HUKER-")
		require.Equal(t, 1, strings.Count(strings.Join(lines, "\n"), chain))
	})
	t.Run("a fresh process takes over", func(t *testing.T) {
		again, err := network.NewFirewall(name, "hk-test")
		require.NoError(t, err)
		require.NoError(t, again.Set(t.Context(), nil))
		require.NotContains(t, iptables(t, "-S", chain), "10.88.250.10")
	})
	t.Run("nothing is left", func(t *testing.T) {
		require.NoError(t, f.Remove(t.Context()))
		require.NoError(t, f.Remove(t.Context()))
		require.NotContains(t, iptables(t, "-S"), chain)
	})
}
