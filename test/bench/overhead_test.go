package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// oltpRounds of each side, in the order A B B A …, of oltpSeconds each.
const (
	oltpRounds  = 8
	oltpSeconds = 8
)

// BenchmarkOverhead: sysbench oltp_read_write against a database in Huker and against the same mysqld, with the same configuration and the same limits, in
// plain Docker. Target: ratio >= 0.97.
func BenchmarkOverhead(b *testing.B) {
	testenv.RequireBinary(b, "sysbench")
	p := start(b)
	id := p.create(b, "3")
	inside := p.address(b, id)
	firstQuery(b, inside, user, password)
	outside := plainTwin(b, p, id)
	for _, side := range []struct{ address, user string }{{inside, user}, {outside, "bench"}} {
		sysbench(b, side.address, side.user, "prepare", 0)
		sysbench(b, side.address, side.user, "run", oltpSeconds) // warm
	}
	var ratios, huker, plain []float64
	for b.Loop() {
		ratios, huker, plain = nil, nil, nil
		for n := range oltpRounds {
			var in, out float64
			if n%2 == 0 {
				in = sysbench(b, inside, user, "run", oltpSeconds)
				out = sysbench(b, outside, "bench", "run", oltpSeconds)
			} else {
				out = sysbench(b, outside, "bench", "run", oltpSeconds)
				in = sysbench(b, inside, user, "run", oltpSeconds)
			}
			ratios, huker, plain = append(ratios, in/out), append(huker, in), append(plain, out)
		}
	}
	b.ReportMetric(median(huker), "huker-tps")
	b.ReportMetric(median(plain), "docker-tps")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// locks are what keeps a database shut until its agent opens it; the twin has none.
var locks = regexp.MustCompile(`(?m)^(super_read_only|read_only|offline_mode|skip_replica_start|ssl_|init_file|persisted_globals_load).*\n`)

// plainTwin runs the instance's mysqld with its configuration in a plain container, and gives its address.
func plainTwin(b *testing.B, p *deployment, id string) string {
	b.Helper()
	state := p.container(b, id)
	conf := run(b, "docker", "exec", state.Name, "cat", "/huker/run/my.cnf")
	dir := b.TempDir()
	require.NoError(b, os.Chmod(dir, 0o755)) //nolint:gosec // mysqld's user reads it
	conf = locks.ReplaceAllString(conf+"\n", "")
	require.NoError(b, os.WriteFile(filepath.Join(dir, "my.cnf"), []byte(conf), 0o644)) //nolint:gosec // as above
	init := "CREATE USER bench@'%' IDENTIFIED BY '" + password + "'; GRANT ALL ON *.* TO bench@'%'; CREATE DATABASE bench;\n"
	require.NoError(b, os.WriteFile(filepath.Join(dir, "init.sql"), []byte(init), 0o644)) //nolint:gosec // as above
	name := "bench-twin-" + testenv.Suffix(b)
	b.Cleanup(func() { discard(b, name) })
	run(b, "docker", "run", "-d", "--name", name, "--memory", fmt.Sprint(state.Limits.MemoryMB)+"m", "--memory-swap", fmt.Sprint(state.Limits.MemoryMB)+"m",
		"--cpus", fmt.Sprint(state.Limits.CPUs), "-v", "/var/lib/mysql", "-v", dir+":/conf:ro", "--tmpfs", "/huker/run:uid=999,gid=999,mode=700",
		"--entrypoint", "sh", state.Image, "-c",
		"mkdir -p /var/lib/mysql/tmp /var/lib/mysql/log && cp -a /usr/share/huker/template /var/lib/mysql/data && exec mysqld --defaults-file=/conf/my.cnf --init-file=/conf/init.sql")
	address := plainAddress(b, name)
	firstQuery(b, address, "bench", password)
	return address
}

var perSecond = regexp.MustCompile(`transactions:\s+\d+\s+\(([\d.]+) per sec`)

// sysbench gives transactions per second.
func sysbench(b *testing.B, address, name, verb string, seconds int) float64 {
	b.Helper()
	out := run(b, "sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host="+address, "--mysql-user="+name, "--mysql-password="+password,
		"--mysql-db=bench", "--tables=4", "--table-size=20000", "--threads=4", "--time="+strconv.Itoa(seconds), verb)
	if verb != "run" {
		return 0
	}
	found := perSecond.FindStringSubmatch(out)
	require.Len(b, found, 2, "%s", out)
	tps, err := strconv.ParseFloat(found[1], 64)
	require.NoError(b, err)
	return tps
}

// BenchmarkAgent: what the guest agent and its supervisor cost while nothing happens, over 30 s. Targets: <= 30 MB resident, <= 1 % of a core.
func BenchmarkAgent(b *testing.B) {
	p := start(b)
	id := p.create(b, "1")
	firstQuery(b, p.address(b, id), user, password)
	supervisor := p.container(b, id).Pid
	agent := 0
	for _, pid := range children(b, supervisor) {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		require.NoError(b, err)
		if strings.Contains(string(cmdline), "huker-guestagent") {
			agent = pid
		}
	}
	require.Positive(b, agent)
	const idle = 30 * time.Second
	var busy, busySupervisor float64
	for b.Loop() {
		time.Sleep(5 * time.Second) // past the start
		a, s := ticks(b, agent), ticks(b, supervisor)
		time.Sleep(idle)
		busy, busySupervisor = ticks(b, agent)-a, ticks(b, supervisor)-s
	}
	b.ReportMetric(memory(b, agent, "VmRSS"), "agent-MB")
	b.ReportMetric(busy/idle.Seconds(), "agent-%cpu") // a tick is 10 ms: 100 a second are a core
	b.ReportMetric(memory(b, supervisor, "VmRSS"), "supervisor-MB")
	b.ReportMetric(busySupervisor/idle.Seconds(), "supervisor-%cpu")
	b.ReportMetric(0, "ns/op")
}

// ticks is the processor time that a process has used, in hundredths of a second.
func ticks(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, err := strconv.ParseFloat(f[11], 64)
	require.NoError(b, err)
	system, err := strconv.ParseFloat(f[12], 64)
	require.NoError(b, err)
	return user + system
}

// memory of a process in MB: VmRSS of now, VmHWM the most that there was.
func memory(b *testing.B, pid int, which string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	found := regexp.MustCompile(which + `:\s+(\d+) kB`).FindStringSubmatch(string(text))
	require.Len(b, found, 2)
	kb, err := strconv.ParseFloat(found[1], 64)
	require.NoError(b, err)
	return kb / 1024
}
