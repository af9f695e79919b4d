// Package rabbitmqtest runs a real RabbitMQ for a test, as a process that can be killed and started again.
//
// It owns ports, directories, certificates and processes of tests. Production code must not import it.
package rabbitmqtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus/rabbitmq"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/testenv"
)

// What Debian's package rabbitmq-server brings. Its wrapper in the path changes the account.
const (
	program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	epmd    = "epmd"
)

// startTimeout bounds how long the server may take to serve: five seconds on a machine that has nothing else to do.
const startTimeout = 90 * time.Second

// Root is the control plane's user.
const Root = "root"

// Server is a RabbitMQ that a test owns.
type Server struct {
	Address    string // "127.0.0.1:<port>", with TLS
	Management string // "https://127.0.0.1:<port>"
	Password   string // of Root, for the management
	CA         *pki.CA

	ip  string
	dir string

	settings []string
	env      []string
	cmd      *exec.Cmd
	names    *exec.Cmd // Erlang's name server
	epmd     string    // its port
}

// Start runs a server on loopback, with an authority of its own.
func Start(t testing.TB) *Server {
	t.Helper()
	ca, err := pki.NewCA("rabbitmqtest")
	require.NoError(t, err)
	return StartOn(t, "127.0.0.1", ca)
}

// ForMany are settings for thousands of queues. It sets three files aside for each, by the number of files that it may have open if it is not told another, and waits for ever
// where there are none left; and it looks after each queue every five seconds, which takes more than all the rest.
const ForMany = "-rabbit file_handles_high_watermark 262144 -rabbit quorum_tick_interval 60000"

// StartOn runs a server on an address of this machine, with settings as Erlang's command line has them.
func StartOn(t testing.TB, ip string, ca *pki.CA, settings ...string) *Server {
	t.Helper()
	testenv.RequireBinary(t, program)
	s := &Server{Address: freeAddress(t, ip), CA: ca, Password: rand.Text(), dir: t.TempDir(), ip: ip, settings: settings}
	management := freeAddress(t, ip)
	s.Management = "https://" + management
	s.prepare(t, port(t, s.Address), port(t, management))
	t.Cleanup(func() {
		s.Kill()
		_ = s.names.Process.Kill()
		_ = s.names.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(s.dir, "output"))
			t.Logf("RabbitMQ's log:\n%s", log[max(0, len(log)-32<<10):])
		}
	})
	// The server would start it too, for good.
	s.names = exec.Command(epmd, "-port", s.epmd, "-address", "127.0.0.1")
	require.NoError(t, testenv.StartChild(s.names))
	s.Launch(t)
	s.AwaitUp(t)
	return s
}

func (s *Server) prepare(t testing.TB, amqp, management string) {
	t.Helper()
	pair, err := s.CA.IssueServer("rabbitmq", s.ip)
	require.NoError(t, err)
	write := func(name string, data []byte) string {
		path := filepath.Join(s.dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	ca, cert, key := write("ca.pem", s.CA.CertPEM()), write("cert.pem", pair.Cert), write("key.pem", pair.Key)
	secured := func(prefix string) string {
		return fmt.Sprintf("%[1]s.cacertfile = %[2]s\n%[1]s.certfile = %[3]s\n%[1]s.keyfile = %[4]s\n", prefix, ca, cert, key)
	}
	config := write("rabbitmq.conf", []byte("listeners.tcp = none\nlisteners.ssl.default = "+s.ip+":"+amqp+"\n"+secured("ssl_options")+
		"ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\nssl_cert_login_from = common_name\nauth_mechanisms.1 = EXTERNAL\n"+
		"management.ssl.ip = "+s.ip+"\nmanagement.ssl.port = "+management+"\n"+secured("management.ssl")+
		"default_user = "+Root+"\ndefault_pass = "+s.Password+"\ndefault_user_tags.administrator = true\ndefault_vhost = huker\n"+
		"default_permissions.configure = .*\ndefault_permissions.read = .*\ndefault_permissions.write = .*\nlog.console = true\nlog.console.level = warning\n"))
	s.epmd = port(t, freeAddress(t, "127.0.0.1"))
	s.env = append(os.Environ(),
		"HOME="+s.dir, "RABBITMQ_NODENAME=t"+strings.ToLower(rand.Text()[:8])+"@localhost", "RABBITMQ_DIST_PORT="+port(t, freeAddress(t, "127.0.0.1")), "ERL_EPMD_PORT="+s.epmd,
		"ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_MNESIA_BASE="+filepath.Join(s.dir, "data"), "RABBITMQ_LOG_BASE="+filepath.Join(s.dir, "log"),
		"RABBITMQ_CONFIG_FILE="+config, "RABBITMQ_ENABLED_PLUGINS_FILE="+write("enabled_plugins", []byte("[rabbitmq_management,rabbitmq_auth_mechanism_ssl].\n")),
		"RABBITMQ_PID_FILE="+filepath.Join(s.dir, "pid"), "RABBITMQ_GENERATED_CONFIG_DIR="+filepath.Join(s.dir, "generated"), "RABBITMQ_LOGS=-",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none "+strings.Join(s.settings, " "), "ERL_CRASH_DUMP="+filepath.Join(s.dir, "crash"),
		"RUNNING_UNDER_SYSTEMD=true") // has the script become the server, in place of its parent: it is to end with the test, however that ends
}

// Launch starts the process, with all that it held.
func (s *Server) Launch(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command(program)
	s.cmd.Env, s.cmd.Dir = s.env, s.dir
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// The script becomes Erlang, with children of its own: all of them are one group.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, testenv.StartChild(s.cmd))
}

// Pid is the process's, while it runs.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Kill ends it as hard as it can be.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Up starts it again and waits until it serves.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	s.Launch(t)
	s.AwaitUp(t)
}

// AwaitUp waits until the server serves.
func (s *Server) AwaitUp(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	var last error
	for time.Now().Before(deadline) {
		if last = s.probe(t); last == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "output"))
	require.Fail(t, "RabbitMQ does not serve", "%v\n%s", last, log)
}

// probe asks for a connection and for the management.
func (s *Server) probe(t testing.TB) error {
	b, err := rabbitmq.Open(t.Context(), s.Config(t, Root))
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
	defer cancel()
	if err := b.Ping(ctx); err != nil {
		return err
	}
	code, err := s.manage(t, http.MethodGet, "/api/whoami", "")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the management answers %d", code)
	}
	return err
}

// VHost makes a virtual host with all rights for Root.
func (s *Server) VHost(t testing.TB, name string) {
	t.Helper()
	for _, r := range []struct{ path, body string }{
		{"/api/vhosts/" + name, "{}"}, {"/api/permissions/" + name + "/" + Root, `{"configure":".*","write":".*","read":".*"}`},
	} {
		require.Eventually(t, func() bool {
			code, err := s.manage(t, http.MethodPut, r.path, r.body)
			return err == nil && code < 300
		}, 20*time.Second, 100*time.Millisecond, r.path)
	}
}

// manage makes a request of the management.
func (s *Server) manage(t testing.TB, method, path, body string) (int, error) {
	r, err := http.NewRequestWithContext(t.Context(), method, s.Management+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.SetBasicAuth(Root, s.Password)
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.TLS(t, Root)}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	a, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	return a.StatusCode, a.Body.Close()
}

// TLS is what a client of that principal dials with.
func (s *Server) TLS(t testing.TB, principal string) *tls.Config {
	t.Helper()
	pair, err := s.CA.IssueClient(principal)
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(s.CA.CertPEM()))
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// Config is what a client of that principal opens with.
func (s *Server) Config(t testing.TB, principal string) rabbitmq.Config {
	t.Helper()
	return rabbitmq.Config{Servers: []string{s.Address}, TLS: s.TLS(t, principal), VHost: "huker"}
}

func freeAddress(t testing.TB, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func port(t testing.TB, address string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return p
}
