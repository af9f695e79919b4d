// Package etcdtest runs an etcd of its own for a test: within the process, or as a process that can be killed.
//
// It owns ports, directories and certificates of tests. Production code must not import it.
package etcdtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/embedded"
	"github.com/huker/huker/internal/pki"
)

// Engine is an etcd that a test owns.
type Engine struct {
	Address string // "127.0.0.1:<port>"
	CA      *pki.CA

	dir    string
	server *embedded.Server // within the process
	child  *child           // or as a process
}

// Start runs etcd within the test's process.
func Start(t testing.TB) *Engine {
	t.Helper()
	e := prepare(t)
	e.Up(t)
	return e
}

// StartProcess runs etcd as a process, which Down kills (SIGKILL). The test binary's TestMain must call Serve first.
func StartProcess(t testing.TB) *Engine {
	t.Helper()
	e := prepare(t)
	e.child = &child{}
	e.Up(t)
	return e
}

func prepare(t testing.TB) *Engine {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.OpenCA(filepath.Join(dir, "pki"))
	require.NoError(t, err)
	e := &Engine{Address: freeAddress(t), CA: ca, dir: dir}
	t.Cleanup(e.Down)
	return e
}

// freeAddress picks a port; etcd cannot pick one itself. Someone else may take it meanwhile, which is rare enough for tests.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// Up starts it, with all that it held.
func (e *Engine) Up(t testing.TB) {
	t.Helper()
	if e.child != nil {
		require.NoError(t, e.child.start(e.dir, e.Address))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	server, err := embedded.Start(ctx, e.config())
	require.NoError(t, err)
	e.server = server
}

func (e *Engine) config() embedded.Config {
	return embedded.Config{
		DataDir:      filepath.Join(e.dir, "etcd"),
		ListenClient: []string{"https://" + e.Address},
		CA:           e.CA,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// Down stops it: as hard as it can be.
func (e *Engine) Down() {
	if e.child != nil {
		e.child.kill()
	}
	if e.server != nil {
		e.server.Close()
		e.server = nil
	}
}

// Config is what a client of that principal dials with.
func (e *Engine) Config(t testing.TB, principal string) etcd.ClientConfig {
	t.Helper()
	pair, err := e.CA.IssueClient(principal)
	require.NoError(t, err)
	return etcd.ClientConfig{Endpoints: []string{"https://" + e.Address}, CA: e.CA.CertPEM(), Cert: pair.Cert, Key: pair.Key}
}

// Open gives a client of that principal; the test closes it at the end.
func (e *Engine) Open(t testing.TB, principal string) *etcd.Store {
	t.Helper()
	s, err := etcd.Dial(context.Background(), e.Config(t, principal))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Root gives a client that may do everything.
func (e *Engine) Root(t testing.TB) *etcd.Store {
	t.Helper()
	return e.Open(t, etcd.RootPrincipal)
}

const serveVariable = "HUKER_ETCDTEST_SERVE" // "<directory> <address>"

// Serve runs etcd instead of tests when this process was started for it by StartProcess; then it does not return.
func Serve() {
	spec := os.Getenv(serveVariable)
	if spec == "" {
		return
	}
	if err := serve(spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(spec string) error {
	dir, address, ok := strings.Cut(spec, " ")
	if !ok {
		return errors.New("bad " + serveVariable)
	}
	ca, err := pki.OpenCA(filepath.Join(dir, "pki"))
	if err != nil {
		return err
	}
	e := &Engine{Address: address, CA: ca, dir: dir}
	server, err := embedded.Start(context.Background(), e.config())
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println("ready")
	// The parent's end, also by a crash, closes standard input.
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// child is the process.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

func (c *child) start(dir, address string) error {
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), serveVariable+"="+dir+" "+address)
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return err
	}
	c.stdin = stdin
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		c.kill()
		return fmt.Errorf("etcd did not start: %q, %w", line, err)
	}
	return nil
}

func (c *child) kill() {
	if c.cmd == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = c.stdin.Close()
	c.cmd = nil
}
