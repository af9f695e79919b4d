package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/test/osclient"
)

// openstack is Debian's client, as the holder of a token.
func (w *world) openstack(t *testing.T, token, project string) osclient.Client {
	t.Helper()
	return osclient.New(t, "openstack", w.tokenEnv(token, project)...).Loaded()
}

func (w *world) tokenEnv(token, project string) []string {
	return []string{"OS_AUTH_TYPE=admin_token", "OS_TOKEN=" + token, "OS_ENDPOINT=" + w.server.URL + "/v1.0/" + project}
}

// TestOpenStackClient goes with python-troveclient through what does not need Keystone. (All ways to sign in are tested where sign-in is.)
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	w := newWorld(t)
	c := w.openstack(t, alice, mine)
	run, table, show := c.Do, c.List, c.Object

	require.Equal(t, "medium", table("database", "flavor", "list")[1]["Name"])
	require.Equal(t, "9.7.4", table("datastore", "version", "list", "mysql")[0]["Name"])
	require.Equal(t, datastoreID, show("datastore", "show", "mysql")["id"])
	made := show("database", "instance", "create", "shop", "--flavor", "medium", "--size", "2", "--databases", "d", "--users", "u:p",
		"--datastore", "mysql", "--datastore-version", "9.7.4", "--is-public", "--allowed-cidr", "10.0.0.0/8")
	require.Equal(t, "BUILD", made["status"])
	id := made["id"].(string)
	w.activate(id)
	list := table("database", "instance", "list")
	require.Equal(t, "ACTIVE", list[0]["Status"])
	require.Equal(t, "HEALTHY", list[0]["Operating Status"])
	require.InDelta(t, 2, list[0]["Size"], 0)
	require.Equal(t, id, show("database", "instance", "show", "shop")["id"], "found by its name")

	run("database", "db", "create", "shop", "orders")
	require.Equal(t, "orders", table("database", "db", "list", "shop")[0]["Name"])
	run("database", "user", "create", "shop", "app.one", "secret", "--host", "10.0.0.%", "--databases", "orders")
	require.Equal(t, "10.0.0.%", table("database", "user", "list", "shop")[0]["Host"])
	require.Equal(t, "app.one", show("database", "user", "show", "shop", "app.one", "--host", "10.0.0.%")["name"])
	run("database", "user", "revoke", "access", "shop", "app.one", "orders", "--host", "10.0.0.%")
	run("database", "user", "grant", "access", "shop", "app.one", "orders", "--host", "10.0.0.%")
	require.Equal(t, "orders", table("database", "user", "show", "access", "shop", "app.one", "--host", "10.0.0.%")[0]["Name"])
	run("database", "user", "update", "attributes", "shop", "app.one", "--host", "10.0.0.%", "--new_password", "other")
	run("database", "user", "delete", "shop", "app.one", "--host", "10.0.0.%")
	run("database", "db", "delete", "shop", "orders")
	require.Equal(t, "made-by-the-guest", show("database", "root", "enable", "shop")["password"])
	require.Equal(t, true, show("database", "root", "show", "shop")["is_root_enabled"])
	run("database", "root", "disable", "shop")
	require.Equal(t, "error", table("database", "log", "list", id)[0]["Name"])
	require.Equal(t, "Enabled", show("database", "log", "set", id, "general", "--enable")["status"])
	require.Contains(t, run("database", "limit", "list"), "max_instances")

	run("database", "instance", "restart", "shop")
	require.Equal(t, model.StatusReboot, w.row(id).Status)
	c.Refused("database instance resize flavor shop small", "not ready")
	w.activate(id)
	run("database", "instance", "resize", "flavor", "shop", "small")
	w.activate(id)
	run("database", "instance", "resize", "volume", "shop", "3")
	w.activate(id)
	run("database", "instance", "update", "shop", "--name", "store", "--is-private")
	w.activate(id)
	require.Equal(t, model.Access{AllowedCIDRs: []string{"10.0.0.0/8"}}, w.row(id).Access)
	run("database", "instance", "update", "store", "--remove-configuration")
	for says, args := range map[string]string{
		"Configuration groups are not implemented": "database configuration list", "Backups are not implemented": "database backup list",
		"has datastore version 9.7.4 already": "database instance upgrade store 9.7.4", "not supported yet": "database instance upgrade store 9.8.0",
		"not a replica": "database instance promote store", "not a replica source": "database instance eject store",
	} {
		c.Refused(args, says)
	}

	operator := c.As(w.tokenEnv(admin, ops)...)
	require.Contains(t, osclient.Column(operator.List("database instance list --all-projects"), "Tenant ID"), mine)
	require.Contains(t, osclient.Column(operator.List("database quota show "+mine), "Limit"), "5")
	operator.Do("database quota update " + mine + " instances 9")
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+id+"/action", `{"restart":{}}`).status)
	run("database", "instance", "delete", "--force", "store")
	require.True(t, w.row(id).ForceDelete)
}
