// Package sqlite is the metadata store in one file of this machine.
//
// It owns how SQLite is opened, made durable and brought to the newest tables; the statements are sqlstore's. It must not know
// what the rows mean.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlstore"
)

// readers is how many Views run at once. They wait neither for each other nor for the writer; more than a few only cost memory.
const readers = 8

// lockPoll is how often a program that starts looks whether another one has done with the tables: that takes some milliseconds.
const lockPoll = 10 * time.Millisecond

//go:embed migrations/*.sql
var migrations embed.FS // read-only

// Store is a metadata store in a SQLite file.
type Store struct{ *sqlstore.Store }

var _ metastore.Store = (*Store)(nil)

// Open opens the database at path, and makes it (and its directory) if it is not there. It gives metastore.ErrNewer when a newer
// program has used it. Several processes may have the same file open.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open metadata store %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err = prepare(path); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	write, err := pool(path, 1, "_txlock", "immediate")
	if err != nil {
		return nil, err
	}
	read, err := pool(path, readers, "_pragma", "query_only(1)")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	if err = migrate(ctx, write); err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	return &Store{sqlstore.New(write, read, dialect())}, nil
}

// prepare makes the file, private from its first moment. SQLite gives its -wal and -shm files the same permissions.
func prepare(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is the operator's choice
	if errors.Is(err, fs.ErrExist) {
		// Not opened: closing it would drop the locks that another Store of this process has on it (POSIX locks are per process).
		return os.Chmod(path, 0o600)
	}
	if err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return syncDir(dir) // or a crash of the machine could lose the file's name with all that is in it
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// pool opens connections with the settings that make the store durable and private, and one more parameter.
func pool(path string, size int, param, value string) (*sql.DB, error) {
	q := url.Values{"_pragma": {
		"busy_timeout(1000)", // ms; first, as the next ones may have to wait. What still fails is run again by sqlstore
		"journal_mode(WAL)",
		"synchronous(FULL)", // a commit is on the disk when it returns
		"foreign_keys(1)",
		"secure_delete(1)", // passwords of a bootstrap are not left behind in free pages
		"temp_store(2)",    // in memory, for the same reason
		"journal_size_limit(67108864)",
	}}
	q.Add(param, value)
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

// migrate brings the tables to the newest version. The caller holds the lock: two programs that start at once must not both do it.
func migrate(ctx context.Context, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the tables: %w", err)
	}
	if current > target {
		return fmt.Errorf("%w: its tables are at version %d, this program knows %d: start the newer program again, or restore a copy from before the upgrade",
			metastore.ErrNewer, current, target)
	}
	if _, err = p.Up(ctx); err != nil {
		return fmt.Errorf("bring the tables from version %d to %d: %w", current, target, err)
	}
	return nil
}

// lock takes a lock file, and waits for it until ctx ends.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the path is the operator's choice
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(lockPoll)
	defer again.Stop()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // descriptors are small
		if err == nil {
			return f.Close, nil // closing unlocks
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the lock %s: %w", path, ctx.Err()), f.Close())
		}
	}
}

func dialect() sqlstore.Dialect {
	return sqlstore.Dialect{
		IsUnique: func(err error) bool {
			return is(err, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
		},
		IsForeign: func(err error) bool { return is(err, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY) },
		IsRetry: func(err error) bool {
			return is(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY)
		},
		Isolation: sql.LevelDefault, // SQLite knows one level, serializable, and writers begin with the lock in hand
	}
}

func is(err error, codes ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code() == c {
			return true
		}
	}
	return false
}
