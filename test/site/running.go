package site

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime/docker"
)

// Running is a deployment that runs, with two nodekeepers, of which one leads.
type Running struct {
	*Processes
	Site    *Site
	API     *client.Client
	Engines map[string]*docker.Driver // by host

	t    testing.TB
	logs map[int]string // of processes on this machine, by the number of the spec
}

// Start builds the programs, unless HUKER_BIN says where they are, and starts a deployment on all hosts, which goes with the test.
func (s *Site) Start(t testing.TB) *Running {
	t.Helper()
	dir, bin := t.TempDir(), os.Getenv("HUKER_BIN")
	if bin == "" {
		bin = t.TempDir()
		require.NoError(t, Build(bin))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody else has it for now
	require.NoError(t, err)
	listen := l.Addr().String()
	require.NoError(t, l.Close())
	name := "trial-" + testenv.Suffix(t)
	d := s.Settle(t, name, filepath.Join(dir, "data"), listen, "")
	r := &Running{Processes: NewProcesses(name, bin, io.Discard), Site: s, Engines: map[string]*docker.Driver{}, t: t, logs: map[int]string{}}
	for i, h := range d.Hosts {
		r.Engines[h] = d.Engines[i]
	}
	for _, spec := range d.Specs {
		r.Specs = append(r.Specs, spec)
		if spec.Program == nodekeeper {
			r.Specs = append(r.Specs, spec)
		}
	}
	for n := range r.Specs {
		if r.Specs[n].Host == nil {
			r.logs[n] = filepath.Join(dir, fmt.Sprintf("%s-%d.log", r.Specs[n].Program, n))
			r.Specs[n].Log = r.logs[n]
		}
	}
	t.Cleanup(func() {
		if err := r.Kill(); err != nil {
			t.Error(err)
		}
		for _, e := range r.Engines {
			_ = e.Close()
		}
	})
	require.NoError(t, r.Launch())
	r.API, err = client.New(client.Config{AuthURL: "http://" + listen + "/identity", Username: "admin", Password: AdminPassword, Project: "admin"})
	require.NoError(t, err)
	r.welcome(listen, d.Hosts)
	return r
}

const nodekeeper = "huker-nodekeeper"

// welcome adds the hosts, and waits until they take databases.
func (r *Running) welcome(listen string, hosts []string) {
	t := r.t
	t.Helper()
	require.Eventually(t, func() bool {
		a, err := http.Get("http://" + listen + "/healthz") //nolint:noctx // of this test's own
		if err != nil {
			return false
		}
		return a.Body.Close() == nil && a.StatusCode == http.StatusOK
	}, time.Minute, 20*time.Millisecond, "the API does not become healthy:\n%s", r.Tail(8<<10))
	for _, h := range hosts {
		_, err := r.API.AddHost(t.Context(), h)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return r.Up(t.Context()) == nil }, time.Minute, 50*time.Millisecond, "the hosts do not come:\n%s", r.Tail(8<<10))
}

// Up says which hosts do not take databases, and why.
func (r *Running) Up(ctx context.Context) error {
	all, err := r.API.Hosts(ctx)
	if err != nil {
		return err
	}
	var away []string
	for _, h := range all {
		if !h.Up || h.Subnet == "" || h.Trouble != "" {
			away = append(away, fmt.Sprintf("%s (up: %t) %s", h.Name, h.Up, h.Trouble))
		}
	}
	if len(away) > 0 || len(all) != len(r.Engines) {
		return fmt.Errorf("of %d hosts these are not up: %s", len(all), strings.Join(away, "; "))
	}
	return nil
}

// Numbers are the specs of a program; on one host where its name is given.
func (r *Running) Numbers(program, host string) []int {
	var all []int
	for n, s := range r.Specs {
		if s.Program == program && (host == "" || s.Host != nil && s.Host.Name == host) {
			all = append(all, n)
		}
	}
	return all
}

// Leader is the number of the nodekeeper that was elected last, by what all of them have written.
func (r *Running) Leader() int {
	leader, newest := r.Numbers(nodekeeper, "")[0], uint64(0)
	for _, n := range r.Numbers(nodekeeper, "") {
		for line := range strings.Lines(read(r.logs[n])) {
			var said struct {
				Msg   string `json:"msg"`
				Token uint64 `json:"token"`
			}
			if strings.Contains(line, `"leading"`) && json.Unmarshal([]byte(line), &said) == nil && said.Msg == "leading" && said.Token >= newest {
				leader, newest = n, said.Token
			}
		}
	}
	return leader
}

func read(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // a log of the test's own
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail is the end of what each process on this machine has written, but for requests and what only says that somebody waits.
func (r *Running) Tail(most int) string {
	var b strings.Builder
	for n := range r.Specs {
		if r.logs[n] == "" {
			continue
		}
		var said strings.Builder
		for line := range strings.Lines(read(r.logs[n])) {
			if !strings.Contains(line, `"msg":"request"`) && !strings.Contains(line, `"step":"wait"`) {
				said.WriteString(line)
			}
		}
		text := said.String()
		fmt.Fprintf(&b, "%s, number %d:\n%s\n", r.Specs[n].Program, n, text[max(0, len(text)-most):])
	}
	return b.String()
}

// Left lists what the deployment's databases have on the hosts.
func (r *Running) Left(ctx context.Context) ([]string, error) {
	var left []string
	for host, e := range r.Engines {
		containers, err := e.List(ctx, nil)
		if err != nil {
			return nil, err
		}
		for _, c := range containers {
			left = append(left, "container "+c.Name+" on "+host)
		}
		volumes, err := e.ListVolumes(ctx, nil)
		if err != nil {
			return nil, err
		}
		for _, v := range volumes {
			left = append(left, "volume "+v.Name+" on "+host)
		}
	}
	return left, nil
}
