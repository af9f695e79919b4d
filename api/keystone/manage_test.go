package keystone_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/internal/identity"
)

// routes is every route but the public ones: who may use it, and what it answers to an administrator. {shop}, {alice}, {member} and
// {admin} are replaced by ids.
var routes = []struct {
	method, path string
	body         any
	admin        int // code for an administrator
	member       int // code for alice, a member of shop
}{
	{"GET", "/auth/catalog", nil, 200, 200},
	{"GET", "/auth/projects", nil, 200, 200},
	{"GET", "/auth/domains", nil, 200, 200},
	{"GET", "/domains", nil, 200, 200},
	{"GET", "/domains/default", nil, 200, 200},
	{"GET", "/domains/Default", nil, 404, 404},
	{"GET", "/projects", nil, 200, 403},
	{"POST", "/projects", object{"project": object{"name": "new"}}, 201, 403},
	{"GET", "/projects/{shop}", nil, 200, 200},
	{"GET", "/projects/{adminproject}", nil, 200, 403},
	{"GET", "/projects/shop", nil, 404, 403},
	{"PATCH", "/projects/{shop}", object{"project": object{"description": "d"}}, 200, 403},
	{"PATCH", "/projects/x", object{"project": object{"description": "d"}}, 404, 403},
	{"DELETE", "/projects/{shop}", nil, 204, 403},
	{"DELETE", "/projects/x", nil, 404, 403},
	{"GET", "/users", nil, 200, 403},
	{"POST", "/users", object{"user": object{"name": "new", "password": "p"}}, 201, 403},
	{"GET", "/users/{alice}", nil, 200, 200},
	{"GET", "/users/{adminuser}", nil, 200, 403},
	{"GET", "/users/alice", nil, 404, 403},
	{"PATCH", "/users/{alice}", object{"user": object{"email": "a@b"}}, 200, 403},
	{"PATCH", "/users/x", object{"user": object{"email": "a@b"}}, 404, 403},
	{"DELETE", "/users/{alice}", nil, 204, 403},
	{"DELETE", "/users/x", nil, 404, 403},
	{"POST", "/users/{alice}/password", object{"user": object{"password": "n", "original_password": "pa"}}, 204, 204},
	{"POST", "/users/{adminuser}/password", object{"user": object{"password": "n", "original_password": adminPassword}}, 204, 403},
	{"POST", "/users/{alice}/password", object{"user": object{"password": "n", "original_password": "bad"}}, 401, 401},
	{"POST", "/users/{alice}/password", object{"user": object{"password": "n"}}, 400, 400},
	{"POST", "/users/{alice}/password", object{"user": object{"password": "pa", "original_password": "pa"}}, 400, 400},
	{"GET", "/users/{alice}/projects", nil, 200, 200},
	{"GET", "/users/{adminuser}/projects", nil, 200, 403},
	{"GET", "/users/x/projects", nil, 404, 403},
	{"GET", "/users/{alice}/groups", nil, 200, 200},
	{"GET", "/roles", nil, 200, 403},
	{"POST", "/roles", object{"role": object{"name": "dba"}}, 201, 403},
	{"POST", "/roles", object{"role": object{"name": "dba", "domain_id": "default"}}, 400, 403},
	{"GET", "/roles/{member}", nil, 200, 403},
	{"GET", "/roles/member", nil, 404, 403},
	{"PATCH", "/roles/{member}", object{"role": object{"name": "user"}}, 200, 403},
	{"PATCH", "/roles/{member}", object{"role": object{}}, 200, 403},
	{"PATCH", "/roles/{member}", object{"role": object{"name": "reader"}}, 409, 403},
	{"PATCH", "/roles/x", object{"role": object{"name": "user"}}, 404, 403},
	{"DELETE", "/roles/{member}", nil, 204, 403},
	{"DELETE", "/roles/x", nil, 404, 403},
	{"GET", "/role_assignments", nil, 200, 403},
	{"GET", "/role_assignments?user.id={alice}", nil, 200, 200},
	{"GET", "/role_assignments?user.id={adminuser}", nil, 200, 403},
	{"GET", "/projects/{shop}/users/{alice}/roles", nil, 200, 403},
	{"GET", "/projects/x/users/{alice}/roles", nil, 404, 403},
	{"GET", "/projects/{shop}/users/x/roles", nil, 404, 403},
	{"PUT", "/projects/{shop}/users/{alice}/roles/{reader}", nil, 204, 403},
	{"PUT", "/projects/x/users/{alice}/roles/{reader}", nil, 404, 403},
	{"PUT", "/projects/{shop}/users/x/roles/{reader}", nil, 404, 403},
	{"PUT", "/projects/{shop}/users/{alice}/roles/x", nil, 404, 403},
	{"GET", "/projects/{shop}/users/{alice}/roles/{member}", nil, 204, 403},
	{"HEAD", "/projects/{shop}/users/{alice}/roles/{member}", nil, 204, 403},
	{"HEAD", "/projects/{shop}/users/{alice}/roles/{reader}", nil, 404, 403},
	{"DELETE", "/projects/{shop}/users/{alice}/roles/{member}", nil, 204, 403},
	{"DELETE", "/projects/{shop}/users/{alice}/roles/{reader}", nil, 404, 403},
	{"GET", "/domains/default/users/{alice}/roles", nil, 200, 403},
	{"PUT", "/domains/default/users/{alice}/roles/{member}", nil, 501, 403},
	{"GET", "/system/users/{alice}/roles", nil, 200, 403},
	{"PUT", "/system/users/{alice}/roles/{member}", nil, 501, 403},
	{"GET", "/services", nil, 200, 200},
	{"GET", "/endpoints", nil, 200, 200},
	{"GET", "/regions", nil, 200, 200},
	{"GET", "/regions/RegionOne", nil, 200, 200},
	{"GET", "/regions/x", nil, 404, 404},
	{"GET", "/groups", nil, 200, 200},
	{"GET", "/groups/x", nil, 404, 404},
	{"POST", "/groups", object{"group": object{"name": "g"}}, 501, 403},
	{"POST", "/services", object{"service": object{"name": "g"}}, 501, 403},
}

func (s *server) fill(path string) string {
	return strings.NewReplacer("{shop}", s.shop.ID, "{alice}", s.alice.ID, "{adminproject}", s.seeded.Project.ID,
		"{adminuser}", s.seeded.Account.ID, "{member}", s.roles["member"], "{reader}", s.roles["reader"]).Replace(path)
}

func TestRoutes(t *testing.T) {
	shared := newServer(t)
	for _, rt := range routes {
		t.Run(rt.method+" "+rt.path, func(t *testing.T) {
			s, write := shared, rt.method != "GET" && rt.method != "HEAD"
			if write && (rt.admin < 300 || rt.member < 300) {
				s = newServer(t)
			}
			path := "/v3" + s.fill(rt.path)
			assert.Equal(t, 401, s.do(rt.method, path, "", rt.body).code, "without a token")
			r := s.do(rt.method, path, s.member(), rt.body)
			assert.Equal(t, rt.member, r.code, "member: %s", r.raw)
			if write && r.code < 300 {
				s = newServer(t) // the change is done; the administrator gets a fresh one
				path = "/v3" + s.fill(rt.path)
			}
			r = s.do(rt.method, path, s.admin(), rt.body)
			assert.Equal(t, rt.admin, r.code, "administrator: %s", r.raw)
		})
	}
}

func TestBadBodies(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	for name, tc := range map[string]struct {
		method, path, body string
		code               int
	}{
		"no body":              {"POST", "/v3/projects", "", 400},
		"wrong key":            {"POST", "/v3/projects", `{"user":{"name":"x"}}`, 400},
		"not an object":        {"POST", "/v3/projects", `{"project":"x"}`, 400},
		"no name":              {"POST", "/v3/projects", `{"project":{}}`, 400},
		"null name":            {"POST", "/v3/projects", `{"project":{"name":null}}`, 400},
		"number as name":       {"POST", "/v3/projects", `{"project":{"name":1}}`, 400},
		"word as enabled":      {"POST", "/v3/projects", `{"project":{"name":"x","enabled":"yes"}}`, 400},
		"null as enabled":      {"POST", "/v3/users", `{"user":{"name":"x","enabled":null}}`, 400},
		"a domain":             {"POST", "/v3/projects", `{"project":{"name":"x","is_domain":true}}`, 400},
		"nested":               {"POST", "/v3/projects", `{"project":{"name":"x","parent_id":"` + s.shop.ID + `"}}`, 400},
		"unknown domain":       {"POST", "/v3/projects", `{"project":{"name":"x","domain_id":"y"}}`, 404},
		"user, unknown domain": {"POST", "/v3/users", `{"user":{"name":"x","domain_id":"y"}}`, 404},
		"name is taken":        {"POST", "/v3/projects", `{"project":{"name":"shop"}}`, 409},
		"user is taken":        {"POST", "/v3/users", `{"user":{"name":"alice","password":"x"}}`, 409},
		"renamed to taken":     {"PATCH", "/v3/projects/" + s.shop.ID, `{"project":{"name":"admin"}}`, 409},
		"unknown default":      {"POST", "/v3/users", `{"user":{"name":"x","default_project_id":"y"}}`, 400},
		"empty password":       {"POST", "/v3/users", `{"user":{"name":"x","password":""}}`, 400},
		"too long":             {"POST", "/v3/users", `{"user":{"name":"` + strings.Repeat("x", keystone.MaxBody) + `"}}`, 413},
		"long name":            {"POST", "/v3/users", `{"user":{"name":"` + strings.Repeat("x", 256) + `"}}`, 400},
		"deep":                 {"POST", "/v3/users", `{"user":` + strings.Repeat("[", 50000) + strings.Repeat("]", 50000) + `}`, 400},
		"extra fields":         {"POST", "/v3/users", `{"user":{"name":"x","password":"p","options":{"a":1},"phone":"1","domain_id":"default"}}`, 201},
		"null fields":          {"POST", "/v3/users", `{"user":{"name":"y","password":null,"email":null,"default_project_id":null,"domain_id":null}}`, 201},
	} {
		r := s.do(tc.method, tc.path, admin, tc.body)
		assert.Equal(t, tc.code, r.code, "%s: %s", name, r.raw)
		assert.NotContains(t, r.message(), "identity:", name)
		assert.NotContains(t, r.message(), "metastore", name)
	}
	r := s.do("POST", "/v3/projects", admin, `{"project":{"name":"shop"}}`)
	assert.Equal(t, "Conflict occurred attempting to store project - Duplicate entry found with name shop.", r.message())
	assert.Equal(t, "Conflict", r.get("error", "title"))
	assert.Equal(t, "Could not find user: nobody.", s.do("GET", "/v3/users/nobody", admin, nil).message())
}

func TestProjectLife(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	r := s.do("POST", "/identity/v3/projects", admin, object{"project": object{"name": "web", "description": "the web", "domain_id": "default", "tags": []string{}}})
	require.Equal(t, 201, r.code)
	id := r.get("project", "id").(string)
	assert.Equal(t, object{
		"id": id, "name": "web", "description": "the web", "enabled": true, "domain_id": "default", "parent_id": "default", "is_domain": false,
		"tags": []any{}, "options": object{}, "links": object{"self": s.url + "/identity/v3/projects/" + id},
	}, r.body["project"])
	names := func(query string) (out []string) {
		t.Helper()
		for _, p := range s.do("GET", "/v3/projects"+query, admin, nil).body["projects"].([]any) {
			out = append(out, p.(object)["name"].(string))
		}
		return out
	}
	assert.Equal(t, []string{"admin", "shop", "web"}, names(""))
	assert.Equal(t, []string{"web"}, names("?name=web"))
	assert.Empty(t, names("?name="))
	assert.Equal(t, []string{"web"}, names("?name=web&domain_id=default&parent_id=default&enabled=true"))
	assert.Empty(t, names("?domain_id=x"))
	assert.Empty(t, names("?is_domain=True"))
	r = s.do("PATCH", "/v3/projects/"+id, admin, object{"project": object{"name": "www", "enabled": false, "description": nil}})
	require.Equal(t, 200, r.code)
	assert.Equal(t, false, r.get("project", "enabled"))
	assert.Empty(t, r.get("project", "description"))
	assert.Equal(t, []string{"www"}, names("?enabled=False"))
	assert.Equal(t, 204, s.do("DELETE", "/v3/projects/"+id, admin, nil).code)
	assert.Equal(t, 404, s.do("GET", "/v3/projects/"+id, admin, nil).code)
}

func TestUserLife(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	r := s.do("POST", "/v3/users", admin, object{"user": object{"name": "bob", "password": "secret pw", "email": "b@x", "default_project_id": s.shop.ID}})
	require.Equal(t, 201, r.code)
	id := r.get("user", "id").(string)
	assert.Equal(t, object{
		"id": id, "name": "bob", "enabled": true, "domain_id": "default", "email": "b@x", "default_project_id": s.shop.ID, "password_expires_at": nil,
		"options": object{}, "links": object{"self": s.url + "/v3/users/" + id},
	}, r.body["user"])
	bob := s.token("bob", "secret pw")
	assert.Nil(t, s.do("GET", "/v3/auth/tokens", bob, nil, "X-Subject-Token", bob).get("token", "project"), "no role there yet")
	assert.Equal(t, 403, s.do("GET", "/v3/auth/catalog", bob, nil).code)
	assert.Equal(t, 204, s.do("PUT", "/v3/projects/"+s.shop.ID+"/users/"+id+"/roles/"+s.roles["reader"], admin, nil).code)
	bob = s.token("bob", "secret pw")
	r = s.do("GET", "/v3/auth/projects", bob, nil)
	assert.Len(t, r.body["projects"], 1)

	r = s.do("POST", "/v3/users/"+id+"/password", bob, object{"user": object{"password": "next", "original_password": "secret pw"}})
	require.Equal(t, 204, r.code)
	assert.Equal(t, 401, s.do("GET", "/v3/auth/projects", bob, nil).code, "the old tokens have ended")
	bob = s.token("bob", "next")
	r = s.do("PATCH", "/v3/users/"+id, admin, object{"user": object{"enabled": false, "email": nil, "password": nil}})
	require.Equal(t, 200, r.code)
	assert.NotContains(t, r.body["user"], "email")
	assert.Equal(t, 401, s.do("GET", "/v3/auth/projects", bob, nil).code)
	assert.Len(t, s.do("GET", "/v3/users?enabled=0", admin, nil).body["users"], 1)
	assert.Len(t, s.do("GET", "/v3/users?name=bob&domain_id=default", admin, nil).body["users"], 1)
	require.Equal(t, 200, s.do("PATCH", "/v3/users/"+id, admin, object{"user": object{"enabled": true}}).code)
	s.token("bob", "next") // "password": null was no change
	assert.Equal(t, 204, s.do("DELETE", "/v3/users/"+id, admin, nil).code)
	assert.Len(t, s.do("GET", "/v3/role_assignments", admin, nil).body["role_assignments"], 3)
}

func TestRoleAssignments(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	r := s.do("GET", "/v3/role_assignments?include_names&scope.project.id="+s.shop.ID, admin, nil)
	domain := object{"id": "default", "name": "Default"}
	assert.Equal(t, []any{object{
		"user":  object{"id": s.alice.ID, "name": "alice", "domain": domain},
		"role":  object{"id": s.roles["member"], "name": "member"},
		"scope": object{"project": object{"id": s.shop.ID, "name": "shop", "domain": domain}},
		"links": object{"assignment": s.url + "/v3/projects/" + s.shop.ID + "/users/" + s.alice.ID + "/roles/" + s.roles["member"]},
	}}, r.body["role_assignments"])
	for query, n := range map[string]int{
		"": 3, "?user.id=" + s.alice.ID: 1, "?role.id=" + s.roles["admin"]: 1, "?role.id=x": 0, "?scope.domain.id=default": 0, "?scope.system=all": 0,
		"?group.id=x": 0, "?effective=True&include_names=False&user.id=" + s.seeded.Account.ID: 2,
	} {
		list := s.do("GET", "/v3/role_assignments"+query, admin, nil).body["role_assignments"].([]any)
		assert.Len(t, list, n, query)
		for _, a := range list {
			assert.NotContains(t, a.(object)["user"], "name", query)
		}
	}
}

func TestLastAdminOverHTTP(t *testing.T) {
	s := newServer(t)
	admin := s.admin()
	for _, rq := range [][2]string{
		{"DELETE", "/v3/users/" + s.seeded.Account.ID}, {"DELETE", "/v3/roles/" + s.roles["admin"]}, {"DELETE", "/v3/projects/" + s.seeded.Project.ID},
		{"DELETE", "/v3/projects/" + s.seeded.Project.ID + "/users/" + s.seeded.Account.ID + "/roles/" + s.roles["admin"]},
	} {
		r := s.do(rq[0], rq[1], admin, nil)
		assert.Equal(t, 403, r.code, rq[1])
		assert.Contains(t, r.message(), "admin", rq[1])
	}
	r := s.do("PATCH", "/v3/users/"+s.seeded.Account.ID, admin, object{"user": object{"enabled": false}})
	assert.Equal(t, 403, r.code)
	assert.Contains(t, r.message(), "role admin")
}

// Every way to sign in to the API works for identity's calls too, when it is configured.
func TestOtherAuthenticators(t *testing.T) {
	s := newServer(t)
	chain, err := identity.NewChain(identity.ChainConfig{Service: s.service, StaticToken: "sixteen characters", None: true, Listen: "127.0.0.1:1"})
	require.NoError(t, err)
	h, err := keystone.New(keystone.Config{Service: s.service, Auth: chain})
	require.NoError(t, err)
	s.url = serve(t, h)
	assert.Equal(t, 200, s.do("GET", "/v3/users", "sixteen characters", nil).code)
	assert.Equal(t, 401, s.do("GET", "/v3/users", "sixteen characterz", nil).code)
	assert.Equal(t, 401, s.do("GET", "/v3/users", "", nil).code, "none is for the database API")
	assert.Equal(t, 200, s.do("GET", "/v3/users", "", nil, "Authorization", "Basic YWRtaW46YWRtaW4gcGFzc3dvcmQ=").code)
	assert.Empty(t, s.do("GET", "/v3/auth/projects", "sixteen characters", nil).body["projects"])
}

func TestStoreFailureIs503(t *testing.T) {
	s := newServer(t, func(_ *keystone.Config, _ *identity.Config) {})
	admin := s.admin()
	s.closeStore()
	r := s.do("GET", "/v3/users", admin, nil)
	assert.Equal(t, http.StatusServiceUnavailable, r.code)
	r = s.do("POST", "/v3/auth/tokens", "", passwordAuth(object{"name": "admin", "password": adminPassword}, nil))
	assert.Equal(t, http.StatusServiceUnavailable, r.code)
	assert.Equal(t, "The identity service cannot answer now; try again.", r.message())
}
