package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/network"
)

// project gives a folder as `huker up` needs it: the Dockerfile, and the programs in bin/.
func project(t *testing.T) string {
	t.Helper()
	bin, err := binaries()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	for from, to := range map[string]string{
		filepath.Join("..", "..", "Dockerfile"): "Dockerfile", filepath.Join(bin, "huker"): "bin/huker",
		filepath.Join(bin, "huker-guestagent"): "bin/huker-guestagent", filepath.Join(bin, "huker-supervisor"): "bin/huker-supervisor",
	} {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), data, 0o755))
	}
	return dir
}

// The main job: up ends with a database; again changes nothing; down leaves the data only; up brings it back; purge leaves nothing.
func TestUpAndDown(t *testing.T) {
	p := newPlane(t)
	dir := project(t)
	huker := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "bin", "huker"), append(args, "--data-dir", p.dir)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "huker %v: %s", args, out)
		return string(out)
	}
	up := func() string {
		t.Helper()
		return huker("", "up", "--quiet", "--name", p.name, "--listen", p.listen)
	}
	sql := func(password, statement string) string {
		t.Helper()
		return huker(password+"\n"+statement, "instance", "connect", "first", "--user", "app", "--password-stdin", "--database", "app")
	}
	first := up()
	password := regexp.MustCompile(`password +(\S+)`).FindStringSubmatch(first)[1]
	require.Regexp(t, `mysql -h 10\.\d+\.\d+\.\d+ -u app -p'`+password+`' app`, first)
	require.Contains(t, first, "MySQL 9.7")
	require.Contains(t, sql(password, "CREATE TABLE kept (v INT); INSERT INTO kept VALUES (41); SELECT v FROM kept"), "41")
	require.Equal(t, first, up(), "again is the same as once")

	t.Run("comes back when it is killed", func(t *testing.T) {
		plane, err := p.engine.Inspect(t.Context(), p.name+"-control")
		require.NoError(t, err)
		require.Positive(t, plane.Pid)
		require.NoError(t, syscall.Kill(plane.Pid, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			now, err := p.engine.Inspect(t.Context(), p.name+"-control")
			return err == nil && now.Pid != 0 && now.Pid != plane.Pid && p.healthy()
		}, time.Minute, 100*time.Millisecond)
	})
	t.Run("down and up", func(t *testing.T) {
		huker("", "down", "--name", p.name)
		containers, err := p.engine.List(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, containers)
		networks, err := p.engine.ListNetworks(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, networks)
		require.Equal(t, first, up(), "same address, same password")
		require.Contains(t, sql(password, "SELECT v FROM kept"), "41")
	})
	t.Run("purge", func(t *testing.T) {
		huker("", "down", "--name", p.name, "--purge", "--yes")
		require.Empty(t, p.leftovers())
		_, err := os.Stat(p.dir)
		require.ErrorIs(t, err, os.ErrNotExist)
		rules, err := command(t, "iptables", "-w", "10", "-S")
		require.NoError(t, err)
		require.NotContains(t, rules, network.ChainName(p.name))
	})
}
