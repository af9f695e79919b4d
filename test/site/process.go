package site

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/fleet"
)

// Spec is one process of a deployment.
type Spec struct {
	Program string
	Args    []string
	Takes   string      // the flag of `huker serve` that is this one's business; "*": all of them are
	Host    *fleet.Host // where it runs; nil: on this machine
	Log     string      // path of a file for what it writes on this machine; empty: Processes.Log
}

// own picks the flags of `huker serve` that are a process's business, with their values.
func (s Spec) own(given []string) []string {
	if s.Takes == "*" {
		return given
	}
	var own []string
	for i := 0; i < len(given); i++ {
		flag := given[i]
		value := i+1 < len(given) && !strings.HasPrefix(given[i+1], "--")
		if flag == s.Takes || flag == "--fault" {
			own = append(own, flag)
			if value {
				own = append(own, given[i+1])
			}
		}
		if value {
			i++
		}
	}
	return own
}

// Process is one that runs.
type Process struct {
	Pid    int // of one on this machine itself
	signal func(unix.Signal) error
	over   chan struct{} // closed when it has ended
}

// Signal sends a signal. It is no error when the process has ended.
func (p *Process) Signal(s unix.Signal) error {
	if err := p.signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *Process) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// Processes are those of one deployment.
type Processes struct {
	Name  string // the deployment's
	Bin   string // where the programs are
	Env   []string
	Log   io.Writer // of those on this machine; a host keeps its own
	Specs []Spec
	// Exited tells that a process has ended by itself.
	Exited chan error

	mu      sync.Mutex
	running map[int]*Process // by the number of the spec
}

// NewProcesses has none run yet.
func NewProcesses(name, bin string, log io.Writer, env ...string) *Processes {
	return &Processes{Name: name, Bin: bin, Log: log, Env: env, Exited: make(chan error, 16), running: map[int]*Process{}}
}

// Launch runs what does not run, without waiting. given are flags of `huker serve`, of which each takes what is its business.
func (p *Processes) Launch(given ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, spec := range p.Specs {
		if r := p.running[n]; r != nil && !r.ended() {
			continue
		}
		if spec.Host != nil && !spec.Host.Up() {
			continue
		}
		run, err := p.run(spec, append(append([]string(nil), spec.Args...), spec.own(given)...), func(r *Process, err error) { p.ended(n, r, err) })
		if err != nil {
			return err
		}
		p.running[n] = run
	}
	return nil
}

// run starts a process; ended is told when it ends.
func (p *Processes) run(s Spec, args []string, ended func(*Process, error)) (*Process, error) {
	run := &Process{over: make(chan struct{})}
	path := filepath.Join(p.Bin, s.Program)
	if s.Host != nil {
		there, err := s.Host.Start(fleet.Program{Name: s.Program + "-" + p.Name, Args: append([]string{path}, args...)})
		if err != nil {
			return nil, err
		}
		run.signal = there.Signal
		go func() {
			<-there.Done()
			close(run.over)
			ended(run, there.Err())
		}()
		return run, nil
	}
	cmd := exec.Command(path, args...) //nolint:gosec // a program of this module
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = p.Log, p.Log
	if s.Log != "" {
		log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", s.Program, err)
		}
		defer func() { _ = log.Close() }()
		cmd.Stdout, cmd.Stderr = log, log
	}
	if err := testenv.StartChild(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Program, err)
	}
	run.Pid, run.signal = cmd.Process.Pid, func(s unix.Signal) error { return cmd.Process.Signal(s) }
	go func() {
		err := cmd.Wait()
		close(run.over)
		ended(run, err)
	}()
	return run, nil
}

// ended takes note of a process that nobody here killed.
func (p *Processes) ended(n int, r *Process, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[n] != r {
		return
	}
	delete(p.running, n)
	select {
	case p.Exited <- fmt.Errorf("%s: %w", p.Specs[n].Program, err):
	default:
	}
}

// Process gives one by the number of its spec; nil when it does not run.
func (p *Processes) Process(n int) *Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running[n]
}

// patience is how long one that was killed may take to end.
const patience = time.Minute

func end(r *Process) error {
	if err := r.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-r.over:
		return nil
	case <-time.After(patience):
		return errors.New("a process that was killed does not end")
	}
}

// Shoot ends one process with SIGKILL, and waits until it has.
func (p *Processes) Shoot(n int) error {
	p.mu.Lock()
	run := p.running[n]
	delete(p.running, n)
	p.mu.Unlock()
	if run == nil {
		return fmt.Errorf("%s %d does not run", p.Specs[n].Program, n)
	}
	return end(run)
}

// Kill ends all with SIGKILL.
func (p *Processes) Kill() error {
	p.mu.Lock()
	running := p.running
	p.running = map[int]*Process{}
	p.mu.Unlock()
	for _, r := range running {
		_ = r.Signal(syscall.SIGKILL) // all of them at one moment
	}
	var errs []error
	for _, r := range running {
		errs = append(errs, end(r))
	}
	p.Bury()
	return errors.Join(errs...)
}

// Bury forgets that something died.
func (p *Processes) Bury() {
	for {
		select {
		case <-p.Exited:
		default:
			return
		}
	}
}
