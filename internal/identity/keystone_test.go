package identity_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
)

// fakeKeystone answers as it is told; what a real one answers is tested in keystone_real_test.go.
type fakeKeystone struct {
	calls  atomic.Int64
	answer func(w http.ResponseWriter, token string)
}

func (k *fakeKeystone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.calls.Add(1)
	token := r.Header.Get("X-Auth-Token")
	if r.Method != http.MethodGet || r.URL.Path != "/v3/auth/tokens" || !r.URL.Query().Has("nocatalog") || token != r.Header.Get("X-Subject-Token") {
		http.Error(w, "not the question that was expected", http.StatusTeapot)
		return
	}
	k.answer(w, token)
}

func tokenJSON(expires time.Time, project string, roles ...string) string {
	var list []string
	for _, r := range roles {
		list = append(list, fmt.Sprintf(`{"id":"id-%s","name":%q}`, r, r))
	}
	scope := ""
	if project != "" {
		scope = fmt.Sprintf(`"project":{"id":%q,"name":"shop","domain":{"id":"default","name":"Default"}},`, project)
	}
	return fmt.Sprintf(`{"token":{"user":{"id":"u1","name":"alice"},%s"roles":[%s],"expires_at":%q}}`,
		scope, strings.Join(list, ","), expires.UTC().Format("2006-01-02T15:04:05.000000Z"))
}

func newExternal(t *testing.T, fake *fakeKeystone, change func(*identity.KeystoneConfig)) (*identity.Keystone, *clock) {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	now := newClock()
	c := identity.KeystoneConfig{URL: server.URL, Now: now.Now, Timeout: 2 * time.Second}
	if change != nil {
		change(&c)
	}
	k, err := identity.NewKeystone(c)
	require.NoError(t, err)
	return k, now
}

func ask(ctx context.Context, k *identity.Keystone, token string) (identity.Caller, error) {
	r := httptest.NewRequest(http.MethodGet, "/v1.0/p1/instances", nil)
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	return k.Authenticate(ctx, r)
}

func TestExternalAnswers(t *testing.T) {
	now := newClock().Now()
	ok := func(body string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { _, _ = w.Write([]byte(body)) }
	}
	code := func(c int) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) { w.WriteHeader(c) }
	}
	later := now.Add(time.Hour)
	for name, tc := range map[string]struct {
		answer     func(http.ResponseWriter, string)
		adminRoles []string
		want       identity.Caller
		err        error
	}{
		"member":                   {ok(tokenJSON(later, "p1", "member", "reader")), nil, identity.Caller{AccountID: "u1", AccountName: "alice", ProjectID: "p1", ProjectName: "shop", Roles: []string{"member", "reader"}}, nil},
		"admin":                    {ok(tokenJSON(later, "p1", "Admin", "member")), nil, identity.Caller{AccountID: "u1", AccountName: "alice", ProjectID: "p1", ProjectName: "shop", Roles: []string{"member", "admin"}}, nil},
		"other name":               {ok(tokenJSON(later, "p1", "dba")), []string{"dba"}, identity.Caller{AccountID: "u1", AccountName: "alice", ProjectID: "p1", ProjectName: "shop", Roles: []string{"dba", "admin"}}, nil},
		"admin is not enough then": {ok(tokenJSON(later, "p1", "admin")), []string{"dba"}, identity.Caller{AccountID: "u1", AccountName: "alice", ProjectID: "p1", ProjectName: "shop"}, nil},
		"unscoped":                 {ok(tokenJSON(later, "", "admin")), nil, identity.Caller{AccountID: "u1", AccountName: "alice"}, nil},
		"expired":                  {ok(tokenJSON(now, "p1", "admin")), nil, identity.Caller{}, identity.ErrUnauthorized},
		"unknown":                  {code(404), nil, identity.Caller{}, identity.ErrUnauthorized},
		"unauthorized":             {code(401), nil, identity.Caller{}, identity.ErrUnauthorized},
		"broken":                   {code(500), nil, identity.Caller{}, identity.ErrUnavailable},
		"busy":                     {code(503), nil, identity.Caller{}, identity.ErrUnavailable},
		"elsewhere": {func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(302)
		}, nil, identity.Caller{}, identity.ErrUnavailable},
		"no JSON":  {ok("<html>"), nil, identity.Caller{}, identity.ErrUnavailable},
		"no token": {ok("{}"), nil, identity.Caller{}, identity.ErrUnavailable},
		"endless":  {ok(`{"token":"` + strings.Repeat("x", 2<<20)), nil, identity.Caller{}, identity.ErrUnavailable},
		"slow":     {func(http.ResponseWriter, string) { <-time.After(400 * time.Millisecond) }, nil, identity.Caller{}, identity.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			k, _ := newExternal(t, &fakeKeystone{answer: tc.answer}, func(c *identity.KeystoneConfig) {
				c.AdminRoles = tc.adminRoles
				if name == "slow" {
					c.Timeout = 100 * time.Millisecond
				}
			})
			got, err := ask(t.Context(), k, "secret")
			require.ErrorIs(t, err, tc.err)
			assert.Equal(t, tc.want, got)
			if err != nil {
				assert.NotContains(t, err.Error(), "secret")
			}
		})
	}
}

// What is told when the question itself goes wrong says that it is not the client's fault, and no address.
func TestExternalUnreachable(t *testing.T) {
	k, err := identity.NewKeystone(identity.KeystoneConfig{URL: "http://127.0.0.1:1/identity/v3"})
	require.NoError(t, err)
	_, err = ask(t.Context(), k, "x")
	require.ErrorIs(t, err, identity.ErrUnavailable)
	require.ErrorIs(t, k.Ping(t.Context()), identity.ErrUnavailable)
	reason, ok := identity.Reason(err)
	require.True(t, ok)
	assert.Contains(t, reason, "cannot be reached")
	assert.NotContains(t, reason, "127.0.0.1")
	assert.Contains(t, err.Error(), "127.0.0.1", "the log says more")
	_, err = ask(t.Context(), k, "")
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	_, err = ask(t.Context(), k, strings.Repeat("x", 17<<10))
	require.ErrorIs(t, err, identity.ErrUnauthorized)
}

func TestExternalOverTLS(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/v3" {
			return
		}
		_, _ = w.Write([]byte(tokenJSON(time.Now().Add(time.Hour), "p1", "member")))
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(server.Close)
	open := func(ca string) *identity.Keystone {
		t.Helper()
		k, err := identity.NewKeystone(identity.KeystoneConfig{URL: server.URL, CAFile: ca})
		require.NoError(t, err)
		return k
	}
	_, err := ask(t.Context(), open(""), "secret")
	require.ErrorIs(t, err, identity.ErrUnavailable)
	reason, _ := identity.Reason(err)
	assert.Contains(t, reason, "certificate")
	require.ErrorIs(t, open("").Ping(t.Context()), identity.ErrUnavailable)
	assert.Zero(t, asked.Load(), "a token is not shown to whom is not trusted")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	c, err := ask(t.Context(), open(ca), "secret")
	require.NoError(t, err)
	assert.Equal(t, "p1", c.ProjectID)
	require.NoError(t, open(ca).Ping(t.Context()))
}

func TestExternalCache(t *testing.T) {
	fake := &fakeKeystone{}
	now := newClock()
	expires := now.Now().Add(90 * time.Second)
	fake.answer = func(w http.ResponseWriter, token string) {
		if token == "bad" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(tokenJSON(expires, "p1", "member")))
	}
	k, c := newExternal(t, fake, func(c *identity.KeystoneConfig) { c.CacheSize = 2 })
	mustAsk := func(token string, calls int64) {
		t.Helper()
		_, err := ask(t.Context(), k, token)
		require.NoError(t, err)
		require.Equal(t, calls, fake.calls.Load())
	}
	mustAsk("a", 1)
	mustAsk("a", 1)
	c.Advance(59 * time.Second)
	mustAsk("a", 1)
	c.Advance(time.Second)
	mustAsk("a", 2)
	c.Advance(30 * time.Second) // within the cache's time, but the token itself has ended
	_, err := ask(t.Context(), k, "a")
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	expires = c.Now().Add(time.Hour)
	mustAsk("a", 4)
	mustAsk("b", 5)
	mustAsk("c", 6)
	mustAsk("b", 6)
	mustAsk("a", 7) // it made room
	for range 2 {
		_, err = ask(t.Context(), k, "bad")
		require.ErrorIs(t, err, identity.ErrUnauthorized)
	}
	assert.EqualValues(t, 9, fake.calls.Load(), "refusals are not kept")
}

func TestExternalAsksOnce(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{}, 100)
	fake := &fakeKeystone{answer: func(w http.ResponseWriter, _ string) {
		asked <- struct{}{}
		<-release
		_, _ = w.Write([]byte(tokenJSON(newClock().Now().Add(time.Hour), "p1", "member")))
	}}
	k, _ := newExternal(t, fake, func(c *identity.KeystoneConfig) { c.Timeout = 20 * time.Second })
	// The first asker goes away; that must not spoil the answer for the others.
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := ask(ctx, k, "a"); first <- err }()
	<-asked
	var wg sync.WaitGroup
	errs := make(chan error, 20)
	for range 20 {
		wg.Go(func() { _, err := ask(t.Context(), k, "a"); errs <- err })
	}
	cancel()
	require.ErrorIs(t, <-first, identity.ErrUnavailable)
	close(release)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, fake.calls.Load())
}
