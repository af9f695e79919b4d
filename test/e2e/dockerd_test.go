package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/test/site"
)

// dockerd is an engine of a test's own, which may be killed.
type dockerd struct {
	t      *testing.T
	dir    string
	bridge string
	cmd    *exec.Cmd
	log    *logBuffer
	done   chan error
}

// newDockerd starts an engine with its data below root ("" for a directory of the test's) and the databases' image in it.
func newDockerd(t *testing.T, root string) *dockerd {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireDocker(t) // the image comes from there
	testenv.RequireBinary(t, "dockerd")
	dir, err := os.MkdirTemp("", "hk-dockerd-") // short: the path of a socket has 108 characters
	require.NoError(t, err)
	if root == "" {
		root = filepath.Join(dir, "root")
	}
	d := &dockerd{t: t, dir: dir, log: &logBuffer{}, bridge: "hkt-" + testenv.Suffix(t)}
	d.ip("link", "add", d.bridge, "type", "bridge")
	d.ip("addr", "add", fmt.Sprintf("10.89.%d.1/24", os.Getpid()%250), "dev", d.bridge)
	d.ip("link", "set", d.bridge, "up")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o700))
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "data")))
	t.Cleanup(func() {
		d.stop(syscall.SIGTERM)
		d.ip("link", "del", d.bridge)
		d.crash() // containerd outlives a killed engine
		d.unmount(dir)
		require.NoError(t, os.RemoveAll(dir))
	})
	d.start()
	d.loadImage()
	return d
}

func (d *dockerd) host() string { return "unix://" + filepath.Join(d.dir, "s") }

func (d *dockerd) start() {
	d.t.Helper()
	root, err := os.Readlink(filepath.Join(d.dir, "data"))
	require.NoError(d.t, err)
	_ = os.Remove(filepath.Join(d.dir, "pid"))
	// No rules of its own: those of the engine that this machine runs stay as they are. A bridge of its own, too: an engine that is told to have
	// none removes docker0, whose ever it is.
	d.cmd = exec.Command("dockerd", "--data-root", root, "--exec-root", filepath.Join(d.dir, "exec"), "-p", filepath.Join(d.dir, "pid"),
		"-H", d.host(), "--bridge", d.bridge, "--iptables=false", "--ip6tables=false", "--config-file", filepath.Join(d.dir, "etc", "none.json"))
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(d.t, os.WriteFile(filepath.Join(d.dir, "etc", "none.json"), []byte("{}"), 0o600))
	require.NoError(d.t, d.cmd.Start())
	d.done = make(chan error, 1)
	cmd, done := d.cmd, d.done
	go func() { done <- cmd.Wait() }()
	require.Eventually(d.t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		e, err := docker.Open(ctx, docker.Config{Host: d.host(), Owner: "probe"})
		if err == nil {
			_ = e.Close()
		}
		return err == nil
	}, time.Minute, 100*time.Millisecond, "dockerd does not answer: %s", d.log.tail(2000))
}

// stop ends the engine; its containerd goes with it.
func (d *dockerd) stop(s syscall.Signal) {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(s)
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		d.t.Errorf("dockerd does not end: %s", d.log.tail(2000))
	}
	d.cmd = nil
	// Under an init that is slow to reap, a dead containerd still has its number, and the next engine would wait for it for ever.
	_ = os.Remove(filepath.Join(d.dir, "exec", "containerd", "containerd.pid"))
}

// crash kills everything that runs for the engine, as a power failure would, and takes away what lies in memory file systems.
func (d *dockerd) crash() {
	d.t.Helper()
	d.stop(syscall.SIGKILL)
	exec.Command("pkill", "-KILL", "-f", filepath.Join(d.dir, "exec")).Run() //nolint:errcheck // there may be none left
	require.Eventually(d.t, func() bool {
		d.unmount(filepath.Join(d.dir, "exec"))
		return os.RemoveAll(filepath.Join(d.dir, "exec")) == nil
	}, 10*time.Second, 100*time.Millisecond)
}

// unmount takes down all that is mounted below dir.
func (d *dockerd) unmount(dir string) {
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(d.t, err)
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}

func (d *dockerd) ip(args ...string) {
	d.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(d.t, err, "ip %v: %s", args, out)
}

func (d *dockerd) loadImage() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	from, err := docker.Open(ctx, docker.Config{Owner: "probe"})
	require.NoError(d.t, err)
	defer func() { _ = from.Close() }()
	to, err := docker.Open(ctx, docker.Config{Host: d.host(), Owner: "probe"})
	require.NoError(d.t, err)
	defer func() { _ = to.Close() }()
	var images runtime.Images = to
	r, w := io.Pipe()
	go func() { w.CloseWithError(from.SaveImage(ctx, site.Image(d.t), w)) }()
	require.NoError(d.t, images.LoadImage(ctx, r))
}
