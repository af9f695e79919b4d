package bench

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
	"github.com/huker/huker/test/fleet"
	running "github.com/huker/huker/test/site"
)

// BenchmarkSeveralHosts is BenchmarkFailover with each member on a host of its own, RabbitMQ, three ZooKeepers and MySQL for the metadata, and with what happens to
// hosts. The client is on a machine that is no host, and comes by the port of a host that stays. How long each phase of each change took is logged.
func BenchmarkSeveralHosts(b *testing.B) {
	runs := sizeFrom(b, "HUKER_BENCH_RUNS", failoverRuns)
	f, s := newFleet(b)
	killed := func(program string) func(side) fault.Fault {
		return func(s side) fault.Fault { return fault.KillProgram(s.primary(), program) }
	}
	hosts := func(strike func(*fleet.Host) fault.Fault) func(side) fault.Fault {
		return func(side) fault.Fault {
			_, f.avoid = f.primary()
			return f.back(strike(f.avoid))
		}
	}
	measureGaps(b, []side{s}, runs, []kind{
		{"container-killed", func(s side) fault.Fault { return fault.KillContainer(s.primary(), false) }},
		{"mysqld-killed", killed("mysqld")},
		{"mysqld-hangs", func(s side) fault.Fault { return fault.StopProgram(s.primary(), "mysqld") }},
		{"host-cut-off", hosts(func(h *fleet.Host) fault.Fault { return fault.CutHost(h, "all", fleet.Cut{}) })},
		{"host-lost", hosts(fault.LoseHost)},
		{"switchover", switchover},
	})
}

// onFleet is a cluster on a fleet.
type onFleet struct {
	*running.Running
	b     *testing.B
	id    string
	avoid *fleet.Host // whom connections do not come by
	seen  int         // changes of primary that were logged
}

func newFleet(b *testing.B) (*onFleet, side) {
	b.Helper()
	f := &onFleet{Running: running.New(b, 3*time.Hour, 0).Start(b), b: b}
	f.id, _ = makeCluster(b, f.API, "strict")
	now, err := f.API.Cluster(b.Context(), f.id)
	require.NoError(b, err)
	port := strconv.Itoa(now.Endpoints.ReadWrite.HostPort)
	endpoint, err := workload.Endpoint{
		Address: "the cluster", User: user, Password: password, Database: "bench",
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(f.way().Address, port))
		},
	}.Connector()
	require.NoError(b, err)
	return f, side{
		name: "huker", endpoint: endpoint, revives: true,
		primary: func() fault.Container { c, _ := f.primary(); return c },
		well: func(ctx context.Context) error {
			if err := well(ctx, f.API, f.id); err != nil {
				return err
			}
			f.tell(ctx)
			return nil
		},
		switchover: func(ctx context.Context) error {
			_, err := f.API.Switchover(ctx, f.id, "", 30*time.Second)
			return err
		},
	}
}

// way is the first host that is not to be avoided.
func (f *onFleet) way() *fleet.Host {
	for _, h := range f.Site.Fleet.Hosts {
		if h != f.avoid {
			return h
		}
	}
	return nil
}

// primary gives the primary's container, and where it is.
func (f *onFleet) primary() (fault.Container, *fleet.Host) {
	f.b.Helper()
	now, err := f.API.Cluster(f.b.Context(), f.id)
	require.NoError(f.b, err)
	for name, engine := range f.Engines {
		all, err := engine.List(f.b.Context(), map[string]string{"io.huker.instance": now.Primary})
		require.NoError(f.b, err)
		for _, c := range all {
			h, err := f.Site.Fleet.Host(name)
			require.NoError(f.b, err)
			return fault.Container{Machine: h, Name: c.Name}, h
		}
	}
	require.FailNow(f.b, "the primary is on no host")
	return fault.Container{}, nil
}

// back has a host's programs run again once what was done to it is undone.
func (f *onFleet) back(done fault.Fault) fault.Fault {
	return fault.Step{What: done.Name(), Strike: done.Do, Undo: func(ctx context.Context) error {
		if err := done.Heal(ctx); err != nil {
			return fmt.Errorf("healing: %w", err)
		}
		return f.Launch()
	}}
}

// tell logs the changes of primary that were not logged yet.
func (f *onFleet) tell(ctx context.Context) {
	turns, err := f.API.ClusterHistory(ctx, f.id, 0)
	if err != nil {
		f.b.Logf("its history: %v", err)
		return
	}
	for _, turn := range turns[:max(0, len(turns)-f.seen)] { // newest first
		f.b.Logf("%s at %s (%s): %.0f ms: %s; %s", turn.Kind, turn.Began, turn.Reason, turn.GapMS, phases(turn), strings.Join(turn.Seen, "; "))
	}
	f.seen = len(turns)
}

func phases(turn client.Turn) string {
	var all []string
	for _, p := range turn.Phases {
		all = append(all, fmt.Sprintf("%s %.0f", p.Name, p.TookMS))
	}
	return strings.Join(all, ", ")
}
