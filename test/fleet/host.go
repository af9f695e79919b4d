package fleet

import (
	"context"
	_ "embed" // the first processes
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	//go:embed init.sh
	initScript []byte
	//go:embed switch.sh
	switchSource []byte
)

// Host is one Docker host. Its methods may be called by several goroutines.
type Host struct {
	Name    string // also its host name: "h1" for the first
	Address string // IPv4, on the switch
	// Dir has what the host keeps: data (the engine's), log, and run, which is the host's own /run and empty after a reboot.
	Dir string
	// DockerSocket is the path of the engine's socket; on the host itself it is at the usual place.
	DockerSocket string

	fleet  *Fleet
	number int
	pid    atomic.Int64 // of the first process; 0 while the host is down

	power sync.Mutex // held while the host is started or lost

	mu       sync.Mutex
	programs map[string]*Process // running, or ended since the start; the engine's too
}

// DockerHost is the address of the engine, as DOCKER_HOST has it.
func (h *Host) DockerHost() string { return "unix://" + h.DockerSocket }

// Subnet is where the host's containers are to have their addresses: a /24 that the other hosts and the controller know the way to. No network is made
// in it. Whether others are let in is up to the host's own firewall.
func (h *Host) Subnet() string {
	h.fleet.mu.Lock()
	defer h.fleet.mu.Unlock()
	return h.state().Subnet
}

// Pid is the host's first process, as the machine numbers it; 0 while the host is down.
func (h *Host) Pid() int { return int(h.pid.Load()) }

// Up says whether the host runs.
func (h *Host) Up() bool { return h.Pid() != 0 }

// NetNS is the path of the host's network namespace, another one after each start; empty while the host is down.
func (h *Host) NetNS() string {
	if pid := h.Pid(); pid != 0 {
		return fmt.Sprintf("/proc/%d/ns/net", pid)
	}
	return ""
}

// Shell is the command line, to be followed by a program's, that runs a program on the host from a shell of the machine.
func (h *Host) Shell() string { return fmt.Sprintf("nsenter -t %d -p -m -n -u -i --", h.Pid()) }

func (h *Host) address() netip.Addr { return h.fleet.plan.host(h.number) }

// state is what is written down of the host. The fleet's mu must be held.
func (h *Host) state() *hostState { return &h.fleet.state.Hosts[h.number] }

func (h *Host) path(parts ...string) string {
	return filepath.Join(append([]string{h.Dir}, parts...)...)
}

// Exec runs a program on the host and gives its output; what it writes to its standard error is in the error, when there is one.
func (h *Host) Exec(ctx context.Context, args ...string) (string, error) {
	if len(args) == 0 {
		return "", fmt.Errorf("%w: no program", ErrInvalid)
	}
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := h.Run(cmd)
	if err != nil {
		err = fmt.Errorf("on %s: %s: %w: %s", h.Name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), err
}

// Run runs a command on the host and waits for it. Its working directory is / unless it says another; DOCKER_HOST is not handed on, so that
// docker is the host's.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Inside runs f on a thread in the host's network: the sockets that it opens, itself and not in other goroutines, are the host's.
func (h *Host) Inside(f func() error) error { return enter(h.Pid(), ofNetwork, f) }

// Dial connects to an address (no name) as a client on the host does. The connection is this process's, and does not end when the host is lost: it
// hears nothing any more.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := h.Inside(func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

func (h *Host) start(cmd *exec.Cmd) error {
	var env []string
	for _, v := range cmd.Environ() {
		if !strings.HasPrefix(v, "DOCKER_") && !strings.HasPrefix(v, "PWD=") {
			env = append(env, v)
		}
	}
	cmd.Env = env
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	return enter(h.Pid(), ofHost, cmd.Start)
}

// holder is a process that holds namespaces.
type holder struct {
	pid  int
	done chan struct{} // closed when it has been waited for; nil when it is another process's child
}

// hold starts one of the scripts and waits until it is ready.
func (f *Fleet) hold(script string, flags uintptr, args ...string) (holder, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return holder{}, fmt.Errorf("starting %s: %w", script, err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command("bash", append([]string{script}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = in, in, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	if !f.keep {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // a fleet that is not to be kept ends with its maker, however that ends
	}
	f.parent.do(func() { err = cmd.Start() })
	_ = in.Close()
	if err != nil {
		return holder{}, fmt.Errorf("starting %s: %w", script, err)
	}
	h := holder{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() { defer close(h.done); _ = cmd.Wait() }()
	said, err := io.ReadAll(out) // it closes its end when it is ready
	if err == nil && string(said) != "ready\n" {
		err = errors.New(strings.TrimSpace(string(said)))
	}
	if err != nil {
		_ = unix.Kill(h.pid, unix.SIGKILL)
		<-h.done
		return holder{}, fmt.Errorf("starting %s: %w", script, err)
	}
	return h, nil
}

// prepare makes the directories and files of a host that has none yet.
func (h *Host) prepare() error {
	for _, d := range []string{"log", "etc", "data"} {
		if err := os.MkdirAll(h.path(d), 0o711); err != nil {
			return fmt.Errorf("making directories of %s: %w", h.Name, err)
		}
	}
	if err := os.WriteFile(h.path("init.sh"), initScript, 0o600); err != nil {
		return fmt.Errorf("preparing %s: %w", h.Name, err)
	}
	return h.configureEngine()
}

// Boot starts the host when it is down, with the programs that are to be started again.
func (h *Host) Boot(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	if h.Up() {
		return nil
	}
	if err := h.boot(ctx); err != nil {
		return errors.Join(fmt.Errorf("starting host %s: %w", h.Name, err), h.lose(context.WithoutCancel(ctx)))
	}
	return nil
}

func (h *Host) boot(ctx context.Context) error {
	h.fleet.mu.Lock()
	over := h.fleet.over
	h.fleet.mu.Unlock()
	if over {
		return fmt.Errorf("fleet %s is closed: %w", h.fleet.Name, ErrDown)
	}
	if err := os.RemoveAll(h.path("run")); err != nil {
		return err
	}
	if err := os.Mkdir(h.path("run"), 0o755); err != nil {
		return err
	}
	if err := h.awaitDisk(ctx); err != nil {
		return err
	}
	first, err := h.fleet.hold(h.path("init.sh"), ofHost, h.Dir, h.Name)
	if err != nil {
		return err
	}
	h.pid.Store(int64(first.pid))
	if err := h.plugIn(first.pid); err != nil {
		return err
	}
	h.fleet.mu.Lock()
	slow := h.state().Slow
	var again []Program
	for _, p := range h.state().Programs {
		if p.Again {
			again = append(again, p)
		}
	}
	h.fleet.mu.Unlock()
	if slow != 0 {
		if err := h.limit(first.pid, slow); err != nil {
			return err
		}
	}
	if err := h.startEngine(ctx); err != nil {
		return err
	}
	for _, p := range again {
		if _, err := h.spawn(p); err != nil {
			return err
		}
	}
	return nil
}
