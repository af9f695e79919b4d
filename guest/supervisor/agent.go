package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/huker/huker/guest/control"
)

// goodFile, below paths.State, names the last agent that was ready: what a new one is given up for.
const goodFile = "agent.good"

// agentCall is what a caller wants: a replacement, or to say that it is ready.
type agentCall struct {
	replace bool
	ready   int // pid
	reply   chan error
}

// agent runs the agent. All fields but the channel belong to the goroutine of run.
type agent struct {
	s   *Supervisor
	log *slog.Logger

	calls chan agentCall

	name  string // the binary that is to run
	good  string // the last one that was ready
	trial bool   // name is not known to work, and good is
	fault string
	proc  *process
	ready bool
	next  string // the binary to start when proc has ended: a replacement is under way

	exits  int // in a row
	upAt   time.Time
	retry  *time.Timer
	limit  *time.Timer // of a trial
	killer *time.Timer // of a replacement
}

func newAgent(s *Supervisor) *agent {
	a := &agent{
		s: s, log: s.log.With("process", "agent"), calls: make(chan agentCall), name: s.guest.Agent,
		retry: time.NewTimer(0), limit: time.NewTimer(0), killer: time.NewTimer(0),
	}
	a.limit.Stop()
	a.killer.Stop()
	return a
}

func (a *agent) send(ctx context.Context, c agentCall) error {
	select {
	case a.calls <- c:
		return <-c.reply
	case <-ctx.Done():
		return fmt.Errorf("supervisor: %w", ctx.Err())
	}
}

// run keeps the agent running until ctx ends.
func (a *agent) run(ctx context.Context) {
	a.good = a.readGood()
	a.trial = a.good != "" && a.good != a.name
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-a.retry.C:
			a.start()
		case c := <-a.calls:
			c.reply <- a.take(c)
		case <-a.ended():
			a.onExit()
		case <-a.limit.C:
			if a.proc != nil && a.trial && !a.ready {
				a.fault = fmt.Sprintf("%s did not become ready within %s", a.name, a.s.cfg.Timing.AgentReady)
				a.s.procs.signal(a.proc, syscall.SIGKILL)
			}
		case <-a.killer.C:
			if a.proc != nil && a.next != "" {
				a.s.procs.signal(a.proc, syscall.SIGKILL)
			}
		}
	}
	a.shutdown()
}

func (a *agent) ended() <-chan struct{} {
	if a.proc == nil {
		return nil
	}
	return a.proc.done
}

func (a *agent) take(c agentCall) error {
	if !c.replace {
		if a.proc == nil || a.proc.pid != c.ready {
			return fmt.Errorf("%w: pid %d", control.ErrUnknown, c.ready)
		}
		a.onReady()
		return nil
	}
	name := a.s.current().Agent
	if name == a.name && a.next == "" || name == a.next {
		return nil
	}
	a.log.Info("the agent is replaced", "op", "replace", "from", a.name, "to", name)
	a.fault, a.exits = "", 0
	if a.proc == nil {
		a.become(name)
		a.start()
		return nil
	}
	a.next = name
	a.s.procs.signal(a.proc, syscall.SIGTERM)
	a.killer.Reset(a.s.cfg.Timing.AgentStop)
	return nil
}

// become makes name the binary to run.
func (a *agent) become(name string) {
	a.name, a.next = name, ""
	a.trial = a.good != "" && a.good != name
}

func (a *agent) onReady() {
	if a.ready {
		return
	}
	a.ready, a.trial = true, false
	a.limit.Stop()
	if a.good != a.name {
		a.good = a.name
		a.writeGood()
	}
	a.log.Info("the agent is ready", "op", "ready", "binary", a.name)
	a.publish()
}

// start starts the agent.
func (a *agent) start() {
	if a.proc != nil {
		return
	}
	a.retry.Stop()
	proc, err := a.s.procs.start([]string{filepath.Join(a.s.cfg.Paths.Bin, a.name)}, os.Environ(), a.s.cfg.Out)
	if err != nil {
		a.log.Error("the agent cannot be started", "op", "start", "error", err)
		a.failed(err.Error())
		return
	}
	a.proc, a.ready, a.upAt = proc, false, time.Now()
	if a.trial {
		a.limit.Reset(a.s.cfg.Timing.AgentReady)
	}
	a.log.Info("the agent was started", "op", "start", "binary", a.name, "pid", proc.pid)
	a.publish()
}

func (a *agent) onExit() {
	exit := describe(a.proc.exit)
	a.s.procs.sweep(a.proc)
	wasReady := a.ready
	a.proc, a.ready = nil, false
	a.limit.Stop()
	a.killer.Stop()
	if a.next != "" {
		a.log.Info("the agent has ended", "op", "replace", "exit", exit)
		a.become(a.next)
		a.start()
		return
	}
	a.log.Warn("the agent has ended", "op", "exit", "exit", exit)
	a.s.board.update(func(st *control.Status) {
		st.Agent.Crashes++
		st.Agent.LastExit = exit
		st.Agent.Ready, st.Agent.Pid = false, 0
	})
	if wasReady || time.Since(a.upAt) >= a.s.cfg.Timing.Stable {
		a.exits = min(a.exits, 1)
	}
	a.failed(exit)
}

// failed is an agent that ended or did not even start: one on trial is given up for the last good one, any other is started again.
func (a *agent) failed(why string) {
	a.exits++
	if a.trial {
		if a.fault == "" {
			a.fault = fmt.Sprintf("%s ended before it was ready: %s", a.name, why)
		}
		a.log.Error("the new agent is given up", "op", "replace", "binary", a.name, "for", a.good, "why", a.fault)
		a.name, a.trial, a.exits = a.good, false, 0
		a.publish()
		a.retry.Reset(0)
		return
	}
	a.publish()
	a.retry.Reset(a.s.cfg.Timing.backoff(a.exits))
}

func (a *agent) publish() {
	a.s.board.update(func(st *control.Status) {
		st.Agent.Binary, st.Agent.Ready, st.Agent.Fault, st.Agent.Pid = a.name, a.ready, a.fault, 0
		if a.proc != nil {
			st.Agent.Pid, st.Agent.Started = a.proc.pid, a.upAt
		}
	})
}

func (a *agent) shutdown() {
	if a.proc == nil {
		return
	}
	a.s.procs.signal(a.proc, syscall.SIGTERM)
	a.killer.Reset(a.s.cfg.Timing.AgentStop)
	defer a.killer.Stop()
	select {
	case <-a.proc.done:
	case <-a.killer.C:
		a.s.procs.signal(a.proc, syscall.SIGKILL)
		<-a.proc.done
	}
	a.s.procs.sweep(a.proc)
	a.proc = nil
}

func (a *agent) goodPath() string { return filepath.Join(a.s.cfg.Paths.State(), goodFile) }

// readGood is the last good agent, if its binary is still there.
func (a *agent) readGood() string {
	b, err := os.ReadFile(a.goodPath())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.log.Warn("the last good agent is not known", "op", "start", "error", err)
		}
		return ""
	}
	name := strings.TrimSpace(string(b))
	if name == "" || name != filepath.Base(name) {
		return ""
	}
	if _, err := os.Stat(filepath.Join(a.s.cfg.Paths.Bin, name)); err != nil {
		return ""
	}
	return name
}

// writeGood keeps it. Losing it costs a way back, and nothing else: so it is not worth a failure, nor a flush.
func (a *agent) writeGood() {
	tmp := a.goodPath() + ".new"
	err := os.MkdirAll(a.s.cfg.Paths.State(), 0o700)
	if err == nil {
		err = os.WriteFile(tmp, []byte(a.name+"\n"), 0o600)
	}
	if err == nil {
		err = os.Rename(tmp, a.goodPath())
	}
	if err != nil {
		a.log.Warn("the last good agent cannot be kept", "op", "ready", "error", err)
	}
}
