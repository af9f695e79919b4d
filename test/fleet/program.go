package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Program is something that is to run on a host for long.
type Program struct {
	Name string   `json:"name"` // unique on the host; its log is log/NAME.log
	Args []string `json:"args"` // Args[0] is looked up in PATH
	// Env is "NAME=value" in addition to this process's own environment. It is written down with the fleet: no secrets.
	Env []string `json:"env,omitempty"`
	Dir string   `json:"dir,omitempty"` // default: /
	// Again has the program started again whenever the host is, until Process.Stop. Nothing starts it again when it ends by itself.
	Again bool `json:"again,omitempty"`
}

// Process is a Program that was started.
type Process struct {
	Program
	Pid int    // as the machine numbers it
	Log string // path of the file with its output, which is kept over reboots

	host *Host
	cmd  *exec.Cmd
	done chan struct{}
	err  error // what became of it; to be read when done is closed
}

// Start starts a program on the host, and does not wait for it.
func (h *Host) Start(p Program) (*Process, error) {
	if p.Name == "" || len(p.Args) == 0 || strings.ContainsRune(p.Name, os.PathSeparator) {
		return nil, fmt.Errorf("%w: program %q", ErrInvalid, p.Name)
	}
	h.power.Lock()
	defer h.power.Unlock()
	if h.runs(p.Name) {
		return nil, fmt.Errorf("%w: %s runs on %s already", ErrInvalid, p.Name, h.Name)
	}
	started, err := h.spawn(p)
	if err != nil {
		return nil, err
	}
	return started, h.remember(p.Name, &p)
}

// remember writes down a program, or forgets it when there is none.
func (h *Host) remember(name string, p *Program) error {
	h.fleet.mu.Lock()
	defer h.fleet.mu.Unlock()
	s := h.state()
	s.Programs = slices.DeleteFunc(s.Programs, func(other Program) bool { return other.Name == name })
	if p != nil {
		s.Programs = append(s.Programs, *p)
	}
	return h.fleet.save()
}

// Program gives the process that was started last by that name; ErrNotFound when none was since this process has known the host.
func (h *Host) Program(name string) (*Process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.programs[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("program %s on %s: %w", name, h.Name, ErrNotFound)
}

func (h *Host) runs(name string) bool {
	p, err := h.Program(name)
	return err == nil && !p.ended()
}

func (h *Host) spawn(p Program) (*Process, error) {
	started := &Process{Program: p, Log: h.path("log", p.Name+".log"), host: h, done: make(chan struct{})}
	log, err := os.OpenFile(started.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s on %s: %w", p.Name, h.Name, err)
	}
	defer func() { _ = log.Close() }()
	started.cmd = exec.Command(p.Args[0], p.Args[1:]...)
	started.cmd.Env, started.cmd.Dir = append(os.Environ(), p.Env...), p.Dir
	started.cmd.Stdout, started.cmd.Stderr = log, log
	// What a terminal sends to this process is not meant for the host's.
	started.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.start(started.cmd); err != nil {
		return nil, fmt.Errorf("starting %s on %s: %w", p.Name, h.Name, err)
	}
	started.Pid = started.cmd.Process.Pid
	go func() {
		defer close(started.done)
		started.err = started.cmd.Wait()
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.programs[p.Name] = started
	return started, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; nil when it did so with exit code 0, and while it runs.
func (p *Process) Err() error {
	if !p.ended() {
		return nil
	}
	return p.err
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the process alone, SIGSTOP and SIGCONT among them. It is no error when it has ended.
func (p *Process) Signal(s unix.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s on %s: %w", p.Name, p.host.Name, err)
	}
	return nil
}

// Stop asks the process to end, kills it when ctx ends first, and does not have it started again.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.host.remember(p.Name, nil); err != nil {
		return err
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	err := p.wait(ctx)
	if err != nil {
		err = errors.Join(err, p.Signal(unix.SIGKILL))
		<-p.done
	}
	return err
}

func (p *Process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s on %s does not end: %w", p.Name, p.host.Name, ctx.Err())
	}
}

// await looks every so often whether something has come about, for as long as the process runs.
func (p *Process) await(ctx context.Context, every time.Duration, ready func() bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s on %s ended: %w: %s", p.Name, p.host.Name, errors.Join(p.err, errors.New("it was not ready")), Tail(p.Log, 2000))
		case <-ctx.Done():
			return fmt.Errorf("%s on %s is not ready: %w: %s", p.Name, p.host.Name, ctx.Err(), Tail(p.Log, 2000))
		}
	}
	return nil
}

// Tail gives the last bytes of a log.
func Tail(path string, bytes int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-bytes):])
}
