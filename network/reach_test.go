package network_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/runtime/runtimetest"
)

// street is a host with a database on a bridge of Huker's (10.86.x.10), a neighbour of it on the same bridge, and clients on two
// other bridges: Docker's own and one more.
type street struct {
	d      *docker.Driver
	prefix string
	db     string
	image  string
}

func newStreet(t *testing.T) *street {
	t.Helper()
	host := testenv.RequireDocker(t)
	suffix := testenv.Suffix(t)
	d, err := docker.Open(t.Context(), docker.Config{Host: host, Owner: "huker-test-" + suffix, Range: "10.86.0.0/16"})
	require.NoError(t, err)
	s := &street{d: d, prefix: "hkt-" + suffix + "-", image: runtimetest.Image(t, d)}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, c := range []string{"db", "neighbour", "default", "other"} {
			require.NoError(t, d.Remove(ctx, s.prefix+c))
		}
		for _, n := range []string{"home", "away"} {
			require.NoError(t, d.RemoveNetwork(ctx, s.prefix+n))
		}
		require.NoError(t, d.Close())
	})
	made, err := testenv.HostRules(false)
	require.NoError(t, err)
	defer made()
	home, err := d.EnsureNetwork(t.Context(), s.prefix+"home", "", nil)
	require.NoError(t, err)
	_, err = d.EnsureNetwork(t.Context(), s.prefix+"away", "", nil)
	require.NoError(t, err)
	s.db, err = network.Next(home.Subnet, nil)
	require.NoError(t, err)
	s.run(t, "db", home.Name, s.db, "listen", "0.0.0.0:3306")
	s.run(t, "neighbour", home.Name, "", "listen", "0.0.0.0:3306")
	s.run(t, "default", "bridge", "", "listen", "0.0.0.0:3306")
	s.run(t, "other", s.prefix+"away", "", "listen", "0.0.0.0:3306")
	require.Eventually(t, func() bool { return s.fromHost(s.db+":3306") == "open" }, 20*time.Second, 50*time.Millisecond)
	return s
}

func (s *street) run(t *testing.T, name, net, address string, args ...string) {
	t.Helper()
	require.NoError(t, s.d.Create(t.Context(), runtime.Spec{
		Name: s.prefix + name, Image: s.image, Entrypoint: []string{"/guest"}, Args: args, Network: net, Address: address,
	}))
	require.NoError(t, s.d.Start(t.Context(), s.prefix+name))
}

func (s *street) address(t *testing.T, name string) string {
	t.Helper()
	state, err := s.d.Inspect(t.Context(), s.prefix+name)
	require.NoError(t, err)
	return state.Address
}

// from says what becomes of a connection: "open", "dropped" or "refused".
func (s *street) from(t *testing.T, name, address string) string {
	t.Helper()
	r, err := s.d.Exec(t.Context(), s.prefix+name, []string{"/guest", "dial", address, "1500"}, nil)
	require.NoError(t, err)
	got, _, _ := strings.Cut(string(r.Stdout), " ")
	return got
}

func (s *street) fromHost(address string) string {
	c, err := net.DialTimeout("tcp4", address, 1500*time.Millisecond)
	if err != nil {
		return "dropped"
	}
	_ = c.Close()
	return "open"
}

// bridged says whether the kernel shows iptables what stays on one bridge.
func bridged() bool {
	data, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// Who reaches a database, as seen from real containers.
func TestReach(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	s := newStreet(t)
	name := s.prefix + "fw"
	f, err := network.NewFirewall(name, docker.BridgeName(s.prefix+"home"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Remove(context.Background())) })
	db := s.db + ":3306"
	require.Equal(t, "dropped", s.from(t, "default", db), "without Huker's rules Docker keeps bridges apart")

	for _, test := range []struct {
		name    string
		access  network.Access
		allowed []string // of default, other, neighbour
	}{
		{"private", network.Access{}, []string{"default", "other", "neighbour"}},
		{"public", network.Access{Public: true}, []string{"default", "other", "neighbour"}},
		{"one address", network.Access{AllowedCIDRs: []string{s.address(t, "default") + "/32"}}, []string{"default"}},
		{"another one", network.Access{Public: true, AllowedCIDRs: []string{s.address(t, "other") + "/32"}}, []string{"other"}},
		{"a range", network.Access{AllowedCIDRs: []string{"10.86.0.0/16"}}, []string{"other", "neighbour"}},
		{"none of them", network.Access{Public: true, AllowedCIDRs: []string{"203.0.113.0/24"}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.access.Address = s.db
			require.NoError(t, f.Set(t.Context(), []network.Access{test.access}))
			for _, client := range []string{"default", "other", "neighbour"} {
				if client == "neighbour" && !bridged() {
					continue
				}
				want := "dropped"
				for _, a := range test.allowed {
					if a == client {
						want = "open"
					}
				}
				require.Equal(t, want, s.from(t, client, db), client)
			}
			require.Equal(t, "open", s.fromHost(db), "the host always may")
		})
	}

	open := []network.Access{{Address: s.db, Public: true}}
	t.Run("only databases, only their port", func(t *testing.T) {
		require.NoError(t, f.Set(t.Context(), open))
		require.Equal(t, "dropped", s.from(t, "default", s.db+":3307"), "a closed port does not even refuse")
		require.Equal(t, "dropped", s.from(t, "default", s.address(t, "neighbour")+":3306"))
		require.Equal(t, "dropped", s.from(t, "db", s.address(t, "default")+":3306"), "a database goes nowhere by itself")
		require.Equal(t, "dropped", s.from(t, "default", s.address(t, "other")+":3306"), "between others Docker's rules hold")
	})
	t.Run("what others flushed comes back", func(t *testing.T) {
		changed, err := f.Ensure(t.Context())
		require.NoError(t, err)
		require.False(t, changed)
		iptables(t, "-D", "DOCKER-USER", "-j", network.ChainName(name))
		iptables(t, "-F", network.ChainName(name))
		iptables(t, "-X", network.ChainName(name))
		require.Equal(t, "dropped", s.from(t, "default", db))
		changed, err = f.Ensure(t.Context())
		require.NoError(t, err)
		require.True(t, changed)
		require.Equal(t, "open", s.from(t, "default", db))
	})
	t.Run("nothing is left", func(t *testing.T) {
		require.NoError(t, f.Remove(t.Context()))
		require.Equal(t, "dropped", s.from(t, "default", db))
	})
}

// What a database may begin: nothing off its bridge but what it was let out to, whether that is an address of its own or a published port.
func TestEgress(t *testing.T) {
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	s := newStreet(t)
	f, err := network.NewFirewall(s.prefix+"fw", docker.BridgeName(s.prefix+"home"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Remove(context.Background())) })
	other := s.address(t, "other")
	home := strings.TrimSuffix(s.db, s.db[strings.LastIndexByte(s.db, '.'):]) + ".1"
	published := publish(t, home, other)

	require.NoError(t, f.Set(t.Context(), nil))
	require.Equal(t, "dropped", s.from(t, "db", other+":3306"))
	require.Equal(t, "dropped", s.from(t, "db", published))

	host, port, err := net.SplitHostPort(published)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	require.NoError(t, f.SetEgress([]network.Egress{{To: host, Port: number}}))
	require.NoError(t, f.Set(t.Context(), nil))
	require.Equal(t, "open", s.from(t, "db", published))
	require.Equal(t, "dropped", s.from(t, "db", other+":3306"), "only by the way it was let out")

	require.NoError(t, f.SetEgress([]network.Egress{{To: other + "/24", Port: 3306}}))
	require.NoError(t, f.Set(t.Context(), nil))
	require.Equal(t, "open", s.from(t, "db", other+":3306"))
	require.Equal(t, "dropped", s.from(t, "db", published))
	require.ErrorIs(t, f.SetEgress([]network.Egress{{To: "nowhere", Port: 1}}), network.ErrInvalid)
}

// publish sends what comes to a port of an address of this host on to a container, as Docker does for published ports.
func publish(t *testing.T, address, container string) string {
	t.Helper()
	l, err := net.Listen("tcp4", address+":0") // nobody else takes it meanwhile
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	rule := []string{"-t", "nat", "-A", "PREROUTING", "-d", address + "/32", "-p", "tcp", "--dport", port, "-j", "DNAT", "--to-destination", container + ":3306"}
	iptables(t, rule...)
	t.Cleanup(func() {
		rule[2] = "-D"
		out, err := exec.CommandContext(context.Background(), "iptables", rule...).CombinedOutput()
		require.NoError(t, err, string(out))
	})
	return l.Addr().String()
}
