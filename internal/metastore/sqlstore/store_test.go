package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlstore"
	"github.com/huker/huker/internal/model"
)

// straw is the value in the CHECK below.
const straw = "straw"

func isStraw(err error) bool { return strings.Contains(err.Error(), "CHECK constraint") }

// losing is a store whose transactions lose against another one (as MySQL's do in a deadlock) whenever a value is the last straw.
func losing(t *testing.T) *sqlstore.Store {
	t.Helper()
	return store(t, sqlstore.Dialect{IsRetry: isStraw})
}

func store(t *testing.T, d sqlstore.Dialect) *sqlstore.Store {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "meta.db"))
	require.NoError(t, err)
	db.SetMaxOpenConns(1) // settings are a connection's
	_, err = db.ExecContext(t.Context(), `PRAGMA foreign_keys = 1; CREATE TABLE owners (owner TEXT PRIMARY KEY); INSERT INTO owners VALUES ('o');
		CREATE TABLE secrets (owner TEXT REFERENCES owners DEFERRABLE INITIALLY DEFERRED, name TEXT, value BLOB CHECK (value <> x'7374726177'),
		PRIMARY KEY (owner, name))`)
	require.NoError(t, err)
	s := sqlstore.New(db, db, d)
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

// TestNothingIsSentOnceLost: a server that has rolled a transaction back would take what follows for transactions of its own.
func TestNothingIsSentOnceLost(t *testing.T) {
	s, runs := losing(t), 0
	require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
		if runs++; runs > 1 {
			return nil
		}
		lost := tx.Secrets().Put(t.Context(), "o", "straw", []byte(straw))
		require.ErrorContains(t, lost, "CHECK constraint")
		_, err := tx.Secrets().Get(t.Context(), "o", "n")
		require.ErrorContains(t, err, "CHECK constraint", "a read went on")
		_, err = tx.Hosts().List(t.Context())
		require.ErrorContains(t, err, "CHECK constraint", "a list went on (there is no such table)")
		require.ErrorContains(t, tx.Secrets().Put(t.Context(), "o", "n", nil), "CHECK constraint", "a write went on")
		return nil
	}))
	require.Equal(t, 2, runs)
}

func TestGone(t *testing.T) {
	var told []int
	s := store(t, sqlstore.Dialect{IsGone: isStraw, Outage: 300 * time.Millisecond, Retried: func(_ context.Context, attempt int, err error) {
		require.ErrorContains(t, err, "CHECK constraint")
		told = append(told, attempt)
	}})
	runs := 0
	require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
		if runs++; runs < 3 {
			return tx.Secrets().Put(t.Context(), "o", "n", []byte(straw))
		}
		return nil
	}), "it came back in time")
	require.Equal(t, []int{1, 2}, told)

	started := time.Now()
	err := s.Update(t.Context(), func(tx metastore.Tx) error { return tx.Secrets().Put(t.Context(), "o", "n", []byte(straw)) })
	require.ErrorIs(t, err, metastore.ErrUnavailable)
	require.ErrorContains(t, err, "CHECK constraint", "the reason must not get lost")
	require.GreaterOrEqual(t, time.Since(started), 300*time.Millisecond)
	require.Less(t, time.Since(started), 10*time.Second)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = s.Update(ctx, func(tx metastore.Tx) error { return tx.Secrets().Put(ctx, "o", "n", []byte(straw)) })
	require.ErrorIs(t, err, context.DeadlineExceeded, "the caller's time counts")
}

// TestCommitNotKnown: a secret without an owner is found out by the commit only.
func TestCommitNotKnown(t *testing.T) {
	isForeign := func(err error) bool { return strings.Contains(err.Error(), "FOREIGN KEY") }
	for name, c := range map[string]struct {
		dialect sqlstore.Dialect
		want    error
		runs    int
	}{
		"not known is told, not tried again": {sqlstore.Dialect{IsUnknown: isForeign, IsGone: isForeign, IsRetry: isForeign}, metastore.ErrUnknown, 1},
		"known, and lost":                    {sqlstore.Dialect{IsRetry: isForeign}, nil, 2},
		"known, and gone":                    {sqlstore.Dialect{IsGone: isForeign}, nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, runs := store(t, c.dialect), 0
			err := s.Update(t.Context(), func(tx metastore.Tx) error {
				runs++
				return tx.Secrets().Put(t.Context(), []string{"nobody", "o"}[runs-1], "n", nil)
			})
			require.ErrorIs(t, err, c.want)
			require.Equal(t, c.runs, runs)
		})
	}
}

// TestWaitsForItsTurn: only from the second attempt on.
func TestWaitsForItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turns.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE quotas (project_id TEXT PRIMARY KEY, instances, ram_mb, volumes_gb, backups CHECK (backups > 0));
		INSERT INTO quotas VALUES ('turns', 0, 0, 0, 1)`)
	require.NoError(t, err)
	s := sqlstore.New(db, db, sqlstore.Dialect{IsRetry: isStraw, Turn: "UPDATE quotas SET instances = instances + 1 WHERE project_id = 'turns'"})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	runs := 0
	require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
		turns, err := tx.Quotas().Get(t.Context(), "turns")
		require.NoError(t, err)
		require.Equal(t, min(runs, 1), turns.Instances, "it is rolled back with the attempt")
		if runs++; runs < 4 {
			return tx.Quotas().Put(t.Context(), model.Quota{ProjectID: "x"})
		}
		return nil
	}))
	require.Equal(t, 4, runs)
}
