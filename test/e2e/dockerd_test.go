package e2e

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
)

// dockerd is an engine of a test's own, which may be killed.
type dockerd struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan error
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
	d := &dockerd{t: t, dir: dir, log: &logBuffer{}}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o700))
	require.NoError(t, os.Symlink(root, filepath.Join(dir, "data")))
	t.Cleanup(func() {
		d.stop(syscall.SIGTERM)
		_ = exec.Command("sh", "-c", "grep -o ' "+dir+"[^ ]*' /proc/mounts | sort -r | xargs -r umount -l").Run()
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
	// No rules of its own: those of the engine that this machine runs stay as they are.
	d.cmd = exec.Command("dockerd", "--data-root", root, "--exec-root", filepath.Join(d.dir, "exec"), "-p", filepath.Join(d.dir, "pid"),
		"-H", d.host(), "--bridge=none", "--iptables=false", "--ip6tables=false", "--config-file", filepath.Join(d.dir, "etc", "none.json"))
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

// stop ends the engine, and with SIGKILL its containerd too, which is in its process group.
func (d *dockerd) stop(s syscall.Signal) {
	if d.cmd == nil {
		return
	}
	pid := d.cmd.Process.Pid
	if s == syscall.SIGKILL {
		pid = -pid
	}
	_ = syscall.Kill(pid, s)
	select {
	case <-d.done:
	case <-time.After(time.Minute):
		d.t.Errorf("dockerd does not end: %s", d.log.tail(2000))
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	d.cmd = nil
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
	go func() { w.CloseWithError(from.SaveImage(ctx, databaseImage(d.t), w)) }()
	require.NoError(d.t, images.LoadImage(ctx, r))
}
