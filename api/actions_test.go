package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestActions(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		body  string
		check func(t *testing.T, i model.Instance)
	}{
		"restart": {`{"restart":{}}`, func(t *testing.T, i model.Instance) {
			require.EqualValues(t, 1, i.RestartSerial)
			require.Equal(t, model.StatusReboot, i.Status)
		}},
		"flavor": {`{"resize":{"flavorRef":"2"}}`, func(t *testing.T, i model.Instance) {
			require.Equal(t, "2", i.FlavorID)
			require.Equal(t, model.StatusResize, i.Status)
		}},
		"flavor as number": {`{"resize":{"flavorRef":2}}`, func(t *testing.T, i model.Instance) { require.Equal(t, "2", i.FlavorID) }},
		"flavor as href":   {`{"resize":{"flavorRef":"https://x/flavors/2"}}`, func(t *testing.T, i model.Instance) { require.Equal(t, "2", i.FlavorID) }},
		"volume": {`{"resize":{"volume":{"size":2}}}`, func(t *testing.T, i model.Instance) {
			require.Equal(t, 2, i.VolumeGB)
			require.Equal(t, model.StatusResize, i.Status)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, from := range []model.Status{model.StatusActive, model.StatusError} {
				id := w.active(alice, mine, "n")
				w.edit(id, func(i *model.Instance) { i.Status, i.Fault = from, &model.Fault{Message: "old", Created: i.Created} })
				r := w.call(alice, "POST", base+"/"+id+"/action", tc.body)
				require.Equal(t, 202, r.status, r.text)
				require.Empty(t, r.text)
				i := w.row(id)
				require.EqualValues(t, 2, i.Generation)
				require.Empty(t, i.OperatingStatus, "busy before the answer")
				require.Nil(t, i.Fault)
				require.True(t, i.Busy())
				tc.check(t, i)
				// Nothing else until that is done.
				for _, more := range []string{`{"restart":{}}`, `{"resize":{"flavorRef":"x-large"}}`, `{"resize":{"volume":{"size":9}}}`} {
					require.Contains(t, w.call(alice, "POST", base+"/"+id+"/action", more).fault(422, "unprocessableEntity"), "not ready")
				}
				w.update(func(tx metastore.Tx) error { return tx.Instances().Delete(t.Context(), id) })
			}
		})
	}
}

func TestActionsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	before := w.row(id)
	for name, tc := range map[string]struct {
		body   string
		status int
		key    string
		says   string
	}{
		"none":           {`{}`, 400, "badRequest", "Exactly one"},
		"null":           {`{"restart":null}`, 400, "badRequest", "restart"},
		"two":            {`{"restart":{},"resize":{"flavorRef":"2"}}`, 400, "badRequest", "Exactly one"},
		"unknown":        {`{"explode":{}}`, 400, "badRequest", `unknown field "explode"`},
		"same flavor":    {`{"resize":{"flavorRef":"1"}}`, 400, "badRequest", "different"},
		"unknown flavor": {`{"resize":{"flavorRef":"99"}}`, 404, "itemNotFound", "99"},
		"ram quota":      {`{"resize":{"flavorRef":"x-large"}}`, 413, "overLimit", "ram"},
		"both":           {`{"resize":{"flavorRef":"2","volume":{"size":2}}}`, 400, "badRequest", "not both"},
		"neither":        {`{"resize":{}}`, 400, "badRequest", "flavorRef or volume"},
		"same size":      {`{"resize":{"volume":{"size":1}}}`, 400, "badRequest", "larger"},
		"no size":        {`{"resize":{"volume":{}}}`, 400, "badRequest", "size"},
		"too large":      {`{"resize":{"volume":{"size":70000}}}`, 400, "badRequest", "at most"},
		"volume quota":   {`{"resize":{"volume":{"size":51}}}`, 413, "overLimit", "volumes"},
		"promote":        {`{"promote_to_replica_source":{}}`, 400, "badRequest", "not a replica"},
		"eject":          {`{"eject_replica_source":{}}`, 400, "badRequest", "not a replica source"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, w.call(alice, "POST", base+"/"+id+"/action", tc.body).fault(tc.status, tc.key), tc.says)
		})
	}
	require.Equal(t, before, w.row(id))
}

func TestMgmt(t *testing.T) {
	w := newWorld(t)
	first, second := w.active(alice, mine, "a"), w.create(bob, theirs, "b")
	mgmt := "/v1.0/" + ops + "/mgmt/instances"
	r := w.call(admin, "GET", mgmt, "")
	require.Len(t, r.get("instances"), 2)
	require.Equal(t, second, r.get("instances", 0, "id"), "newest first")
	require.Equal(t, theirs, r.get("instances", 0, "tenant_id"))
	require.Nil(t, r.get("instances", 0, "server"))
	require.Equal(t, "host-1", r.get("instances", 1, "server", "host"))
	require.Equal(t, "HEALTHY", r.get("instances", 1, "service_status"))
	require.Len(t, w.call(admin, "GET", mgmt+"?project_id="+mine, "").get("instances"), 1)
	require.Empty(t, w.call(admin, "GET", mgmt+"?deleted=true", "").get("instances"))
	require.Len(t, w.call(admin, "GET", mgmt+"?limit=1", "").get("instances"), 1)
	w.call(admin, "GET", mgmt+"/"+unknownID, "").fault(404, "itemNotFound")

	require.Equal(t, map[string]any{"id": first, "enabled": "Never", "user": "Nobody"}, w.call(admin, "GET", mgmt+"/"+first+"/root", "").get("root_history"))
	require.Equal(t, 200, w.call(alice, "POST", base+"/"+first+"/root", "").status)
	h := w.call(admin, "GET", mgmt+"/"+first+"/root", "")
	require.Equal(t, "alice", h.get("root_history", "user"))
	when := h.get("root_history", "enabled")
	r = w.call(admin, "GET", mgmt+"/"+first, "")
	require.Equal(t, when, r.get("instance", "root_enabled"))
	require.Equal(t, "alice", r.get("instance", "root_enabled_by"))
	require.Equal(t, map[string]any{"id": first, "size": 1.0, "total": 1.0, "used": 0.0}, r.get("instance", "volume"))
	require.Equal(t, map[string]any{"mem_total": 512.0, "num_cpus": 0.5}, w.call(admin, "GET", mgmt+"/"+first+"/hwinfo", "").get("hwinfo"))

	act := func(body string) reply { return w.call(admin, "POST", mgmt+"/"+first+"/action", body) }
	for _, later := range []string{`{"stop":{}}`, `{"migrate":{"host":"h"}}`, `{"rebuild":{"image_id":"x"}}`} {
		act(later).fault(501, "notImplemented")
	}
	act(`{}`).fault(400, "badRequest")
	act(`{"stop":{},"reboot":{}}`).fault(400, "badRequest")
	act(`{"reformat":{}}`).fault(400, "badRequest")
	require.Equal(t, 202, act(`{"reboot":{}}`).status)
	require.Equal(t, model.StatusReboot, w.row(first).Status)
	require.Contains(t, w.call(admin, "GET", mgmt+"/"+first, "").get("instance", "task_description"), "REBOOT")
	require.Equal(t, 202, act(`{"reset-task-status":{}}`).status)
	require.Equal(t, model.StatusError, w.row(first).Status)
	w.call(admin, "POST", mgmt+"/"+unknownID+"/action", `{"stop":{}}`).fault(404, "itemNotFound")
}
