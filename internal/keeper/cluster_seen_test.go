package keeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/model"
)

// TestUneasy: who is well is not looked at all the time.
func TestUneasy(t *testing.T) {
	now := func(change func(primary, replica *failover.Status)) bool {
		well := failover.Status{Mysqld: failover.MysqldUp, Serving: failover.Serving{ProbeAgo: -1}}
		p, r := well, well
		p.Receiver, p.Serving.ProbeAgo = failover.Receiver{State: failover.ReceiverStopped, HeardAgo: time.Hour}, 0
		r.Receiver = failover.Receiver{State: failover.ReceiverRunning}
		change(&p, &r)
		return uneasy(failover.Observation{
			Record: durability.Record{Primary: "a"}, Timing: failover.DefaultTiming(), Instances: []failover.Instance{{ID: "a", Status: p}, {ID: "b", Status: r}},
		})
	}
	require.False(t, now(func(_, _ *failover.Status) {}))
	require.True(t, now(func(p, _ *failover.Status) { p.Serving.ProbeAgo = time.Minute }), "writes take long")
	require.False(t, now(func(_, r *failover.Status) { r.Serving.ProbeAgo = time.Minute }), "it was the primary a minute ago")
	require.True(t, now(func(_, r *failover.Status) { r.Receiver.HeardAgo = time.Minute }), "a replica hears nothing")
	require.True(t, now(func(_, r *failover.Status) { r.Receiver.State = failover.ReceiverConnecting }), "a replica is not connected")
}

// TestComparedIsNoCondition: that somebody is asked again, to be compared, is nothing that users need to know of, and nothing to write down.
func TestComparedIsNoCondition(t *testing.T) {
	k := &Keeper{}
	row := model.Cluster{ID: "c", Status: model.StatusReboot, Generation: 2}
	members := []model.Instance{{ID: "a", Status: model.StatusActive}, {ID: "b", Status: model.StatusActive}}
	open := failover.Status{Mysqld: failover.MysqldUp, Writes: failover.WritesOn}
	s := shown{generation: 2, record: durability.Record{Cluster: "c", Epoch: 3, Primary: "a"}, seen: map[string]failover.Status{"a": open}}

	look := failover.Step{Kind: failover.StepSuspect, Members: []string{"a"}, Reason: "to be compared"}
	s.decision = failover.Decision{Problem: "primary to be asked again", Class: failover.ClassRepair, Steps: []failover.Step{look}}
	got := k.settled(row, members, s)
	require.Empty(t, got.Condition)
	require.Equal(t, model.StatusActive, got.Status)

	// Nor does it end what they know of: while one member starts the others are compared many times a second, and each time it would be written down twice.
	row.Condition = "members to follow: b is not there yet"
	got = k.settled(row, members, s)
	require.Equal(t, row.Condition, got.Condition)
	require.Equal(t, model.StatusReboot, got.Status)
	s.decision = failover.Decision{}
	require.Empty(t, k.settled(row, members, s).Condition)
	row.Condition = ""

	s.decision = failover.Decision{Problem: "primary to be asked again", Class: failover.ClassFailover, Steps: []failover.Step{look}}
	got = k.settled(row, members, s)
	require.Equal(t, "primary to be asked again: to be compared", got.Condition, "a primary in doubt is another matter")
	require.Equal(t, model.StatusReboot, got.Status)
}

// TestNotSettledBeforeItWasDecidedOn: what was asked for since the last decision is not said to have come about, be the cluster as well as it may: another policy is
// promised to its user by that.
func TestNotSettledBeforeItWasDecidedOn(t *testing.T) {
	k := &Keeper{}
	row := model.Cluster{ID: "c", Status: model.StatusActive, Generation: 3, ObservedGeneration: 2}
	members := []model.Instance{{ID: "a", Status: model.StatusActive}}
	open := failover.Status{Mysqld: failover.MysqldUp, Writes: failover.WritesOn}
	s := shown{generation: 2, record: durability.Record{Cluster: "c", Epoch: 3, Primary: "a"}, seen: map[string]failover.Status{"a": open}}
	require.EqualValues(t, 2, k.settled(row, members, s).ObservedGeneration)
	s.generation = 3
	require.EqualValues(t, 3, k.settled(row, members, s).ObservedGeneration)
}

// What an alarm means may change while it is up, and is written down then; its numbers are not.
func TestWhatAnAlarmSaysIsKept(t *testing.T) {
	row := func(text string) model.Cluster {
		return model.Cluster{Alarms: []model.Alarm{{Name: "disk-full", Text: text}}}
	}
	was := row("62 of 1945 MiB are left: its writes are to be stopped")
	require.True(t, sameSeen(was, row("61 of 1945 MiB are left: its writes are to be stopped")))
	require.False(t, sameSeen(was, row("61 of 1945 MiB are left: it takes no writes")))
	require.False(t, sameSeen(was, model.Cluster{}))
}
