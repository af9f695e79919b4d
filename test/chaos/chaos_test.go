// Package chaos_test ill-treats a cluster while clients use it, and then asks whether anything that was promised is not so.
package chaos_test

import (
	"context"
	"database/sql/driver"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
	"github.com/huker/huker/test/plane"
)

const (
	usualDuration = 60 * time.Second
	usualSeed     = 20261
	healthLimit   = 120 * time.Second // from when the last fault is over until all is well
	user          = "app"
	password      = "Chaos-password-1"
	database      = "shop"
)

// trial is a cluster of three under strict, whom clients use.
type trial struct {
	*testing.T
	plane      *plane.Plane
	id         string
	members    []string // oldest first, so that a seed means the same ones
	containers map[string]fault.Container
	strikes    int
	dice       *rand.Rand
	clock      workload.Clock
	set        *workload.Set
	registers  *workload.Registers
	watch      *workload.Watch
	health     *workload.Health
}

// TestChaos: whatever happens to processes, containers and the control plane, nothing acknowledged is lost, never are two members open for writes, what clients
// see could have been one server, and all is well again soon. HUKER_CHAOS_DURATION and HUKER_CHAOS_SEED have it last longer, and take another course.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: it takes minutes")
	}
	duration, err := time.ParseDuration(from("HUKER_CHAOS_DURATION", usualDuration.String()))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(from("HUKER_CHAOS_SEED", strconv.Itoa(usualSeed)), 10, 64)
	require.NoError(t, err)
	c := found(t, seed)
	ctx, stop := context.WithCancel(t.Context())
	var work, looks sync.WaitGroup
	looking, blind := context.WithCancel(t.Context())
	defer blind()
	work.Go(func() { c.set.Run(ctx) })
	work.Go(func() { c.registers.Run(ctx) })
	looks.Go(func() { c.watch.Run(looking) })
	looks.Go(func() { c.health.Run(looking) })
	t.Cleanup(func() { stop(); blind(); work.Wait(); looks.Wait() })
	t.Logf("seed %d, %s", seed, duration)
	rounds := 0
	for c.clock.Now() < duration && !t.Failed() {
		c.round()
		rounds++
	}
	stop()
	work.Wait()
	blind()
	looks.Wait()
	c.judge(rounds)
}

func from(name, usual string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return usual
}

func found(t *testing.T, seed uint64) *trial {
	t.Helper()
	c := &trial{T: t, plane: plane.Start(t), dice: rand.New(rand.NewPCG(seed, 1)), containers: map[string]fault.Container{}} //nolint:gosec // a course that can be taken again
	t.Cleanup(func() {
		if t.Failed() {
			c.tell()
		}
	})
	acks := 1
	n := client.NewCluster{
		Name: "chaos", Instances: make([]client.NewMember, 3),
		Properties: client.ClusterProperties{
			Policy: "strict", MinAcks: &acks, Databases: []client.Database{{Name: database}},
			Users: []client.NewUser{{Name: user, Password: password, Databases: []client.Database{{Name: database}}}},
		},
	}
	for i := range n.Instances {
		n.Instances[i] = client.NewMember{Flavor: "1", Volume: &client.Volume{Size: 5}}
	}
	made, err := c.plane.API.CreateCluster(t.Context(), n)
	require.NoError(t, err)
	c.id = made.ID
	var now client.Cluster
	require.Eventually(t, func() bool {
		now, err = c.plane.API.Cluster(t.Context(), c.id)
		return err == nil && len(troubles(now)) == 0
	}, 2*time.Minute, 50*time.Millisecond, "the cluster does not become whole")
	connect := func(address string) driver.Connector {
		connector, err := workload.Endpoint{Address: address + ":3306", User: user, Password: password, Database: database}.Connector()
		require.NoError(t, err)
		return connector
	}
	endpoint := connect(now.Endpoints.ReadWrite.Address)
	members := map[string]driver.Connector{}
	for _, m := range now.Instances {
		address := m.IP[0]
		look, err := workload.Endpoint{Address: address + ":3306", User: user, Password: password, Database: database, Answer: time.Second}.Connector()
		require.NoError(t, err)
		members[m.Name] = look
		c.members = append(c.members, m.ID)
		all, err := c.plane.Engine.List(t.Context(), map[string]string{"io.huker.instance": m.ID})
		require.NoError(t, err)
		require.Len(t, all, 1)
		c.containers[m.ID] = fault.Container{Machine: fault.Here{}, Name: all[0].Name}
	}
	c.clock = workload.NewClock()
	c.set = &workload.Set{Connector: endpoint, Clock: c.clock, Writers: 8, Pace: 5 * time.Millisecond}
	c.registers = &workload.Registers{Connector: endpoint, Clock: c.clock, Seed: seed, Clients: 4, Pace: 10 * time.Millisecond, Sure: true}
	// Who says that he is open is asked to write: a primary that was given up may say so until its agent hears of that, and gets no acknowledgement any more.
	c.watch = &workload.Watch{Members: members, Clock: c.clock, Every: 50 * time.Millisecond, Write: true}
	c.health = &workload.Health{Clock: c.clock, Ask: func(ctx context.Context) ([]string, error) {
		now, err := c.plane.API.Cluster(ctx, c.id)
		return troubles(now), err
	}}
	require.NoError(t, c.set.Prepare(t.Context()))
	require.NoError(t, c.registers.Prepare(t.Context()))
	require.NoError(t, c.watch.Prepare(t.Context(), endpoint))
	return c
}

// tell shows what the control plane and the agents had to say.
func (c *trial) tell() {
	var lines []string
	for line := range strings.Lines(c.plane.Output()) {
		if !strings.Contains(line, `"msg":"request"`) {
			lines = append(lines, line)
		}
	}
	c.Logf("the control plane's log, but for requests:\n%s", strings.Join(lines[max(0, len(lines)-400):], ""))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 20*time.Second)
	defer cancel()
	for _, container := range c.containers {
		out, err := container.Machine.Exec(ctx, "sh", "-c", "docker logs --tail 300 "+container.Name+" 2>&1")
		c.Logf("log of %s: %v\n%s", container.Name, err, out)
	}
}

// troubles are what keeps a cluster from being whole.
func troubles(c client.Cluster) []string {
	var all []string
	if c.Status != "ACTIVE" {
		all = append(all, "it is "+c.Status)
	}
	if c.Condition != "" {
		all = append(all, c.Condition)
	}
	for _, a := range c.Alarms {
		all = append(all, a.Name)
	}
	for _, m := range c.Instances {
		if m.Status != "ACTIVE" {
			all = append(all, m.Name+" is "+m.Status)
		}
	}
	return all
}

// round strikes once or twice, and waits until all is well again.
func (c *trial) round() {
	c.Helper()
	var struck []fault.Fault
	began := c.clock.Now()
	for range 1 + c.dice.IntN(2) {
		f := c.draw()
		struck = append(struck, f)
		if err := f.Do(c.Context()); err != nil {
			c.Logf("%s: not now: %v", f.Name(), err) // what it is meant for may be gone by the one before
		} else {
			c.strikes++
		}
		c.pause(1500 * time.Millisecond)
	}
	c.pause(5 * time.Second)
	var names []string
	for _, f := range struck {
		require.NoError(c, f.Heal(c.Context()), f.Name())
		names = append(names, f.Name())
	}
	healed := c.clock.Now()
	ctx, cancel := context.WithTimeout(c.Context(), healthLimit)
	defer cancel()
	if problems := c.health.AwaitWell(ctx, time.Second); problems != nil {
		c.Errorf("%s: not well after %s: %s", strings.Join(names, "; "), healthLimit, strings.Join(problems, "; "))
	}
	gap := check.LongestGap(check.Acknowledged(c.set.Writes()), check.Span{From: began, To: healed}, c.clock.Now())
	well, err := c.health.Recovery(healed, healthLimit)
	c.Logf("%7.2fs %-90s longest gap %5.2f s, well after %5.2f s %v", began.Seconds(), strings.Join(names, "; "), gap.Length().Seconds(), well.Seconds(), err)
}

func (c *trial) pause(most time.Duration) {
	_ = workload.Wait(c.Context(), time.Duration(c.dice.Int64N(int64(most))))
}

// draw chooses a fault. Half of those that are a member's are the primary's.
func (c *trial) draw() fault.Fault {
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
	defer cancel()
	now, err := c.plane.API.Cluster(ctx, c.id)
	victim := c.members[c.dice.IntN(len(c.members))]
	if c.dice.IntN(2) == 0 && err == nil && now.Primary != "" {
		victim = now.Primary
	}
	container := c.containers[victim]
	switch c.dice.IntN(9) {
	case 0:
		return fault.KillProgram(container, "mysqld")
	case 1:
		return fault.KillProgram(container, "huker-guestagent")
	case 2:
		return fault.KillContainer(container, false)
	case 3:
		return fault.StopProgram(container, "mysqld")
	case 4:
		return fault.StopProgram(container, "huker-guestagent")
	case 5:
		return fault.CutContainer(container)
	case 6:
		return fault.Step{
			What:   "control plane is killed",
			Strike: func(context.Context) error { c.plane.Kill(); return nil },
			Undo:   func(context.Context) error { c.plane.Launch(); return nil },
		}
	case 7:
		return fault.Step{
			What: "control plane hangs",
			Strike: func(context.Context) error {
				if p := c.plane.Process(); p != nil {
					return p.Signal(syscall.SIGSTOP)
				}
				return nil
			},
			Undo: func(context.Context) error {
				if p := c.plane.Process(); p != nil {
					return p.Signal(syscall.SIGCONT)
				}
				return nil
			},
		}
	}
	return fault.Step{What: "planned switchover", Strike: func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := c.plane.API.Switchover(ctx, c.id, "", 30*time.Second)
		return err
	}}
}

// judge asks whether all that was promised is so.
func (c *trial) judge(rounds int) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), time.Minute)
	defer cancel()
	set, err := c.set.Finish(ctx)
	require.NoError(c, err)
	registers, primaries := c.registers.Finish(), c.watch.Finish()
	c.Logf("%d rounds; rows: %d acknowledged, %d refused, %d not known, of which %d are there; registers: %d operations, %d not known; %d reigns in %d looks",
		rounds, set.Acknowledged, set.Refused, set.Unknown, set.Survived, registers.OK, registers.Unknown, len(primaries.Reigns), primaries.Looks)
	require.NoError(c, set.Err())
	require.NoError(c, registers.Err())
	require.NoError(c, primaries.Err())
	require.Positive(c, set.Acknowledged)
	require.Positive(c, registers.OK)
	require.Positive(c, rounds)
	require.Greater(c, c.strikes, rounds/2, "faults that were none prove nothing")
}
