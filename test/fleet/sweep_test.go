package fleet_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/test/fleet"
)

// as runs the test's program as something that makes a fleet, and gives its name.
func as(t *testing.T, what string) (cmd *exec.Cmd, name string) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	testenv.RequireRoot(t)
	testenv.RequireDocker(t)
	testenv.RequireBinary(t, "dockerd")
	testenv.RequireBinary(t, "nft")
	cmd = exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), asVariable+"="+what), os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	name = strings.TrimSpace(line)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := fleet.Remove(ctx, name); err != nil {
			require.ErrorIs(t, err, fleet.ErrNotFound)
		}
		require.Empty(t, machine(t, name))
	})
	return cmd, name
}

// Who made a fleet is killed: it ends at once, by itself, and the next one sweeps up what is left on the disk.
func TestOwnerIsKilled(t *testing.T) {
	t.Parallel()
	cmd, name := as(t, asOwner)
	there := machine(t, name)
	for _, what := range []string{"ip: hkf-" + name, "init.sh", "switch.sh", "dockerd", "containerd", "find: "} {
		require.Contains(t, there, what)
	}
	require.NotContains(t, there, "cat: ", "mounts are the hosts' own")
	swept, err := fleet.Sweep(t.Context())
	require.NoError(t, err)
	require.NotContains(t, swept, name, "it is in use")
	require.ErrorIs(t, fleet.Remove(t.Context(), name), fleet.ErrTaken)
	_, err = fleet.Open(t.Context(), name)
	require.ErrorIs(t, err, fleet.ErrTaken)

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool { return !strings.Contains(machine(t, name), "ps: ") }, patience, 20*time.Millisecond, "they end without anybody's help")
	swept, err = fleet.Sweep(t.Context())
	require.NoError(t, err)
	require.Contains(t, swept, name)
	require.Empty(t, machine(t, name))
}

// A fleet that is kept outlives its maker; another process takes it over, changes it and removes it.
func TestKept(t *testing.T) {
	t.Parallel()
	cmd, name := as(t, asKeeper)
	require.NoError(t, cmd.Wait())
	swept, err := fleet.Sweep(t.Context())
	require.NoError(t, err)
	require.NotContains(t, swept, name)
	require.Contains(t, machine(t, name), "ps: ")

	use := func(f func(f *fleet.Fleet)) {
		t.Helper()
		taken, err := fleet.Open(t.Context(), name)
		require.NoError(t, err)
		f(taken)
		require.NoError(t, taken.Release())
	}
	use(func(f *fleet.Fleet) {
		h := f.Hosts[0]
		require.Len(t, f.Hosts, 2)
		require.True(t, h.Up())
		require.NoError(t, h.Heal(t.Context()), "nothing is wrong with it")
		_, err := h.Start(fleet.Program{Name: "sleeper", Args: []string{"sleep", "1000"}, Again: true})
		require.NoError(t, err)
		require.NoError(t, h.Cut(t.Context()))
	})
	use(func(f *fleet.Fleet) {
		h := f.Hosts[0]
		require.NoError(t, h.Reboot(t.Context()))
		out, err := h.Exec(t.Context(), "ps", "-eo", "args")
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(out, "sleep 1000"), "%s", out)
		require.Equal(t, "dropped", ping(t, f.Hosts[1], h, silence), "the cut is still there")
		require.NoError(t, f.Heal(t.Context()))
		require.Equal(t, "refused", ping(t, f.Hosts[1], h, patience))
		require.NoError(t, f.Hosts[1].Lose(t.Context()))
	})
	use(func(f *fleet.Fleet) { require.False(t, f.Hosts[1].Up()) })
	require.NoError(t, fleet.Remove(t.Context(), name))
	require.Empty(t, machine(t, name))
	require.ErrorIs(t, fleet.Remove(t.Context(), name), fleet.ErrNotFound)
	_, err = fleet.Open(t.Context(), name)
	require.ErrorIs(t, err, fleet.ErrNotFound)
}

// ping connects to a port that is nobody's: to be refused is an answer, too.
func ping(t *testing.T, from, to *fleet.Host, in time.Duration) string {
	t.Helper()
	return reach(t.Context(), from.Dial, to.Address+":7", in)
}

// Whoever dies half-way through making a fleet that is to be kept leaves something that runs and has no state.
func TestHalfMade(t *testing.T) {
	t.Parallel()
	cmd, name := as(t, asKeeper)
	require.NoError(t, cmd.Wait())
	require.NoError(t, os.Remove(filepath.Join(fleet.BaseDir(), "fleets", name, "state.json")))
	swept, err := fleet.Sweep(t.Context())
	require.NoError(t, err)
	require.Contains(t, swept, name)
	require.Empty(t, machine(t, name))
}

// Closed, nothing is left, whatever state the hosts were in; and this process is where it was.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	before := map[string]string{}
	for _, ns := range []string{"net", "mnt", "pid", "uts", "ipc"} {
		before[ns], _ = os.Readlink("/proc/self/ns/" + ns)
		require.NotEmpty(t, before[ns])
	}
	name := ""
	t.Run("while it is there", func(t *testing.T) {
		s := newSite(t, fleet.Options{})
		name = s.Name
		s.container(s.Hosts[0], runtime.Spec{Name: "frozen", Args: []string{"wait"}})
		require.NoError(t, s.docker(s.Hosts[0]).Pause(t.Context(), "frozen"))
		require.NoError(t, s.Hosts[1].Pause(t.Context()))
		require.NoError(t, s.Hosts[2].Lose(t.Context()))
		require.Contains(t, machine(t, name), "find: /sys/fs/cgroup")
		require.Contains(t, machine(t, name), "ip: hkf-")
	})
	if name != "" {
		require.Empty(t, machine(t, name))
	}
	for ns, was := range before {
		now, err := os.Readlink("/proc/self/ns/" + ns)
		require.NoError(t, err)
		require.Equal(t, was, now)
	}
}

// A name is one fleet's at a time, and a fleet that cannot be made leaves nothing.
func TestNames(t *testing.T) {
	t.Parallel()
	f := fleet.ForTest(t, fleet.Options{Hosts: 1})
	_, err := fleet.New(t.Context(), fleet.Options{Name: f.Name})
	require.ErrorIs(t, err, fleet.ErrTaken)
	require.True(t, f.Hosts[0].Up())
	all, err := fleet.Names()
	require.NoError(t, err)
	require.Contains(t, all, f.Name)
	_, err = fleet.New(t.Context(), fleet.Options{Images: []string{"huker-test/nonexistent:0"}})
	require.ErrorIs(t, err, runtime.ErrNoImage)

	over, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	name := "half" + testenv.Suffix(t)[:4]
	_, err = fleet.New(over, fleet.Options{Name: name})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, machine(t, name))
}

// An image that comes later is loaded on all hosts at once, and once.
func TestLoadImage(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	f := fleet.ForTest(t, fleet.Options{Hosts: 2})
	for range 2 {
		require.NoError(t, f.LoadImage(t.Context(), s.image))
		for _, h := range f.Hosts {
			d, err := h.Docker(t.Context(), "fleet-test")
			require.NoError(t, err)
			want, err := s.docker(s.Hosts[0]).InspectImage(t.Context(), s.image)
			require.NoError(t, err)
			got, err := d.InspectImage(t.Context(), s.image)
			require.NoError(t, err)
			require.Equal(t, want.ID, got.ID)
			require.NoError(t, d.Close())
		}
	}
	require.ErrorIs(t, f.LoadImage(t.Context(), "huker-test/nonexistent:0"), runtime.ErrNoImage)
}
