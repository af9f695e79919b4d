// Package bench measures the whole product, side by side with what people do without it.
package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"log/slog"
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
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/test/plane"
)

const (
	user     = "app"
	password = "benchmark-1-Password"
)

// deployment is one of the benchmark's own.
type deployment struct{ *plane.Plane }

func start(b *testing.B) *deployment {
	b.Helper()
	return &deployment{plane.Start(b)}
}

// create asks for a database and gives its id.
func (p *deployment) create(b *testing.B, flavor string) string {
	b.Helper()
	i, err := p.API.CreateInstance(b.Context(), client.NewInstance{
		Name: "bench", Flavor: flavor, Volume: client.Volume{Size: 5}, Databases: []client.Database{{Name: "bench"}},
		Users: []client.NewUser{{Name: user, Password: password, Databases: []client.Database{{Name: "bench"}}}},
	})
	require.NoError(b, err)
	return i.ID
}

// address waits until a database has one.
func (p *deployment) address(b *testing.B, id string) string {
	b.Helper()
	for {
		i, err := p.API.Instance(b.Context(), id)
		require.NoError(b, err)
		require.False(b, i.Failed(), "%+v", i.Fault)
		if a := i.Address(); a != "" {
			return a
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *deployment) remove(b *testing.B, id string) {
	b.Helper()
	require.NoError(b, p.API.DeleteInstance(b.Context(), id))
	require.Eventually(b, func() bool {
		_, err := p.API.Instance(b.Context(), id)
		return client.NotFound(err)
	}, time.Minute, 20*time.Millisecond)
}

func (p *deployment) container(b *testing.B, id string) runtime.State {
	b.Helper()
	all, err := p.Engine.List(b.Context(), map[string]string{"io.huker.instance": id})
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
