package sysmgr

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// TestPendingEndpoints: what has come in meanwhile is carried out at once, of each cluster the newest.
func TestPendingEndpoints(t *testing.T) {
	event := func(id, value string) coord.Event {
		e := coord.Event{Key: protocol.EndpointKey(id)}
		if value != "" {
			e.Entry = &coord.Entry{Key: e.Key, Value: []byte(value)}
		}
		return e
	}
	events := make(chan coord.Event, 9)
	for _, e := range []coord.Event{event("a", "2"), event("b", "1"), event("c", "1"), event("a", "3"), event("c", "")} {
		events <- e
	}
	changes, resync := pending(event("a", "1"), events)
	require.False(t, resync)
	require.Len(t, changes, 3)
	require.Equal(t, "3", string(changes["a"].Value))
	require.Equal(t, "1", string(changes["b"].Value))
	require.Nil(t, changes["c"])
	require.Empty(t, events)

	events <- coord.Event{Resync: true}
	events <- event("a", "5")
	close(events)
	_, resync = pending(event("a", "4"), events)
	require.True(t, resync)
	_, open := <-events
	require.False(t, open, "whoever watches sees that it has ended")
}
