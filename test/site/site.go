package site

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/test/fleet"
)

// Site is a fleet with its engines. Deployments on it live beside each other.
type Site struct {
	Fleet     *fleet.Fleet
	ZooKeeper *zktest.Ensemble
	RabbitMQ  *rabbitmqtest.Server
	MySQL     *mysqltest.Server

	ca    *pki.CA
	mu    sync.Mutex
	slots []bool // shares of the hosts' subnets that are taken
}

// hosts of a site. With more, the smallest range of a deployment's addresses has no room for endpoints.
const hosts = 3

// Deployments have a share of each host's /24 each, with room for 20 databases; and a range each that all shares are in, from a /22 to the fleet's /17, for its
// last /24 to be of the deployment's endpoints alone.
const (
	shares    = 6
	shareBits = 27
	rangeBits = 22
)

// New makes a site that ends with the test, which takes less than that. Its hosts have disks of their own of so many bytes, or (0) the machine's.
func New(t testing.TB, life time.Duration, disk int64) *Site {
	t.Helper()
	s := &Site{Fleet: fleet.ForTest(t, fleet.Options{Hosts: hosts, Images: []string{Image(t)}, Disk: disk}), slots: make([]bool, shares)}
	var err error
	s.ca, err = pki.NewCA("site")
	require.NoError(t, err)
	ip := s.Fleet.Controller.Address
	s.ZooKeeper = zktest.StartOn(t, 3, ip, s.ca)
	s.RabbitMQ = rabbitmqtest.StartOn(t, ip, s.ca)
	s.MySQL = mysqltest.StartFor(t, life)
	return s
}

func (s *Site) take(t testing.TB) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, taken := range s.slots {
		if !taken {
			s.slots[i] = true
			t.Cleanup(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.slots[i] = false
			})
			return i
		}
	}
	require.Fail(t, "too many deployments at once")
	return 0
}

// AdminPassword is of each deployment's administrator.
const AdminPassword = "admin-password-of-the-test" //nolint:gosec // of tests

// Deployment is what makes one up.
type Deployment struct {
	Specs   []Spec
	Engines []*docker.Driver // of its hosts
	Hosts   []string         // their names, to be added
}

// Settle prepares a deployment on the site: identities, a virtual host, a database, and a share of the subnets. Its files are in dir; its API is to listen at an
// address. Its databases are on all hosts, or on one engine of the machine itself, where that is given.
func (s *Site) Settle(t testing.TB, name, dir, listen, engine string) Deployment {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	share := s.take(t)
	s.RabbitMQ.VHost(t, name)
	login := s.MySQL.Database(t)
	metadata := fmt.Sprintf("mysql://%s@%s/%s", login.User, s.MySQL.Socket(), login.Database)
	secret := func(file, content string) string {
		path := filepath.Join(dir, file)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	password, admin, bus := secret("metadata-password", login.Password), secret("admin-password", AdminPassword), secret("bus-password", s.RabbitMQ.Password)
	authority := secret("authority.pem", string(append(s.ca.CertPEM(), s.ca.KeyPEM()...)))
	addresses := s.addresses(t, share)
	engines := []string{
		"--name", name, "--coordination", "zookeeper://" + strings.Join(s.ZooKeeper.Addresses(), ",") + "/" + name,
		"--bus", "rabbitmq://" + s.RabbitMQ.Address + "/" + name, "--log-level", "debug",
	}
	control := s.identity(t, dir, "control", controlplane.ControlPrincipal)
	store := []string{"--metadata", metadata, "--metadata-password-file", password, "--identity", control}
	d := Deployment{Specs: []Spec{
		{Program: "huker-api", Args: concat(engines, store, []string{"--listen", listen, "--admin-password-file", admin}), Takes: "--no-auth"},
		{Program: "huker-nodekeeper", Args: concat(engines, store, []string{
			"--authority", authority, "--bus-management", s.RabbitMQ.Management, "--bus-password-file", bus, "--health-listen", "", "--address-range", addresses,
		}), Takes: "--image"},
	}}
	for n, at := range s.places(share, engine) {
		opened, err := docker.Open(t.Context(), docker.Config{Host: at.docker, Owner: name})
		require.NoError(t, err)
		d.Engines = append(d.Engines, opened)
		d.Hosts = append(d.Hosts, at.id)
		args := concat(engines, []string{
			"--host", at.id, "--address", at.address, "--identity", s.identity(t, dir, at.id, protocol.HostPrincipal(at.id), at.address),
			"--data-dir", filepath.Join(dir, at.id), "--health-listen", "", "--docker-host", at.docker,
			"--listen", fmt.Sprintf("%s:%d", at.address, 8800+10*n+share),
		})
		if at.host != nil && n == hosts-1 { // it has what guests run from the others
			nothing := filepath.Join(dir, "nothing")
			require.NoError(t, os.MkdirAll(nothing, 0o700))
			args = append(args, "--bin-dir", nothing)
		}
		if at.subnet != "" {
			args = append(args, "--subnet", at.subnet)
		}
		d.Specs = append(d.Specs, Spec{Program: "huker-sysmgr", Args: args, Takes: "--bin-dir", Host: at.host})
	}
	return d
}

// addresses is the range of a deployment. This machine reaches the endpoints in it by one of the hosts.
func (s *Site) addresses(t testing.TB, share int) string {
	t.Helper()
	all, err := netip.ParsePrefix(s.Fleet.Range)
	require.NoError(t, err)
	own := netip.PrefixFrom(all.Addr(), rangeBits-share).String()
	endpoints, err := network.EndpointSubnet(own)
	require.NoError(t, err)
	require.NoError(t, s.Fleet.Hosts[share%hosts].RouteBy(endpoints))
	return own
}

// place is where a deployment has databases.
type place struct {
	id, address, subnet, docker string
	host                        *fleet.Host // nil: the machine itself
}

func (s *Site) places(share int, engine string) []place {
	if engine != "" {
		return []place{{id: "local", address: s.Fleet.Controller.Address, docker: engine}}
	}
	var all []place
	for _, h := range s.Fleet.Hosts {
		subnet := fmt.Sprintf("%s.%d/%d", strings.Join(strings.Split(h.Subnet(), ".")[:3], "."), share<<(32-shareBits), shareBits)
		all = append(all, place{id: h.Name, address: h.Address, subnet: subnet, docker: h.DockerHost(), host: h})
	}
	return all
}

func concat(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func (s *Site) identity(t testing.TB, dir, name, principal string, addresses ...string) string {
	t.Helper()
	dir = filepath.Join(dir, "identity-"+name)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	pair, err := s.ca.IssueProcess(principal, addresses...)
	require.NoError(t, err)
	for file, data := range map[string][]byte{"ca.pem": s.ca.CertPEM(), "cert.pem": pair.Cert, "key.pem": pair.Key} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	return dir
}

// OnMachine gives a process's number as the machine counts, from that in a host's own namespace.
func OnMachine(s runtime.State) int {
	stats, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return s.Pid
	}
	for _, path := range stats {
		dir := filepath.Dir(path)
		groups, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(groups), s.Handle) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "NSpid:" && f[len(f)-2] == strconv.Itoa(s.Pid) && f[len(f)-1] == "1" {
				pid, err := strconv.Atoi(f[1])
				if err == nil {
					return pid
				}
			}
		}
	}
	return s.Pid
}
