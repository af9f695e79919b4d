package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/embedded"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/testenv"
)

// container is a whole guest as a host makes it: supervisor, mysqld and agent in a hardened container, etcd on the host.
type container struct {
	*rig
	name  string
	dir   string // huker/{bin,etc}
	guest protocol.GuestConfig
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput() //nolint:gosec // the test's own words
	require.NoError(t, err, "docker %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func build(t *testing.T, pkg, to string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg) //nolint:gosec // the test's own words
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// bridgeAddress is where containers reach this host.
func bridgeAddress(t *testing.T) string {
	t.Helper()
	bridge, err := net.InterfaceByName(docker(t, "network", "inspect", "bridge", "-f", `{{index .Options "com.docker.network.bridge.name"}}`))
	require.NoError(t, err)
	addrs, err := bridge.Addrs()
	require.NoError(t, err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Fatal("Docker's bridge has no address")
	return ""
}

func newContainer(t *testing.T) *container {
	t.Helper()
	testenv.RequireDocker(t)
	testenv.RequireRoot(t)
	image := mysqltest.Image(t)
	host := bridgeAddress(t)
	c := &container{rig: &rig{t: t}, name: "huker-guesttest-" + testenv.Suffix(t), dir: t.TempDir()}
	require.NoError(t, os.Chmod(c.dir, 0o755)) //nolint:gosec // the container's user is another one

	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	endpoint := "https://" + l.Addr().String()
	require.NoError(t, l.Close())
	ca, err := pki.NewCA("test")
	require.NoError(t, err)
	server, err := embedded.Start(t.Context(), embedded.Config{DataDir: filepath.Join(t.TempDir(), "etcd"), ListenClient: []string{endpoint}, Hosts: []string{host}, CA: ca})
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	open := func(principal string) etcd.ClientConfig {
		pair, err := ca.IssueClient(principal)
		require.NoError(t, err)
		return etcd.ClientConfig{Endpoints: []string{endpoint}, CA: ca.CertPEM(), Cert: pair.Cert, Key: pair.Key}
	}
	c.store, err = etcd.Dial(t.Context(), open(etcd.RootPrincipal))
	require.NoError(t, err)
	c.bus = etcdbus.New(c.store, etcdbus.Config{})
	t.Cleanup(func() { _ = c.bus.Close(); _ = c.store.Close() })
	gate, principal := etcd.NewGatekeeper(c.store), "guest."+self
	require.NoError(t, gate.Admit(t.Context(), principal, coord.Rights{Own: []string{protocol.GuestPrefix(self)}, Read: []string{protocol.ClusterPrefix(self)}}))
	require.NoError(t, etcdbus.NewGatekeeper(gate).Admit(t.Context(), principal, []string{protocol.GuestQueue(self)}))

	p := paths.Under(c.dir)
	require.NoError(t, os.MkdirAll(p.Bin, 0o755)) //nolint:gosec // the container's user is another one
	require.NoError(t, os.MkdirAll(p.Etc, 0o700))
	require.NoError(t, os.Chown(p.Etc, paths.UID, paths.GID))
	build(t, "../huker-supervisor", p.Supervisor())
	build(t, ".", filepath.Join(p.Bin, "huker-guestagent-1"))
	tls, err := pki.NewInstance(self, "127.0.0.1")
	require.NoError(t, err)
	agent := open(principal)
	c.guest = protocol.GuestConfig{Instance: self, Engine: "mysql", Version: "9.7.4", MemoryMB: 1024, CPUs: 1, VolumeGB: 5, ServerID: 7, Coordination: engines.Etcd(endpoint),
		Principal: principal, Record: durability.Alone(self), Agent: "huker-guestagent-1"}
	c.writeEtc(map[string][]byte{paths.FileCA: tls.CA, paths.FileServerCert: tls.Cert, paths.FileServerKey: tls.Key,
		paths.FileCoordCA: agent.CA, paths.FileAgentCert: agent.Cert, paths.FileAgentKey: agent.Key})
	c.writeGuest()

	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", "--tail", "60", c.name).CombinedOutput() //nolint:gosec,noctx // at the end
			t.Log(string(out))
		}
		_ = exec.Command("docker", "rm", "-f", "-v", c.name).Run()     //nolint:gosec,noctx // at the end
		_ = exec.Command("docker", "volume", "rm", "-f", c.name).Run() //nolint:gosec,noctx // at the end
	})
	// A volume takes over the owner of the image's directory at the mount point only when the image has one.
	docker(t, "run", "--rm", "--user", "0:0", "-v", c.name+":/v", "--entrypoint", "chown", image, fmt.Sprintf("%d:%d", paths.UID, paths.GID), "/v")
	docker(t, "create", "--name", c.name, "--label", "huker.test=guest", "--user", fmt.Sprintf("%d:%d", paths.UID, paths.GID), "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--memory", "1024m", "--pids-limit", "4096",
		"--tmpfs", fmt.Sprintf("/huker/run:uid=%d,gid=%d,mode=0700,size=16m", paths.UID, paths.GID), "--tmpfs", fmt.Sprintf("/tmp:uid=%d,gid=%d,mode=0700,size=64m", paths.UID, paths.GID),
		"-v", p.Bin+":/huker/bin:ro", "-v", p.Etc+":/huker/etc:ro", "-v", c.name+":/var/lib/mysql", "--entrypoint", "/huker/bin/huker-supervisor", image)
	return c
}

// writeEtc puts files of the guest's own user in place.
func (c *container) writeEtc(files map[string][]byte) {
	c.t.Helper()
	for name, content := range files {
		path := paths.Under(c.dir).Secret(name)
		require.NoError(c.t, os.WriteFile(path+".new", content, 0o600))
		require.NoError(c.t, os.Chown(path+".new", paths.UID, paths.GID))
		require.NoError(c.t, os.Rename(path+".new", path))
	}
}

func (c *container) writeGuest() {
	c.t.Helper()
	b, err := json.Marshal(c.guest)
	require.NoError(c.t, err)
	c.writeEtc(map[string][]byte{"guest.json": b})
}

// pid of a program in the container, on this host.
func (c *container) pid(program string) int {
	c.t.Helper()
	for l := range strings.Lines(docker(c.t, "top", c.name, "-eo", "pid,args")) {
		if f := strings.Fields(l); len(f) > 1 && strings.HasPrefix(filepath.Base(f[1]), program) {
			n, err := strconv.Atoi(f[0])
			require.NoError(c.t, err)
			return n
		}
	}
	c.t.Fatalf("%s does not run", program)
	return 0
}

func (c *container) kill(program string) {
	c.t.Helper()
	p, err := os.FindProcess(c.pid(program))
	require.NoError(c.t, err)
	require.NoError(c.t, p.Kill())
}

// open signs in from outside, the way a client does.
func (c *container) open(user, password string) *sql.DB {
	c.t.Helper()
	cfg := mysql.NewConfig()
	cfg.Net, cfg.User, cfg.Passwd, cfg.TLSConfig = "tcp", user, password, "skip-verify"
	cfg.Addr = net.JoinHostPort(docker(c.t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", c.name), "3306")
	connector, err := mysql.NewConnector(cfg)
	require.NoError(c.t, err)
	db := sql.OpenDB(connector)
	c.t.Cleanup(func() { _ = db.Close() })
	return db
}

// connection gives what tells one connection from the next.
func connection(t *testing.T, db *sql.DB) int {
	t.Helper()
	var id int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
	return id
}

func TestAWholeGuest(t *testing.T) {
	c := newContainer(t)
	begun := time.Now()
	docker(t, "start", c.name)
	first := c.until("serving", serving)
	t.Logf("%s from docker start to serving", time.Since(begun))
	require.Equal(t, 1024, first.ConfigMemMB)
	require.NoError(t, c.call(protocol.KindPrepare, model.Bootstrap{Databases: []model.Database{{Name: "app"}}, Users: []model.User{{Name: "joe", Password: "secret-of-joe", Databases: []string{"app"}}}}))
	t.Logf("%s from docker start to the first user", time.Since(begun))
	db := c.open("joe", "secret-of-joe")
	db.SetMaxOpenConns(1)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE app.t (a INT PRIMARY KEY)")
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "INSERT INTO app.t VALUES (1)")
	require.NoError(t, err)
	rows := func() {
		t.Helper()
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM app.t").Scan(&n))
		require.Equal(t, 1, n)
	}

	t.Run("agent killed", func(t *testing.T) {
		id := connection(t, db)
		c.kill("huker-guestagent")
		c.until("a new agent", func(s protocol.GuestStatus) bool { return serving(s) && s.AgentSince.After(first.AgentSince) })
		require.Equal(t, id, connection(t, db), "the client's connection was lost")
	})
	t.Run("agent replaced", func(t *testing.T) {
		id, before := connection(t, db), c.until("serving", serving)
		bin := paths.Under(c.dir).Bin
		build(t, ".", filepath.Join(bin, "huker-guestagent-2"))
		c.guest.Agent = "huker-guestagent-2"
		c.writeGuest()
		c.until("the newer agent", func(s protocol.GuestStatus) bool { return serving(s) && s.AgentSince.After(before.AgentSince) })
		c.pid("huker-guestagent-2")
		require.Equal(t, id, connection(t, db), "the client's connection was lost")
	})
	t.Run("mysqld killed", func(t *testing.T) {
		killed := time.Now()
		c.kill("mysqld")
		s := c.until("serving again", func(s protocol.GuestStatus) bool { return serving(s) && s.Mysqld.Crashes == 1 })
		t.Logf("serving %s after mysqld was killed", time.Since(killed))
		require.Contains(t, s.Mysqld.LastExit, "signal 9")
		rows()
	})
	t.Run("restart", func(t *testing.T) {
		require.NoError(t, c.call(protocol.KindRestart, protocol.RestartRequest{Serial: 1}))
		s := c.until("restarted", func(s protocol.GuestStatus) bool { return serving(s) && s.RestartsDone == 1 })
		require.Equal(t, 1, s.Mysqld.Crashes, "a restart is no crash")
		require.NoError(t, c.call(protocol.KindRestart, protocol.RestartRequest{Serial: 1}))
		again := c.until("serving", serving)
		require.Equal(t, s.Mysqld.Pid, again.Mysqld.Pid, "restarted twice")
		rows()
	})
	t.Run("resized", func(t *testing.T) {
		docker(t, "update", "--memory", "2048m", "--memory-swap", "2048m", c.name)
		c.guest.MemoryMB = 2048
		c.writeGuest()
		require.NoError(t, c.call(protocol.KindConfigure, protocol.ConfigureRequest{MemoryMB: 2048, CPUs: 1, VolumeGB: 5}))
		grown := c.until("grown", func(s protocol.GuestStatus) bool { return s.ConfigMemMB == 2048 })
		require.NoError(t, c.call(protocol.KindConfigure, protocol.ConfigureRequest{MemoryMB: 1024, CPUs: 1, VolumeGB: 5}))
		shrunk := c.until("shrunk", func(s protocol.GuestStatus) bool { return s.ConfigMemMB == 1024 })
		require.Equal(t, grown.Mysqld.Pid, shrunk.Mysqld.Pid)
		rows()
	})
	t.Run("container stopped and started", func(t *testing.T) {
		docker(t, "stop", "-t", "60", c.name)
		begun := time.Now()
		docker(t, "start", c.name)
		s := c.until("serving", func(s protocol.GuestStatus) bool { return serving(s) && s.AgentSince.After(begun) })
		require.Equal(t, 2048, s.ConfigMemMB)
		require.Equal(t, first.Mysqld.UUID, s.Mysqld.UUID)
		db = c.open("joe", "secret-of-joe")
		rows()
	})
	t.Run("small and quiet", func(t *testing.T) { smallAndQuiet(t, c.pid("huker-guestagent")) })
	log := docker(t, "logs", c.name)
	require.NotContains(t, log, "secret-of-joe")
}
