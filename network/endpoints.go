package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Front is an address that clients of a cluster connect to at Port, and a port of every host that leads to the same place.
type Front struct {
	Address string // IPv4, on no interface
	Port    int    // 1 to 65535; 0: none
}

// Endpoint is where the clients of a cluster are led. A front without a target refuses connections at once.
type Endpoint struct {
	ID        string
	ReadWrite Front
	ReadOnly  Front
	Primary   string   // IPv4; empty: nobody takes writes
	Readers   []string // IPv4; where there is none, readers are led to the primary
}

// writers and readers are the targets of the two fronts.
func (e Endpoint) writers() []string {
	if e.Primary == "" {
		return nil
	}
	return []string{e.Primary}
}

func (e Endpoint) readers() []string {
	if len(e.Readers) == 0 {
		return e.writers()
	}
	return e.Readers
}

func (e Endpoint) check() error {
	addresses := append([]string{e.ReadWrite.Address}, e.readers()...)
	for _, f := range []Front{e.ReadWrite, e.ReadOnly} {
		if f.Address != "" {
			addresses = append(addresses, f.Address)
		}
		if f.Port < 0 || f.Port > 65535 {
			return fmt.Errorf("%w: endpoint %s has port %d", ErrInvalid, e.ID, f.Port)
		}
	}
	for _, a := range append(addresses, e.writers()...) {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.Is4() {
			return fmt.Errorf("%w: endpoint %s has the address %q, which is not IPv4", ErrInvalid, e.ID, a)
		}
	}
	return nil
}

// Chains of endpoints. In table nat: one that finds the front, one of each front with its targets, one for what has to come back through this host. In table
// filter: one that refuses what has no target, and one that keeps others from this host's own loopback addresses.
const (
	natTable    = "nat"
	filterTable = "filter"
)

type chainNames struct{ fronts, back, refuse, guard, prefix string }

func chainsOf(deployment string) chainNames {
	sum := sha256.Sum256([]byte(deployment))
	d := strings.ToUpper(hex.EncodeToString(sum[:4]))
	return chainNames{chainPrefix + "E-" + d, chainPrefix + "B-" + d, chainPrefix + "R-" + d, chainPrefix + "G-" + d, chainPrefix + "T-" + d + "-"}
}

// front is the chain of one front: "HUKER-T-" with 8 digits of the deployment and 9 of the endpoint make 26 characters of the 28 that iptables allows.
func (c chainNames) front(id, kind string) string {
	sum := sha256.Sum256([]byte(id))
	return c.prefix + strings.ToUpper(hex.EncodeToString(sum[:4])) + kind
}

// site is what endpoints' rules have to know of the host.
type site struct {
	subnet    string // of its databases
	within    string // of all endpoints' addresses
	databases string // all hosts' databases
}

// renderEndpoints gives the rules of each chain, by table and chain.
func renderEndpoints(c chainNames, s site, all []Endpoint) (map[string]map[string][]string, error) {
	nat, filter := map[string][]string{}, map[string][]string{}
	rule := func(table map[string][]string, chain, format string, args ...any) {
		table[chain] = append(table[chain], fmt.Sprintf("-A %s %s", chain, fmt.Sprintf(format, args...)))
	}
	nat[c.fronts], nat[c.back], filter[c.refuse], filter[c.guard] = nil, nil, nil, nil
	for _, e := range all {
		if err := e.check(); err != nil {
			return nil, err
		}
		for _, f := range []struct {
			Front
			kind    string
			targets []string
		}{{e.ReadWrite, "W", e.writers()}, {e.ReadOnly, "R", e.readers()}} {
			if f.Address == "" {
				continue
			}
			chain := c.front(e.ID, f.kind)
			nat[chain] = nil
			rule(nat, c.fronts, "-d %s/32 -p tcp -m tcp --dport %d -j %s", f.Address, Port, chain)
			if f.Port > 0 {
				rule(nat, c.fronts, "-p tcp -m tcp --dport %d -m addrtype --dst-type LOCAL -j %s", f.Port, chain)
			}
			if f.Port > 0 && len(f.targets) == 0 {
				rule(filter, c.refuse, "-p tcp -m tcp --dport %d -m addrtype --dst-type LOCAL -j REJECT --reject-with tcp-reset", f.Port)
			}
			for i, target := range f.targets {
				spread := ""
				if left := len(f.targets) - i; left > 1 { // each gets as many: one in three, then one in two, then the rest
					spread = fmt.Sprintf("-m statistic --mode nth --every %d --packet 0 ", left)
				}
				rule(nat, chain, "-p tcp %s-j DNAT --to-destination %s:%d", spread, target, Port)
			}
		}
	}
	// What has been led somewhere goes there; what has not has nowhere to go.
	if s.within != "" {
		rule(filter, c.refuse, "-d %s -p tcp -m tcp --dport %d -m conntrack ! --ctstate DNAT -j REJECT --reject-with tcp-reset", s.within, Port)
	}
	// A server would answer a neighbour, or an address that means itself, directly.
	rule(nat, c.back, "-s 127.0.0.0/8 -d %s -p tcp -m tcp --dport %d -m conntrack --ctstate DNAT -j MASQUERADE", s.databases, Port)
	rule(nat, c.back, "-s %s -d %s -p tcp -m tcp --dport %d -m conntrack --ctstate DNAT -j MASQUERADE", s.subnet, s.subnet, Port)
	// For the above the kernel has to take packets for loopback addresses from elsewhere; nobody else may send any.
	rule(filter, c.guard, "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
	return map[string]map[string][]string{natTable: nat, filterTable: filter}, nil
}

// EndpointSubnet is the part of a deployment's range that endpoints' addresses are taken from: the last /24, which is no host's; of a range of one /24, as
// on a single machine, its last quarter.
func EndpointSubnet(within string) (string, error) {
	p, err := netip.ParsePrefix(within)
	if err != nil || !p.Addr().Is4() || p.Bits() > 24 {
		return "", fmt.Errorf("%w: range %q", ErrInvalid, within)
	}
	b := p.Masked().Addr().As4()
	if p.Bits() == 24 {
		b[3] |= 192
		return netip.PrefixFrom(netip.AddrFrom4(b), 26).String(), nil
	}
	for bit := p.Bits(); bit < 24; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.PrefixFrom(netip.AddrFrom4(b), 24).String(), nil
}

// NextEndpoint gives the first address of an endpoint subnet that is not in used.
func NextEndpoint(subnet string, used []string) (string, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil || !p.Addr().Is4() {
		return "", fmt.Errorf("%w: subnet %q is not IPv4", ErrInvalid, subnet)
	}
	for a := p.Masked().Addr().Next(); p.Contains(a.Next()); a = a.Next() {
		if !slices.Contains(used, a.String()) {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("%w in %s", ErrExhausted, subnet)
}

// Ports that hosts offer for endpoints. They are below those that the kernel gives to clients.
const (
	firstEndpointPort = 20000
	lastEndpointPort  = 29999
)

// EndpointPorts gives two ports that are not in used, for a cluster's fronts.
func EndpointPorts(used []int) (readWrite, readOnly int, err error) {
	for p := firstEndpointPort; p < lastEndpointPort; p += 2 {
		if !slices.Contains(used, p) && !slices.Contains(used, p+1) {
			return p, p + 1, nil
		}
	}
	return 0, 0, fmt.Errorf("%w: all ports from %d to %d are in use", ErrExhausted, firstEndpointPort, lastEndpointPort)
}
