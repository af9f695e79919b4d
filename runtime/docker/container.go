package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	dnetwork "github.com/docker/docker/api/types/network"

	"github.com/huker/huker/runtime"
)

// Docker reserves a name a while before and after there is a container to look at. Create waits for it that long.
const (
	conflictTries = 100
	conflictPause = 50 * time.Millisecond
)

// Create implements runtime.Runtime.
func (d *Driver) Create(ctx context.Context, s runtime.Spec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	doing := "creating container " + s.Name
	config, host, networks := d.translate(s)
	pause := time.NewTicker(conflictPause)
	defer pause.Stop()
	for range conflictTries {
		_, err := d.c.ContainerCreate(ctx, config, host, networks, nil, s.Name)
		switch {
		case err == nil:
			return nil
		case errdefs.IsNotFound(err) && d.imageMissing(ctx, s.Image):
			return fmt.Errorf("%s: %w: %w", doing, runtime.ErrNoImage, err)
		case !errdefs.IsConflict(err):
			return mapError(doing, err)
		}
		there, err := d.inspectOwn(ctx, s.Name)
		switch {
		case errors.Is(err, runtime.ErrNotFound): // it is being made or removed
			select {
			case <-pause.C:
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", doing, ctx.Err())
			}
			continue
		case errors.Is(err, runtime.ErrForeign):
			return fmt.Errorf("%s: %w: %w", doing, runtime.ErrExists, err)
		case err != nil:
			return err
		case there.Config.Labels[runtime.SpecLabel] != s.Hash():
			return fmt.Errorf("%s: %w", doing, runtime.ErrExists)
		case there.State != nil && (there.State.Status == "removing" || there.State.Dead):
			if err := d.awaitRemoved(ctx, there.ID); err != nil {
				return err
			}
			continue
		}
		return nil
	}
	return fmt.Errorf("%s: %w: its name is taken again and again", doing, runtime.ErrExists)
}

func (d *Driver) imageMissing(ctx context.Context, ref string) bool {
	_, err := d.c.ImageInspect(ctx, ref)
	return errdefs.IsNotFound(err)
}

func (d *Driver) translate(s runtime.Spec) (*container.Config, *container.HostConfig, *dnetwork.NetworkingConfig) {
	labels := d.labels(s.Labels)
	labels[runtime.SpecLabel] = s.Hash()
	config := &container.Config{
		Image: s.Image, Entrypoint: s.Entrypoint, Cmd: s.Args, Env: s.Env, User: s.User, Labels: labels, Hostname: s.Hostname,
		StopSignal: "SIGTERM", // whatever the image says
	}
	if s.StopGrace > 0 {
		config.StopTimeout = seconds(s.StopGrace)
	}
	logMB := s.LogMaxMB
	if logMB == 0 {
		logMB = 10
	}
	host := &container.HostConfig{
		ReadonlyRootfs: s.ReadOnly, CapDrop: s.DropCaps, CapAdd: s.AddCaps, Resources: resources(s.Limits),
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{ // two files of half the size
			"max-size": strconv.Itoa(logMB<<9) + "k", "max-file": "2",
		}},
		Tmpfs: map[string]string{},
	}
	if s.NoNewPrivs {
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	if s.Restart {
		labels[restartLabel] = "true"
		host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyAlways}
	}
	for _, m := range s.Mounts {
		switch m.Kind {
		case runtime.MountMemory:
			host.Tmpfs[m.Target] = tmpfs(m)
		case runtime.MountBind:
			host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
		case runtime.MountVolume:
			host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
				// Docker makes a volume that is missing: it must not be one that nobody finds again.
				VolumeOptions: &mount.VolumeOptions{Labels: d.labels(nil)}})
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

const (
	// cpuPeriod is the kernel's default, in microseconds. Quota and period, not Docker's NanoCPUs: these can be lifted while the
	// container runs, and may exceed what the machine has.
	cpuPeriod = 100_000
	// noMemoryLimit lifts a limit of a running container: Docker takes 0 for "as it is".
	noMemoryLimit = 1 << 50
)

// resources never lets a container swap: a database that swaps is down, but nobody is told.
func resources(l runtime.Limits) container.Resources {
	pids := int64(l.Pids)
	r := container.Resources{PidsLimit: &pids}
	if l.CPUs > 0 {
		r.CPUPeriod, r.CPUQuota = cpuPeriod, max(int64(math.Round(l.CPUs*cpuPeriod)), 1000) // the kernel's least
	}
	if l.MemoryMB > 0 {
		r.Memory = int64(l.MemoryMB) << 20
		r.MemorySwap = r.Memory
	}
	return r
}

// liftable is resources for a container that may have had other limits before.
func liftable(l runtime.Limits) container.Resources {
	r := resources(l)
	if l.CPUs == 0 {
		r.CPUPeriod, r.CPUQuota = cpuPeriod, -1
	}
	if l.MemoryMB == 0 {
		r.Memory, r.MemorySwap = noMemoryLimit, noMemoryLimit
	}
	return r
}

func limitsOf(r container.Resources) runtime.Limits {
	var l runtime.Limits
	if r.CPUQuota > 0 && r.CPUPeriod > 0 {
		l.CPUs = float64(r.CPUQuota) / float64(r.CPUPeriod)
	}
	if r.Memory > 0 && r.Memory < noMemoryLimit {
		l.MemoryMB = int(r.Memory >> 20)
	}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		l.Pids = int(*r.PidsLimit)
	}
	return l
}

// seconds rounds up: Docker counts whole ones, and none means to kill at once.
func seconds(d time.Duration) *int {
	s := int((d + time.Second - 1) / time.Second)
	return &s
}

// restartLabel remembers Spec.Restart while the policy is off.
const restartLabel = "io.huker.restart"

// setRestart turns the policy on and off: Start has it on, Stop has it off. Docker's own "unless-stopped" would need no such care, but
// Docker 20.10, when it was killed and comes back, ends the containers that it finds running and takes that for a stop by hand.
func (d *Driver) setRestart(ctx context.Context, r container.InspectResponse, on bool) error {
	want := container.RestartPolicyDisabled
	if on {
		want = container.RestartPolicyAlways
	}
	if r.Config.Labels[restartLabel] == "" || r.HostConfig == nil || r.HostConfig.RestartPolicy.Name == want {
		return nil
	}
	_, err := d.c.ContainerUpdate(ctx, r.ID, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: want}})
	return mapError("changing the restart policy of container "+r.Name, err)
}

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, name string) error {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return err
	}
	if err := d.setRestart(ctx, r, true); err != nil {
		return err
	}
	if r.State != nil && r.State.Paused {
		return d.Unpause(ctx, name)
	}
	return mapError("starting container "+name, d.c.ContainerStart(ctx, r.ID, container.StartOptions{}))
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, name string, grace time.Duration) error {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return err
	}
	if err := d.setRestart(ctx, r, false); err != nil {
		return err
	}
	return mapError("stopping container "+name, d.c.ContainerStop(ctx, r.ID, container.StopOptions{Timeout: seconds(grace)}))
}

// Remove implements runtime.Runtime.
func (d *Driver) Remove(ctx context.Context, name string) error {
	r, err := d.inspectOwn(ctx, name)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	// Volumes without a name are made for what an image declares, and are of no use to anybody else. Named ones stay.
	err = d.c.ContainerRemove(ctx, r.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if errdefs.IsConflict(err) { // another removal is under way: it is gone when that is done
		return d.awaitRemoved(ctx, r.ID)
	}
	return mapError("removing container "+name, err)
}

func (d *Driver) awaitRemoved(ctx context.Context, id string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		if _, err := d.c.ContainerInspect(ctx, id); errdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("removing container %s: %w: its removal does not end", id, runtime.ErrInUse)
		case <-ctx.Done():
			return fmt.Errorf("removing container %s: %w", id, ctx.Err())
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
	if strings.TrimPrefix(r.Name, "/") != name { // Docker takes ids and their beginnings for names too
		return r, fmt.Errorf("looking at container %s: %w", name, runtime.ErrNotFound)
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
		s.Limits = limitsOf(r.HostConfig.Resources)
	}
	if r.NetworkSettings != nil {
		for _, n := range r.NetworkSettings.Networks {
			switch {
			case n.IPAddress != "":
				s.Address = n.IPAddress
			case n.IPAMConfig != nil && n.IPAMConfig.IPv4Address != "": // fixed, and kept while it does not run
				s.Address = n.IPAMConfig.IPv4Address
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
