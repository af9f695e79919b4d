package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/fleet"
	"github.com/huker/huker/test/site"
)

// hosts is a ground of a fleet: three hosts, RabbitMQ, three ZooKeepers, MySQL for the metadata, two nodekeepers. Clients are on a machine that is no host.
type hosts struct {
	*site.Running
	t          *testing.T
	containers map[string]fault.Container // of the members
	on         map[string]*fleet.Host     // where they are
	ports      []uint16                   // that clients come to
	down       map[string]bool            // engines that were killed
}

func newHosts(t *testing.T, life time.Duration) *hosts {
	t.Helper()
	return &hosts{
		Running: site.New(t, life, diskSize).Start(t), t: t,
		containers: map[string]fault.Container{}, on: map[string]*fleet.Host{}, down: map[string]bool{},
	}
}

func (h *hosts) api() *client.Client { return h.API }

// ways are the cluster's address, by a host as a router, and its port at each host.
func (h *hosts) ways(e client.Endpoint) []way {
	h.ports = []uint16{3306, uint16(e.HostPort), uint16(e.HostPort + 1)} //nolint:gosec // ports
	all := []way{{address: e.Address + ":3306"}}
	for _, on := range h.Site.Fleet.Hosts {
		all = append(all, way{address: net.JoinHostPort(on.Address, strconv.Itoa(e.HostPort))})
	}
	return all
}

func (h *hosts) found(ctx context.Context, member string) error {
	for name, engine := range h.Engines {
		all, err := engine.List(ctx, map[string]string{"io.huker.instance": member})
		if err != nil {
			return err
		}
		for _, c := range all {
			on, err := h.Site.Fleet.Host(name)
			if err != nil {
				return err
			}
			for other, taken := range h.on {
				if taken == on {
					return fmt.Errorf("members %s and %s are both on %s", other, member, name)
				}
			}
			h.containers[member], h.on[member] = fault.Container{Machine: on, Name: c.Name}, on
		}
	}
	if h.on[member] == nil {
		return fmt.Errorf("member %s is on no host", member)
	}
	return nil
}

func (h *hosts) ready(context.Context) error { return nil }

func (h *hosts) over() {}

// ours are Huker's own programs.
func ours(pids []int, err error) ([]int, error) {
	return slices.DeleteFunc(pids, func(pid int) bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return err != nil || !strings.HasPrefix(string(name), "huker-")
	}), err
}

// heal undoes what was done to hosts, and starts what does not run. What was done to engines is undone by each fault itself.
func (h *hosts) heal(ctx context.Context) error {
	if err := h.Site.Fleet.Heal(ctx); err != nil {
		return err
	}
	return h.Launch()
}

func (h *hosts) left(ctx context.Context) ([]string, error) { return h.Left(ctx) }

// tell shows what the control plane and the agents had to say; what the hosts' programs said is shown with the fleet's end.
func (h *hosts) tell(ctx context.Context, t *testing.T) {
	t.Helper()
	t.Logf("%s", h.Tail(96<<10))
	for _, on := range h.Site.Fleet.Hosts {
		t.Logf("huker-sysmgr of %s:\n%s", on.Name, fleet.Tail(on.Dir+"/log/huker-sysmgr-"+h.Name+".log", 24<<10))
	}
	tellContainers(ctx, t, h.containers)
}

// draw strikes a member's container, its host or what joins hosts, or the control plane and its engines.
func (h *hosts) draw(dice *rand.Rand, victim string) fault.Fault {
	switch dice.IntN(5) {
	case 0, 1:
		for {
			if f := ofContainer(dice, 7, h.containers[victim]); f != nil {
				return f
			}
		}
	case 2, 3:
		return h.ofHost(dice, h.on[victim])
	}
	return h.ofControl(dice, h.on[victim])
}

// ofHost draws what can be done to a host.
func (h *hosts) ofHost(dice *rand.Rand, on *fleet.Host) fault.Fault {
	var others []fleet.Side
	for _, other := range h.Site.Fleet.Hosts {
		if other != on {
			others = append(others, other)
		}
	}
	machine := []fleet.Side{h.Site.Fleet.Controller}
	switch dice.IntN(12) {
	case 0:
		return fault.CutHost(on, "all", fleet.Cut{})
	case 1:
		return fault.CutHost(on, "all", fleet.Cut{Way: fleet.Inbound})
	case 2:
		return fault.CutHost(on, "all", fleet.Cut{Way: fleet.Outbound})
	case 3:
		return fault.CutHost(on, "coordination", fleet.Cut{From: machine, Ports: h.coordination()})
	case 4:
		return fault.CutHost(on, "the other hosts", fleet.Cut{From: others, Way: []fleet.Way{fleet.Both, fleet.Inbound, fleet.Outbound}[dice.IntN(3)]})
	case 5:
		return fault.CutHost(on, "clients", fleet.Cut{From: machine, Ports: h.ports})
	case 6:
		return fault.SlowHost(on, 1_000_000+dice.IntN(4_000_000))
	case 7:
		return fault.PauseHost(on)
	case 8:
		return fault.KillDocker(on)
	case 9:
		return fault.FillDisk(on, roomLeft(dice))
	case 10:
		return fault.JumpClock(on.Name, clockJump(dice), func(context.Context) ([]int, error) { return ours(on.Pids()) })
	}
	return fault.LoseHost(on)
}

func (h *hosts) coordination() []uint16 {
	var ports []uint16
	for _, s := range h.Site.ZooKeeper.Servers {
		_, port, err := net.SplitHostPort(s.Address)
		require.NoError(h.t, err)
		n, err := strconv.ParseUint(port, 10, 16)
		require.NoError(h.t, err)
		ports = append(ports, uint16(n))
	}
	return ports
}

// ofControl draws what can be done to the control plane and its engines.
func (h *hosts) ofControl(dice *rand.Rand, on *fleet.Host) fault.Fault {
	switch dice.IntN(9) {
	case 0:
		n := h.Numbers("huker-sysmgr", on.Name)[0]
		return fault.Step{What: "sysmgr of " + on.Name + " is killed", Strike: func(context.Context) error { return h.Shoot(n) }, Undo: h.launch}
	case 1:
		return fault.Step{What: "the leading nodekeeper is killed", Strike: func(context.Context) error { return h.Shoot(h.Leader()) }, Undo: h.launch}
	case 2:
		return h.hangs(h.Leader(), "the leading nodekeeper")
	case 3:
		return h.hangs(h.Numbers("huker-sysmgr", on.Name)[0], "sysmgr of "+on.Name)
	case 4:
		return h.keepers("a ZooKeeper server is killed", dice.IntN(3))
	case 5:
		return h.keepers("all ZooKeeper servers are killed", 0, 1, 2)
	case 6:
		return fault.JumpClock("the leading nodekeeper", clockJump(dice), func(context.Context) ([]int, error) {
			if p := h.Process(h.Leader()); p != nil {
				return []int{p.Pid}, nil
			}
			return nil, fault.ErrNoProcess
		})
	case 7:
		return h.engine("RabbitMQ", func() error { h.Site.RabbitMQ.Kill(); return nil }, func() error { h.Site.RabbitMQ.Up(h.t); return nil })
	}
	return h.engine("the metadata's MySQL", h.Site.MySQL.Down, h.Site.MySQL.Up)
}

func (h *hosts) launch(context.Context) error { return h.Launch() }

func (h *hosts) hangs(n int, who string) fault.Fault {
	var hung *site.Process // another one may run when it is healed
	return fault.Step{
		What: who + " hangs",
		Strike: func(context.Context) error {
			if hung = h.Process(n); hung == nil {
				return fault.ErrNoProcess
			}
			return hung.Signal(unix.SIGSTOP)
		},
		Undo: func(context.Context) error {
			if hung == nil {
				return nil
			}
			return hung.Signal(unix.SIGCONT)
		},
	}
}

// errDown means that an engine was killed before.
var errDown = errors.New("it is down")

// engine kills one of the control plane's engines, which runs again when it is healed.
func (h *hosts) engine(name string, kill, up func() error) fault.Fault {
	mine := false
	return fault.Step{
		What: name + " is killed",
		Strike: func(context.Context) error {
			if h.down[name] {
				return errDown
			}
			h.down[name], mine = true, true
			return kill()
		},
		Undo: func(context.Context) error {
			if !mine {
				return nil
			}
			h.down[name], mine = false, false
			return up()
		},
	}
}

// keepers kills some ZooKeeper servers.
func (h *hosts) keepers(what string, numbers ...int) fault.Fault {
	all := h.Site.ZooKeeper
	var mine []int
	return fault.Step{
		What: what,
		Strike: func(context.Context) error {
			for _, n := range numbers {
				if name := fmt.Sprint("ZooKeeper ", n); !h.down[name] {
					h.down[name], mine = true, append(mine, n)
					all.Servers[n].Kill()
				}
			}
			if len(mine) == 0 {
				return errDown
			}
			return nil
		},
		Undo: func(context.Context) error {
			for _, n := range mine {
				all.Servers[n].Launch(h.t)
			}
			for _, n := range mine {
				all.AwaitUp(h.t, n)
				h.down[fmt.Sprint("ZooKeeper ", n)] = false
			}
			mine = nil
			return nil
		},
	}
}

// TestChaosOnAFleet is TestChaos with each member on a host of its own: hosts are lost, hang, and are cut off, in one direction or from some only.
func TestChaosOnAFleet(t *testing.T) {
	if from("HUKER_CHAOS_FLEET", "") != "1" {
		t.Skip("SKIPPED, NOT TESTED: a fleet (make chaos-fleet)")
	}
	seed, duration := course(t)
	h := newHosts(t, duration+30*time.Minute)
	c := begin(t, h, seed)
	c.last = 6 * time.Second // a host that is back in a moment is no trial
	c.run(duration)
}
