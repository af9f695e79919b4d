package docker

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/volume"

	"github.com/huker/huker/runtime"
)

// CreateVolume implements runtime.Volumes.
func (d *Driver) CreateVolume(ctx context.Context, name string, labels map[string]string) error {
	// Docker answers with the volume of that name if there is one, whoever's it is.
	v, err := d.c.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: d.labels(labels)})
	if err != nil {
		return mapError("making volume "+name, err)
	}
	if !d.mine(v.Labels) {
		return fmt.Errorf("volume %s: %w", name, runtime.ErrForeign)
	}
	return nil
}

// RemoveVolume implements runtime.Volumes.
func (d *Driver) RemoveVolume(ctx context.Context, name string) error {
	v, err := d.c.VolumeInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return mapError("looking at volume "+name, err)
	}
	if !d.mine(v.Labels) {
		return fmt.Errorf("volume %s: %w", name, runtime.ErrForeign)
	}
	err = d.c.VolumeRemove(ctx, name, false)
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case errdefs.IsConflict(err):
		return fmt.Errorf("removing volume %s: %w: %w", name, runtime.ErrInUse, err)
	}
	return mapError("removing volume "+name, err)
}

// ListVolumes implements runtime.Volumes.
func (d *Driver) ListVolumes(ctx context.Context, labels map[string]string) ([]runtime.Volume, error) {
	r, err := d.c.VolumeList(ctx, volume.ListOptions{Filters: d.filter(labels)})
	if err != nil {
		return nil, mapError("listing volumes", err)
	}
	var all []runtime.Volume
	for _, v := range r.Volumes {
		all = append(all, runtime.Volume{Name: v.Name, Labels: v.Labels, Path: v.Mountpoint, Created: parseTime(v.CreatedAt)})
	}
	return all, nil
}
