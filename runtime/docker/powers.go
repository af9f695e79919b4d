package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/huker/huker/runtime"
)

// execOutput bounds what Exec keeps of each stream.
const execOutput = 1 << 20

// UpdateLimits implements runtime.Limiter.
func (d *Driver) UpdateLimits(ctx context.Context, name string, l runtime.Limits) error {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return err
	}
	_, err = d.c.ContainerUpdate(ctx, r.ID, container.UpdateConfig{Resources: liftable(l)})
	return mapError("changing limits of container "+name, err)
}

// Signal implements runtime.Signaler.
func (d *Driver) Signal(ctx context.Context, name, signal string) error {
	r, err := d.running(ctx, name)
	if err != nil {
		return err
	}
	return mapError("signalling container "+name, d.c.ContainerKill(ctx, r.ID, signal))
}

// Pause implements runtime.Signaler.
func (d *Driver) Pause(ctx context.Context, name string) error {
	r, err := d.running(ctx, name)
	if err != nil || r.State.Paused {
		return err
	}
	return mapError("pausing container "+name, d.c.ContainerPause(ctx, r.ID))
}

// Unpause implements runtime.Signaler.
func (d *Driver) Unpause(ctx context.Context, name string) error {
	r, err := d.running(ctx, name)
	if err != nil || !r.State.Paused {
		return err
	}
	return mapError("resuming container "+name, d.c.ContainerUnpause(ctx, r.ID))
}

// running looks at an own container that must run, paused or not.
func (d *Driver) running(ctx context.Context, name string) (container.InspectResponse, error) {
	r, err := d.inspectOwn(ctx, name)
	if err == nil && (r.State == nil || !r.State.Running) {
		err = fmt.Errorf("container %s: %w", name, runtime.ErrNotRunning)
	}
	return r, err
}

// Exec implements runtime.Execer.
func (d *Driver) Exec(ctx context.Context, name string, cmd []string, stdin io.Reader) (runtime.ExecResult, error) {
	r, err := d.running(ctx, name)
	if err != nil {
		return runtime.ExecResult{}, err
	}
	doing := "running a program in container " + name
	e, err := d.c.ContainerExecCreate(ctx, r.ID, container.ExecOptions{
		Cmd: cmd, AttachStdin: stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return runtime.ExecResult{}, mapError(doing, err)
	}
	stream, err := d.c.ContainerExecAttach(ctx, e.ID, container.ExecAttachOptions{})
	if err != nil {
		return runtime.ExecResult{}, mapError(doing, err)
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	if stdin != nil {
		go func() {
			// A program that ends without reading it all is no error.
			_, _ = io.Copy(stream.Conn, stdin)
			_ = stream.CloseWrite()
		}()
	}
	var out, errOut bounded
	if _, err := stdcopy.StdCopy(&out, &errOut, stream.Reader); err != nil {
		return runtime.ExecResult{}, errors.Join(ctx.Err(), mapError(doing, err))
	}
	code, err := d.exitCode(ctx, e.ID)
	if err != nil {
		return runtime.ExecResult{}, mapError(doing, err)
	}
	return runtime.ExecResult{ExitCode: code, Stdout: out.Bytes(), Stderr: errOut.Bytes()}, nil
}

// exitCode waits until the engine has noticed that a program ended: its output ends a little earlier.
func (d *Driver) exitCode(ctx context.Context, exec string) (int, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := d.c.ContainerExecInspect(ctx, exec)
		if err != nil || !e.Running {
			return e.ExitCode, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// bounded keeps the first execOutput bytes and swallows the rest, so that the program is not held up.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := execOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// CopyTo implements runtime.Copier.
func (d *Driver) CopyTo(ctx context.Context, name, dir string, tar io.Reader) error {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return err
	}
	return mapError("copying into container "+name, d.c.CopyToContainer(ctx, r.ID, dir, tar, container.CopyToContainerOptions{}))
}

// CopyFrom implements runtime.Copier.
func (d *Driver) CopyFrom(ctx context.Context, name, path string) (io.ReadCloser, error) {
	r, err := d.inspectOwn(ctx, name)
	if err != nil {
		return nil, err
	}
	stream, _, err := d.c.CopyFromContainer(ctx, r.ID, path)
	if err != nil {
		return nil, mapError("copying out of container "+name, err)
	}
	return stream, nil
}

// Stats implements runtime.StatsReader.
func (d *Driver) Stats(ctx context.Context, name string) (runtime.Stats, error) {
	c, err := d.running(ctx, name)
	if err != nil {
		return runtime.Stats{}, err
	}
	r, err := d.c.ContainerStatsOneShot(ctx, c.ID)
	if err != nil {
		return runtime.Stats{}, mapError("measuring container "+name, err)
	}
	defer func() { _ = r.Body.Close() }()
	var v container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
		return runtime.Stats{}, mapError("reading the measures of container "+name, err)
	}
	s := runtime.Stats{
		CPUSeconds: float64(v.CPUStats.CPUUsage.TotalUsage) / 1e9, MemoryLimit: int64(v.MemoryStats.Limit), //nolint:gosec // bytes of memory fit
		Pids: int(v.PidsStats.Current), //nolint:gosec // a number of processes fits
	}
	// The name of the reclaimable page cache differs between cgroup v1 and v2.
	cache := v.MemoryStats.Stats["total_inactive_file"]
	if c2, ok := v.MemoryStats.Stats["inactive_file"]; ok && cache == 0 {
		cache = c2
	}
	s.MemoryBytes = int64(v.MemoryStats.Usage - min(cache, v.MemoryStats.Usage)) //nolint:gosec // bytes of memory fit
	for _, b := range v.BlkioStats.IoServiceBytesRecursive {
		switch b.Op {
		case "Read", "read":
			s.ReadBytes += int64(b.Value) //nolint:gosec // bytes of disk fit
		case "Write", "write":
			s.WrittenBytes += int64(b.Value) //nolint:gosec // bytes of disk fit
		}
	}
	for _, n := range v.Networks {
		s.NetRxBytes += int64(n.RxBytes) //nolint:gosec // bytes of traffic fit
		s.NetTxBytes += int64(n.TxBytes) //nolint:gosec // bytes of traffic fit
	}
	return s, nil
}

// InspectImage implements runtime.Images.
func (d *Driver) InspectImage(ctx context.Context, ref string) (runtime.Image, error) {
	r, err := d.c.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return runtime.Image{}, fmt.Errorf("image %s: %w", ref, runtime.ErrNoImage)
	}
	if err != nil {
		return runtime.Image{}, mapError("looking at image "+ref, err)
	}
	i := runtime.Image{Ref: ref, ID: r.ID, SizeMB: int(r.Size >> 20)}
	if r.Config != nil {
		i.User, i.Labels, i.Env = r.Config.User, r.Config.Labels, r.Config.Env
	}
	return i, nil
}

// LoadImage implements runtime.Images.
func (d *Driver) LoadImage(ctx context.Context, tar io.Reader) error {
	r, err := d.c.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return mapError("loading an image", err)
	}
	defer func() { _ = r.Body.Close() }()
	return drain("loading an image", r.Body)
}

// SaveImage implements runtime.Images.
func (d *Driver) SaveImage(ctx context.Context, ref string, w io.Writer) error {
	r, err := d.c.ImageSave(ctx, []string{ref})
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("saving image %s: %w: %w", ref, runtime.ErrNoImage, err)
	}
	if err != nil {
		return mapError("saving image "+ref, err)
	}
	defer func() { _ = r.Close() }()
	if _, err := io.Copy(w, r); err != nil {
		return mapError("saving image "+ref, err)
	}
	return nil
}

// PullImage implements runtime.Images.
func (d *Driver) PullImage(ctx context.Context, ref string) error {
	r, err := d.c.ImagePull(ctx, ref, image.PullOptions{})
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("pulling image %s: %w: %w", ref, runtime.ErrNoImage, err)
	}
	if err != nil {
		return mapError("pulling image "+ref, err)
	}
	defer func() { _ = r.Close() }()
	return drain("pulling image "+ref, r)
}

// drain reads an engine's progress to its end: an error comes as its last line, not as a status code.
func drain(doing string, r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var line struct {
			Error string `json:"error"`
		}
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return mapError(doing, err)
		}
		if line.Error != "" {
			return mapError(doing, errors.New(line.Error))
		}
	}
}
