package keeper

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
)

func openStore(t *testing.T) metastore.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// newKeeper makes one without coordination and bus.
func newKeeper(t *testing.T, store metastore.Store) *Keeper {
	t.Helper()
	k, err := New(Config{Deployment: "test", Coordination: "etcd://127.0.0.1:1"}, Engines{Store: store}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return k
}

// A nodekeeper that led once, and was suspended or cut off meanwhile, changes nothing any more when it wakes up, though nobody has told it yet.
func TestFormerLeaderIsRefused(t *testing.T) {
	store := openStore(t)
	i := model.Instance{ID: "i", ProjectID: "p", Desired: model.DesiredPresent, Generation: 1, Status: model.StatusBuild, Created: time.Now(), Updated: time.Now()}
	require.NoError(t, store.Update(t.Context(), func(tx metastore.Tx) error { return tx.Instances().Create(t.Context(), &i) }))
	write := func(k *Keeper, status model.Status) error {
		return k.change(t.Context(), "i", func(i *model.Instance) (string, string) {
			i.Status = status
			return "test", string(status)
		})
	}
	former, present := newKeeper(t, store), newKeeper(t, store)
	require.NoError(t, former.begin(t.Context()))
	require.NoError(t, write(former, model.StatusActive))
	require.NoError(t, present.begin(t.Context()))
	require.Greater(t, present.term, former.term)

	err := write(former, model.StatusError)
	require.ErrorIs(t, err, metastore.ErrTermOver)
	require.True(t, over(err), "which ends its work")
	require.NoError(t, write(present, model.StatusResize))
	require.ErrorIs(t, write(former, model.StatusError), metastore.ErrTermOver)
	require.NoError(t, store.View(t.Context(), func(tx metastore.Tx) error {
		now, err := tx.Instances().Get(t.Context(), "i")
		require.NoError(t, err)
		require.Equal(t, model.StatusResize, now.Status)
		events, err := tx.Events().List(t.Context(), "i", 0)
		require.NoError(t, err)
		require.Len(t, events, 2)
		return nil
	}))
}
