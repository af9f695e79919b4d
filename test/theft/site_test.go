// Package theft is what a thief can do who has the credential of one database's guest, or of one host: the engines are real, the control plane
// and the hosts are the product's own, and only containers and mysqld are pretended.
//
// It owns the site, the credentials and the attempts. What an engine cannot keep from a thief is tested too, so that docs/OPERATIONS.md stays true.
package theft

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/rabbitmq/rabbitmqtest"
	"github.com/huker/huker/internal/cli"
	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

const (
	image         = "mysql-of-the-test"
	deployment    = "huker"
	adminPassword = "password-of-the-test"
	// patience bounds what should happen soon.
	patience = 60 * time.Second
)

// site is a deployment with two hosts, and a database on each.
type site struct {
	t      *testing.T
	dir    string
	ca     *pki.CA
	fleet  controlplane.Fleet // of the control plane
	api    string             // host:port, TLS
	client *client.Client
	hosts  []string // the first is where the first database is
	guests []string // instances

	zk     *zktest.Ensemble // nil: etcd carries everything
	rabbit *rabbitmqtest.Server
	etcd   *etcdtest.Engine
}

func onEtcd(t *testing.T) *site {
	t.Helper()
	e := etcdtest.Start(t)
	s := &site{t: t, ca: e.CA, etcd: e, fleet: controlplane.Fleet{Coordination: "etcd://" + e.Address}}
	s.start()
	return s
}

func onZooKeeperAndRabbitMQ(t *testing.T) *site {
	t.Helper()
	ca, err := pki.NewCA("theft")
	require.NoError(t, err)
	s := &site{t: t, ca: ca, zk: zktest.StartOn(t, 1, "127.0.0.1", ca), rabbit: rabbitmqtest.StartOn(t, "127.0.0.1", ca)}
	s.fleet = controlplane.Fleet{
		Coordination: "zookeeper://" + s.zk.Addresses()[0] + "/huker", Bus: "rabbitmq://" + s.rabbit.Address + "/huker", Management: s.rabbit.Management,
	}
	s.start()
	return s
}

func quiet() *slog.Logger {
	if os.Getenv("HUKER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (s *site) file(name string, data []byte) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(path, data, 0o600))
	return path
}

// issue is `huker pki issue`.
func (s *site) issue(role, name string, addresses ...string) string {
	s.t.Helper()
	out := filepath.Join(s.dir, role+"-"+name)
	args := []string{"pki", "issue", role, name, "--dir", s.dir, "--out", out}
	if len(addresses) > 0 {
		args = append(args, "--address", strings.Join(addresses, ","))
	}
	root := cli.NewRoot("test")
	root.SetArgs(args)
	root.SetOut(io.Discard)
	require.NoError(s.t, root.Execute())
	return out
}

func (s *site) start() {
	t := s.t
	t.Helper()
	s.dir = t.TempDir()
	authority := s.file(pki.AuthorityFile, append(s.ca.CertPEM(), s.ca.KeyPEM()...))
	s.fleet.Name, s.fleet.Version, s.fleet.Log = deployment, "test", quiet()
	s.fleet.Identity = s.issue("control", "one")
	if s.rabbit != nil {
		s.fleet.ManagementPasswordFile = s.file("management-password", []byte(s.rabbit.Password))
	}
	metadata := controlplane.Metadata{Address: "sqlite://" + filepath.Join(s.dir, "huker.db")}
	s.run("nodekeeper", func(ctx context.Context) error {
		return controlplane.RunKeeper(ctx, controlplane.KeeperConfig{
			Fleet: s.fleet, Metadata: metadata, Authority: authority, Versions: []model.DatastoreVersion{{Engine: "mysql", Name: "9.7.4", Image: image}},
		})
	})
	s.api = freeAddress(t)
	front := s.issue("server", "api", "127.0.0.1")
	s.run("api", func(ctx context.Context) error {
		return controlplane.RunAPI(ctx, controlplane.APIConfig{
			Fleet: s.fleet, Metadata: metadata, Listen: s.api, AdminPasswordFile: s.file("admin-password", []byte(adminPassword)),
			TLSCert: filepath.Join(front, controlplane.IdentityCert), TLSKey: filepath.Join(front, controlplane.IdentityKey),
		})
	})
	var err error
	s.client, err = client.New(client.Config{
		AuthURL: "https://" + s.api + "/v3", Username: "admin", Password: adminPassword, Project: "admin", CAFile: filepath.Join(front, controlplane.IdentityCA),
	})
	require.NoError(t, err)
	s.eventually("the API answers", func() bool {
		_, err := s.client.Hosts(t.Context())
		return err == nil
	})
	for n, id := range []string{"east", "west"} {
		_, err := s.client.AddHost(t.Context(), id)
		require.NoError(t, err)
		s.startHost(id, n)
	}
	s.eventually("the hosts take databases", func() bool {
		hosts, err := s.client.Hosts(t.Context())
		ready := 0
		for _, h := range hosts {
			if h.Up && h.Subnet != "" {
				ready++
			}
		}
		return err == nil && ready == 2
	})
	for _, name := range []string{"mine", "theirs"} {
		s.guests = append(s.guests, s.create(name))
	}
	s.hosts = []string{s.hostOf(s.guests[0]), s.hostOf(s.guests[1])}
	require.NotEqual(t, s.hosts[0], s.hosts[1], "each host is to have a database")
	control := s.root().Coord
	for _, key := range s.clusterKeys() {
		require.NoError(t, control.Apply(t.Context(), coord.Put(key, []byte("{}"), nil)))
	}
}

// clusterKeys are what nodekeeper says of each database as a cluster. These have no others in them: a lone database is its own cluster.
func (s *site) clusterKeys() (keys []string) {
	for _, id := range s.guests {
		keys = append(keys, protocol.RecordKey(id), protocol.RosterKey(id), protocol.EndpointKey(id))
	}
	return keys
}

func (s *site) create(name string) string {
	s.t.Helper()
	flavors, err := s.client.Flavors(s.t.Context())
	require.NoError(s.t, err)
	i, err := s.client.CreateInstance(s.t.Context(), client.NewInstance{
		Name: name, Flavor: flavors[0].ID, Volume: client.Volume{Size: 1}, Datastore: map[string]string{"type": "mysql", "version": "9.7.4"},
	})
	require.NoError(s.t, err)
	s.eventually(name+" serves", func() bool {
		i, err := s.client.Instance(s.t.Context(), i.ID)
		return err == nil && i.Ready()
	})
	return i.ID
}

// delete has a database deleted, and waits until it is.
func (s *site) delete(id string) {
	s.t.Helper()
	require.NoError(s.t, s.client.DeleteInstance(s.t.Context(), id))
	s.eventually("the database is gone", func() bool {
		_, err := s.client.Instance(s.t.Context(), id)
		return client.NotFound(err)
	})
}

func (s *site) guestsDir(host string) string { return filepath.Join(s.dir, host, "guests") }

// etc is where a guest's files are on its host.
func (s *site) etc(instance string) string {
	return filepath.Join(s.guestsDir(s.hostOf(instance)), instance, "etc")
}

func (s *site) hostOf(instance string) string {
	s.t.Helper()
	for _, host := range []string{"east", "west"} {
		if _, err := os.Stat(filepath.Join(s.guestsDir(host), instance)); err == nil {
			return host
		}
	}
	require.Fail(s.t, "the database is on no host")
	return ""
}

// open gives the engines as a process with that identity has them.
func (s *site) open(c engines.Credentials) *engines.Engines {
	s.t.Helper()
	password := ""
	if s.rabbit != nil {
		password = s.rabbit.Password
	}
	e, err := engines.Open(context.WithoutCancel(s.t.Context()), engines.Config{
		Coordination: s.fleet.Coordination, Bus: s.fleet.Bus, Management: s.fleet.Management, ManagementPassword: password, Credentials: c,
	}, quiet())
	require.NoError(s.t, err)
	s.t.Cleanup(e.Close)
	return e
}

// startHost runs a host's sysmgr with its own identity. Its containers are pretended, and so are the agents in them.
func (s *site) startHost(id string, n int) {
	t := s.t
	t.Helper()
	subnet := fmt.Sprintf("10.88.%d.0/24", n)
	engine := fake.New()
	engine.AddImage(runtime.Image{Ref: image})
	driver := engine.Open(deployment)
	_, err := driver.EnsureNetwork(t.Context(), deployment, subnet, nil)
	require.NoError(t, err)
	engine.OnStart(func(_ context.Context, p *fake.Process) { s.startGuest(id, p.Container.Labels["io.huker.instance"]) })
	e := s.open(identity(t, s.issue("host", id, fmt.Sprintf("10.1.0.%d", n+1))))
	host, err := sysmgr.New(sysmgr.Config{
		Host: id, Deployment: deployment, Version: "test", GuestsDir: s.guestsDir(id), BinDir: filepath.Join(s.dir, id, "bin"), Programs: sysmgr.Installed("agent"),
		Network: deployment, UID: os.Getuid(), GID: os.Getgid(), Subnet: subnet, Address: fmt.Sprintf("10.1.0.%d", n+1),
		SessionTTL: 20 * time.Second, // a busy machine is no failure of the test
	}, driver, wall{}, e.Coord, e.Bus, sysmgr.Capacity{CPUs: 8, RAMMB: 16 << 10, DiskGB: 100, Engine: "fake"}, quiet())
	require.NoError(t, err)
	s.run("sysmgr "+id, host.Run)
}

// wall is a firewall that lets everybody through.
type wall struct{}

func (wall) Set(context.Context, []network.Access) error { return nil }

// startGuest is an agent, as far as others see it: it comes with the guest's files.
func (s *site) startGuest(host, instance string) {
	dir := filepath.Join(s.guestsDir(host), instance, "etc")
	var cfg protocol.GuestConfig
	text, err := os.ReadFile(filepath.Join(dir, "guest.json"))
	if err == nil {
		err = json.Unmarshal(text, &cfg)
	}
	if err != nil {
		s.t.Errorf("%s: %v", instance, err)
		return
	}
	status, err := json.Marshal(protocol.GuestStatus{
		Instance: instance, AgentVersion: "test", AgentSince: time.Now(), ConfigMemMB: cfg.MemoryMB, VolumeSize: 1 << 30,
		Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing, Version: "9.7.4", UUID: instance, Pid: 1, Since: time.Now()},
	})
	if err != nil {
		s.t.Errorf("%s: %v", instance, err)
		return
	}
	ctx := context.WithoutCancel(s.t.Context())
	e := s.open(guestFiles(s.t, dir))
	session, err := e.Coord.NewSession(ctx, 20*time.Second)
	if err == nil {
		err = e.Coord.Apply(ctx, coord.Put(protocol.GuestStatusKey(instance), status, session))
	}
	if err != nil {
		s.t.Errorf("%s: %v", instance, err)
	}
	s.run("guest", func(ctx context.Context) error {
		err := e.Bus.Serve(ctx, protocol.GuestQueue(instance), 4, func(_ context.Context, m bus.Message) ([]byte, error) {
			if m.Kind == protocol.KindGuestStatus {
				return status, nil
			}
			return []byte(`"` + instance + `"`), nil
		})
		<-ctx.Done() // the database may have been deleted before
		return err
	})
}

// run runs a part until the test ends.
func (s *site) run(name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := part(ctx); err != nil && ctx.Err() == nil {
			s.t.Errorf("%s ended: %v", name, err)
		}
	})
	s.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, patience, 20*time.Millisecond, what)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// soon is a context for what should not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// manage makes a request of RabbitMQ's management as the administrator.
func (s *site) manage(path string, into any) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.rabbit.Management+path, nil)
	require.NoError(s.t, err)
	r.SetBasicAuth(rabbitmqtest.Root, s.rabbit.Password)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: s.rabbit.TLS(s.t, rabbitmqtest.Root)}}
	defer c.CloseIdleConnections()
	a, err := c.Do(r)
	require.NoError(s.t, err)
	defer func() { _ = a.Body.Close() }()
	require.Equal(s.t, http.StatusOK, a.StatusCode)
	require.NoError(s.t, json.NewDecoder(a.Body).Decode(into))
}
