package keeper

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
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
