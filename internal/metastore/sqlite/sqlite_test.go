package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/metastoretest"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
)

// childEnv has the test binary be the child of TestKilled.
const childEnv = "HUKER_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeForEver(context.Background(), path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openAt(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), path)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func open(tb testing.TB) metastore.Store {
	tb.Helper()
	return openAt(tb, filepath.Join(tb.TempDir(), "meta.db"))
}

func TestConformance(t *testing.T) { metastoretest.Run(t, open) }

func TestShared(t *testing.T) {
	metastoretest.RunShared(t, func(tb testing.TB) func() (metastore.Store, error) {
		path := filepath.Join(tb.TempDir(), "meta.db")
		return func() (metastore.Store, error) {
			s, err := sqlite.Open(tb.Context(), path)
			if err != nil {
				return nil, err
			}
			tb.Cleanup(func() { require.NoError(tb, s.Close()) })
			return s, nil
		}
	})
}

func BenchmarkSQLite(b *testing.B) { metastoretest.Bench(b, open) }

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	old := syscall.Umask(0)
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "meta.db"))
	syscall.Umask(old)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Ping(t.Context()))
	seen := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		i, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, i.Mode().Perm()&0o077, path)
		seen++
		return nil
	}))
	require.GreaterOrEqual(t, seen, 4, "the directory, the database, its -wal and its -shm")
}

// TestLoosePermissions: a file that was copied carelessly is made private again.
func TestLoosePermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	require.NoError(t, openAt(t, path).Close())
	require.NoError(t, os.Chmod(path, 0o644)) //nolint:gosec // that is the point
	openAt(t, path)
	i, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), i.Mode().Perm())
}

func TestReopen(t *testing.T) {
	// A path that needs quoting in an URL.
	path := filepath.Join(t.TempDir(), "a b?c=d#e%20f", "meta.db")
	for n := range 3 {
		s, err := sqlite.Open(t.Context(), path)
		require.NoError(t, err)
		require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
			hs, err := tx.Hosts().List(t.Context())
			require.Len(t, hs, n)
			return errors.Join(err, tx.Hosts().Put(t.Context(), model.Host{ID: fmt.Sprint(n)}))
		}))
		require.NoError(t, s.Close())
	}
	_, err := os.Stat(path)
	require.NoError(t, err)
}

// TestUpgradeToClusters: rows of the version before stay as they are.
func TestUpgradeToClusters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("migrations"), goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = p.UpTo(t.Context(), 2)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), metastoretest.BeforeClusters)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	metastoretest.AfterClusters(t, openAt(t, path))
}

func TestRefuses(t *testing.T) {
	t.Run("a newer database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "meta.db")
		require.NoError(t, openAt(t, path).Close())
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999999, 1)")
		require.NoError(t, err)
		require.NoError(t, db.Close())
		before, err := os.ReadFile(path) //nolint:gosec // a path of this test
		require.NoError(t, err)
		_, err = sqlite.Open(t.Context(), path)
		require.ErrorIs(t, err, metastore.ErrNewer)
		require.ErrorContains(t, err, "999999")
		after, err := os.ReadFile(path) //nolint:gosec // a path of this test
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), "it was written to")
	})
	t.Run("a file that is no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "meta.db")
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("not a database\n"), 1000), 0o600))
		_, err := sqlite.Open(t.Context(), path)
		require.Error(t, err)
		require.ErrorContains(t, err, path)
	})
	t.Run("a directory", func(t *testing.T) {
		_, err := sqlite.Open(t.Context(), t.TempDir())
		require.Error(t, err)
	})
	t.Run("a cancelled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "meta.db"))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestOpenedAtOnce: several programs may start at the same moment on a new file, and use it together.
func TestOpenedAtOnce(t *testing.T) {
	const stores, each = 6, 10
	path := filepath.Join(t.TempDir(), "meta.db")
	var g errgroup.Group
	for n := range stores {
		g.Go(func() error {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			for range each {
				if err := increment(t.Context(), s); err != nil {
					return fmt.Errorf("store %d: %w", n, err)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, stores*each, count(t, openAt(t, path)))
}

// TestBusy: another program holds the file's lock for longer than SQLite waits by itself.
func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	s := openAt(t, path)
	other, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Close() })
	c, err := other.Conn(t.Context())
	require.NoError(t, err)
	_, err = c.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, increment(short, s), context.DeadlineExceeded)
	require.Zero(t, count(t, s), "readers are not in the way of writers")

	done := make(chan error, 1)
	go func() { done <- increment(t.Context(), s) }()
	select {
	case err := <-done:
		t.Fatalf("wrote under somebody else's lock: %v", err)
	case <-time.After(1500 * time.Millisecond): // busy_timeout is 1 s
	}
	_, err = c.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.Equal(t, 1, count(t, s))
}

func increment(ctx context.Context, s metastore.Store) error {
	return s.Update(ctx, func(tx metastore.Tx) error {
		q, err := tx.Quotas().Get(ctx, "n")
		if err != nil && !errors.Is(err, metastore.ErrNotFound) {
			return err
		}
		return tx.Quotas().Put(ctx, model.Quota{ProjectID: "n", Instances: q.Instances + 1})
	})
}

func count(tb testing.TB, s metastore.Store) int {
	tb.Helper()
	var q model.Quota
	err := s.View(tb.Context(), func(tx metastore.Tx) (err error) {
		q, err = tx.Quotas().Get(tb.Context(), "n")
		return err
	})
	if !errors.Is(err, metastore.ErrNotFound) {
		require.NoError(tb, err)
	}
	return q.Instances
}

// TestDeletedSecretsLeaveTheFile: what was deleted cannot be read from a stolen file.
func TestDeletedSecretsLeaveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	s := openAt(t, path)
	const marker = "correct horse battery staple"
	i := model.Instance{ID: "i", Bootstrap: &model.Bootstrap{Users: []model.User{{Name: "u", Password: marker}}}}
	require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
		return errors.Join(tx.Instances().Create(t.Context(), &i), tx.Secrets().Put(t.Context(), "i", "n", bytes.Repeat([]byte(marker), 1000)))
	}))
	i.Bootstrap = nil
	require.NoError(t, s.Update(t.Context(), func(tx metastore.Tx) error {
		return errors.Join(tx.Instances().Update(t.Context(), &i), tx.Secrets().DeleteOwner(t.Context(), "i"))
	}))
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path) //nolint:gosec // a path of this test
	require.NoError(t, err)
	require.NotContains(t, string(b), marker)
}

// writeForEver appends events, and prints the number of each once it is acknowledged.
func writeForEver(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	for {
		e := model.Event{InstanceID: "i", Message: strings.Repeat("x", 2000), Time: time.Now()}
		err := s.Update(ctx, func(tx metastore.Tx) error {
			// Two rows that must come together.
			return errors.Join(tx.Events().Append(ctx, &e), tx.Secrets().Put(ctx, "last", "id", fmt.Append(nil, e.ID)))
		})
		if err != nil {
			return err
		}
		if _, err := fmt.Println(e.ID); err != nil {
			return err
		}
	}
}

// TestKilled kills a writing program with SIGKILL again and again, at whatever point it has come to.
func TestKilled(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	path := filepath.Join(t.TempDir(), "meta.db")
	var acknowledged int64
	for round := range rounds {
		last := killedRound(t, path, time.Duration(20+rand.IntN(150))*time.Millisecond) //nolint:gosec // chance, not secrecy
		acknowledged = max(acknowledged, last)
		s, err := sqlite.Open(t.Context(), path)
		require.NoError(t, err, "round %d", round)
		require.NoError(t, s.View(t.Context(), func(tx metastore.Tx) error {
			es, err := tx.Events().List(t.Context(), "i", 0)
			require.NoError(t, err)
			for n, e := range es { // the ids have no gaps as nothing was ever deleted or rolled back
				require.EqualValues(t, n+1, e.ID)
			}
			require.GreaterOrEqual(t, int64(len(es)), acknowledged, "an acknowledged write is gone")
			require.LessOrEqual(t, int64(len(es)), acknowledged+1, "more than the one write that was under way")
			if len(es) == 0 {
				return nil
			}
			id, err := tx.Secrets().Get(t.Context(), "last", "id")
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(len(es)), string(id), "half a transaction")
			acknowledged = int64(len(es))
			return nil
		}))
		require.NoError(t, s.Close())
	}
	t.Logf("%d writes in %d rounds", acknowledged, rounds)
	require.Greater(t, acknowledged, int64(rounds), "hardly anything was written: the test showed nothing")
}

// killedRound runs the child for a while after its first write and returns the last number that it printed.
func killedRound(t *testing.T, path string, after time.Duration) (last int64) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var timer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int64
		if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
			break // cut off in the middle of a line
		}
		last = n
		if timer == nil {
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	if timer != nil {
		timer.Stop()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.True(t, exit.Sys().(syscall.WaitStatus).Signaled(), "the child ended by itself: %v", err)
	return last
}
