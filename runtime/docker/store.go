package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dnetwork "github.com/docker/docker/api/types/network"
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

// networkTries bounds how often a subnet that was taken meanwhile is replaced by the next one.
const networkTries = 16

// EnsureNetwork implements runtime.Networks.
func (d *Driver) EnsureNetwork(ctx context.Context, name, subnet string, labels map[string]string) (runtime.Network, error) {
	if n, found, err := d.findNetwork(ctx, name); err != nil || found {
		return n, err
	}
	var taken []netip.Prefix
	for range networkTries {
		want := subnet
		if want == "" {
			free, err := d.freeSubnet(ctx, taken)
			if err != nil {
				return runtime.Network{}, err
			}
			want = free.String()
			taken = append(taken, free)
		}
		err := d.createNetwork(ctx, name, want, labels)
		switch {
		case err == nil:
			n, _, err := d.findNetwork(ctx, name)
			return n, err
		case errdefs.IsConflict(err): // somebody made it meanwhile
			if n, found, ferr := d.findNetwork(ctx, name); ferr != nil || found {
				return n, ferr
			}
		}
		if subnet != "" {
			return runtime.Network{}, mapError("making network "+name+" with subnet "+subnet, err)
		}
	}
	return runtime.Network{}, fmt.Errorf("making network %s: no free subnet in %s", name, d.pool)
}

func (d *Driver) createNetwork(ctx context.Context, name, subnet string, labels map[string]string) error {
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		return fmt.Errorf("subnet %q: %w", subnet, err)
	}
	sum := sha256.Sum256([]byte(name))
	_, err = d.c.NetworkCreate(ctx, name, dnetwork.CreateOptions{
		Driver: "bridge", Labels: d.labels(labels),
		IPAM:    &dnetwork.IPAM{Driver: "default", Config: []dnetwork.IPAMConfig{{Subnet: subnet, Gateway: p.Masked().Addr().Next().String()}}},
		Options: map[string]string{"com.docker.network.bridge.name": "hk-" + hex.EncodeToString(sum[:5])},
	})
	return err
}

// findNetwork looks by exact name: Docker's own look-up takes prefixes and ids too.
func (d *Driver) findNetwork(ctx context.Context, name string) (runtime.Network, bool, error) {
	all, err := d.c.NetworkList(ctx, dnetwork.ListOptions{})
	if err != nil {
		return runtime.Network{}, false, mapError("listing networks", err)
	}
	for _, n := range all {
		if n.Name != name {
			continue
		}
		if !d.mine(n.Labels) {
			return runtime.Network{}, false, fmt.Errorf("network %s: %w", name, runtime.ErrForeign)
		}
		return networkOf(n), true, nil
	}
	return runtime.Network{}, false, nil
}

func networkOf(n dnetwork.Summary) runtime.Network {
	r := runtime.Network{Name: n.Name, Labels: n.Labels, Bridge: n.Options["com.docker.network.bridge.name"]}
	if len(n.IPAM.Config) > 0 {
		r.Subnet, r.Gateway = n.IPAM.Config[0].Subnet, n.IPAM.Config[0].Gateway
	}
	return r
}

// RemoveNetwork implements runtime.Networks.
func (d *Driver) RemoveNetwork(ctx context.Context, name string) error {
	_, found, err := d.findNetwork(ctx, name)
	if err != nil || !found {
		return err
	}
	err = d.c.NetworkRemove(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return mapError("removing network "+name, err)
}

// ListNetworks implements runtime.Networks.
func (d *Driver) ListNetworks(ctx context.Context, labels map[string]string) ([]runtime.Network, error) {
	all, err := d.c.NetworkList(ctx, dnetwork.ListOptions{Filters: d.filter(labels)})
	if err != nil {
		return nil, mapError("listing networks", err)
	}
	var own []runtime.Network
	for _, n := range all {
		own = append(own, networkOf(n))
	}
	return own, nil
}

// freeSubnet gives the first /24 of the pool that no network of the engine, no interface of the host and none of taken overlaps.
func (d *Driver) freeSubnet(ctx context.Context, taken []netip.Prefix) (netip.Prefix, error) {
	pool, err := netip.ParsePrefix(d.pool)
	if err != nil || !pool.Addr().Is4() || pool.Bits() > 24 {
		return netip.Prefix{}, fmt.Errorf("the range of addresses %q must be IPv4 and /24 or larger", d.pool)
	}
	all, err := d.c.NetworkList(ctx, dnetwork.ListOptions{})
	if err != nil {
		return netip.Prefix{}, mapError("listing networks", err)
	}
	for _, n := range all {
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				taken = append(taken, p)
			}
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	return firstFree(pool.Masked(), taken)
}

func firstFree(pool netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
next:
	for a := pool.Addr(); pool.Contains(a); {
		p := netip.PrefixFrom(a, 24)
		b := a.As4()
		b[2]++
		if b[2] == 0 {
			b[1]++
		}
		a = netip.AddrFrom4(b)
		for _, t := range taken {
			if t.Overlaps(p) {
				continue next
			}
		}
		return p, nil
	}
	return netip.Prefix{}, fmt.Errorf("no free /24 in %s: give another range", pool)
}

// reconnectPause is how long Events waits between attempts to reach an engine that is away.
const reconnectPause = 250 * time.Millisecond

var errEventsEnded = errors.New("docker: the engine's events ended")

func eventKind(action string) (runtime.EventKind, bool) {
	switch strings.TrimSpace(action) {
	case "start", "unpause":
		return runtime.EventStarted, true
	case "die":
		return runtime.EventDied, true
	case "oom":
		return runtime.EventOOM, true
	case "destroy":
		return runtime.EventRemoved, true
	}
	return "", false
}
