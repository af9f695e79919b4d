// Package plane runs a deployment of a test's or a benchmark's own: the control plane as one process of this machine, on the embedded engines.
//
// It owns that process and what the deployment leaves. It must not know what is measured or tested with it.
package plane

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime/docker"
)

// Plane is a deployment.
type Plane struct {
	Name   string
	API    *client.Client
	Engine *docker.Driver

	tb           testing.TB
	binary, data string
	listen, log  string
	process      *exec.Cmd // nil: it does not run
}

// Start builds the programs and starts a deployment, which goes with the test. Without Docker or root the test is skipped, or fails where it must run.
func Start(tb testing.TB) *Plane {
	tb.Helper()
	host := testenv.RequireDocker(tb)
	testenv.RequireRoot(tb)
	dir := tb.TempDir()
	p := &Plane{tb: tb, Name: "trial-" + testenv.Suffix(tb), binary: filepath.Join(dir, "huker"), data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log")}
	build := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/",
		"github.com/huker/huker/cmd/huker", "github.com/huker/huker/cmd/huker-guestagent", "github.com/huker/huker/cmd/huker-supervisor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(tb, err, "%s", out)
	p.Engine, err = docker.Open(tb.Context(), docker.Config{Host: host, Owner: p.Name})
	require.NoError(tb, err)
	p.listen = FreeAddress(tb)
	tb.Cleanup(p.close)
	p.Launch()
	var admin controlplane.Admin
	text, err := os.ReadFile(filepath.Join(p.data, controlplane.AdminFile))
	require.NoError(tb, err)
	require.NoError(tb, json.Unmarshal(text, &admin))
	p.API, err = client.New(client.Config{
		AuthURL: admin.Endpoint + "/identity", Username: admin.Username, Password: admin.Password, Project: admin.Project,
	})
	require.NoError(tb, err)
	return p
}

// FreeAddress is one of this machine on which nobody listens now.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Launch runs the control plane, if it does not run, and waits until it is healthy.
func (p *Plane) Launch() {
	p.tb.Helper()
	if p.process == nil {
		log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(p.tb, err)
		defer func() { _ = log.Close() }()
		serve := exec.Command(p.binary, "serve", "--name", p.Name, "--data-dir", p.data, "--listen", p.listen, "--log-level", "info") //nolint:gosec // built above
		serve.Stdout, serve.Stderr = log, log
		require.NoError(p.tb, testenv.StartChild(serve))
		p.process = serve
	}
	require.Eventually(p.tb, func() bool {
		r, err := http.Get("http://" + p.listen + "/healthz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond, "the control plane does not become healthy")
}

// Process is the control plane; nil while it does not run.
func (p *Plane) Process() *os.Process {
	if p.process == nil {
		return nil
	}
	return p.process.Process
}

// Kill kills the control plane with SIGKILL.
func (p *Plane) Kill() {
	if p.process == nil {
		return
	}
	_ = p.process.Process.Kill()
	_ = p.process.Wait()
	p.process = nil
}

// Output is what the control plane has written.
func (p *Plane) Output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (p *Plane) close() {
	p.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, _ := p.Engine.List(ctx, nil)
	for _, c := range all {
		_ = p.Engine.Remove(ctx, c.Name)
	}
	require.NoError(p.tb, deploy.Down(ctx, p.Engine, p.Name, p.data, true, func(string) {}))
}
