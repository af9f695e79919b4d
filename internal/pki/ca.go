package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"time"
)

// Lifetimes. A certificate lives as long as its authority: nothing renews them yet, and one that ran out would take every database of a deployment away at once,
// while a lost key is answered by taking the rights back that its owner has.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = caLife
	// backdate lets a certificate be valid on a machine whose clock is a little behind.
	backdate = time.Hour
)

// Pair is a certificate with its private key (PKCS #8), both PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// CA signs certificates. It is safe for concurrent use.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
	keyPEM  []byte
	now     func() time.Time
}

// NewCA makes an authority in memory.
func NewCA(name string) (*CA, error) { return newCA(name, time.Now) }

func newCA(name string, now func() time.Time) (*CA, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Huker"}},
		NotBefore:             t.Add(-backdate),
		NotAfter:              t.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %q: %w", name, err)
	}
	ca, err := ParseCA(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM)
	if err != nil {
		return nil, err
	}
	ca.now = now
	return ca, nil
}

// ParseCA takes an authority from PEM.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("authority: %w: not a certificate authority", ErrMalformed)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("authority: %w: the key does not belong to the certificate", ErrMalformed)
	}
	// Encoded anew, because the texts may hold more than the one block (both come from one file).
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return &CA{
		cert:    cert,
		key:     key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		now:     time.Now,
	}, nil
}

// CertPEM is what others need to verify this authority's certificates.
func (c *CA) CertPEM() []byte { return append([]byte(nil), c.certPEM...) }

// KeyPEM is the authority's private key: whoever has it can be anyone.
func (c *CA) KeyPEM() []byte { return append([]byte(nil), c.keyPEM...) }

// Issued reports whether this authority signed the certificate.
func (c *CA) Issued(certPEM []byte) bool {
	cert, err := parseCert(certPEM)
	return err == nil && cert.CheckSignatureFrom(c.cert) == nil
}

// IssueServer issues a server's certificate for hosts (IP addresses and DNS names); commonName is for people.
func (c *CA) IssueServer(commonName string, hosts ...string) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, fmt.Errorf("%w: a server certificate needs an address or a host name", ErrName)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if err := names(template, hosts); err != nil {
		return Pair{}, err
	}
	return c.issue(template)
}

// names puts addresses and names into a certificate.
func names(template *x509.Certificate, hosts []string) error {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		if !hostName.MatchString(h) || len(h) > 253 {
			return fmt.Errorf("%w: %q is neither an IP address nor a host name", ErrName, h)
		}
		template.DNSNames = append(template.DNSNames, h)
	}
	return nil
}

// IssueClient issues a client's certificate; principal becomes its CommonName, by which the engine knows its rights.
func (c *CA) IssueClient(principal string) (Pair, error) {
	if !principalName.MatchString(principal) {
		return Pair{}, fmt.Errorf("%w: principal %q", ErrName, principal)
	}
	return c.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: principal},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// IssueProcess issues a certificate with which a process comes to engines as principal, and answers others at hosts (IP addresses and DNS names), if
// any.
func (c *CA) IssueProcess(principal string, hosts ...string) (Pair, error) {
	if !principalName.MatchString(principal) {
		return Pair{}, fmt.Errorf("%w: principal %q", ErrName, principal)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: principal},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if err := names(template, hosts); err != nil {
		return Pair{}, err
	}
	return c.issue(template)
}

var (
	hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)
	// RFC 5280 bounds a CommonName at 64 characters.
	principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

func (c *CA) issue(template *x509.Certificate) (Pair, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return Pair{}, err
	}
	t := c.now()
	template.NotBefore = t.Add(-backdate)
	template.NotAfter = t.Add(leafLife)
	if template.NotAfter.After(c.cert.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate of %q: %w", template.Subject.CommonName, err)
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: keyPEM}, nil
}

// Covers reports whether a server certificate is good for all of hosts.
func Covers(certPEM []byte, hosts ...string) (bool, error) {
	cert, err := parseCert(certPEM)
	if err != nil {
		return false, err
	}
	all := true
	for _, h := range hosts {
		all = all && cert.VerifyHostname(h) == nil
	}
	return all, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil // 0 is not allowed
}

func parseCert(text []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("%w: no certificate found", ErrMalformed)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return cert, nil
	}
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("%w: no private key found", ErrMalformed)
		}
		if block.Type != "PRIVATE KEY" {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%w: not an ECDSA key", ErrMalformed)
		}
		return ec, nil
	}
}
