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
	// Members say who may be led to each target on another host. That host sees this one instead of the client, and lets it in.
	Members []Access
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

// destinations are all that clients are led to, now or at another time.
func (e Endpoint) destinations() []string {
	all := slices.Concat(e.writers(), e.readers())
	for _, m := range e.Members {
		all = append(all, m.Address)
	}
	slices.Sort(all)
	return slices.Compact(all)
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

// member is who may be led to a target; nobody may when nothing is said of it.
func (e Endpoint) member(target string) ([]string, error) {
	for _, m := range e.Members {
		if m.Address == target {
			return m.sources()
		}
	}
	return nil, nil
}

// Chains of endpoints. In table nat: one that finds the front, one of each front with its targets, one for what has to come back through this host. In table
// filter: one that refuses what has no target, one that keeps others from this host's own loopback addresses, one that lets through to other hosts' databases and
// back, and one that judges who may go there.
const (
	natTable    = "nat"
	filterTable = "filter"
)

type chainNames struct{ fronts, back, refuse, guard, pass, judge, prefix string }

func chainsOf(deployment string) chainNames {
	sum := sha256.Sum256([]byte(deployment))
	d := strings.ToUpper(hex.EncodeToString(sum[:4]))
	return chainNames{
		fronts: chainPrefix + "E-" + d, back: chainPrefix + "B-" + d, refuse: chainPrefix + "R-" + d, guard: chainPrefix + "G-" + d,
		pass: chainPrefix + "P-" + d, judge: chainPrefix + "J-" + d, prefix: chainPrefix + "T-" + d + "-",
	}
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
	bridge    string // that its databases are on
}

// alone says whether there are no other hosts.
func (s site) alone() bool { return s.subnet == s.databases }

// Gateway is this host's own address among the databases of a subnet.
func Gateway(subnet string) (string, error) {
	p, err := netip4(subnet)
	if err != nil {
		return "", err
	}
	return p.Addr().Next().String(), nil
}

// ruleset is the rules of each chain of a table.
type ruleset map[string][]string

func (t ruleset) rule(chain, format string, args ...any) {
	t[chain] = append(t[chain], fmt.Sprintf("-A %s %s", chain, fmt.Sprintf(format, args...)))
}

// led is true of connections that were led somewhere: to a database, unless somebody else does such things, too.
const led = "-m conntrack --ctstate DNAT"

// renderEndpoints gives the rules of each chain, by table and chain.
func renderEndpoints(c chainNames, s site, all []Endpoint) (map[string]map[string][]string, error) {
	nat, filter := ruleset{}, ruleset{}
	nat[c.fronts], nat[c.back], filter[c.refuse], filter[c.guard], filter[c.pass], filter[c.judge] = nil, nil, nil, nil, nil, nil
	for _, e := range all {
		if err := e.check(); err != nil {
			return nil, err
		}
		e.lead(c, nat, filter)
	}
	// What has been led somewhere goes there; what has not has nowhere to go.
	if s.within != "" {
		filter.rule(c.refuse, "-d %s -p tcp -m tcp --dport %d -m conntrack ! --ctstate DNAT -j REJECT --reject-with tcp-reset", s.within, Port)
	}
	// A server would answer a neighbour, or an address that means itself, directly.
	nat.rule(c.back, "-s 127.0.0.0/8 -d %s -p tcp -m tcp --dport %d %s -j MASQUERADE", s.subnet, Port, led)
	nat.rule(c.back, "-s %s -d %s -p tcp -m tcp --dport %d %s -j MASQUERADE", s.subnet, s.subnet, Port, led)
	// For the above the kernel has to take packets for loopback addresses from elsewhere; nobody else may send any.
	filter.rule(c.guard, "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
	if !s.alone() {
		if err := s.toOthers(c, all, nat, filter); err != nil {
			return nil, err
		}
	}
	return map[string]map[string][]string{natTable: nat, filterTable: filter}, nil
}

// lead has the fronts of an endpoint lead to their targets.
func (e Endpoint) lead(c chainNames, nat, filter ruleset) {
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
		nat.rule(c.fronts, "-d %s/32 -p tcp -m tcp --dport %d -j %s", f.Address, Port, chain)
		if f.Port > 0 {
			nat.rule(c.fronts, "-p tcp -m tcp --dport %d -m addrtype --dst-type LOCAL -j %s", f.Port, chain)
			// What was led somewhere is for nobody here any more. So the rule is there whether there are targets or not, and a failover changes one table only.
			filter.rule(c.refuse, "-p tcp -m tcp --dport %d -m addrtype --dst-type LOCAL -j REJECT --reject-with tcp-reset", f.Port)
		}
		for i, target := range f.targets {
			spread := ""
			if left := len(f.targets) - i; left > 1 { // each gets as many: one in three, then one in two, then the rest
				spread = fmt.Sprintf("-m statistic --mode nth --every %d --packet 0 ", left)
			}
			nat.rule(chain, "-p tcp %s-j DNAT --to-destination %s:%d", spread, target, Port)
		}
	}
}

// toOthers has connections to databases on other hosts come back through this one, which knows where they were meant to go: a server there would answer the client
// directly, which does not know it. So the server, and its host's firewall, see this host's address among the databases, which nobody else's connections come from.
// That host lets them in, and it is for this one to judge by the client's address. Its own processes may, as they may to its own databases.
func (s site) toOthers(c chainNames, all []Endpoint, nat, filter ruleset) error {
	gateway, err := Gateway(s.subnet)
	if err != nil {
		return err
	}
	away := fmt.Sprintf("-d %s ! -o %s -p tcp -m tcp --dport %d", s.databases, s.bridge, Port)
	nat.rule(c.back, "%s %s -j SNAT --to-source %s", away, led, gateway)
	// Databases are known by their own addresses, to each other's hosts too.
	nat.rule(c.back, "-s %s %s -j ACCEPT", s.subnet, away)
	filter.rule(c.refuse, "-s %s/32 %s -m conntrack ! --ctstate DNAT -j REJECT --reject-with tcp-reset", gateway, away)
	filter.rule(c.pass, "-s %s ! -i %s -p tcp -m tcp --sport %d %s --ctdir REPLY -j ACCEPT", s.databases, s.bridge, Port, led)
	filter.rule(c.pass, "%s ! -i %s %s -j %s", away, s.bridge, led, c.judge)
	filter.rule(c.judge, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	own, err := netip4(s.subnet)
	if err != nil {
		return err
	}
	for _, e := range all {
		for _, target := range e.destinations() {
			if ip, err := netip.ParseAddr(target); err == nil && own.Contains(ip) {
				continue
			}
			sources, err := e.member(target)
			if err != nil {
				return err
			}
			for _, from := range sources {
				filter.rule(c.judge, "-s %s -d %s/32 -j ACCEPT", from, target)
			}
			filter.rule(c.judge, "-d %s/32 -j DROP", target)
		}
	}
	return nil
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
