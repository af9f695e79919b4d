package keeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Clients take an instance in ERROR for lost: while hosts only need a moment, it is being built.
func TestPlaceWaitsForAHost(t *testing.T) {
	store := openStore(t)
	k := newKeeper(t, store)
	require.NoError(t, k.begin(t.Context()))
	k.view = newView(func(string) {}, func() {}, func(string) {})
	created := time.Now()
	i := model.Instance{ID: "i", ProjectID: "p", Desired: model.DesiredPresent, Generation: 1, Status: model.StatusBuild, Created: created, Updated: created}
	require.NoError(t, store.Update(t.Context(), func(tx metastore.Tx) error { return tx.Instances().Create(t.Context(), &i) }))
	for _, c := range []struct {
		after time.Duration
		want  model.Status
	}{{hostPatience - time.Second, model.StatusBuild}, {hostPatience, model.StatusError}} {
		k.now = func() time.Time { return created.Add(c.after) }
		require.ErrorIs(t, k.place(t.Context(), Observation{Instance: i}), errNoHost)
		require.NoError(t, store.View(t.Context(), func(tx metastore.Tx) error {
			now, err := tx.Instances().Get(t.Context(), "i")
			require.NoError(t, err)
			require.Equal(t, c.want, now.Status, c.after)
			if c.want == model.StatusError {
				require.Equal(t, "no room: no host answers", now.Fault.Message)
			}
			return nil
		}))
	}
}
