package mycnf

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/huker/huker/guest/paths"
)

var update = flag.Bool("update", false, "write the golden files anew")

func input(memMB int, cpus float64, volumeGB int) Input {
	return Input{Version: "9.7.4", MemoryMB: memMB, CPUs: cpus, VolumeGB: volumeGB, ServerID: 42, Paths: paths.Default()}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	full := input(16384, 8, 200)
	full.TLS, full.NativeAIO, full.PluginDir, full.Plugins = true, true, "/usr/lib/mysql/plugin", Wanted()
	small := input(512, 0.5, 1)
	small.Plugins = Wanted()
	old := input(2048, 1, 10)
	old.Version = "8.4.6"
	for name, in := range map[string]Input{"small": small, "2g-8.4": old, "16g": full, "256g": input(262144, 64, 4000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Generate(in)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".cnf")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal([]byte(got), want) {
				t.Errorf("%s differs from what is generated (go test ./guest/mycnf -update):\n%s", file, got)
			}
		})
	}
}

// flavors are what the properties below are checked for.
func flavors() []Input {
	var all []Input
	for _, mem := range []int{512, 513, 768, 1000, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536, 131072, 262144, 524288} {
		for _, cpus := range []float64{0.25, 1, 2, 4, 8, 16, 64} {
			all = append(all, input(mem, cpus, 10))
		}
	}
	return all
}

func TestSumIsBelowTheLimit(t *testing.T) {
	t.Parallel()
	for _, in := range flavors() {
		s := sizesFor(in.MemoryMB, in.CPUs)
		if s.estimatedUsed > float64(in.MemoryMB) {
			t.Errorf("%d MB, %g CPUs: everything at its limit takes %.0f MB", in.MemoryMB, in.CPUs, s.estimatedUsed)
		}
		if in.MemoryMB >= 1024 && float64(s.poolMB) < 0.4*float64(in.MemoryMB) {
			t.Errorf("%d MB, %g CPUs: a buffer pool of %d MB leaves memory unused", in.MemoryMB, in.CPUs, s.poolMB)
		}
		if s.poolMB < 64 {
			t.Errorf("%d MB, %g CPUs: a buffer pool of %d MB", in.MemoryMB, in.CPUs, s.poolMB)
		}
	}
}

// TestPoolIsNotRoundedUp: the server rounds to a multiple of chunk * instances, upwards, and allows one instance only below 1 GB.
func TestPoolIsNotRoundedUp(t *testing.T) {
	t.Parallel()
	for _, in := range flavors() {
		s := sizesFor(in.MemoryMB, in.CPUs)
		if s.poolMB%(s.chunkMB*s.instances) != 0 {
			t.Errorf("%+v", s)
		}
		if s.instances > 1 && s.poolMB < 1024 {
			t.Errorf("%+v", s)
		}
	}
}

func TestMoreMemoryIsNeverLess(t *testing.T) {
	t.Parallel()
	for _, cpus := range []float64{0.5, 2, 16} {
		before := Settings(512, cpus)
		for mem := 512; mem <= 300_000; mem += 256 {
			now := Settings(mem, cpus)
			for name, v := range now {
				if number(t, v) < number(t, before[name]) {
					// The granule of the pool grows once with the number of instances: a dip below one step of it is no loss.
					step := int64(sizesFor(mem, cpus).chunkMB*sizesFor(mem, cpus).instances) * mib
					if name == "innodb_buffer_pool_size" && number(t, before[name])-number(t, v) < step {
						continue
					}
					t.Errorf("%d MB, %g CPUs: %s falls from %s to %s", mem, cpus, name, before[name], v)
				}
			}
			before = now
		}
	}
}

func number(t *testing.T, v string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSettingsAreTheFile: a resize of a running server and a restart come to the same.
func TestSettingsAreTheFile(t *testing.T) {
	t.Parallel()
	for _, in := range flavors() {
		text, err := Generate(in)
		if err != nil {
			t.Fatal(err)
		}
		file := options(text)
		for name, want := range Settings(in.MemoryMB, in.CPUs) {
			got := file[name]
			if n, ok := strings.CutSuffix(got, "M"); ok {
				got = fmt.Sprint(number(t, n) * mib)
			}
			if got != want {
				t.Errorf("%d MB, %g CPUs: %s is %s in the file and %s live", in.MemoryMB, in.CPUs, name, got, want)
			}
		}
	}
}

func options(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && !strings.HasPrefix(line, "#") {
			m[name] = value
		}
	}
	return m
}

func TestSettingsForGranule(t *testing.T) {
	t.Parallel()
	for _, granule := range []int64{16 << 20, 128 << 20, 2 << 30} {
		for _, mem := range []int{512, 1024, 4096, 65536} {
			size := number(t, SettingsFor(mem, 2, granule)["innodb_buffer_pool_size"])
			if size%granule != 0 {
				t.Errorf("%d MB, steps of %d: %d", mem, granule, size)
			}
			if size > int64(mem)*mib && size > granule {
				t.Errorf("%d MB, steps of %d: %d is too much", mem, granule, size)
			}
		}
	}
}

// TestBootsShut are the rules of failover that a configuration has to keep.
func TestBootsShut(t *testing.T) {
	t.Parallel()
	for _, in := range flavors() {
		in.Plugins = Wanted()
		text, err := Generate(in)
		if err != nil {
			t.Fatal(err)
		}
		got := options(text)
		for name, want := range map[string]string{
			"super_read_only": "ON", "offline_mode": "ON", "skip_replica_start": "ON", "persisted_globals_load": "OFF", "sync_binlog": "1",
			"innodb_flush_log_at_trx_commit": "1", "relay_log_recovery": "OFF", "sync_relay_log": "1", "replica_net_timeout": "4", "replica_preserve_commit_order": "ON",
			"gtid_mode": "ON", "rpl_semi_sync_source_wait_point": "AFTER_SYNC", "rpl_semi_sync_source_timeout": "4294967295",
			"rpl_semi_sync_source_wait_no_replica": "ON", "rpl_semi_sync_source_enabled": "OFF", "rpl_semi_sync_replica_enabled": "OFF", "server_id": "42",
		} {
			if got[name] != want {
				t.Errorf("%s = %q, want %q", name, got[name], want)
			}
		}
	}
}

func TestPluginsThatAreNotThere(t *testing.T) {
	t.Parallel()
	text, err := Generate(input(1024, 1, 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"semi_sync", "plugin", "ssl_"} {
		if strings.Contains(strings.ReplaceAll(text, "# ", ""), "\n"+word) || options(text)["rpl_semi_sync_source_enabled"] != "" {
			t.Errorf("without plugins and keys there is %q:\n%s", word, text)
		}
	}
}

func TestSmallVolume(t *testing.T) {
	t.Parallel()
	for gb := 1; gb <= 4000; gb *= 2 {
		if taken := redoMB(262144, gb) + 2*binlogMB(gb); taken > gb*1024/4 {
			t.Errorf("%d GB: redo and two binlogs take %d MB", gb, taken)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for text, aware := range map[string]bool{"8.4.6": false, "9.6.0": false, "9.7.4": true, "9.7.4-2": true, "26.7.0": true, "28.4": true} {
		in := input(1024, 1, 1)
		in.Version = text
		got, err := Generate(in)
		if err != nil || strings.Contains(got, "\ncontainer_aware = ON\n") != aware {
			t.Errorf("%s: %v, container_aware %v", text, err, !aware)
		}
	}
	for _, text := range []string{"", "9", "x.y", "8.0.36", "5.7.44", "-9.7", "9.x.1"} {
		in := input(1024, 1, 1)
		in.Version = text
		if _, err := Generate(in); !errors.Is(err, ErrVersion) {
			t.Errorf("%q: %v", text, err)
		}
	}
	in := input(1024, 1, 1)
	in.ServerID = 0
	if _, err := Generate(in); err == nil {
		t.Error("server id 0 was taken")
	}
}
