package keystone_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/osclient"
)

func passwordEnv(s *server, path, user, password, project string) []string {
	return []string{
		"OS_AUTH_TYPE=password", "OS_AUTH_URL=" + s.url + path, "OS_USERNAME=" + user, "OS_PASSWORD=" + password, "OS_PROJECT_NAME=" + project,
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
	}
}

func TestOpenstackSignsIn(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	s := newServer(t)
	admin := osclient.New(t, "openstack", passwordEnv(s, "/identity/v3", "admin", adminPassword, "admin")...).Loaded()
	issued := admin.Object("token", "issue")
	assert.Equal(t, s.seeded.Project.ID, issued["project_id"])
	assert.Equal(t, s.seeded.Account.ID, issued["user_id"])
	token := issued["id"].(string)

	for name, env := range map[string][]string{
		"unversioned":      {"OS_AUTH_URL=" + s.url + "/identity"},
		"unversioned, v3 ": {"OS_AUTH_URL=" + s.url + "/v3"},
		"v3password":       {"OS_AUTH_TYPE=v3password"},
		"domains by id":    {"OS_USER_DOMAIN_NAME=", "OS_PROJECT_DOMAIN_NAME=", "OS_USER_DOMAIN_ID=default", "OS_PROJECT_DOMAIN_ID=default"},
		"v3token":          {"OS_AUTH_TYPE=v3token", "OS_TOKEN=" + token, "OS_USERNAME=", "OS_PASSWORD=", "OS_USER_DOMAIN_NAME="},
	} {
		assert.Equal(t, s.seeded.Project.ID, admin.With(env...).Object("token", "issue")["project_id"], name)
	}
	assert.Contains(t, admin.With("OS_PASSWORD=wrong").Fails("token", "issue"), "HTTP 401")

	catalog := admin.List("catalog", "list")
	assert.ElementsMatch(t, []string{"identity", "database"}, osclient.Column(catalog, "Type"))
	assert.Contains(t, admin.Do("catalog", "show", "database"), s.url+"/v1.0/"+s.seeded.Project.ID)
	assert.Len(t, admin.List("endpoint", "list"), 6)
	assert.Len(t, admin.List("service", "list"), 2)
	assert.Equal(t, []string{"RegionOne"}, osclient.Column(admin.List("region", "list"), "Region"))
	assert.Equal(t, []string{"Default"}, osclient.Column(admin.List("domain", "list"), "Name"))
	assert.Equal(t, "default", admin.Object("domain", "show", "Default")["id"])
	assert.Empty(t, admin.List("group", "list"))
	admin.Do("token", "revoke", token)
	assert.Equal(t, 401, s.do("GET", "/v3/users", token, nil).code)
}

func TestOpenstackManages(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	s := newServer(t)
	admin := osclient.New(t, "openstack", passwordEnv(s, "/identity/v3", "admin", adminPassword, "admin")...).Loaded()

	p := admin.Object("project", "create", "web", "--description", "the web", "--domain", "Default")
	assert.Equal(t, "the web", p["description"])
	assert.Equal(t, p["id"], admin.Object("project", "show", "web")["id"], "by name")
	assert.Equal(t, "web", admin.Object("project", "show", p["id"].(string))["name"], "by id")
	assert.ElementsMatch(t, []string{"admin", "shop", "web"}, osclient.Column(admin.List("project", "list"), "Name"))
	admin.Do("project", "set", "web", "--description", "changed", "--name", "www")
	assert.Equal(t, "changed", admin.Object("project", "show", "www")["description"])
	assert.Contains(t, admin.Fails("project", "create", "www"), "Duplicate entry")
	assert.Contains(t, admin.Fails("project", "show", "nothing"), "No project with a name or ID of 'nothing' exists.")

	u := admin.Object("user", "create", "bob", "--password", "bob's", "--email", "b@x", "--project", "www", "--enable")
	assert.Equal(t, p["id"], u["default_project_id"])
	assert.Equal(t, "b@x", admin.Object("user", "show", "bob")["email"])
	assert.ElementsMatch(t, []string{"admin", "alice", "bob"}, osclient.Column(admin.List("user", "list"), "Name"))

	admin.Do("role", "create", "dba")
	assert.ElementsMatch(t, []string{"admin", "dba", "member", "reader"}, osclient.Column(admin.List("role", "list"), "Name"))
	admin.Do("role", "add", "--user", "bob", "--project", "www", "dba")
	assert.Equal(t, "dba", admin.Object("role", "show", "dba")["name"])
	as := admin.List("role", "assignment", "list", "--names", "--user", "bob")
	require.Len(t, as, 1)
	assert.Equal(t, []any{"dba", "bob@Default", "www@Default"}, []any{as[0]["Role"], as[0]["User"], as[0]["Project"]})
	assert.ElementsMatch(t, []string{"bob"}, osclient.Column(admin.List("user", "list", "--project", "www"), "Name"))
	assert.ElementsMatch(t, []string{"www"}, osclient.Column(admin.List("project", "list", "--user", "bob"), "Name"))

	bob := admin.As(passwordEnv(s, "/identity/v3", "bob", "bob's", "www")...)
	assert.Equal(t, p["id"], bob.Object("token", "issue")["project_id"])
	assert.Equal(t, []string{"www"}, osclient.Column(bob.List("project", "list"), "Name"), "a user's own, when all of them are refused")
	assert.Contains(t, bob.Fails("user", "create", "eve"), "HTTP 403")
	bob.Do("user", "password", "set", "--original-password", "bob's", "--password", "next")
	assert.Contains(t, bob.Fails("token", "issue"), "HTTP 401")
	bob = bob.With("OS_PASSWORD=next")
	bob.Do("token", "issue")

	admin.Do("user", "set", "bob", "--password", "third", "--disable")
	assert.Contains(t, bob.With("OS_PASSWORD=third").Fails("token", "issue"), "HTTP 401")
	admin.Do("user", "set", "bob", "--enable")
	bob.With("OS_PASSWORD=third").Do("token", "issue")
	admin.Do("role", "remove", "--user", "bob", "--project", "www", "dba")
	assert.Contains(t, bob.With("OS_PASSWORD=third").Fails("token", "issue"), "HTTP 401")
	assert.Contains(t, admin.Fails("role", "remove", "--user", "admin", "--project", "admin", "admin"), "role admin")
	assert.Contains(t, admin.Fails("user", "delete", "admin"), "1 of 1 users failed to delete")
	admin.Do("role", "delete", "dba")
	admin.Do("user", "delete", "bob")
	admin.Do("project", "delete", "www")
	assert.ElementsMatch(t, []string{"admin", "shop"}, osclient.Column(admin.List("project", "list"), "Name"))
}
