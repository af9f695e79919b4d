package runtimetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the guest's source
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

// imageForm is raised when build changes.
const imageForm = "2"

//go:embed guest/main.go
var guestSource []byte

// Image has the engine hold the image with the guest program, and gives its name. The name follows from the program's source, so that
// it is built once and not again.
func Image(t testing.TB, images runtime.Images) string {
	t.Helper()
	ctx := context.Background()
	sum := sha256.Sum256(append([]byte(goruntime.Version()+goruntime.GOARCH+imageForm), guestSource...))
	ref := "huker-test/guest:" + hex.EncodeToString(sum[:6])
	_, err := images.InspectImage(ctx, ref)
	if err == nil {
		return ref
	}
	require.ErrorIs(t, err, runtime.ErrNoImage)
	archive, err := build(ctx, t.TempDir(), ref)
	require.NoError(t, err)
	require.NoError(t, images.LoadImage(ctx, bytes.NewReader(archive)))
	return ref
}

// build makes an image with nothing in it but the static guest program, in the form that `docker load` takes.
func build(ctx context.Context, dir, ref string) ([]byte, error) {
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "guest")
	if err := os.WriteFile(source, guestSource, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the guest: %w: %s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	layer, err := archive(file{"guest", binary})
	if err != nil {
		return nil, err
	}
	diff := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": goruntime.GOARCH, "os": "linux", "created": "2020-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": []string{"/guest"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diff[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{ref}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return archive(file{"manifest.json", manifest}, file{"config.json", config}, file{"layer.tar", layer})
}

type file struct {
	name string
	data []byte
}

func archive(files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
