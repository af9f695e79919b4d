package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
)

// fake is a Supervisor of functions.
type fake struct {
	watch func(context.Context, uint64) (control.Status, error)
	do    func(ctx context.Context, what string) error
}

func (f *fake) Watch(ctx context.Context, after uint64) (control.Status, error) {
	return f.watch(ctx, after)
}
func (f *fake) StartMysqld(ctx context.Context) error   { return f.do(ctx, "start") }
func (f *fake) StopMysqld(ctx context.Context) error    { return f.do(ctx, "stop") }
func (f *fake) RestartMysqld(ctx context.Context) error { return f.do(ctx, "restart") }
func (f *fake) KillMysqld(ctx context.Context) error    { return f.do(ctx, "kill") }
func (f *fake) ReplaceAgent(ctx context.Context) error  { return f.do(ctx, "replace") }
func (f *fake) AgentReady(ctx context.Context, pid int) error {
	return f.do(ctx, fmt.Sprintf("ready %d", pid))
}

// serve gives a client of f, and the socket.
func serve(t *testing.T, f *fake) (*control.Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hc") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: control.NewHandler(f), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	c := control.Dial(socket)
	t.Cleanup(func() { c.Close(); _ = server.Close(); _ = os.RemoveAll(dir) })
	return c, socket
}

func TestCalls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	c, _ := serve(t, &fake{do: func(_ context.Context, what string) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, what)
		return nil
	}})
	ctx := t.Context()
	for _, call := range []func() error{
		func() error { return c.StartMysqld(ctx) }, func() error { return c.StopMysqld(ctx) }, func() error { return c.RestartMysqld(ctx) },
		func() error { return c.KillMysqld(ctx) },
		func() error { return c.ReplaceAgent(ctx) }, func() error { return c.Ready(ctx) },
	} {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := fmt.Sprintf("start stop restart kill replace ready %d", os.Getpid()); strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	other := errors.New("something else")
	for _, want := range []error{control.ErrFailed, control.ErrStopped, control.ErrUnknown, context.Canceled, other} {
		c, _ := serve(t, &fake{do: func(context.Context, string) error { return fmt.Errorf("%w: the volume is full", want) }})
		err := c.StartMysqld(t.Context())
		if err == nil || strings.Count(err.Error(), "the volume is full") != 1 || strings.Count(err.Error(), want.Error()) != 1 {
			t.Errorf("%v: %v", want, err)
		}
		if !errors.Is(err, want) && !errors.Is(want, other) {
			t.Errorf("%v: %v", want, err)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	next := make(chan control.Status, 1)
	c, _ := serve(t, &fake{watch: func(ctx context.Context, after uint64) (control.Status, error) {
		if after == 0 {
			return control.Status{Serial: 3}, nil
		}
		select {
		case st := <-next:
			return st, nil
		case <-ctx.Done():
			return control.Status{Serial: after}, nil
		}
	}})
	st, err := c.Status(t.Context())
	if err != nil || st.Serial != 3 {
		t.Fatalf("%+v, %v", st, err)
	}
	want := control.Status{Serial: 4, Mysqld: control.Mysqld{Phase: control.Failed, Reason: "the volume is full", Pid: 7, Crashes: 2, LastExit: "exit status 1", Since: time.Unix(1, 0).UTC()},
		Agent: control.Agent{Binary: "huker-guestagent-a", Ready: true, Fault: "x"}}
	next <- want
	if st, err = c.Watch(t.Context(), 3); err != nil || st != want {
		t.Errorf("%+v, %v; want %+v", st, err, want)
	}
	// A supervisor that was started anew counts from 1 again: that is a change too.
	next <- control.Status{Serial: 1}
	if st, err = c.Watch(t.Context(), 4); err != nil || st.Serial != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = c.Watch(ctx, 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	c, _ := serve(t, &fake{do: func(ctx context.Context, _ string) error {
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.RestartMysqld(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	select {
	case <-left:
	case <-time.After(5 * time.Second):
		t.Error("the supervisor does not hear of it")
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	c := control.Dial(filepath.Join(t.TempDir(), "none"))
	defer c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	_, socket := serve(t, &fake{
		watch: func(context.Context, uint64) (control.Status, error) { return control.Status{}, nil },
		do:    func(context.Context, string) error { return nil },
	})
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer h.CloseIdleConnections()
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/status?after=1&wait=1s", "", 200},
		{"GET", "/v1/status", "", 400},
		{"GET", "/v1/status?after=-1&wait=1s", "", 400},
		{"GET", "/v1/status?after=1&wait=1h", "", 400},
		{"GET", "/v1/status?after=1&wait=-1s", "", 400},
		{"POST", "/v1/agent/ready", "{", 400},
		{"POST", "/v1/agent/ready", `{"pid":1}`, 200},
		{"GET", "/v1/mysqld/stop", "", 405},
		{"POST", "/v1/nothing", "", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.path, c.body, resp.StatusCode, c.want)
		}
	}
}
