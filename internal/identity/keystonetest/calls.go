package keystonetest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"
)

// Object is a JSON object.
type Object = map[string]any

// Try makes a request as a token's owner; a status of 0 means that no answer came.
func (k Keystone) Try(method, path, token string, body any) (int, http.Header, Object) {
	k.t.Helper()
	var content io.Reader // not "null": Keystone refuses that even with GET
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(k.t, err)
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(k.t.Context(), method, k.URL+path, content)
	require.NoError(k.t, err)
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("X-Subject-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, Object{"no answer": err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	out := Object{}
	text, err := io.ReadAll(resp.Body)
	require.NoError(k.t, err)
	if len(text) > 0 {
		require.NoError(k.t, json.Unmarshal(text, &out), string(text))
	}
	return resp.StatusCode, resp.Header, out
}

// Do makes a request that must be answered with a status.
func (k Keystone) Do(method, path, token string, body any, want int) Object {
	k.t.Helper()
	code, _, out := k.Try(method, path, token, body)
	require.Equal(k.t, want, code, "%s %s: %v", method, path, out)
	return out
}

// ID takes the id out of an answer about one thing.
func ID(o Object, key string) string {
	inner, _ := o[key].(Object)
	id, _ := inner["id"].(string)
	return id
}

// SignIn gives a token with its end; without a project it is for none.
func (k Keystone) SignIn(name, password, project string) (token string, expires time.Time) {
	k.t.Helper()
	auth := Object{"identity": Object{"methods": []string{"password"}, "password": Object{"user": Object{
		"name": name, "password": password, "domain": Object{"id": "default"}}}}}
	if project != "" {
		auth["scope"] = Object{"project": Object{"name": project, "domain": Object{"id": "default"}}}
	}
	code, header, out := k.Try(http.MethodPost, "/auth/tokens", "", Object{"auth": auth})
	require.Equal(k.t, http.StatusCreated, code, "%v", out)
	text, _ := out["token"].(Object)["expires_at"].(string)
	expires, err := time.Parse(time.RFC3339, text)
	require.NoError(k.t, err)
	return header.Get("X-Subject-Token"), expires
}

// Admin gives a token of the administrator.
func (k Keystone) Admin() string {
	k.t.Helper()
	token, _ := k.SignIn(AdminName, AdminPassword, AdminProject)
	return token
}

// Project makes a project and gives its id.
func (k Keystone) Project(admin, name string) string {
	k.t.Helper()
	return ID(k.Do(http.MethodPost, "/projects", admin, Object{"project": Object{"name": name}}, http.StatusCreated), "project")
}

// User makes a user with a role on a project, and gives the user's id.
func (k Keystone) User(admin, name, password, role, project string) string {
	k.t.Helper()
	user := ID(k.Do(http.MethodPost, "/users", admin, Object{"user": Object{"name": name, "password": password}}, http.StatusCreated), "user")
	roles, _ := k.Do(http.MethodGet, "/roles?name="+role, admin, nil, http.StatusOK)["roles"].([]any)
	require.Len(k.t, roles, 1)
	id, _ := roles[0].(Object)["id"].(string)
	k.Do(http.MethodPut, "/projects/"+project+"/users/"+user+"/roles/"+id, admin, nil, http.StatusNoContent)
	return user
}

// Endpoint registers a service with one public endpoint, in a region of its own unless that is Region.
func (k Keystone) Endpoint(admin, kind, name, region, url string) {
	k.t.Helper()
	if region != Region {
		k.Do(http.MethodPost, "/regions", admin, Object{"region": Object{"id": region}}, http.StatusCreated)
	}
	service := ID(k.Do(http.MethodPost, "/services", admin, Object{"service": Object{"type": kind, "name": name}}, http.StatusCreated), "service")
	k.Do(http.MethodPost, "/endpoints", admin, Object{"endpoint": Object{
		"service_id": service, "interface": "public", "region_id": region, "url": url}}, http.StatusCreated)
}
