package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Port is where every database listens.
const Port = 3306

// Access is who may reach one database, from anywhere but its own host, which always may.
type Access struct {
	Address      string   // IPv4, in the subnet
	Public       bool     // false: only private addresses may
	AllowedCIDRs []string // empty: everyone (that Public lets in)
	// Fenced: nobody may, and who is connected is cut off.
	Fenced bool
	// Peers are databases, IPv4, that always may: the other members of a cluster, which replicate.
	Peers []string
}

// Egress is what databases may begin a connection to, besides each other on the same host and the host itself.
type Egress struct {
	To   string // IPv4 address or CIDR
	Port int    // TCP
}

// Rules are all of a host's.
type Rules struct {
	Access []Access
	Egress []Egress
	// Leaders are the addresses, IPv4, from which other hosts lead clients of endpoints here, having judged them. See Balancer.
	Leaders []string
}

// ErrInvalid means that a rule cannot be made from what was given.
var ErrInvalid = errors.New("network: invalid access rule")

var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$`)

// private are the ranges that an instance which is not public answers to (RFC 1918).
func private() []string { return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} }

// chainPrefix is what the chains of all deployments begin with.
const chainPrefix = "HUKER-"

// ChainName is the chain of a deployment; iptables allows 28 characters.
func ChainName(deployment string) string {
	sum := sha256.Sum256([]byte(deployment))
	return chainPrefix + strings.ToUpper(hex.EncodeToString(sum[:5]))
}

// Render gives lines of table filter for iptables-restore --noflush: they make the chain, or replace all of its rules. bridge is the
// databases' interface; traffic to it or from it that no rule allows is dropped, traffic of anything else is not judged.
func Render(chain, bridge string, r Rules) (string, error) {
	if !interfaceName.MatchString(bridge) {
		return "", fmt.Errorf("%w: %q is no interface", ErrInvalid, bridge)
	}
	var b strings.Builder
	fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
	rule := func(format string, args ...any) { fmt.Fprintf(&b, "-A %s %s\n", chain, fmt.Sprintf(format, args...)) }
	for _, a := range r.Access {
		if a.Fenced {
			rule("-d %s/32 -o %s -p tcp -m tcp --dport %d -j DROP", a.Address, bridge, Port)
			rule("-s %s/32 -i %s -p tcp -m tcp --sport %d -j DROP", a.Address, bridge, Port)
		}
	}
	// Answers to what a database or a client began, in either direction.
	rule("-i %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", bridge)
	rule("-o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", bridge)
	for _, l := range r.Leaders {
		if ip, err := netip.ParseAddr(l); err != nil || !ip.Is4() {
			return "", fmt.Errorf("%w: host's address %q is not IPv4", ErrInvalid, l)
		}
		rule("-s %s/32 -o %s -p tcp -m tcp --dport %d -j ACCEPT", l, bridge, Port)
	}
	for _, a := range r.Access {
		for _, p := range a.Peers {
			if ip, err := netip.ParseAddr(p); err != nil || !ip.Is4() {
				return "", fmt.Errorf("%w: member's address %q is not IPv4", ErrInvalid, p)
			}
			rule("-s %s/32 -d %s/32 -o %s -p tcp -m tcp --dport %d -j ACCEPT", p, a.Address, bridge, Port)
		}
		sources, err := a.sources()
		if err != nil {
			return "", err
		}
		for _, s := range sources {
			rule("-s %s -d %s/32 -o %s -p tcp -m tcp --dport %d -j ACCEPT", s, a.Address, bridge, Port)
		}
	}
	rule("-o %s -j DROP", bridge)
	for _, e := range r.Egress {
		to, err := e.to()
		if err != nil {
			return "", err
		}
		// By where the connection was meant to go: it may be a published port of a container on this host.
		rule("-i %s -p tcp -m conntrack --ctorigdst %s --ctorigdstport %d -j ACCEPT", bridge, to, e.Port)
	}
	// What a database begins goes to other databases and to the host, which is not forwarded; nothing
	// else.
	rule("-i %s -j DROP", bridge)
	return b.String(), nil
}

// sources lists the ranges that may reach a.
func (a Access) sources() ([]string, error) {
	if ip, err := netip.ParseAddr(a.Address); err != nil || !ip.Is4() {
		return nil, fmt.Errorf("%w: address %q is not IPv4", ErrInvalid, a.Address)
	}
	allowed := a.AllowedCIDRs
	if len(allowed) == 0 {
		allowed = []string{"0.0.0.0/0"}
	}
	var out []string
	for _, c := range allowed {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is not a CIDR", ErrInvalid, c)
		}
		if !p.Addr().Is4() {
			continue // no IPv6 client can reach an IPv4 address
		}
		p = p.Masked()
		if a.Public {
			out = append(out, p.String())
			continue
		}
		for _, r := range private() {
			if both, ok := intersect(p, netip.MustParsePrefix(r)); ok {
				out = append(out, both.String())
			}
		}
	}
	return out, nil
}

func (e Egress) to() (netip.Prefix, error) {
	if e.Port < 1 || e.Port > 65535 {
		return netip.Prefix{}, fmt.Errorf("%w: port %d", ErrInvalid, e.Port)
	}
	if a, err := netip.ParseAddr(e.To); err == nil && a.Is4() {
		return netip.PrefixFrom(a, 32), nil
	}
	p, err := netip.ParsePrefix(e.To)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("%w: %q is neither an IPv4 address nor a CIDR", ErrInvalid, e.To)
	}
	return p.Masked(), nil
}

// intersect gives the smaller of two overlapping prefixes: one always contains the other.
func intersect(a, b netip.Prefix) (netip.Prefix, bool) {
	switch {
	case !a.Overlaps(b):
		return netip.Prefix{}, false
	case a.Bits() >= b.Bits():
		return a, true
	}
	return b, true
}
