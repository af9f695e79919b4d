package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
)

// fake answers what it is told, in order, and keeps what it was asked.
type fake struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	answers []func(w http.ResponseWriter, r *http.Request)
	asked   []question
	tokens  int
}

// question is a request, copied: the server's own goes on being the server's.
type question struct {
	method, path string
	header       http.Header
}

// questions gives those since next.
func (f *fake) questions() []question {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/auth/tokens") {
		f.tokens++
		w.Header().Set("X-Subject-Token", fmt.Sprintf("token-%d", f.tokens))
		w.WriteHeader(http.StatusCreated)
		endpoint := func(iface, region, url string) map[string]any {
			return map[string]any{"interface": iface, "region_id": region, "url": url}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
			"expires_at": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z"),
			"catalog": []any{map[string]any{"type": "database", "endpoints": []any{
				endpoint("internal", "one", "http://127.0.0.1:1/v1.0/p"), endpoint("public", "one", f.url+"/v1.0/p/"), endpoint("public", "two", f.url+"/v1.0/two"),
			}}},
		}})
		return
	}
	f.asked = append(f.asked, question{r.Method, r.URL.EscapedPath(), r.Header.Clone()})
	if len(f.answers) == 0 {
		_, _ = w.Write([]byte(`{"flavors":[{"str_id":"1","name":"a"}]}`))
		return
	}
	answer := f.answers[0]
	f.answers = f.answers[1:]
	answer(w, r)
}

func (f *fake) next(answers ...func(w http.ResponseWriter, r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers, f.asked = answers, nil
}

func status(code int, body string, header ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

func (f *fake) client(change ...func(*client.Config)) *client.Client {
	f.t.Helper()
	c := client.Config{AuthURL: f.url + "/identity", Username: "u", Password: "p", Project: "p"}
	for _, fn := range change {
		fn(&c)
	}
	out, err := client.New(c)
	require.NoError(f.t, err)
	return out
}

func TestErrorsRepeatTheServersWords(t *testing.T) {
	f := newFake(t)
	c := f.client()
	f.next(status(413, `{"overLimit":{"code":413,"message":"Quota exceeded for instances."}}`, "X-Openstack-Request-Id", "req-1"))
	_, err := c.CreateInstance(t.Context(), client.NewInstance{})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, client.Error{Status: 413, Message: "Quota exceeded for instances.", RequestID: "req-1"}, *e)
	assert.Equal(t, "Quota exceeded for instances. (HTTP 413)", err.Error())
	f.next(status(404, `<html>`))
	_, err = c.Instance(t.Context(), "x")
	assert.True(t, client.NotFound(err))
	assert.Contains(t, err.Error(), "answered 404")
	f.next(status(200, `<html>`))
	_, err = c.Instance(t.Context(), "x")
	require.ErrorContains(t, err, "is it Huker's API?")
	f.next(status(302, "", "Location", "http://127.0.0.1:1/"))
	_, err = c.Instance(t.Context(), "x")
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 302, e.Status, "a redirect would take the token elsewhere")
}

func TestOnlyWhatChangesNothingIsRepeated(t *testing.T) {
	f := newFake(t)
	c := f.client()
	busy := status(503, `{"serviceUnavailable":{"message":"busy"}}`)
	f.next(busy, hangUp, status(429, `{}`, "Retry-After", "1"))
	start := time.Now()
	flavors, err := c.Flavors(t.Context())
	require.NoError(t, err)
	assert.Len(t, flavors, 1)
	assert.Len(t, f.questions(), 4)
	assert.Greater(t, time.Since(start), time.Second, "the server said when to come back")

	f.next(busy, busy, busy, busy, busy)
	_, err = c.Flavors(t.Context())
	require.ErrorContains(t, err, "busy (HTTP 503)")
	assert.Len(t, f.questions(), 4, "there is an end to it")

	f.next(status(429, `{}`, "Retry-After", "3600"))
	_, err = c.Flavors(t.Context())
	require.Error(t, err)
	assert.Len(t, f.questions(), 1, "an hour is not waited for")

	for name, call := range map[string]func() error{
		"create":  func() error { _, err := c.CreateInstance(t.Context(), client.NewInstance{}); return err },
		"restart": func() error { return c.Restart(t.Context(), "x") },
		"delete":  func() error { return c.DeleteInstance(t.Context(), "x") },
		"quota":   func() error { return c.SetQuota(t.Context(), "p", nil) },
	} {
		f.next(busy)
		require.Error(t, call(), name)
		f.next(hangUp)
		err := call()
		var lost *client.Unreachable
		require.ErrorAs(t, err, &lost, name)
		for _, r := range f.questions() {
			assert.NotEqual(t, http.MethodGet, r.method)
		}
	}
	f.next(status(404, `{}`))
	_, err = c.Flavors(t.Context())
	require.Error(t, err)
	assert.Len(t, f.questions(), 1, "an answer is an answer")

	ctx, cancel := context.WithCancel(t.Context())
	f.next(func(w http.ResponseWriter, _ *http.Request) { cancel(); w.WriteHeader(503) })
	_, err = c.Flavors(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestSignsInAgainOnce(t *testing.T) {
	f := newFake(t)
	c := f.client()
	_, err := c.Flavors(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, f.tokens)
	f.next(status(401, `{}`), status(202, ``))
	require.NoError(t, c.Restart(t.Context(), "x"), "what was refused was not carried out")
	assert.Equal(t, 2, f.tokens)
	asked := f.questions()
	assert.Equal(t, []string{"token-1", "token-2"}, []string{asked[0].header.Get("X-Auth-Token"), asked[1].header.Get("X-Auth-Token")})
	f.next(status(401, `{}`), status(401, `{}`))
	require.Error(t, c.Restart(t.Context(), "x"))
	assert.Equal(t, 3, f.tokens, "a fresh token that is refused is refused")
}

func TestTokensThatEndAreRenewed(t *testing.T) {
	f := newFake(t)
	now := time.Now()
	c := f.client(func(c *client.Config) { c.Now = func() time.Time { return now } })
	for range 3 {
		_, err := c.Flavors(t.Context())
		require.NoError(t, err)
	}
	assert.Equal(t, 1, f.tokens)
	now = now.Add(59*time.Minute + 30*time.Second)
	_, err := c.Flavors(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, f.tokens, "not in the last minute")
}

func TestWaysToSignIn(t *testing.T) {
	f := newFake(t)
	at := f.url + "/v1.0/p9"
	for name, tc := range map[string]struct {
		conf   client.Config
		header string
		value  string
		path   string
		err    string
	}{
		"password":     {client.Config{AuthURL: f.url, Username: "u", Password: "p"}, "X-Auth-Token", "token-", "/v1.0/p/flavors", ""},
		"token":        {client.Config{AuthType: "v3token", AuthURL: f.url + "/v3/", Token: "t"}, "X-Auth-Token", "token-", "/v1.0/p/flavors", ""},
		"region":       {client.Config{AuthURL: f.url, Username: "u", Password: "p", Region: "two"}, "X-Auth-Token", "token-", "/v1.0/two/flavors", ""},
		"endpoint":     {client.Config{AuthURL: f.url, Username: "u", Password: "p", Endpoint: at}, "X-Auth-Token", "token-", "/v1.0/p9/flavors", ""},
		"none":         {client.Config{AuthType: "none", Endpoint: at}, "X-Auth-Token", "", "/v1.0/p9/flavors", ""},
		"admin_token":  {client.Config{AuthType: "admin_token", Endpoint: at + "/", Token: "secret"}, "X-Auth-Token", "secret", "/v1.0/p9/flavors", ""},
		"http_basic":   {client.Config{AuthType: "http_basic", Endpoint: at, Username: "u", Password: "p"}, "Authorization", "Basic dTpw", "/v1.0/p9/flavors", ""},
		"no region":    {client.Config{AuthURL: f.url, Username: "u", Password: "p", Region: "three"}, "", "", "", `region "three"`},
		"no interface": {client.Config{AuthURL: f.url, Username: "u", Password: "p", Interface: "adminURL"}, "", "", "", `interface "admin"`},
	} {
		f.next()
		c, err := client.New(tc.conf)
		require.NoError(t, err, name)
		_, err = c.Flavors(t.Context())
		if tc.err != "" {
			require.ErrorContains(t, err, tc.err, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, tc.path, f.questions()[0].path, name)
		got := f.questions()[0].header.Get(tc.header)
		assert.True(t, strings.HasPrefix(got, tc.value) && (tc.value != "" || got == ""), "%s: %q", name, got)
	}
	for name, c := range map[string]client.Config{
		"no URL": {Username: "u", Password: "p"}, "no password": {AuthURL: f.url, Username: "u"}, "no token": {AuthType: "token", AuthURL: f.url},
		"ftp": {AuthURL: "ftp://x", Username: "u", Password: "p"}, "no static token": {AuthType: "admin_token", Endpoint: at}, "odd": {AuthType: "kerberos", AuthURL: f.url},
	} {
		_, err := client.New(c)
		assert.Error(t, err, name)
	}
}

func TestNamesInPaths(t *testing.T) {
	f := newFake(t)
	c := f.client()
	f.next(status(202, ""), status(202, ""), status(202, ""))
	require.NoError(t, c.DeleteUser(t.Context(), "i", "a/b@c", "10.0.0.%"))
	require.NoError(t, c.Revoke(t.Context(), "i", "..", "%", "ä?#"))
	require.NoError(t, c.DeleteDatabase(t.Context(), "i", ".."))
	var paths []string
	for _, r := range f.questions() {
		paths = append(paths, r.path)
	}
	assert.Equal(t, []string{
		"/v1.0/p/instances/i/users/a%2Fb@c@10%2e0%2e0%2e%25", "/v1.0/p/instances/i/users/%2e%2e@%25/databases/%C3%A4%3F%23", "/v1.0/p/instances/i/databases/%2e%2e",
	}, paths)
}

func TestUnreachableSaysWhere(t *testing.T) {
	c, err := client.New(client.Config{AuthURL: "http://127.0.0.1:1/identity/v3", Username: "u", Password: "hidden"})
	require.NoError(t, err)
	_, err = c.Flavors(t.Context())
	var lost *client.Unreachable
	require.ErrorAs(t, err, &lost)
	assert.Contains(t, err.Error(), "no answer from http://127.0.0.1:1: dial tcp 127.0.0.1:1")
	assert.NotContains(t, err.Error(), "hidden")
	assert.True(t, errors.Is(err, lost.Err))
}
