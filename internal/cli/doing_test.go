package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
)

// TestDoing: what is the matter with a member comes before what it does.
func TestDoing(t *testing.T) {
	t.Parallel()
	receiver := &client.Receiver{State: "running", Acknowledges: true}
	for want, m := range map[string]client.LiveMember{
		"it did not answer":                     {Error: "it did not answer", Notice: "full"},
		"locked":                                {Reachable: true, Fault: "locked", Receiver: receiver},
		"its disk is nearly full":               {Reachable: true, Notice: "its disk is nearly full", Open: true, Guarded: true},
		"its data is being replaced by a clone": {Reachable: true, Rebuild: true},
		"does not apply: 1062":                  {Reachable: true, Applier: "1062", Receiver: receiver},
		"replicates, acknowledges":              {Reachable: true, Receiver: receiver},
		"its receiver is stopped":               {Reachable: true, Receiver: &client.Receiver{State: "stopped"}},
		"takes writes":                          {Reachable: true, Open: true},
	} {
		require.Equal(t, want, doing(m))
	}
}
