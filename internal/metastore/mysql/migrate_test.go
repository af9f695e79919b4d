package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/metastoretest"
	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/metastore/sqlite"
)

// column gives the first column of a query, as root.
func column(t *testing.T, s *mysqltest.Server, query string, args ...any) []string {
	t.Helper()
	rows, err := s.Root.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	out := []string{}
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
		out = append(out, v)
	}
	require.NoError(t, rows.Err())
	return out
}

// schema is everything about a database's tables, and the versions that were applied, in text.
func schema(t *testing.T, s *mysqltest.Server, database string) string {
	t.Helper()
	var b strings.Builder
	tables := column(t, s, "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1", database)
	for _, table := range tables {
		var name, create string
		require.NoError(t, s.Root.QueryRowContext(t.Context(), fmt.Sprintf("SHOW CREATE TABLE `%s`.`%s`", database, table)).Scan(&name, &create))
		b.WriteString(regexp.MustCompile(` AUTO_INCREMENT=\d+`).ReplaceAllString(create, "") + "\n")
	}
	fmt.Fprintln(&b, column(t, s, "SELECT version_id FROM "+database+".goose_db_version ORDER BY 1"))
	if slices.Contains(tables, "heartbeat") {
		fmt.Fprintln(&b, column(t, s, "SELECT CONCAT(id, '=', beats) FROM "+database+".heartbeat ORDER BY 1"))
	}
	return b.String()
}

// TestSchema: the tables are those of SQLite, and every one of them durable and comparing bytes.
func TestSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	lite, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, lite.Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	want := map[string][]string{}
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version' ORDER BY m.name, c.name`)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var table, column string
		require.NoError(t, rows.Scan(&table, &column))
		want[table] = append(want[table], column)
	}
	require.NoError(t, rows.Err())

	s := server(t)
	l := s.Database(t)
	openAt(t, config(s.Socket(), l))
	const ours = " FROM information_schema.tables WHERE table_schema = ? AND table_name <> 'goose_db_version'"
	require.ElementsMatch(t, slices.Collect(maps.Keys(want)), column(t, s, "SELECT table_name"+ours, l.Database))
	for table, columns := range want {
		require.Equal(t, columns, column(t, s, `SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?
			ORDER BY CAST(column_name AS BINARY)`, l.Database, table), table)
	}
	require.Equal(t, []string{"InnoDB utf8mb4_0900_bin"}, column(t, s, "SELECT DISTINCT CONCAT(engine, ' ', table_collation)"+ours, l.Database))
	require.Equal(t, []string{"utf8mb4_0900_bin"}, column(t, s, `SELECT DISTINCT collation_name FROM information_schema.columns
		WHERE table_schema = ? AND table_name <> 'goose_db_version' AND collation_name IS NOT NULL`, l.Database))
}

// TestMigrationsAreCounted: the same versions as SQLite's, each of them outside a transaction that MySQL would not honour.
func TestMigrationsAreCounted(t *testing.T) {
	list := func(files fs.FS, pattern string) (names []string) {
		paths, err := fs.Glob(files, pattern)
		require.NoError(t, err)
		for _, p := range paths {
			names = append(names, p[strings.LastIndex(p, "/")+1:])
		}
		return names
	}
	mine := list(mysql.Migrations, "migrations/*.sql")
	theirs, err := filepath.Glob("../sqlite/migrations/*.sql")
	require.NoError(t, err)
	for n := range theirs {
		theirs[n] = filepath.Base(theirs[n])
	}
	require.Equal(t, theirs, mine)
	for _, name := range mine {
		b, err := fs.ReadFile(mysql.Migrations, "migrations/"+name)
		require.NoError(t, err)
		require.Contains(t, string(b), "-- +goose NO TRANSACTION\n", name)
	}
}

// TestOpenedAtOnce: several programs start at the same moment on an empty database. Each migration is applied once.
func TestOpenedAtOnce(t *testing.T) {
	s := server(t)
	l := s.Database(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			st, err := mysql.Open(t.Context(), config(s.Socket(), l))
			if err != nil {
				return err
			}
			return st.Close()
		})
	}
	require.NoError(t, g.Wait())
	files, err := fs.Glob(mysql.Migrations, "migrations/*.sql")
	require.NoError(t, err)
	want := []string{"0"}
	for n := range files {
		want = append(want, fmt.Sprint(n+1))
	}
	require.Equal(t, want, column(t, s, "SELECT version_id FROM "+l.Database+".goose_db_version ORDER BY id"))
}

// TestKilledWhileMigrating breaks the connection after each of the statements of a first start in turn, as a program's death would, and starts
// again. It comes out the same every time.
func TestKilledWhileMigrating(t *testing.T) {
	s := server(t)
	l := s.Database(t)
	statements := 0
	st, err := mysql.Open(t.Context(), config(s.Proxy(t, func(string) mysqltest.Fate { statements++; return mysqltest.Pass }), l))
	require.NoError(t, err)
	require.NoError(t, st.Close())
	require.Greater(t, statements, 20)
	want := strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database")
	step := 1
	if testing.Short() {
		step = 9
	}
	for last := 1; last <= statements; last += step {
		t.Run(fmt.Sprint("after ", last), func(t *testing.T) {
			t.Parallel()
			l, n := s.Database(t), 0
			_, err := mysql.Open(t.Context(), config(s.Proxy(t, func(statement string) mysqltest.Fate {
				if n++; n == last {
					t.Log(strings.Join(strings.Fields(statement), " "))
					return mysqltest.CutAfter
				}
				return mysqltest.Pass
			}), l))
			require.Error(t, err)
			st, err := mysql.Open(t.Context(), config(s.Socket(), l))
			require.NoError(t, err)
			require.Equal(t, want, strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database"))
			require.NoError(t, st.Ping(t.Context()))
			require.NoError(t, st.Close())
		})
	}
}

// TestUpgradeToClusters: rows of the version before stay as they are, also when the upgrade is killed after any of its statements.
func TestUpgradeToClusters(t *testing.T) {
	s := server(t)
	old := fstest.MapFS{}
	for _, name := range []string{"00001_init.sql", "00002_hosts.sql"} {
		b, err := fs.ReadFile(mysql.Migrations, "migrations/"+name)
		require.NoError(t, err)
		old[name] = &fstest.MapFile{Data: b}
	}
	fill := func(t *testing.T) mysqltest.Login {
		l := s.Database(t)
		require.NoError(t, mysql.Migrate(t.Context(), config(s.Socket(), l), old))
		_, err := s.Root.ExecContext(t.Context(), strings.Replace(metastoretest.BeforeClusters, "INTO ", "INTO "+l.Database+".", 1))
		require.NoError(t, err)
		return l
	}
	l, statements := fill(t), 0
	st, err := mysql.Open(t.Context(), config(s.Proxy(t, func(string) mysqltest.Fate { statements++; return mysqltest.Pass }), l))
	require.NoError(t, err)
	require.NoError(t, st.Close())
	want := strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database")
	metastoretest.AfterClusters(t, openAt(t, config(s.Socket(), l)))
	step := 1
	if testing.Short() {
		step = 5
	}
	for last := 1; last <= statements; last += step {
		l, n := fill(t), 0
		_, err := mysql.Open(t.Context(), config(s.Proxy(t, func(string) mysqltest.Fate {
			if n++; n == last {
				return mysqltest.CutAfter
			}
			return mysqltest.Pass
		}), l))
		require.Error(t, err, "after %d", last)
		st := openAt(t, config(s.Socket(), l))
		require.Equal(t, want, strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database"), "after %d", last)
		metastoretest.AfterClusters(t, st)
	}
}

// later is a history of migrations as they will come: every kind of step that is not undone by being killed.
func later() fstest.MapFS {
	file := func(text string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\n" + text)}
	}
	return fstest.MapFS{
		"00001_a.sql": file("CREATE TABLE a (id BIGINT PRIMARY KEY, old BIGINT, KEY old_key (old)) ENGINE = InnoDB;\nCREATE TABLE gone (id BIGINT PRIMARY KEY);"),
		"00002_b.sql": file("ALTER TABLE a ADD COLUMN new BIGINT NOT NULL DEFAULT 7;\nALTER TABLE a ADD KEY new_key (new);\nUPDATE a SET new = 8 WHERE new = 7;"),
		"00003_c.sql": file(`ALTER TABLE a DROP KEY old_key;
			ALTER TABLE a DROP COLUMN old;
			DROP TABLE gone;
			ALTER TABLE a ADD CONSTRAINT to_self FOREIGN KEY (new) REFERENCES a (id);
			INSERT INTO a (id, new) VALUES (7, 7) ON DUPLICATE KEY UPDATE new = 7;
			CREATE TABLE c (id BIGINT PRIMARY KEY) SELECT id FROM a;`),
	}
}

// TestLaterMigrations: the same for what is to come, and for the steps of it that cannot be told to pass over what is there.
func TestLaterMigrations(t *testing.T) {
	s := server(t)
	run := func(address string, l mysqltest.Login) (string, error) {
		var log bytes.Buffer
		c := config(address, l)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		return log.String(), mysql.Migrate(t.Context(), c, later())
	}
	l, statements := s.Database(t), 0
	_, err := run(s.Proxy(t, func(string) mysqltest.Fate { statements++; return mysqltest.Pass }), l)
	require.NoError(t, err)
	want := strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database")
	require.Contains(t, want, "to_self")
	require.NotContains(t, want, "old")
	for last := 1; last <= statements; last++ {
		l, n := s.Database(t), 0
		_, err := run(s.Proxy(t, func(string) mysqltest.Fate {
			if n++; n == last {
				return mysqltest.CutAfter
			}
			return mysqltest.Pass
		}), l)
		require.Error(t, err, "after %d", last)
		_, err = run(s.Socket(), l)
		require.NoError(t, err, "after %d", last)
		require.Equal(t, want, strings.ReplaceAll(schema(t, s, l.Database), l.Database, "database"), "after %d", last)
		require.Equal(t, []string{"7"}, column(t, s, "SELECT id FROM "+l.Database+".c"), "after %d", last)
	}
}

func TestBadMigrationIsNamed(t *testing.T) {
	s := server(t)
	files := later()
	files["00004_d.sql"] = &fstest.MapFile{Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nALTER TABLE a ADD KEY x (nothing);")}
	l := s.Database(t)
	err := mysql.Migrate(t.Context(), config(s.Socket(), l), files)
	require.ErrorContains(t, err, "version:4")
	require.ErrorContains(t, err, "nothing")
	require.Equal(t, []string{"3"}, column(t, s, "SELECT MAX(version_id) FROM "+l.Database+".goose_db_version"))
	files["00004_d.sql"] = &fstest.MapFile{Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nALTER TABLE a ADD KEY x (new);")}
	require.NoError(t, mysql.Migrate(t.Context(), config(s.Socket(), l), files))
}

func TestRefuses(t *testing.T) {
	s := server(t)
	t.Run("a newer database", func(t *testing.T) {
		l := s.Database(t)
		require.NoError(t, openAt(t, config(s.Socket(), l)).Ping(t.Context()))
		_, err := s.Root.ExecContext(t.Context(), "INSERT INTO "+l.Database+".goose_db_version (version_id, is_applied) VALUES (999999, 1)")
		require.NoError(t, err)
		before := schema(t, s, l.Database)
		_, err = mysql.Open(t.Context(), config(s.Socket(), l))
		require.ErrorIs(t, err, metastore.ErrNewer)
		require.ErrorContains(t, err, "999999")
		require.Equal(t, before, schema(t, s, l.Database), "it was written to")
	})
	t.Run("somebody else's database", func(t *testing.T) {
		l := s.Database(t)
		_, err := s.Root.ExecContext(t.Context(), "CREATE TABLE "+l.Database+".instances (id BIGINT PRIMARY KEY)")
		require.NoError(t, err)
		_, err = mysql.Open(t.Context(), config(s.Socket(), l))
		require.ErrorContains(t, err, "not Huker's")
		require.Equal(t, []string{"instances"}, column(t, s, "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", l.Database))
	})
	t.Run("no database", func(t *testing.T) {
		l := s.Database(t)
		_, err := s.Root.ExecContext(t.Context(), "GRANT ALL ON missing.* TO "+l.User+"@localhost")
		require.NoError(t, err)
		l.Database = "missing"
		_, err = mysql.Open(t.Context(), config(s.Socket(), l))
		require.ErrorContains(t, err, "Unknown database 'missing'")
	})
	t.Run("a cancelled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := mysql.Open(ctx, config(s.Socket(), s.Database(t)))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// TestMigrationWaits: a program that starts waits for one that migrates, and no longer than it is told.
func TestMigrationWaits(t *testing.T) {
	s := server(t)
	l := s.Database(t)
	// Another program is migrating: it holds the connection in the middle of a statement.
	release, held := make(chan struct{}), make(chan struct{})
	slow := s.Proxy(t, func(statement string) mysqltest.Fate {
		if strings.Contains(statement, "CREATE TABLE tokens") {
			close(held)
			<-release
		}
		return mysqltest.Pass
	})
	first, second := make(chan error, 1), make(chan error, 1)
	opening := func(address string, done chan<- error) {
		st, err := mysql.Open(t.Context(), config(address, l))
		if err == nil {
			err = st.Close()
		}
		done <- err
	}
	go opening(slow, first)
	select {
	case <-held:
	case err := <-first:
		t.Fatalf("it did not come to that: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := mysql.Open(short, config(s.Socket(), l))
	require.ErrorIs(t, err, context.DeadlineExceeded, "waiting ends with the context")
	go opening(s.Socket(), second)
	select {
	case err := <-second:
		t.Errorf("did not wait for the other: %v", err)
		second <- err
	case <-time.After(500 * time.Millisecond):
	}
	close(release)
	require.NoError(t, <-first)
	require.NoError(t, <-second)
}
