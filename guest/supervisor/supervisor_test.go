package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/internal/protocol"
)

func TestBoot(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	st := g.await("boot", runningWithAgent)
	if !st.Mysqld.Fresh || st.Mysqld.Starts != 1 || st.Mysqld.Crashes != 0 || st.Mysqld.Pid == 0 || st.Mysqld.MemoryMB != 512 || st.Mysqld.CPUs != 1 {
		t.Errorf("mysqld: %+v", st.Mysqld)
	}
	if st.Agent.Binary != "huker-guestagent-good" || st.Agent.Fault != "" || st.Agent.Pid == 0 {
		t.Errorf("agent: %+v", st.Agent)
	}
	if fi, err := os.Stat(g.p.SupervisorSocket()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", fi, err)
	}
	if b, err := os.ReadFile(g.p.MyCnf()); err != nil || !strings.Contains(string(b), "server_id = 7\n") {
		t.Errorf("my.cnf: %v %s", err, b)
	}
	if want := "mysqld started parent=" + strconv.Itoa(g.cmd.Process.Pid); !slices.Contains(notes(t, g.root), want) {
		t.Errorf("mysqld was not told its parent: %q, want %q", notes(t, g.root), want)
	}
}

func TestInitializeWithoutTemplate(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.ok(os.RemoveAll(g.p.Template))
	g.mode("noinit")
	g.start()
	st := g.await("failure", func(st control.Status) bool { return st.Mysqld.Phase == control.Failed })
	if !strings.Contains(st.Mysqld.Reason, "initialization is out of order") {
		t.Errorf("reason %q", st.Mysqld.Reason)
	}
	g.mode("ok")
	g.await("recovery", running)
	if b, err := os.ReadFile(filepath.Join(g.p.Data(), "ibdata1")); err != nil || string(b) != "initialized" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestMysqldKilled(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	before := g.await("boot", runningWithAgent)
	killed := time.Now()
	g.kill9(before.Mysqld.Pid)
	st := g.await("exit", func(st control.Status) bool { return st.Mysqld.Crashes == 1 })
	if d := time.Since(killed); d > time.Second {
		t.Errorf("the exit was known after %s", d)
	}
	if st.Mysqld.LastExit != "killed by signal 9 (SIGKILL)" || st.Mysqld.LastExitAt.Before(killed.Add(-time.Second)) {
		t.Errorf("%+v", st.Mysqld)
	}
	// The socket's lock and the temporary files of the dead one do not keep the new one from starting.
	st = g.await("restart", running)
	if st.Mysqld.Pid == before.Mysqld.Pid || st.Mysqld.Starts != 2 {
		t.Errorf("%+v", st.Mysqld)
	}
	if st.Agent.Pid != before.Agent.Pid {
		t.Errorf("the agent was disturbed: %+v", st.Agent)
	}
	// A second one in a row waits, and is counted.
	g.kill9(st.Mysqld.Pid)
	st = g.await("second exit", func(st control.Status) bool { return st.Mysqld.Crashes == 2 && running(st) })
	if st.Mysqld.Starts != 3 {
		t.Errorf("%+v", st.Mysqld)
	}
}

func TestAgentKilled(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	before := g.await("boot", runningWithAgent)
	for i := range 3 {
		st, err := g.ctl.Status(t.Context())
		g.ok(err)
		g.kill9(st.Agent.Pid)
		st = g.await("agent", func(now control.Status) bool { return now.Agent.Ready && now.Agent.Pid != st.Agent.Pid })
		if st.Agent.Crashes != i+1 || st.Mysqld.Pid != before.Mysqld.Pid || st.Mysqld.Starts != 1 || !running(st) {
			t.Errorf("%+v", st)
		}
	}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"fail": "mysqld does not start (exit status 1): The tablespace is torn", "mute": "unknown variable 'x=1'"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t)
			g.mode(mode)
			g.start()
			st := g.await("failure", func(st control.Status) bool { return st.Mysqld.Phase == control.Failed })
			if !strings.Contains(st.Mysqld.Reason, want) || st.Mysqld.Starts != 3 {
				t.Errorf("%+v", st.Mysqld)
			}
			if err := g.ctl.StartMysqld(t.Context()); !errors.Is(err, control.ErrFailed) || !strings.Contains(err.Error(), want) {
				t.Errorf("start: %v", err)
			}
			// While it goes on trying it stays failed, so that nobody takes an attempt for an improvement.
			st = g.await("more attempts", func(st control.Status) bool { return st.Mysqld.Starts >= 6 })
			if st.Mysqld.Phase != control.Failed {
				t.Errorf("%+v", st.Mysqld)
			}
			g.mode("ok")
			if st = g.await("recovery", running); st.Mysqld.Reason != "" {
				t.Errorf("%+v", st.Mysqld)
			}
		})
	}
}

func TestWishes(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	first := g.await("boot", running)
	ctx := t.Context()
	g.ok(g.ctl.StartMysqld(ctx))
	g.ok(g.ctl.StopMysqld(ctx))
	g.ok(g.ctl.StopMysqld(ctx))
	st, err := g.ctl.Status(ctx)
	g.ok(err)
	if st.Mysqld.Phase != control.Stopped || st.Mysqld.Pid != 0 || st.Mysqld.Crashes != 0 || st.Mysqld.LastExit != "exit status 0" {
		t.Errorf("stopped: %+v", st.Mysqld)
	}
	g.configure(func(c *protocol.GuestConfig) { c.MemoryMB = 4096 })
	g.ok(g.ctl.StartMysqld(ctx))
	st, err = g.ctl.Status(ctx)
	g.ok(err)
	if !running(st) || st.Mysqld.Starts != 2 || st.Mysqld.Pid == first.Mysqld.Pid || st.Mysqld.MemoryMB != 4096 {
		t.Errorf("started: %+v", st.Mysqld)
	}
	// A configuration that cannot be read does not keep the database down.
	g.ok(os.WriteFile(g.p.Config(), []byte("{"), 0o600))
	g.ok(g.ctl.RestartMysqld(ctx))
	st, err = g.ctl.Status(ctx)
	g.ok(err)
	if !running(st) || st.Mysqld.Starts != 3 || st.Mysqld.MemoryMB != 4096 || st.Mysqld.Crashes != 0 {
		t.Errorf("restarted: %+v", st.Mysqld)
	}
	if n := count(notes(t, g.root), "mysqld clean"); n != 2 {
		t.Errorf("%d clean shutdowns, want 2", n)
	}
}

func TestStopOvertakesStart(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.mode("never")
	g.start()
	g.await("start", func(st control.Status) bool { return st.Mysqld.Phase == control.Starting })
	started := make(chan error, 1)
	go func() { started <- g.ctl.StartMysqld(t.Context()) }()
	select {
	case err := <-started:
		t.Fatalf("start returned before mysqld answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	g.ok(g.ctl.StopMysqld(t.Context()))
	if err := <-started; !errors.Is(err, control.ErrStopped) {
		t.Errorf("start: %v", err)
	}
}

// TestInitFile: mysqld starts with the agent's statements as long as there are any.
func TestInitFile(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	g.await("boot", running)
	g.ok(os.MkdirAll(g.p.State(), 0o700))
	g.ok(os.WriteFile(g.p.InitFile(), []byte("SELECT 1;\n"), 0o600))
	g.ok(g.ctl.KillMysqld(t.Context()))
	g.await("the next one", func(st control.Status) bool { return running(st) && st.Mysqld.Starts == 2 })
	g.ok(os.Remove(g.p.InitFile()))
	g.ok(g.ctl.RestartMysqld(t.Context()))
	var args []string
	for _, line := range notes(t, g.root) {
		if a, ok := strings.CutPrefix(line, "mysqld args "); ok {
			args = append(args, a)
		}
	}
	if want := []string{"", "--init-file=" + g.p.InitFile(), ""}; !slices.Equal(args, want) {
		t.Errorf("%q, want %q", args, want)
	}
}

// TestKillMysqld: a mysqld that does not heed a shutdown is gone at once, and another one serves; it counts as no crash.
func TestKillMysqld(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.mode("deaf")
	g.start()
	was := g.await("boot", runningWithAgent)
	g.ok(g.ctl.KillMysqld(t.Context()))
	st := g.await("another one", func(s control.Status) bool { return running(s) && s.Mysqld.Pid != was.Mysqld.Pid })
	if st.Mysqld.Starts != 2 || st.Mysqld.Crashes != 0 {
		t.Errorf("%+v", st.Mysqld)
	}
}

func TestRestartBySQL(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.mode("restart-once")
	g.start()
	st := g.await("restart", running)
	if st.Mysqld.Starts != 2 || st.Mysqld.Crashes != 0 || st.Mysqld.LastExit != "exit status 16" {
		t.Errorf("%+v", st.Mysqld)
	}
}

func TestTerminate(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"ok", "deaf"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t)
			g.mode(mode)
			g.start()
			g.await("boot", runningWithAgent)
			if err := g.terminate(); err != nil {
				t.Errorf("exit: %v", err)
			}
			want := []string{"mysqld clean", "agent good clean"} // in this order
			if got := notes(t, g.root); len(got) < 2 || !slices.Equal(got[len(got)-2:], want) {
				t.Errorf("%q, want %q at the end", got, want)
			}
		})
	}
}

func TestTerminateWhileFailing(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.mode("fail")
	g.start()
	g.await("failure", func(st control.Status) bool { return st.Mysqld.Phase == control.Failed })
	if err := g.terminate(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

func TestNextBootKeepsData(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	g.await("boot", runningWithAgent)
	g.ok(os.WriteFile(filepath.Join(g.p.Data(), "ibdata1"), []byte("precious"), 0o600))
	g.kill()
	g.ok(os.WriteFile(filepath.Join(g.p.Tmp(), "left"), nil, 0o600))
	g.start()
	if st := g.await("boot", runningWithAgent); st.Mysqld.Fresh {
		t.Errorf("%+v", st.Mysqld)
	}
	if b, err := os.ReadFile(filepath.Join(g.p.Data(), "ibdata1")); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(g.p.Tmp(), "left")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary files stay: %v", err)
	}
}

func TestVolumeInUse(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	g.await("boot", running)
	other := newGuest(t)
	g.ok(os.RemoveAll(other.p.Volume))
	g.ok(os.Symlink(g.p.Volume, other.p.Volume))
	other.start()
	select {
	case err := <-other.end:
		other.end <- err
		if err == nil || !strings.Contains(other.out.String(), "in use by another container") {
			t.Errorf("%v: %s", err, other.out)
		}
	case <-time.After(10 * time.Second):
		t.Error("a second supervisor runs on the same volume")
	}
}

func TestLogRotation(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	g.await("boot", running)
	g.ok(os.Truncate(g.p.ErrorLog(), 9<<20))
	deadline := time.Now().Add(10 * time.Second)
	for !slices.Contains(notes(t, g.root), "mysqld logs") {
		if time.Now().After(deadline) {
			t.Fatal("mysqld was not told to open its logs anew")
		}
		<-time.After(20 * time.Millisecond)
	}
	if fi, err := os.Stat(g.p.ErrorLog() + ".1"); err != nil || fi.Size() != 9<<20 {
		t.Errorf("%v, %v", fi, err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.configure(func(c *protocol.GuestConfig) { c.Agent = "huker-guestagent-orphans" })
	g.start()
	g.await("boot", runningWithAgent)
	deadline := time.Now().Add(10 * time.Second)
	for {
		kids := children(g.cmd.Process.Pid)
		if len(kids) == 2 { // mysqld and the agent
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("children: %v", kids)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func count(lines []string, line string) int {
	n := 0
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}
