package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServerAndClientMeet(t *testing.T) {
	ca, err := NewCA("test")
	require.NoError(t, err)
	server, err := ca.IssueServer("engine", "127.0.0.1", "10.88.0.1", "huker.example")
	require.NoError(t, err)
	client, err := ca.IssueClient("guest.4b5f")
	require.NoError(t, err)

	require.NoError(t, handshake(t, ca.CertPEM(), server, client, "10.88.0.1"))
	require.NoError(t, handshake(t, ca.CertPEM(), server, client, "huker.example"))
	require.Error(t, handshake(t, ca.CertPEM(), server, client, "10.88.0.2"), "another address")
	require.Error(t, handshake(t, ca.CertPEM(), client, client, "10.88.0.1"), "a client cannot pose as a server")
	require.Error(t, handshake(t, ca.CertPEM(), server, server, "10.88.0.1"), "nor a server as a client")

	other, err := NewCA("test")
	require.NoError(t, err)
	foreign, err := other.IssueClient("guest.4b5f")
	require.NoError(t, err)
	require.Error(t, handshake(t, ca.CertPEM(), server, foreign, "10.88.0.1"), "another deployment's client")
	require.True(t, ca.Issued(client.Cert))
	require.False(t, ca.Issued(foreign.Cert))
}

func handshake(t *testing.T, caPEM []byte, server, client Pair, name string) error {
	t.Helper()
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(caPEM))
	sc, err := tls.X509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	cc, err := tls.X509KeyPair(client.Cert, client.Key)
	require.NoError(t, err)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	got := make(chan error, 1)
	go func() {
		s := tls.Server(a, &tls.Config{
			Certificates: []tls.Certificate{sc}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
		})
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		got <- err
		a.Close()
	}()
	c := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{cc}, RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12})
	_, clientErr := io.ReadFull(c, make([]byte, 1))
	b.Close()
	return errors.Join(clientErr, <-got)
}

func TestNames(t *testing.T) {
	ca, err := NewCA("test")
	require.NoError(t, err)
	for _, p := range []string{"", "a/b", "a b", "-a", "ü", "a\n", strings.Repeat("x", 65)} {
		_, err := ca.IssueClient(p)
		require.ErrorIs(t, err, ErrName, "principal %q", p)
	}
	for _, h := range []string{"", "a b", "a..b", "-x", "http://a", "a/b", "10.0.0.0/8"} {
		_, err := ca.IssueServer("x", h)
		require.ErrorIs(t, err, ErrName, "host %q", h)
	}
	_, err = ca.IssueServer("x")
	require.ErrorIs(t, err, ErrName)

	pair, err := ca.IssueServer("x", "::1", "db-1.example")
	require.NoError(t, err)
	for _, c := range []struct {
		hosts []string
		want  bool
	}{{[]string{"::1"}, true}, {[]string{"db-1.example", "::1"}, true}, {[]string{"db-2.example"}, false}, {[]string{"::1", "127.0.0.1"}, false}} {
		got, err := Covers(pair.Cert, c.hosts...)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%v", c.hosts)
	}
}

// TestLife: a leaf never outlives its authority: clients would see a broken chain with no warning before.
func TestLife(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	ca, err := newCA("test", func() time.Time { return now })
	require.NoError(t, err)
	for _, later := range []time.Duration{0, caLife - 24*time.Hour} {
		now = start.Add(later)
		pair, err := ca.IssueClient("guest.1")
		require.NoError(t, err)
		cert, err := parseCert(pair.Cert)
		require.NoError(t, err)
		require.Equal(t, ca.cert.NotAfter, cert.NotAfter)
	}
}

func TestInstance(t *testing.T) {
	a, err := NewInstance("db-a", "10.88.0.5", "a.huker.example")
	require.NoError(t, err)
	b, err := NewInstance("db-b", "10.88.0.6")
	require.NoError(t, err)
	caA, err := ParseCA(a.CA, a.CAKey)
	require.NoError(t, err)
	require.True(t, caA.Issued(a.Cert))
	require.False(t, caA.Issued(b.Cert), "who trusts one database must not trust another")

	renewed, err := RenewInstance(a, "db-a", "10.88.0.5")
	require.NoError(t, err)
	require.Equal(t, a.CA, renewed.CA)
	require.NotEqual(t, a.Key, renewed.Key)
	require.True(t, caA.Issued(renewed.Cert))
	_, err = RenewInstance(InstanceTLS{CA: a.CA, CAKey: b.CAKey}, "db-a", "10.88.0.5")
	require.ErrorIs(t, err, ErrMalformed)
}

func TestParseCAMalformed(t *testing.T) {
	ca, err := NewCA("test")
	require.NoError(t, err)
	leaf, err := ca.IssueClient("x")
	require.NoError(t, err)
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for name, c := range map[string][2][]byte{
		"empty":    {nil, nil},
		"no key":   {ca.CertPEM(), nil},
		"leaf":     {leaf.Cert, leaf.Key},
		"mismatch": {ca.CertPEM(), leaf.Key},
		"garbage":  {garbage, ca.KeyPEM()},
	} {
		_, err := ParseCA(c[0], c[1])
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

func TestOpenCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, err := OpenCA(dir)
	require.NoError(t, err)
	again, err := OpenCA(dir)
	require.NoError(t, err)
	require.Equal(t, first.CertPEM(), again.CertPEM())
	require.Equal(t, first.KeyPEM(), again.KeyPEM())
	requireMode(t, dir, 0o700)
	requireMode(t, filepath.Join(dir, AuthorityFile), 0o600)
	crt, err := os.ReadFile(filepath.Join(dir, authorityCert))
	require.NoError(t, err)
	require.NotContains(t, string(crt), "PRIVATE")
	require.Equal(t, first.CertPEM(), crt)

	// The copy is put back, wide permissions are mended, left-over temporary files do not matter.
	require.NoError(t, os.Remove(filepath.Join(dir, authorityCert)))
	require.NoError(t, os.Chmod(filepath.Join(dir, AuthorityFile), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "."+authorityCert+".new"), []byte("half"), 0o600))
	again, err = OpenCA(dir)
	require.NoError(t, err)
	require.Equal(t, first.CertPEM(), again.CertPEM())
	requireMode(t, filepath.Join(dir, AuthorityFile), 0o600)
	require.FileExists(t, filepath.Join(dir, authorityCert))

	// A damaged authority is an error, never silently a new one.
	require.NoError(t, os.WriteFile(filepath.Join(dir, AuthorityFile), first.CertPEM(), 0o600))
	_, err = OpenCA(dir)
	require.ErrorIs(t, err, ErrMalformed)
}

func requireMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, st.Mode().Perm(), path)
}

func TestOpenCAConcurrently(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	certs := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range certs {
		wg.Go(func() {
			if ca, err := OpenCA(dir); err == nil {
				certs[i] = ca.CertPEM()
			}
		})
	}
	wg.Wait()
	for _, c := range certs {
		require.NotEmpty(t, c)
		require.Equal(t, certs[0], c)
	}
}

// TestOpenCAKilled kills processes while they make authorities; whatever they left must open, and stay the same.
func TestOpenCAKilled(t *testing.T) {
	if dir := os.Getenv("HUKER_TEST_OPEN_CA"); dir != "" {
		for i := 0; ; i++ {
			if _, err := OpenCA(filepath.Join(dir, string(rune('a'+i%26)), time.Now().Format("150405.000000"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir := t.TempDir()
	for i := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOpenCAKilled$")
		cmd.Env = append(os.Environ(), "HUKER_TEST_OPEN_CA="+dir)
		before := entries(t, dir)
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return entries(t, dir) > before }, time.Minute, time.Millisecond, "the process makes none")
		time.Sleep(time.Duration(7*i) * time.Millisecond) // into one that it makes, wherever that is
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	dirs, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, dirs, "no process got far enough")
	for _, d := range dirs {
		before, readErr := os.ReadFile(filepath.Join(d, AuthorityFile))
		ca, err := OpenCA(d)
		require.NoError(t, err, d)
		if readErr == nil {
			require.True(t, bytes.Contains(before, ca.KeyPEM()), "%s was replaced", d)
		}
		again, err := OpenCA(d)
		require.NoError(t, err)
		require.Equal(t, ca.KeyPEM(), again.KeyPEM())
	}
}

// entries is how many authorities there are in dir, whole or not.
func entries(t *testing.T, dir string) int {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	require.NoError(t, err)
	return len(dirs)
}

func TestAProcessIsClientAndServer(t *testing.T) {
	ca, err := NewCA("test")
	require.NoError(t, err)
	pair, err := ca.IssueProcess("host.db1", "192.0.2.1", "db1.example.org")
	require.NoError(t, err)
	cert, err := parseCert(pair.Cert)
	require.NoError(t, err)
	require.Equal(t, "host.db1", cert.Subject.CommonName)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.CertPEM())
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{use}})
		require.NoError(t, err)
	}
	require.NoError(t, cert.VerifyHostname("192.0.2.1"))
	require.NoError(t, cert.VerifyHostname("db1.example.org"))
	_, err = ca.IssueProcess("no such name!")
	require.ErrorIs(t, err, ErrName)
	_, err = ca.IssueProcess("host.db1", "-")
	require.ErrorIs(t, err, ErrName)
}
