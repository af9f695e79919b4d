package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// instances, or one of them, of the test's own project.
const base = "/v1.0/" + mine + "/instances"

// TestEveryOperation calls each operation of the document with success, so that the document is held against real answers of all.
func TestEveryOperation(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "every")
	one := base + "/" + id
	own := "/v1.0/" + mine
	mgmt := "/v1.0/" + ops + "/mgmt"
	c := w.cluster(alice, mine, "group", 3)
	cluster := own + "/clusters/" + c.id
	for _, c := range []struct {
		token, method, path, body string
		status                    int
	}{
		{"", "GET", "/", "", 200},
		{"", "GET", "/v1.0", "", 200},
		{"", "GET", "/v1.0/", "", 200},
		{"", "GET", "/openapi.json", "", 200},
		{alice, "GET", own + "/limits", "", 200},
		{alice, "GET", own + "/flavors", "", 200},
		{alice, "GET", own + "/flavors/1", "", 200},
		{alice, "GET", own + "/datastores", "", 200},
		{alice, "GET", own + "/datastores/mysql", "", 200},
		{alice, "GET", own + "/datastores/mysql/versions", "", 200},
		{alice, "GET", own + "/datastores/mysql/versions/9.7.4", "", 200},
		{alice, "GET", own + "/datastores/versions/" + versionID, "", 200},
		{alice, "GET", own + "/datastores/mysql/versions/9.7.4/flavors", "", 200},
		{alice, "GET", own + "/datastores/mysql/versions/9.7.4/volume-types", "", 200},
		{alice, "GET", base, "", 200},
		{alice, "GET", base + "/detail", "", 200},
		{alice, "GET", one, "", 200},
		{alice, "PUT", one, `{"instance":{"name":"other"}}`, 202},
		{alice, "PATCH", one, `{"instance":{"name":"every"}}`, 202},
		{alice, "POST", one + "/databases", `{"databases":[{"name":"shop"}]}`, 202},
		{alice, "GET", one + "/databases", "", 200},
		{alice, "POST", one + "/users", `{"users":[{"name":"app","password":"secret-1"}]}`, 202},
		{alice, "GET", one + "/users", "", 200},
		{alice, "PUT", one + "/users", `{"users":[{"name":"app","password":"secret-2"}]}`, 202},
		{alice, "GET", one + "/users/app", "", 200},
		{alice, "PUT", one + "/users/app", `{"user":{"password":"secret-3"}}`, 202},
		{alice, "PUT", one + "/users/app/databases", `{"databases":[{"name":"shop"}]}`, 202},
		{alice, "GET", one + "/users/app/databases", "", 200},
		{alice, "DELETE", one + "/users/app/databases/shop", "", 202},
		{alice, "DELETE", one + "/users/app", "", 202},
		{alice, "DELETE", one + "/databases/shop", "", 202},
		{alice, "GET", one + "/root", "", 200},
		{alice, "POST", one + "/root", "", 200},
		{alice, "DELETE", one + "/root", "", 204},
		{alice, "GET", one + "/log", "", 200},
		{alice, "POST", one + "/log", `{"name":"error"}`, 200},
		{alice, "GET", one + "/log/error/content", "", 200},
		{alice, "GET", one + "/ssl", "", 200},
		{alice, "GET", one + "/events", "", 200},
		{alice, "GET", own + "/mgmt/quotas/" + mine, "", 200},
		{admin, "PUT", mgmt + "/quotas/" + mine, `{"quotas":{"instances":9}}`, 200},
		{admin, "GET", mgmt + "/instances", "", 200},
		{admin, "GET", mgmt + "/instances/" + id, "", 200},
		{admin, "GET", mgmt + "/instances/" + id + "/root", "", 200},
		{admin, "GET", mgmt + "/instances/" + id + "/hwinfo", "", 200},
		{admin, "GET", mgmt + "/instances/" + id + "/rpc_ping", "", 204},
		{admin, "GET", mgmt + "/datastore-versions", "", 200},
		{admin, "GET", mgmt + "/datastore-versions/" + versionID, "", 200},
		{admin, "POST", mgmt + "/hosts", `{"host":{"name":"db1"}}`, 201},
		{admin, "GET", mgmt + "/hosts", "", 200},
		{admin, "GET", mgmt + "/hosts/db1", "", 200},
		{admin, "POST", mgmt + "/hosts/db1/action", `{"drain":{}}`, 202},
		{admin, "DELETE", mgmt + "/hosts/db1", "", 202},
		{admin, "POST", mgmt + "/instances/" + id + "/action", `{"reboot":{}}`, 202},
		{alice, "POST", one + "/action", `{"reset_status":{}}`, 202},
		{alice, "DELETE", one, "", 202},
		{alice, "POST", own + "/clusters", `{"cluster":{"name":"c2","instances":[{"flavorRef":"1","volume":{"size":1}}]}}`, 200},
		{alice, "GET", own + "/clusters", "", 200},
		{alice, "GET", cluster, "", 200},
		{alice, "GET", cluster + "/instances/" + c.members[1], "", 200},
		{alice, "GET", cluster + "/members", "", 200},
		{alice, "GET", cluster + "/events", "", 200},
		{alice, "PATCH", cluster, `{"cluster":{"policy":"available"}}`, 202},
		{alice, "GET", cluster + "/root", "", 200},
		{alice, "POST", cluster + "/root", "", 200},
		{alice, "POST", cluster + "/action", `{"switchover":{}}`, 202},
		{alice, "GET", cluster + "/history", "", 200},
		{admin, "GET", mgmt + "/clusters", "", 200},
		{admin, "GET", mgmt + "/clusters/" + c.id, "", 200},
		{admin, "POST", mgmt + "/clusters/" + c.id + "/action", `{"reset-task":{}}`, 202},
		{alice, "POST", cluster, `{"shrink":[{"id":"` + c.members[1] + `"}]}`, 202},
		{alice, "DELETE", cluster, "", 202},
	} {
		r := w.call(c.token, c.method, c.path, c.body)
		require.Equal(t, c.status, r.status, "%s %s: %s", c.method, c.path, r.text)
	}
	operations := w.document.Operations()
	require.Greater(t, len(operations), 90)
	for id, op := range operations {
		if op.Status != 0 {
			require.True(t, w.document.Seen(id), "operation %s (%s) was not called with success", id, op.Path)
			continue
		}
		// What is for later says so, and to nobody who has not signed in.
		path := strings.NewReplacer("{project_id}", ops).Replace(op.Path)
		r := w.call(admin, op.Method, path, "")
		require.Contains(t, r.fault(501, "notImplemented"), "not implemented")
		w.call("", op.Method, path, "").fault(401, "unauthorized")
	}
}

// TestLaterCalls pins the calls that real clients make on the way and that must say 501 rather than 404.
func TestLaterCalls(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "later")
	for _, c := range []string{
		"GET /backups", "POST /backups", "GET /backups/x", "DELETE /backups/x", "GET /backup_strategies", "POST /backup_strategies",
		"GET /instances/" + id + "/backups", "GET /instances/" + id + "/configuration", "GET /configurations", "POST /configurations",
		"GET /configurations/x", "PATCH /configurations/x", "PUT /configurations/x", "DELETE /configurations/x", "GET /modules", "GET /instances/" + id + "/modules", "GET /security-groups",
		"GET /datastores/versions/" + versionID + "/parameters", "GET /datastores/mysql/versions/9.7.4/parameters/x", "POST /instances/" + id + "/ssl",
	} {
		method, path, _ := strings.Cut(c, " ")
		body := ""
		if slices.Contains([]string{"POST", "PUT", "PATCH"}, method) {
			body = `{"whatever":{"it":"is"}}`
		}
		w.call(alice, method, "/v1.0/"+mine+path, body).fault(501, "notImplemented")
	}
	for _, c := range []string{"POST /mgmt/datastore-versions", "GET /mgmt/instances/" + id + "/diagnostics"} {
		method, path, _ := strings.Cut(c, " ")
		w.call(alice, method, "/v1.0/"+mine+path, "").fault(403, "forbidden")
		w.call(admin, method, "/v1.0/"+ops+path, "").fault(501, "notImplemented")
	}
}
