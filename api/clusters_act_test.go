package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestGrowAndShrink(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 2)
	one := clusters + "/" + g.id
	w.forget()
	r := w.call(alice, "POST", one, `{"grow":[{"flavorRef":"1","volume":{"size":"1"}},{"name":"extra"}]}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, "GROWING_CLUSTER", r.get("cluster", "task", "name"))
	require.Equal(t, "RESIZE", r.get("cluster", "status"))
	require.Equal(t, "c-member-3", r.get("cluster", "instances", 2, "name"))
	require.Equal(t, "extra", r.get("cluster", "instances", 3, "name"))
	require.Len(t, w.told(), 3)
	third, fourth := r.get("cluster", "instances", 2, "id").(string), r.get("cluster", "instances", 3, "id").(string)
	require.Nil(t, w.row(third).Bootstrap)
	require.Equal(t, w.row(g.members[0]).DatastoreVersionID, w.row(fourth).DatastoreVersionID)
	require.EqualValues(t, 2, w.clusterRow(g.id).Generation)
	w.settle(g.id)

	for body, want := range map[string][]string{
		`{"grow":[{},{}]}`:                                           {"413", "overLimit", "instances"},
		`{"grow":[{},{},{},{},{},{},{},{}]}`:                         {"400", "badRequest", "at most 9"},
		`{"grow":[]}`:                                                {"400", "badRequest", "at least 1"},
		`{"grow":[{"flavorRef":"2"}]}`:                               {"400", "badRequest", "same flavor"},
		`{"grow":[{"volume":{"size":2}}]}`:                           {"400", "badRequest", "same size"},
		`{"grow":[{"name":"extra"}]}`:                                {"400", "badRequest", "already"},
		`{"grow":[{"related_to":"x"}]}`:                              {"400", "badRequest", "related to nobody"},
		`{"shrink":[{"id":"` + unknownID + `"}]}`:                    {"404", "itemNotFound", "no member"},
		`{"shrink":[{"id":"` + g.members[0] + `"}]}`:                 {"400", "badRequest", "switch over"},
		`{"shrink":[{"id":"` + third + `"},{"id":"` + third + `"}]}`: {"400", "badRequest", "twice"},
		`{"shrink":[{"id":"` + third + `"},{"id":"extra"},{"id":"` + g.members[1] + `"}]}`: {"400", "badRequest", "policy strict would let nobody write"},
		`{"shrink":[]}`:              {"400", "badRequest", "at least 1"},
		`{}`:                         {"400", "badRequest", "Exactly one"},
		`{"restart":{},"grow":[{}]}`: {"400", "badRequest", "Exactly one"},
		`{"add_shard":{}}`:           {"501", "notImplemented", "no shards"},
		`{"upgrade":{"datastore_version":"9.8.0"}}`: {"501", "notImplemented", "from datastore version 9.7.4 to 9.8.0"},
		`{"upgrade":{"datastore_version":"9.7.4"}}`: {"400", "badRequest", "already"},
		`{"upgrade":{"datastore_version":"5.5"}}`:   {"404", "itemNotFound", "5.5"},
	} {
		before := w.clusterRow(g.id)
		r := w.call(alice, "POST", one, body)
		status := r.status
		require.Contains(t, r.fault(status, want[1]), want[2], body)
		require.Equal(t, want[0], fmt.Sprint(status), body)
		require.Equal(t, before, w.clusterRow(g.id))
	}

	r = w.call(alice, "POST", one, `{"shrink":[{"id":"`+g.members[1]+`"},{"id":"extra"}]}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, "SHRINKING_CLUSTER", r.get("cluster", "task", "name"))
	require.InDelta(t, 1, r.get("cluster", "min_acks"), 0, "of those that stay")
	require.Equal(t, model.DesiredDeleted, w.row(fourth).Desired)
	require.Equal(t, model.DesiredPresent, w.row(third).Desired)
	require.Contains(t, w.call(alice, "POST", one, `{"shrink":[{"id":"extra"}]}`).fault(400, "badRequest"), "already")
	w.settle(g.id)
	r = w.call(alice, "GET", one, "")
	require.Len(t, r.get("cluster", "instances"), 2)
	require.Equal(t, "NONE", r.get("cluster", "task", "name"))

	// Down to one, when the policy allows it; never to none.
	require.Equal(t, 202, w.call(alice, "PATCH", one, `{"cluster":{"policy":"available"}}`).status)
	require.Equal(t, 202, w.call(alice, "POST", one, `{"shrink":[{"id":"`+third+`"}]}`).status)
	w.settle(g.id)
	require.Contains(t, w.call(alice, "PATCH", one, `{"cluster":{"policy":"strict"}}`).fault(400, "badRequest"), "never acknowledge")
	w.editCluster(g.id, func(c *model.Cluster) { c.PrimaryID = "" })
	require.Contains(t, w.call(alice, "POST", one, `{"shrink":[{"id":"`+g.members[0]+`"}]}`).fault(400, "badRequest"), "at least one")
	// Who takes another's place has its name, and is meant by it.
	w.settle(g.id)
	for n, desired := range []model.Desired{model.DesiredDeleted, model.DesiredPresent} {
		twin := w.row(g.members[0])
		twin.ID, twin.Name, twin.Address, twin.Desired = fmt.Sprintf("11111111-0000-4000-8000-00000000000%d", n), "twin", "", desired
		w.update(func(tx metastore.Tx) error { return tx.Instances().Create(t.Context(), &twin) })
	}
	require.Contains(t, w.call(alice, "POST", one, `{"grow":[{"name":"twin"}]}`).fault(400, "badRequest"), "already")
	require.Equal(t, 202, w.call(alice, "POST", one, `{"shrink":[{"id":"twin"}]}`).status)
	require.Equal(t, model.DesiredDeleted, w.row("11111111-0000-4000-8000-000000000001").Desired)
	require.Contains(t, w.call(alice, "POST", one, `{"shrink":[{"id":"twin"}]}`).fault(404, "itemNotFound"), "no member twin", "there are two now")
	w.settle(g.id)
	// A number is not used again while somebody has a higher one.
	require.Equal(t, "c-member-2", w.call(alice, "POST", one, `{"grow":[{}]}`).get("cluster", "instances", 1, "name"))
}

func TestClusterRestartAndReset(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 2)
	one := clusters + "/" + g.id
	w.edit(g.members[1], func(i *model.Instance) { i.RestartSerial, i.ObservedRestart = 4, 4 })
	r := w.call(alice, "POST", one, `{"restart":{}}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, "RESTARTING_CLUSTER", r.get("cluster", "task", "name"))
	require.EqualValues(t, 5, w.clusterRow(g.id).RestartSerial, "beyond that of every member")
	for _, body := range []string{`{"restart":{}}`, `{"grow":[{}]}`, `{"shrink":[{"id":"` + g.members[1] + `"}]}`} {
		require.Contains(t, w.call(alice, "POST", one, body).fault(422, "unprocessableEntity"), "Restarting the cluster")
	}
	w.editCluster(g.id, func(c *model.Cluster) { c.Status, c.ObservedGeneration = model.StatusActive, c.Generation })
	require.Equal(t, "REBOOT", w.call(alice, "GET", one, "").get("cluster", "status"), "until the last member is through")
	require.Equal(t, 202, w.call(alice, "POST", one+"/action", `{"switchover":{}}`).status)
	r = w.call(alice, "POST", one, `{"reset-status":{}}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, "NONE", r.get("cluster", "task", "name"))
	require.Equal(t, "ERROR", r.get("cluster", "status"))
	require.Contains(t, r.get("cluster", "fault", "message"), "alice")
	require.Equal(t, true, r.get("cluster", "switchover", "finished"))
	require.Contains(t, r.get("cluster", "switchover", "fault"), "given up by alice")
	require.Equal(t, 202, w.call(alice, "POST", one, `{"restart":{}}`).status, "one can be asked for something again")
	w.settle(g.id)

	w.forget()
	require.Equal(t, 202, w.call(alice, "DELETE", one, "").status)
	require.Len(t, w.told(), 3)
	r = w.call(alice, "GET", one, "")
	require.Equal(t, "DELETING", r.get("cluster", "task", "name"))
	require.Equal(t, "SHUTDOWN", r.get("cluster", "status"))
	for _, id := range g.members {
		require.Equal(t, model.DesiredDeleted, w.row(id).Desired)
		require.False(t, w.row(id).ForceDelete)
	}
	before := w.clusterRow(g.id)
	require.Equal(t, 202, w.call(alice, "DELETE", one, "").status, "a second time changes nothing")
	require.Equal(t, before, w.clusterRow(g.id))
	for _, body := range []string{`{"restart":{}}`, `{"grow":[{}]}`} {
		w.call(alice, "POST", one, body).fault(422, "unprocessableEntity")
	}
	w.call(alice, "PATCH", one, `{"cluster":{"policy":"fast"}}`).fault(422, "unprocessableEntity")
	w.call(alice, "POST", one+"/action", `{"failover":{}}`).fault(422, "unprocessableEntity")
	// Force: what clients do is to reset the status first.
	require.Equal(t, 202, w.call(alice, "POST", one, `{"reset-status":{}}`).status)
	require.Equal(t, 202, w.call(alice, "DELETE", one, "").status)
	for _, id := range g.members {
		require.True(t, w.row(id).ForceDelete)
	}
	w.settle(g.id)
	w.call(alice, "GET", one, "").fault(404, "itemNotFound")
}

func TestUpdateCluster(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 3)
	one := clusters + "/" + g.id
	r := w.call(alice, "PATCH", one, `{"cluster":{"policy":"available","min_acks":2,"max_lag":60,"name":"new"}}`)
	require.Equal(t, 202, r.status, r.text)
	c := w.clusterRow(g.id)
	require.Equal(t, "available 2 1m0s new 2", fmt.Sprint(c.Policy, " ", c.Acks, " ", c.MaxLag, " ", c.Name, " ", c.Generation))
	require.Equal(t, "ACTIVE", r.get("cluster", "status"), "it goes on serving")
	require.Equal(t, "CHANGING_PROMISE", r.get("cluster", "task", "name"))
	w.settle(g.id)
	require.Equal(t, "NONE", w.call(alice, "GET", one, "").get("cluster", "task", "name"))
	require.Equal(t, 202, w.call(alice, "PATCH", one, `{"cluster":{"min_acks":0}}`).status)
	require.InDelta(t, 1, w.call(alice, "GET", one, "").get("cluster", "min_acks"), 0)
	before := w.clusterRow(g.id)
	require.Equal(t, 202, w.call(alice, "PATCH", one, `{"cluster":{"policy":"available"}}`).status)
	require.Equal(t, before, w.clusterRow(g.id), "nothing is different")
	require.Equal(t, 202, w.call(alice, "PATCH", one, `{"cluster":{"name":"newer"}}`).status)
	require.Equal(t, before.Generation, w.clusterRow(g.id).Generation, "a name is nothing that nodekeeper has to do")
	for body, says := range map[string]string{
		`{"cluster":{"min_acks":3}}`: "2 replicas only", `{"cluster":{"policy":"x"}}`: "policy", `{"cluster":{"policy":"fast"}}`: "Make a new cluster", `{"cluster":{"max_lag":0}}`: "max_lag", `{"cluster":{"name":"\u0007"}}`: "cluster.name",
		`{"cluster":{"members":3}}`: "known are max_lag, min_acks, name, policy", `{}`: `"cluster" is a required property`,
	} {
		require.Contains(t, w.call(alice, "PATCH", one, body).fault(400, "badRequest"), says)
	}
}
