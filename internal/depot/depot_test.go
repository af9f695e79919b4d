package depot_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/depot"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

const ref = "huker/mysql:9.7.4-abc"

// host is a machine that serves its images.
type host struct {
	engine *fake.Engine
	url    string
}

type town struct {
	ca *pki.CA
}

func newTown(t *testing.T) *town {
	t.Helper()
	ca, err := pki.NewCA("test")
	require.NoError(t, err)
	return &town{ca}
}

func (w *town) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca.CertPEM())
	return pool
}

func (w *town) client(t *testing.T, principal string) *tls.Config {
	t.Helper()
	pair, err := w.ca.IssueClient(principal)
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	return &tls.Config{RootCAs: w.pool(), Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

func (w *town) serve(t *testing.T) host {
	t.Helper()
	h := host{engine: fake.New()}
	pair, err := w.ca.IssueServer("host", "127.0.0.1")
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(depot.Handler(h.engine.Open("x"),
		func(principal string) bool { return strings.HasPrefix(principal, "host.") },
		func(i runtime.Image) bool { return strings.HasPrefix(i.Ref, "huker/") }, slog.New(slog.DiscardHandler)))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: w.pool(), MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func TestAnImageComesFromAHostThatHasIt(t *testing.T) {
	w := newTown(t)
	has, hasNot := w.serve(t), w.serve(t)
	has.engine.AddImage(runtime.Image{Ref: ref})
	here := fake.New()
	d := depot.New(here.Open("x"), w.client(t, "host.b"), slog.New(slog.DiscardHandler))

	err := d.Ensure(t.Context(), ref, []string{hasNot.url})
	require.ErrorIs(t, err, runtime.ErrNoImage)
	require.ErrorContains(t, err, "asked 1 other hosts")
	require.ErrorIs(t, d.Ensure(t.Context(), ref, nil), runtime.ErrNoImage)

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			require.NoError(t, d.Ensure(t.Context(), ref, []string{"https://127.0.0.1:1", hasNot.url, has.url}))
		})
	}
	wg.Wait()
	require.Equal(t, 1, here.Calls(fake.OpLoadImage), "however many ask, it travels once")
	require.NoError(t, d.Ensure(t.Context(), ref, nil))
}

func TestATransferOutlivesWhoAskedForIt(t *testing.T) {
	w := newTown(t)
	has := w.serve(t)
	has.engine.AddImage(runtime.Image{Ref: ref})
	has.engine.Inject(fake.Fault{Op: fake.OpSaveImage, Delay: 300 * time.Millisecond})
	here := fake.New()
	d := depot.New(here.Open("x"), w.client(t, "host.b"), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, d.Ensure(ctx, ref, []string{has.url}), context.DeadlineExceeded)
	require.Eventually(t, func() bool {
		_, err := here.Open("x").InspectImage(t.Context(), ref)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

func TestABrokenTransferIsNoImage(t *testing.T) {
	w := newTown(t)
	breaks, has := w.serve(t), w.serve(t)
	breaks.engine.AddImage(runtime.Image{Ref: ref})
	breaks.engine.Inject(fake.Fault{Op: fake.OpSaveImage, Err: runtime.ErrUnavailable})
	other := w.serve(t)
	other.engine.AddImage(runtime.Image{Ref: ref, ID: "sha256:another"}) // what arrives has another id than was announced
	has.engine.AddImage(runtime.Image{Ref: ref})
	here := fake.New()
	d := depot.New(here.Open("x"), w.client(t, "host.b"), slog.New(slog.DiscardHandler))
	require.ErrorIs(t, d.Ensure(t.Context(), ref, []string{breaks.url}), runtime.ErrNoImage)
	err := d.Ensure(t.Context(), ref, []string{other.url})
	require.ErrorContains(t, err, "not sha256:another")
	here.RemoveImage(ref)
	require.NoError(t, d.Ensure(t.Context(), ref, []string{breaks.url, has.url}))
}

func TestARegistryIsAskedOnlyWhenTheNameHasOne(t *testing.T) {
	here := fake.New()
	d := depot.New(here.Open("x"), nil, slog.New(slog.DiscardHandler))
	const named = "registry.example.org:5000/mysql:9.7"
	here.Publish(runtime.Image{Ref: named})
	here.Publish(runtime.Image{Ref: ref})
	require.NoError(t, d.Ensure(t.Context(), named, nil))
	require.ErrorIs(t, d.Ensure(t.Context(), ref, nil), runtime.ErrNoImage)
	require.Equal(t, 1, here.Calls(fake.OpPullImage))
}

func TestOnlyHostsAreServedAndOnlyWhatIsOffered(t *testing.T) {
	w := newTown(t)
	h := w.serve(t)
	h.engine.AddImage(runtime.Image{Ref: ref})
	h.engine.AddImage(runtime.Image{Ref: "secret/app:1"})
	get := func(c *tls.Config, path string) int {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}}
		defer client.CloseIdleConnections()
		a, err := client.Get(h.url + path)
		if err != nil {
			return 0
		}
		defer func() { _ = a.Body.Close() }()
		return a.StatusCode
	}
	host := w.client(t, "host.b")
	require.Equal(t, http.StatusOK, get(host, "/images/huker%2Fmysql:9.7.4-abc"))
	require.Equal(t, http.StatusNotFound, get(host, "/images/secret%2Fapp:1"))
	require.Equal(t, http.StatusNotFound, get(host, "/images/"))
	require.Equal(t, http.StatusNotFound, get(host, "/"))
	require.Equal(t, http.StatusForbidden, get(w.client(t, "guest.x"), "/images/huker%2Fmysql:9.7.4-abc"))
	require.Zero(t, get(&tls.Config{RootCAs: w.pool(), MinVersion: tls.VersionTLS12}, "/images/huker%2Fmysql:9.7.4-abc"), "without a certificate")
	require.Zero(t, get(newTown(t).client(t, "host.b"), "/images/huker%2Fmysql:9.7.4-abc"), "of another authority")
}
