package theft

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/pki"
)

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return data
}

// identity is what a process was given by `huker pki issue`.
func identity(t testing.TB, dir string) engines.Credentials {
	t.Helper()
	return engines.Credentials{
		CA: read(t, dir, controlplane.IdentityCA), Cert: read(t, dir, controlplane.IdentityCert), Key: read(t, dir, controlplane.IdentityKey),
	}
}

// guestFiles is what lies in a guest's container.
func guestFiles(t testing.TB, dir string) engines.Credentials {
	t.Helper()
	return engines.Credentials{CA: read(t, dir, "coord-ca.pem"), Cert: read(t, dir, "agent-cert.pem"), Key: read(t, dir, "agent-key.pem")}
}

// tlsOf is what one dials with.
func tlsOf(t testing.TB, c engines.Credentials) *tls.Config {
	t.Helper()
	cfg, err := c.TLS()
	require.NoError(t, err)
	return cfg
}

// forgeries are certificates that nobody may get in with, however well their names would do.
func (s *site) forgeries() map[string]*tls.Config {
	t := s.t
	t.Helper()
	own := guestFiles(t, s.etc(s.guests[0]))
	with := func(cert, key []byte) *tls.Config {
		return tlsOf(t, engines.Credentials{CA: own.CA, Cert: cert, Key: key})
	}
	other, err := pki.NewCA("another deployment")
	require.NoError(t, err)
	foreign, err := other.IssueClient(controlplane.ControlPrincipal)
	require.NoError(t, err)
	server, err := s.ca.IssueServer(controlplane.ControlPrincipal, "127.0.0.1")
	require.NoError(t, err)
	now := time.Now()
	expired := signed(t, s.ca, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	early := signed(t, s.ca, now.Add(24*time.Hour), now.Add(48*time.Hour))
	etc := s.etc(s.guests[0])
	none := with(own.Cert, own.Key)
	none.Certificates = nil
	// A certificate that the thief signs with his own: it is no authority.
	pair, err := tls.X509KeyPair(own.Cert, own.Key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	require.True(t, ok)
	chained := sign(t, leaf, key, now.Add(-time.Hour), now.Add(time.Hour))
	return map[string]*tls.Config{
		"another authority's":     with(foreign.Cert, foreign.Key),
		"expired":                 with(expired.Cert, expired.Key),
		"not valid yet":           with(early.Cert, early.Key),
		"a server's":              with(server.Cert, server.Key),
		"the database's own":      with(read(t, etc, "server-cert.pem"), read(t, etc, "server-key.pem")),
		"signed by a guest's own": with(append(chained.Cert, own.Cert...), chained.Key),
		"none":                    none,
	}
}

// signed is a client's certificate of the control plane for a time of choice.
func signed(t testing.TB, ca *pki.CA, from, to time.Time) pki.Pair {
	t.Helper()
	pair, err := tls.X509KeyPair(ca.CertPEM(), ca.KeyPEM())
	require.NoError(t, err)
	parent, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	require.True(t, ok)
	return sign(t, parent, key, from, to)
}

func sign(t testing.TB, parent *x509.Certificate, by *ecdsa.PrivateKey, from, to time.Time) pki.Pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: controlplane.ControlPrincipal}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pki.Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}
