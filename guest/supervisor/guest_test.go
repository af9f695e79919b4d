package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
)

// guest is a container's directories and a supervisor in them.
type guest struct {
	t    *testing.T
	root string
	p    paths.Paths
	ctl  *control.Client
	cmd  *exec.Cmd
	out  *lockedBuffer
	end  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newGuest makes the directories, with a template; the supervisor is started with start.
func newGuest(t *testing.T) *guest {
	t.Helper()
	root, err := os.MkdirTemp("", "hs") // short: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, root: root, p: paths.Under(root)}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for _, d := range []string{g.p.Bin, g.p.Etc, g.p.Run, g.p.Volume, g.p.Template} {
		g.ok(os.MkdirAll(d, 0o700))
	}
	self, err := os.Executable()
	g.ok(err)
	for _, name := range []string{"huker-supervisor", "mysqld", "huker-guestagent-good", "huker-guestagent-good2", "huker-guestagent-bad",
		"huker-guestagent-silent", "huker-guestagent-stubborn", "huker-guestagent-orphans"} {
		g.ok(os.Symlink(self, filepath.Join(g.p.Bin, name)))
	}
	g.ok(os.WriteFile(filepath.Join(g.p.Template, "ibdata1"), []byte("template"), 0o600))
	g.configure(func(*protocol.GuestConfig) {})
	g.ctl = control.Dial(g.p.SupervisorSocket())
	t.Cleanup(g.ctl.Close)
	return g
}

func (g *guest) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) configure(change func(*protocol.GuestConfig)) {
	g.t.Helper()
	c := protocol.GuestConfig{Instance: "i", Engine: "mysql", Version: "9.7.4", MemoryMB: 512, CPUs: 1, VolumeGB: 1, ServerID: 7, Agent: "huker-guestagent-good"}
	change(&c)
	b, err := json.Marshal(c)
	g.ok(err)
	g.ok(os.WriteFile(g.p.Config(), b, 0o600))
}

func (g *guest) mode(m string) {
	g.t.Helper()
	g.ok(os.WriteFile(filepath.Join(g.root, "mode"), []byte(m), 0o600))
}

func (g *guest) start() {
	g.t.Helper()
	g.out = &lockedBuffer{}
	cmd := exec.CommandContext(context.Background(), filepath.Join(g.p.Bin, "huker-supervisor"))
	cmd.Stdout, cmd.Stderr = g.out, g.out
	cmd.WaitDelay = time.Second
	g.ok(cmd.Start())
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }()
	g.cmd, g.end = cmd, end
	g.t.Cleanup(func() {
		g.kill()
		if g.t.Failed() {
			g.t.Logf("the supervisor said:\n%s", g.out)
		}
	})
}

// kill ends the supervisor and all that it has, as the death of PID 1 does.
func (g *guest) kill() {
	_ = g.cmd.Process.Signal(syscall.SIGSTOP) // so that it does not start new ones meanwhile
	for _, pid := range children(g.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = g.cmd.Process.Kill()
	select {
	case err := <-g.end:
		g.end <- err
	case <-time.After(10 * time.Second):
		g.t.Error("the supervisor did not die")
	}
}

// kill9 kills one process. 0 would stand for the process group of this test, and of all that started it.
func (g *guest) kill9(pid int) {
	g.t.Helper()
	if pid <= 1 {
		g.t.Fatalf("pid %d is not to be killed", pid)
	}
	g.ok(syscall.Kill(pid, syscall.SIGKILL))
}

// children are the pids of pid's children.
func children(pid int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue
		}
		text := string(b)
		var child, parent int
		var state string
		_, _ = fmt.Sscan(text, &child)
		if i := strings.LastIndex(text, ")"); i >= 0 {
			_, _ = fmt.Sscan(text[i+1:], &state, &parent)
		}
		if parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// await waits until the status is as it should be.
func (g *guest) await(what string, is func(control.Status) bool) control.Status {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 20*time.Second)
	defer cancel()
	var last control.Status
	for {
		st, err := g.ctl.Watch(ctx, last.Serial)
		switch {
		case errors.Is(err, control.ErrUnavailable):
			select { // it has not opened its socket yet
			case <-time.After(10 * time.Millisecond):
				continue
			case e := <-g.end:
				g.end <- e
				g.t.Fatalf("%s: the supervisor has ended: %v", what, e)
			}
		case err != nil:
			g.t.Fatalf("%s: %v; last: %+v", what, err, last)
		}
		last = st
		if running(st) && st.Mysqld.Pid == 0 || st.Agent.Ready && st.Agent.Pid == 0 {
			g.t.Fatalf("%s: something runs that has no pid: %+v", what, st)
		}
		if is(st) {
			return st
		}
	}
}

func running(st control.Status) bool { return st.Mysqld.Phase == control.Running }

func runningWithAgent(st control.Status) bool { return running(st) && st.Agent.Ready }

// terminate sends SIGTERM and gives how the supervisor ended.
func (g *guest) terminate() error {
	g.t.Helper()
	g.ok(g.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-g.end:
		g.end <- err
		return err
	case <-time.After(20 * time.Second):
		g.t.Fatal("the supervisor does not end")
		return nil
	}
}
