package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/metastore"
	metadata "github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
	"github.com/huker/huker/test/plane"
)

// Size of the simulated fleet. HUKER_BENCH_INSTANCES and HUKER_BENCH_HOSTS make it another one, for trials.
const (
	fleetInstances = 10000
	fleetHosts     = 200
	fleetImage     = "mysql-of-the-benchmark"
	fleetFlavor    = "2"
	pageSize       = 100
)

// simulated is a fleet whose containers are pretended; everything else is real: huker-api and huker-nodekeeper as processes, a sysmgr for each host,
// etcd for coordination and bus, MySQL for the metadata.
type simulated struct {
	b       *testing.B
	dir     string
	etcd    *etcdtest.Engine
	store   metastore.Store
	common  []string
	listen  string
	token   string
	project string
	memory  int // MB: of the flavor
	hosts   []string
	ids     []string
}

func sizeFrom(b *testing.B, variable string, usual int) int {
	b.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err, variable)
	return n
}

// BenchmarkFleet measures what a nodekeeper takes for a large fleet, how fast it takes over, and how fast pages of instances are.
func BenchmarkFleet(b *testing.B) {
	instances, hosts := sizeFrom(b, "HUKER_BENCH_INSTANCES", fleetInstances), sizeFrom(b, "HUKER_BENCH_HOSTS", fleetHosts)
	s := simulate(b)
	s.populate(instances, hosts)
	s.startHosts()
	for b.Loop() {
		first := s.keeper()
		took, alone := first.tookOver(b, instances)
		_, _ = first.settle(b, 20*time.Second) // what a takeover leaves to be done is done
		cores, resident := first.settle(b, time.Minute)
		b.ReportMetric(took.Seconds(), "takeover-s")
		b.ReportMetric(alone, "resync-s")
		b.ReportMetric(cores, "keeper-cores")
		b.ReportMetric(float64(resident)/1e6, "keeper-MB")
		pages := s.pages(500)
		b.ReportMetric(float64(pages[len(pages)/2].Microseconds())/1e3, "page-p50-ms")
		b.ReportMetric(float64(pages[len(pages)*99/100].Microseconds())/1e3, "page-p99-ms")
		first.kill()
		b.Logf("%d instances on %d hosts: nodekeeper takes over in %s (a look at all of them: %.2f s), then takes %.3f cores and %.0f MB; a page of %d: median %s, 99 %% %s",
			instances, hosts, took.Round(time.Millisecond), alone, cores, float64(resident)/1e6, pageSize, pages[len(pages)/2], pages[len(pages)*99/100])
	}
}

func simulate(b *testing.B) *simulated {
	b.Helper()
	testenv.RequireDocker(b)
	s := &simulated{b: b, dir: b.TempDir(), etcd: etcdtest.Start(b), listen: plane.FreeAddress(b)}
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.dir+"/",
		"github.com/huker/huker/cmd/huker-api", "github.com/huker/huker/cmd/huker-nodekeeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)

	server := mysqltest.Start(b)
	login := server.Database(b)
	pair, err := s.etcd.CA.IssueProcess(controlplane.ControlPrincipal)
	require.NoError(b, err)
	for name, data := range map[string][]byte{
		controlplane.IdentityCA: s.etcd.CA.CertPEM(), controlplane.IdentityCert: pair.Cert, controlplane.IdentityKey: pair.Key,
		"authority.pem": append(s.etcd.CA.CertPEM(), s.etcd.CA.KeyPEM()...), "metadata-password": []byte(login.Password), "admin-password": []byte(password),
	} {
		require.NoError(b, os.WriteFile(filepath.Join(s.dir, name), data, 0o600))
	}
	s.common = []string{
		"--coordination", "etcd://" + s.etcd.Address, "--identity", s.dir, "--metadata", fmt.Sprintf("mysql://%s@%s/%s", login.User, server.Socket(), login.Database),
		"--metadata-password-file", filepath.Join(s.dir, "metadata-password"),
	}
	api := s.process("huker-api", "--listen", s.listen, "--admin-password-file", filepath.Join(s.dir, "admin-password"))
	require.Eventually(b, func() bool {
		r, err := http.Get("http://" + s.listen + "/readyz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond, api.log)
	s.signIn()
	s.store, err = metadata.Open(b.Context(), metadata.Config{Address: server.Socket(), User: login.User, Password: login.Password, Database: login.Database})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.store.Close() })
	// Whoever is nodekeeper first fills the catalogue.
	k := s.keeper()
	require.Eventually(b, func() bool { return strings.Contains(k.log.String(), "leading") }, time.Minute, 50*time.Millisecond, k.log)
	k.kill()
	return s
}

// program is a process that is measured.
type program struct {
	cmd   *exec.Cmd
	log   *logged
	began time.Time
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (s *simulated) process(name string, args ...string) *program {
	s.b.Helper()
	p := &program{cmd: exec.Command(filepath.Join(s.dir, name), slices.Concat(s.common, args)...), log: &logged{}, began: time.Now()}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	require.NoError(s.b, testenv.StartChild(p.cmd))
	s.b.Cleanup(p.kill)
	return p
}

func (s *simulated) keeper() *program {
	s.b.Helper()
	return s.process("huker-nodekeeper", "--authority", filepath.Join(s.dir, "authority.pem"), "--health-listen", "", "--image", "mysql:9.7.4="+fleetImage)
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

var lookedAtAll = regexp.MustCompile(`looked at all instances.*instances"?[=:](\d+).*seconds"?[=:]([0-9.e+-]+)`)

// tookOver waits until a nodekeeper has looked at every instance, and says how long after its start that was, and how long the look took.
func (p *program) tookOver(b *testing.B, instances int) (took time.Duration, alone float64) {
	b.Helper()
	for {
		if m := lookedAtAll.FindStringSubmatch(p.log.String()); m != nil {
			require.Equal(b, strconv.Itoa(instances), m[1], p.log)
			alone, err := strconv.ParseFloat(m[2], 64)
			require.NoError(b, err)
			return time.Since(p.began), alone
		}
		require.Less(b, time.Since(p.began), 5*time.Minute, "nodekeeper does not take over:\n%s", p.log)
		time.Sleep(10 * time.Millisecond)
	}
}

// settle says what a process took in the time: cores, and the most memory that it had so far in bytes.
func (p *program) settle(b *testing.B, d time.Duration) (cores float64, resident int64) {
	b.Helper()
	before, began := p.ticks(b), time.Now()
	time.Sleep(d) // is what is measured
	const hertz = 100
	cores = float64(p.ticks(b)-before) / hertz / time.Since(began).Seconds()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(b, err, p.log)
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			require.NoError(b, err)
			resident = kb << 10
		}
	}
	return cores, resident
}

func (p *program) ticks(b *testing.B) int64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(b, err, p.log)
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var sum int64
	for _, text := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(b, err)
		sum += n
	}
	return sum
}

func (s *simulated) signIn() {
	s.b.Helper()
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}},`+
		`"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, password)
	a, err := http.Post("http://"+s.listen+"/v3/auth/tokens", "application/json", strings.NewReader(body))
	require.NoError(s.b, err)
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	require.NoError(s.b, err)
	require.Equal(s.b, http.StatusCreated, a.StatusCode, "%s", text)
	var answer struct {
		Token struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"token"`
	}
	require.NoError(s.b, json.Unmarshal(text, &answer))
	s.token, s.project = a.Header.Get("X-Subject-Token"), answer.Token.Project.ID
}

func (s *simulated) subnet(host int) string { return fmt.Sprintf("10.88.%d.0/24", host) }

// populate writes down hosts, and instances that are there already and well.
func (s *simulated) populate(instances, hosts int) {
	b := s.b
	b.Helper()
	for h := range hosts {
		s.hosts = append(s.hosts, fmt.Sprintf("host-%03d", h))
	}
	now := time.Now().UTC()
	var flavor model.Flavor
	var version model.DatastoreVersion
	require.NoError(b, s.store.Update(b.Context(), func(tx metastore.Tx) error {
		flavors, err := tx.Catalogue().Flavors(b.Context())
		if err != nil {
			return err
		}
		versions, err := tx.Catalogue().Versions(b.Context())
		if err != nil {
			return err
		}
		flavor = flavors[slices.IndexFunc(flavors, func(f model.Flavor) bool { return f.ID == fleetFlavor })]
		version = versions[slices.IndexFunc(versions, func(v model.DatastoreVersion) bool { return v.Image == fleetImage })]
		for h, id := range s.hosts {
			if err := tx.Hosts().Put(b.Context(), model.Host{ID: id, Name: id, Subnet: s.subnet(h), Created: now}); err != nil {
				return err
			}
		}
		return nil
	}))
	s.memory = flavor.RAMMB
	const batch = 500
	for from := 0; from < instances; from += batch {
		var ids []string
		require.NoError(b, s.store.Update(b.Context(), func(tx metastore.Tx) error {
			ids = nil
			for n := from; n < min(from+batch, instances); n++ {
				i := model.Instance{
					ID: uuid.Must(uuid.NewV7()).String(), ProjectID: s.project, Name: fmt.Sprintf("db-%05d", n), Desired: model.DesiredPresent, Generation: 1,
					DatastoreVersionID: version.ID, FlavorID: flavor.ID, VolumeGB: 5, HostID: s.hosts[n%hosts], Address: fmt.Sprintf("10.88.%d.%d", n%hosts, 10+n/hosts),
					Status: model.StatusActive, OperatingStatus: model.OperatingHealthy, ObservedGeneration: 1, VolumeUsedBytes: 1 << 28,
					Created: now.Add(time.Duration(n) * time.Microsecond), Updated: now, ServiceStatusUpdated: now,
				}
				if err := tx.Instances().Create(b.Context(), &i); err != nil {
					return err
				}
				ids = append(ids, i.ID)
			}
			return nil
		}))
		s.ids = append(s.ids, ids...)
	}
}

// open is a wall that lets everybody through.
type open struct{}

func (open) Set(context.Context, []network.Access) error { return nil }

// startHosts runs the hosts' sysmgrs, and has them make the containers.
func (s *simulated) startHosts() {
	b := s.b
	b.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })
	for h, id := range s.hosts {
		engine := fake.New()
		engine.AddImage(runtime.Image{Ref: fleetImage})
		driver := engine.Open("huker")
		_, err := driver.EnsureNetwork(ctx, "huker", s.subnet(h), nil)
		require.NoError(b, err)
		store := s.etcd.Root(b)
		session, err := store.NewSession(ctx, 10*time.Second)
		require.NoError(b, err)
		engine.OnStart(func(_ context.Context, p *fake.Process) {
			s.guest(store, session, p.Container.Labels["io.huker.instance"])
		})
		carrier := etcdbus.New(store, etcdbus.Config{})
		host, err := sysmgr.New(sysmgr.Config{
			Host: id, Deployment: "huker", Version: "bench", GuestsDir: filepath.Join(s.dir, id, "guests"), BinDir: filepath.Join(s.dir, id, "bin"),
			Programs: sysmgr.Installed("agent"), Network: "huker", UID: os.Getuid(), GID: os.Getgid(), Subnet: s.subnet(h), Address: fmt.Sprintf("10.1.0.%d", h+1),
		}, driver, open{}, store, carrier, sysmgr.Capacity{CPUs: 64, RAMMB: 512 << 10, DiskGB: 16 << 10, Engine: "fake"}, slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		running.Go(func() {
			defer func() { _ = carrier.Close() }()
			if err := host.Run(ctx); err != nil && ctx.Err() == nil {
				b.Errorf("%s: %v", id, err)
			}
		})
	}
	s.makeContainers(ctx)
}

// makeContainers tells every host of its instances, as nodekeeper would.
func (s *simulated) makeContainers(ctx context.Context) {
	b := s.b
	b.Helper()
	root := s.etcd.Root(b)
	caller := etcdbus.New(root, etcdbus.Config{})
	b.Cleanup(func() { _ = caller.Close() })
	todo := make(chan int)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for n := range todo {
				body, err := json.Marshal(protocol.EnsureRequest{
					Instance: s.ids[n], Generation: 1, Image: fleetImage, Address: fmt.Sprintf("10.88.%d.%d", n%len(s.hosts), 10+n/len(s.hosts)), CPUs: 1, MemoryMB: s.memory,
					Guest: protocol.GuestConfig{Instance: s.ids[n], Deployment: "huker", MemoryMB: s.memory},
				})
				if err == nil {
					calling, cancel := context.WithTimeout(ctx, time.Minute)
					_, err = caller.Call(calling, protocol.HostQueue(s.hosts[n%len(s.hosts)]), bus.Message{Kind: protocol.KindEnsure, Body: body})
					cancel()
				}
				if err != nil {
					b.Errorf("%s: %v", s.ids[n], err)
				}
			}
		})
	}
	for n := range s.ids {
		todo <- n
	}
	close(todo)
	workers.Wait()
	require.Eventually(b, func() bool {
		guests, err := root.List(ctx, protocol.GuestsKey)
		return err == nil && len(guests) >= len(s.ids)
	}, 5*time.Minute, time.Second, "the pretended guests do not report")
}

// guest says what an agent would.
func (s *simulated) guest(store coord.Store, session coord.Session, id string) {
	status, err := json.Marshal(protocol.GuestStatus{
		Instance: id, AgentVersion: "bench", AgentSince: time.Now(), ConfigMemMB: s.memory, VolumeUsed: 1 << 28, VolumeSize: 5 << 30,
		Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing, Version: "9.7.4", UUID: id, Pid: 1, Since: time.Now()},
	})
	if err == nil {
		err = store.Apply(context.WithoutCancel(s.b.Context()), coord.Put(protocol.GuestStatusKey(id), status, session))
	}
	if err != nil {
		s.b.Errorf("%s: %v", id, err)
	}
}

// pages asks for pages from anywhere in the list, one after the other, and gives the times, sorted.
func (s *simulated) pages(n int) []time.Duration {
	b := s.b
	b.Helper()
	var times []time.Duration
	for k := range n + 20 { // the first are for warming up
		marker := s.ids[pageSize+rand.IntN(len(s.ids)-pageSize)]
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet,
			fmt.Sprintf("http://%s/v1.0/%s/instances?limit=%d&marker=%s", s.listen, s.project, pageSize, marker), nil)
		require.NoError(b, err)
		r.Header.Set("X-Auth-Token", s.token)
		began := time.Now()
		a, err := http.DefaultClient.Do(r)
		require.NoError(b, err)
		body, err := io.ReadAll(a.Body)
		took := time.Since(began)
		require.NoError(b, err)
		require.NoError(b, a.Body.Close())
		require.Equal(b, http.StatusOK, a.StatusCode, "%s", body)
		require.Equal(b, pageSize, bytes.Count(body, []byte(`"datastore"`)), "%s", body)
		if k >= 20 {
			times = append(times, took)
		}
	}
	slices.Sort(times)
	return times
}
