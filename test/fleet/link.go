package fleet

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	switchName = "switch"
	hostLink   = "eth0"
	// routeMetric keeps the routes that fleet makes out of the way of those that sysmgr makes: its own come before them.
	routeMetric = 4096
)

// wire makes the switch, and the controller's interface plugged into it.
func (f *Fleet) wire() error {
	plain := false
	err := enter(f.hub, ofNetwork, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = switchName
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &plain}); err != nil {
			return fmt.Errorf("making the switch: %w", err)
		}
		return up(switchName)
	})
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = f.linkName(), mac(f.plan.controller())
	err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: controllerPort, PeerNamespace: netlink.NsPid(f.hub)})
	if err != nil {
		return fmt.Errorf("making the controller's interface: %w", err)
	}
	if err := enter(f.hub, ofNetwork, func() error { return plug(controllerPort) }); err != nil {
		return err
	}
	if err := address(f.linkName(), f.plan.controller()); err != nil {
		return err
	}
	for n, h := range f.Hosts {
		if err := route(h.Subnet(), f.plan.host(n)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) linkName() string { return linkPrefix + f.Name }

// plugIn gives a host that has just been started its interface, addresses and routes. The machine's root namespace has none of it.
func (h *Host) plugIn(pid int) error {
	f := h.fleet
	err := enter(f.hub, ofNetwork, func() error {
		if err := pullOut(h.Name); err != nil { // the kernel may be slow to take away what a lost host had
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = h.Name
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: hostLink, PeerHardwareAddr: mac(h.address()), PeerNamespace: netlink.NsPid(pid),
		})
		if err != nil {
			return fmt.Errorf("making the interface of %s: %w", h.Name, err)
		}
		return plug(h.Name)
	})
	if err != nil {
		return err
	}
	return enter(pid, ofNetwork, func() error {
		if err := up("lo"); err != nil {
			return err
		}
		if err := address(hostLink, h.address()); err != nil {
			return err
		}
		if err := route("0.0.0.0/0", f.plan.controller()); err != nil || f.state.NoRoute {
			return err
		}
		for _, other := range f.Hosts {
			if other == h {
				continue
			}
			if err := route(other.Subnet(), other.address()); err != nil {
				return err
			}
		}
		return nil
	})
}

// plug puts an interface into the switch.
func plug(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", name, err)
	}
	hub, err := netlink.LinkByName(switchName)
	if err != nil {
		return fmt.Errorf("finding the switch: %w", err)
	}
	if err := netlink.LinkSetMaster(link, hub); err != nil {
		return fmt.Errorf("plugging %s in: %w", name, err)
	}
	return up(name)
}

// pullOut takes an interface away, with its other end, if it is there.
func pullOut(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing interface %s: %w", name, err)
	}
	return nil
}

// silence has an interface carry nothing any more, if it is there.
func silence(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = netlink.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("taking interface %s down: %w", name, err)
	}
	return nil
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bringing interface %s up: %w", name, err)
	}
	return nil
}

func address(name string, a netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.AddrReplace(link, onSwitch(a))
	}
	if err != nil {
		return fmt.Errorf("giving interface %s the address %s: %w", name, a, err)
	}
	return up(name)
}

func routeTo(subnet string, via netip.Addr) (*netlink.Route, error) {
	to, err := netip.ParsePrefix(subnet)
	if err != nil || !to.Addr().Is4() {
		return nil, fmt.Errorf("%w: subnet %q", ErrInvalid, subnet)
	}
	return &netlink.Route{
		Dst: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: via.AsSlice(), Priority: routeMetric,
	}, nil
}

func route(subnet string, via netip.Addr) error {
	r, err := routeTo(subnet, via)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("adding a route to %s by %s: %w", subnet, via, err)
	}
	return nil
}

// SetSubnet has the machine, and the other hosts, reach containers in another subnet through the host, instead of those in the one before.
func (h *Host) SetSubnet(subnet string) error {
	want, err := routeTo(subnet, h.address())
	if err != nil {
		return err
	}
	f := h.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	was, err := routeTo(h.state().Subnet, h.address())
	if err != nil {
		return err
	}
	change := func() error {
		if err := netlink.RouteReplace(want); err != nil {
			return fmt.Errorf("adding a route to %s by %s: %w", subnet, h.Address, err)
		}
		if was.Dst.String() == want.Dst.String() {
			return nil
		}
		if err := netlink.RouteDel(was); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s by %s: %w", was.Dst, h.Address, err)
		}
		return nil
	}
	if err := change(); err != nil {
		return err
	}
	for _, other := range f.Hosts {
		if other == h || f.state.NoRoute {
			continue
		}
		if err := enter(other.Pid(), ofNetwork, change); err != nil && !errors.Is(err, ErrDown) {
			return fmt.Errorf("on %s: %w", other.Name, err)
		}
	}
	h.state().Subnet = subnet
	return f.save()
}

// Slow limits what goes to the host and what comes from it to so many bits per second each, at least 64,000; 0 lifts the limit. It holds until Heal,
// also after the host was lost and came back.
func (h *Host) Slow(bitsPerSecond int) error {
	if bitsPerSecond != 0 && bitsPerSecond < 64_000 {
		return fmt.Errorf("%w: %d bits per second", ErrInvalid, bitsPerSecond)
	}
	f := h.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := h.limit(h.Pid(), bitsPerSecond); err != nil && !errors.Is(err, ErrDown) {
		return err
	}
	h.state().Slow = bitsPerSecond
	return f.save()
}

func (h *Host) limit(pid, bitsPerSecond int) error {
	if err := enter(pid, ofNetwork, func() error { return limit(hostLink, bitsPerSecond) }); err != nil {
		return err
	}
	return enter(h.fleet.hub, ofNetwork, func() error { return limit(h.Name, bitsPerSecond) })
}

func limit(name string, bitsPerSecond int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", name, err)
	}
	attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}
	if bitsPerSecond == 0 {
		err := netlink.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // there is none
			return fmt.Errorf("lifting the limit of %s: %w", name, err)
		}
		return nil
	}
	rate := uint64(bitsPerSecond / 8)
	// A bucket of 10 ms, which takes at least one large packet, and a queue of a quarter of a second behind it, as in a router.
	burst := max(16<<10, rate/100)
	err = netlink.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs, Rate: rate, Buffer: netlink.Xmittime(rate, uint32(min(burst, math.MaxUint32))), Limit: uint32(min(burst+rate/4, math.MaxUint32)),
	})
	if err != nil {
		return fmt.Errorf("limiting %s: %w", name, err)
	}
	return nil
}

// RouteBy has the machine reach a network through the host, besides the host's subnet, as a router would be told to. It holds as long as the fleet does.
func (h *Host) RouteBy(subnet string) error { return route(subnet, h.address()) }
