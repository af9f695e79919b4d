package fleet

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/huker/huker/internal/testenv"
)

// KeepVariable names the environment's variable that, when it is 1, has the fleets of failed tests kept, to be looked at. `fleet down NAME` removes them.
const KeepVariable = "HUKER_FLEET_KEEP"

// ForTest makes a fleet that ends with the test; when that fails, what the hosts' programs wrote last is shown. A machine that cannot have one is
// said so loudly.
func ForTest(t testing.TB, o Options) *Fleet {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	testenv.RequireRoot(t)
	testenv.RequireDocker(t)
	for _, program := range []string{"dockerd", "containerd", "bash", "awk", "mount", "nft"} {
		testenv.RequireBinary(t, program)
	}
	if o.Disk > 0 {
		testenv.RequireBinary(t, "mkfs.ext4")
	}
	o.Keep = o.Keep || os.Getenv(KeepVariable) == "1"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	f, err := New(ctx, o)
	if err != nil {
		t.Fatalf("no fleet: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			f.showLogs(t)
			if os.Getenv(KeepVariable) == "1" {
				t.Logf("fleet %s is kept in %s", f.Name, f.Dir)
				if err := f.Release(); err != nil {
					t.Error(err)
				}
				return
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := f.Close(ctx); err != nil {
			t.Errorf("the fleet does not go away: %v", err)
		}
	})
	return f
}

func (f *Fleet) showLogs(t testing.TB) {
	t.Helper()
	for _, h := range f.Hosts {
		logs, _ := filepath.Glob(h.path("log", "*.log"))
		for _, l := range logs {
			t.Logf("%s, %s:\n%s", h.Name, filepath.Base(l), Tail(l, 4<<10))
		}
	}
}
