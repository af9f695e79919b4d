package network_test

import (
	"context"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
)

// alone puts the test, and what it runs, into a network of its own with empty tables. It must not run in parallel, nor in subtests.
func alone(t *testing.T) {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	goruntime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no network namespace: %v", err)
	}
	require.NotContains(t, iptables(t, "-S"), "DOCKER")
}

func rulesOf(t *testing.T, chain string) []string {
	t.Helper()
	return strings.Split(strings.TrimSpace(iptables(t, "-S", chain)), "\n")[1:]
}

// Without Docker the jump is in FORWARD. Docker comes: it moves. Docker's jump is flushed: it moves back.
func TestJumpFollowsDocker(t *testing.T) {
	alone(t)
	f, err := network.NewFirewall("d", "hk-1")
	require.NoError(t, err)
	chain := network.ChainName("d")
	changed, err := f.Ensure(t.Context())
	require.NoError(t, err)
	require.False(t, changed, "nothing was asked for yet")

	iptables(t, "-A", "FORWARD", "-s", "192.0.2.1/32", "-j", "ACCEPT")
	require.NoError(t, f.Set(t.Context(), nil))
	require.Equal(t, []string{"-A FORWARD -j " + chain, "-A FORWARD -s 192.0.2.1/32 -j ACCEPT"}, rulesOf(t, "FORWARD"))

	iptables(t, "-N", "DOCKER-USER")
	changed, err = f.Ensure(t.Context())
	require.NoError(t, err)
	require.False(t, changed, "nobody asks DOCKER-USER yet")
	iptables(t, "-A", "DOCKER-USER", "-j", "RETURN")
	iptables(t, "-I", "FORWARD", "-j", "DOCKER-USER")
	changed, err = f.Ensure(t.Context())
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{"-A DOCKER-USER -j " + chain, "-A DOCKER-USER -j RETURN"}, rulesOf(t, "DOCKER-USER"))
	require.Equal(t, []string{"-A FORWARD -j DOCKER-USER", "-A FORWARD -s 192.0.2.1/32 -j ACCEPT"}, rulesOf(t, "FORWARD"))

	iptables(t, "-F", "FORWARD")
	changed, err = f.Ensure(t.Context())
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{"-A FORWARD -j " + chain}, rulesOf(t, "FORWARD"))
	require.Equal(t, []string{"-A DOCKER-USER -j RETURN"}, rulesOf(t, "DOCKER-USER"))

	for range 3 {
		iptables(t, "-A", "FORWARD", "-j", chain)
	}
	iptables(t, "-A", chain, "-j", "ACCEPT")
	changed, err = f.Ensure(t.Context())
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, []string{"-A FORWARD -j " + chain}, rulesOf(t, "FORWARD"))
	require.NotContains(t, rulesOf(t, chain), "-A "+chain+" -j ACCEPT")

	iptables(t, "-A", "DOCKER-USER", "-j", chain)
	for range 2 {
		require.NoError(t, f.Remove(t.Context()))
	}
	require.NotContains(t, iptables(t, "-S"), "HUKER-")
	require.Equal(t, []string{"-A DOCKER-USER -j RETURN"}, rulesOf(t, "DOCKER-USER"))
}

// What cannot be done as a whole is not done at all.
func TestSetIsAllOrNothing(t *testing.T) {
	alone(t)
	f, err := network.NewFirewall("d", "hk-1")
	require.NoError(t, err)
	require.NoError(t, f.Set(t.Context(), []network.Access{{Address: "10.88.0.10"}}))
	before := iptables(t, "-S")
	require.ErrorIs(t, f.Set(t.Context(), []network.Access{{Address: "10.88.0.11"}, {Address: "nowhere"}}), network.ErrInvalid)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Set(over, nil), context.Canceled)
	require.Equal(t, before, iptables(t, "-S"))
	changed, err := f.Ensure(t.Context())
	require.NoError(t, err)
	require.False(t, changed, "what is asked for is still what was asked for last with success")
}

// Several deployments on one host change their rules at once: each ends with its own, whole.
func TestDeploymentsSideBySide(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	suffix := testenv.Suffix(t)
	var walls []*network.Firewall
	var names []string
	for _, n := range []string{"a", "b", "c"} {
		names = append(names, "hkt-"+suffix+n)
		f, err := network.NewFirewall("hkt-"+suffix+n, "hkt-"+suffix[:4]+n)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Remove(context.Background())) })
		walls = append(walls, f)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for _, f := range walls {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 5 {
				access := []network.Access{{Address: "10.86.250.10", Public: i%2 == 0}}
				if err := f.Set(t.Context(), access); err != nil {
					errs <- err
				}
				if i < 4 {
					if err := f.Remove(t.Context()); err != nil {
						errs <- err
					}
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	all := iptables(t, "-S")
	for _, n := range names {
		chain := network.ChainName(n)
		require.Equal(t, 1, strings.Count(all, " -j "+chain+"\n"), n)
		require.Contains(t, iptables(t, "-S", chain), "10.86.250.10")
	}
}
