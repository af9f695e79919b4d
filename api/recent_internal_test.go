package api

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
)

// Pages go by a catalogue that was read a moment ago; what is made of a version that is newer than that is shown with its name all the same.
func TestRecentCatalogue(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "huker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	put := func(id, name string) {
		require.NoError(t, store.Update(t.Context(), func(tx metastore.Tx) error {
			if err := tx.Catalogue().PutDatastore(t.Context(), model.Datastore{ID: "d", Name: "mysql"}); err != nil {
				return err
			}
			return tx.Catalogue().PutVersion(t.Context(), model.DatastoreVersion{ID: id, DatastoreID: "d", Name: name, Engine: "mysql"})
		}))
	}
	var r recent
	name := func(version string) (name string) {
		require.NoError(t, store.View(t.Context(), func(tx metastore.Tx) error {
			c, err := r.catalogueFor(t.Context(), tx, []model.Instance{{ID: "i", DatastoreVersionID: version}})
			_, name = c.names(version)
			return err
		}))
		return name
	}
	put("v1", "9.7")
	require.Equal(t, "9.7", name("v1"))
	put("v1", "9.7.4")
	r.read = time.Now().Add(time.Hour) // as if no time had passed since
	require.Equal(t, "9.7", name("v1"), "it is not read for each page")
	put("v2", "9.8")
	require.Equal(t, "9.8", name("v2"), "it is read where something is not known")
	require.Equal(t, "9.7.4", name("v1"))
	put("v1", "9.7.5")
	r.read = time.Now().Add(-2 * recentFor)
	require.Equal(t, "9.7.5", name("v1"), "it is read again after a while")
	require.Empty(t, name("none"))
}
