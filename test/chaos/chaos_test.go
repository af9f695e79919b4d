// Package chaos_test ill-treats a cluster while clients use it, and then asks whether anything that was promised is not so.
package chaos_test

import (
	"context"
	"database/sql/driver"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
)

const (
	usualDuration = 60 * time.Second
	usualSeed     = 20261
	strikeLimit   = 10 * time.Second  // what is struck already may not answer
	healLimit     = 2 * time.Minute   // hosts start, and their engines
	healthLimit   = 120 * time.Second // from when the last fault is over until all is well
	user          = "app"
	password      = "Chaos-password-1"
	database      = "shop"
)

// ground is where a cluster is.
type ground interface {
	api() *client.Client
	// ways lead clients to the cluster's address for writing.
	ways(e client.Endpoint) []way
	// found notes where a member is.
	found(ctx context.Context, member string) error
	// ready does what faults need, once all members have been found; over undoes it before the cluster goes.
	ready(ctx context.Context) error
	over()
	// draw chooses a fault; of what is each member's, a victim's.
	draw(dice *rand.Rand, victim string) fault.Fault
	// heal undoes what is left when all faults have been healed.
	heal(ctx context.Context) error
	// left lists containers and volumes of databases.
	left(ctx context.Context) ([]string, error)
	// tell shows what everybody had to say.
	tell(ctx context.Context, t *testing.T)
}

// way is one of several to the same place.
type way struct{ address string }

// trial is a cluster of three under strict, whom clients use.
type trial struct {
	*testing.T
	ground    ground
	id        string
	members   []string      // oldest first, so that a seed means the same ones
	last      time.Duration // that faults last, at most
	strikes   int
	dice      *rand.Rand
	clock     workload.Clock
	set       *workload.Set
	registers *workload.Registers
	watch     *workload.Watch
	health    *workload.Health
}

// TestChaos: whatever happens to processes, containers and the control plane, nothing acknowledged is lost, never are two members open for writes, what clients
// see could have been one server, and all is well again soon. HUKER_CHAOS_DURATION and HUKER_CHAOS_SEED have it last longer, and take another course.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: it takes minutes")
	}
	seed, duration := course(t)
	begin(t, newMachine(t), seed).run(duration)
}

// course is what was asked for.
func course(t *testing.T) (seed uint64, duration time.Duration) {
	t.Helper()
	duration, err := time.ParseDuration(from("HUKER_CHAOS_DURATION", usualDuration.String()))
	require.NoError(t, err)
	seed, err = strconv.ParseUint(from("HUKER_CHAOS_SEED", strconv.Itoa(usualSeed)), 10, 64)
	require.NoError(t, err)
	t.Logf("seed %d, %s", seed, duration)
	return seed, duration
}

func from(name, usual string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return usual
}

// run ill-treats the cluster for so long, and judges; in the end the cluster goes, and leaves nothing.
func (c *trial) run(duration time.Duration) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	var work, looks sync.WaitGroup
	looking, blind := context.WithCancel(c.Context())
	defer blind()
	work.Go(func() { c.set.Run(ctx) })
	work.Go(func() { c.registers.Run(ctx) })
	looks.Go(func() { c.watch.Run(looking) })
	looks.Go(func() { c.health.Run(looking) })
	c.Cleanup(func() { stop(); blind(); work.Wait(); looks.Wait() })
	rounds := 0
	for c.clock.Now() < duration && !c.Failed() {
		c.round()
		rounds++
	}
	stop()
	work.Wait()
	blind()
	looks.Wait()
	c.judge(rounds)
	if !c.Failed() { // else it is looked at as it is
		c.dissolve()
	}
}

// dissolve deletes the cluster.
func (c *trial) dissolve() {
	c.Helper()
	c.ground.over()
	require.NoError(c, c.ground.api().DeleteCluster(c.Context(), c.id))
	require.Eventually(c, func() bool { _, err := c.ground.api().Cluster(c.Context(), c.id); return client.NotFound(err) }, time.Minute, 100*time.Millisecond, "it stays")
	var left []string
	require.Eventually(c, func() (none bool) {
		var err error
		left, err = c.ground.left(c.Context())
		return err == nil && len(left) == 0
	}, time.Minute, 100*time.Millisecond, "left: %v", left)
}

// begin makes the cluster, and those that are to use it.
func begin(t *testing.T, g ground, seed uint64) *trial {
	t.Helper()
	c := &trial{T: t, ground: g, last: 5 * time.Second, dice: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // a course that can be taken again
	t.Cleanup(func() {
		if t.Failed() {
			c.tell()
		}
	})
	now := c.founded()
	connect := func(answer time.Duration, ways ...way) driver.Connector {
		var turn atomic.Uint64
		connector, err := workload.Endpoint{
			Address: ways[0].address, User: user, Password: password, Database: database, Answer: answer,
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { // each connection by the next way
				return new(net.Dialer).DialContext(ctx, network, ways[turn.Add(1)%uint64(len(ways))].address)
			},
		}.Connector()
		require.NoError(t, err)
		return connector
	}
	endpoint := connect(0, g.ways(*now.Endpoints.ReadWrite)...)
	members := map[string]driver.Connector{}
	for _, m := range now.Instances {
		members[m.Name] = connect(time.Second, way{address: m.IP[0] + ":3306"})
		c.members = append(c.members, m.ID)
		require.NoError(t, g.found(t.Context(), m.ID))
	}
	require.NoError(t, g.ready(t.Context()))
	c.clock = workload.NewClock()
	c.set = &workload.Set{Connector: endpoint, Clock: c.clock, Writers: 8, Pace: 5 * time.Millisecond}
	c.registers = &workload.Registers{Connector: endpoint, Clock: c.clock, Seed: seed, Clients: 4, Pace: 10 * time.Millisecond, Sure: true}
	// Who says that he is open is asked to write: a primary that was given up may say so until its agent hears of that, and gets no acknowledgement any more.
	c.watch = &workload.Watch{Members: members, Clock: c.clock, Every: 50 * time.Millisecond, Write: true}
	c.health = &workload.Health{Clock: c.clock, Ask: func(ctx context.Context) ([]string, error) {
		now, err := g.api().Cluster(ctx, c.id)
		return troubles(now), err
	}}
	c.whole()
	require.Eventually(t, func() bool { return c.set.Prepare(t.Context()) == nil }, time.Minute, 100*time.Millisecond, "the cluster takes no writes") // what is said may be of before
	require.NoError(t, c.registers.Prepare(t.Context()))
	require.NoError(t, c.watch.Prepare(t.Context(), endpoint))
	return c
}

// founded has the cluster made, and waits until it is whole.
func (c *trial) founded() (now client.Cluster) {
	c.Helper()
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
	require.Eventually(c, func() bool { // the hosts' images may not be known yet
		made, err := c.ground.api().CreateCluster(c.Context(), n)
		c.id = made.ID
		return err == nil
	}, time.Minute, 200*time.Millisecond, "the cluster cannot be made")
	return c.whole()
}

// whole waits until the cluster is.
func (c *trial) whole() (now client.Cluster) {
	c.Helper()
	require.Eventually(c, func() (well bool) {
		var err error
		now, err = c.ground.api().Cluster(c.Context(), c.id)
		return err == nil && len(troubles(now)) == 0
	}, 2*time.Minute, 50*time.Millisecond, "the cluster does not become whole")
	return now
}

// tell shows what became of the cluster, and what everybody had to say.
func (c *trial) tell() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 30*time.Second)
	defer cancel()
	now, err := c.ground.api().Cluster(ctx, c.id)
	c.Logf("the run began at %s; the cluster now: %+v %v", c.clock.Time(0).UTC().Format(time.RFC3339Nano), now, err)
	turns, err := c.ground.api().ClusterHistory(ctx, c.id, 0)
	for _, turn := range turns {
		c.Logf("turn: %+v", turn)
	}
	members, merr := c.ground.api().ClusterMembers(ctx, c.id)
	for _, m := range members {
		c.Logf("member: %+v", m)
	}
	c.Logf("asking for its history: %v; for its members: %v", err, merr)
	c.ground.tell(ctx, c.T)
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
		c.strike(f)
		c.pause(1500 * time.Millisecond)
	}
	c.pause(c.last)
	var names []string
	for _, f := range struck {
		names = append(names, f.Name())
	}
	c.restore(struck)
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

func (c *trial) strike(f fault.Fault) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), strikeLimit)
	defer cancel()
	at := c.clock.Now()
	if err := f.Do(ctx); err != nil {
		c.Logf("%7.2fs %s: not now: %v", at.Seconds(), f.Name(), err) // what it is meant for may be gone by the one before
		return
	}
	c.strikes++
	c.Logf("%7.2fs %s, done after %.2f s", at.Seconds(), f.Name(), (c.clock.Now() - at).Seconds())
}

// restore undoes all that was done. What was struck twice may need both undone before it answers.
func (c *trial) restore(struck []fault.Fault) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), healLimit)
	defer cancel()
	require.NoError(c, c.ground.heal(ctx))
	for _, f := range struck {
		require.NoError(c, f.Heal(ctx), f.Name())
	}
	require.NoError(c, c.ground.heal(ctx))
}

func (c *trial) pause(most time.Duration) {
	_ = workload.Wait(c.Context(), time.Duration(c.dice.Int64N(int64(most))))
}

// draw chooses a fault. Half of those that are a member's are the primary's. One in eight is a switchover, with another fault in the middle of it or without.
func (c *trial) draw() fault.Fault {
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
	defer cancel()
	now, err := c.ground.api().Cluster(ctx, c.id)
	victim := c.members[c.dice.IntN(len(c.members))]
	if c.dice.IntN(2) == 0 && err == nil && now.Primary != "" {
		victim = now.Primary
	}
	kind, middle, wait := c.dice.IntN(8), c.dice.IntN(2) == 0, time.Duration(c.dice.Int64N(int64(400*time.Millisecond)))
	other := c.ground.draw(c.dice, victim)
	switch {
	case kind > 0:
		return other
	case middle:
		return fault.Step{What: "planned switchover, and " + other.Name(), Undo: other.Heal, Strike: func(ctx context.Context) error {
			if err := c.switchOver(ctx); err != nil {
				return err
			}
			if err := workload.Wait(ctx, wait); err != nil {
				return err
			}
			return other.Do(ctx)
		}}
	}
	return fault.Step{What: "planned switchover", Strike: c.switchOver}
}

func (c *trial) switchOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.ground.api().Switchover(ctx, c.id, "", 30*time.Second)
	return err
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
