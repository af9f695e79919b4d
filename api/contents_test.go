package api_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
)

func TestDatabases(t *testing.T) {
	w := newWorld(t)
	one := base + "/" + w.active(alice, mine, "n")
	r := w.call(alice, "POST", one+"/databases", `{"databases":[{"name":"b","character_set":"utf8mb4","collate":"utf8mb4_0900_ai_ci"},{"name":"a"}]}`)
	require.Equal(t, 202, r.status, r.text)
	require.Empty(t, r.text)
	require.Equal(t, []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}, w.call(alice, "GET", one+"/databases", "").get("databases"))
	require.Equal(t, model.Database{Name: "b", CharacterSet: "utf8mb4", Collate: "utf8mb4_0900_ai_ci"}, w.guests.databases[1])
	require.Contains(t, w.call(alice, "POST", one+"/databases", `{"databases":[{"name":"a"}]}`).fault(400, "badRequest"), "exists")
	require.Equal(t, 202, w.call(alice, "POST", one+"/databases", `{"databases":[]}`).status)
	for _, bad := range []string{`{"databases":[{"name":"sys"}]}`, `{"databases":[{"name":""}]}`, `{"databases":{"name":"a"}}`, `{"databases":[{"name":"x","owner":"y"}]}`, `{}`} {
		w.call(alice, "POST", one+"/databases", bad).fault(400, "badRequest")
	}
	require.Equal(t, 202, w.call(alice, "DELETE", one+"/databases/a", "").status)
	for _, missing := range []string{"a", "..", "%2e%2e", "a%2fb", "%60"} {
		r := w.call(alice, "DELETE", one+"/databases/"+missing, "")
		r.fault(404, "itemNotFound")
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	one := base + "/" + w.active(alice, mine, "n")
	w.guests.databases = []model.Database{{Name: "d"}}
	r := w.call(alice, "POST", one+"/users", `{"users":[{"name":"u","password":"Secr3t","databases":[{"name":"d"}]},{"name":"we.ird@x","password":"p","host":"10.0.0.%"}]}`)
	require.Equal(t, 202, r.status, r.text)
	list := w.call(alice, "GET", one+"/users", "")
	require.Equal(t, []any{
		map[string]any{"name": "u", "host": "%", "databases": []any{map[string]any{"name": "d"}}},
		map[string]any{"name": "we.ird@x", "host": "10.0.0.%", "databases": []any{}},
	}, list.get("users"))
	w.call(alice, "POST", one+"/users", `{"users":[{"name":"u","password":"Secr3t"}]}`).fault(400, "badRequest")

	// As troveclient quotes: everything, and the dots besides.
	quoted := strings.ReplaceAll(url.QueryEscape("we.ird@x@10.0.0.%"), ".", "%2e")
	for _, name := range []string{quoted, "we.ird@x@10.0.0.%25", "we%2eird%40x%4010%2e0%2e0%2e%25"} {
		require.Equal(t, "10.0.0.%", w.call(alice, "GET", one+"/users/"+name, "").get("user", "host"), name)
	}
	for _, name := range []string{"u", "u@%25", "u%40%25"} {
		require.Equal(t, "u", w.call(alice, "GET", one+"/users/"+name, "").get("user", "name"), name)
	}
	for _, name := range []string{"nobody", "u@localhost", "we.ird", "u%252f"} {
		w.call(alice, "GET", one+"/users/"+name, "").fault(404, "itemNotFound")
		w.call(alice, "DELETE", one+"/users/"+name, "").fault(404, "itemNotFound")
		w.call(alice, "PUT", one+"/users/"+name, `{"user":{"password":"p"}}`).fault(404, "itemNotFound")
	}

	require.Equal(t, 202, w.call(alice, "PUT", one+"/users/u", `{"user":{"name":"v","password":"New","host":"LocalHost"}}`).status)
	require.Equal(t, model.User{Name: "v", Host: "localhost", Password: "New", Databases: []string{"d"}}, w.guests.users[0])
	for _, bad := range []string{`{"user":{}}`, `{}`, `{"user":{"name":"root"}}`, `{"user":{"host":"a b"}}`, `{"user":{"password":""}}`, `{"user":{"databases":[]}}`} {
		w.call(alice, "PUT", one+"/users/v@localhost", bad).fault(400, "badRequest")
	}

	// All or nothing, as far as can be seen beforehand.
	w.call(alice, "PUT", one+"/users", `{"users":[{"name":"v","host":"localhost","password":"P2"},{"name":"nobody","password":"P2"}]}`).fault(404, "itemNotFound")
	require.Equal(t, "New", w.guests.users[0].Password)
	require.Equal(t, 202, w.call(alice, "PUT", one+"/users", `{"users":[{"name":"v","host":"localhost","password":"P2"}]}`).status)
	require.Equal(t, "P2", w.guests.users[0].Password)

	require.Equal(t, 202, w.call(alice, "DELETE", one+"/users/v%40localhost", "").status)
	require.Equal(t, 202, w.call(alice, "DELETE", one+"/users/"+quoted, "").status)
	require.Empty(t, w.guests.users)
}

// TestNamesThatCannotBe: MySQL fails, rather than finding nothing, where it is asked for what it could not store. It is not asked.
func TestNamesThatCannotBe(t *testing.T) {
	w := newWorld(t)
	one := base + "/" + w.active(alice, mine, "n")
	w.guests.fail(errors.New("conversion from collation utf8mb4_0900_ai_ci into utf8mb3_bin impossible"))
	const smile, broken = "%F0%9F%98%80", "%EF%BF%BD"
	for _, name := range []string{smile, broken, "a@" + smile, "%C2%85"} {
		user := one + "/users/" + name
		w.call(alice, "GET", user, "").fault(404, "itemNotFound")
		w.call(alice, "PUT", user, `{"user":{"password":"p"}}`).fault(404, "itemNotFound")
		w.call(alice, "DELETE", user, "").fault(404, "itemNotFound")
		w.call(alice, "GET", user+"/databases", "").fault(404, "itemNotFound")
		w.call(alice, "PUT", user+"/databases", `{"databases":[{"name":"a"}]}`).fault(404, "itemNotFound")
		w.call(alice, "DELETE", user+"/databases/a", "").fault(404, "itemNotFound")
		w.call(alice, "DELETE", one+"/databases/"+name, "").fault(404, "itemNotFound")
		for _, list := range []string{"/users", "/databases"} {
			w.call(alice, "GET", one+list+"?marker="+name, "").fault(400, "badRequest")
		}
	}
	w.call(alice, "PUT", one+"/users", `{"users":[{"name":"\ud83d\ude00","password":"p"}]}`).fault(404, "itemNotFound")
	w.call(alice, "PUT", one+"/users", `{"users":[{"name":"a","host":"\ud83d\ude00","password":"p"}]}`).fault(404, "itemNotFound")
	w.call(alice, "DELETE", one+"/databases/"+strings.Repeat("a", 65), "").fault(404, "itemNotFound")
	w.call(alice, "GET", one+"/users?marker=%ff", "").fault(400, "badRequest")
	for _, file := range []string{"ibdata1", "IBTMP1", "undo_001", "undo_002", "ib_buffer_pool"} {
		says := w.call(alice, "POST", one+"/databases", `{"databases":[{"name":"`+file+`"}]}`).fault(400, "badRequest")
		require.Contains(t, says, "reserved")
	}
	require.Empty(t, w.guests.asked)
}

func TestGrants(t *testing.T) {
	w := newWorld(t)
	one := base + "/" + w.active(alice, mine, "n")
	w.guests.users = []model.User{{Name: "u", Host: "%"}}
	require.Equal(t, []any{}, w.call(alice, "GET", one+"/users/u/databases", "").get("databases"))
	require.Equal(t, 202, w.call(alice, "PUT", one+"/users/u/databases", `{"databases":[{"name":"a"},{"name":"b"},{"name":"a"}]}`).status)
	require.Equal(t, []string{"a", "b"}, w.guests.users[0].Databases)
	require.Equal(t, 202, w.call(alice, "PUT", one+"/users/u/databases", `{"databases":[]}`).status)
	require.Equal(t, []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}, w.call(alice, "GET", one+"/users/u/databases", "").get("databases"))
	require.Equal(t, 202, w.call(alice, "DELETE", one+"/users/u%40%25/databases/a", "").status)
	w.call(alice, "DELETE", one+"/users/u/databases/a", "").fault(404, "itemNotFound") // not granted any more
	w.call(alice, "PUT", one+"/users/u/databases", `{"databases":[{"name":"mysql"}]}`).fault(400, "badRequest")
	w.call(alice, "PUT", one+"/users/u/databases", `{"databases":["a"]}`).fault(400, "badRequest")
	for _, c := range []string{"GET ", "PUT {\"databases\":[{\"name\":\"a\"}]}", "DELETE "} {
		method, body, _ := strings.Cut(c, " ")
		path := one + "/users/nobody/databases"
		if method == "DELETE" {
			path += "/a"
		}
		w.call(alice, method, path, body).fault(404, "itemNotFound")
	}
}

func TestRoot(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	root := base + "/" + id + "/root"
	require.Equal(t, false, w.call(alice, "GET", root, "").get("rootEnabled"))
	w.call(alice, "DELETE", root, "").fault(404, "itemNotFound")
	for _, body := range []string{"", "{}", "null", `{"password":null}`} {
		r := w.call(alice, "POST", root, body)
		require.Equal(t, 200, r.status, r.text)
		require.Equal(t, map[string]any{"name": "root", "password": "made-by-the-guest"}, r.get("user"))
	}
	require.Equal(t, "mine", w.call(alice, "POST", root, `{"password":"mine"}`).get("user", "password"))
	first := w.row(id).RootEnabledAt
	require.Equal(t, true, w.call(alice, "GET", root, "").get("rootEnabled"))
	require.True(t, w.row(id).RootEnabled)
	require.Equal(t, "alice", w.row(id).RootEnabledBy)
	r := w.call(alice, "DELETE", root, "")
	require.Equal(t, 204, r.status)
	require.Empty(t, r.text)
	require.False(t, w.row(id).RootEnabled)
	require.Equal(t, first, w.row(id).RootEnabledAt, "history stays")
	w.call(alice, "DELETE", root, "").fault(404, "itemNotFound")
	w.call(alice, "POST", root, `{"password":7}`).fault(400, "badRequest")
	w.call(alice, "POST", root, `{"passwort":"x"}`).fault(400, "badRequest")
	w.call(alice, "POST", root, `{"password":"a\u0000b"}`).fault(400, "badRequest")
	var kinds []string
	for _, e := range w.call(alice, "GET", base+"/"+id+"/events?limit=2", "").get("events").([]any) {
		kinds = append(kinds, e.(map[string]any)["kind"].(string))
	}
	require.Equal(t, []string{"root.enabled", "root.disabled"}, kinds)
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	log := base + "/" + id + "/log"
	r := w.call(alice, "GET", log, "")
	require.Equal(t, map[string]any{"name": "error", "type": "SYS", "status": "Ready", "published": 0.0, "pending": 12.0, "container": nil, "prefix": nil, "metafile": nil}, r.get("logs", 0))
	require.Equal(t, "Disabled", r.get("logs", 1, "status"))
	for _, tc := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"name":"general"}`, 200, "Disabled"},
		{`{"name":"general","enable":1}`, 200, "Enabled"},
		{`{"name":"general","enable":0}`, 200, "Enabled"},
		{`{"name":"general","disable":true}`, 200, "Disabled"},
		{`{"name":"error","discard":1}`, 200, "Enabled"},
		{`{"name":"error","disable":1}`, 400, "badRequest"},
		{`{"name":"error","enable":1,"disable":1}`, 400, "badRequest"},
		{`{"name":"error","publish":1}`, 501, "notImplemented"},
		{`{"name":"audit"}`, 404, "itemNotFound"},
		{`{"name":"audit","enable":1}`, 404, "itemNotFound"},
		{`{"name":"error","enable":2}`, 400, "badRequest"},
		{`{"name":"error","rotate":1}`, 400, "badRequest"},
		{`{}`, 400, "badRequest"},
	} {
		r := w.call(alice, "POST", log, tc.body)
		if tc.status != 200 {
			r.fault(tc.status, tc.want)
			continue
		}
		require.Equal(t, tc.want, r.get("log", "status"), tc.body)
	}
	for query, want := range map[string]string{"": "hello, world", "?offset=7": "world", "?offset=-5&limit=3": "wor", "?limit=9999999": "hello, world", "?offset=99": ""} {
		r := w.call(alice, "GET", log+"/error/content"+query, "")
		require.Equal(t, 200, r.status, r.text)
		text, err := base64.StdEncoding.DecodeString(r.get("content").(string))
		require.NoError(t, err)
		require.Equal(t, want, string(text), query)
		require.InDelta(t, 12, r.get("size"), 0)
	}
	w.call(alice, "GET", log+"/audit/content", "").fault(404, "itemNotFound")
	for _, bad := range []string{"?offset=x", "?limit=0", "?limit=x", "?offset=99999999999999999999"} {
		w.call(alice, "GET", log+"/error/content"+bad, "").fault(400, "badRequest")
	}
	// Of most use when the database does not start.
	w.edit(id, func(i *model.Instance) { i.Status = model.StatusError })
	require.Equal(t, 200, w.call(alice, "GET", log+"/error/content", "").status)
	w.call(alice, "GET", log, "").fault(422, "unprocessableEntity")
	w.call(alice, "GET", base+"/"+w.create(alice, mine, "m")+"/log/error/content", "").fault(422, "unprocessableEntity") // not placed yet
}

func TestSSL(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	ssl := base + "/" + id + "/ssl"
	require.Equal(t, map[string]any{"status": "off", "mode": "builtin"}, w.call(alice, "GET", ssl, "").get("ssl"))
	tls, err := pki.NewInstance(id, "10.0.0.1", "db.example")
	require.NoError(t, err)
	w.update(func(tx metastore.Tx) error {
		s := tx.Secrets()
		return errors.Join(s.Put(t.Context(), id, "ca.pem", append(tls.CA, tls.CAKey...)), s.Put(t.Context(), id, "server-cert.pem", tls.Cert),
			s.Put(t.Context(), id, "server-key.pem", tls.Key))
	})
	r := w.call(alice, "GET", ssl, "")
	require.Equal(t, "on", r.get("ssl", "status"))
	require.Equal(t, string(tls.CA), r.get("ssl", "ca"), "to verify the server with")
	require.NotContains(t, r.get("ssl", "certificate"), "payload")
	require.ElementsMatch(t, []any{"10.0.0.1", "db.example"}, r.get("ssl", "certificate", "san"))
	block, _ := pem.Decode(tls.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, cert.Subject.CommonName, r.get("ssl", "certificate", "cn"))
	require.Equal(t, cert.NotAfter.UTC().Format("2006-01-02T15:04:05"), r.get("ssl", "certificate", "expire_at"))
	r = w.call(alice, "GET", ssl+"?include_certificate=True", "")
	require.Equal(t, string(tls.Cert)+string(tls.CA), r.get("ssl", "certificate", "payload"))
	require.NotContains(t, r.text, "PRIVATE KEY", "no key leaves, even where one was put by mistake")

	w.update(func(tx metastore.Tx) error {
		return tx.Secrets().Put(t.Context(), id, "server-cert.pem", []byte("rubbish"))
	})
	require.Equal(t, "off", w.call(alice, "GET", ssl, "").get("ssl", "status"))
}

func TestEvents(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	w.call(alice, "POST", base+"/"+id+"/action", `{"restart":{}}`)
	events := w.call(alice, "GET", base+"/"+id+"/events", "")
	require.Len(t, events.get("events"), 2)
	require.Equal(t, "instance.restart.requested", events.get("events", 1, "kind"))
	require.Contains(t, events.get("events", 1, "message"), "alice")
	require.Equal(t, "instance.restart.requested", w.call(alice, "GET", base+"/"+id+"/events?limit=1", "").get("events", 0, "kind"))
	w.call(alice, "GET", base+"/"+id+"/events?limit=0", "").fault(400, "badRequest")
}

// guestCalls are all calls that a guest carries out.
func guestCalls(id string) [][3]string {
	one := base + "/" + id
	return [][3]string{
		{"GET", one + "/databases", ""}, {"POST", one + "/databases", `{"databases":[{"name":"x"}]}`}, {"DELETE", one + "/databases/x", ""},
		{"GET", one + "/users", ""}, {"POST", one + "/users", `{"users":[{"name":"x","password":"p"}]}`}, {"PUT", one + "/users", `{"users":[{"name":"u","password":"p"}]}`},
		{"GET", one + "/users/u", ""}, {"PUT", one + "/users/u", `{"user":{"password":"p"}}`}, {"DELETE", one + "/users/u", ""},
		{"GET", one + "/users/u/databases", ""}, {"PUT", one + "/users/u/databases", `{"databases":[{"name":"d"}]}`}, {"DELETE", one + "/users/u/databases/d", ""},
		{"GET", one + "/root", ""}, {"POST", one + "/root", ""}, {"DELETE", one + "/root", ""}, {"GET", one + "/log", ""},
		{"POST", one + "/log", `{"name":"error"}`}, {"POST", one + "/log", `{"name":"error","discard":1}`},
	}
}

// TestGuestFaults: what a guest answers, or does not, becomes Trove's fault, on every call that asks one.
func TestGuestFaults(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	for name, tc := range map[string]struct {
		err    error
		status int
		key    string
		says   string
	}{
		"missing":     {refused(protocol.CodeNotFound, "there is none"), 404, "itemNotFound", "There is none."},
		"exists":      {refused(protocol.CodeExists, "it exists"), 400, "badRequest", "It exists."},
		"invalid":     {refused(protocol.CodeInvalid, "bad name"), 400, "badRequest", "Bad name."},
		"not ready":   {refused(protocol.CodeNotReady, "starting"), 422, "unprocessableEntity", "is not ready: starting"},
		"internal":    {refused(protocol.CodeInternal, "table t in /var/lib"), 500, "instanceFault", "could not do this"},
		"unknown":     {refused("weather", "rain"), 500, "instanceFault", "could not do this"},
		"timeout":     {fmt.Errorf("call: %w", bus.ErrTimeout), 503, "serviceUnavailable", "did not answer in time"},
		"deadline":    {context.DeadlineExceeded, 503, "serviceUnavailable", "did not answer in time"},
		"unavailable": {fmt.Errorf("call: %w", bus.ErrUnavailable), 503, "serviceUnavailable", "cannot be reached"},
		"too large":   {fmt.Errorf("call: %w", bus.ErrTooLarge), 400, "badRequest", "too large"},
		"other":       {errors.New("wires crossed"), 500, "instanceFault", "server's log under req-"},
		"empty text":  {refused(protocol.CodeNotFound, ""), 404, "itemNotFound", "refused"},
	} {
		w.guests.fail(tc.err)
		for _, c := range guestCalls(id) {
			t.Run(name+" "+c[0]+" "+strings.TrimPrefix(c[1], base), func(t *testing.T) {
				message := w.call(alice, c[0], c[1], c[2]).fault(tc.status, tc.key)
				require.Contains(t, message, tc.says)
				require.NotContains(t, message, "/var/lib")
				require.NotContains(t, message, "wires")
			})
		}
		w.call(admin, "GET", "/v1.0/"+ops+"/mgmt/instances/"+id+"/rpc_ping", "").fault(tc.status, tc.key)
	}
}

// TestGuestNotServing: nothing is asked of a database that cannot answer.
func TestGuestNotServing(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	for name, spoil := range map[string]func(*model.Instance){
		"build":  func(i *model.Instance) { i.Status = model.StatusBuild },
		"reboot": func(i *model.Instance) { i.Status = model.StatusReboot },
		"resize": func(i *model.Instance) { i.Status = model.StatusResize },
		"error":  func(i *model.Instance) { i.Status = model.StatusError },
		"busy":   func(i *model.Instance) { i.Generation = i.ObservedGeneration + 1 },
		"gone":   func(i *model.Instance) { i.Desired = model.DesiredDeleted },
	} {
		good := w.row(id)
		w.edit(id, spoil)
		for _, c := range guestCalls(id) {
			require.Contains(t, w.call(alice, c[0], c[1], c[2]).fault(422, "unprocessableEntity"), id, "%s %v", name, c)
		}
		w.edit(id, func(i *model.Instance) { good.Version = i.Version; *i = good })
	}
	require.Empty(t, w.guests.asked)
}
