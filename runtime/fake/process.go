package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/huker/huker/runtime"
)

// Program is what runs in a container; what it returns is its exit code. ctx ends when it is killed: what it returns then does not
// count.
type Program func(ctx context.Context, p *Process) int

// StartHook is called when a container has started; ctx ends when it ends.
type StartHook func(ctx context.Context, p *Process)

// Process is what a Program sees.
type Process struct {
	Container runtime.State
	Args      []string // entrypoint and arguments, or Exec's command
	Env       []string
	Exec      bool // beside the container's own program
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Signals   <-chan string // "TERM", "HUP"; a KILL ends ctx instead
	Files     Files
}

// run is one life of a container.
type run struct {
	cancel  context.CancelFunc
	signals chan string
	listens bool // a Program takes its signals
	done    chan struct{}
}

var errGraceOver = errors.New("fake: the time to stop is over")

// signal never waits: a Program that does not take its signals misses them.
func (r *run) signal(name string) {
	select {
	case r.signals <- name:
	default:
	}
}

func (r *run) await(ctx context.Context, grace time.Duration) error {
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-r.done:
		return nil
	case <-t.C:
		return errGraceOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start begins a life. e.mu is held.
func (e *Engine) start(c *container) error {
	if err := e.connect(c); err != nil {
		c.state.ExitCode, c.state.Error = cannotStart, err.Error()
		return err
	}
	e.serial++
	for _, m := range c.spec.Mounts {
		if m.Kind == runtime.MountMemory {
			c.memory[m.Target] = newTree()
		}
	}
	c.stopped, c.ending = false, false
	c.state.Phase, c.state.Pid, c.state.Started = runtime.PhaseRunning, 1000+e.serial, time.Now().UTC()
	c.state.ExitCode, c.state.OOM, c.state.Error, c.state.Finished = 0, false, "", time.Time{}
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{cancel: cancel, signals: make(chan string, 16), done: make(chan struct{}), listens: e.program != nil}
	c.run = r
	e.emit(c, runtime.EventStarted, 0)
	p := e.process(c, slices.Concat(c.spec.Entrypoint, c.spec.Args), r.signals)
	for _, hook := range e.onStart {
		go hook(ctx, p)
	}
	if program := e.program; program != nil {
		go func() {
			code := program(ctx, p)
			e.mu.Lock()
			defer e.mu.Unlock()
			e.ended(c, r, code, false) //nolint:contextcheck // a container outlives the call
		}()
	}
	return nil
}

func (e *Engine) process(c *container, args []string, signals <-chan string) *Process {
	return &Process{
		Container: c.look(), Args: args, Env: c.spec.Env, Stdin: eof{}, Stdout: io.Discard, Stderr: io.Discard, Signals: signals,
		Files: Files{e: e, c: c},
	}
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// ended closes a life, unless another began meanwhile. e.mu is held.
func (e *Engine) ended(c *container, r *run, code int, oom bool) {
	if c.run != r {
		return
	}
	c.run = nil
	r.cancel()
	close(r.done)
	c.state.Phase, c.state.Pid, c.state.ExitCode, c.state.OOM, c.state.Finished = runtime.PhaseExited, 0, code, oom, time.Now().UTC()
	c.state.Address = c.spec.Address
	e.emit(c, runtime.EventDied, code)
	if !c.spec.Restart || c.stopped || c.ending {
		return
	}
	time.AfterFunc(e.RestartPause, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if c.run == nil && !c.stopped && !c.ending && !c.removed {
			_ = e.start(c) // what cannot start is seen by its state
		}
	})
}

// Exec implements runtime.Execer.
func (d *Driver) Exec(ctx context.Context, name string, cmd []string, stdin io.Reader) (result runtime.ExecResult, err error) {
	err = d.e.callFree(ctx, OpExec, name, func() error {
		d.e.mu.Lock()
		c, err := d.running(name)
		if err == nil && c.state.Phase == runtime.PhasePaused {
			err = fmt.Errorf("%w: it is paused", runtime.ErrNotRunning)
		}
		if err != nil || d.e.program == nil {
			d.e.mu.Unlock()
			return err
		}
		program, r := d.e.program, c.run
		p := d.e.process(c, slices.Clone(cmd), nil)
		d.e.mu.Unlock()
		return execute(ctx, program, p, r, stdin, &result)
	})
	return result, err
}

func execute(ctx context.Context, program Program, p *Process, r *run, stdin io.Reader, result *runtime.ExecResult) error {
	var out, errOut bounded
	p.Exec, p.Stdout, p.Stderr = true, &out, &errOut
	if stdin != nil {
		p.Stdin = stdin
	}
	inside, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- program(inside, p) }()
	select {
	case code := <-ended:
		*result = runtime.ExecResult{ExitCode: code, Stdout: out.bytes(), Stderr: errOut.bytes()}
		return nil
	case <-r.done: // with its container
		*result = runtime.ExecResult{ExitCode: killed, Stdout: out.bytes(), Stderr: errOut.bytes()}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
