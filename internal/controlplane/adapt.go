package controlplane

import (
	"fmt"
	"net"
	"net/netip"

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

// Next leaves out what endpoints have, where a subnet is the whole deployment's: on a single machine.
func (pool) Next(subnet string, used []string) (string, error) {
	a, err := network.Next(subnet, used)
	if err != nil {
		return "", err
	}
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", a, err)
	}
	if within, err := network.EndpointSubnet(subnet); err == nil {
		if p, err := netip.ParsePrefix(within); err == nil && p.Contains(ip) {
			return "", fmt.Errorf("%w in %s", network.ErrExhausted, subnet)
		}
	}
	return a, nil
}

func (pool) Endpoint(within string, used []string) (string, error) {
	subnet, err := network.EndpointSubnet(within)
	if err != nil {
		return "", err
	}
	return network.NextEndpoint(subnet, used)
}

func (pool) Ports(used []int) (readWrite, readOnly int, err error) {
	return network.EndpointPorts(used)
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
