package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestHosts(t *testing.T) {
	w := newWorld(t)
	hosts := "/v1.0/" + ops + "/mgmt/hosts"
	require.Empty(t, w.call(admin, "GET", hosts, "").get("hosts"))
	r := w.call(admin, "POST", hosts, `{"host":{"name":"db1"}}`)
	require.Equal(t, 201, r.status, r.text)
	require.Equal(t, false, r.get("host", "up"))
	require.Nil(t, r.get("host", "since"), "it was never seen")

	w.update(func(tx metastore.Tx) error {
		return tx.Hosts().Put(t.Context(), model.Host{
			ID: "db1", Name: "db1", CPUs: 4, RAMMB: 8192, DiskGB: 100, Up: true, Since: w.clock(), Address: "192.0.2.1", Subnet: "10.88.1.0/24",
			Labels: map[string]string{"zone": "east"}, Created: w.clock(), Trouble: "it has no agent yet",
		})
	})
	h := w.call(admin, "GET", hosts+"/db1", "").get("host").(map[string]any)
	require.Equal(t, true, h["up"])
	require.Equal(t, map[string]any{"cpus": 4.0, "ram": 8192.0, "disk": 100.0}, h["capacity"])
	require.Equal(t, map[string]any{"zone": "east"}, h["labels"])
	require.NotNil(t, h["since"])
	require.Equal(t, "it has no agent yet", h["trouble"])

	for _, action := range []string{"drain", "undrain"} {
		require.Equal(t, 202, w.call(admin, "POST", hosts+"/db1/action", `{"`+action+`":{}}`).status)
		require.Equal(t, action == "drain", w.call(admin, "GET", hosts+"/db1", "").get("host", "drained"))
	}

	for _, c := range []struct {
		method, path, body string
		status             int
		kind, says         string
	}{
		{"POST", hosts, `{"host":{"name":"db1"}}`, 400, "badRequest", "There is a host db1 already."},
		{"POST", hosts, `{"host":{"name":"DB 1"}}`, 400, "badRequest", "lower-case"},
		{"POST", hosts, `{"host":{"name":"-"}}`, 400, "badRequest", "lower-case"},
		{"POST", hosts + "/db1/action", `{}`, 400, "badRequest", "Exactly one action"},
		{"POST", hosts + "/db1/action", `{"drain":{},"undrain":{}}`, 400, "badRequest", "Exactly one action"},
		{"POST", hosts + "/db9/action", `{"drain":{}}`, 404, "itemNotFound", "db9"},
		{"GET", hosts + "/db9", "", 404, "itemNotFound", "db9"},
		{"DELETE", hosts + "/db9", "", 404, "itemNotFound", "db9"},
		{"DELETE", hosts + "/db1", "", 400, "badRequest", "Host db1 is up. Stop its huker-sysmgr first"},
	} {
		require.Contains(t, w.call(admin, c.method, c.path, c.body).fault(c.status, c.kind), c.says)
	}
	w.call(alice, "GET", "/v1.0/"+mine+"/mgmt/hosts", "").fault(403, "forbidden")
	w.call(alice, "POST", "/v1.0/"+mine+"/mgmt/hosts", `{"host":{"name":"db2"}}`).fault(403, "forbidden")
	w.call(alice, "DELETE", "/v1.0/"+mine+"/mgmt/hosts/db1", "").fault(403, "forbidden")
}

// A host is removed only when it is down, and takes no database with it that somebody wants to keep.
func TestRemoveHost(t *testing.T) {
	w := newWorld(t)
	hosts := "/v1.0/" + ops + "/mgmt/hosts"
	require.Equal(t, 201, w.call(admin, "POST", hosts, `{"host":{"name":"db1"}}`).status)
	id := w.active(alice, mine, "shop")
	w.edit(id, func(i *model.Instance) { i.HostID = "db1" })
	require.Contains(t, w.call(admin, "DELETE", hosts+"/db1", "").fault(400, "badRequest"), `Host db1 has databases: "shop" (`+id+`). Delete them first`)
	require.Equal(t, false, w.call(admin, "GET", hosts+"/db1", "").get("host", "removed"))
	require.Equal(t, 202, w.call(alice, "DELETE", "/v1.0/"+mine+"/instances/"+id, "").status)
	for range 2 {
		require.Equal(t, 202, w.call(admin, "DELETE", hosts+"/db1", "").status)
		require.Equal(t, true, w.call(admin, "GET", hosts+"/db1", "").get("host", "removed"))
	}
	require.Contains(t, w.call(admin, "POST", hosts, `{"host":{"name":"db1"}}`).fault(400, "badRequest"), "is being removed")
}
