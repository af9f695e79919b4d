package depot_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	engine   *fake.Engine
	url      string
	programs string // a folder; each file is served by the SHA-256 that it is named by
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
	h := host{engine: fake.New(), programs: t.TempDir()}
	pair, err := w.ca.IssueServer("host", "127.0.0.1")
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	isHost := func(principal string) bool { return strings.HasPrefix(principal, "host.") }
	mux := http.NewServeMux()
	mux.Handle(depot.Path, depot.Handler(h.engine.Open("x"), isHost, func(i runtime.Image) bool { return strings.HasPrefix(i.Ref, "huker/") },
		slog.New(slog.DiscardHandler)))
	mux.Handle(depot.ProgramPath, depot.ProgramHandler(func(sum string) string {
		path := filepath.Join(h.programs, sum)
		if _, err := os.Stat(path); err != nil {
			return ""
		}
		return path
	}, isHost, slog.New(slog.DiscardHandler)))
	server := httptest.NewUnstartedServer(mux)
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

// TestAProgramIsWhatWasAskedFor: it does not matter who sends it, nor that half of it came before.
func TestAProgramIsWhatWasAskedFor(t *testing.T) {
	w := newTown(t)
	has, hasNot, lies, breaks := w.serve(t), w.serve(t), w.serve(t), w.serve(t)
	data := strings.Repeat("a program", 100_000)
	hash := sha256.Sum256([]byte(data))
	sum := hex.EncodeToString(hash[:])
	require.NoError(t, os.WriteFile(filepath.Join(has.programs, sum), []byte(data), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(lies.programs, sum), []byte("another program"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(breaks.programs, sum), []byte(data[:len(data)-1]), 0o600))
	d := depot.New(fake.New().Open("x"), w.client(t, "host.b"), slog.New(slog.DiscardHandler))
	path := filepath.Join(t.TempDir(), "huker-guestagent-abc")
	require.NoError(t, os.WriteFile(path, []byte("the one before"), 0o600))
	nothing := func() {
		t.Helper()
		there, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "the one before", string(there))
		files, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, files, 1, "nothing is left of what was refused")
	}

	err := d.FetchProgram(t.Context(), sum, path, []string{lies.url, hasNot.url, breaks.url})
	require.ErrorIs(t, err, depot.ErrNoProgram)
	require.ErrorContains(t, err, "is another program")
	require.ErrorContains(t, err, "asked 3 other hosts")
	nothing()
	require.ErrorIs(t, d.FetchProgram(t.Context(), sum, path, nil), depot.ErrNoProgram)
	require.Error(t, d.FetchProgram(t.Context(), "../../etc/shadow", path, []string{has.url}))
	nothing()
	guest := depot.New(fake.New().Open("x"), w.client(t, "guest.x"), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, guest.FetchProgram(t.Context(), sum, path, []string{has.url}), "403")
	nothing()

	require.NoError(t, d.FetchProgram(t.Context(), sum, path, []string{"https://127.0.0.1:1", lies.url, has.url}))
	there, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, string(there))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode())
}
