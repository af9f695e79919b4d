package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/fleet"
)

// The whole way: each command is a process of its own for whoever types it, so the fleet is opened and let go of each time.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	testenv.RequireRoot(t)
	testenv.RequireDocker(t)
	testenv.RequireBinary(t, "dockerd")
	testenv.RequireBinary(t, "nft")
	name := "c" + testenv.Suffix(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := fleet.Remove(ctx, name); !errors.Is(err, fleet.ErrNotFound) {
			require.NoError(t, err)
		}
	})
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		c := root()
		c.SetOut(&out)
		c.SetArgs(append([]string{"--name", name}, args...))
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	works := func(args ...string) string {
		t.Helper()
		out, err := run(args...)
		require.NoError(t, err, "%v", args)
		return out
	}
	out := works("up", "--hosts", "1")
	require.Contains(t, out, "made in")
	require.Contains(t, out, "h1/run/docker.sock")
	require.NotContains(t, works("up"), "made in", "it is there")
	require.Equal(t, "h1\n", works("exec", "h1", "hostname"))
	_, err := run("exec", "h1", "bash", "-c", "exit 7")
	exit := (*exec.ExitError)(nil)
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())
	_, err = run("lose", "h2")
	require.ErrorIs(t, err, fleet.ErrNotFound)
	_, err = run("cut", "h1", "--way", "sideways")
	require.ErrorContains(t, err, "sideways")
	_, err = run("cut", "h1", "--from", "h2")
	require.ErrorIs(t, err, fleet.ErrInvalid)
	works("cut", "h1", "--from", "controller", "--way", "in", "--port", "22")
	works("slow", "h1", "--rate", "1000000")
	works("pause", "h1")
	works("resume", "h1")
	works("lose", "h1")
	require.Contains(t, works("show"), "down  DOCKER_HOST")
	works("heal")
	require.NotContains(t, works("show"), "down  DOCKER_HOST")
	works("down")
	require.Contains(t, works("down"), "there is no fleet")
	_, err = run("show")
	require.ErrorIs(t, err, fleet.ErrNotFound)
}
