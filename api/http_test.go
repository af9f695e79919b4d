package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestVersions(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/v1.0", "/v1.0/"} {
		r := w.call("", "GET", path, "")
		require.Equal(t, "v1.0", r.get("version", "id"))
		require.Equal(t, "CURRENT", r.get("version", "status"))
		require.Equal(t, "http://huker.test:8779/v1.0/", r.get("version", "links", 0, "href"))
	}
	r := w.call("", "GET", "/", "")
	require.Equal(t, "v1.0", r.get("versions", 0, "id"))
	w.call("", "POST", "/", "{}").fault(405, "badMethod")

	// Without a public URL links follow the request.
	w = newWorld(t, func(c *api.Config) { c.PublicURL = "" })
	r = w.call("", "GET", "/v1.0", "")
	require.Equal(t, w.server.URL+"/v1.0/", r.get("version", "links", 0, "href"))
}

func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		token, method, path string
		status              int
		key                 string
	}{
		{"", "GET", "/v1.0/" + mine + "/instances", 401, "unauthorized"},
		{"wrong", "GET", "/v1.0/" + mine + "/instances", 401, "unauthorized"},
		{"", "GET", "/v1.0/" + mine + "/nothing", 401, "unauthorized"}, // not even what there is
		{"limited", "GET", "/v1.0/" + mine + "/instances", 429, "overLimit"},
		{"unavailable", "GET", "/v1.0/" + mine + "/instances", 503, "serviceUnavailable"},
		{"forbidden", "GET", "/v1.0/" + mine + "/instances", 403, "forbidden"},
		{"unscoped", "GET", "/v1.0/" + mine + "/instances", 403, "forbidden"},
		{bob, "GET", "/v1.0/" + mine + "/instances", 403, "forbidden"},
		{reader, "GET", "/v1.0/" + mine + "/instances", 200, ""},
		{reader, "POST", "/v1.0/" + mine + "/instances", 403, "forbidden"},
		{reader, "DELETE", "/v1.0/" + mine + "/instances/" + unknownID, 403, "forbidden"},
		{admin, "GET", "/v1.0/" + mine + "/instances", 200, ""},
		{admin, "GET", "/v1.0/" + ops + "/mgmt/instances", 200, ""},
		{alice, "GET", "/v1.0/" + mine + "/mgmt/instances", 403, "forbidden"}, // 401 would have clients sign in again
		{alice, "PUT", "/v1.0/" + mine + "/mgmt/quotas/" + mine, 403, "forbidden"},
		{alice, "GET", "/v1.0/" + mine + "/mgmt/quotas/" + theirs, 403, "forbidden"},
	} {
		t.Run(tc.token+" "+tc.method+" "+tc.path, func(t *testing.T) {
			r := w.call(tc.token, tc.method, tc.path, "")
			if tc.key == "" {
				require.Equal(t, tc.status, r.status, r.text)
				return
			}
			r.fault(tc.status, tc.key)
		})
	}
	require.Equal(t, "90", w.call("limited", "GET", base, "").header.Get("Retry-After"))
}

func TestPaths(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "paths")
	for _, path := range []string{
		"//", "/v1.0//" + mine + "/instances", "/v1.0/" + mine + "//instances", base + "/../instances", "/v1.0/" + mine + "/../" + theirs + "/instances",
		"/v1.0/..%2f" + mine + "/instances", base + "%2f" + id, base + "/" + id + "%00", base + "/" + id + "%ff", base + "/%2e%2e/" + id, "/v2.0/" + mine + "/instances",
		"/v1.0/" + mine, "/v1.0/" + mine + "/", "/v1.0/" + mine + "/nothing", base + "/" + id + "/nothing", base + "/" + id + "/log/error/content/more",
		"/v1.0/" + strings.Repeat("a", 65) + "/instances", "/v1.0/a%20b/instances", "/v1.0/" + mine + "/Instances",
	} {
		t.Run(path, func(t *testing.T) {
			r := w.call(alice, "GET", path, "")
			require.Contains(t, []int{403, 404}, r.status, "%s: %s", path, r.text)
			require.Empty(t, r.header.Get("Location"), "no redirects")
		})
	}
	require.Equal(t, 200, w.call(alice, "GET", base+"/", "").status, "one slash at the end is nothing")
	require.Equal(t, 200, w.call(alice, "HEAD", base, "").status)

	r := w.call(alice, "DELETE", base, "")
	r.fault(405, "badMethod")
	require.Equal(t, "POST, GET", r.header.Get("Allow"))
	w.call(alice, "TRACE", base+"/"+id, "").fault(405, "badMethod")
	w.call(alice, "GET", base+"?limit=%zz", "").fault(400, "badRequest")
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	ok := `{"instance":{"name":"n","flavorRef":1,"volume":{"size":1}}}`
	deep := strings.Repeat(`{"instance":`, 40) + "1" + strings.Repeat("}", 40)
	for name, tc := range map[string]struct {
		body, header string
		status       int
		key, says    string
	}{
		"none":          {"", "", 400, "badRequest", "needs a body"},
		"blank":         {"  ", "", 400, "badRequest", "needs a body"},
		"null":          {"null", "", 400, "badRequest", "must be an object"},
		"array":         {"[]", "", 400, "badRequest", "must be an object"},
		"cut":           {`{"instance":{"name":"secret`, "", 400, "badRequest", "ends too early"},
		"syntax":        {`{"instance":{"name":secret}}`, "", 400, "badRequest", "syntax error"},
		"trailing":      {ok + ok, "", 400, "badRequest", "more after its end"},
		"twice":         {`{"instance":{"name":"a","name":"b"}}`, "", 400, "badRequest", `"instance.name" is given twice`},
		"other case":    {`{"instance":{"Name":"a","name":"b"}}`, "", 400, "badRequest", `unknown field "Name" in instance`},
		"unknown":       {`{"instance":{"name":"a","colour":"red"}}`, "", 400, "badRequest", `unknown field "colour" in instance`},
		"unknown top":   {`{"instance":{"name":"a"},"more":1}`, "", 400, "badRequest", `unknown field "more" in the body`},
		"unknown below": {`{"instance":{"name":"a","volume":{"size":1,"color":2}}}`, "", 400, "badRequest", `unknown field "color" in instance.volume`},
		"missing":       {`{"instance":{}}`, "", 400, "badRequest", `"name" is a required property of instance`},
		"wrong type":    {`{"instance":{"name":7}}`, "", 400, "badRequest", "instance.name must be a string, not integer"},
		"fraction":      {`{"instance":{"name":"n","replica_count":1.5}}`, "", 400, "badRequest", "instance.replica_count must be an integer"},
		"huge":          {`{"instance":{"name":"n","replica_count":1e999}}`, "", 400, "badRequest", "replica_count"},
		"deep":          {deep, "", 400, "badRequest", "deeper"},
		"not utf-8":     {"{\"instance\":{\"name\":\"\xff\"}}", "", 400, "badRequest", "UTF-8"},
		"form":          {ok, "application/x-www-form-urlencoded", 415, "badMediaType", "application/json"},
		"xml":           {"<instance/>", "application/xml", 415, "badMediaType", ""},
		"bad type":      {ok, "/;=", 415, "badMediaType", ""},
		"charset":       {ok, "application/json; charset=utf-8", 200, "", ""},
		"vendor":        {ok, "application/vnd.openstack.trove+json", 200, "", ""},
		"large":         {`{"instance":{"name":"` + strings.Repeat("a", 2<<20) + `"}}`, "", 413, "overLimit", "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tc.header != "" {
				headers = []string{"Content-Type", tc.header}
			}
			r := w.call(alice, "POST", base, tc.body, headers...)
			if tc.key == "" {
				require.Equal(t, tc.status, r.status, r.text)
				return
			}
			message := r.fault(tc.status, tc.key)
			require.Contains(t, message, tc.says)
			require.NotContains(t, message, "secret", "values are not sent back")
		})
	}
}

// TestTooLongIsNotWaitedFor: a length that is too much is refused before a byte of it has come.
func TestTooLongIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nExpect: 100-continue\r\nContent-Length: 5000000000\r\n\r\n", base, alice)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	require.Equal(t, 413, answer.StatusCode, "and not 100, which asks for it")
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Contains(t, string(text), `"overLimit"`)
}

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	given := "req-5a0a5b1e-0000-4000-8000-000000000001"
	require.Equal(t, given, w.call("", "GET", "/", "", "X-Openstack-Request-Id", given).header.Get("X-Openstack-Request-Id"))
	for _, bad := range []string{"", "x", "req-" + strings.Repeat("a", 65), "req-a b"} {
		got := w.call("", "GET", "/", "", "X-Openstack-Request-Id", bad).header.Get("X-Openstack-Request-Id")
		require.Regexp(t, `^req-[0-9a-f-]{36}$`, got)
	}
	require.Equal(t, "no-store", w.call("", "GET", "/", "").header.Get("Cache-Control"))
}

func TestPanic(t *testing.T) {
	w := newWorld(t)
	r := w.call("panic", "GET", base, "")
	message := r.fault(500, "instanceFault")
	require.Contains(t, message, r.header.Get("X-Openstack-Request-Id"))
	require.NotContains(t, message, "as the test wants")
	require.Contains(t, w.logged(), "as the test wants")
	require.Equal(t, 200, w.call(alice, "GET", base, "").status, "and it goes on")
}

// TestLog: what is asked is in the log, what is secret is not.
func TestLog(t *testing.T) {
	w := newWorld(t)
	w.call(alice, "POST", base, `{"instance":{"name":"n","flavorRef":1,"volume":{"size":1},"databases":[{"name":"d"}],"users":[{"name":"u","password":"Pa55-of-user"}]}}`)
	id := w.active(alice, mine, "log")
	w.call(alice, "POST", base+"/"+id+"/root", `{"password":"Pa55-of-root"}`)
	w.call(alice, "POST", base+"/"+id+"/users", `{"users":[{"name":"u","password":"Pa55-of-user"}]}`)
	w.call(alice, "POST", base+"/"+id+"/users", `{"users":[{"name":"u","password":"Pa55-of-user","x":"Pa55-of-user"}]}`)
	w.call(alice, "PUT", base+"/"+id+"/users/u", `{"user":{"password":"Pa55-of-user"}}`)
	w.guests.fail(errors.New("out of order"))
	w.call(alice, "PUT", base+"/"+id+"/users/u", `{"user":{"password":"Pa55-of-user"}}`).fault(500, "instanceFault")
	log := w.logged()
	require.Contains(t, log, `"op":"createInstance"`)
	require.Contains(t, log, `"account":"a1"`)
	require.Contains(t, log, "out of order")
	for _, secret := range []string{"Pa55", alice} {
		require.NotContains(t, log, secret)
	}
}

func TestStoreClosed(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.store.Close())
	w.call(alice, "GET", base, "").fault(503, "serviceUnavailable")
}

// failing is a store whose transactions end with an error.
type failing struct {
	metastore.Store
	err error
}

func (f failing) View(context.Context, func(metastore.Tx) error) error   { return f.err }
func (f failing) Update(context.Context, func(metastore.Tx) error) error { return f.err }

func TestStoreAway(t *testing.T) {
	for err, says := range map[error]string{
		metastore.ErrUnavailable: "nothing was changed", metastore.ErrUnknown: "not known whether", metastore.ErrConflict: "try again",
	} {
		w := newWorld(t, func(c *api.Config) { c.Store = failing{c.Store, fmt.Errorf("commit: %w", err)} })
		answer := w.call(alice, "POST", base, `{"instance":{"name":"db","flavorRef":"1","volume":{"size":1},"datastore":{"type":"mysql"}}}`)
		answer.fault(503, "serviceUnavailable")
		require.Contains(t, answer.text, says)
	}
}

func TestConfig(t *testing.T) {
	good := func(w *world) api.Config {
		return api.Config{Store: w.store, Guests: w.guests, Auth: people(), Kick: w.kick}
	}
	w := newWorld(t)
	_, err := api.New(good(w))
	require.NoError(t, err)
	for i, spoil := range []func(*api.Config){
		func(c *api.Config) { c.Store = nil }, func(c *api.Config) { c.Guests = nil }, func(c *api.Config) { c.Auth = nil },
		func(c *api.Config) { c.Kick = nil }, func(c *api.Config) { c.PublicURL = "huker:8779" }, func(c *api.Config) { c.PublicURL = "ftp://x" },
		func(c *api.Config) { c.PublicURL = "http://x?y" }, func(c *api.Config) { c.Limits.PageSize = -1 },
	} {
		c := good(w)
		spoil(&c)
		_, err := api.New(c)
		require.Error(t, err, "case %d", i)
	}
	// Two APIs in one process do not disturb each other.
	var h http.Handler
	h, err = api.New(good(w))
	require.NoError(t, err)
	require.NotNil(t, h)
}

func TestFlavorsLimitsQuotas(t *testing.T) {
	w := newWorld(t)
	own := "/v1.0/" + mine
	r := w.call(alice, "GET", own+"/flavors", "")
	require.InDelta(t, 1, r.get("flavors", 0, "id"), 0)
	require.Equal(t, "1", r.get("flavors", 0, "str_id"))
	require.InDelta(t, 0.5, r.get("flavors", 0, "vcpus"), 0)
	require.InDelta(t, 512, r.get("flavors", 0, "ram"), 0)
	require.Nil(t, r.get("flavors", 2, "id"), "no integer, so null")
	require.Equal(t, "x-large", r.get("flavors", 2, "str_id"))
	require.Equal(t, "http://huker.test:8779"+own+"/flavors/1", r.get("flavors", 0, "links", 0, "href"))
	for _, missing := range []string{"9", "small", "01"} {
		w.call(alice, "GET", own+"/flavors/"+missing, "").fault(404, "itemNotFound")
	}
	r = w.call(alice, "GET", own+"/limits", "")
	require.Equal(t, map[string]any{"verb": "ABSOLUTE", "max_instances": 5.0, "max_ram": 4096.0, "max_volumes": 50.0, "max_backups": 3.0}, r.get("limits", 0))

	w.create(alice, mine, "one")
	usage := func(token, path string) map[string][2]any {
		r := w.call(token, "GET", path, "")
		require.Equal(t, 200, r.status, r.text)
		m := map[string][2]any{}
		for i := range 4 {
			m[r.get("quotas", i, "resource").(string)] = [2]any{r.get("quotas", i, "in_use"), r.get("quotas", i, "limit")}
			require.InDelta(t, 0, r.get("quotas", i, "reserved"), 0)
		}
		return m
	}
	require.Equal(t, map[string][2]any{"instances": {1.0, 5.0}, "ram": {512.0, 4096.0}, "volumes": {1.0, 50.0}, "backups": {0.0, 3.0}}, usage(alice, own+"/mgmt/quotas/"+mine))

	set := "/v1.0/" + ops + "/mgmt/quotas/" + mine
	r = w.call(admin, "PUT", set, `{"quotas":{"instances":2,"ram":-1,"volumes":null}}`)
	require.Equal(t, 200, r.status, r.text)
	require.Equal(t, map[string]any{"instances": 2.0, "ram": -1.0}, r.get("quotas"))
	require.Equal(t, map[string][2]any{"instances": {1.0, 2.0}, "ram": {512.0, -1.0}, "volumes": {1.0, 50.0}, "backups": {0.0, 3.0}}, usage(admin, set))
	require.Equal(t, [2]any{0.0, 5.0}, usage(bob, "/v1.0/"+theirs+"/mgmt/quotas/"+theirs)["instances"], "others' are as they were")
	for _, bad := range []string{`{"quotas":{"instances":-2}}`, `{"quotas":{"instances":"x"}}`, `{"quotas":{"instance":1}}`, `{"quotas":[]}`, `{}`} {
		w.call(admin, "PUT", set, bad).fault(400, "badRequest")
	}
}

func TestDatastores(t *testing.T) {
	w := newWorld(t)
	own := "/v1.0/" + mine
	r := w.call(alice, "GET", own+"/datastores", "")
	require.Equal(t, "mysql", r.get("datastores", 0, "name"))
	require.Equal(t, versionID, r.get("datastores", 0, "default_version"))
	require.Len(t, r.get("datastores", 0, "versions"), 2, "the retired version is for administrators")
	for _, ds := range []string{"mysql", datastoreID} {
		require.Equal(t, datastoreID, w.call(alice, "GET", own+"/datastores/"+ds, "").get("datastore", "id"))
		for _, v := range []string{"9.7.4", versionID} {
			r := w.call(alice, "GET", own+"/datastores/"+ds+"/versions/"+v, "")
			require.Equal(t, map[string]any{"id": versionID, "name": "9.7.4", "version": "9.7.4", "datastore": datastoreID,
				"links": r.get("version", "links")}, r.get("version"))
		}
	}
	for _, path := range []string{"/datastores/postgres", "/datastores/postgres/versions", "/datastores/mysql/versions/5.5", "/datastores/mysql/versions/8.4.0",
		"/datastores/versions/9.7.4", "/datastores/versions/" + unknownID, "/datastores/postgres/versions/9.7.4/flavors",
		"/datastores/mysql/versions/5.5/flavors", "/datastores/mysql/versions/5.5/volume-types"} {
		w.call(alice, "GET", own+path, "").fault(404, "itemNotFound")
	}
	r = w.call(admin, "GET", own+"/datastores/mysql/versions/8.4.0", "")
	require.Equal(t, false, r.get("version", "active"))
	require.Equal(t, "huker/mysql:8.4.0", r.get("version", "image"))
	for _, field := range []string{"packages", "image_tags"} {
		require.Equal(t, []any{}, r.get("version", field))
	}
	require.Len(t, w.call(alice, "GET", own+"/datastores/mysql/versions/9.7.4/flavors", "").get("flavors"), 3)
	require.Equal(t, "local", w.call(alice, "GET", own+"/datastores/mysql/versions/9.7.4/volume-types", "").get("volume_types", 0, "name"))

	r = w.call(admin, "GET", "/v1.0/"+ops+"/mgmt/datastore-versions", "")
	require.Len(t, r.get("versions"), 3)
	r = w.call(admin, "GET", "/v1.0/"+ops+"/mgmt/datastore-versions/"+versionID, "")
	require.Equal(t, true, r.get("version", "default"))
	require.Equal(t, "mysql", r.get("version", "datastore_manager"))
	w.call(admin, "GET", "/v1.0/"+ops+"/mgmt/datastore-versions/"+unknownID, "").fault(404, "itemNotFound")
}

// TestQuotaExceeded: the message names the resource, the limit, what is used and what is asked for.
func TestQuotaExceeded(t *testing.T) {
	w := newWorld(t, func(c *api.Config) {
		c.DefaultQuota = &model.Quota{Instances: 2, RAMMB: 1536, VolumesGB: 10, Backups: 0}
	})
	create := func(flavor string, gb int) reply {
		return w.call(alice, "POST", base, fmt.Sprintf(`{"instance":{"name":"n","flavorRef":%q,"volume":{"size":%d}}}`, flavor, gb))
	}
	require.Contains(t, create("1", 11).fault(413, "overLimit"), "['volumes']. The limit is 10, in use are 0, requested are 11 more.")
	require.Contains(t, create("x-large", 1).fault(413, "overLimit"), "['ram']. The limit is 1536, in use are 0, requested are 8192 more.")
	first := create("1", 4)
	require.Equal(t, 200, first.status)
	id := first.get("instance", "id").(string)
	require.Equal(t, 200, create("2", 4).status)
	require.Contains(t, create("1", 1).fault(413, "overLimit"), "['instances']. The limit is 2, in use are 2, requested are 1 more.")
	w.activate(id)
	require.Contains(t, w.call(alice, "POST", base+"/"+id+"/action", `{"resize":{"volume":{"size":7}}}`).fault(413, "overLimit"), "['volumes']. The limit is 10, in use are 8, requested are 3 more.")
	require.Contains(t, w.call(alice, "POST", base+"/"+id+"/action", `{"resize":{"flavorRef":"2"}}`).fault(413, "overLimit"), "['ram']")
	require.EqualValues(t, 1, w.row(id).Generation, "what is refused leaves nothing")
	require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status)
	create("1", 1).fault(413, "overLimit") // what is being deleted still takes room
	require.Equal(t, 200, w.call(bob, "POST", "/v1.0/"+theirs+"/instances", `{"instance":{"name":"n","flavorRef":"1","volume":{"size":1}}}`).status)
}
