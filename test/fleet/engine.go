package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/runtime/docker"
)

const (
	containerdProgram = "containerd"
	dockerdProgram    = "dockerd"
	// containerdSocket is on the host.
	containerdSocket = "/run/containerd/containerd.sock"
	engineLogLevel   = "warn"
	// enginePatience is how long an engine may take to answer, on a machine that is busy.
	enginePatience = 90 * time.Second
)

// configureEngine writes the configuration of the host's engine. Given in a file of its own: the machine's must not be read.
func (h *Host) configureEngine() error {
	config, err := json.MarshalIndent(map[string]any{
		"data-root":  h.path("data", "docker"),
		"containerd": containerdSocket,
		"bip":        h.fleet.plan.dockerBridge(h.number),
		// So that what a lost host leaves is found; by Docker itself, as a systemd that minds control groups is the machine's.
		"cgroup-parent": h.cgroup(),
		"exec-opts":     []string{"native.cgroupdriver=cgroupfs"},
		"log-level":     engineLogLevel,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.path("dockerd.json"), config, 0o600); err != nil {
		return fmt.Errorf("configuring the engine of %s: %w", h.Name, err)
	}
	const containerd = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	if err := os.WriteFile(h.path("containerd.toml"), []byte(containerd), 0o600); err != nil {
		return fmt.Errorf("configuring containerd of %s: %w", h.Name, err)
	}
	return nil
}

// startEngine starts what does not run of containerd and dockerd. containerd is started here and not by dockerd, which would take the machine's if it
// found one, and which ends its own when it ends in order.
func (h *Host) startEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, enginePatience)
	defer cancel()
	if !h.listens("containerd", "containerd.sock") {
		p, err := h.spawn(Program{Name: containerdProgram, Args: []string{
			"containerd", "--config", h.path("containerd.toml"), "--root", h.path("data", "containerd"),
			"--state", "/run/containerd", "--address", containerdSocket, "--log-level", engineLogLevel,
		}})
		if err != nil {
			return err
		}
		if err := p.await(ctx, 20*time.Millisecond, func() bool { return h.listens("containerd", "containerd.sock") }); err != nil {
			return err
		}
	}
	if h.answers(ctx) == nil {
		return nil
	}
	_ = os.Remove(h.path("run", "docker.pid")) // of one that was killed: its number may be somebody else's by now
	p, err := h.spawn(Program{Name: dockerdProgram, Args: []string{"dockerd", "--config-file", h.path("dockerd.json")}})
	if err != nil {
		return err
	}
	return p.await(ctx, 50*time.Millisecond, func() bool { return h.answers(ctx) == nil })
}

// listens says whether somebody does at a socket in the host's /run.
func (h *Host) listens(path ...string) bool {
	c, err := net.Dial("unix", h.path(append([]string{"run"}, path...)...))
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// answers says whether the engine does.
func (h *Host) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	d, err := h.Docker(ctx, "huker-fleet")
	if err != nil {
		return err
	}
	return d.Close()
}

// Docker gives a driver of the host's engine, which makes things for an owner. It is to be closed.
func (h *Host) Docker(ctx context.Context, owner string) (*docker.Driver, error) {
	return docker.Open(ctx, docker.Config{Host: h.DockerHost(), Owner: owner, Range: h.fleet.Range})
}

// StopDocker ends dockerd alone, by SIGTERM (containers end with it) or SIGKILL (they go on), and waits until it has ended. Only the process that started
// the host can.
func (h *Host) StopDocker(ctx context.Context, signal unix.Signal) error {
	p, err := h.Program(dockerdProgram)
	if err != nil {
		return err
	}
	if err := p.Signal(signal); err != nil {
		return err
	}
	return p.wait(ctx)
}

// StartDocker starts the engine after StopDocker, and waits until it answers.
func (h *Host) StartDocker(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	if !h.Up() {
		return ErrDown
	}
	return h.startEngine(ctx)
}
