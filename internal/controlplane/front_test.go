package controlplane

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api/openapitest"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore/sqlite"
)

// away is a Keystone that does not answer.
func away() *identity.KeystoneConfig { return &identity.KeystoneConfig{URL: "http://127.0.0.1:1/v3"} }

const operatorsToken = "an operator's token, long enough"

// served is a front that serves, with the document that it shows.
type served struct {
	t        *testing.T
	url      string
	document *openapitest.Document
}

func serveFront(t *testing.T, provider identity.Provider, k *identity.KeystoneConfig) *served {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "huker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	log := slog.New(slog.DiscardHandler)
	c := frontConfig{
		Name: "test", Listen: "127.0.0.1:0", Region: DefaultRegion, Keystone: k, Store: store, Bus: struct{ bus.Bus }{}, Log: log,
		Health: &health{log: log, own: map[string]check{"metadata": func(context.Context) error { return nil }}},
	}
	if provider.Builtin() {
		c.Identity, err = identity.New(store, identity.Config{Params: identity.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
		require.NoError(t, err)
	} else {
		c.OperatorToken = operatorsToken
	}
	f, err := newFront(c)
	require.NoError(t, err)
	server := httptest.NewServer(f.server.Handler)
	t.Cleanup(server.Close)
	s := &served{t: t, url: server.URL}
	_, _, text := s.call(http.MethodGet, "/openapi.json", "")
	s.document = openapitest.Load(t, text)
	return s
}

// call makes a request; its answer fits the document.
func (s *served) call(method, path, token string) (int, http.Header, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, http.NoBody)
	require.NoError(s.t, err)
	if token != "" {
		r.Header.Set(identity.TokenHeader, token)
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(s.t, err)
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	require.NoError(s.t, err)
	if s.document != nil {
		s.document.Check(s.t, r, a.StatusCode, a.Header, text)
	}
	return a.StatusCode, a.Header, text
}

// What is in the document is where it says, at every place that it says, and closed to whom has not signed in.
func TestDocumentIsOfWhatIsServed(t *testing.T) {
	for provider, k := range map[identity.Provider]*identity.KeystoneConfig{
		identity.ProviderBuiltin: nil, identity.ProviderKeystone: away(), identity.ProviderBoth: away(),
	} {
		t.Run(string(provider), func(t *testing.T) {
			s := serveFront(t, provider, k)
			fill := strings.NewReplacer("{project_id}", "p1")
			tags := map[string]int{}
			for id, op := range s.document.Operations() {
				tags[strings.Split(strings.Trim(op.Path, "/"), "/")[0]]++
				for _, prefix := range op.Prefixes {
					code, header, text := s.call(op.Method, prefix+fill.Replace(op.Path), "")
					if op.Public {
						assert.NotContains(t, []int{401, 404, 405}, code, "%s: %s", id, text)
						continue
					}
					assert.Equal(t, 401, code, "%s: %s", id, text)
					want := s.url + "/identity/v3"
					if provider == identity.ProviderKeystone {
						want = "http://127.0.0.1:1/v3"
					}
					assert.Equal(t, `Keystone uri="`+want+`"`, header.Get("WWW-Authenticate"), id)
				}
			}
			assert.Positive(t, tags["v1.0"])
			assert.Equal(t, []int{1, 1, 1}, []int{tags["healthz"], tags["readyz"], tags["openapi.json"]})
			assert.Equal(t, provider.Builtin(), tags["v3"] > 30 && tags["identity"] == 1, "%v", tags)
			if !provider.Builtin() {
				assert.Zero(t, tags["v3"]+tags["identity"], "what is not served is not described")
			}
		})
	}
}

// What lies beside the mounts is not theirs.
func TestFrontKeepsPathsApart(t *testing.T) {
	s := serveFront(t, identity.ProviderBuiltin, nil)
	for path, form := range map[string]string{
		"/healthz/x": "itemNotFound", "/readyzz": "itemNotFound", "/v3x": "itemNotFound", "/identityx/v3": "itemNotFound", "/v3/x": "error", "/identity/x": "error",
	} {
		code, _, text := s.call(http.MethodGet, path, "")
		assert.Equal(t, 404, code, path)
		var body map[string]any
		require.NoError(t, json.Unmarshal(text, &body), path)
		assert.Contains(t, body, form, path)
	}
	code, _, _ := s.call(http.MethodPost, "/healthz", "")
	assert.Equal(t, 405, code)
}

// A Keystone that does not answer is nobody's wrong password, and root on the machine does not need it.
func TestKeystoneAway(t *testing.T) {
	s := serveFront(t, identity.ProviderKeystone, away())
	code, _, text := s.call(http.MethodGet, "/v1.0/p1/instances", "gAAAA")
	assert.Equal(t, 503, code)
	assert.Contains(t, string(text), "The Keystone that Huker asks about tokens cannot be reached")
	code, _, _ = s.call(http.MethodGet, "/v1.0/p1/instances", operatorsToken)
	assert.Equal(t, 200, code)
	code, _, _ = s.call(http.MethodGet, "/healthz", "")
	assert.Equal(t, 200, code, "a restart would not help")
	code, _, text = s.call(http.MethodGet, "/readyz", "")
	assert.Equal(t, 503, code)
	assert.JSONEq(t, `{"process":"ok","metadata":"ok","keystone":"does not answer"}`, string(text))
	code, _, text = s.call(http.MethodPost, "/v3/auth/tokens", "")
	assert.Equal(t, 404, code)
	assert.Contains(t, string(text), "sign in at http://127.0.0.1:1/v3")
}
