package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrExhausted means that every address of a pool is in use.
var ErrExhausted = errors.New("network: no free address")

// reserved are the first addresses of a subnet, kept for the host and for endpoints to come.
const reserved = 9

// Next gives the first address of an IPv4 subnet that is not in used: never the network's own, the first nine, or the broadcast address.
func Next(subnet string, used []string) (string, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil || !p.Addr().Is4() {
		return "", fmt.Errorf("%w: subnet %q is not IPv4", ErrInvalid, subnet)
	}
	p = p.Masked()
	taken := make(map[netip.Addr]bool, len(used))
	for _, u := range used {
		if a, err := netip.ParseAddr(u); err == nil {
			taken[a] = true
		}
	}
	a := p.Addr()
	for range reserved + 1 {
		a = a.Next()
	}
	for ; p.Contains(a.Next()); a = a.Next() { // the last one is the broadcast address
		if !taken[a] {
			return a.String(), nil
		}
	}
	return "", fmt.Errorf("%w in %s (%d in use)", ErrExhausted, subnet, len(used))
}
