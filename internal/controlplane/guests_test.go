package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// twoPrograms is a folder with what guests run.
func twoPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{agentProgram, supervisorProgram} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("the "+name), 0o700)) //nolint:gosec // as a program is
	}
	return dir
}

func stamp(t *testing.T, sums string) {
	t.Helper()
	before := guestSums
	guestSums = sums
	t.Cleanup(func() { guestSums = before })
}

// TestInstallGuests: what lies beside the program is taken; what does not is fetched, if this build knows its content.
func TestInstallGuests(t *testing.T) {
	beside, to := twoPrograms(t), t.TempDir()
	g, err := installGuests(beside, to)
	require.NoError(t, err)
	require.Empty(t, g.Lacking())
	require.Len(t, g.Here(), 2)
	agent := sumOf([]byte("the " + agentProgram))
	supervisor := sumOf([]byte("the " + supervisorProgram))
	require.Equal(t, agentProgram+"-"+agent[:12], g.Agent())
	for _, name := range []string{g.Agent(), supervisorProgram} {
		info, err := os.Stat(filepath.Join(to, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o755), info.Mode(), "mysqld's user runs it")
	}
	require.Equal(t, filepath.Join(to, supervisorProgram), g.find(supervisor))
	require.Empty(t, g.find(sumOf([]byte("something else"))))

	_, err = installGuests(t.TempDir(), t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist, "nobody knows which ones to fetch")
	stamp(t, "nonsense,nonsense")
	_, err = installGuests(t.TempDir(), t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)

	stamp(t, agent+","+supervisor)
	to = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(to, supervisorProgram), []byte("an older one"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(to, "."+agentProgram+"-123"), []byte("half of one"), 0o600))
	g, err = installGuests(t.TempDir(), to)
	require.NoError(t, err)
	require.Len(t, g.Lacking(), 2)
	require.Empty(t, g.Here())
	require.Empty(t, g.Agent())
	require.NoFileExists(t, filepath.Join(to, "."+agentProgram+"-123"))
	broken := errors.New("the line is cut")
	g.fetch = func(_ context.Context, sum, path string, sources []string) error {
		require.Equal(t, []string{"https://a"}, sources)
		if sum == supervisor && broken != nil {
			return broken
		}
		return os.WriteFile(path, []byte("fetched"), 0o600)
	}
	require.ErrorIs(t, g.Fetch(t.Context(), []string{"https://a"}), broken)
	require.Len(t, g.Here(), 1)
	require.Empty(t, g.Agent(), "no guest is made with half of it")
	broken = nil
	require.NotEmpty(t, g.find(sumOf([]byte("an older one"))))
	require.NoError(t, g.Fetch(t.Context(), []string{"https://a"}))
	require.Empty(t, g.Lacking())
	require.Empty(t, g.find(sumOf([]byte("an older one"))), "another one is in its place")
	require.Equal(t, agentProgram+"-"+agent[:12], g.Agent())
	require.FileExists(t, filepath.Join(to, g.Agent()))
}
