package plain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/plain"
	"github.com/huker/huker/test/chaos/workload"
)

func TestGroupFailsOver(t *testing.T) {
	image := mysqltest.Image(t)
	router, err := plain.RouterImage(t.Context())
	require.NoError(t, err)
	expel := 0
	began := time.Now()
	c, err := plain.Start(t.Context(), plain.Options{Kind: plain.Group, Image: image, Router: router, ExpelTimeout: &expel})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, err)
	t.Logf("up after %s", time.Since(began).Round(time.Millisecond))
	connector, err := c.Endpoint().Connector()
	require.NoError(t, err)
	s := workload.NewSession(connector)
	defer s.Close()
	serving := func() (address string) {
		require.Eventually(t, func() bool {
			return s.Query(t.Context(), []any{&address}, "SELECT @@report_host") == nil
		}, time.Minute, 50*time.Millisecond)
		return address
	}
	first, err := c.Primary(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.Address, serving())
	kill := fault.KillContainer(first.Container, true)
	require.NoError(t, kill.Do(t.Context()))
	require.NotEqual(t, first.Address, serving())
	require.NoError(t, kill.Heal(t.Context()))
	require.NoError(t, c.AwaitWell(t.Context()))
	before := serving()
	require.NoError(t, c.Switchover().Do(t.Context()))
	// A connection to the one that was the primary lasts until the router asks who is.
	require.Eventually(t, func() bool { return serving() != before }, time.Minute, 50*time.Millisecond)
}
