package keystone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// openstack runs Debian's client as somebody.
type openstack struct {
	t    *testing.T
	path string
	env  []string
}

func newOpenstack(t *testing.T, env ...string) openstack {
	t.Helper()
	home := t.TempDir()
	return openstack{t: t, path: testenv.RequireBinary(t, "openstack"), env: append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, "cache"), "PYTHONWARNINGS=ignore", "LANG=C.UTF-8",
		"OS_IDENTITY_API_VERSION=3",
	}, env...)}
}

func (o openstack) with(env ...string) openstack {
	o.env = append(append([]string{}, o.env...), env...)
	return o
}

func (o openstack) run(args ...string) (stdout, stderr string, err error) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.path, args...)
	cmd.Env = o.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// ok runs a command that must succeed.
func (o openstack) ok(args ...string) string {
	o.t.Helper()
	out, errs, err := o.run(args...)
	require.NoError(o.t, err, "openstack %s: %s", strings.Join(args, " "), errs)
	return out
}

// refused runs a command that must fail, and gives what it says.
func (o openstack) refused(args ...string) string {
	o.t.Helper()
	out, errs, err := o.run(args...)
	require.Error(o.t, err, "openstack %s: %s", strings.Join(args, " "), out)
	return errs
}

func (o openstack) object(args ...string) object {
	o.t.Helper()
	var v object
	require.NoError(o.t, json.Unmarshal([]byte(o.ok(append(args, "-f", "json")...)), &v), strings.Join(args, " "))
	return v
}

func (o openstack) list(args ...string) []object {
	o.t.Helper()
	var v []object
	require.NoError(o.t, json.Unmarshal([]byte(o.ok(append(args, "-f", "json")...)), &v), strings.Join(args, " "))
	return v
}

func column(list []object, name string) []any {
	out := []any{}
	for _, o := range list {
		out = append(out, o[name])
	}
	return out
}

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
	admin := newOpenstack(t, passwordEnv(s, "/identity/v3", "admin", adminPassword, "admin")...)
	issued := admin.object("token", "issue")
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
		assert.Equal(t, s.seeded.Project.ID, admin.with(env...).object("token", "issue")["project_id"], name)
	}
	assert.Contains(t, admin.with("OS_PASSWORD=wrong").refused("token", "issue"), "HTTP 401")

	catalog := admin.list("catalog", "list")
	assert.ElementsMatch(t, []any{"identity", "database"}, column(catalog, "Type"))
	assert.Contains(t, admin.ok("catalog", "show", "database"), s.url+"/v1.0/"+s.seeded.Project.ID)
	assert.Len(t, admin.list("endpoint", "list"), 6)
	assert.Len(t, admin.list("service", "list"), 2)
	assert.Equal(t, []any{"RegionOne"}, column(admin.list("region", "list"), "Region"))
	assert.Equal(t, []any{"Default"}, column(admin.list("domain", "list"), "Name"))
	assert.Equal(t, "default", admin.object("domain", "show", "Default")["id"])
	assert.Empty(t, admin.list("group", "list"))
	admin.ok("token", "revoke", token)
	assert.Equal(t, 401, s.do("GET", "/v3/users", token, nil).code)
}

func TestOpenstackManages(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	s := newServer(t)
	admin := newOpenstack(t, passwordEnv(s, "/identity/v3", "admin", adminPassword, "admin")...)

	p := admin.object("project", "create", "web", "--description", "the web", "--domain", "Default")
	assert.Equal(t, "the web", p["description"])
	assert.Equal(t, p["id"], admin.object("project", "show", "web")["id"], "by name")
	assert.Equal(t, "web", admin.object("project", "show", p["id"].(string))["name"], "by id")
	assert.ElementsMatch(t, []any{"admin", "shop", "web"}, column(admin.list("project", "list"), "Name"))
	admin.ok("project", "set", "web", "--description", "changed", "--name", "www")
	assert.Equal(t, "changed", admin.object("project", "show", "www")["description"])
	assert.Contains(t, admin.refused("project", "create", "www"), "Duplicate entry")
	assert.Contains(t, admin.refused("project", "show", "nothing"), "No project with a name or ID of 'nothing' exists.")

	u := admin.object("user", "create", "bob", "--password", "bob's", "--email", "b@x", "--project", "www", "--enable")
	assert.Equal(t, p["id"], u["default_project_id"])
	assert.Equal(t, "b@x", admin.object("user", "show", "bob")["email"])
	assert.ElementsMatch(t, []any{"admin", "alice", "bob"}, column(admin.list("user", "list"), "Name"))

	admin.ok("role", "create", "dba")
	assert.ElementsMatch(t, []any{"admin", "dba", "member", "reader"}, column(admin.list("role", "list"), "Name"))
	admin.ok("role", "add", "--user", "bob", "--project", "www", "dba")
	assert.Equal(t, "dba", admin.object("role", "show", "dba")["name"])
	as := admin.list("role", "assignment", "list", "--names", "--user", "bob")
	require.Len(t, as, 1)
	assert.Equal(t, []any{"dba", "bob@Default", "www@Default"}, []any{as[0]["Role"], as[0]["User"], as[0]["Project"]})
	assert.ElementsMatch(t, []any{"bob"}, column(admin.list("user", "list", "--project", "www"), "Name"))
	assert.ElementsMatch(t, []any{"www"}, column(admin.list("project", "list", "--user", "bob"), "Name"))

	bob := newOpenstack(t, passwordEnv(s, "/identity/v3", "bob", "bob's", "www")...)
	assert.Equal(t, p["id"], bob.object("token", "issue")["project_id"])
	assert.Equal(t, []any{"www"}, column(bob.list("project", "list"), "Name"), "a user's own, when all of them are refused")
	assert.Contains(t, bob.refused("user", "create", "eve"), "HTTP 403")
	bob.ok("user", "password", "set", "--original-password", "bob's", "--password", "next")
	assert.Contains(t, bob.refused("token", "issue"), "HTTP 401")
	bob = bob.with("OS_PASSWORD=next")
	bob.ok("token", "issue")

	admin.ok("user", "set", "bob", "--password", "third", "--disable")
	assert.Contains(t, bob.with("OS_PASSWORD=third").refused("token", "issue"), "HTTP 401")
	admin.ok("user", "set", "bob", "--enable")
	bob.with("OS_PASSWORD=third").ok("token", "issue")
	admin.ok("role", "remove", "--user", "bob", "--project", "www", "dba")
	assert.Contains(t, bob.with("OS_PASSWORD=third").refused("token", "issue"), "HTTP 401")
	assert.Contains(t, admin.refused("role", "remove", "--user", "admin", "--project", "admin", "admin"), "role admin")
	assert.Contains(t, admin.refused("user", "delete", "admin"), "1 of 1 users failed to delete")
	admin.ok("role", "delete", "dba")
	admin.ok("user", "delete", "bob")
	admin.ok("project", "delete", "www")
	assert.ElementsMatch(t, []any{"admin", "shop"}, column(admin.list("project", "list"), "Name"))
}
