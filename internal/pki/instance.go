package pki

import "fmt"

// InstanceTLS is what a database needs for TLS. CA goes to its clients, Cert and Key to mysqld; CAKey stays with the control
// plane, and is needed only to renew.
type InstanceTLS struct {
	CA    []byte
	CAKey []byte
	Cert  []byte
	Key   []byte
}

// NewInstance makes an authority of its own for one database, and its server certificate for hosts. An authority each means
// that a client which trusts one database trusts no other.
func NewInstance(name string, hosts ...string) (InstanceTLS, error) {
	ca, err := NewCA("huker database " + name)
	if err != nil {
		return InstanceTLS{}, err
	}
	return instance(ca, name, hosts)
}

// RenewInstance issues a new server certificate under the same authority: clients notice nothing.
func RenewInstance(old InstanceTLS, name string, hosts ...string) (InstanceTLS, error) {
	ca, err := ParseCA(old.CA, old.CAKey)
	if err != nil {
		return InstanceTLS{}, fmt.Errorf("renew certificate of %s: %w", name, err)
	}
	return instance(ca, name, hosts)
}

func instance(ca *CA, name string, hosts []string) (InstanceTLS, error) {
	pair, err := ca.IssueProcess(name, hosts...) // as a replica it comes to its source with it
	if err != nil {
		return InstanceTLS{}, err
	}
	return InstanceTLS{CA: ca.CertPEM(), CAKey: ca.KeyPEM(), Cert: pair.Cert, Key: pair.Key}, nil
}
