package bench

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/pki"
)

// site is a fleet's engines, real ones, and how its parts come to them.
type site struct {
	ca      *pki.CA
	address engines.Config // without credentials
	// guests: those get their rights and queues as well. Embedded etcd, which is for few, looks at all users again whenever one comes: there they have none.
	guests  bool
	servers map[string][]int // processes
}

func onEtcd(b *testing.B) *site {
	b.Helper()
	e := etcdtest.Start(b)
	return &site{ca: e.CA, address: engines.Config{Coordination: engines.Etcd(e.Address)}}
}

func onZooKeeperAndRabbitMQ(b *testing.B) *site {
	b.Helper()
	ca, err := pki.NewCA("bench")
	require.NoError(b, err)
	ensemble, rabbit := zktest.StartForFleet(b, 3, ca), rabbitmqtest.StartOn(b, "127.0.0.1", ca, rabbitmqtest.ForMany)
	const name = "huker"
	s := &site{
		ca: ca, guests: true,
		address: engines.Config{
			Coordination: engines.SchemeZooKeeper + "://" + strings.Join(ensemble.Addresses(), ",") + "/" + name,
			Bus:          engines.SchemeRabbitMQ + "://" + rabbit.Address + "/" + name,
			Management:   rabbit.Management, ManagementPassword: rabbit.Password,
		},
		servers: map[string][]int{"RabbitMQ": {rabbit.Pid()}},
	}
	for _, server := range ensemble.Servers {
		s.servers["ZooKeeper"] = append(s.servers["ZooKeeper"], server.Pid())
	}
	return s
}

// open is a client of its own for a principal; the benchmark closes it at the end.
func (s *site) open(b *testing.B, principal string) *engines.Engines {
	b.Helper()
	pair, err := s.ca.IssueProcess(principal)
	require.NoError(b, err)
	cfg := s.address
	cfg.Credentials = engines.Credentials{CA: s.ca.CertPEM(), Cert: pair.Cert, Key: pair.Key}
	e, err := engines.Open(b.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	b.Cleanup(e.Close)
	return e
}

// weigh says how much memory the servers have, when something is done.
func (s *site) weigh(b *testing.B, when string) {
	b.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		for _, pid := range s.servers[name] {
			b.Logf("%s: %s has %.0f MB", when, name, memory(b, pid, "VmRSS"))
		}
	}
}

// measure says, when it is called back, what the servers took meanwhile.
func (s *site) measure(b *testing.B) (done func(time.Duration)) {
	b.Helper()
	sum := func(pids []int) (sum float64) {
		for _, pid := range pids {
			sum += ticks(b, pid)
		}
		return sum
	}
	before := map[string]float64{}
	for name, pids := range s.servers {
		before[name] = sum(pids)
	}
	return func(d time.Duration) {
		b.Helper()
		for name, pids := range s.servers {
			b.ReportMetric((sum(pids)-before[name])/hertz/d.Seconds(), strings.ToLower(name)+"-cores")
			b.ReportMetric(memory(b, pids[0], "VmRSS"), strings.ToLower(name)+"-MB")
		}
	}
}
