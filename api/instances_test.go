package api_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	r := w.call(alice, "POST", base, `{"instance":{"name":"shop","flavorRef":"2","volume":{"size":"3","type":null},
		"databases":[{"name":"a","character_set":"utf8","collate":"utf8_general_ci"},{"name":"b"}],
		"users":[{"name":"u","password":"Secr3t","host":"10.%","databases":[{"name":"a"}]}],
		"datastore":{"type":"mysql","version":"9.7.4","version_number":"9.7.4"},"nics":[],
		"access":{"is_public":true,"allowed_cidrs":["10.0.0.0/8","192.168.1.1"]},"region_name":"RegionOne","modules":[],"replica_count":1}}`)
	require.Equal(t, 200, r.status, r.text)
	require.NotContains(t, r.text, "Secr3t")
	id := r.get("instance", "id").(string)
	require.Equal(t, "BUILD", r.get("instance", "status"))
	require.Empty(t, r.get("instance", "operating_status"))
	require.Equal(t, map[string]any{"type": "mysql", "version": "9.7.4", "version_number": "9.7.4"}, r.get("instance", "datastore"))
	require.Equal(t, "2", r.get("instance", "flavor", "id"))
	require.Equal(t, map[string]any{"is_public": true, "allowed_cidrs": []any{"10.0.0.0/8", "192.168.1.1/32"}}, r.get("instance", "access"))
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`, r.get("instance", "created"))
	for _, absent := range []string{"hostname", "ip", "addresses", "replica_of", "replicas", "fault", "tenant_id", "server_id", "password", "configuration"} {
		require.NotContains(t, r.get("instance"), absent)
	}

	i := w.row(id)
	require.Equal(t, model.Instance{
		ID: id, ProjectID: mine, Name: "shop", Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: versionID, FlavorID: "2",
		VolumeGB: 3, VolumeType: "local", Access: model.Access{IsPublic: true, AllowedCIDRs: []string{"10.0.0.0/8", "192.168.1.1/32"}},
		Bootstrap: &model.Bootstrap{
			Databases: []model.Database{{Name: "a", CharacterSet: "utf8", Collate: "utf8_general_ci"}, {Name: "b"}},
			Users:     []model.User{{Name: "u", Host: "10.%", Password: "Secr3t", Databases: []string{"a"}}},
		},
		Status: model.StatusBuild, Created: i.Created, Updated: i.Created, ServiceStatusUpdated: i.Created, Version: 1,
	}, i)
	require.Equal(t, []protocol.Kick{{Instance: id, Origin: "api.create"}}, w.kicks)
	e := w.call(alice, "GET", base+"/"+id+"/events", "")
	require.Equal(t, "instance.create.requested", e.get("events", 0, "kind"))
	require.Equal(t, r.header.Get("X-Openstack-Request-Id"), e.get("events", 0, "request_id"))
	require.NotContains(t, e.text, "Secr3t")
}

// TestCreateForms: what real clients send for the same thing.
func TestCreateForms(t *testing.T) {
	w := newWorld(t)
	for name, body := range map[string]string{
		"number":     `{"name":"n","flavorRef":1,"volume":{"size":1}}`,
		"text":       `{"name":"n","flavorRef":"1","volume":{"size":1}}`,
		"href":       `{"name":"n","flavorRef":"http://x/v1.0/p/flavors/1","volume":{"size":1}}`,
		"name":       `{"name":"n","flavorRef":"small","volume":{"size":1}}`,
		"alias":      `{"name":"n","flavor":1,"volume":{"size":1},"datastore":{"type":"` + datastoreID + `","version":"` + versionID + `"}}`,
		"osc extras": `{"name":"n","flavorRef":1,"volume":{"size":1,"type":"local"},"access":{"is_public":false},"nics":[{"network_id":"c0ffee00-0000-4000-8000-000000000001"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := w.call(alice, "POST", base, `{"instance":`+body+`}`)
			require.Equal(t, 200, r.status, r.text)
			i := w.row(r.get("instance", "id").(string))
			require.Equal(t, "1", i.FlavorID)
			require.Equal(t, versionID, i.DatastoreVersionID)
			w.update(func(tx metastore.Tx) error { return tx.Instances().Delete(t.Context(), i.ID) })
		})
	}
}

func TestCreateRefused(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("n", 256)
	with := func(more string) string { return `{"name":"n","flavorRef":1,"volume":{"size":1},` + more + `}` }
	for name, tc := range map[string]struct {
		body   string
		status int
		key    string
		says   string
	}{
		"empty name":          {`{"name":"","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name must not be empty"},
		"blank name":          {`{"name":" \t","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"name not seen":       {`{"name":"\u200b\u00a0","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"name of half a rune": {`{"name":"a\ud800","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"name with a CSI":     {`{"name":"a\u009b31mred","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"name turned round":   {`{"name":"a\u202eb","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"name of two lines":   {`{"name":"a\u2028b","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"control name":        {`{"name":"a\u0000b","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "instance.name"},
		"long name":           {`{"name":"` + long + `","flavorRef":1,"volume":{"size":1}}`, 400, "badRequest", "at most 255"},
		"no flavor":           {`{"name":"n","volume":{"size":1}}`, 400, "badRequest", "flavorRef"},
		"two flavors":         {`{"name":"n","flavorRef":1,"flavor":2,"volume":{"size":1}}`, 400, "badRequest", "differ"},
		"unknown flavor":      {`{"name":"n","flavorRef":77,"volume":{"size":1}}`, 404, "itemNotFound", "Flavor 77"},
		"object flavor":       {`{"name":"n","flavorRef":{},"volume":{"size":1}}`, 400, "badRequest", "instance.flavorRef"},
		"empty flavor":        {`{"name":"n","flavorRef":"","volume":{"size":1}}`, 400, "badRequest", "instance.flavorRef"},
		"no volume":           {`{"name":"n","flavorRef":1}`, 400, "badRequest", "Volume size"},
		"no size":             {`{"name":"n","flavorRef":1,"volume":{}}`, 400, "badRequest", "size"},
		"zero size":           {`{"name":"n","flavorRef":1,"volume":{"size":0}}`, 400, "badRequest", "at least 1"},
		"negative size":       {`{"name":"n","flavorRef":1,"volume":{"size":-1}}`, 400, "badRequest", "at least 1"},
		"fractional size":     {`{"name":"n","flavorRef":1,"volume":{"size":1.5}}`, 400, "badRequest", "instance.volume.size"},
		"text size":           {`{"name":"n","flavorRef":1,"volume":{"size":"big"}}`, 400, "badRequest", "instance.volume.size"},
		"huge size":           {`{"name":"n","flavorRef":1,"volume":{"size":99999999}}`, 400, "badRequest", "at most 65536"},
		"huge text size":      {`{"name":"n","flavorRef":1,"volume":{"size":"99999999999999999999999"}}`, 400, "badRequest", "at most 65536"},
		"huger size":          {`{"name":"n","flavorRef":1,"volume":{"size":99999999999999999999999}}`, 400, "badRequest", "out of range"},
		"volume type":         {`{"name":"n","flavorRef":1,"volume":{"size":1,"type":"ssd"}}`, 404, "itemNotFound", "ssd"},
		"datastore":           {with(`"datastore":{"type":"pg"}`), 404, "itemNotFound", "'pg'"},
		"version":             {with(`"datastore":{"type":"mysql","version":"5.5"}`), 404, "itemNotFound", "'5.5'"},
		"version number":      {with(`"datastore":{"version":"9.7.4","version_number":"9.8.0"}`), 404, "itemNotFound", "9.8.0"},
		"retired version":     {with(`"datastore":{"version":"8.4.0"}`), 400, "badRequest", "not active"},
		"replica":             {`{"name":"n","replica_of":"` + unknownID + `","replica_count":1}`, 404, "itemNotFound", "cannot be found"},
		"slave":               {`{"name":"n","slave_of":"` + unknownID + `"}`, 404, "itemNotFound", "cannot be found"},
		"replica count":       {with(`"replica_count":2`), 400, "badRequest", "Replica count"},
		"replica count range": {with(`"replica_count":4`), 400, "badRequest", "at most 3"},
		"restore":             {with(`"restorePoint":{"backupRef":"x"}`), 501, "notImplemented", "backups"},
		"configuration":       {with(`"configuration":"` + unknownID + `"`), 501, "notImplemented", "Configuration"},
		"modules":             {with(`"modules":[{"id":"x"}]`), 501, "notImplemented", "Modules"},
		"locality":            {with(`"locality":"affinity"`), 400, "badRequest", "locality"},
		"bad locality":        {with(`"locality":"moon"`), 400, "badRequest", "instance.locality must be one of"},
		"region":              {with(`"region_name":"Mars"`), 400, "badRequest", "Mars"},
		"zone":                {with(`"availability_zone":"z9"`), 400, "badRequest", "z9"},
		"network":             {with(`"nics":[{"net-id":"` + unknownID + `"}]`), 404, "itemNotFound", "network"},
		"subnet":              {with(`"nics":[{"subnet_id":"` + unknownID + `"}]`), 404, "itemNotFound", "network"},
		"fixed address":       {with(`"nics":[{"subnet_id":"c0ffee00-0000-4000-8000-000000000001","ip_address":"10.0.0.9"}]`), 400, "badRequest", "fixed address"},
		"v4-fixed-ip":         {with(`"nics":[{"v4-fixed-ip":"10.0.0.9"}]`), 400, "badRequest", "fixed address"},
		"port":                {with(`"nics":[{"port-id":"x"}]`), 400, "badRequest", "port"},
		"empty nic":           {with(`"nics":[{}]`), 400, "badRequest", "network_id"},
		"two nics":            {with(`"nics":[{"net-id":"a"},{"net-id":"b"}]`), 400, "badRequest", "at most 1"},
		"unknown nic field":   {with(`"nics":[{"tag":"a"}]`), 400, "badRequest", `unknown field "tag" in instance.nics[0]`},
		"cidr":                {with(`"access":{"allowed_cidrs":["10.0.0.0/33"]}`), 400, "badRequest", "allowed_cidrs"},
		"cidr v6":             {with(`"access":{"allowed_cidrs":["::1/64"]}`), 400, "badRequest", "allowed_cidrs"},
		"cidr text":           {with(`"access":{"allowed_cidrs":["home"]}`), 400, "badRequest", "allowed_cidrs"},
		"cidr twice":          {with(`"access":{"allowed_cidrs":["10.0.0.0/8","10.0.0.0/8"]}`), 400, "badRequest", "twice"},
		"access type":         {with(`"access":{"is_public":"yes"}`), 400, "badRequest", "is_public must be a boolean"},
		"database path":       {with(`"databases":[{"name":"../x"}]`), 400, "badRequest", "not a valid database name"},
		"database reserved":   {with(`"databases":[{"name":"MySQL"}]`), 400, "badRequest", "reserved"},
		"database raw":        {with(`"databases":[{"name":"#mysql50#x"}]`), 400, "badRequest", "reserved"},
		"database long":       {with(`"databases":[{"name":"` + strings.Repeat("d", 65) + `"}]`), 400, "badRequest", "too long"},
		"database twice":      {with(`"databases":[{"name":"d"},{"name":"d"}]`), 400, "badRequest", "share the same name"},
		"database nameless":   {with(`"databases":[{}]`), 400, "badRequest", `"name" is a required property of instance.databases[0]`},
		"charset":             {with(`"databases":[{"name":"d","character_set":"klingon"}]`), 400, "badRequest", "character set"},
		"collation":           {with(`"databases":[{"name":"d","collate":"klingon_ci"}]`), 400, "badRequest", "collation"},
		"collation of other":  {with(`"databases":[{"name":"d","character_set":"latin1","collate":"utf8mb4_bin"}]`), 400, "badRequest", "collation"},
		"collation injection": {with(`"databases":[{"name":"d","collate":"utf8mb4_bin; DROP"}]`), 400, "badRequest", "collation"},
		"user reserved":       {with(`"users":[{"name":"Root","password":"x"}]`), 400, "badRequest", "reserved"},
		"user long":           {with(`"users":[{"name":"` + strings.Repeat("u", 33) + `","password":"x"}]`), 400, "badRequest", "too long"},
		"user host":           {with(`"users":[{"name":"u","password":"x","host":"a b"}]`), 400, "badRequest", "host"},
		"user twice":          {with(`"users":[{"name":"u","password":"x"},{"name":"u","password":"y","host":"%"}]`), 400, "badRequest", "share the same name"},
		"user passwordless":   {with(`"users":[{"name":"u"}]`), 400, "badRequest", `"password" is a required property`},
		"user empty password": {with(`"users":[{"name":"u","password":""}]`), 400, "badRequest", "password must not be empty"},
		"user long password":  {with(`"users":[{"name":"u","password":"` + strings.Repeat("ü", 200) + `"}]`), 400, "badRequest", "255 bytes"},
		"user's database":     {with(`"users":[{"name":"u","password":"x","databases":[{"name":"d"}]}]`), 400, "badRequest", "not in the list of databases"},
	} {
		t.Run(name, func(t *testing.T) {
			message := w.call(alice, "POST", base, `{"instance":`+tc.body+`}`).fault(tc.status, tc.key)
			require.Contains(t, message, tc.says)
		})
	}
	require.Empty(t, w.call(alice, "GET", base, "").get("instances"), "nothing is left of them")
	require.Empty(t, w.kicks)
}

func TestBootstrapTooLarge(t *testing.T) {
	w := newWorld(t)
	var users []string
	for k := range 1000 {
		users = append(users, fmt.Sprintf(`{"name":"user%d","password":"%s"}`, k, strings.Repeat("p", 250)))
	}
	require.Contains(t, w.call(alice, "POST", base, `{"instance":{"name":"n","flavorRef":1,"volume":{"size":1},"users":[`+strings.Join(users, ",")+`]}}`).
		fault(400, "badRequest"), "too many")
}

// TestKickFails: the request is stored, so it succeeds.
func TestKickFails(t *testing.T) {
	w := newWorld(t)
	w.kickErr = errors.New("bus is away")
	w.create(alice, mine, "n")
	require.Contains(t, w.logged(), "bus is away")
}

// TestCreateAtOnce: of many requests at once exactly as many as fit the quota succeed.
func TestCreateAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	status := make([]int, 12)
	for k := range status {
		wg.Go(func() {
			status[k] = w.call(alice, "POST", base, `{"instance":{"name":"n","flavorRef":1,"volume":{"size":1}}}`).status
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, s := range status {
		count[s]++
	}
	require.Equal(t, map[int]int{200: 5, 413: 7}, count)
	require.Len(t, w.call(alice, "GET", base, "").get("instances"), 5)
}

func TestShow(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "shop")
	w.edit(id, func(i *model.Instance) {
		i.Address, i.VolumeUsedBytes, i.Access = "172.30.0.7", 300<<20, model.Access{IsPublic: true, AllowedCIDRs: []string{"10.0.0.0/8"}}
		i.Fault = &model.Fault{Message: "disk full", Details: "no space", Created: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)}
		i.Status = model.StatusError
	})
	r := w.call(alice, "GET", base+"/"+id, "")
	require.Equal(t, map[string]any{"size": 1.0, "used": 0.293, "used_percent": 29.3}, r.get("instance", "volume"))
	require.Equal(t, []any{"172.30.0.7"}, r.get("instance", "ip"))
	network := "c0ffee00-0000-4000-8000-000000000001"
	require.Equal(t, []any{
		map[string]any{"address": "172.30.0.7", "type": "private", "network": network},
		map[string]any{"address": "172.30.0.7", "type": "public", "network": network},
	}, r.get("instance", "addresses"))
	require.Equal(t, map[string]any{"message": "disk full", "details": "no space", "created": "2026-01-02T03:04:05"}, r.get("instance", "fault"))
	for _, key := range []string{"hostname", "tenant_id", "server_id", "replicas", "replica_of"} {
		require.NotContains(t, r.get("instance"), key)
	}
	require.Equal(t, "http://huker.test:8779"+base+"/"+id, r.get("instance", "links", 0, "href"))
	require.Equal(t, "http://huker.test:8779/instances/"+id, r.get("instance", "links", 1, "href"))

	w.edit(id, func(i *model.Instance) { i.Access = model.Access{} })
	r = w.call(alice, "GET", base+"/"+strings.ToUpper(id), "")
	require.Len(t, r.get("instance", "addresses"), 1, "no public address without is_public")
	require.Equal(t, map[string]any{"is_public": false, "allowed_cidrs": []any{}}, r.get("instance", "access"))

	r = w.call(admin, "GET", "/v1.0/"+ops+"/instances/"+id, "")
	require.Equal(t, mine, r.get("instance", "tenant_id"))
	require.Equal(t, id, r.get("instance", "server_id"))
	require.Equal(t, true, r.get("instance", "encrypted_rpc_messaging"))
}

// TestIsolation: another project's instance is as good as none, whatever is tried; an administrator reaches it through the
// administrator's own project.
func TestIsolation(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "shop")
	before := w.row(id)
	calls := []struct{ method, path, body string }{
		{"GET", "", ""}, {"PUT", "", `{"instance":{"name":"x"}}`}, {"PATCH", "", `{"instance":{"datastore_version":"9.8.0"}}`}, {"DELETE", "", ""},
		{"POST", "/action", `{"restart":{}}`}, {"POST", "/action", `{"reset_status":{}}`}, {"POST", "/action", `{"resize":{"flavorRef":"2"}}`},
		{"POST", "/action", `{"promote_to_replica_source":{}}`},
		{"GET", "/databases", ""}, {"POST", "/databases", `{"databases":[{"name":"d"}]}`}, {"DELETE", "/databases/d", ""},
		{"GET", "/users", ""}, {"POST", "/users", `{"users":[{"name":"u","password":"p"}]}`}, {"PUT", "/users", `{"users":[{"name":"u","password":"p"}]}`},
		{"GET", "/users/u", ""}, {"PUT", "/users/u", `{"user":{"password":"p"}}`}, {"DELETE", "/users/u", ""},
		{"GET", "/users/u/databases", ""}, {"PUT", "/users/u/databases", `{"databases":[{"name":"d"}]}`}, {"DELETE", "/users/u/databases/d", ""},
		{"GET", "/root", ""}, {"POST", "/root", ""}, {"DELETE", "/root", ""}, {"GET", "/log", ""}, {"POST", "/log", `{"name":"error"}`},
		{"GET", "/log/error/content", ""}, {"GET", "/events", ""}, {"GET", "/ssl", ""},
	}
	for _, c := range calls {
		w.call(bob, c.method, "/v1.0/"+theirs+"/instances/"+id+c.path, c.body).fault(404, "itemNotFound")
		for _, none := range []string{unknownID, "shop", strings.ReplaceAll(id, "-", ""), "{" + id + "}"} {
			w.call(alice, c.method, base+"/"+none+c.path, c.body).fault(404, "itemNotFound")
		}
	}
	require.Empty(t, w.guests.asked)
	require.Equal(t, before, w.row(id))
	require.Empty(t, w.call(bob, "GET", "/v1.0/"+theirs+"/instances", "").get("instances"))
	w.call(bob, "GET", "/v1.0/"+theirs+"/instances?marker="+id, "") // whatever it says, it shows nothing
	require.Empty(t, w.call(bob, "GET", "/v1.0/"+theirs+"/instances?marker="+id, "").get("instances"))

	require.Equal(t, 200, w.call(admin, "GET", "/v1.0/"+ops+"/instances/"+id, "").status)
	require.Equal(t, 202, w.call(admin, "DELETE", "/v1.0/"+ops+"/instances/"+id, "").status)
	require.Equal(t, model.DesiredDeleted, w.row(id).Desired)
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	for _, status := range []model.Status{model.StatusBuild, model.StatusActive, model.StatusReboot, model.StatusResize, model.StatusError, model.StatusRestartRequired} {
		t.Run(string(status), func(t *testing.T) {
			id := w.create(alice, mine, "n")
			w.edit(id, func(i *model.Instance) {
				i.Status, i.Bootstrap = status, &model.Bootstrap{Users: []model.User{{Name: "u", Password: "p"}}}
			})
			require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status)
			i := w.row(id)
			require.Equal(t, model.DesiredDeleted, i.Desired)
			require.Equal(t, model.StatusShutdown, i.Status)
			require.Empty(t, i.OperatingStatus)
			require.EqualValues(t, 2, i.Generation)
			require.Equal(t, status == model.StatusError, i.ForceDelete)
			require.Nil(t, i.Bootstrap, "passwords go at once")

			require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status, "again")
			require.Equal(t, i, w.row(id), "and nothing changes")
			w.call(alice, "POST", base+"/"+id+"/action", `{"restart":{}}`).fault(422, "unprocessableEntity")
			w.call(alice, "PUT", base+"/"+id, `{"instance":{"name":"x"}}`).fault(422, "unprocessableEntity")
			w.call(alice, "GET", base+"/"+id+"/databases", "").fault(422, "unprocessableEntity")
			require.Equal(t, "SHUTDOWN", w.call(alice, "GET", base+"/"+id, "").get("instance", "status"))

			w.update(func(tx metastore.Tx) error { return tx.Instances().Delete(t.Context(), id) })
			w.call(alice, "GET", base+"/"+id, "").fault(404, "itemNotFound")
			w.call(alice, "DELETE", base+"/"+id, "").fault(404, "itemNotFound")
		})
	}
}

// TestForceDelete is what `openstack database instance delete --force` does, also to one whose deletion hangs.
func TestForceDelete(t *testing.T) {
	w := newWorld(t)
	for name, prepare := range map[string]func(id string){
		"stuck in build":    func(string) {},
		"stuck in deletion": func(id string) { require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status) },
	} {
		t.Run(name, func(t *testing.T) {
			id := w.create(alice, mine, "n")
			prepare(id)
			require.Equal(t, 202, w.call(alice, "POST", base+"/"+id+"/action", `{"reset_status":{"force_delete":true}}`).status)
			r := w.call(alice, "GET", base+"/"+id, "")
			require.Equal(t, "ERROR", r.get("instance", "status"))
			require.Equal(t, "reset by alice", r.get("instance", "fault", "message"))
			require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status)
			i := w.row(id)
			require.True(t, i.ForceDelete)
			require.Equal(t, model.DesiredDeleted, i.Desired)
			w.update(func(tx metastore.Tx) error { return tx.Instances().Delete(t.Context(), id) })
		})
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	one := base + "/" + id
	for name, tc := range map[string]struct {
		body   string
		status int
		key    string
		says   string
	}{
		"nothing detaches nothing": {`{"instance":{}}`, 202, "", ""}, // gophercloud's way to detach a configuration
		"configuration null":       {`{"instance":{"configuration":null}}`, 202, "", ""},
		"configuration":            {`{"instance":{"configuration":"` + unknownID + `"}}`, 501, "notImplemented", "Configuration"},
		"configuration href":       {`{"instance":{"configuration":"http://x/configurations/1"}}`, 501, "notImplemented", "Configuration"},
		"replica":                  {`{"instance":{"replica_of":""}}`, 400, "badRequest", "is not a replica"},
		"replica null":             {`{"instance":{"replica_of":null}}`, 400, "badRequest", "is not a replica"},
		"slave":                    {`{"instance":{"slave_of":null}}`, 400, "badRequest", "is not a replica"},
		"same version":             {`{"instance":{"datastore_version":"9.7.4"}}`, 400, "badRequest", "already"},
		"same version by id":       {`{"instance":{"datastore_version":"` + versionID + `"}}`, 400, "badRequest", "already"},
		"other version":            {`{"instance":{"datastore_version":"9.8.0"}}`, 501, "notImplemented", "from datastore version 9.7.4 to 9.8.0"},
		"retired version":          {`{"instance":{"datastore_version":"8.4.0"}}`, 400, "badRequest", "not active"},
		"unknown version":          {`{"instance":{"datastore_version":"5.5"}}`, 404, "itemNotFound", "5.5"},
		"two":                      {`{"instance":{"access":{},"datastore_version":"9.8.0"}}`, 400, "badRequest", "Only one attribute"},
		"two nulls":                {`{"instance":{"configuration":null,"replica_of":null}}`, 400, "badRequest", "Only one attribute"},
		"unknown":                  {`{"instance":{"flavorRef":"2"}}`, 400, "badRequest", `unknown field "flavorRef"`},
		"empty name":               {`{"instance":{"name":""}}`, 400, "badRequest", "instance.name"},
		"no instance":              {`{}`, 400, "badRequest", `"instance" is a required property`},
		"bad cidr":                 {`{"instance":{"access":{"allowed_cidrs":["x"]}}}`, 400, "badRequest", "allowed_cidrs"},
		"unknown access":           {`{"instance":{"access":{"ports":[1]}}}`, 400, "badRequest", `unknown field "ports" in instance.access`},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.row(id)
			for _, method := range []string{"PUT", "PATCH"} {
				r := w.call(alice, method, one, tc.body)
				if tc.key == "" {
					require.Equal(t, tc.status, r.status, r.text)
					require.Empty(t, r.text)
					continue
				}
				require.Contains(t, r.fault(tc.status, tc.key), tc.says)
			}
			require.Equal(t, before, w.row(id))
		})
	}
}

func TestAccessAndName(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	one := base + "/" + id
	require.Equal(t, 202, w.call(alice, "PUT", one, `{"instance":{"name":"new","access":{"is_public":true}}}`).status)
	r := w.call(alice, "GET", one, "")
	require.Equal(t, "new", r.get("instance", "name"))
	require.Equal(t, "ACTIVE", r.get("instance", "status"))
	require.Empty(t, r.get("instance", "operating_status"), "busy before the answer")
	require.EqualValues(t, 2, w.row(id).Generation)
	w.call(alice, "PUT", one, `{"instance":{"access":{"is_public":false}}}`).fault(422, "unprocessableEntity")
	w.activate(id)
	require.Equal(t, 202, w.call(alice, "PUT", one, `{"instance":{"access":{"allowed_cidrs":["10.1.2.3/8"]}}}`).status)
	require.Equal(t, model.Access{IsPublic: true, AllowedCIDRs: []string{"10.1.2.3/8"}}, w.row(id).Access, "what is left out stays")
	w.activate(id)
	require.Equal(t, 202, w.call(alice, "PUT", one, `{"instance":{"access":{"allowed_cidrs":[]}}}`).status)
	require.Empty(t, w.row(id).Access.AllowedCIDRs)

	// A new name alone is in effect at once, and nobody has to do anything for it.
	w.activate(id)
	g := w.row(id).Generation
	require.Equal(t, 202, w.call(alice, "PUT", one, `{"instance":{"name":"again"}}`).status)
	i := w.row(id)
	require.Equal(t, "again", i.Name)
	require.Equal(t, g, i.Generation)
	require.Equal(t, model.OperatingHealthy, i.OperatingStatus)
}
