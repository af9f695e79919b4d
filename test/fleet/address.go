package fleet

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// A fleet has a /16, which is divided so:
//
//	x.y.0.0/17          Range: a /24 for the databases of each host, from the first on, as nodekeeper gives them out
//	x.y.128.0/24 …      each host's docker0
//	x.y.255.0/24        the switch: .1 is the controller, .11 and on are the hosts
const (
	rangeBits   = 17
	firstDocker = 128
	switchNet   = 255
	firstHost   = 11
	maxHosts    = 64
)

// linkPrefix is what the controller's interface is named by, with the fleet's name.
const linkPrefix = "hkf-"

// pool is where fleets' addresses come from, unless told otherwise: 10.120.0.0/16 to 10.199.0.0/16.
const (
	poolFirst = 120
	poolLast  = 199
)

// plan knows the addresses of a fleet.
type plan struct{ base netip.Prefix }

func newPlan(subnet string) (plan, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil || !p.Addr().Is4() || p.Bits() != 16 {
		return plan{}, fmt.Errorf("%w: %q is not a /16 of IPv4", ErrInvalid, subnet)
	}
	return plan{base: p.Masked()}, nil
}

func (p plan) at(third, fourth byte) netip.Addr {
	a := p.base.Addr().As4()
	a[2], a[3] = third, fourth
	return netip.AddrFrom4(a)
}

func (p plan) subnet() string         { return p.base.String() }
func (p plan) databases() string      { return netip.PrefixFrom(p.base.Addr(), rangeBits).String() }
func (p plan) controller() netip.Addr { return p.at(switchNet, 1) }

// Hosts are numbered from 0.
func (p plan) host(n int) netip.Addr   { return p.at(switchNet, byte(firstHost+n)) }
func (p plan) hostSubnet(n int) string { return netip.PrefixFrom(p.at(byte(n), 0), 24).String() }
func (p plan) dockerBridge(n int) string {
	return netip.PrefixFrom(p.at(byte(firstDocker+n), 1), 24).String()
}

// onSwitch is an address with the size of the switch's network.
func onSwitch(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}}
}

// mac is the hardware address of an interface, the same after each start, so that neighbours' memories of it hold.
func mac(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x68, b[0], b[1], b[2], b[3]}
}

// freePlan gives the first /16 that no fleet, and no address or route of the machine, has anything in. The registry must be held.
func freePlan() (plan, error) {
	taken, err := used()
	if err != nil {
		return plan{}, err
	}
next:
	for n := poolFirst; n <= poolLast; n++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)
		for _, t := range taken {
			if t.Overlaps(p) {
				continue next
			}
		}
		return plan{base: p}, nil
	}
	return plan{}, fmt.Errorf("%w: no /16 is free between 10.%d and 10.%d", ErrInvalid, poolFirst, poolLast)
}

func used() ([]netip.Prefix, error) {
	fleets, err := known()
	if err != nil {
		return nil, err
	}
	var taken []netip.Prefix
	for _, f := range fleets {
		if p, err := netip.ParsePrefix(f.Subnet); err == nil {
			taken = append(taken, p)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the machine's routes: %w", err)
	}
	for _, r := range routes {
		if p, ok := prefix(r.Dst); ok && p.Bits() > 0 {
			taken = append(taken, p)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the machine's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			taken = append(taken, p.Masked())
		}
	}
	return taken, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a, bits), ok
}
