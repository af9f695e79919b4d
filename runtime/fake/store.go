package fake

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"time"

	"github.com/huker/huker/runtime"
)

type volume struct {
	owner string
	v     runtime.Volume
	files *tree
}

type network struct {
	owner string
	n     runtime.Network
}

func (d *Driver) newVolume(name string, labels map[string]string) *volume {
	return &volume{
		owner: d.owner, files: newTree(),
		v: runtime.Volume{Name: name, Labels: d.labels(labels), Path: "/fake/volumes/" + name, Created: time.Now().UTC()},
	}
}

// CreateVolume implements runtime.Volumes.
func (d *Driver) CreateVolume(ctx context.Context, name string, labels map[string]string) error {
	return d.e.call(ctx, OpCreateVolume, name, func() error {
		v := d.e.volumes[name]
		if v == nil {
			d.e.volumes[name] = d.newVolume(name, labels)
		} else if v.owner != d.owner {
			return runtime.ErrForeign
		}
		return nil
	})
}

// RemoveVolume implements runtime.Volumes.
func (d *Driver) RemoveVolume(ctx context.Context, name string) error {
	return d.e.call(ctx, OpRemoveVolume, name, func() error {
		v := d.e.volumes[name]
		switch {
		case v == nil:
			return nil
		case v.owner != d.owner:
			return runtime.ErrForeign
		}
		for _, c := range d.e.containers {
			for _, m := range c.spec.Mounts {
				if m.Kind == runtime.MountVolume && m.Source == name {
					return fmt.Errorf("%w by %s", runtime.ErrInUse, c.spec.Name)
				}
			}
		}
		delete(d.e.volumes, name)
		return nil
	})
}

// ListVolumes implements runtime.Volumes.
func (d *Driver) ListVolumes(ctx context.Context, labels map[string]string) (all []runtime.Volume, err error) {
	err = d.e.call(ctx, OpListVolumes, "", func() error {
		for _, v := range d.e.volumes {
			if v.owner == d.owner && matches(v.v.Labels, labels) {
				one := v.v
				one.Labels = maps.Clone(one.Labels)
				all = append(all, one)
			}
		}
		return nil
	})
	return all, err
}

// EnsureNetwork implements runtime.Networks.
func (d *Driver) EnsureNetwork(ctx context.Context, name, subnet string, labels map[string]string) (n runtime.Network, err error) {
	err = d.e.call(ctx, OpEnsureNetwork, name, func() error {
		if there := d.e.networks[name]; there != nil {
			if there.owner != d.owner {
				return runtime.ErrForeign
			}
			n = there.n
			return nil
		}
		p, err := d.e.subnet(subnet)
		if err != nil {
			return err
		}
		d.e.serial++
		n = runtime.Network{
			Name: name, Labels: d.labels(labels), Subnet: p.String(), Gateway: p.Addr().Next().String(), Bridge: fmt.Sprintf("hk-%x", d.e.serial),
		}
		d.e.networks[name] = &network{owner: d.owner, n: n}
		return nil
	})
	return n, err
}

// subnet is the one asked for, if it is free, or else the first free one of 10.88.0.0/16. e.mu is held.
func (e *Engine) subnet(asked string) (netip.Prefix, error) {
	taken := func(p netip.Prefix) bool {
		for _, n := range e.networks {
			if netip.MustParsePrefix(n.n.Subnet).Overlaps(p) {
				return true
			}
		}
		return false
	}
	if asked != "" {
		p, err := netip.ParsePrefix(asked)
		if err != nil || !p.Addr().Is4() {
			return p, fmt.Errorf("%w: subnet %q is not IPv4", runtime.ErrInvalid, asked)
		}
		if p = p.Masked(); taken(p) {
			return p, fmt.Errorf("the subnet %s overlaps with another", p)
		}
		return p, nil
	}
	for i := range 256 {
		if p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88, byte(i), 0}), 24); !taken(p) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no free subnet")
}

// connect gives a container that starts its address. e.mu is held.
func (e *Engine) connect(c *container) error {
	switch c.spec.Network {
	case "", "host", "bridge":
		return nil
	}
	n := e.networks[c.spec.Network]
	if n == nil {
		return fmt.Errorf("network %s: %w", c.spec.Network, runtime.ErrNotFound)
	}
	used := map[string]bool{n.n.Gateway: true}
	for _, other := range e.containers {
		if other != c && other.run != nil && other.spec.Network == c.spec.Network {
			used[other.state.Address] = true
		}
	}
	p := netip.MustParsePrefix(n.n.Subnet)
	if c.spec.Address != "" {
		switch a := netip.MustParseAddr(c.spec.Address); {
		case !p.Contains(a):
			return fmt.Errorf("%w: %s is not in %s", runtime.ErrInvalid, a, p)
		case used[c.spec.Address]:
			return fmt.Errorf("address %s: %w", a, runtime.ErrInUse)
		}
		c.state.Address = c.spec.Address
		return nil
	}
	for a := p.Addr().Next(); p.Contains(a.Next()); a = a.Next() {
		if !used[a.String()] {
			c.state.Address = a.String()
			return nil
		}
	}
	return fmt.Errorf("%w: no free address in %s", runtime.ErrInUse, p)
}

// RemoveNetwork implements runtime.Networks.
func (d *Driver) RemoveNetwork(ctx context.Context, name string) error {
	return d.e.call(ctx, OpRemoveNetwork, name, func() error {
		n := d.e.networks[name]
		switch {
		case n == nil:
			return nil
		case n.owner != d.owner:
			return runtime.ErrForeign
		}
		for _, c := range d.e.containers {
			if c.spec.Network == name && c.run != nil {
				return fmt.Errorf("%w by %s", runtime.ErrInUse, c.spec.Name)
			}
		}
		delete(d.e.networks, name)
		return nil
	})
}

// ListNetworks implements runtime.Networks.
func (d *Driver) ListNetworks(ctx context.Context, labels map[string]string) (all []runtime.Network, err error) {
	err = d.e.call(ctx, OpListNetworks, "", func() error {
		for _, n := range d.e.networks {
			if n.owner == d.owner && matches(n.n.Labels, labels) {
				all = append(all, n.n)
			}
		}
		return nil
	})
	return all, err
}

// InspectImage implements runtime.Images.
func (d *Driver) InspectImage(ctx context.Context, ref string) (i runtime.Image, err error) {
	err = d.e.call(ctx, OpInspectImage, ref, func() error {
		var ok bool
		if i, ok = d.e.images[ref]; !ok {
			return runtime.ErrNoImage
		}
		return nil
	})
	return i, err
}

// manifest is what an archive of images says of one.
type manifest struct{ RepoTags []string }

// LoadImage implements runtime.Images. Of an archive's content only the names count.
func (d *Driver) LoadImage(ctx context.Context, archive io.Reader) error {
	return d.e.callFree(ctx, OpLoadImage, "", func() error {
		for r := tar.NewReader(archive); ; {
			h, err := r.Next()
			if err != nil {
				return fmt.Errorf("no manifest in the archive: %w", err)
			}
			if h.Name != "manifest.json" {
				continue
			}
			var all []manifest
			if err := json.NewDecoder(r).Decode(&all); err != nil {
				return fmt.Errorf("reading the manifest: %w", err)
			}
			if _, err := io.Copy(io.Discard, archive); err != nil {
				return err
			}
			for _, m := range all {
				for _, ref := range m.RepoTags {
					d.e.AddImage(runtime.Image{Ref: ref})
				}
			}
			return nil
		}
	})
}

// SaveImage implements runtime.Images.
func (d *Driver) SaveImage(ctx context.Context, ref string, w io.Writer) error {
	return d.e.call(ctx, OpSaveImage, ref, func() error {
		if _, ok := d.e.images[ref]; !ok {
			return runtime.ErrNoImage
		}
		data, err := json.Marshal([]manifest{{RepoTags: []string{ref}}})
		if err != nil {
			return err
		}
		archive := tar.NewWriter(w)
		if err := archive.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		return errors.Join(write(archive, data), archive.Close())
	})
}

// PullImage implements runtime.Images.
func (d *Driver) PullImage(ctx context.Context, ref string) error {
	return d.e.call(ctx, OpPullImage, ref, func() error {
		i, ok := d.e.remote[ref]
		if !ok {
			return runtime.ErrNoImage
		}
		d.e.addImage(i)
		return nil
	})
}
