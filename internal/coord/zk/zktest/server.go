package zktest

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/testenv"
)

// Server is one ZooKeeper process.
type Server struct {
	Address string // "127.0.0.1:<port>"

	id    int
	dir   string
	java  string
	how   manner
	tls   bool
	probe *tls.Config
	cmd   *exec.Cmd

	fabric *fabric // to the other servers; nil: there are none
	socks  string  // the port of its own proxy to it
}

// prepare writes the server's files.
func (s *Server) prepare(t testing.TB, ca *pki.CA, peers []string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "data"), 0o700))
	write := func(name string, data []byte) string {
		path := filepath.Join(s.dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	host, port, err := net.SplitHostPort(s.Address)
	require.NoError(t, err)
	lines := []string{
		"dataDir=" + filepath.Join(s.dir, "data"),
		"tickTime=500", "initLimit=40", "syncLimit=2", "maxSessionTimeout=60000", "maxClientCnxns=0",
		"admin.enableServer=false", "4lw.commands.whitelist=srvr",
	}
	lines = append(lines, s.how.settings...)
	if s.tls {
		pair, err := ca.IssueServer("zookeeper", host)
		require.NoError(t, err)
		lines = append(
			lines,
			"serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
			"secureClientPort="+port, "secureClientPortAddress="+host,
			"authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
			"X509AuthenticationProvider.superUser=CN=root",
			"ssl.keyStore.location="+write("server.pem", append(pair.Key, pair.Cert...)),
			"ssl.trustStore.location="+write("ca.pem", ca.CertPEM()),
		)
	} else {
		lines = append(lines, "clientPort="+port, "clientPortAddress="+host)
	}
	if len(peers) > 0 {
		write("data/myid", fmt.Append(nil, s.id))
		lines = append(lines, peers...)
	}
	write("zoo.cfg", []byte(strings.Join(lines, "\n")+"\n"))
}

// Launch starts the process, with all that it held.
func (s *Server) Launch(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	args := append(
		slices.Clone(s.how.flags), "-XX:-UsePerfData", "-Djute.maxbuffer=2097152",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", classes, "org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(s.dir, "zoo.cfg"),
	)
	if s.fabric != nil {
		// The last has even connections to the loopback go through it.
		args = append([]string{"-DsocksProxyHost=" + loopback, "-DsocksProxyPort=" + s.socks, "-DsocksNonProxyHosts="}, args...)
	}
	cmd := exec.Command(s.java, args...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, testenv.StartChild(cmd))
	s.cmd = cmd
}

// Pid is the process's, while it runs.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Kill ends the process as hard as it can be.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pause stops the process (SIGSTOP): its connections stay open and nothing answers.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets it go on.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
}

// Isolate cuts the server off from the other servers, not from its clients.
func (s *Server) Isolate() { s.fabric.set(s.id, true) }

// Rejoin takes that back.
func (s *Server) Rejoin() { s.fabric.set(s.id, false) }

// Mode is "standalone", "leader" or "follower"; empty while it does not serve.
func (s *Server) Mode() string {
	d := &net.Dialer{Timeout: time.Second}
	var c net.Conn
	var err error
	if s.probe != nil {
		c, err = tls.DialWithDialer(d, "tcp", s.Address, s.probe)
	} else {
		c, err = d.Dial("tcp", s.Address)
	}
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("srvr")); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(c)
	for line := range strings.SplitSeq(string(answer), "\n") {
		if mode, ok := strings.CutPrefix(line, "Mode: "); ok {
			return mode
		}
	}
	return ""
}
