package bench

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/pki"
)

// BenchmarkSessions says what the sessions of hosts ask of ZooKeeper while nothing happens: 200 of them, each with a connection and rights of its
// own, as a host's sysmgr has. A database's agent has one as well, of 3 s instead of 2 s.
func BenchmarkSessions(b *testing.B) {
	const hosts, ttl, watched = 200, 2 * time.Second, 20 * time.Second
	ca, err := pki.NewCA("bench")
	require.NoError(b, err)
	e := zktest.StartForFleet(b, 3, ca)
	gate := zk.NewGatekeeper(e.Root(b))
	var coming sync.WaitGroup
	for h := range hosts {
		name := fmt.Sprintf("host.%d", h)
		require.NoError(b, gate.Admit(b.Context(), name, coord.Rights{Own: []string{"/hosts/" + name}}))
		own := e.Open(b, name)
		coming.Go(func() {
			session, err := own.NewSession(b.Context(), ttl)
			if err != nil {
				b.Errorf("%s: %v", name, err)
				return
			}
			b.Cleanup(func() {
				select {
				case <-session.Done():
					b.Errorf("%s: its session was lost", name)
				default:
				}
			})
		})
	}
	coming.Wait()
	used := func() (all float64) {
		for _, s := range e.Servers {
			all += ticks(b, s.Pid())
		}
		return all
	}
	for b.Loop() {
		time.Sleep(watched) // until what they came with is done
		before, began := used(), time.Now()
		time.Sleep(watched) // is what is measured
		b.ReportMetric((used()-before)/hertz/time.Since(began).Seconds(), "zookeeper-cores")
	}
}
