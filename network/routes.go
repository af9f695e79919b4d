package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// routeProtocol marks Huker's routes in the kernel's table: numbers from 5 up are free to use, and this one is nobody's in iproute2's list.
const routeProtocol netlink.RouteProtocol = 104

// Route is where the databases of another host are.
type Route struct {
	Subnet string // of the databases there
	Via    string // the host's address
}

// SetRoutes has the kernel know the way to the other hosts' databases. Routes of Huker's own making inside within that are not asked for go away; routes of
// anybody else stay, and one of them that is in the way is an error. A route through an address that is not on a network of
// this host is an error too: then the routers between the hosts must know the subnets.
func SetRoutes(within string, routes []Route) error {
	deployment, err := netip.ParsePrefix(within)
	if err != nil {
		return fmt.Errorf("%w: range %q", ErrInvalid, within)
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("network: listing routes: %w", err)
	}
	want := map[netip.Prefix]netip.Addr{}
	var errs []error
	for _, r := range routes {
		subnet, serr := netip.ParsePrefix(r.Subnet)
		via, verr := netip.ParseAddr(r.Via)
		if serr != nil || verr != nil || !deployment.Overlaps(subnet) || subnet.Bits() < deployment.Bits() {
			errs = append(errs, fmt.Errorf("%w: route to %q by %q inside %s", ErrInvalid, r.Subnet, r.Via, within))
			continue
		}
		want[subnet.Masked()] = via
	}
	for i := range have {
		subnet, ok := destination(&have[i])
		if !ok || !deployment.Overlaps(subnet) {
			continue
		}
		if via, asked := want[subnet]; asked && have[i].Gw.Equal(via.AsSlice()) {
			delete(want, subnet)
			continue
		}
		if err := netlink.RouteDel(&have[i]); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("network: removing the route to %s: %w", subnet, err))
		}
	}
	for subnet, via := range want {
		err := netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}, Gw: via.AsSlice(), Protocol: routeProtocol,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("network: adding the route to %s by %s: %w", subnet, via, err))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func netip4(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%w: %q is no IPv4 network", ErrInvalid, text)
	}
	return p.Masked(), nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func destination(r *netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(r.Dst.IP.To4())
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a, bits), ok
}
