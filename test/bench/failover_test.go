package bench

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/plain"
	"github.com/huker/huker/test/chaos/workload"
)

// failoverRuns of each fault on each side, in turns. HUKER_BENCH_RUNS changes it; HUKER_BENCH_ALONE=1 leaves out Group Replication.
const failoverRuns = 20

// side is a cluster of three, and what can be done to it.
type side struct {
	name       string
	endpoint   driver.Connector
	primary    func() fault.Container
	switchover func(context.Context) error
	revives    bool // a container that is killed comes back by itself
	well       func(context.Context) error
}

// BenchmarkFailover measures the longest time without an acknowledged write at a cluster's address, of one writer, when something happens to the primary: side by
// side with Group Replication and MySQL Router, of the same versions, in containers on the same machine. Targets: killed <= 0.5 s (p50) and 1 s (p99), hung or cut
// off <= 3 s, switchover <= 0.2 s.
func BenchmarkFailover(b *testing.B) {
	runs := sizeFrom(b, "HUKER_BENCH_RUNS", failoverRuns)
	sides := []side{hukerSide(b)}
	if os.Getenv("HUKER_BENCH_ALONE") == "" {
		sides = append(sides, groupSide(b))
	}
	measureGaps(b, sides, runs, []kind{
		{"container-killed", func(s side) fault.Fault { return fault.KillContainer(s.primary(), !s.revives) }},
		{"mysqld-killed", func(s side) fault.Fault {
			if s.revives {
				return fault.KillProgram(s.primary(), "mysqld")
			}
			return fault.KillContainer(s.primary(), true) // it is the container's first process there
		}},
		{"mysqld-hangs", func(s side) fault.Fault { return fault.StopProgram(s.primary(), "mysqld") }},
		{"cut-off", func(s side) fault.Fault { return fault.CutContainer(s.primary()) }},
		{"switchover", switchover},
	})
}

// kind of thing that happens to a primary.
type kind struct {
	name string
	make func(s side) fault.Fault
}

func switchover(s side) fault.Fault {
	return fault.Step{What: "planned switchover", Strike: s.switchover}
}

// measureGaps has each kind of thing happen to each side, in turns.
func measureGaps(b *testing.B, sides []side, runs int, kinds []kind) {
	b.Helper()
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			gaps := map[string][]time.Duration{}
			for b.Loop() {
				for range runs {
					for _, s := range sides {
						gaps[s.name] = append(gaps[s.name], gapOf(b, s, kind.make(s)))
					}
				}
			}
			for name, g := range gaps {
				b.ReportMetric(check.Quantile(g, 0.5).Seconds(), name+"-p50-s")
				b.ReportMetric(check.Quantile(g, 0.99).Seconds(), name+"-p99-s")
			}
			if len(sides) > 1 {
				b.ReportMetric(check.Quantile(gaps[sides[0].name], 0.5).Seconds()/check.Quantile(gaps[sides[1].name], 0.5).Seconds(), "ratio")
			}
			b.ReportMetric(0, "ns/op")
			b.Logf("%v", gaps)
		})
	}
}

// gapOf strikes while somebody writes, and gives the longest time without an acknowledgement around it.
func gapOf(b *testing.B, s side, f fault.Fault) time.Duration {
	b.Helper()
	const patience = 90 * time.Second
	whole, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	require.NoError(b, s.well(whole), s.name)
	clock := workload.NewClock()
	w := &workload.Set{Connector: s.endpoint, Clock: clock, Writers: 1, Pace: time.Millisecond}
	require.NoError(b, w.Prepare(b.Context()))
	ctx, stop := context.WithCancel(b.Context())
	var work sync.WaitGroup
	work.Go(func() { w.Run(ctx) })
	defer work.Wait()
	defer stop()
	written := func() int { return len(check.Acknowledged(w.Writes())) }
	require.Eventually(b, func() bool { return written() > 100 }, patience, 10*time.Millisecond)
	struck := clock.Now()
	require.NoError(b, f.Do(b.Context()), f.Name())
	done := clock.Now()
	// It is over when writes have gone through for a while that were sent after it.
	require.Eventually(b, func() bool {
		acks := check.Acknowledged(w.Writes())
		return len(acks) > 0 && acks[len(acks)-1] > done+time.Second && steady(acks, 500*time.Millisecond)
	}, patience, 20*time.Millisecond, "%s: %s: no writes any more", s.name, f.Name())
	end := clock.Now()
	require.NoError(b, f.Heal(b.Context()), f.Name())
	return check.LongestGap(check.Acknowledged(w.Writes()), check.Span{From: struck, To: end}, end).Length()
}

// steady says whether there was an acknowledgement in every tenth of the last while.
func steady(acks []time.Duration, while time.Duration) bool {
	last := acks[len(acks)-1]
	for i := len(acks) - 1; i > 0 && acks[i] > last-while; i-- {
		if acks[i]-acks[i-1] > while/10 {
			return false
		}
	}
	return true
}

func hukerSide(b *testing.B) side {
	b.Helper()
	p := start(b)
	id, endpoint := makeCluster(b, p.API, "strict")
	return side{
		name: "huker", endpoint: endpoint, revives: true, well: func(ctx context.Context) error { return well(ctx, p.API, id) },
		primary: func() fault.Container {
			now, err := p.API.Cluster(b.Context(), id)
			require.NoError(b, err)
			return fault.Container{Machine: fault.Here{}, Name: p.container(b, now.Primary).Name}
		},
		switchover: func(ctx context.Context) error {
			_, err := p.API.Switchover(ctx, id, "", 30*time.Second)
			return err
		},
	}
}

// makeCluster makes a cluster of three, and gives it and its read-write address when it is whole.
func makeCluster(b *testing.B, api *client.Client, policy string) (id string, endpoint driver.Connector) {
	b.Helper()
	acks := 1
	n := client.NewCluster{
		Name: "bench-" + policy, Instances: make([]client.NewMember, 3),
		Properties: client.ClusterProperties{
			Policy: policy, MinAcks: &acks, Databases: []client.Database{{Name: "bench"}},
			Users: []client.NewUser{{Name: user, Password: password, Databases: []client.Database{{Name: "bench"}}}},
		},
	}
	for i := range n.Instances {
		n.Instances[i] = client.NewMember{Flavor: "2", Volume: &client.Volume{Size: 5}}
	}
	began := time.Now()
	made, err := api.CreateCluster(b.Context(), n)
	require.NoError(b, err)
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	require.NoError(b, well(ctx, api, made.ID))
	b.Logf("a cluster of three is ready after %s", time.Since(began).Round(time.Millisecond))
	now, err := api.Cluster(b.Context(), made.ID)
	require.NoError(b, err)
	endpoint, err = workload.Endpoint{Address: now.Endpoints.ReadWrite.Address + ":3306", User: user, Password: password, Database: "bench"}.Connector()
	require.NoError(b, err)
	return made.ID, endpoint
}

// well waits until a cluster is whole.
func well(ctx context.Context, api *client.Client, id string) error {
	for {
		now, err := api.Cluster(ctx, id)
		if err == nil && now.Status == "ACTIVE" && now.Condition == "" && len(now.Alarms) == 0 && allActive(now.Instances) {
			return nil
		}
		if workload.Wait(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("the cluster does not get well: %s %s %v: %w", now.Status, now.Condition, now.Alarms, context.Cause(ctx))
		}
	}
}

func allActive(members []client.Member) bool {
	for _, m := range members {
		if m.Status != "ACTIVE" {
			return false
		}
	}
	return true
}

func groupSide(b *testing.B) side {
	b.Helper()
	router, err := plain.RouterImage(b.Context())
	require.NoError(b, err)
	expel := 0
	c, err := plain.Start(b.Context(), plain.Options{Kind: plain.Group, Image: image(b), Router: router, ExpelTimeout: &expel})
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	require.NoError(b, err)
	endpoint, err := c.Endpoint().Connector()
	require.NoError(b, err)
	return side{
		name: "group", endpoint: endpoint, well: c.AwaitWell,
		primary: func() fault.Container {
			m, err := c.Primary(b.Context())
			require.NoError(b, err)
			return m.Container
		},
		switchover: c.Switchover().Do,
	}
}
