package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/disk"
	"github.com/huker/huker/test/plane"
)

// machine is a ground of one machine, with the control plane as one process.
type machine struct {
	*plane.Plane
	t          *testing.T
	containers map[string]fault.Container // of the members
	disks      map[string]string          // of the members: where each is mounted
	release    []func()                   // them
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{Plane: plane.Start(t), t: t, containers: map[string]fault.Container{}, disks: map[string]string{}}
}

func (m *machine) api() *client.Client { return m.API }

func (m *machine) ways(e client.Endpoint) []way { return []way{{address: e.Address + ":3306"}} }

func (m *machine) found(ctx context.Context, member string) error {
	all, err := m.Engine.List(ctx, map[string]string{"io.huker.instance": member})
	for _, c := range all {
		m.containers[member] = fault.Container{Machine: fault.Here{}, Name: c.Name}
	}
	return err
}

// ready gives each member a disk of its own, while nobody is there to take anybody's place.
func (m *machine) ready(ctx context.Context) error {
	m.Kill()
	for member, c := range m.containers {
		volumes, err := m.Engine.ListVolumes(ctx, map[string]string{"io.huker.instance": member})
		if err != nil {
			return err
		}
		if len(volumes) != 1 {
			return fmt.Errorf("member %s has %d volumes", member, len(volumes))
		}
		path := volumes[0].Path
		if _, err := c.Machine.Exec(ctx, "docker", "stop", "--time", "20", c.Name); err != nil {
			return err
		}
		m.disks[c.Name] = path
		m.release = append(m.release, disk.Own(m.t, path, diskSize))
		if _, err := c.Machine.Exec(ctx, "docker", "start", c.Name); err != nil {
			return err
		}
	}
	m.Launch()
	return nil
}

// over has the disks be the engine's again: it removes no volume that is one of its own.
func (m *machine) over() {
	for _, off := range m.release {
		off()
	}
}

func (m *machine) heal(context.Context) error { return nil }

func (m *machine) left(ctx context.Context) ([]string, error) {
	var left []string
	containers, err := m.Engine.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		left = append(left, "container "+c.Name)
	}
	volumes, err := m.Engine.ListVolumes(ctx, nil)
	for _, v := range volumes {
		left = append(left, "volume "+v.Name)
	}
	return left, err
}

// tell shows what the control plane and the agents had to say.
func (m *machine) tell(ctx context.Context, t *testing.T) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(m.Output()) {
		if !strings.Contains(line, `"msg":"request"`) {
			lines = append(lines, line)
		}
	}
	t.Logf("the control plane's log, but for requests:\n%s", strings.Join(lines[max(0, len(lines)-400):], ""))
	tellContainers(ctx, t, m.containers)
}

func (m *machine) draw(dice *rand.Rand, victim string) fault.Fault {
	c := m.containers[victim]
	switch f := ofContainer(dice, 11, c); {
	case f != nil:
		return f
	case dice.IntN(2) == 0:
		return fault.FillDirectory(c.Name, m.disks[c.Name], roomLeft(dice))
	}
	switch dice.IntN(3) {
	case 0:
		return fault.JumpClock("the control plane", clockJump(dice), func(context.Context) ([]int, error) {
			if p := m.Process(); p != nil {
				return []int{p.Pid}, nil
			}
			return nil, fault.ErrNoProcess
		})
	case 1:
		return fault.Step{
			What:   "control plane is killed",
			Strike: func(context.Context) error { m.Kill(); return nil },
			Undo:   func(context.Context) error { m.Launch(); return nil },
		}
	}
	signal := func(s syscall.Signal) func(context.Context) error {
		return func(context.Context) error {
			if p := m.Process(); p != nil {
				return p.Signal(s)
			}
			return nil
		}
	}
	return fault.Step{What: "control plane hangs", Strike: signal(syscall.SIGSTOP), Undo: signal(syscall.SIGCONT)}
}

// ofContainer draws what can be done to a member's container, one kind out of so many; nil: none of them.
func ofContainer(dice *rand.Rand, kinds int, c fault.Container) fault.Fault {
	switch dice.IntN(kinds) {
	case 0:
		return fault.KillProgram(c, "mysqld")
	case 1:
		return fault.KillProgram(c, "huker-guestagent")
	case 2:
		return fault.KillProgram(c, "huker-supervisor") // and so all of it
	case 3:
		return fault.KillContainer(c, false)
	case 4:
		return fault.StopProgram(c, "mysqld")
	case 5:
		return fault.StopProgram(c, "huker-guestagent")
	case 6:
		return fault.CutContainer(c)
	}
	return nil
}

// diskSize is of the disks that members have to themselves. It is sparse.
const diskSize = 8 << 30

// roomLeft draws what is left of a disk, in bytes: nothing, or some of what is held back there.
func roomLeft(dice *rand.Rand) int64 { return []int64{0, 4 << 20, 64 << 20}[dice.IntN(3)] }

// clockJump draws by how much a clock jumps: by seconds, or by hours, both ways.
func clockJump(dice *rand.Rand) time.Duration {
	by := time.Duration(1+dice.IntN(20)) * time.Second
	if dice.IntN(2) == 0 {
		by = time.Duration(1+dice.IntN(20)) * time.Hour
	}
	if dice.IntN(2) == 0 {
		by = -by
	}
	return by
}

func tellContainers(ctx context.Context, t *testing.T, containers map[string]fault.Container) {
	t.Helper()
	for _, c := range containers {
		out, err := c.Machine.Exec(ctx, "sh", "-c", "docker logs --tail 300 "+c.Name+" 2>&1")
		t.Logf("log of %s: %v\n%s", c.Name, err, out)
	}
}
