package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/internal/protocol"
)

func (g *guest) agent(kind string) {
	g.t.Helper()
	g.configure(func(c *protocol.GuestConfig) { c.Agent = "huker-guestagent-" + kind })
}

func agentIs(kind string) func(control.Status) bool {
	return func(st control.Status) bool { return st.Agent.Ready && st.Agent.Binary == "huker-guestagent-"+kind }
}

func TestReplaceAgent(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.start()
	before := g.await("boot", runningWithAgent)
	g.ok(g.ctl.ReplaceAgent(t.Context())) // the same one: nothing is done
	g.agent("good2")
	g.ok(g.ctl.ReplaceAgent(t.Context()))
	st := g.await("replacement", agentIs("good2"))
	g.agent("stubborn")
	g.ok(g.cmd.Process.Signal(syscall.SIGHUP))
	g.await("replacement by signal", agentIs("stubborn"))
	g.agent("good") // the stubborn one has to be killed
	g.ok(g.ctl.ReplaceAgent(t.Context()))
	last := g.await("replacement of one that does not end", agentIs("good"))
	if last.Agent.Crashes != 0 || last.Agent.Fault != "" || last.Agent.Pid == st.Agent.Pid {
		t.Errorf("%+v", last.Agent)
	}
	if last.Mysqld.Pid != before.Mysqld.Pid || last.Mysqld.Starts != 1 || !running(last) {
		t.Errorf("mysqld was disturbed: %+v", last.Mysqld)
	}
	if n := count(notes(t, g.root), "agent good clean"); n != 1 {
		t.Errorf("the first agent was ended cleanly %d times", n)
	}
}

func TestReplacementIsGivenUp(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"bad":    "huker-guestagent-bad ended before it was ready: exit status 9",
		"silent": "huker-guestagent-silent did not become ready within",
		"absent": "huker-guestagent-absent ended before it was ready: start",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t)
			g.start()
			before := g.await("boot", runningWithAgent)
			g.agent(kind)
			g.ok(g.ctl.ReplaceAgent(t.Context()))
			back := func(st control.Status) bool { return st.Agent.Fault != "" && agentIs("good")(st) }
			st := g.await("the old agent", back)
			if !strings.Contains(st.Agent.Fault, want) {
				t.Errorf("fault %q", st.Agent.Fault)
			}
			if st.Mysqld.Pid != before.Mysqld.Pid {
				t.Errorf("mysqld was disturbed: %+v", st.Mysqld)
			}
			// The next boot tries the new one again, and comes back to the old one as well.
			g.kill()
			g.start()
			g.await("the old agent after a boot", back)
			// A repaired one takes its place.
			g.agent("good2")
			g.ok(g.ctl.ReplaceAgent(t.Context()))
			if st := g.await("the repaired agent", agentIs("good2")); st.Agent.Fault != "" {
				t.Errorf("%+v", st.Agent)
			}
		})
	}
}

// TestFirstAgentHasNoOther: with nothing to go back to, it is tried again and again, and mysqld runs meanwhile.
func TestFirstAgentHasNoOther(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.agent("bad")
	g.start()
	g.await("attempts", func(st control.Status) bool { return st.Agent.Crashes >= 3 && running(st) })
	g.agent("good")
	g.ok(g.ctl.ReplaceAgent(t.Context()))
	g.await("a good one", agentIs("good"))
}

func TestReadyOfAnother(t *testing.T) {
	t.Parallel()
	g := newGuest(t)
	g.agent("silent")
	g.start()
	g.await("boot", running)
	if err := g.ctl.Ready(t.Context()); !errors.Is(err, control.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

func TestGuestConfig(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*protocol.GuestConfig){
		"agent outside": func(c *protocol.GuestConfig) { c.Agent = "../mysqld" },
		"no agent":      func(c *protocol.GuestConfig) { c.Agent = "" },
		"version":       func(c *protocol.GuestConfig) { c.Version = "5.7.1" },
		"server id":     func(c *protocol.GuestConfig) { c.ServerID = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t)
			g.configure(change)
			g.start()
			err := <-g.end
			g.end <- err
			if err == nil || !strings.Contains(g.out.String(), "guest.json") {
				t.Errorf("%v: %s", err, g.out)
			}
			if _, err := os.Stat(filepath.Join(g.p.Volume, "data")); err == nil {
				t.Error("a data directory was made")
			}
		})
	}
}
