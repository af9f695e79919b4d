package keystone_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/api/openapitest"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/protocol"
)

// documentOf is what the database API serves with the handler beside it.
func documentOf(t *testing.T, h *keystone.Handler) *openapitest.Document {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "empty.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	beside, err := api.New(api.Config{
		Store: store, Guests: struct{ api.Guests }{}, Auth: identity.None(), Log: slog.New(slog.DiscardHandler),
		Kick:       func(context.Context, protocol.Kick) error { return nil },
		Neighbours: []api.Neighbour{{Name: "Identity", Below: keystone.PrefixIdentity, Operations: h.Operations}},
	})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	beside.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return openapitest.Load(t, w.Body.Bytes())
}

// ofIdentity leaves the document's other calls out.
func ofIdentity(d *openapitest.Document) map[string]openapitest.Operation {
	out := map[string]openapitest.Operation{}
	for id, op := range d.Operations() {
		if strings.HasPrefix(op.Path, keystone.PrefixV3) || strings.HasPrefix(op.Path, keystone.PrefixIdentity) {
			out[id] = op
		}
	}
	return out
}

// A call that is registered and not in the document, or the other way round, cannot be.
func TestEveryRouteIsInTheDocument(t *testing.T) {
	s := newServer(t)
	registered := s.handler.Registered()
	described := map[string]string{}
	for id, op := range ofIdentity(s.document) {
		described[op.Method+" "+op.Path] = id
		if op.Path == keystone.PrefixIdentity {
			assert.Equal(t, []string{""}, op.Prefixes)
		} else {
			assert.Equal(t, []string{keystone.PrefixIdentity, ""}, op.Prefixes, "both places of %s", op.Path)
		}
	}
	require.Equal(t, registered, described)
}

// TestEveryOperation calls each operation of the document with success, so that the document is held against real answers of all, at both
// places where they are.
func TestEveryOperation(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	services := s.do("GET", "/v3/services", admin, nil).body["services"].([]any)
	service := services[0].(object)["id"].(string)
	endpoints := s.do("GET", "/v3/endpoints", admin, nil).body["endpoints"].([]any)
	endpoint := endpoints[0].(object)["id"].(string)
	spare := s.token("alice", "pa")
	grant := "/v3/projects/" + s.shop.ID + "/users/" + s.alice.ID + "/roles/"
	created := func(path, key, name string) string {
		t.Helper()
		r := s.do("POST", path, admin, object{key: object{"name": name}})
		require.Equal(t, 201, r.code, string(r.raw))
		return path + "/" + r.get(key, "id").(string)
	}
	project, user, role := created("/v3/projects", "project", "p"), created("/v3/users", "user", "u"), created("/v3/roles", "role", "r")
	for _, c := range []struct {
		method, path string
		body         any
		code         int
	}{
		{"GET", "/identity", nil, 300}, {"GET", "/v3", nil, 200},
		{"POST", "/v3/auth/tokens", passwordAuth(object{"name": "alice", "password": "pa"}, nil), 201},
		{"POST", "/v3/auth/tokens", passwordAuth(object{"name": "alice", "password": "pa"}, "unscoped"), 201},
		{"GET", "/v3/auth/tokens", nil, 200}, {"GET", "/v3/auth/tokens?nocatalog", nil, 200}, {"DELETE", "/v3/auth/tokens", nil, 204},
		{"GET", "/v3/auth/catalog", nil, 200}, {"GET", "/v3/auth/projects", nil, 200}, {"GET", "/v3/auth/domains", nil, 200},
		{"GET", "/v3/domains", nil, 200}, {"GET", "/v3/domains/default", nil, 200},
		{"GET", "/v3/projects", nil, 200}, {"GET", project, nil, 200}, {"PATCH", project, object{"project": object{"description": "d"}}, 200},
		{"DELETE", project, nil, 204},
		{"GET", "/v3/users", nil, 200}, {"GET", user, nil, 200},
		{"PATCH", user, object{"user": object{"email": "u@example.org", "default_project_id": s.shop.ID, "password": "one"}}, 200},
		{"POST", user + "/password", object{"user": object{"original_password": "one", "password": "two"}}, 204},
		{"GET", user + "/projects", nil, 200}, {"GET", user + "/groups", nil, 200}, {"GET", user, nil, 200}, {"DELETE", user, nil, 204},
		{"GET", "/v3/roles", nil, 200}, {"GET", role, nil, 200}, {"PATCH", role, object{"role": object{"name": "renamed"}}, 200}, {"DELETE", role, nil, 204},
		{"PUT", grant + s.roles["reader"], nil, 204}, {"GET", grant + s.roles["reader"], nil, 204},
		{"GET", strings.TrimSuffix(grant, "/"), nil, 200}, {"GET", "/v3/role_assignments", nil, 200}, {"GET", "/v3/role_assignments?include_names", nil, 200},
		{"DELETE", grant + s.roles["reader"], nil, 204},
		{"GET", "/v3/domains/default/users/" + s.alice.ID + "/roles", nil, 200}, {"GET", "/v3/system/users/" + s.alice.ID + "/roles", nil, 200},
		{"GET", "/v3/services", nil, 200}, {"GET", "/v3/services/" + service, nil, 200}, {"GET", "/v3/services?type=database", nil, 200},
		{"GET", "/v3/endpoints", nil, 200}, {"GET", "/v3/endpoints/" + endpoint, nil, 200}, {"GET", "/v3/endpoints?interface=admin", nil, 200},
		{"GET", "/v3/regions", nil, 200}, {"GET", "/v3/regions/RegionOne", nil, 200}, {"GET", "/v3/groups", nil, 200}, {"GET", "/v3/policies", nil, 200},
	} {
		r := s.do(c.method, c.path, admin, c.body, "X-Subject-Token", spare)
		require.Equal(t, c.code, r.code, "%s %s: %s", c.method, c.path, r.raw)
		if c.method == "GET" && strings.HasPrefix(c.path, "/v3") {
			require.Equal(t, r.code, s.do("GET", "/identity"+c.path, admin, nil, "X-Subject-Token", admin).code, c.path)
		}
	}
	for id, op := range ofIdentity(s.document) {
		if op.Status != 0 {
			require.True(t, s.document.Seen(id), "operation %s (%s %s) was not called with success", id, op.Method, op.Path)
			continue
		}
		path := strings.NewReplacer("{domain}", "default", "{user}", s.alice.ID, "{role}", s.roles["member"], "{id}", "x").Replace(op.Path)
		r := s.do(op.Method, path, admin, object{})
		require.Contains(t, []int{404, 501}, r.code, "%s: nothing is documented for it but refusals", id)
		if op.Method != "GET" {
			require.Equal(t, 501, r.code, id)
		}
		require.Equal(t, 401, s.do(op.Method, path, "", object{}).code, id)
	}
}

func TestElsewhere(t *testing.T) {
	h := keystone.Elsewhere("https://keystone:5000/v3", nil)
	for _, path := range []string{"/v3", "/v3/auth/tokens", "/identity", "/identity/v3/users"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(`{"auth":{}}`)))
			assert.Equal(t, http.StatusNotFound, w.Code)
			assert.JSONEq(t, `{"error":{"code":404,"title":"Not Found","message":"Accounts are kept by another Keystone: sign in at https://keystone:5000/v3."}}`,
				w.Body.String())
		}
	}
}
