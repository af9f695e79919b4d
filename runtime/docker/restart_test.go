package docker_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/runtime/runtimetest"
)

// daemon is a Docker engine of the test's own, with a containerd of its own as on a host: it may be ended without harm to anybody.
type daemon struct {
	dir        string
	host       string
	cmd        *exec.Cmd
	containerd *exec.Cmd
	log        *os.File
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "dockerd")
	testenv.RequireBinary(t, "containerd")
	testenv.RequireDocker(t)            // HUKER_NO_DOCKER=1 counts here too
	dir, err := os.MkdirTemp("", "hkd") // short: its sockets' paths have a limit
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	d := &daemon{dir: dir, host: "unix://" + filepath.Join(dir, "s"), log: log}
	t.Cleanup(func() {
		if d.cmd != nil {
			end(t, d.cmd, syscall.SIGTERM)
		}
		end(t, d.containerd, syscall.SIGTERM)
		if data, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("its log:\n%s", data[max(0, len(data)-8<<10):])
		}
		_ = log.Close()
		d.sweep(t)
	})
	config := filepath.Join(dir, "containerd.toml")
	require.NoError(t, os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o600))
	d.containerd = d.run(t, "containerd", "--config", config, "--root", filepath.Join(dir, "c"), "--state", filepath.Join(dir, "r"),
		"--address", d.socket())
	require.Eventually(t, func() bool { _, err := os.Stat(d.socket()); return err == nil }, 60*time.Second, 50*time.Millisecond)
	require.NoError(t, os.WriteFile(d.config(), []byte("{}"), 0o600))
	d.start(t)
	return d
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "c.sock") }
func (d *daemon) config() string { return filepath.Join(d.dir, "docker.json") }

func (d *daemon) run(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = d.log, d.log
	// In a network of its own: told to have no bridge, dockerd removes docker0 from the host, which is another engine's.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET}
	require.NoError(t, cmd.Start())
	return cmd
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	// In a network of its own: an engine that is told to have no bridge removes docker0, whose ever it is.
	d.cmd = d.run(t, "unshare", "--net", "dockerd", "--host", d.host, "--containerd", d.socket(), "--data-root", filepath.Join(d.dir, "data"),
		"--exec-root", filepath.Join(d.dir, "exec"), "--pidfile", filepath.Join(d.dir, "pid"), "--config-file", d.config(),
		"--bridge=none", "--iptables=false", "--ip6tables=false")
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := docker.Open(ctx, docker.Config{Host: d.host, Owner: "huker-test"})
		if err == nil {
			err = c.Close()
		}
		return err == nil
	}, 90*time.Second, 100*time.Millisecond, "dockerd does not answer")
}

func end(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	require.NoError(t, cmd.Process.Signal(s))
	_ = cmd.Wait()
}

// sweep ends the containers' shims and unmounts what a daemon leaves when a test fails half-way, so that its folder can go.
func (d *daemon) sweep(t *testing.T) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, l := range lines {
		if data, err := os.ReadFile(l); err == nil && bytes.Contains(data, []byte(d.socket())) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(l)))
			require.NoError(t, err)
			d.endShim(pid)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	for line := range bytes.Lines(mounts) {
		if f := bytes.Fields(line); len(f) > 1 && bytes.HasPrefix(f[1], []byte(d.dir+"/")) {
			_ = unix.Unmount(string(f[1]), unix.MNT_DETACH)
		}
	}
	require.NoError(t, os.RemoveAll(d.dir))
}

// endShim ends a shim and what it is the parent of: a container.
func (d *daemon) endShim(pid int) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range bytes.Fields(children) {
		if child, err := strconv.Atoi(string(f)); err == nil {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// The engine is stopped in order, and is killed; all that Create, Restart, Events and List promise holds across both.
func TestConformanceAcrossEngineRestarts(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	d := newDaemon(t)
	image := runtimetest.Image(t, open(t, d.host, "huker-test-image"))
	for name, signal := range map[string]os.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			runtimetest.RunOne(t, "EngineRestart", runtimetest.Harness{
				Kernel: true, Image: image, NoNetworks: true,
				Open: func(t *testing.T, owner string) runtimetest.Driver { return open(t, d.host, owner) },
				RestartEngine: func(t *testing.T) {
					end(t, d.cmd, signal)
					d.cmd = nil
					c, err := docker.Open(context.Background(), docker.Config{Host: d.host, Owner: "huker-test"})
					require.ErrorIs(t, err, runtime.ErrUnavailable, "%v", c)
					d.start(t)
				},
			})
		})
	}
}
