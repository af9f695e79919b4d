package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/metastore"
	metadata "github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/plane"
)

// Size of the simulated fleet. HUKER_BENCH_INSTANCES and HUKER_BENCH_HOSTS make it another one, for trials.
const (
	fleetInstances = 10000
	fleetHosts     = 200
	fleetImage     = "mysql-of-the-benchmark"
	fleetFlavor    = "2"
	pageSize       = 100
	measuring      = 30 * time.Second
)

// simulated is a fleet whose containers are pretended; everything else is real: huker-api and huker-nodekeeper as processes, a sysmgr for each host with
// its own identity and rights, the engines, MySQL for the metadata.
type simulated struct {
	b       *testing.B
	dir     string
	site    *site
	root    *engines.Engines // as the control plane
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

// BenchmarkFleet measures what a nodekeeper takes for a large fleet, how fast another one takes over, and how fast pages of instances are.
func BenchmarkFleet(b *testing.B) {
	b.Run("etcd", func(b *testing.B) { benchmarkFleet(b, onEtcd) })
	b.Run("zookeeper-rabbitmq", func(b *testing.B) { benchmarkFleet(b, onZooKeeperAndRabbitMQ) })
}

func benchmarkFleet(b *testing.B, start func(*testing.B) *site) {
	instances, hosts := sizeFrom(b, "HUKER_BENCH_INSTANCES", fleetInstances), sizeFrom(b, "HUKER_BENCH_HOSTS", fleetHosts)
	s := simulate(b, start(b))
	s.enroll(hosts)
	s.populate(instances)
	s.admitGuests()
	s.makeContainers()
	for b.Loop() {
		acting := s.keeper()
		began, alone := acting.looked(b, acting.began, instances)
		standby := s.keeper()
		acting.admitted(b, acting.began, hosts)
		_, _ = acting.settle(b, 20*time.Second) // what a start leaves to be done is done
		measured := s.site.measure(b)
		cores, resident := acting.settle(b, measuring)
		measured(measuring)
		b.Logf("%d instances on %d hosts: nodekeeper knows all %s after its start (a look at all of them: %.2f s), then takes %.3f cores and %.0f MB",
			instances, hosts, began.Round(time.Millisecond), alone, cores, resident)
		s.step(hostsNice)
		p50, p99 := s.pages(500, 0)
		b.Logf("a page of %d, one after the other: median %s, 99 %% %s", pageSize, p50, p99)
		calm50, calm99 := s.pages(500, time.Second/10)
		b.Logf("a page of %d, ten a second: median %s, 99 %% %s", pageSize, calm50, calm99)
		s.step(0)
		killed := time.Now()
		acting.kill()
		took, _ := standby.looked(b, killed, instances)
		b.Logf("killed -9, another one knows all after %s", took.Round(time.Millisecond))
		readmitted := standby.admitted(b, killed, hosts)
		b.Logf("and all hosts' rights are looked at after %s", readmitted.Round(time.Millisecond))
		b.ReportMetric(took.Seconds(), "takeover-s")
		b.ReportMetric(alone, "resync-s")
		b.ReportMetric(cores, "keeper-cores")
		b.ReportMetric(resident, "keeper-MB")
		for name, d := range map[string]time.Duration{"page-p50-ms": p50, "page-p99-ms": p99, "page-of-ten-a-second-p50-ms": calm50, "page-of-ten-a-second-p99-ms": calm99} {
			b.ReportMetric(float64(d.Microseconds())/1e3, name)
		}
		standby.kill()
	}
}

func simulate(b *testing.B, at *site) *simulated {
	b.Helper()
	testenv.RequireDocker(b)
	s := &simulated{b: b, dir: b.TempDir(), site: at, root: at.open(b, controlplane.ControlPrincipal), listen: plane.FreeAddress(b)}
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.dir+"/",
		"github.com/huker/huker/cmd/huker-api", "github.com/huker/huker/cmd/huker-nodekeeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(b, err, "%s", out)

	server := mysqltest.Start(b)
	login := server.Database(b)
	pair, err := at.ca.IssueProcess(controlplane.ControlPrincipal)
	require.NoError(b, err)
	for name, data := range map[string][]byte{
		controlplane.IdentityCA: at.ca.CertPEM(), controlplane.IdentityCert: pair.Cert, controlplane.IdentityKey: pair.Key,
		"authority.pem": append(at.ca.CertPEM(), at.ca.KeyPEM()...), "metadata-password": []byte(login.Password), "admin-password": []byte(password),
		"bus-password": []byte(at.address.ManagementPassword),
	} {
		require.NoError(b, os.WriteFile(filepath.Join(s.dir, name), data, 0o600))
	}
	s.common = []string{
		"--coordination", at.address.Coordination, "--bus", at.address.Bus, "--identity", s.dir,
		"--metadata", fmt.Sprintf("mysql://%s@%s/%s", login.User, server.Socket(), login.Database), "--metadata-password-file", filepath.Join(s.dir, "metadata-password"),
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
	return s
}

func (s *simulated) keeper() *program {
	s.b.Helper()
	args := []string{"--authority", filepath.Join(s.dir, "authority.pem"), "--health-listen", "", "--image", "mysql:9.7.4=" + fleetImage}
	if s.site.address.Management != "" {
		args = append(args, "--bus-management", s.site.address.Management, "--bus-password-file", filepath.Join(s.dir, "bus-password"))
	}
	return s.process("huker-nodekeeper", args...)
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
