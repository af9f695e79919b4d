package sqlstore_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlstore"
)

// straw is the value in the CHECK below.
const straw = "straw"

// losing is a store whose transactions lose against another one (as MySQL's do in a deadlock) whenever a value is the last straw.
func losing(t *testing.T) *sqlstore.Store {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "meta.db"))
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE secrets (owner TEXT, name TEXT, value BLOB CHECK (value <> x'7374726177'),
		PRIMARY KEY (owner, name))`)
	require.NoError(t, err)
	no := func(error) bool { return false }
	s := sqlstore.New(db, db, sqlstore.Dialect{
		IsUnique: no, IsForeign: no,
		IsRetry: func(err error) bool { return strings.Contains(err.Error(), "CHECK constraint") },
	})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestRunsAgainAfterALoss(t *testing.T) {
	for name, swallow := range map[string]bool{"returned": false, "swallowed by fn": true} {
		t.Run(name, func(t *testing.T) {
			s, runs := losing(t), 0
			require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
				runs++
				if err := tx.Secrets().Put(t.Context(), "o", "n", []byte{byte(runs)}); err != nil {
					return err
				}
				if runs < 4 {
					err := tx.Secrets().Put(t.Context(), "o", "straw", []byte(straw))
					require.Error(t, err)
					if !swallow {
						return err
					}
				}
				return nil
			}))
			require.Equal(t, 4, runs)
			require.NoError(t, s.View(t.Context(), func(tx metastore.Tx) error {
				v, err := tx.Secrets().Get(t.Context(), "o", "n")
				require.Equal(t, []byte{4}, v)
				return err
			}))
		})
	}
}

func TestGivesUp(t *testing.T) {
	s, runs := losing(t), 0
	err := s.Update(t.Context(), func(tx metastore.Tx) error {
		runs++
		return tx.Secrets().Put(t.Context(), "o", "n", []byte(straw))
	})
	require.ErrorIs(t, err, metastore.ErrConflict)
	require.ErrorContains(t, err, "CHECK constraint", "the reason must not get lost")
	require.Greater(t, runs, 10)
}

// TestOtherErrorsAreFinal: what fn itself returns is not run again, ErrConflict included: only the caller knows what to do then.
func TestOtherErrorsAreFinal(t *testing.T) {
	for _, want := range []error{metastore.ErrConflict, metastore.ErrNotFound, errors.New("fn's own")} {
		s, runs := losing(t), 0
		err := s.Update(t.Context(), func(metastore.Tx) error { runs++; return want })
		require.ErrorIs(t, err, want)
		require.Equal(t, 1, runs)
	}
}
