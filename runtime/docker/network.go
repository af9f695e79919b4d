package docker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	dnetwork "github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"

	"github.com/huker/huker/runtime"
)

const (
	bridgeNameOption  = "com.docker.network.bridge.name"
	gatewayModeOption = "com.docker.network.bridge.gateway_mode_ipv4"
	// directAccessAPI is Docker 28's. From then on Docker drops what comes to a container from outside its bridge before any chain
	// that others may write to sees it, unless the network says that it is protected by somebody else: it is, by Huker's chain.
	directAccessAPI = "1.48"
	// subnetBits is the size of a network whose subnet is chosen here: room for 244 databases.
	subnetBits = 24
)

// networkTries bounds how often a subnet that was taken meanwhile is replaced by the next one.
const networkTries = 16

// EnsureNetwork implements runtime.Networks.
func (d *Driver) EnsureNetwork(ctx context.Context, name, subnet string, labels map[string]string) (runtime.Network, error) {
	if n, found, err := d.findNetwork(ctx, name); err != nil || found {
		return n, err
	}
	var taken []netip.Prefix
	for range networkTries {
		want, err := d.subnet(ctx, subnet, taken)
		if err != nil {
			return runtime.Network{}, err
		}
		err = mapError("making network "+name+" with subnet "+want.String(), d.createNetwork(ctx, name, want, labels))
		if ctx.Err() != nil {
			return runtime.Network{}, err
		}
		// Whatever the engine said: somebody else may have made it at the same moment.
		if n, found, ferr := d.findNetwork(ctx, name); ferr != nil || found {
			return n, ferr
		}
		if err == nil {
			return runtime.Network{}, fmt.Errorf("network %s: %w: it vanished at once", name, runtime.ErrNotFound)
		}
		if subnet != "" || !errors.Is(err, errOverlap) {
			return runtime.Network{}, err
		}
		taken = append(taken, want)
	}
	return runtime.Network{}, fmt.Errorf("making network %s: no free subnet in %s", name, d.pool)
}

// subnet is the one asked for, or else a free one that is not among taken.
func (d *Driver) subnet(ctx context.Context, asked string, taken []netip.Prefix) (netip.Prefix, error) {
	if asked == "" {
		return d.freeSubnet(ctx, taken)
	}
	p, err := netip.ParsePrefix(asked)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%w: subnet %q is not IPv4", runtime.ErrInvalid, asked)
	}
	return p.Masked(), nil
}

// BridgeName is the host's interface of a network: short enough for the kernel, and the same wherever it is asked for.
func BridgeName(network string) string {
	sum := sha256.Sum256([]byte(network))
	return "hk-" + hex.EncodeToString(sum[:5])
}

func (d *Driver) createNetwork(ctx context.Context, name string, subnet netip.Prefix, labels map[string]string) error {
	options := map[string]string{bridgeNameOption: BridgeName(name)}
	if versions.GreaterThanOrEqualTo(d.c.ClientVersion(), directAccessAPI) {
		options[gatewayModeOption] = "nat-unprotected"
	}
	_, err := d.c.NetworkCreate(ctx, name, dnetwork.CreateOptions{
		Driver: "bridge", Labels: d.labels(labels), Options: options,
		IPAM: &dnetwork.IPAM{Driver: "default", Config: []dnetwork.IPAMConfig{
			{Subnet: subnet.String(), Gateway: subnet.Addr().Next().String()},
		}},
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
	r := runtime.Network{Name: n.Name, Labels: n.Labels, Bridge: n.Options[bridgeNameOption]}
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
	err = d.c.NetworkRemove(ctx, name) // exact names come before beginnings of ids
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

// freeSubnet gives the first /24 of the range that no network of the engine, no interface or route of the host and none of taken overlaps.
func (d *Driver) freeSubnet(ctx context.Context, taken []netip.Prefix) (netip.Prefix, error) {
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
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("listing the host's routes: %w", err)
	}
	return firstFree(d.pool, append(taken, parseRoutes(string(table))...))
}

// parseRoutes reads /proc/net/route: hexadecimal addresses in the machine's order of bytes. The default route is left out.
func parseRoutes(table string) []netip.Prefix {
	var routes []netip.Prefix
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		to, err := strconv.ParseUint(f[1], 16, 32)
		mask, merr := strconv.ParseUint(f[7], 16, 32)
		if err != nil || merr != nil || mask == 0 { // the heading, too
			continue
		}
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], uint32(to))
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4(a), bits.OnesCount32(uint32(mask))))
	}
	return routes
}

func firstFree(pool netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
next:
	for a := pool.Addr(); pool.Contains(a); {
		p := netip.PrefixFrom(a, subnetBits)
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
	return netip.Prefix{}, fmt.Errorf("no free /%d in %s: give another range", subnetBits, pool)
}
