package keeper

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Whatever somebody says is of whom was asked, or whose key it stands at, and not of whom it names: a stolen credential forges no other's status.
func TestNobodySpeaksForAnother(t *testing.T) {
	forged := protocol.GuestStatus{Instance: "b", AgentVersion: "forged"}
	text, err := json.Marshal(forged)
	require.NoError(t, err)
	for name, say := range map[string]func(v *view){
		"a guest's answer": func(v *view) { v.setGuest("a", forged) },
		"a guest's key": func(v *view) {
			v.apply(coord.Event{Key: protocol.GuestStatusKey("a"), Entry: &coord.Entry{Value: text}})
		},
		"a host's answer": func(v *view) { v.setContainer("h", "a", protocol.ContainerStatus{Instance: "b"}) },
	} {
		t.Run(name, func(t *testing.T) {
			v := newView(func(string) {}, func() {}, func(string) {})
			say(v)
			o := Observation{Instance: model.Instance{ID: "b", HostID: "h"}}
			v.fill(&o)
			require.Nil(t, o.Guest)
			require.Nil(t, o.Container)
			o = Observation{Instance: model.Instance{ID: "a", HostID: "h"}}
			v.fill(&o)
			require.True(t, o.Guest != nil || o.Container != nil)
		})
	}
}

// What a guest said before its container fell is not of now, though its session goes on for seconds, and though the container is started again at once.
func TestWhoFellIsLost(t *testing.T) {
	v := newView(func(string) {}, func() {}, func(string) {})
	now := time.Now()
	v.now = func() time.Time { return now }
	serial := int64(0)
	says := func() {
		serial++
		text, err := json.Marshal(protocol.GuestStatus{Serial: serial, Part: &failover.Status{Mysqld: failover.MysqldUp}})
		require.NoError(t, err)
		v.apply(coord.Event{Key: protocol.GuestStatusKey("a"), Entry: &coord.Entry{Value: text}})
	}
	is := func(phase string) {
		text, err := json.Marshal(protocol.ContainerStatus{Instance: "a", Phase: phase})
		require.NoError(t, err)
		v.apply(coord.Event{Key: protocol.HostContainerKey("h", "a"), Entry: &coord.Entry{Value: text}})
	}
	lost := func() bool { w, _ := v.word("a"); return w.lost }
	later := func() { now = now.Add(time.Millisecond) }

	is(runningPhase)
	says()
	require.False(t, lost())
	later()
	is("exited")
	require.True(t, lost())
	later()
	is(runningPhase)
	require.True(t, lost(), "it has not spoken since")
	later()
	says()
	require.False(t, lost())
	later()
	v.setContainer("h", "a", protocol.ContainerStatus{Instance: "a", Phase: protocol.PhaseAbsent})
	require.True(t, lost())
	v.forgetWord("a")
	require.Empty(t, v.fell)
}
