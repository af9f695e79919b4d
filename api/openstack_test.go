package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/testenv"
)

// openstack runs Debian's client as the holder of a token.
func (w *world) openstack(t *testing.T, token, project string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.RequireBinary(t, "openstack"), args...)
	cmd.Env = []string{
		"PATH=/usr/bin:/bin", "HOME=" + storeDir(t), "PYTHONWARNINGS=ignore", "LANG=C.UTF-8", "OS_AUTH_TYPE=admin_token",
		"OS_TOKEN=" + token, "OS_ENDPOINT=" + w.server.URL + "/v1.0/" + project,
	}
	cmd.Dir = "/"
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// TestOpenStackClient goes with python-troveclient through what does not need Keystone. (All ways to sign in are tested where sign-in is.)
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("fifty runs of a Python program")
	}
	w := newWorld(t)
	run := func(args ...string) string {
		t.Helper()
		out, errs, err := w.openstack(t, alice, mine, args...)
		require.NoError(t, err, "openstack %v: %s", args, errs)
		return out
	}
	table := func(args ...string) (rows []map[string]any) {
		t.Helper()
		out := run(append(args, "-f", "json")...)
		require.NoError(t, json.Unmarshal([]byte(out), &rows), out)
		return rows
	}
	show := func(args ...string) (row map[string]any) {
		t.Helper()
		out := run(append(args, "-f", "json")...)
		require.NoError(t, json.Unmarshal([]byte(out), &row), out)
		return row
	}

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
	_, errs, err := w.openstack(t, alice, mine, "database", "instance", "resize", "flavor", "shop", "small")
	require.Error(t, err)
	require.Contains(t, errs, "not ready")
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
		_, errs, err := w.openstack(t, alice, mine, strings.Fields(args)...)
		require.Error(t, err)
		require.Contains(t, errs, says)
	}

	out, errs, err := w.openstack(t, admin, ops, "database", "instance", "list", "--all-projects", "-f", "json")
	require.NoError(t, err, errs)
	require.Contains(t, out, mine)
	out, errs, err = w.openstack(t, admin, ops, "database", "quota", "show", mine, "-f", "json")
	require.NoError(t, err, errs)
	require.Contains(t, out, `"Limit": 5`)
	_, errs, err = w.openstack(t, admin, ops, "database", "quota", "update", mine, "instances", "9")
	require.NoError(t, err, errs)
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+id+"/action", `{"restart":{}}`).status)
	run("database", "instance", "delete", "--force", "store")
	require.True(t, w.row(id).ForceDelete)
}
