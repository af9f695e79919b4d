// Package e2e drives the real product: the huker program, real Docker, real MySQL.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/test/site"
)

// binaries are built once for all tests of a run.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("HUKER_BIN"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "huker-e2e-bin-")
	if err != nil {
		return "", err
	}
	return dir, site.Build(dir)
})

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	if err := sweepStale(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "nothing of crashed runs was removed:", err) // there may be no engine here
	}
	cancel()
	code := m.Run()
	if os.Getenv("HUKER_BIN") == "" {
		if dir, err := binaries(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// plane is a deployment of its own: name, data, network, port.
type plane struct {
	t      *testing.T
	name   string
	dir    string
	listen string
	args   []string
	host   string // Docker's address
	engine *docker.Driver

	*site.Processes
	engines []*docker.Driver // of all hosts
	hosts   []string         // to be added; none where the only host is the deployment's own
	log     *logBuffer

	token, project string
}

// newPlane prepares a deployment, not yet running, that is taken away at the end of the test.
func newPlane(t *testing.T, args ...string) *plane {
	t.Helper()
	host := testenv.RequireDocker(t)
	if onSite != nil {
		return newPlaneAt(t, host, "", args)
	}
	return newPlaneAt(t, host, host, args)
}

// newPlaneOn prepares one whose only host is the engine at that address.
func newPlaneOn(t *testing.T, host string, args ...string) *plane {
	t.Helper()
	return newPlaneAt(t, host, host, args)
}

// newPlaneAt has databases on one engine, or on all hosts of the site when only is "".
func newPlaneAt(t *testing.T, host, only string, args []string) *plane {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	bin, err := binaries()
	require.NoError(t, err)
	p := &plane{
		t: t, name: "e2e-" + testenv.Suffix(t), dir: filepath.Join(t.TempDir(), "data"), listen: freeAddress(t), args: args, host: host, log: &logBuffer{},
	}
	p.Processes = site.NewProcesses(p.name, bin, p.log, "DOCKER_HOST="+host)
	t.Cleanup(p.cleanUp)
	if onSite != nil {
		d := onSite.Settle(t, p.name, p.dir, p.listen, only)
		p.Specs, p.engines, p.hosts = d.Specs, d.Engines, d.Hosts
		p.writeAdmin(site.AdminPassword)
		p.engine = p.engines[0]
		return p
	}
	engine, err := docker.Open(t.Context(), docker.Config{Host: host, Owner: p.name})
	require.NoError(t, err)
	p.engine, p.engines = engine, []*docker.Driver{engine}
	p.Specs = []site.Spec{{Program: "huker", Args: []string{"serve", "--name", p.name, "--data-dir", p.dir, "--listen", p.listen, "--log-level", "debug"}, Takes: "*"}}
	return p
}

func (p *plane) cleanUp() {
	p.kill()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, engine := range p.engines {
		killAll(ctx, engine) // no clean shutdown: the data goes anyway
		if err := deploy.Down(ctx, engine, p.name, p.dir, true, func(string) {}); err != nil {
			p.t.Errorf("cleaning up: %v", err)
		}
		_ = engine.Close()
	}
	if wall, err := network.NewFirewall(p.name, ""); err == nil { // also when the test's own engine is dead
		_ = wall.Remove(ctx)
	}
	if onSite != nil {
		if err := onSite.Clear(ctx, p.name); err != nil {
			p.t.Errorf("cleaning up: %v", err)
		}
	}
	if p.t.Failed() {
		p.t.Logf("log of the control plane, but for what only reads:\n%s", p.log.telling(48<<10))
	}
}

func killAll(ctx context.Context, engine *docker.Driver) {
	all, err := engine.List(ctx, nil)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Add(1)
		go func() { defer wg.Done(); _ = engine.Remove(ctx, c.Name) }()
	}
	wg.Wait()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs the control plane and waits until it is healthy.
func (p *plane) start(extra ...string) {
	p.t.Helper()
	p.startUnknown(extra...)
	p.signIn()
	if len(p.hosts) > 0 {
		p.welcome()
	}
}

// startUnknown is start for who has no account of the control plane's own.
func (p *plane) startUnknown(extra ...string) {
	p.t.Helper()
	p.launch(extra...)
	deadline := time.Now().Add(time.Minute)
	for !p.healthy() {
		select {
		case err := <-p.Exited:
			p.Exited <- err
			require.FailNow(p.t, "the control plane ended", "%v\n%s", err, p.log.tail(4096))
		case <-time.After(20 * time.Millisecond):
		}
		require.Less(p.t, time.Now(), deadline, "the control plane does not become healthy:\n%s", p.log.tail(4096))
	}
}

// launch runs what does not run of the control plane, without waiting.
func (p *plane) launch(extra ...string) {
	p.t.Helper()
	require.NoError(p.t, p.Launch(append(append([]string(nil), p.args...), extra...)...))
}

func (p *plane) healthy() bool {
	r, err := http.Get("http://" + p.listen + "/healthz")
	if err != nil {
		return false
	}
	defer func() { _ = r.Body.Close() }()
	return r.StatusCode == http.StatusOK
}

// kill ends the control plane with SIGKILL.
func (p *plane) kill() {
	if err := p.Kill(); err != nil {
		p.t.Error("the control plane does not end:", err)
	}
}

// call makes a request of the API. body and answer are JSON; nil for none.
func (p *plane) call(method, path string, body any) (int, map[string]any) {
	p.t.Helper()
	code, answer, err := p.try(method, path, body)
	require.NoError(p.t, err)
	return code, answer
}

func (p *plane) try(method, path string, body any) (int, map[string]any, error) {
	return p.tryAt(p.listen, method, path, body)
}

// tryAt asks the API that listens there.
func (p *plane) tryAt(listen, method, path string, body any) (int, map[string]any, error) {
	var send io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		send = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+listen+path, send)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if p.token != "" {
		r.Header.Set("X-Auth-Token", p.token)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = a.Body.Close() }()
	if token := a.Header.Get("X-Subject-Token"); token != "" {
		p.token = token
	}
	var answer map[string]any
	if err := json.NewDecoder(a.Body).Decode(&answer); err != nil && !errors.Is(err, io.EOF) {
		return a.StatusCode, nil, fmt.Errorf("%s %s: %s: %w", method, path, a.Status, err)
	}
	return a.StatusCode, answer, nil
}

// writeAdmin is what `huker serve` does of itself.
func (p *plane) writeAdmin(password string) {
	p.t.Helper()
	data, err := json.Marshal(controlplane.Admin{Endpoint: "http://" + p.listen, Username: "admin", Password: password, Project: "admin", Region: controlplane.DefaultRegion})
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, controlplane.AdminFile), data, 0o600))
}

func (p *plane) admin() controlplane.Admin {
	p.t.Helper()
	var a controlplane.Admin
	data, err := os.ReadFile(filepath.Join(p.dir, controlplane.AdminFile))
	require.NoError(p.t, err)
	require.NoError(p.t, json.Unmarshal(data, &a))
	return a
}

func (p *plane) signIn() {
	p.t.Helper()
	a := p.admin()
	domain := map[string]any{"id": "default"}
	p.token = ""
	code, answer := p.call(http.MethodPost, "/v3/auth/tokens", map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{
			"user": map[string]any{"name": a.Username, "password": a.Password, "domain": domain}}},
		"scope": map[string]any{"project": map[string]any{"name": a.Project, "domain": domain}},
	}})
	require.Equal(p.t, http.StatusCreated, code, "%v", answer)
	p.project = dig[string](answer, "token", "project", "id")
}

// dig takes a value out of decoded JSON; the zero value when it is not there.
func dig[T any](v any, path ...string) T {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	out, _ := v.(T)
	return out
}

// leftovers lists what a deployment has on the host besides its network and rules.
func (p *plane) leftovers() []string {
	p.t.Helper()
	var left []string
	containers, err := p.list(p.t.Context(), nil)
	require.NoError(p.t, err)
	for _, c := range containers {
		left = append(left, "container "+c.Name)
	}
	for _, e := range p.engines {
		volumes, err := e.ListVolumes(p.t.Context(), nil)
		require.NoError(p.t, err)
		for _, v := range volumes {
			left = append(left, "volume "+v.Name)
		}
	}
	for _, pattern := range []string{"guests/*/etc", "guests/*/ensure.json", "*/guests/*/etc", "*/guests/*/ensure.json"} {
		files, err := filepath.Glob(filepath.Join(p.dir, pattern))
		require.NoError(p.t, err)
		for _, f := range files {
			left = append(left, "file "+f)
		}
	}
	return left
}

// container gives an instance's container.
func (p *plane) container(id string) runtime.State {
	p.t.Helper()
	all, err := p.list(p.t.Context(), map[string]string{"io.huker.instance": id})
	require.NoError(p.t, err)
	require.Len(p.t, all, 1)
	if onSite != nil {
		all[0].Pid = site.OnMachine(all[0])
	}
	return all[0]
}

// logBuffer keeps a program's output.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// telling is the end of the output without the requests with which tests wait for something.
func (l *logBuffer) telling(n int) string {
	var b strings.Builder
	for line := range strings.Lines(l.String()) {
		if !strings.Contains(line, `"method":"GET"`) && !strings.Contains(line, `"step":"wait"`) {
			b.WriteString(line)
		}
	}
	s := b.String()
	return strings.TrimSpace(s[max(0, len(s)-n):])
}

func (l *logBuffer) tail(n int) string {
	s := l.String()
	return strings.TrimSpace(s[max(0, len(s)-n):])
}
