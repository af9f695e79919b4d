package site

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/images"
)

// Build builds all programs into a directory, as make build does: those that are not for guests know which ones of these belong to them.
func Build(dir string) error {
	build := func(flags string, programs ...string) error {
		args := []string{"build", "-trimpath", "-ldflags", flags, "-o", dir + "/"}
		for _, p := range programs {
			args = append(args, "github.com/huker/huker/cmd/"+p)
		}
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building: %w: %s", err, out)
		}
		return nil
	}
	guests := []string{"huker-guestagent", "huker-supervisor"}
	if err := build("", guests...); err != nil {
		return err
	}
	var sums []string
	for _, p := range guests {
		data, err := os.ReadFile(filepath.Join(dir, p)) //nolint:gosec // built above
		if err != nil {
			return err
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
	}
	return build("-X github.com/huker/huker/internal/controlplane.guestSums="+strings.Join(sums, ","), "huker", "huker-api", "huker-nodekeeper", "huker-sysmgr")
}

// Image is what databases are made from; make images has made it.
func Image(t testing.TB) string {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer func() { _ = docker.Close() }()
	c, err := images.Load()
	require.NoError(t, err)
	require.NotEmpty(t, c.Built())
	built, err := images.NewBuilder(docker, slog.New(slog.DiscardHandler)).Resolve(t.Context(), c.Built()[0])
	require.NoError(t, err, "make images")
	return built.Ref
}
