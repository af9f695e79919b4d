// Package cluster has the tests of the development cluster: docker-compose.yml and scripts/cluster, as a person uses them.
package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

const project = "../.."

// cluster is one with a name, ports and a range of addresses of its own.
type cluster struct {
	t    *testing.T
	name string
	data string
	env  []string
	api  [2]string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("HUKER_E2E_CLUSTER") != "1" {
		t.Skip("SKIPPED, NOT TESTED: a cluster of Compose's (make test-cluster)")
	}
	testenv.RequireDocker(t)
	testenv.RequireRoot(t)
	name := "huker-test-" + testenv.Suffix(t)
	c := &cluster{t: t, name: name, data: filepath.Join(t.TempDir(), "data")}
	ports := freePorts(t, 6)
	c.api = [2]string{"http://127.0.0.1:" + ports[0], "http://127.0.0.1:" + ports[1]}
	c.env = append(os.Environ(), "HUKER_CLUSTER="+name, "HUKER_DATA_DIR="+c.data, "HUKER_API_PORT="+ports[0], "HUKER_API2_PORT="+ports[1],
		"HUKER_BUS_PORT="+ports[2], "HUKER_COORDINATION_PORT="+ports[3], "HUKER_DEPOT_PORT="+ports[4], "HUKER_SYSMGR_PORT="+ports[5],
		"HUKER_ADDRESS_RANGE=10.123.0.0/16")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("its containers:\n%s", c.docker("ps", "-a", "--filter", "label=com.docker.compose.project="+name))
		}
		if out, err := c.script("down", "--purge"); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
	})
	return c
}

// freePorts gives ports that nobody listens on, on any address.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		require.NoError(t, err)
		defer func() { _ = l.Close() }() // when all are known, so that they differ
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func (c *cluster) script(args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(project, "scripts/cluster"), args...) //nolint:noctx // it cleans up, too
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cluster) up() string {
	c.t.Helper()
	out, err := c.script("up")
	require.NoError(c.t, err, out)
	return out
}

func (c *cluster) docker(args ...string) string {
	c.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput() //nolint:noctx // it cleans up, too
	require.NoError(c.t, err, "%s", out)
	return string(out)
}

// huker runs the command line, against one of the two APIs.
func (c *cluster) huker(api int, stdin string, args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(project, "bin/huker"), append([]string{"--data-dir", c.data, "--os-auth-url", c.api[api] + "/v3"}, args...)...)
	cmd.Env = append(os.Environ(), "OS_USERNAME=admin", "OS_PROJECT_NAME=admin", "OS_PASSWORD="+c.password())
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("huker %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func (c *cluster) password() string {
	c.t.Helper()
	data, err := os.ReadFile(filepath.Join(c.data, "admin.json"))
	require.NoError(c.t, err)
	var admin struct{ Password string }
	require.NoError(c.t, json.Unmarshal(data, &admin))
	return admin.Password
}

// services gives the id of each service's container.
func (c *cluster) services() map[string]string {
	c.t.Helper()
	all := map[string]string{}
	text := c.docker("ps", "--filter", "label=com.docker.compose.project="+c.name, "--format", `{{.Label "com.docker.compose.service"}} {{.ID}}`)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		all[f[0]] = f[1]
	}
	return all
}

// leftovers says what of the cluster is on the machine.
func (c *cluster) leftovers() string {
	c.t.Helper()
	found := c.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+c.name) +
		c.docker("ps", "-aq", "--filter", "label=io.huker.owner="+c.name) +
		c.docker("volume", "ls", "-q", "--filter", "label=com.docker.compose.project="+c.name) +
		c.docker("volume", "ls", "-q", "--filter", "label=io.huker.owner="+c.name) +
		c.docker("network", "ls", "-q", "--filter", "label=com.docker.compose.project="+c.name) +
		c.docker("network", "ls", "-q", "--filter", "label=io.huker.owner="+c.name)
	rules, err := exec.CommandContext(c.t.Context(), "iptables-save").Output()
	require.NoError(c.t, err)
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, c.name) {
			found += line
		}
	}
	if _, err := os.Stat(c.data); err == nil {
		found += c.data
	}
	return found
}

func TestCluster(t *testing.T) {
	c := newCluster(t)
	first := c.up()
	require.Contains(t, first, c.api[0])
	services := c.services()
	require.Len(t, services, 8)
	_ = c.up()
	require.Equal(t, services, c.services(), "again is the same as once")

	const password = "a-password-of-the-test"
	sql := func(text string) string {
		file := filepath.Join(t.TempDir(), "password")
		require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
		out, err := c.huker(1, text, "instance", "connect", "kept", "--user", "app", "--password-file", file)
		require.NoError(t, err)
		return out
	}
	_, err := c.huker(0, password+"\n", "instance", "create", "kept", "--database", "app", "--user", "app", "--password-stdin")
	require.NoError(t, err)
	require.Contains(t, sql("CREATE TABLE app.t (v INT); INSERT INTO app.t VALUES (41); SELECT v FROM app.t"), "41")

	t.Run("no secrets in sight", func(t *testing.T) {
		processes, err := exec.CommandContext(t.Context(), "ps", "axwwe").Output()
		require.NoError(t, err)
		for service, id := range services {
			text := c.docker("inspect", id)
			for _, secret := range []string{password, c.password()} {
				require.NotContains(t, text, secret, service)
				require.NotContains(t, string(processes), secret)
			}
		}
	})
	t.Run("each is killed once", func(t *testing.T) {
		database := strings.TrimSpace(c.docker("ps", "-q", "--filter", "label=io.huker.owner="+c.name, "--filter", "label=io.huker.instance"))
		require.NotEmpty(t, database)
		begun := c.docker("inspect", "-f", "{{.State.StartedAt}}", database)
		for service, id := range services {
			pid, err := strconv.Atoi(strings.TrimSpace(c.docker("inspect", "-f", "{{.State.Pid}}", id)))
			require.NoError(t, err)
			require.Greater(t, pid, 1)
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			require.Contains(t, sql("SELECT v FROM app.t"), "41")
			require.Eventually(t, func() bool {
				return strings.TrimSpace(c.docker("inspect", "-f", "{{.State.Health.Status}} {{.RestartCount}}", id)) == "healthy 1"
			}, 2*time.Minute, 200*time.Millisecond, "%s does not come back", service)
		}
		for n := range 2 {
			require.Eventually(t, func() bool {
				_, err := c.huker(n, "", "user", "list", "kept") // through the bus, to the agent
				return err == nil
			}, 2*time.Minute, time.Second, "the cluster does not work as before")
		}
		require.Equal(t, begun, c.docker("inspect", "-f", "{{.State.StartedAt}}", database), "the database was not disturbed")
		_, err := c.huker(1, password+"\n", "instance", "create", "later", "--database", "app", "--user", "app", "--password-stdin")
		require.NoError(t, err)
	})
	t.Run("down and up", func(t *testing.T) {
		out, err := c.script("down")
		require.NoError(t, err, out)
		require.Empty(t, c.services())
		c.up()
		require.Eventually(t, func() bool {
			out, err := c.huker(0, "", "instance", "show", "kept")
			return err == nil && strings.Contains(out, "ACTIVE")
		}, 2*time.Minute, time.Second)
		require.Contains(t, sql("SELECT v FROM app.t"), "41")
	})
	t.Run("purge", func(t *testing.T) {
		require.NotEmpty(t, c.leftovers())
		out, err := c.script("down", "--purge")
		require.NoError(t, err, out)
		require.Empty(t, c.leftovers())
	})
}
