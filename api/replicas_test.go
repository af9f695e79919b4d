package api_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// replicate asks for replicas as python-troveclient does.
func (w *world) replicate(source, name string, count int) reply {
	w.t.Helper()
	return w.call(alice, "POST", base, fmt.Sprintf(`{"instance":{"name":%q,"replica_of":%q,"replica_count":%d,"access":{"is_public":false}}}`, name, source, count))
}

func refs(v any) (ids []any) {
	list, _ := v.([]any)
	for _, one := range list {
		ids = append(ids, one.(map[string]any)["id"])
	}
	return ids
}

func TestReplicas(t *testing.T) {
	w := newWorld(t)
	source := w.active(alice, mine, "shop")
	w.forget()
	r := w.replicate(source, "copy", 2)
	require.Equal(t, 200, r.status, r.text)
	first := r.get("instance", "id").(string)
	require.Equal(t, "copy-1", r.get("instance", "name"))
	require.Equal(t, "BUILD", r.get("instance", "status"))
	require.Equal(t, source, r.get("instance", "replica_of", "id"))
	require.Equal(t, "replica", r.get("instance", "role"))
	require.NotContains(t, r.get("instance"), "cluster_id", "the cluster is nobody's business")
	require.Len(t, w.told(), 3)

	c := w.clusterRow(source)
	require.Equal(t, model.Cluster{
		ID: source, ProjectID: mine, Name: "shop", Implicit: true, Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: versionID, Policy: "available",
		MaxLag: 10e9, Spread: "soft-anti-affinity", Status: model.StatusBuild, PrimaryID: source, Created: c.Created, Updated: c.Updated, Version: 1,
	}, c)
	s := w.row(source)
	require.Equal(t, source, s.ClusterID)
	require.Equal(t, "ACTIVE", w.call(alice, "GET", base+"/"+source, "").get("instance", "status"), "it goes on serving")
	i := w.row(first)
	require.Equal(t, fmt.Sprint(s.FlavorID, s.VolumeGB, s.DatastoreVersionID, s.VolumeType), fmt.Sprint(i.FlavorID, i.VolumeGB, i.DatastoreVersionID, i.VolumeType))

	r = w.call(alice, "GET", base+"/"+source, "")
	replicas := refs(r.get("instance", "replicas"))
	require.Len(t, replicas, 2)
	require.Equal(t, first, replicas[0])
	require.NotContains(t, r.get("instance"), "replica_of")
	second := replicas[1].(string)
	require.Contains(t, w.call(alice, "POST", base, `{"instance":{"name":"r","replica_of":"`+first+`"}}`).fault(400, "badRequest"), "replica of a replica")
	w.settle(source)

	r = w.call(alice, "GET", base, "")
	require.Len(t, r.get("instances"), 3, "they are instances like others")
	require.Equal(t, source, r.get("instances", 0, "replica_of", "id"))
	require.Empty(t, w.call(alice, "GET", clusters, "").get("clusters"), "and no cluster is seen")
	require.Equal(t, true, w.call(alice, "GET", clusters+"/"+source, "").get("cluster", "implicit"), "unless it is asked for")
	require.Len(t, w.call(alice, "GET", clusters+"/"+source+"/members", "").get("members"), 3)
	for body, says := range map[string]string{
		`{"grow":[{}]}`: "create a replica", `{"shrink":[{"id":"x"}]}`: "delete the replica", `{"restart":{}}`: "one by one",
	} {
		require.Contains(t, w.call(alice, "POST", clusters+"/"+source, body).fault(400, "badRequest"), says)
	}
	require.Contains(t, w.call(alice, "DELETE", clusters+"/"+source, "").fault(400, "badRequest"), "delete the replicas")

	// One more, of the set that is there.
	third := w.replicate(source, "more", 1)
	require.Equal(t, "more", third.get("instance", "name"))
	require.Equal(t, source, w.row(third.get("instance", "id").(string)).ClusterID)
	require.Contains(t, w.replicate(source, "x", 3).fault(413, "overLimit"), "instances")
	require.Len(t, refs(w.call(alice, "GET", base+"/"+source, "").get("instance", "replicas")), 3, "nothing is left of those")

	// While it has replicas it cannot go; a replica can.
	require.Contains(t, w.call(alice, "DELETE", base+"/"+source, "").fault(403, "forbidden"), "replica source")
	for _, id := range []string{second, third.get("instance", "id").(string)} {
		require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+id, "").status)
	}
	require.Contains(t, w.call(alice, "DELETE", base+"/"+source, "").fault(403, "forbidden"), "replica source")
	require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+first, "").status)
	w.settle(source)
	r = w.call(alice, "GET", base+"/"+source, "")
	for _, absent := range []string{"replicas", "replica_of", "role", "cluster_id"} {
		require.NotContains(t, r.get("instance"), absent)
	}
	require.Equal(t, model.DesiredPresent, w.clusterRow(source).Desired)
	require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+source, "").status)
	require.Equal(t, model.DesiredDeleted, w.clusterRow(source).Desired, "what is left of the set goes with the last one")
	w.settle(source)
	w.call(alice, "GET", base+"/"+source, "").fault(404, "itemNotFound")
}

func TestReplicasRefused(t *testing.T) {
	w := newWorld(t)
	source, busy, foreign := w.active(alice, mine, "n"), w.create(alice, mine, "busy"), w.active(bob, theirs, "theirs")
	with := func(more string) string { return `{"name":"r","replica_of":"` + source + `",` + more + `}` }
	for name, tc := range map[string]struct {
		body   string
		status int
		key    string
		says   string
	}{
		"flavor":       {with(`"flavorRef":"1"`), 400, "badRequest", "a flavor"},
		"volume":       {with(`"volume":{"size":1}`), 400, "badRequest", "a volume"},
		"datastore":    {with(`"datastore":{"type":"mysql"}`), 400, "badRequest", "a datastore"},
		"locality":     {with(`"locality":"affinity"`), 400, "badRequest", "a locality"},
		"databases":    {with(`"databases":[{"name":"d"}]`), 400, "badRequest", "databases"},
		"users":        {with(`"users":[{"name":"u","password":"p"}]`), 400, "badRequest", "users"},
		"backup":       {with(`"restorePoint":{"backupRef":"b"}`), 400, "badRequest", "a backup"},
		"address":      {with(`"nics":[{"subnet_id":"c0ffee00-0000-4000-8000-000000000001","ip_address":"10.0.0.9"}]`), 400, "badRequest", "fixed address"},
		"zone":         {with(`"availability_zone":"z9"`), 400, "badRequest", "z9"},
		"count":        {with(`"replica_count":4`), 400, "badRequest", "at most 3"},
		"none":         {with(`"replica_count":0`), 400, "badRequest", "at least 1"},
		"blank name":   {`{"name":" ","replica_of":"` + source + `"}`, 400, "badRequest", "blank"},
		"busy":         {`{"name":"r","replica_of":"` + busy + `"}`, 422, "unprocessableEntity", "not ready"},
		"another's":    {`{"name":"r","replica_of":"` + foreign + `"}`, 404, "itemNotFound", "cannot be found"},
		"not an id":    {`{"name":"r","replica_of":"shop"}`, 404, "itemNotFound", "cannot be found"},
		"by two names": {`{"name":"r","slave_of":"` + unknownID + `"}`, 404, "itemNotFound", "cannot be found"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, w.call(alice, "POST", base, `{"instance":`+tc.body+`}`).fault(tc.status, tc.key), tc.says)
		})
	}
	require.Empty(t, w.row(source).ClusterID, "nothing is left of them")
	require.Equal(t, 200, w.call(alice, "POST", base, `{"instance":{"name":"r","slave_of":"http://x/instances/`+source+`"}}`).status, "as a link, by its old name")
}

func TestPromoteAndEject(t *testing.T) {
	w := newWorld(t)
	source := w.active(alice, mine, "n")
	replica := w.replicate(source, "r", 1).get("instance", "id").(string)
	act := func(id, action string) reply {
		return w.call(alice, "POST", base+"/"+id+"/action", `{"`+action+`":{}}`)
	}
	act(replica, "promote_to_replica_source").fault(422, "unprocessableEntity")
	w.settle(source)
	require.Contains(t, act(source, "promote_to_replica_source").fault(400, "badRequest"), "not a replica")
	require.Contains(t, act(replica, "eject_replica_source").fault(400, "badRequest"), "not a replica source")

	w.forget()
	require.Equal(t, 202, act(replica, "promote_to_replica_source").status)
	require.Equal(t, []string{source, replica}, w.told())
	require.Equal(t, &model.Switchover{Serial: 1, From: source, To: replica, Timeout: 30e9, Asked: w.clusterRow(source).Switchover.Asked}, w.clusterRow(source).Switchover)
	for _, id := range []string{source, replica} {
		r := w.call(alice, "GET", base+"/"+id, "")
		require.Equal(t, "PROMOTE", r.get("instance", "status"))
		require.Empty(t, r.get("instance", "operating_status"))
	}
	require.Contains(t, act(replica, "promote_to_replica_source").fault(422, "unprocessableEntity"), "not over")
	require.Contains(t, w.replicate(source, "x", 1).fault(422, "unprocessableEntity"), "PROMOTE")
	w.settle(source)
	r := w.call(alice, "GET", base+"/"+replica, "")
	require.Equal(t, []any{source}, refs(r.get("instance", "replicas")))
	require.Equal(t, replica, w.call(alice, "GET", base+"/"+source, "").get("instance", "replica_of", "id"))
	require.Contains(t, w.replicate(source, "x", 1).fault(400, "badRequest"), "replica of a replica")
	require.Equal(t, 200, w.replicate(replica, "x", 1).status, "of the one that is the source now")
	w.settle(source)

	// A primary that is well is promoted away from, not ejected.
	w.guests.says(replica, protocol.GuestStatus{Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing}}, nil)
	require.Contains(t, act(replica, "eject_replica_source").fault(400, "badRequest"), "its database answers")
	require.True(t, w.clusterRow(source).Switchover.Finished)
	w.guests.says(replica, protocol.GuestStatus{}, errors.New("dead"))
	w.edit(replica, func(i *model.Instance) { i.Status, i.OperatingStatus = model.StatusError, model.OperatingError })
	require.Equal(t, 202, act(replica, "eject_replica_source").status)
	require.Equal(t, "EJECT", w.call(alice, "GET", base+"/"+replica, "").get("instance", "status"))
	require.True(t, w.clusterRow(source).Switchover.Dead)
	require.Equal(t, replica, w.clusterRow(source).Switchover.From)
}

func TestDetach(t *testing.T) {
	w := newWorld(t)
	source := w.active(alice, mine, "n")
	first := w.replicate(source, "r", 2).get("instance", "id").(string)
	w.settle(source)
	one := base + "/" + first
	w.call(alice, "PUT", base+"/"+source, `{"instance":{"replica_of":""}}`).fault(400, "badRequest")
	r := w.call(alice, "PATCH", one, `{"instance":{"replica_of":"","name":"free"}}`)
	require.Equal(t, 202, r.status, r.text)
	require.True(t, w.row(first).Detaching)
	require.Equal(t, "free", w.row(first).Name)
	require.Equal(t, "DETACH", w.call(alice, "GET", one, "").get("instance", "status"))
	w.call(alice, "PUT", one, `{"instance":{"replica_of":null}}`).fault(422, "unprocessableEntity")
	w.call(alice, "POST", one+"/action", `{"promote_to_replica_source":{}}`).fault(422, "unprocessableEntity")
	w.settle(source)
	r = w.call(alice, "GET", one, "")
	require.Equal(t, "ACTIVE", r.get("instance", "status"))
	require.NotContains(t, r.get("instance"), "replica_of")
	require.Len(t, refs(w.call(alice, "GET", base+"/"+source, "").get("instance", "replicas")), 1)
	require.Equal(t, 200, w.replicate(first, "of its own", 1).status)

	// The first source gave the set its id, which nobody else can have.
	second := refs(w.call(alice, "GET", base+"/"+source, "").get("instance", "replicas"))[0].(string)
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+second+"/action", `{"promote_to_replica_source":{}}`).status)
	w.settle(source)
	require.Contains(t, w.call(alice, "PUT", base+"/"+source, `{"instance":{"replica_of":""}}`).fault(422, "unprocessableEntity"), "first source")
	require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+source, "").status, "but it can go")
	w.update(func(tx metastore.Tx) error { return tx.Instances().Delete(t.Context(), source) })
	require.Equal(t, 200, w.replicate(second, "after", 1).status, "and the others go on")
}

func TestVolumesOfReplicas(t *testing.T) {
	w := newWorld(t)
	source := w.active(alice, mine, "n")
	replica := w.replicate(source, "r", 1).get("instance", "id").(string)
	resize := func(id string, gb int) reply {
		return w.call(alice, "POST", base+"/"+id+"/action", fmt.Sprintf(`{"resize":{"volume":{"size":%d}}}`, gb))
	}
	require.Contains(t, resize(source, 2).fault(422, "unprocessableEntity"), replica, "it has no place yet")
	w.settle(source)
	require.Contains(t, resize(source, 26).fault(413, "overLimit"), "requested are 50 more", "of both together")
	w.forget()
	require.Equal(t, 202, resize(source, 20).status)
	for _, id := range []string{source, replica} {
		require.Equal(t, "20 RESIZE", fmt.Sprint(w.row(id).VolumeGB, " ", w.row(id).Status))
		require.Contains(t, w.told(), id)
	}
	w.settle(source)
	require.Equal(t, 202, resize(replica, 21).status, "a replica may have more")
	require.Equal(t, 20, w.row(source).VolumeGB)
	w.settle(source)
	require.Equal(t, 202, resize(source, 21).status)
	require.Equal(t, 21, w.row(replica).VolumeGB)
	require.Equal(t, model.StatusActive, w.row(replica).Status, "it has that already")
	w.settle(source)
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+replica+"/action", `{"resize":{"flavorRef":"2"}}`).status)
	require.Equal(t, "1", w.row(source).FlavorID)
}
