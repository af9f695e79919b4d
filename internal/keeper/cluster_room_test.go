package keeper

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// TestMembersWithoutRoom: a primary without room stays the primary, and it is told; one replica without room holds up nobody; a switchover to whomever, and a failover,
// are to one with room; and all ends by itself.
func TestMembersWithoutRoom(t *testing.T) {
	s := newSim(t, "a", "b", "c", "d")
	s.keep()
	epoch := s.until("whole", wholeAgain).Epoch
	w, stop := s.writes()
	defer stop()
	told := func(row model.Cluster) bool {
		return slices.ContainsFunc(row.Alarms, func(a model.Alarm) bool { return a.Name == "disk-full" })
	}
	s.site.Fill("a", true)
	row := s.until("told", told)
	require.Equal(t, model.StatusActive, row.Status)
	require.Eventually(t, func() bool { _, ok := s.write(); return !ok }, time.Minute, time.Millisecond, "it takes writes")
	time.Sleep(500 * time.Millisecond)
	row = s.row()
	require.Equal(t, "a", row.PrimaryID)
	require.Equal(t, epoch, row.Epoch)
	s.site.Fill("a", false)
	s.until("whole again", wholeAgain)
	require.Eventually(t, func() bool { _, ok := s.write(); return ok }, time.Minute, time.Millisecond, "it takes no writes")

	s.site.Fill("b", true)
	s.until("told of a replica", told)
	require.Eventually(t, func() bool { _, ok := s.write(); return ok }, time.Minute, time.Millisecond, "it takes no writes")
	s.ask(func(row *model.Cluster) {
		row.Switchover = &model.Switchover{Serial: 1, From: "a", Asked: time.Now(), Timeout: time.Minute}
	})
	s.until("led by one with room", func(row model.Cluster) bool {
		return row.PrimaryID != "a" && row.PrimaryID != "" && row.Switchover.Finished
	})
	second := s.row().PrimaryID
	require.NotEqual(t, "b", second)
	s.site.Fill("b", false)
	s.until("whole with another one", wholeAgain)

	s.site.Fill("a", true)
	s.until("told of the old primary", told)
	s.kill(second, false)
	s.until("led by one with room once more", func(row model.Cluster) bool { return row.PrimaryID != second && row.PrimaryID != "" })
	require.NotEqual(t, "a", s.row().PrimaryID)
	s.site.Fill("a", false)
	s.kill(second, true)
	s.until("whole at last", wholeAgain)
	s.holds(w)
	require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) error {
		turns, err := tx.Clusters().Turns(t.Context(), simCluster, 0)
		require.Len(t, turns, 2)
		require.Contains(t, turns[0].Seen[0], "disk nearly full")
		return err
	}))
}
