// Package cluster has the tests of the development cluster: docker-compose.yml and scripts/cluster, as a person uses them.
package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime/docker"
)

const project = "../.."

// patience is what the cluster gets to answer again after something died.
const patience = 2 * time.Minute

// cluster is one with a name, ports, images' names and a range of addresses of its own.
type cluster struct {
	t    *testing.T
	name string
	data string
	env  []string
	api  [2]string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if testing.Short() || os.Getenv("HUKER_E2E_CLUSTER") != "1" {
		t.Skip("SKIPPED, NOT TESTED: a cluster of Compose's (make test-cluster)")
	}
	testenv.RequireDocker(t)
	testenv.RequireRoot(t)
	name := "huker-test-" + testenv.Suffix(t)
	c := &cluster{t: t, name: name, data: filepath.Join(t.TempDir(), "data")}
	ports := freePorts(t, 6)
	c.api = [2]string{"http://127.0.0.1:" + ports[0], "http://127.0.0.1:" + ports[1]}
	c.env = append(os.Environ(), "HUKER_CLUSTER="+name, "HUKER_TAG="+name, "HUKER_DATA_DIR="+c.data, "HUKER_API_PORT="+ports[0], "HUKER_API2_PORT="+ports[1],
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
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(project, "bin/huker"), append([]string{"--os-auth-url", c.api[api] + "/identity/v3"}, args...)...)
	cmd.Env = append(os.Environ(), "OS_USERNAME=admin", "OS_PROJECT_NAME=admin", "OS_PASSWORD="+c.password(), "XDG_CACHE_HOME="+c.t.TempDir())
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

// services gives the id of each service's container, of those that run.
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

// sql runs statements in the first database, as this machine's client.
func (c *cluster) sql(api int, password, text string) string {
	c.t.Helper()
	out, err := c.huker(api, password+"\n"+text, "instance", "connect", "first", "--user", "app", "--password-stdin", "--database", "app")
	require.NoError(c.t, err)
	return out
}

// works requires that both copies of the API, and what they ask, answer.
func (c *cluster) works() {
	c.t.Helper()
	for api := range c.api {
		require.EventuallyWithT(c.t, func(t *assert.CollectT) {
			_, err := c.huker(api, "", "user", "list", "first") // through the bus, to the agent
			assert.NoError(t, err)
		}, patience, time.Second, "the cluster does not work as before")
	}
}

// leftovers says what of the cluster is on the machine.
func (c *cluster) leftovers() string {
	c.t.Helper()
	found := ""
	for _, label := range []string{"com.docker.compose.project=" + c.name, "io.huker.owner=" + c.name} {
		found += c.docker("ps", "-aq", "--filter", "label="+label) + c.docker("volume", "ls", "-q", "--filter", "label="+label) +
			c.docker("network", "ls", "-q", "--filter", "label="+label)
	}
	found += c.docker("images", "-q", "--filter", "reference=huker/*:"+c.name)
	rules, err := exec.CommandContext(c.t.Context(), "iptables-save").Output()
	require.NoError(c.t, err)
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, network.ChainName(c.name)) || strings.Contains(line, docker.BridgeName(c.name)) {
			found += line
		}
	}
	if _, err := os.Stat(c.data); err == nil {
		found += c.data
	}
	return found
}

// secrets gives all passwords of the cluster's own.
func (c *cluster) secrets() []string {
	c.t.Helper()
	services := c.services()
	var all []string
	for service, files := range map[string]string{
		"api-1": "admin-password metadata-password", "nodekeeper-1": "bus-password", "metadata": "root-password", "rabbitmq": "../var/lib/rabbitmq/.erlang.cookie",
	} {
		for file := range strings.FieldsSeq(files) {
			text := strings.TrimSpace(c.docker("exec", services[service], "cat", "/identity/"+file))
			require.Greater(c.t, len(text), 15)
			all = append(all, text)
		}
	}
	return all
}

func TestCluster(t *testing.T) {
	c := newCluster(t)
	require.Empty(t, c.leftovers())
	told := c.up()
	services := c.services()
	require.ElementsMatch(t, []string{"rabbitmq", "zookeeper", "metadata", "api-1", "api-2", "nodekeeper-1", "nodekeeper-2", "sysmgr"}, slices.Collect(maps.Keys(services)))
	require.Contains(t, told, "waiting for ")
	password := c.asTold(told)
	require.Contains(t, c.sql(1, password, "CREATE TABLE t (v INT); INSERT INTO t VALUES (41); SELECT v FROM t"), "41")
	list, err := c.huker(1, "", "instance", "list")
	require.NoError(t, err)
	require.Contains(t, list, "first")
	database := strings.TrimSpace(c.docker("ps", "-q", "--filter", "label=io.huker.owner="+c.name, "--filter", "label=io.huker.instance"))
	require.NotEmpty(t, database)
	begun := c.docker("inspect", "-f", "{{.State.StartedAt}}", database)
	untouched := func(t *testing.T) {
		t.Helper()
		require.Equal(t, begun, c.docker("inspect", "-f", "{{.State.StartedAt}}", database), "the database was disturbed")
		require.Contains(t, c.sql(1, password, "SELECT v FROM t"), "41")
	}

	t.Run("again is the same as once", func(t *testing.T) {
		_ = c.up()
		require.Equal(t, services, c.services())
		untouched(t)
	})
	t.Run("no secret in sight", func(t *testing.T) {
		secrets := append(c.secrets(), password)
		var seen strings.Builder
		for _, id := range services {
			seen.WriteString(c.docker("inspect", id))
		}
		processes, err := exec.CommandContext(t.Context(), "ps", "axwwe").Output() // with their environments
		require.NoError(t, err)
		seen.Write(processes)
		for _, secret := range secrets {
			require.NotContains(t, seen.String(), secret)
		}
		require.Contains(t, seen.String(), "huker-nodekeeper", "what was looked at is what there is")
	})
	kill := func(t *testing.T, id string) {
		t.Helper()
		pid, err := strconv.Atoi(strings.TrimSpace(c.docker("inspect", "-f", "{{.State.Pid}}", id)))
		require.NoError(t, err)
		require.Greater(t, pid, 1)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	t.Run("each dies once", func(t *testing.T) {
		for service, id := range services {
			kill(t, id)
			require.EventuallyWithT(t, func(t *assert.CollectT) {
				assert.Equal(t, "healthy 1", strings.TrimSpace(c.docker("inspect", "-f", "{{.State.Health.Status}} {{.RestartCount}}", id)))
			}, patience, 200*time.Millisecond, "%s does not come back", service)
			c.works()
			untouched(t)
		}
	})
	t.Run("all die at once, and come back in no order", func(t *testing.T) {
		for _, id := range services {
			kill(t, id)
		}
		for service, id := range services {
			require.EventuallyWithT(t, func(t *assert.CollectT) {
				var restarts int
				var state string
				_, err := fmt.Sscan(c.docker("inspect", "-f", "{{.RestartCount}} {{.State.Health.Status}}", id), &restarts, &state)
				assert.NoError(t, err)
				assert.Equal(t, "healthy", state)
				assert.GreaterOrEqual(t, restarts, 2)
			}, patience, 200*time.Millisecond, "%s does not come back", service)
		}
		c.works()
		untouched(t)
	})
	t.Run("all are killed for good, and up again", func(t *testing.T) {
		// What docker kill has ended, Docker does not start again.
		c.docker(append([]string{"kill"}, slices.Collect(maps.Values(services))...)...)
		require.Empty(t, c.services())
		_ = c.up()
		require.Equal(t, services, c.services())
		c.works()
		untouched(t)
		_, err := c.huker(0, "", "instance", "create", "second")
		require.NoError(t, err)
	})
	t.Run("down and up", func(t *testing.T) {
		before, err := c.huker(0, "", "instance", "show", "first", "--output", "json")
		require.NoError(t, err)
		out, err := c.script("down")
		require.NoError(t, err, out)
		require.Empty(t, c.docker("ps", "-aq", "--filter", "name=^"+c.name))
		require.Empty(t, c.docker("network", "ls", "-q", "--filter", "name=^"+c.name))
		// One of the images is another's, this time.
		other := "huker-test/rabbitmq:" + c.name
		c.docker("tag", "huker/rabbitmq:"+c.name, other)
		t.Cleanup(func() { c.docker("image", "rm", "--force", other) })
		c.env = append(c.env, "HUKER_RABBITMQ_IMAGE="+other)
		_ = c.up()
		require.Equal(t, other, strings.TrimSpace(c.docker("inspect", "-f", "{{.Config.Image}}", c.services()["rabbitmq"])))
		c.works()
		after, err := c.huker(0, "", "instance", "show", "first", "--output", "json")
		require.NoError(t, err)
		require.Equal(t, address(t, before), address(t, after))
		require.Contains(t, c.sql(0, password, "SELECT v FROM t"), "41")
	})
	t.Run("purge", func(t *testing.T) {
		require.Contains(t, c.leftovers(), network.ChainName(c.name), "rules would be found")
		out, err := c.script("down", "--purge")
		require.NoError(t, err, out)
		require.Empty(t, c.leftovers())
	})
}

// asTold does what up says is to be done next, to the letter, and gives the password of the database's user.
func (c *cluster) asTold(told string) string {
	c.t.Helper()
	next := regexp.MustCompile(`(?m)^  (eval .*)\n  (bin/huker instance create .*)$`).FindStringSubmatch(told)
	require.Len(c.t, next, 3, told)
	cmd := exec.CommandContext(c.t.Context(), "sh", "-ec", next[1]+"\n"+next[2])
	cmd.Dir, cmd.Env = project, append(os.Environ(), "XDG_CACHE_HOME="+c.t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	password := regexp.MustCompile(`(?m)^Password of user app.*: (\S+)$`).FindStringSubmatch(string(out))
	require.Len(c.t, password, 2, "%s", out)
	return password[1]
}

func address(t *testing.T, shown string) string {
	t.Helper()
	found := regexp.MustCompile(`\b10\.123\.\d+\.\d+\b`).FindString(shown)
	require.NotEmpty(t, found, shown)
	return found
}
