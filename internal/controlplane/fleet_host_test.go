package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/depot"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// TestWhoGetsImages: hosts only, by certificates of this deployment that are good now, and only what Huker built.
func TestWhoGetsImages(t *testing.T) {
	ca, err := pki.NewCA("test")
	require.NoError(t, err)
	other, err := pki.NewCA("another deployment")
	require.NoError(t, err)
	own, err := ca.IssueProcess("host.east", "127.0.0.1")
	require.NoError(t, err)
	engine := fake.New()
	engine.AddImage(runtime.Image{Ref: "huker/mysql:9.7.4"})
	engine.AddImage(runtime.Image{Ref: "somebody/else:1"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	cfg := HostConfig{Fleet: Fleet{Log: slog.New(slog.DiscardHandler)}, Listen: l.Addr().String()}
	programs, err := installGuests(twoPrograms(t), t.TempDir())
	require.NoError(t, err)
	share, err := cfg.newDepot(engines.Credentials{CA: ca.CertPEM(), Cert: own.Cert, Key: own.Key}, engine.Open("huker"), programs)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- share.Run(ctx) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-ended) })

	client := func(ca *pki.CA, principal string) *tls.Certificate {
		pair, err := ca.IssueClient(principal)
		require.NoError(t, err)
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		require.NoError(t, err)
		return &cert
	}
	server, err := ca.IssueServer("host.west", "127.0.0.1")
	require.NoError(t, err)
	serving, err := tls.X509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	const turnedAway = 0
	for name, c := range map[string]struct {
		cert *tls.Certificate
		ref  string
		want int
	}{
		"another host":               {client(ca, "host.west"), "huker/mysql:9.7.4", http.StatusOK},
		"what is not Huker's":        {client(ca, "host.west"), "somebody/else:1", http.StatusNotFound},
		"a guest":                    {client(ca, "guest.1"), "huker/mysql:9.7.4", http.StatusForbidden},
		"the control plane":          {client(ca, ControlPrincipal), "huker/mysql:9.7.4", http.StatusForbidden},
		"a host's name in a guest's": {client(ca, "guest.host.west"), "huker/mysql:9.7.4", http.StatusForbidden},
		"another deployment's host":  {client(other, "host.west"), "huker/mysql:9.7.4", turnedAway},
		"a server":                   {&serving, "huker/mysql:9.7.4", turnedAway},
		"expired":                    {outdated(t, ca, "host.west"), "huker/mysql:9.7.4", turnedAway},
		"nobody":                     {nil, "huker/mysql:9.7.4", turnedAway},
	} {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca.CertPEM())
		with := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		if c.cert != nil { // sent whatever the server asks for
			with.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
		}
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: with}, Timeout: 10 * time.Second}
		var got int
		var failed error
		require.Eventually(t, func() bool { // the server is only just starting
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+cfg.Listen+depot.Path+url.PathEscape(c.ref), nil)
			require.NoError(t, err)
			a, err := h.Do(r)
			if failed = err; err == nil {
				got = a.StatusCode
				_ = a.Body.Close()
			}
			var dial *net.OpError
			return err == nil || !errors.As(err, &dial) || dial.Op != "dial"
		}, 10*time.Second, 10*time.Millisecond)
		assert.Equal(t, c.want, got, "%s: %v", name, failed)
		h.CloseIdleConnections()
	}
}

// outdated is a certificate that was good until yesterday.
func outdated(t *testing.T, ca *pki.CA, principal string) *tls.Certificate {
	t.Helper()
	parent, err := tls.X509KeyPair(ca.CertPEM(), ca.KeyPEM())
	require.NoError(t, err)
	authority, err := x509.ParseCertificate(parent.Certificate[0])
	require.NoError(t, err)
	pair, err := ca.IssueClient(principal)
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, leaf.PublicKey, parent.PrivateKey)
	require.NoError(t, err)
	cert.Certificate, cert.Leaf = [][]byte{der}, nil
	return &cert
}
