package fault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/huker/huker/test/disk"
)

// Container is one on a machine.
type Container struct {
	Machine Machine
	Name    string // as Docker knows it
}

// ErrNoProcess means that no such process runs.
var ErrNoProcess = errors.New("fault: no such process")

// commLength is how much of a program's name the kernel keeps.
const commLength = 15

// Pids are the processes of a program in the container, as its machine numbers them.
func (c Container) Pids(ctx context.Context, program string) ([]int, error) {
	out, err := c.Machine.Exec(ctx, "docker", "top", c.Name, "-eo", "pid,comm")
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 || f[1] != program[:min(commLength, len(program))] {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil || pid <= 1 { // 0, -1 and 1 would be everybody
			return nil, fmt.Errorf("process %q of %s: %w", f[0], c.Name, ErrNoProcess)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s in %s: %w", program, c.Name, ErrNoProcess)
	}
	return pids, nil
}

// Signal sends a signal (KILL, STOP, CONT) to a program in the container.
func (c Container) Signal(ctx context.Context, signal, program string) error {
	pids, err := c.Pids(ctx, program)
	if err != nil {
		return err
	}
	args := []string{"kill", "-s", signal, "--"}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	_, err = c.Machine.Exec(ctx, args...)
	return err
}

// pid is the container's first process, as its machine numbers it.
func (c Container) pid(ctx context.Context) (int, error) {
	out, err := c.Machine.Exec(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", c.Name)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s does not run: %w", c.Name, ErrNoProcess)
	}
	return pid, nil
}

// KillProgram kills a program in the container with SIGKILL. Whoever looks after it starts it again.
func KillProgram(c Container, program string) Fault {
	return Step{What: fmt.Sprintf("%s in %s is killed", program, c.Name), Strike: func(ctx context.Context) error { return c.Signal(ctx, "KILL", program) }}
}

// StopProgram suspends a program in the container.
func StopProgram(c Container, program string) Fault {
	return Step{
		What:   fmt.Sprintf("%s in %s hangs", program, c.Name),
		Strike: func(ctx context.Context) error { return c.Signal(ctx, "STOP", program) },
		Undo: func(ctx context.Context) error {
			err := c.Signal(ctx, "CONT", program)
			if errors.Is(err, ErrNoProcess) || err != nil && !c.Runs(ctx) {
				return nil // somebody has killed it meanwhile
			}
			return err
		},
	}
}

// Runs says whether the container does.
func (c Container) Runs(ctx context.Context) bool {
	_, err := c.pid(ctx)
	return err == nil
}

// KillContainer kills the container's first process, and so all of it. The container is started again by Heal only if revive says so.
func KillContainer(c Container, revive bool) Fault {
	s := Step{What: fmt.Sprintf("container %s is killed", c.Name), Strike: func(ctx context.Context) error {
		_, err := c.Machine.Exec(ctx, "docker", "kill", "--signal", "KILL", c.Name)
		return err
	}}
	if revive {
		s.Undo = func(ctx context.Context) error {
			_, err := c.Machine.Exec(ctx, "docker", "start", c.Name) // nothing is done if it runs
			return err
		}
	}
	return s
}

// firewall are the chains that a container's packets pass in its own network namespace, and how they name an interface that is not the loopback.
var firewall = [][]string{{"INPUT", "!", "-i", "lo"}, {"OUTPUT", "!", "-o", "lo"}}

// CutContainer drops all packets to and from the container, in its own network namespace, without a word to anybody.
func CutContainer(c Container) Fault {
	rule := func(ctx context.Context, verb string, chain []string) error {
		pid, err := c.pid(ctx)
		if err != nil {
			return err
		}
		args := []string{"nsenter", "--net=/proc/" + strconv.Itoa(pid) + "/ns/net", "iptables", "--wait", verb}
		args = append(append(args, chain...), "-j", "DROP")
		_, err = c.Machine.Exec(ctx, args...)
		return err
	}
	return Step{
		What: fmt.Sprintf("container %s is cut off", c.Name),
		Strike: func(ctx context.Context) error {
			var errs []error
			for _, chain := range firewall {
				errs = append(errs, rule(ctx, "-A", chain))
			}
			return errors.Join(errs...)
		},
		Undo: func(ctx context.Context) error {
			for _, chain := range firewall {
				for rule(ctx, "-C", chain) == nil { // once for each time that it was done; a namespace that is gone has none
					if err := rule(ctx, "-D", chain); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
}

// FillDirectory leaves so many bytes on the disk that a directory of this machine is on, which is somebody's alone.
func FillDirectory(who, dir string, room int64) Fault {
	return Step{
		What:   fmt.Sprintf("%s has %d MiB of room left", who, room>>20),
		Strike: func(context.Context) error { return disk.Fill(dir, room) },
		Undo:   func(context.Context) error { return disk.Empty(dir) },
	}
}
