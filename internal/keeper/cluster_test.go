package keeper

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// writer commits through the endpoint all the time.
type writer struct {
	mu    sync.Mutex
	acked gtid.Set
	gap   time.Duration
	last  time.Time
}

func (s *sim) writes() (*writer, func()) {
	w := &writer{last: time.Now()}
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if trx, ok := s.write(); ok {
				w.mu.Lock()
				w.acked, w.gap, w.last = w.acked.Union(trx), max(w.gap, time.Since(w.last)), time.Now()
				w.mu.Unlock()
			}
			time.Sleep(time.Millisecond)
		}
	})
	return w, func() { cancel(); wg.Wait() }
}

// longest is the longest time without an acknowledgement since the last call.
func (w *writer) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	gap := w.gap
	w.gap, w.last = 0, time.Now()
	return gap
}

// holds says that the primary has all that was acknowledged.
func (s *sim) holds(w *writer) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	open := 0
	for _, v := range s.servers {
		if v.alive && v.status.Open() {
			open++
			require.True(s.t, v.status.Executed.Contains(w.acked), "lost: %v", w.acked.Subtract(v.status.Executed))
		}
	}
	require.Equal(s.t, 1, open, "servers that are open")
}

func TestAClusterComesUpAndFailsOver(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	s.keep()
	row := s.until("whole", wholeAgain)
	require.Equal(t, "a", row.PrimaryID)
	require.Equal(t, "10.0.255.1", row.ReadWrite)
	w, stop := s.writes()
	defer stop()
	for i, primary := range []string{"a", "b", "c", "a"} {
		was := s.row().PrimaryID
		w.longest()
		s.kill(was, false)
		row := s.until("led by another one", func(row model.Cluster) bool { return row.PrimaryID != was })
		s.kill(was, true)
		s.until("whole again", wholeAgain)
		t.Logf("%d (%s): %s took over from %s; no write for %s", i, primary, row.PrimaryID, was, w.longest())
		s.holds(w)
	}
	var turns []model.Turn
	require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) (err error) {
		turns, err = tx.Clusters().Turns(t.Context(), simCluster, 0)
		return err
	}))
	require.Len(t, turns, 4)
	for _, turn := range turns {
		t.Logf("%+v", turn)
		require.Equal(t, "failover", turn.Kind)
		require.NotEmpty(t, turn.Phases)
		require.NotEmpty(t, turn.Seen)
		require.NotEmpty(t, turn.To)
	}
}

func (s *sim) ask(change func(*model.Cluster)) {
	s.t.Helper()
	require.NoError(s.t, s.meta.Update(s.ctx, func(tx metastore.Tx) error {
		row, err := tx.Clusters().Get(s.ctx, simCluster)
		if err != nil {
			return err
		}
		change(&row)
		return tx.Clusters().Update(s.ctx, &row)
	}))
}

func TestASwitchover(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	s.keep()
	s.until("whole", wholeAgain)
	w, stop := s.writes()
	defer stop()
	time.Sleep(50 * time.Millisecond)
	w.longest()
	for serial, to := range []string{"c", "b", ""} {
		was := s.row().PrimaryID
		s.ask(func(row *model.Cluster) {
			row.Switchover = &model.Switchover{Serial: int64(serial + 1), From: was, To: to, Asked: time.Now(), Timeout: 10 * time.Second}
		})
		row := s.until("switched", func(row model.Cluster) bool { return row.Switchover.Finished && wholeAgain(row) })
		require.NotEqual(t, was, row.PrimaryID)
		if to != "" {
			require.Equal(t, to, row.PrimaryID)
		}
		require.Empty(t, row.Switchover.Fault)
		require.EqualValues(t, serial+1, row.ObservedSwitchover)
		t.Logf("to %q: no write for %s", to, w.longest())
		s.holds(w)
	}
}

// TestKeepersDieInAFailover: one nodekeeper after the other is ended while the primary is being replaced; the next one goes on.
func TestKeepersDieInAFailover(t *testing.T) {
	s := newSim(t, "a", "b", "c")
	end := s.keep()
	s.until("whole", wholeAgain)
	w, stop := s.writes()
	defer stop()
	for i := range 6 {
		was := s.row().PrimaryID
		s.kill(was, false)
		time.Sleep(time.Duration(i*7) * time.Millisecond)
		end()
		end = s.keep()
		s.until("led by another one", func(row model.Cluster) bool { return row.PrimaryID != was })
		s.kill(was, true)
		s.until("whole again", wholeAgain)
		s.holds(w)
	}
}
