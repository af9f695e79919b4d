package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/network"
)

// certificates is pki as nodekeeper needs it.
type certificates struct{ ca *pki.CA }

func (c certificates) Principal(name string) (ca, cert, key []byte, err error) {
	p, err := c.ca.IssueClient(name)
	return c.ca.CertPEM(), p.Cert, p.Key, err
}

func (c certificates) Database(instance string, addresses []string) (ca, caKey, cert, key []byte, err error) {
	t, err := pki.NewInstance(instance, addresses...)
	return t.CA, t.CAKey, t.Cert, t.Key, err
}

func (c certificates) Member(ca, caKey []byte, instance string, addresses []string) (cert, key []byte, err error) {
	t, err := pki.RenewInstance(pki.InstanceTLS{CA: ca, CAKey: caKey}, instance, addresses...)
	return t.Cert, t.Key, err
}

// pool gives out addresses of hosts' subnets.
type pool struct{}

func (pool) Next(subnet string, used []string) (string, error) { return network.Next(subnet, used) }

func (pool) Endpoint(within string, used []string) (string, error) {
	p, err := netip.ParsePrefix(within)
	if err != nil {
		return "", fmt.Errorf("range %q: %w", within, err)
	}
	b := p.Masked().Addr().As4()
	bits := 24
	if p.Bits() >= 24 {
		b[3], bits = b[3]|192, 26
	} else {
		b[2] |= byte(0xff >> max(p.Bits()-16, 0))
	}
	return network.Next(netip.PrefixFrom(netip.AddrFrom4(b), bits).String(), used)
}

func (pool) Ports(used []int) (readWrite, readOnly int, err error) {
	for port := 20000; port < 30000; port += 2 {
		if !slices.Contains(used, port) {
			return port, port + 1, nil
		}
	}
	return 0, 0, errors.New("all ports of endpoints are in use")
}

// dialable is a listen address as a client on this host would dial it.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
