package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/testenv"
)

// programVariable makes this test's program one of the fleet's.
const programVariable = "HUKER_DAEMON_TEST"

func programs() map[string]func(string) *cobra.Command {
	return map[string]func(string) *cobra.Command{"huker-api": API, "huker-nodekeeper": Nodekeeper, "huker-sysmgr": Sysmgr}
}

func TestMain(m *testing.M) {
	if program := programs()[os.Getenv(programVariable)]; program != nil {
		os.Exit(Main(program("test")))
	}
	os.Exit(m.Run())
}

// process is a program that runs, or did.
type process struct {
	cmd   *exec.Cmd
	out   bytes.Buffer
	err   output
	ended chan int // its status
}

type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program with arguments, and with variables of the environment among them (HUKER_X=y).
func start(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan int, 1)}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HUKER_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, programVariable+"="+program)
	for _, a := range args {
		if strings.HasPrefix(a, "HUKER_") {
			p.cmd.Env = append(p.cmd.Env, a)
		} else {
			p.cmd.Args = append(p.cmd.Args, a)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	require.NoError(t, testenv.StartChild(p.cmd))
	gone := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		p.ended <- p.cmd.ProcessState.ExitCode()
		close(gone)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-gone
	})
	return p
}

// status waits until it ends by itself.
func (p *process) status(t *testing.T) int {
	t.Helper()
	select {
	case status := <-p.ended:
		return status
	case <-time.After(30 * time.Second):
		require.Fail(t, "it does not end", "%s", &p.err)
	}
	return 0
}

// stops tells it to stop: it does so within seconds, and says that all is well.
func (p *process) stops(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case status := <-p.ended:
		assert.Zero(t, status, "%s", &p.err)
	case <-time.After(10 * time.Second):
		assert.Fail(t, "it does not stop", "%s", &p.err)
	}
}

// health asks, and gives 0 while nobody answers.
func health(t *testing.T, address, path string) (code int, state map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+path, nil)
	require.NoError(t, err)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // what it shows is another test's
	defer c.CloseIdleConnections()
	a, err := c.Do(r)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = a.Body.Close() }()
	_ = json.NewDecoder(a.Body).Decode(&state)
	return a.StatusCode, state
}

func awaitHealth(t *testing.T, p *process, address, path string, want int) (state map[string]string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var code int
		code, state = health(t, address, path)
		return code == want
	}, 30*time.Second, 20*time.Millisecond, "%s %s is not %d: %v\n%s", address, path, want, &state, &p.err)
	return state
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// place has what programs are told of.
type place struct {
	dir string
	ca  *pki.CA
}

func newPlace(t *testing.T, ca *pki.CA) *place {
	t.Helper()
	p := &place{t.TempDir(), ca}
	p.write(t, "authority.pem", string(ca.CertPEM())+string(ca.KeyPEM()))
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(t *testing.T, name, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(p.path(name)), 0o700))
	require.NoError(t, os.WriteFile(p.path(name), []byte(text), 0o600))
	return p.path(name)
}

// identity gives the directory of one.
func (p *place) identity(t *testing.T, principal string) string {
	t.Helper()
	pair, err := p.ca.IssueProcess(principal, "127.0.0.1")
	require.NoError(t, err)
	p.write(t, principal+"/"+controlplane.IdentityCA, string(p.ca.CertPEM()))
	p.write(t, principal+"/"+controlplane.IdentityCert, string(pair.Cert))
	p.write(t, principal+"/"+controlplane.IdentityKey, string(pair.Key))
	return p.path(principal)
}

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("daemon")
	require.NoError(t, err)
	return ca
}

func TestHelp(t *testing.T) {
	for program := range programs() {
		p := start(t, program, "--help")
		assert.Zero(t, p.status(t), program)
		for _, flag := range []string{"--config", "--identity", "--coordination", "--bus", "--health-listen", "--log-level", "Examples:"} {
			assert.Contains(t, p.out.String(), flag, program)
		}
		assert.NotContains(t, p.out.String(), "--fault", program)
		p = start(t, program, "--version")
		assert.Zero(t, p.status(t), program)
		assert.Contains(t, p.out.String(), "test", program)
	}
}

// TestBadConfiguration: all that is wrong is said at once, and what to do.
func TestBadConfiguration(t *testing.T) {
	here := newPlace(t, newCA(t))
	control, host := here.identity(t, controlplane.ControlPrincipal), here.identity(t, protocol.HostPrincipal("db3"))
	stranger := newPlace(t, newCA(t))
	mixed := here.identity(t, "mixed")
	here.write(t, "mixed/"+controlplane.IdentityCA, string(stranger.ca.CertPEM()))
	halves := here.identity(t, "halves")
	here.write(t, "halves/"+controlplane.IdentityKey, string(stranger.ca.KeyPEM()))
	const etcdThere, store = "--coordination=etcd://127.0.0.1:1", "--metadata=sqlite:///nowhere/huker.db"
	for name, c := range map[string]struct {
		program string
		args    []string
		want    []string
	}{
		"nothing": {"huker-api", nil, []string{
			"identity must be given: the directory made by `huker pki issue`", "coordination must be given: zookeeper://", "metadata must be given: mysql://",
		}},
		"nothing for nodekeeper": {"huker-nodekeeper", nil, []string{"identity must", "coordination must", "metadata must", "authority must be given: authority.pem, made by `huker pki init`"}},
		"nothing for sysmgr": {"huker-sysmgr", nil, []string{
			"identity must", "coordination must", `address "" must be the IPv4 address at which the other hosts reach this one`, "huker-supervisor: no such file",
		}},
		"all kinds at once": {"huker-api", []string{
			"--config", here.write(t, "bad.yaml", "coordinaton: x\nlisten: 8779\n"), "HUKER_NO_AUTH=perhaps", "--tls-cert", "/nowhere", "--log-level", "loud", "--name", "No Name",
		}, []string{
			"bad.yaml: no such setting: coordinaton (there are: ", `listen "8779" must be HOST:PORT`, "no-auth (from HUKER_NO_AUTH)", "tls-cert and tls-key go together",
			`log-level "loud": want debug`, `name "No Name"`, "identity must be given",
		}},
		"an unknown flag": {"huker-sysmgr", []string{"--data-dri", "/x"}, []string{"unknown flag: --data-dri"}},
		"an argument":     {"huker-nodekeeper", []string{"start"}, []string{`"start" means nothing to huker-nodekeeper`}},
		"no such file":    {"huker-api", []string{"--config", "/nowhere/huker.yaml"}, []string{"reading /nowhere/huker.yaml: open /nowhere/huker.yaml: no such file"}},
		"no YAML":         {"huker-api", []string{"HUKER_CONFIG=" + here.write(t, "broken.yaml", "listen: [\n")}, []string{"reading " + here.path("broken.yaml")}},
		"no identity there": {"huker-api", []string{"--identity", "/nowhere", etcdThere, store}, []string{
			"open /nowhere/ca.pem: no such file or directory: make it with `huker pki issue`",
		}},
		"an identity of two halves": {"huker-api", []string{"--identity", halves, etcdThere, store}, []string{"private key does not match public key"}},
		"an identity of another authority": {"huker-api", []string{"--identity", mixed, etcdThere, store}, []string{
			"certificate signed by unknown authority", "make it anew with `huker pki issue`",
		}},
		"an identity that has run out": {"huker-api", []string{"--identity", here.outdated(t), etcdThere, store}, []string{"certificate has expired"}},
		"a host's identity":            {"huker-api", []string{"--identity", host, etcdThere, store}, []string{`it is "host.db3", but this process is to be "root"`}},
		"another host's identity": {"huker-sysmgr", []string{"--identity", host, etcdThere, "--host", "db4", "--address", "10.0.0.4"}, []string{
			`it is "host.db3", but this process is to be "host.db4"`,
		}},
		"another authority": {"huker-nodekeeper", []string{"--identity", control, etcdThere, store, "--authority", stranger.path("authority.pem")}, []string{
			"is not the one that identity " + control + " is of",
		}},
		"RabbitMQ without its management": {"huker-nodekeeper", []string{
			"--identity", control, "--coordination", "zookeeper://zk:2281", "--bus", "rabbitmq://mq:5671", store, "--authority", here.path("authority.pem"),
		}, []string{"bus-management must be given with RabbitMQ"}},
		"no password there": {"huker-nodekeeper", []string{
			"--identity", control, "--coordination", "zookeeper://zk:2281", "--bus", "rabbitmq://mq:5671", "--metadata", "mysql://huker@db:3306/huker",
			"--authority", here.path("authority.pem"), "--bus-management", "https://mq:15671", "--bus-password-file", "/nowhere/bus", "--metadata-password-file", "/nowhere/metadata",
		}, []string{"bus-password-file: open /nowhere/bus", "metadata-password-file: open /nowhere/metadata"}},
		"a password in an address": {"huker-api", []string{"--identity", control, etcdThere, "--metadata", "mysql://huker:secret@db:3306/huker"}, []string{
			"a password does not belong into an address",
		}},
		"open to everybody": {"huker-api", []string{"--identity", control, etcdThere, store, "--no-auth", "--listen", "0.0.0.0:8779"}, []string{"no-auth is possible only while the API listens on loopback"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, c.program, c.args...)
			assert.Equal(t, StatusUsage, p.status(t))
			said := p.err.String()
			assert.True(t, strings.HasPrefix(said, c.program+": bad configuration:\n  - "), said)
			assert.Contains(t, said, c.program+" --help tells what can be given.\n")
			assert.NotContains(t, said, "secret@")
			for _, want := range c.want {
				assert.Contains(t, said, want)
			}
		})
	}
}

// outdated is the control plane's identity of two days ago.
func (p *place) outdated(t *testing.T) string {
	t.Helper()
	dir := p.identity(t, "outdated")
	cert, key := yesterdays(t, p.ca, controlplane.ControlPrincipal)
	p.write(t, "outdated/"+controlplane.IdentityCert, cert)
	p.write(t, "outdated/"+controlplane.IdentityKey, key)
	return dir
}

// TestLife starts each program with engines that answer: it is alive, then ready, and stops when it is told to.
func TestLife(t *testing.T) {
	e := etcdtest.Start(t)
	here := newPlace(t, e.CA)
	common := []string{"--identity", here.identity(t, controlplane.ControlPrincipal), "--coordination", "etcd://" + e.Address, "--metadata", "sqlite://" + here.path("huker.db")}
	for _, c := range []struct {
		program, flag string
		args          []string
	}{
		{"huker-api", "listen", nil},
		{"huker-nodekeeper", "health-listen", []string{"--authority", here.path("authority.pem")}},
	} {
		t.Run(c.program, func(t *testing.T) {
			// Where it listens is said by the file, the environment and the flag; each has the last word in turn.
			wrong, address := freeAddress(t), freeAddress(t)
			file := func(a string) string { return here.write(t, c.program+".yaml", c.flag+": "+a+"\n") }
			variable := "HUKER_" + strings.ToUpper(strings.ReplaceAll(c.flag, "-", "_")) + "="
			for source, said := range map[string][]string{
				"file":        {"--config", file(address)},
				"environment": {"HUKER_CONFIG=" + file(wrong), variable + address},
				"flag":        {variable + wrong, "--" + c.flag, address},
			} {
				if source != "environment" {
					file(address)
				} else {
					file(wrong)
				}
				p := start(t, c.program, append(append(append([]string{}, common...), c.args...), said...)...)
				awaitHealth(t, p, "http://"+address, "/healthz", http.StatusOK)
				state := awaitHealth(t, p, "http://"+address, "/readyz", http.StatusOK)
				assert.Equal(t, map[string]string{"process": "ok", "metadata": "ok", "coordination": "ok", "bus": "ok"}, state, source)
				code, _ := health(t, "http://"+wrong, "/healthz")
				assert.Zero(t, code, source)
				p.stops(t)
			}
		})
	}
}

// TestEnginesAway: without its engines a program lives, says that it is not ready and what does not answer, and stops when it is told to.
func TestEnginesAway(t *testing.T) {
	here := newPlace(t, newCA(t))
	identity := []string{"--identity", here.identity(t, controlplane.ControlPrincipal), "--metadata", "sqlite://" + here.path("huker.db")}
	password := here.write(t, "password", "x")
	engines := map[string][]string{
		"etcd": {"--coordination", "etcd://" + freeAddress(t)},
		"ZooKeeper and RabbitMQ": {
			"--coordination", "zookeeper://" + freeAddress(t) + "/huker", "--bus", "rabbitmq://" + freeAddress(t) + "/huker",
		},
	}
	for program, extra := range map[string][]string{
		"huker-api":        {"--listen"},
		"huker-nodekeeper": {"--authority", here.path("authority.pem"), "--bus-management", "https://" + freeAddress(t), "--bus-password-file", password, "--health-listen"},
	} {
		for name, where := range engines {
			t.Run(program+" "+name, func(t *testing.T) {
				t.Parallel()
				address := freeAddress(t)
				p := start(t, program, append(append(append(append([]string{}, identity...), where...), extra...), address)...)
				awaitHealth(t, p, "http://"+address, "/healthz", http.StatusOK)
				state := awaitHealth(t, p, "http://"+address, "/readyz", http.StatusServiceUnavailable)
				assert.Equal(t, "does not answer", state["coordination"])
				assert.Equal(t, "ok", state["metadata"])
				code, _ := health(t, "http://"+address, "/healthz")
				assert.Equal(t, http.StatusOK, code, "a restart would not help")
				p.stops(t)
			})
		}
	}
}

// TestStopWhileStarting: metadata that does not answer is waited for, and an order to stop is no failure.
func TestStopWhileStarting(t *testing.T) {
	here := newPlace(t, newCA(t))
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	p := start(t, "huker-api", "--identity", here.identity(t, controlplane.ControlPrincipal), "--coordination", "etcd://"+freeAddress(t),
		"--metadata", "mysql://huker@"+l.Addr().String()+"/huker", "--listen", freeAddress(t))
	conn, err := l.Accept()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	p.stops(t)
}

// TestPortTaken: somebody else listens there, which is not the configuration's fault.
func TestPortTaken(t *testing.T) {
	e := etcdtest.Start(t)
	here := newPlace(t, e.CA)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	common := []string{"--identity", here.identity(t, controlplane.ControlPrincipal), "--coordination", "etcd://" + e.Address, "--metadata", "sqlite://" + here.path("huker.db")}
	for program, args := range map[string][]string{
		"huker-api":        {"--listen", l.Addr().String()},
		"huker-nodekeeper": {"--authority", here.path("authority.pem"), "--health-listen", l.Addr().String()},
	} {
		p := start(t, program, append(append([]string{}, common...), args...)...)
		assert.Equal(t, StatusFailed, p.status(t), program)
		assert.Contains(t, p.err.String(), fmt.Sprintf("listen tcp %s: bind: address already in use", l.Addr()), program)
	}
}

// TestSysmgr has no Docker, or a real one.
func TestSysmgr(t *testing.T) {
	e := etcdtest.Start(t)
	here := newPlace(t, e.CA)
	for _, program := range []string{"huker-supervisor", "huker-guestagent"} {
		here.write(t, "bin/"+program, "#!/bin/sh\n")
	}
	name := "daemon-" + testenv.Suffix(t)
	address := freeAddress(t)
	args := []string{
		"--name", name, "--host", "db3", "--address", "10.254.0.3", "--identity", here.identity(t, protocol.HostPrincipal("db3")), "--coordination", "etcd://" + e.Address,
		"--data-dir", here.path("data"), "--bin-dir", here.path("bin"), "--listen", freeAddress(t), "--health-listen", address,
	}
	p := start(t, "huker-sysmgr", append(args, "--docker-host", "unix:///nowhere/docker.sock")...)
	assert.Equal(t, StatusFailed, p.status(t))
	assert.Contains(t, p.err.String(), "/nowhere/docker.sock")

	docker := testenv.RequireDocker(t)
	testenv.RequireRoot(t)
	wall := removeWall(t, name)
	t.Cleanup(wall)
	gate := etcd.NewGatekeeper(e.Root(t))
	p = start(t, "huker-sysmgr", append(args, "--docker-host", docker)...)
	awaitHealth(t, p, "http://"+address, "/healthz", http.StatusOK)
	state := awaitHealth(t, p, "http://"+address, "/readyz", http.StatusServiceUnavailable)
	assert.Equal(t, "does not answer", state["coordination"], "it has not been admitted yet")
	require.NoError(t, gate.Admit(t.Context(), protocol.HostPrincipal("db3"), coord.Rights{Own: []string{protocol.HostPrefix("db3")}, Read: []string{protocol.EndpointsKey}}))
	require.NoError(t, gate.AdmitQueues(t.Context(), protocol.HostPrincipal("db3"), []string{protocol.HostQueue("db3")}))
	awaitHealth(t, p, "http://"+address, "/readyz", http.StatusOK)
	p.stops(t)
}
