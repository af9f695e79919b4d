package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/test/fleet"
)

// site is a fleet with the engines of one: RabbitMQ, ZooKeeper and MySQL, real ones. Deployments on it live beside each other.
type site struct {
	fleet  *fleet.Fleet
	ca     *pki.CA
	zk     *zktest.Ensemble
	rabbit *rabbitmqtest.Server
	mysql  *mysqltest.Server

	mu    sync.Mutex
	slots []bool // shares of the hosts' subnets that are taken
}

// onSite is where deployments are made while it is set; else each is a `huker serve` of its own.
var onSite *site

// shares of a host's /24 that deployments have: each has room for 20 databases.
const (
	shares    = 8
	shareBits = 27
)

func newSite(t *testing.T) *site {
	t.Helper()
	ref := databaseImage(t)
	s := &site{fleet: fleet.ForTest(t, fleet.Options{Hosts: 3, Images: []string{ref}}), slots: make([]bool, shares)}
	var err error
	s.ca, err = pki.NewCA("e2e")
	require.NoError(t, err)
	ip := s.fleet.Controller.Address
	s.zk = zktest.StartOn(t, 3, ip, s.ca)
	s.rabbit = rabbitmqtest.StartOn(t, ip, s.ca)
	s.mysql = mysqltest.Start(t)
	return s
}

func (s *site) take(t *testing.T) int {
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

// settle prepares a deployment on the site: identities, a virtual host, a database, and a share of the subnets.
func (s *site) settle(p *plane, host string) {
	t := p.t
	t.Helper()
	require.NoError(t, os.MkdirAll(p.dir, 0o700))
	share := s.take(t)
	s.rabbit.VHost(t, p.name)
	login := s.mysql.Database(t)
	metadata := fmt.Sprintf("mysql://%s@%s/%s", login.User, s.mysql.Socket(), login.Database)
	password := p.secret("metadata-password", login.Password)
	admin := p.secret("admin-password", "admin-password-of-the-test")
	bus := p.secret("bus-password", s.rabbit.Password)
	authority := filepath.Join(p.dir, "authority.pem")
	require.NoError(t, os.WriteFile(authority, append(s.ca.CertPEM(), s.ca.KeyPEM()...), 0o600))
	engines := []string{
		"--name", p.name, "--coordination", "zookeeper://" + strings.Join(s.zk.Addresses(), ",") + "/" + p.name,
		"--bus", "rabbitmq://" + s.rabbit.Address + "/" + p.name, "--log-level", "debug",
	}
	control := p.identity(s.ca, "control", controlplane.ControlPrincipal)
	store := []string{"--metadata", metadata, "--metadata-password-file", password, "--identity", control}
	p.specs = []spec{
		{program: "huker-api", args: concat(engines, store, []string{"--listen", p.listen, "--admin-password-file", admin}), takes: "--no-auth"},
		{program: "huker-nodekeeper", args: concat(engines, store, []string{
			"--authority", authority, "--bus-management", s.rabbit.Management, "--bus-password-file", bus, "--health-listen", "", "--address-range", s.fleet.Range,
		}), takes: "--image"},
	}
	p.writeAdmin("admin-password-of-the-test")
	type place struct {
		id, address, subnet, docker string
		host                        *fleet.Host
	}
	var places []place
	if host != "" { // one engine of the machine itself
		places = []place{{id: "local", address: s.fleet.Controller.Address, docker: host}}
	} else {
		for _, h := range s.fleet.Hosts {
			subnet := fmt.Sprintf("%s.%d/%d", strings.Join(strings.Split(h.Subnet(), ".")[:3], "."), share<<(32-shareBits), shareBits)
			places = append(places, place{id: h.Name, address: h.Address, subnet: subnet, docker: h.DockerHost(), host: h})
		}
	}
	for n, at := range places {
		engine, err := docker.Open(t.Context(), docker.Config{Host: at.docker, Owner: p.name})
		require.NoError(t, err)
		p.engines = append(p.engines, engine)
		p.hosts = append(p.hosts, at.id)
		args := concat(engines, []string{
			"--host", at.id, "--address", at.address, "--identity", p.identity(s.ca, at.id, protocol.HostPrincipal(at.id), at.address),
			"--data-dir", filepath.Join(p.dir, at.id), "--health-listen", "", "--docker-host", at.docker,
			"--listen", fmt.Sprintf("%s:%d", at.address, 20000+100*n+share),
		})
		if at.host != nil && n == len(places)-1 { // it has what guests run from the others
			nothing := filepath.Join(p.dir, "nothing")
			require.NoError(t, os.MkdirAll(nothing, 0o700))
			args = append(args, "--bin-dir", nothing)
		}
		if at.subnet != "" {
			args = append(args, "--subnet", at.subnet)
		}
		p.specs = append(p.specs, spec{program: "huker-sysmgr", args: args, takes: "--bin-dir", host: at.host})
	}
}

func concat(parts ...[]string) []string {
	var all []string
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func (p *plane) secret(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func (p *plane) identity(ca *pki.CA, name, principal string, addresses ...string) string {
	p.t.Helper()
	dir := filepath.Join(p.dir, "identity-"+name)
	require.NoError(p.t, os.MkdirAll(dir, 0o700))
	pair, err := ca.IssueProcess(principal, addresses...)
	require.NoError(p.t, err)
	for file, data := range map[string][]byte{"ca.pem": ca.CertPEM(), "cert.pem": pair.Cert, "key.pem": pair.Key} {
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, file), data, 0o600))
	}
	return dir
}

// welcome adds the site's hosts to a deployment that has just begun, and waits until they take databases.
func (p *plane) welcome() {
	p.t.Helper()
	path := "/v1.0/" + p.project + "/mgmt/hosts"
	_, answer := p.call("GET", path, nil)
	known, _ := answer["hosts"].([]any)
	if len(known) == 0 {
		for _, id := range p.hosts {
			code, answer := p.call("POST", path, map[string]any{"host": map[string]any{"name": id}})
			require.Equal(p.t, 201, code, "%v", answer)
		}
	}
	require.Eventually(p.t, func() bool {
		_, answer := p.call("GET", path, nil)
		all, _ := answer["hosts"].([]any)
		ready := 0
		for _, h := range all {
			if _, trouble := h.(map[string]any)["trouble"]; dig[bool](h, "up") && dig[string](h, "subnet") != "" && !trouble {
				ready++ // trouble: what its guests run is still on its way from another host
			}
		}
		_, versions := p.call("GET", "/v1.0/"+p.project+"/datastores/mysql/versions", nil)
		offered, _ := versions["versions"].([]any)
		return ready == len(p.hosts) && len(offered) > 0
	}, time.Minute, 50*time.Millisecond, "the hosts do not come:\n%s", p.log.tail(8192))
}

// onMachine gives a process's number as the machine counts, from that in a host's own namespace.
func onMachine(s runtime.State) int {
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

// spec is one process of a deployment.
type spec struct {
	program string
	args    []string
	takes   string // the flag of `huker serve` that is this one's business
	host    *fleet.Host
}

// process is one that runs.
type process struct {
	pid  int // of one on this machine itself
	kill func()
	over chan struct{} // closed when it has ended
}

// run starts a process; ended is told when it ends.
func (p *plane) run(s spec, args []string, ended func(*process, error)) *process {
	p.t.Helper()
	bin, err := binaries()
	require.NoError(p.t, err)
	run := &process{over: make(chan struct{})}
	if s.host != nil {
		there, err := s.host.Start(fleet.Program{Name: s.program + "-" + p.name, Args: append([]string{filepath.Join(bin, s.program)}, args...)})
		require.NoError(p.t, err)
		run.kill = func() { _ = there.Signal(syscall.SIGKILL) }
		go func() {
			<-there.Done()
			close(run.over)
			ended(run, there.Err())
		}()
		return run
	}
	cmd := exec.Command(filepath.Join(bin, s.program), args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+p.host)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	require.NoError(p.t, testenv.StartChild(cmd))
	run.pid, run.kill = cmd.Process.Pid, func() { _ = cmd.Process.Kill() }
	go func() {
		err := cmd.Wait()
		close(run.over)
		ended(run, err)
	}()
	return run
}

// list gives the containers on all of a deployment's hosts.
func (p *plane) list(ctx context.Context, labels map[string]string) ([]runtime.State, error) {
	var all []runtime.State
	for _, e := range p.engines {
		some, err := e.List(ctx, labels)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// engineOf gives the engine that has an instance's container.
func (p *plane) engineOf(id string) *docker.Driver {
	p.t.Helper()
	for _, e := range p.engines {
		all, err := e.List(p.t.Context(), map[string]string{"io.huker.instance": id})
		require.NoError(p.t, err)
		if len(all) > 0 {
			return e
		}
	}
	require.Fail(p.t, "no host has the container")
	return nil
}
