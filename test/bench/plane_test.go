// Package bench measures the whole product, side by side with what people do without it.
package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	dclient "github.com/docker/docker/client"
	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/images"
	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
)

const (
	user     = "app"
	password = "benchmark-1-Password"
)

// plane is a deployment of the benchmark's own.
type plane struct {
	name   string
	api    *client.Client
	engine *docker.Driver
}

func start(b *testing.B) *plane {
	b.Helper()
	host := testenv.RequireDocker(b)
	testenv.RequireRoot(b)
	p := &plane{name: "bench-" + testenv.Suffix(b)}
	dir := b.TempDir()
	data := filepath.Join(dir, "data")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/",
		"github.com/huker/huker/cmd/huker", "github.com/huker/huker/cmd/huker-guestagent", "github.com/huker/huker/cmd/huker-supervisor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)
	p.engine, err = docker.Open(b.Context(), docker.Config{Host: host, Owner: p.name})
	require.NoError(b, err)
	listen := freeAddress(b)
	serve := exec.Command(filepath.Join(dir, "huker"), "serve", "--name", p.name, "--data-dir", data, "--listen", listen, "--log-level", "warn")
	require.NoError(b, serve.Start())
	b.Cleanup(func() {
		_ = serve.Process.Kill()
		_ = serve.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		all, _ := p.engine.List(ctx, nil)
		for _, c := range all {
			_ = p.engine.Remove(ctx, c.Name)
		}
		require.NoError(b, deploy.Down(ctx, p.engine, p.name, data, true, func(string) {}))
	})
	require.Eventually(b, func() bool {
		r, err := http.Get("http://" + listen + "/healthz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	var admin controlplane.Admin
	text, err := os.ReadFile(filepath.Join(data, controlplane.AdminFile))
	require.NoError(b, err)
	require.NoError(b, json.Unmarshal(text, &admin))
	p.api, err = client.New(client.Config{
		AuthURL: admin.Endpoint + "/identity", Username: admin.Username, Password: admin.Password, Project: admin.Project,
	})
	require.NoError(b, err)
	return p
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// create asks for a database and gives its id.
func (p *plane) create(b *testing.B, flavor string) string {
	b.Helper()
	i, err := p.api.CreateInstance(b.Context(), client.NewInstance{
		Name: "bench", Flavor: flavor, Volume: client.Volume{Size: 5}, Databases: []client.Database{{Name: "bench"}},
		Users: []client.NewUser{{Name: user, Password: password, Databases: []client.Database{{Name: "bench"}}}},
	})
	require.NoError(b, err)
	return i.ID
}

// address waits until a database has one.
func (p *plane) address(b *testing.B, id string) string {
	b.Helper()
	for {
		i, err := p.api.Instance(b.Context(), id)
		require.NoError(b, err)
		require.False(b, i.Failed(), "%+v", i.Fault)
		if a := i.Address(); a != "" {
			return a
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *plane) remove(b *testing.B, id string) {
	b.Helper()
	require.NoError(b, p.api.DeleteInstance(b.Context(), id))
	require.Eventually(b, func() bool {
		_, err := p.api.Instance(b.Context(), id)
		return client.NotFound(err)
	}, time.Minute, 20*time.Millisecond)
}

func (p *plane) container(b *testing.B, id string) runtime.State {
	b.Helper()
	all, err := p.engine.List(b.Context(), map[string]string{"io.huker.instance": id})
	require.NoError(b, err)
	require.Len(b, all, 1)
	return all[0]
}

// firstQuery waits until a query is answered.
func firstQuery(b *testing.B, address, name, secret string) {
	b.Helper()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.Timeout, c.Logger = "tcp", address+":3306", name, secret, time.Second, &mysql.NopLogger{}
	c.TLS, c.AllowFallbackToPlaintext = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, true //nolint:gosec // a benchmark
	connector, err := mysql.NewConnector(c)
	require.NoError(b, err)
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		var one int
		if err = db.QueryRowContext(b.Context(), "SELECT 1").Scan(&one); err == nil {
			return
		}
		require.Less(b, time.Now(), deadline, "%s does not answer: %v", address, err)
		time.Sleep(10 * time.Millisecond)
	}
}

// run runs a program and gives what it printed.
func run(b *testing.B, name string, args ...string) string {
	b.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(b.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(b, err, "%s %v: %s%s", name, args, out, stderr.String())
	return strings.TrimSpace(string(out))
}

// discard removes a plain container with its volumes; one that is not there is fine.
func discard(b *testing.B, name string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", "rm", "-fv", name).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "No such container") {
		b.Errorf("%s: %v: %s", name, err, out)
	}
}

// image is what databases are made from.
func image(b *testing.B) string {
	b.Helper()
	c, err := dclient.NewClientWithOpts(dclient.FromEnv, dclient.WithAPIVersionNegotiation())
	require.NoError(b, err)
	defer func() { _ = c.Close() }()
	catalogue, err := images.Load()
	require.NoError(b, err)
	built, err := images.NewBuilder(c, slog.New(slog.DiscardHandler)).Resolve(b.Context(), catalogue.Built()[0])
	require.NoError(b, err, "make images")
	return built.Ref
}

// plainAddress is a plain container's on Docker's default bridge.
func plainAddress(b *testing.B, name string) string {
	b.Helper()
	return run(b, "docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
}

// children gives the pids, on the host, of what a process has started.
func children(b *testing.B, parent int) []int {
	b.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(b, err)
	var pids []int
	for _, path := range dirs {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var state string
		var ppid int
		if _, err := fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &ppid); err == nil && ppid == parent {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			require.NoError(b, err)
			pids = append(pids, pid)
		}
	}
	return pids
}
