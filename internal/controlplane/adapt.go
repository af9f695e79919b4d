package controlplane

import (
	"net"

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

// pool gives out addresses of hosts' subnets.
type pool struct{}

func (pool) Next(subnet string, used []string) (string, error) { return network.Next(subnet, used) }

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
