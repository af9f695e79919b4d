// Package zktest runs real ZooKeeper servers for a test: one, or an ensemble, as processes that can be killed and stopped.
//
// It owns ports, directories, certificates and processes of tests. Production code must not import it.
package zktest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/testenv"
)

// What Debian's package zookeeper brings.
const (
	script = "/usr/share/zookeeper/bin/zkServer.sh" // not run: it tells that the package is there
	// Its own class path lacks what Netty needs for TLS.
	classes = "/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/slf4j-simple.jar"
)

const loopback = "127.0.0.1"

// manner is how servers are run.
type manner struct {
	settings, flags []string
	direct          bool // they reach each other without a fabric between them, and so cannot be cut off from one another
}

var (
	// hasty is for tests, which start many servers and wait for what takes minutes. Nothing in them survives the machine; kill -9 loses nothing that was written.
	hasty = manner{
		settings: []string{"forceSync=no", "preAllocSize=1024"},
		flags: []string{
			"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-Dznode.container.checkIntervalMs=100", "-Dznode.container.maxNeverUsedIntervalMs=3000",
		},
	}
	// lasting is how package zk says that they are to be run.
	lasting = manner{flags: []string{"-Xmx768m", "-Dznode.container.maxNeverUsedIntervalMs=3600000"}, direct: true}
)

// startTimeout bounds how long servers may take to serve.
const startTimeout = 60 * time.Second

// Ensemble is a ZooKeeper that a test owns.
type Ensemble struct {
	Servers []*Server
	CA      *pki.CA // nil: without TLS
}

// Start runs n servers with TLS, set up as package zk says.
func Start(t testing.TB, n int) *Ensemble {
	t.Helper()
	ca, err := pki.NewCA("zktest")
	require.NoError(t, err)
	return StartOn(t, n, loopback, ca)
}

// StartOn runs n servers with TLS on an address of this machine.
func StartOn(t testing.TB, n int, ip string, ca *pki.CA) *Ensemble {
	t.Helper()
	return secured(t, n, ip, ca, hasty)
}

// StartForFleet runs n servers on loopback as a large fleet's are run: what they take is to be measured.
func StartForFleet(t testing.TB, n int, ca *pki.CA) *Ensemble {
	t.Helper()
	return secured(t, n, loopback, ca, lasting)
}

func secured(t testing.TB, n int, ip string, ca *pki.CA, how manner) *Ensemble {
	t.Helper()
	e := start(t, n, ip, ca, how)
	// What the servers' owner does once.
	conn := e.Raw(t, zk.RootPrincipal)
	_, err := conn.SetACL("/", []gozk.ACL{{Perms: gozk.PermAll, Scheme: "x509", ID: "CN=" + zk.RootPrincipal}}, -1)
	require.NoError(t, err)
	conn.Close()
	return e
}

// StartPlain runs one server without TLS.
func StartPlain(t testing.TB) *Ensemble {
	t.Helper()
	return start(t, 1, loopback, nil, hasty)
}

func start(t testing.TB, n int, ip string, ca *pki.CA, how manner) *Ensemble {
	t.Helper()
	testenv.RequireBinary(t, script)
	java := testenv.RequireBinary(t, "java")
	e := &Ensemble{CA: ca}
	dir := t.TempDir()
	for i := range n {
		e.Servers = append(e.Servers, &Server{
			id: i + 1, dir: filepath.Join(dir, fmt.Sprint(i+1)), java: java, how: how, tls: ca != nil, Address: freeAddress(t, ip),
		})
	}
	peers := e.connect(t, how.direct)
	if ca != nil {
		e.Servers[0].probe = e.tls(t, zk.RootPrincipal)
	}
	for _, s := range e.Servers {
		s.probe = e.Servers[0].probe
		s.prepare(t, ca, peers)
		t.Cleanup(s.Kill)
		s.Launch(t)
	}
	for i := range e.Servers {
		e.AwaitUp(t, i)
	}
	return e
}

// connect has servers reach each other, by way of a fabric or directly. It gives their view of the ensemble.
func (e *Ensemble) connect(t testing.TB, direct bool) (peers []string) {
	t.Helper()
	if len(e.Servers) == 1 {
		return nil
	}
	f := newFabric(t)
	for _, s := range e.Servers {
		line := fmt.Sprintf("server.%d=%s", s.id, loopback)
		for range 2 { // for the leader's followers, and for elections
			address := freeAddress(t, loopback)
			f.owners[address] = s.id
			_, port, err := net.SplitHostPort(address)
			require.NoError(t, err)
			line += ":" + port
		}
		peers = append(peers, line)
		if !direct {
			s.fabric, s.socks = f, f.proxy(t, s.id)
		}
	}
	return peers
}

// freeAddress picks a port; ZooKeeper does not tell which one it picked itself. Someone else may take it meanwhile, which is rare enough for
// tests.
func freeAddress(t testing.TB, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// AwaitUp waits until a server serves.
func (e *Ensemble) AwaitUp(t testing.TB, i int) {
	t.Helper()
	s := e.Servers[i]
	deadline := time.Now().Add(startTimeout)
	for s.Mode() == "" {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			require.Fail(t, "ZooKeeper does not serve", "%s", log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Leader gives the leader's index, once there is one.
func (e *Ensemble) Leader(t testing.TB) int {
	t.Helper()
	leader := -1
	require.Eventually(t, func() bool {
		for i, s := range e.Servers {
			if s.Mode() == "leader" {
				leader = i
			}
		}
		return leader >= 0
	}, startTimeout, 20*time.Millisecond)
	return leader
}

// Addresses are all servers'.
func (e *Ensemble) Addresses() []string {
	var all []string
	for _, s := range e.Servers {
		all = append(all, s.Address)
	}
	return all
}

func (e *Ensemble) tls(t testing.TB, principal string) *tls.Config {
	t.Helper()
	if e.CA == nil {
		return nil
	}
	pair, err := e.CA.IssueClient(principal)
	require.NoError(t, err)
	return TLS(t, e.CA, pair)
}

// TLS is what a client with that certificate dials with.
func TLS(t testing.TB, ca *pki.CA, pair pki.Pair) *tls.Config {
	t.Helper()
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca.CertPEM()))
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// Config is what a client of that principal opens.
func (e *Ensemble) Config(t testing.TB, principal string) zk.Config {
	t.Helper()
	return zk.Config{Servers: e.Addresses(), TLS: e.tls(t, principal)}
}

// Open gives a client of that principal; the test closes it at the end.
func (e *Ensemble) Open(t testing.TB, principal string) *zk.Store {
	t.Helper()
	return OpenConfig(t, e.Config(t, principal))
}

// OpenConfig is zk.Open for a test.
func OpenConfig(t testing.TB, cfg zk.Config) *zk.Store {
	t.Helper()
	s, err := zk.Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Root gives a client that may do everything.
func (e *Ensemble) Root(t testing.TB) *zk.Store {
	t.Helper()
	return e.Open(t, zk.RootPrincipal)
}

// Raw gives a connection without package zk in between; the test closes it at the end.
func (e *Ensemble) Raw(t testing.TB, principal string) *gozk.Conn {
	t.Helper()
	cfg := e.tls(t, principal)
	conn, events, err := gozk.Connect(e.Addresses(), 10*time.Second, gozk.WithLogInfo(false), gozk.WithLogger(quiet{}),
		gozk.WithDialer(func(network, address string, timeout time.Duration) (net.Conn, error) {
			d := &net.Dialer{Timeout: timeout}
			if cfg == nil {
				return d.Dial(network, address)
			}
			return tls.DialWithDialer(d, network, address, cfg)
		}))
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	return conn
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Znodes gives all paths below a prefix ("" or a key) of Huker's, as they are in ZooKeeper.
func Znodes(t testing.TB, conn *gozk.Conn, prefix string) []string {
	t.Helper()
	var all []string
	var walk func(path string)
	walk = func(path string) {
		names, _, err := conn.Children(path)
		if err != nil {
			require.ErrorIs(t, err, gozk.ErrNoNode)
			return
		}
		for _, name := range names {
			all = append(all, strings.TrimPrefix(path+"/"+name, zk.DefaultRoot+"/keys"))
			walk(path + "/" + name)
		}
	}
	walk(zk.DefaultRoot + "/keys" + prefix)
	return all
}
