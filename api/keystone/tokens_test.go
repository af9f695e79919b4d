package keystone_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/internal/identity"
)

func TestTokenBody(t *testing.T) {
	s := newServer(t)
	r := s.do("POST", "/identity/v3/auth/tokens", "", passwordAuth(object{"name": "alice", "password": "pa", "domain": object{"name": "Default"}},
		object{"project": object{"name": "shop", "domain": object{"name": "Default"}}}))
	require.Equal(t, http.StatusCreated, r.code, string(r.raw))
	token := r.body["token"].(object)
	domain := object{"id": "default", "name": "Default"}
	assert.Equal(t, []any{"password"}, token["methods"])
	assert.Equal(t, object{"id": s.alice.ID, "name": "alice", "domain": domain, "password_expires_at": nil}, token["user"])
	assert.Equal(t, object{"id": s.shop.ID, "name": "shop", "domain": domain}, token["project"])
	assert.Equal(t, []any{object{"id": s.roles["member"], "name": "member"}}, token["roles"])
	assert.Equal(t, false, token["is_domain"])
	assert.Len(t, token["audit_ids"], 1)
	issued, err := time.Parse("2006-01-02T15:04:05.000000Z", token["issued_at"].(string))
	require.NoError(t, err)
	expires, err := time.Parse("2006-01-02T15:04:05.000000Z", token["expires_at"].(string))
	require.NoError(t, err)
	assert.Equal(t, identity.DefaultTokenTTL, expires.Sub(issued))
	urls := map[string][]string{}
	for _, entry := range token["catalog"].([]any) {
		e := entry.(object)
		assert.Len(t, e["id"], 32)
		assert.NotEmpty(t, e["name"])
		for _, endpoint := range e["endpoints"].([]any) {
			p := endpoint.(object)
			assert.Equal(t, "RegionOne", p["region"])
			assert.Equal(t, "RegionOne", p["region_id"])
			urls[e["type"].(string)+" "+p["interface"].(string)] = []string{p["url"].(string)}
		}
	}
	want := map[string][]string{}
	for _, iface := range []string{"public", "internal", "admin"} {
		want["identity "+iface] = []string{s.url + "/identity/v3"}
		want["database "+iface] = []string{s.url + "/v1.0/" + s.shop.ID}
	}
	assert.Equal(t, want, urls)
	keys := []string{}
	for k := range token {
		keys = append(keys, k)
	}
	assert.ElementsMatch(t, []string{"methods", "user", "project", "roles", "issued_at", "expires_at", "audit_ids", "is_domain", "catalog"}, keys)

	id := r.header.Get("X-Subject-Token")
	shown := s.do("GET", "/v3/auth/tokens", id, nil, "X-Subject-Token", id)
	assert.Equal(t, http.StatusOK, shown.code)
	assert.Equal(t, id, shown.header.Get("X-Subject-Token"))
	assert.Equal(t, r.body, shown.body)
	without := s.do("GET", "/v3/auth/tokens?nocatalog", id, nil, "X-Subject-Token", id)
	assert.NotContains(t, without.body["token"], "catalog")
	assert.NotContains(t, string(shown.raw), "argon2")
}

func TestSignInBodies(t *testing.T) {
	s := newServer(t)
	alice := object{"name": "alice", "password": "pa", "domain": object{"id": "default"}}
	with := func(change object) object {
		out := object{}
		for k, v := range alice {
			out[k] = v
		}
		for k, v := range change {
			out[k] = v
		}
		return out
	}
	first := s.member()
	raw := func(text string) any { return text }
	for name, tc := range map[string]struct {
		body    any
		code    int
		project any
	}{
		"user by id":              {passwordAuth(object{"id": s.alice.ID, "password": "pa"}, nil), 201, s.shop.ID},
		"user without domain":     {passwordAuth(object{"name": "alice", "password": "pa"}, nil), 201, s.shop.ID},
		"domain by name":          {passwordAuth(with(object{"domain": object{"name": "Default"}}), nil), 201, s.shop.ID},
		"domain in small letters": {passwordAuth(with(object{"domain": object{"name": "default"}}), nil), 201, s.shop.ID},
		"other domain":            {passwordAuth(with(object{"domain": object{"name": "Other"}}), nil), 401, nil},
		"other domain id":         {passwordAuth(with(object{"domain": object{"id": "other"}}), nil), 401, nil},
		"unscoped word":           {passwordAuth(alice, "unscoped"), 201, nil},
		"unscoped object":         {passwordAuth(alice, object{"unscoped": object{}}), 201, nil},
		"null scope":              {raw(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"alice","password":"pa"}}},"scope":null}}`), 201, s.shop.ID},
		"project by id":           {passwordAuth(alice, object{"project": object{"id": s.shop.ID}}), 201, s.shop.ID},
		"project by name":         {passwordAuth(alice, object{"project": object{"name": "shop", "domain": object{"id": "default"}}}), 201, s.shop.ID},
		"project without domain":  {passwordAuth(alice, object{"project": object{"name": "shop"}}), 201, s.shop.ID},
		"project of other domain": {passwordAuth(alice, object{"project": object{"name": "shop", "domain": object{"id": "x"}}}), 401, nil},
		"another's project":       {passwordAuth(alice, object{"project": object{"name": "admin"}}), 401, nil},
		"domain scope":            {passwordAuth(alice, object{"domain": object{"id": "default"}}), 401, nil},
		"system scope":            {passwordAuth(alice, object{"system": object{"all": true}}), 401, nil},
		"empty scope":             {passwordAuth(alice, object{}), 400, nil},
		"odd word as scope":       {passwordAuth(alice, "everything"), 400, nil},
		"number as scope":         {passwordAuth(alice, 7), 400, nil},
		"both scopes":             {passwordAuth(alice, object{"unscoped": object{}, "project": object{"id": "x"}}), 400, nil},
		"project without a name":  {passwordAuth(alice, object{"project": object{}}), 400, nil},
		"wrong password":          {passwordAuth(with(object{"password": "x"}), nil), 401, nil},
		"no password":             {passwordAuth(object{"name": "alice"}, nil), 400, nil},
		"number as password":      {passwordAuth(with(object{"password": 5}), nil), 400, nil},
		"no user":                 {object{"auth": object{"identity": object{"methods": []string{"password"}, "password": object{}}}}, 400, nil},
		"no name":                 {passwordAuth(object{"password": "x"}, nil), 400, nil},
		"no methods":              {object{"auth": object{"identity": object{"methods": []string{}}}}, 400, nil},
		"unknown method":          {object{"auth": object{"identity": object{"methods": []string{"totp"}}}}, 401, nil},
		"no identity":             {object{"auth": object{}}, 400, nil},
		"no auth":                 {object{}, 400, nil},
		"auth is a list":          {raw(`{"auth":[]}`), 400, nil},
		"a list":                  {raw(`[]`), 400, nil},
		"nothing":                 {raw(``), 400, nil},
		"no JSON":                 {raw(`{"auth":`), 400, nil},
		"two values":              {raw(`{"auth":{}} {}`), 400, nil},
		"too long":                {raw(`{"auth":"` + strings.Repeat("x", keystone.MaxBody) + `"}`), 413, nil},
		"extra fields":            {raw(`{"auth":{"x":1,"identity":{"y":2,"methods":["password"],"password":{"user":{"z":3,"name":"alice","password":"pa"}}}}}`), 201, s.shop.ID},
		"token":                   {object{"auth": object{"identity": object{"methods": []string{"token"}, "token": object{"id": first}}}}, 201, s.shop.ID},
		"token to unscoped":       {object{"auth": object{"identity": object{"methods": []string{"token"}, "token": object{"id": first}}, "scope": "unscoped"}}, 201, nil},
		"unknown token":           {object{"auth": object{"identity": object{"methods": []string{"token"}, "token": object{"id": "x"}}}}, 401, nil},
		"no token":                {object{"auth": object{"identity": object{"methods": []string{"token"}}}}, 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.do("POST", "/v3/auth/tokens", "", tc.body)
			require.Equal(t, tc.code, r.code, string(r.raw))
			assert.Equal(t, tc.code == 201, r.header.Get("X-Subject-Token") != "")
			if tc.code != 201 {
				return
			}
			assert.Equal(t, tc.project, r.get("token", "project", "id"))
			if tc.project == nil {
				for _, key := range []string{"project", "roles", "catalog", "is_domain"} {
					assert.NotContains(t, r.body["token"], key)
				}
			}
		})
	}
}

func TestUnauthorizedSaysHow(t *testing.T) {
	s := newServer(t)
	unknown := s.do("POST", "/v3/auth/tokens", "", passwordAuth(object{"name": "nobody", "password": "x"}, nil))
	wrong := s.do("POST", "/v3/auth/tokens", "", passwordAuth(object{"name": "alice", "password": "x"}, nil))
	assert.Equal(t, 401, unknown.code)
	assert.Equal(t, wrong.raw, unknown.raw, "nobody learns which names exist")
	assert.Equal(t, `Keystone uri="`+s.url+`/identity/v3"`, wrong.header.Get("WWW-Authenticate"))
	assert.Equal(t, "Unauthorized", wrong.get("error", "title"))
}

func TestSignInLimit(t *testing.T) {
	s := newServer(t, func(_ *keystone.Config, c *identity.Config) {
		c.Limits = identity.SignInLimits{PerUserBurst: 2, PerUser: 0.1}
	})
	for range 2 {
		assert.Equal(t, 401, s.do("POST", "/v3/auth/tokens", "", passwordAuth(object{"name": "alice", "password": "x"}, nil)).code)
	}
	r := s.do("POST", "/v3/auth/tokens", "", passwordAuth(object{"name": "alice", "password": "pa"}, nil))
	assert.Equal(t, 429, r.code)
	assert.Equal(t, "10", r.header.Get("Retry-After"))
	assert.Contains(t, r.message(), "10 s")
}

func TestSubjectToken(t *testing.T) {
	s := newServer(t)
	admin, alice := s.admin(), s.member()
	for name, tc := range map[string]struct {
		method, caller, subject string
		code                    int
	}{
		"own":                      {"GET", alice, alice, 200},
		"own, HEAD":                {"HEAD", alice, alice, 200},
		"another's, administrator": {"GET", admin, alice, 200},
		"another's":                {"GET", alice, admin, 403},
		"another's, DELETE":        {"DELETE", alice, admin, 403},
		"unknown":                  {"GET", admin, "hk_x", 404},
		"missing":                  {"GET", admin, "", 400},
		"without a token":          {"GET", "", alice, 401},
		"with a bad token":         {"GET", "bad", alice, 401},
	} {
		headers := []string{}
		if tc.subject != "" {
			headers = []string{"X-Subject-Token", tc.subject}
		}
		r := s.do(tc.method, "/v3/auth/tokens", tc.caller, nil, headers...)
		assert.Equal(t, tc.code, r.code, name)
	}
	assert.Equal(t, 204, s.do("DELETE", "/v3/auth/tokens", admin, nil, "X-Subject-Token", alice).code)
	assert.Equal(t, 401, s.do("GET", "/v3/auth/projects", alice, nil).code)
	assert.Equal(t, 204, s.do("DELETE", "/v3/auth/tokens", admin, nil, "X-Subject-Token", admin).code)
	assert.Equal(t, 401, s.do("GET", "/v3/users", admin, nil).code)
}

func TestPublicURLAndRegion(t *testing.T) {
	s := newServer(t, func(c *keystone.Config, _ *identity.Config) {
		c.PublicURL, c.Region = "https://db.example.org/huker/", "north"
	})
	r := s.do("GET", "/v3/auth/catalog", s.member(), nil)
	require.Equal(t, 200, r.code)
	text := string(r.raw)
	assert.Contains(t, text, `"https://db.example.org/huker/v1.0/`+s.shop.ID+`"`)
	assert.Contains(t, text, `"https://db.example.org/huker/identity/v3"`)
	assert.Contains(t, text, `"region":"north"`)
	assert.NotContains(t, text, "127.0.0.1")
	for _, bad := range []string{"db.example.org", "ftp://x", "http://", "://"} {
		_, err := keystone.New(keystone.Config{Service: s.service, PublicURL: bad})
		require.Error(t, err, bad)
	}
	_, err := keystone.New(keystone.Config{})
	require.Error(t, err)
}

func TestVersionDocuments(t *testing.T) {
	s := newServer(t)
	for path, href := range map[string]string{
		"/v3": "/v3/", "/v3/": "/v3/", "/identity/v3": "/identity/v3/", "/identity/v3/": "/identity/v3/",
	} {
		r := s.do("GET", path, "", nil)
		require.Equal(t, 200, r.code, path)
		assert.Equal(t, "v3.14", r.get("version", "id"))
		assert.Equal(t, "stable", r.get("version", "status"))
		assert.Equal(t, []any{object{"rel": "self", "href": s.url + href}}, r.get("version", "links"))
	}
	for _, path := range []string{"/identity", "/identity/"} {
		r := s.do("GET", path, "", nil)
		require.Equal(t, 300, r.code, path)
		values := r.get("versions", "values").([]any)
		require.Len(t, values, 1)
		assert.Equal(t, []any{object{"rel": "self", "href": s.url + "/identity/v3/"}}, values[0].(object)["links"])
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	for _, path := range []string{
		"/v3/nothing", "/v3/auth", "/v3/users/x/y/z", "/v3/../v3/users", "/v3//users", "/v3/users/..%2f..%2f", "/v3/users/%00",
		"/v3/projects/a%2fb", "/identity/v2.0", "/v3/users/" + strings.Repeat("x", 3000), "/v3/users/%ff%fe",
	} {
		assert.Equal(t, 404, s.do("GET", path, admin, nil).code, path)
	}
	r := s.do("PUT", "/v3/users", admin, nil)
	assert.Equal(t, 405, r.code)
	assert.Equal(t, "GET, HEAD, POST", r.header.Get("Allow"))
	assert.Equal(t, 405, s.do("DELETE", "/identity/v3", "", nil).code)
}

func FuzzSignIn(f *testing.F) {
	f.Add([]byte(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"a","password":"b","domain":{"id":"default"}}}},"scope":{"project":{"id":"x"}}}}`))
	f.Add([]byte(`{"auth":{"identity":{"methods":["token"],"token":{"id":"hk_"}},"scope":"unscoped"}}`))
	f.Add([]byte(`{"auth":{"identity":{"methods":["password","token"]},"scope":{"unscoped":{}}}}`))
	f.Add([]byte(`{"auth":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := keystone.ParseSignIn(body)
		if err != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		if in.Password == nil && in.Token == "" {
			t.Fatalf("accepted without credentials: %q", body)
		}
		if in.Password != nil && in.Password.AccountID == "" && in.Password.AccountName == "" {
			t.Fatalf("accepted without a user: %q", body)
		}
		if in.Scope.Unscoped && (in.Scope.ProjectID != "" || in.Scope.ProjectName != "") {
			t.Fatalf("scoped and unscoped: %q", body)
		}
	})
}
