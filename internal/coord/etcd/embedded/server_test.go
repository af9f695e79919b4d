package embedded

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/pki"
)

func config(t *testing.T) Config {
	t.Helper()
	ca, err := pki.NewCA("test")
	require.NoError(t, err)
	return Config{DataDir: filepath.Join(t.TempDir(), "etcd"), ListenClient: []string{address(t), address(t)}, CA: ca}
}

func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return "https://" + l.Addr().String()
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestServer(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := config(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	begin := time.Now()
	s := start(t, cfg)
	t.Logf("ready after %s", time.Since(begin))
	require.NoError(t, s.Health(ctx))
	require.Equal(t, cfg.ListenClient, s.Endpoints())
	id := s.etcd.Server.Cluster().ID()

	for _, endpoint := range cfg.ListenClient {
		cc, err := s.ClientConfig(etcd.RootPrincipal)
		require.NoError(t, err)
		cc.Endpoints = []string{endpoint}
		store, err := etcd.Dial(ctx, cc)
		require.NoError(t, err)
		require.NoError(t, store.Apply(ctx, coord.Put("/a", []byte(endpoint), nil)), "each address serves")
		_, err = store.Watch(ctx, "/a") // must not hold up Close
		require.NoError(t, err)
		defer store.Close()
	}
	private(t, cfg.DataDir)

	_, err := Start(ctx, cfg)
	require.ErrorIs(t, err, ErrInUse)

	begin = time.Now()
	s.Close()
	s.Close()
	require.Less(t, time.Since(begin), 3*time.Second, "clients with open watches do not hold it up")

	begin = time.Now()
	again := start(t, cfg)
	t.Logf("ready again after %s", time.Since(begin))
	require.Equal(t, id, again.etcd.Server.Cluster().ID(), "the same identity")
	cc, err := again.ClientConfig(etcd.RootPrincipal)
	require.NoError(t, err)
	store, err := etcd.Dial(ctx, cc)
	require.NoError(t, err)
	defer store.Close()
	e, err := store.Get(ctx, "/a")
	require.NoError(t, err)
	require.Equal(t, cfg.ListenClient[1], string(e.Value))
	again.Close()
	require.Error(t, again.Health(ctx))
}

// private checks that nobody else can read what is below dir.
func private(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			require.Equal(t, fs.FileMode(0o700), st.Mode().Perm(), path)
		}
		if strings.HasSuffix(path, ".key") {
			require.Equal(t, fs.FileMode(0o600), st.Mode().Perm(), path)
		}
		return nil
	}))
}

func TestStartRefuses(t *testing.T) {
	good := config(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, change := range map[string]func(*Config){
		"no authority":     func(c *Config) { c.CA = nil },
		"no directory":     func(c *Config) { c.DataDir = "" },
		"no address":       func(c *Config) { c.ListenClient = nil },
		"plain http":       func(c *Config) { c.ListenClient = []string{"http://127.0.0.1:1"} },
		"no port":          func(c *Config) { c.ListenClient = []string{"https://127.0.0.1"} },
		"port 0":           func(c *Config) { c.ListenClient = []string{"https://127.0.0.1:0"} },
		"port in use":      func(c *Config) { c.ListenClient = []string{"https://" + taken.Addr().String()} },
		"foreign address":  func(c *Config) { c.ListenClient = []string{"https://192.0.2.1:12379"} },
		"file, not folder": func(c *Config) { c.DataDir = "/dev/null/x" },
	} {
		cfg := good
		change(&cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := Start(ctx, cfg)
		cancel()
		require.Error(t, err, name)
	}
	start(t, good) // what failed before left nothing that is in the way
}

// TestFatalEndsNoProcess: etcd ends the process when its disk fails; the control plane must hear of it instead.
func TestFatalEndsNoProcess(t *testing.T) {
	var got error
	var out strings.Builder
	log := zapLogger(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), func(err error) { got = err })
	cause := errors.New("no space left on device")
	var wg sync.WaitGroup
	wg.Go(func() { log.Fatal("failed to save", zap.Error(cause)) })
	wg.Wait()
	require.ErrorIs(t, got, cause)
	require.ErrorContains(t, got, "failed to save")
	require.Contains(t, out.String(), "level=ERROR")
	log.Info("talk")
	log.Warn("careful", zap.Int("n", 3))
	require.NotContains(t, out.String(), "talk")
	require.Contains(t, out.String(), "n=3")
}

func TestLongPath(t *testing.T) {
	cfg := config(t)
	cfg.DataDir = filepath.Join(cfg.DataDir, strings.Repeat("long/", 20))
	s := start(t, cfg)
	temp := s.temp
	require.DirExists(t, temp)
	s.Close()
	require.NoDirExists(t, temp)
}
