package docker_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/runtime/runtimetest"
)

// testRange is apart from the one that databases have.
const testRange = "10.87.0.0/16"

func open(t *testing.T, host, owner string) *docker.Driver {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d, err := docker.Open(ctx, docker.Config{Host: host, Owner: owner, Range: testRange})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestConformance(t *testing.T) {
	host := testenv.RequireDocker(t)
	done, err := testenv.HostRules(false)
	require.NoError(t, err)
	t.Cleanup(done)
	image := runtimetest.Image(t, open(t, host, "huker-test-image"))
	runtimetest.Run(t, func(*testing.T) runtimetest.Harness {
		return runtimetest.Harness{
			Kernel: true, Image: image,
			Open: func(t *testing.T, owner string) runtimetest.Driver { return open(t, host, owner) },
			OpenCuttable: func(t *testing.T, owner string) (runtimetest.Driver, func(), func()) {
				p := newProxy(t, strings.TrimPrefix(host, "unix://"))
				return open(t, "unix://"+p.path, owner), p.cut, func() { p.mend(t) }
			},
		}
	})
}

// proxy stands between a driver and its engine, and can be cut as a cable can.
type proxy struct {
	path, engine string
	mu           sync.Mutex
	listener     net.Listener
	connections  []net.Conn
}

func newProxy(t *testing.T, engine string) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "hkt") // short: a socket's path has a limit
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &proxy{path: filepath.Join(dir, "s"), engine: engine}
	p.mend(t)
	t.Cleanup(p.cut)
	return p
}

func (p *proxy) mend(t *testing.T) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", p.path)
	require.NoError(t, err)
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.join(c)
		}
	}()
}

func (p *proxy) join(c net.Conn) {
	far, err := (&net.Dialer{}).DialContext(context.Background(), "unix", p.engine)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.connections = append(p.connections, c, far)
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{c, far}, {far, c}} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].(*net.UnixConn).CloseWrite()
		}()
	}
	wg.Wait()
	_ = c.Close()
	_ = far.Close()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
	for _, c := range p.connections {
		_ = c.Close()
	}
	p.connections = nil
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]docker.Config{
		"no owner":      {Host: "unix:///none"},
		"an odd range":  {Owner: "o", Range: "10.0.0.0"},
		"a small range": {Owner: "o", Range: "10.0.0.0/28"},
		"IPv6":          {Owner: "o", Range: "fd00::/8"},
	} {
		_, err := docker.Open(t.Context(), cfg)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, runtime.ErrUnavailable, name)
	}
	_, err := docker.Open(t.Context(), docker.Config{Host: "unix:///nobody/listens/here", Owner: "o"})
	require.ErrorIs(t, err, runtime.ErrUnavailable)
}

func TestEngineTellsWhatItIs(t *testing.T) {
	t.Parallel()
	d := open(t, testenv.RequireDocker(t), "huker-test")
	cpus, ram, engine, err := d.Capacity(t.Context())
	require.NoError(t, err)
	require.Positive(t, cpus)
	require.Greater(t, ram, 100)
	version, api, err := d.Version(t.Context())
	require.NoError(t, err)
	require.Equal(t, "docker "+version, engine)
	require.Regexp(t, `^1\.\d+$`, api)
}
