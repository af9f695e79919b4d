package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a child.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	exit syscall.WaitStatus
}

// procs starts children and reaps everything: as PID 1 the supervisor also inherits whatever its children leave behind. That is why os/exec
// is not used here: whoever waits for any child takes away the ones that others wait for.
type procs struct {
	mu   sync.Mutex // held from fork until the child is known, and while reaping: so a known pid is never another's
	kids map[int]*process
}

func newProcs() *procs { return &procs{kids: map[int]*process{}} }

// run reaps until ctx ends.
func (p *procs) run(ctx context.Context) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGCHLD)
	defer signal.Stop(ch)
	p.reap() // what ended before
	for {
		select {
		case <-ch:
			p.reap()
		case <-ctx.Done():
			return
		}
	}
}

func (p *procs) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if k := p.kids[pid]; k != nil {
			delete(p.kids, pid)
			k.exit = ws
			close(k.done)
		}
	}
}

// start starts a program in a process group of its own, with nothing on its standard input.
func (p *procs) start(argv, env []string, out *os.File) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	defer func() { _ = null.Close() }() // only the child's matters
	p.mu.Lock()
	defer p.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	k := &process{pid: pid, done: make(chan struct{})}
	p.kids[pid] = k
	return k, nil
}

// signal sends sig, unless the child has ended.
func (p *procs) signal(k *process, sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kids[k.pid] == k {
		_ = syscall.Kill(k.pid, sig) // the child is there and ours: nothing can go wrong
	}
}

// sweep kills what a child that has ended left in its process group.
func (p *procs) sweep(k *process) { _ = syscall.Kill(-k.pid, syscall.SIGKILL) } // mostly nobody is left: ESRCH

// describe says in words how a process ended.
func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return fmt.Sprintf("killed by signal %d (%s)", int(ws.Signal()), unix.SignalName(ws.Signal()))
	}
	return fmt.Sprintf("exit status %d", ws.ExitStatus())
}
