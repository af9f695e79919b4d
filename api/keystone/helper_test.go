package keystone_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/api/openapitest"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
)

const adminPassword = "admin password"

// server is the handler on a real store, seeded, with a member "alice" on the project "shop".
type server struct {
	t       *testing.T
	url     string
	service *identity.Service
	seeded  identity.Seeded
	shop    model.Project
	alice   model.Account
	roles   map[string]string // ids by name

	handler  *keystone.Handler
	document *openapitest.Document // all answers are held against it

	closeStore func()
}

func newServer(t *testing.T, change ...func(*keystone.Config, *identity.Config)) *server {
	t.Helper()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "huker.db"))
	require.NoError(t, err)
	closeStore := sync.OnceFunc(func() { require.NoError(t, store.Close()) })
	t.Cleanup(closeStore)
	ic := identity.Config{Params: identity.Params{MemoryKiB: 64, Time: 1, Threads: 1}}
	kc := keystone.Config{}
	for _, fn := range change {
		fn(&kc, &ic)
	}
	s := &server{t: t, roles: map[string]string{}, closeStore: closeStore}
	s.service, err = identity.New(store, ic)
	require.NoError(t, err)
	s.seeded, err = s.service.Seed(ctx, identity.Seed{Password: adminPassword})
	require.NoError(t, err)
	roles, err := s.service.Roles(ctx)
	require.NoError(t, err)
	for _, r := range roles {
		s.roles[r.Name] = r.ID
	}
	s.shop, err = s.service.CreateProject(ctx, identity.ProjectChange{Name: ptr("shop")})
	require.NoError(t, err)
	s.alice, err = s.service.CreateAccount(ctx, identity.AccountChange{Name: ptr("alice"), Password: ptr("pa"), DefaultProjectID: &s.shop.ID})
	require.NoError(t, err)
	require.NoError(t, s.service.Assign(ctx, model.Assignment{AccountID: s.alice.ID, ProjectID: s.shop.ID, RoleID: s.roles["member"]}))

	kc.Service = s.service
	h, err := keystone.New(kc)
	require.NoError(t, err)
	s.handler, s.url, s.document = h, serve(t, h), documentOf(t, h)
	return s
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	ts := httptest.NewServer(h)
	t.Cleanup(ts.Close)
	return ts.URL
}

func ptr[T any](v T) *T { return &v }

type object = map[string]any

type reply struct {
	code   int
	header http.Header
	raw    []byte
	body   object
}

// do sends a request; body is JSON text, or a value to be made JSON.
func (s *server) do(method, path, token string, body any, headers ...string) reply {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = bytes.NewBufferString(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(s.t, err)
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	require.NoError(s.t, err)
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	out := reply{code: resp.StatusCode, header: resp.Header}
	out.raw, err = io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	if len(out.raw) > 0 {
		require.NoError(s.t, json.Unmarshal(out.raw, &out.body), "%s %s: %s", method, path, out.raw)
		require.Equal(s.t, "application/json", resp.Header.Get("Content-Type"))
	}
	s.document.Check(s.t, req, out.code, out.header, out.raw)
	if out.code >= 400 && method != http.MethodHead {
		e, ok := out.body["error"].(object)
		require.True(s.t, ok, "%s %s: %s", method, path, out.raw)
		require.EqualValues(s.t, out.code, e["code"])
		require.NotEmpty(s.t, e["title"])
		require.NotEmpty(s.t, e["message"])
	}
	return out
}

func (r reply) message() string {
	e, _ := r.body["error"].(object)
	m, _ := e["message"].(string)
	return m
}

// get follows keys into the body.
func (r reply) get(keys ...string) any {
	var v any = r.body
	for _, k := range keys {
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

func passwordAuth(user object, scope any) object {
	auth := object{"identity": object{"methods": []string{"password"}, "password": object{"user": user}}}
	if scope != nil {
		auth["scope"] = scope
	}
	return object{"auth": auth}
}

func (s *server) token(name, password string) string {
	s.t.Helper()
	r := s.do(http.MethodPost, "/v3/auth/tokens", "", passwordAuth(object{"name": name, "password": password, "domain": object{"id": "default"}}, nil))
	require.Equal(s.t, http.StatusCreated, r.code, string(r.raw))
	return r.header.Get("X-Subject-Token")
}

func (s *server) admin() string  { return s.token("admin", adminPassword) }
func (s *server) member() string { return s.token("alice", "pa") }
