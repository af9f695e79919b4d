package api_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

func TestLiveMembers(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 3)
	set := func(text string) gtid.Set {
		s, err := gtid.Parse(text)
		require.NoError(t, err)
		return s
	}
	const u = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	w.guests.says(g.members[0], protocol.GuestStatus{Epoch: 7, Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing, UUID: u}, Notice: "full", Part: &failover.Status{
		Mysqld: failover.MysqldUp, Writes: failover.WritesOn, Guarded: true, Executed: set(u + ":1-9"), Serving: failover.Serving{SemiSync: true, Acks: 1, Attached: []string{g.members[1]}, Waiting: 2},
	}}, nil)
	w.guests.says(g.members[1], protocol.GuestStatus{Epoch: 6, Lag: 1500 * time.Millisecond, Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing}, Part: &failover.Status{
		Mysqld: failover.MysqldUp, Writes: failover.WritesOff, Executed: set(u + ":1-8"), Retrieved: set(u + ":2-9"), Applier: "stuck",
		Receiver: failover.Receiver{State: failover.ReceiverRunning, Source: g.members[0], Acknowledges: true, HeardAgo: 20 * time.Millisecond},
	}}, nil)
	w.guests.says(g.members[2], protocol.GuestStatus{}, bus.ErrTimeout)
	r := w.call(alice, "GET", clusters+"/"+g.id+"/members", "")
	require.Equal(t, 200, r.status, r.text)
	p := r.get("members", 0)
	require.Equal(t, map[string]any{
		"id": g.members[0], "name": "c-member-1", "role": "primary", "status": "ACTIVE", "host": "host-c-member-1", "container": "db-" + g.members[0],
		"address": w.row(g.members[0]).Address, "reachable": true, "epoch": 7.0, "mysqld": "serving", "server": u, "open": true, "guarded": true, "notice": "full", "gtid_executed": u + ":1-9",
		"serving": map[string]any{"min_acks": 1.0, "attached": []any{g.members[1]}, "waiting": 2.0},
	}, p)
	s := r.get("members", 1).(map[string]any)
	require.Equal(t, u+":2-9", s["gtid_retrieved"])
	require.InDelta(t, 1.5, s["lag"], 0)
	require.Equal(t, "stuck", s["applier_fault"])
	require.Equal(t, map[string]any{"state": "running", "source": g.members[0], "acknowledges": true, "heard_ago_ms": 20.0}, s["receiver"])
	require.NotContains(t, s, "open")
	silent := r.get("members", 2).(map[string]any)
	require.Equal(t, false, silent["reachable"])
	require.Contains(t, silent["error"], "did not answer within 2s")
	require.NotContains(t, silent, "epoch")

	for err, says := range map[error]string{
		bus.ErrUnavailable: "bus is away", refused(protocol.CodeNotReady, "mysqld starts"): "mysqld starts", refused(protocol.CodeInternal, "secret words"): "could not say",
	} {
		w.guests.says(g.members[2], protocol.GuestStatus{}, err)
		require.Contains(t, w.call(alice, "GET", clusters+"/"+g.id+"/members", "").get("members", 2, "error"), says)
	}
	_, fresh := w.createCluster(alice, mine, "fresh", 1, "")
	require.Contains(t, w.call(alice, "GET", clusters+"/"+fresh.id+"/members", "").get("members", 0, "error"), "no place yet")
}
