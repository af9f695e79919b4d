package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	dnetwork "github.com/docker/docker/api/types/network"

	"github.com/huker/huker/runtime"
)

// Create implements runtime.Runtime.
func (d *Driver) Create(ctx context.Context, s runtime.Spec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	config, host, networks := d.translate(s)
	_, err := d.c.ContainerCreate(ctx, config, host, networks, nil, s.Name)
	if err == nil {
		return nil
	}
	if !errdefs.IsConflict(err) {
		return mapError("creating container "+s.Name, err)
	}
	there, ierr := d.inspectOwn(ctx, s.Name)
	switch {
	case ierr != nil && !errors.Is(ierr, runtime.ErrForeign):
		return ierr
	case ierr != nil, there.Config.Labels[runtime.SpecLabel] != s.Hash():
		return fmt.Errorf("creating container %s: %w", s.Name, runtime.ErrExists)
	}
	return nil
}

func (d *Driver) translate(s runtime.Spec) (*container.Config, *container.HostConfig, *dnetwork.NetworkingConfig) {
	labels := d.labels(s.Labels)
	labels[runtime.SpecLabel] = s.Hash()
	config := &container.Config{
		Image: s.Image, Entrypoint: s.Entrypoint, Cmd: s.Args, Env: s.Env, User: s.User, Labels: labels, Hostname: s.Hostname,
	}
	if s.StopGrace > 0 {
		seconds := int(s.StopGrace.Seconds())
		config.StopTimeout = &seconds
	}
	logMB := s.LogMaxMB
	if logMB == 0 {
		logMB = 10
	}
	host := &container.HostConfig{
		ReadonlyRootfs: s.ReadOnly, CapDrop: s.DropCaps, CapAdd: s.AddCaps, Resources: resources(s.Limits),
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": strconv.Itoa(logMB) + "m", "max-file": "2",
		}},
		Tmpfs: map[string]string{},
	}
	if s.NoNewPrivs {
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	if s.Restart {
		host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	}
	for _, m := range s.Mounts {
		switch m.Kind {
		case runtime.MountMemory:
			host.Tmpfs[m.Target] = tmpfs(m)
		case runtime.MountBind:
			host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		case runtime.MountVolume:
			host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		}
	}
	var networks *dnetwork.NetworkingConfig
	switch s.Network {
	case "":
		host.NetworkMode = "none"
	case "host":
		host.NetworkMode = "host"
		config.Hostname = "" // the host's own
	default:
		host.NetworkMode = container.NetworkMode(s.Network)
		endpoint := &dnetwork.EndpointSettings{}
		if s.Address != "" {
			endpoint.IPAMConfig = &dnetwork.EndpointIPAMConfig{IPv4Address: s.Address}
		}
		networks = &dnetwork.NetworkingConfig{EndpointsConfig: map[string]*dnetwork.EndpointSettings{s.Network: endpoint}}
	}
	return config, host, networks
}

func tmpfs(m runtime.Mount) string {
	size, mode := m.SizeMB, m.Mode
	if size == 0 {
		size = 64
	}
	if mode == 0 {
		mode = 0o700
	}
	return fmt.Sprintf("rw,noexec,nosuid,nodev,size=%dm,mode=%o,uid=%d,gid=%d", size, mode, m.UID, m.GID)
}

// resources never lets a container swap: a database that swaps is down, but nobody is told.
func resources(l runtime.Limits) container.Resources {
	r := container.Resources{NanoCPUs: int64(l.CPUs * 1e9), Memory: int64(l.MemoryMB) << 20, MemorySwap: int64(l.MemoryMB) << 20}
	if l.Pids > 0 {
		pids := int64(l.Pids)
		r.PidsLimit = &pids
	}
	return r
}

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, name string) error {
	if _, err := d.inspectOwn(ctx, name); err != nil {
		return err
	}
	return mapError("starting container "+name, d.c.ContainerStart(ctx, name, container.StartOptions{}))
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, name string, grace time.Duration) error {
	if _, err := d.inspectOwn(ctx, name); err != nil {
		return err
	}
	seconds := int((grace + time.Second - 1) / time.Second)
	return mapError("stopping container "+name, d.c.ContainerStop(ctx, name, container.StopOptions{Timeout: &seconds}))
}

// Remove implements runtime.Runtime.
func (d *Driver) Remove(ctx context.Context, name string) error {
	if _, err := d.inspectOwn(ctx, name); errors.Is(err, runtime.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	err := d.c.ContainerRemove(ctx, name, container.RemoveOptions{Force: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if errdefs.IsConflict(err) { // another removal is under way: it is gone when that is done
		return d.awaitRemoved(ctx, name)
	}
	return mapError("removing container "+name, err)
}

func (d *Driver) awaitRemoved(ctx context.Context, name string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		if _, err := d.c.ContainerInspect(ctx, name); errdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("removing container %s: %w: its removal does not end", name, runtime.ErrInUse)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Inspect implements runtime.Runtime.
func (d *Driver) Inspect(ctx context.Context, name string) (runtime.State, error) {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return runtime.State{}, err
	}
	return stateOf(r), nil
}

// List implements runtime.Runtime.
func (d *Driver) List(ctx context.Context, labels map[string]string) ([]runtime.State, error) {
	all, err := d.c.ContainerList(ctx, container.ListOptions{All: true, Filters: d.filter(labels)})
	if err != nil {
		return nil, mapError("listing containers", err)
	}
	states := make([]runtime.State, 0, len(all))
	for _, s := range all {
		r, err := d.c.ContainerInspect(ctx, s.ID)
		if errdefs.IsNotFound(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, mapError("looking at a container", err)
		}
		states = append(states, stateOf(r))
	}
	return states, nil
}

// inspectOwn looks at a container that must be the owner's.
func (d *Driver) inspectOwn(ctx context.Context, name string) (container.InspectResponse, error) {
	r, err := d.c.ContainerInspect(ctx, name)
	if err != nil {
		return r, mapError("looking at container "+name, err)
	}
	if r.Config == nil || !d.mine(r.Config.Labels) {
		return r, fmt.Errorf("container %s: %w", name, runtime.ErrForeign)
	}
	return r, nil
}

func stateOf(r container.InspectResponse) runtime.State {
	s := runtime.State{
		Name: strings.TrimPrefix(r.Name, "/"), Handle: r.ID, Image: r.Config.Image, Labels: r.Config.Labels, Created: parseTime(r.Created),
	}
	if r.State != nil {
		s.Phase = phaseOf(string(r.State.Status))
		s.ExitCode, s.OOM, s.Error = r.State.ExitCode, r.State.OOMKilled, r.State.Error
		s.Started, s.Finished = parseTime(r.State.StartedAt), parseTime(r.State.FinishedAt)
		if s.Phase == runtime.PhaseRunning || s.Phase == runtime.PhasePaused {
			s.Pid = r.State.Pid
		}
	}
	if r.HostConfig != nil {
		s.Limits = runtime.Limits{CPUs: float64(r.HostConfig.NanoCPUs) / 1e9, MemoryMB: int(r.HostConfig.Memory >> 20)}
		if r.HostConfig.PidsLimit != nil && *r.HostConfig.PidsLimit > 0 {
			s.Limits.Pids = int(*r.HostConfig.PidsLimit)
		}
	}
	if r.NetworkSettings != nil {
		for _, n := range r.NetworkSettings.Networks {
			if n.IPAddress != "" {
				s.Address = n.IPAddress
			}
		}
	}
	return s
}

// phaseOf: a container that Docker is about to start again is not running now, and one half removed is as good as ended.
func phaseOf(status string) runtime.Phase {
	switch status {
	case "running":
		return runtime.PhaseRunning
	case "paused":
		return runtime.PhasePaused
	case "created":
		return runtime.PhaseCreated
	}
	return runtime.PhaseExited
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}
