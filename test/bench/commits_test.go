package bench

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/plain"
	"github.com/huker/huker/test/chaos/workload"
)

// commitRounds of each side, in turns, of commitWhile each. HUKER_BENCH_RUNS changes the first.
const (
	commitRounds = 5
	commitWhile  = 3 * time.Second
	commitWarm   = 500 * time.Millisecond
)

// BenchmarkCommits: transactions of one row a second, by 1, 16 and 64 writers, into clusters of three: Huker's under strict and under fast, a group of Group
// Replication, and plain asynchronous replication, all of the same MySQL on the same machine, each written to without a proxy between. Every side has its commits on
// the primary's disk when they are answered. They differ in who else has them by then: under strict a replica's disk, under fast a replica, in a group the majority's
// memory, with asynchronous replication nobody.
func BenchmarkCommits(b *testing.B) {
	rounds := sizeFrom(b, "HUKER_BENCH_RUNS", commitRounds)
	p := start(b)
	type server struct {
		name     string
		endpoint driver.Connector
	}
	var sides []server
	for _, policy := range []string{"strict", "fast"} {
		_, endpoint := makeCluster(b, p.API, policy)
		sides = append(sides, server{"huker-" + policy, endpoint})
	}
	for _, kind := range []plain.Kind{plain.Group, plain.Async} {
		c, err := plain.Start(b.Context(), plain.Options{Kind: kind, Image: image(b)})
		b.Cleanup(func() { require.NoError(b, c.Close()) })
		require.NoError(b, err)
		endpoint, err := c.Endpoint().Connector()
		require.NoError(b, err)
		sides = append(sides, server{string(kind), endpoint})
	}
	for i := range sides {
		w := &workload.Set{Connector: sides[i].endpoint} // its table is theirs
		require.NoError(b, w.Prepare(b.Context()))
	}
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers-%d", writers), func(b *testing.B) {
			rates := map[string][]float64{}
			for b.Loop() {
				for range rounds {
					for _, s := range sides {
						rates[s.name] = append(rates[s.name], commits(b, s.endpoint, writers))
					}
				}
			}
			for name, r := range rates {
				b.ReportMetric(median(r), name+"/s")
			}
			b.ReportMetric(median(rates["huker-strict"])/median(rates["group"]), "strict/group")
			b.ReportMetric(median(rates["huker-strict"])/median(rates["async"]), "strict/async")
			b.ReportMetric(0, "ns/op")
			b.Logf("%v", rates)
		})
	}
}

// commits gives how many transactions a second are acknowledged to so many writers. Those of the first moment do not count, nor does anything after the last.
func commits(b *testing.B, endpoint driver.Connector, writers int) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), commitWarm+commitWhile)
	defer cancel()
	var done atomic.Int64
	counted := time.Now().Add(commitWarm)
	var work sync.WaitGroup
	for range writers {
		work.Go(func() {
			session := workload.NewSession(endpoint)
			defer session.Close()
			for n := 0; ctx.Err() == nil; n++ {
				outcome, err := session.Exec(context.WithoutCancel(ctx), "INSERT INTO chaos_set (number) VALUES (?)", n)
				if outcome != check.OK {
					b.Errorf("a commit: %v", err)
					return
				}
				if ctx.Err() == nil && time.Now().After(counted) {
					done.Add(1)
				}
			}
		})
	}
	work.Wait()
	return float64(done.Load()) / commitWhile.Seconds()
}
