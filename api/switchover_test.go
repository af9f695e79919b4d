package api_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestSwitchover(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 3)
	one, act := clusters+"/"+g.id, clusters+"/"+g.id+"/action"
	w.call(alice, "POST", act, `{}`).fault(400, "badRequest")
	w.call(alice, "POST", act, `{"switchover":{},"failover":{}}`).fault(400, "badRequest")
	for body, says := range map[string]string{
		`{"switchover":{"to":"` + g.members[0] + `"}}`: "primary already", `{"switchover":{"timeout":0}}`: "1 to 3600", `{"switchover":{"timeout":3601}}`: "1 to 3600",
	} {
		require.Contains(t, w.call(alice, "POST", act, body).fault(400, "badRequest"), says)
	}
	require.Contains(t, w.call(alice, "POST", act, `{"failover":{"to":"nobody"}}`).fault(404, "itemNotFound"), "no member nobody")
	w.forget()
	r := w.call(alice, "POST", act, `{"switchover":{"to":"c-member-2","timeout":7}}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, []string{g.id}, w.told())
	require.Equal(t, "CHANGING_PRIMARY", r.get("cluster", "task", "name"))
	require.Equal(t, "PROMOTE", r.get("cluster", "instances", 0, "status"))
	require.Equal(t, "PROMOTE", r.get("cluster", "instances", 1, "status"))
	require.Equal(t, "ACTIVE", r.get("cluster", "instances", 2, "status"))
	require.Empty(t, w.call(alice, "GET", base+"/"+g.members[1], "").get("instance", "operating_status"), "busy")
	c := w.clusterRow(g.id)
	require.Equal(t, &model.Switchover{Serial: 1, From: g.members[0], To: g.members[1], Timeout: 7 * time.Second, Asked: c.Switchover.Asked}, c.Switchover)
	require.False(t, c.Switchover.Asked.IsZero())
	require.Contains(t, w.call(alice, "POST", act, `{"switchover":{}}`).fault(422, "unprocessableEntity"), "not over")
	w.call(alice, "POST", one, `{"grow":[{}]}`).fault(422, "unprocessableEntity")
	require.Contains(t, w.call(alice, "POST", base+"/"+g.members[1]+"/action", `{"restart":{}}`).fault(422, "unprocessableEntity"), "PROMOTE")

	// What the switchover waits for has died: there is no need to wait for it.
	r = w.call(alice, "POST", act, `{"failover":{}}`)
	require.Equal(t, 202, r.status, r.text)
	require.Equal(t, "EJECT", r.get("cluster", "instances", 0, "status"))
	c = w.clusterRow(g.id)
	require.Equal(t, "2 true", fmt.Sprint(c.Switchover.Serial, c.Switchover.Dead))
	require.Contains(t, w.call(alice, "POST", act, `{"failover":{}}`).fault(422, "unprocessableEntity"), "not over")
	w.settle(g.id)
	r = w.call(alice, "GET", one, "")
	require.NotEqual(t, g.members[0], r.get("cluster", "primary"))
	require.Equal(t, true, r.get("cluster", "switchover", "finished"))
	require.Equal(t, "ACTIVE", r.get("cluster", "instances", 0, "status"))

	lonely := w.cluster(alice, mine, "lonely", 1)
	require.Contains(t, w.call(alice, "POST", clusters+"/"+lonely.id+"/action", `{"switchover":{}}`).fault(400, "badRequest"), "no other member")
	w.editCluster(g.id, func(c *model.Cluster) { c.PrimaryID = "" })
	require.Contains(t, w.call(alice, "POST", act, `{"switchover":{}}`).fault(422, "unprocessableEntity"), "no primary")
}

func TestClusterHistory(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 2)
	began := time.Date(2026, 3, 4, 5, 6, 7, 417_000_000, time.UTC)
	w.update(func(tx metastore.Tx) error {
		return errors.Join(
			tx.Clusters().AppendTurn(t.Context(), &model.Turn{ClusterID: g.id, Epoch: 3, Kind: "back", From: g.members[0], To: unknownID}),
			tx.Clusters().AppendTurn(t.Context(), &model.Turn{ClusterID: g.id, Epoch: 5, Kind: "failover", From: g.members[0], To: g.members[1], Reason: "mysqld exited",
				Seen: []string{"a is silent"}, Began: began, Gap: 412_300 * time.Microsecond, Phases: []model.Phase{{Name: "stopping", Took: 12 * time.Millisecond, Note: "n"}}}))
	})
	r := w.call(alice, "GET", clusters+"/"+g.id+"/history", "")
	require.Equal(t, map[string]any{
		"epoch": 5.0, "kind": "failover", "from": g.members[0], "from_name": "c-member-1", "to": g.members[1], "to_name": "c-member-2", "reason": "mysqld exited",
		"seen": []any{"a is silent"}, "began": "2026-03-04T05:06:07.417", "gap_ms": 412.3,
		"phases": []any{map[string]any{"name": "stopping", "took_ms": 12.0, "note": "n"}},
	}, r.get("history", 0))
	require.Equal(t, unknownID, r.get("history", 1, "to_name"), "whoever is gone has no name any more")
	require.Len(t, w.call(alice, "GET", clusters+"/"+g.id+"/history?limit=1", "").get("history"), 1)
	w.call(alice, "GET", clusters+"/"+g.id+"/history?limit=x", "").fault(400, "badRequest")
}
