package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"

	"github.com/huker/huker/internal/metastore"
)

//go:embed migrations/*.sql
var migrations embed.FS // read-only

const (
	// lockPoll is how long a program that starts waits for the lock before it asks again, so that it notices when it is to stop.
	lockPoll = 2 * time.Second
	// migrationWait is how long a change of a table waits for the transactions that use it. Those end within ioTimeout a statement.
	migrationWait = time.Minute
)

// migrate brings the tables to the newest version. All of it is done on one connection that holds a lock: programs that start at once migrate one
// after the other, and a lock that is lost takes the connection with it. When there is nothing to do it only reads.
func migrate(ctx context.Context, cfg Config, files fs.FS) (err error) {
	db, err := migrationPool(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectMySQL, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	sources := p.ListSources()
	target := sources[len(sources)-1].Version
	if err := durable(ctx, db, cfg.Log); err != nil {
		return err
	}
	if done, err := upToDate(ctx, db, target); done || err != nil {
		return err
	}
	if err := lock(ctx, db, cfg.Database); err != nil {
		return err
	}
	if done, err := upToDate(ctx, db, target); done || err != nil { // by another program, meanwhile
		return err
	}
	if err := prepare(ctx, db, cfg.Database); err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the tables to version %d: %w", target, err)
	}
	return nil
}

// migrationPool is a pool of the one connection that migrates. Its statements may take long; ctx ends them.
func migrationPool(cfg Config) (*sql.DB, error) {
	d, err := cfg.driverConfig(snapshot)
	if err != nil {
		return nil, err
	}
	d.ReadTimeout, d.WriteTimeout = 0, 0
	d.Params["lock_wait_timeout"] = fmt.Sprint(int(migrationWait.Seconds()))
	inner, err := gomysql.NewConnector(d)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(&connector{Connector: inner, recalls: &atomic.Uint64{}, only: true, tolerant: true, log: cfg.Log})
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	return db, nil
}

// upToDate says whether the tables are at the version target. It gives metastore.ErrNewer when they are beyond it.
func upToDate(ctx context.Context, db *sql.DB, target int64) (bool, error) {
	var current sql.NullInt64
	err := db.QueryRowContext(ctx, "SELECT MAX(version_id) FROM goose_db_version").Scan(&current)
	switch {
	case number(err) == noSuchTable:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the version of the tables: %w", err)
	case current.Int64 > target:
		return false, fmt.Errorf("%w: its tables are at version %d, this program knows %d: start the newer program again, or restore a copy from before the upgrade",
			metastore.ErrNewer, current.Int64, target)
	}
	return current.Int64 == target, nil
}

// lock takes the migration lock of a database, which the connection holds until it ends, and waits for it until ctx ends.
func lock(ctx context.Context, db *sql.DB, database string) error {
	// Such locks belong to the whole server, and their names have at most 64 characters.
	name := fmt.Sprintf("huker-metastore-%x", sha256.Sum256([]byte(database)))[:48]
	for {
		var got sql.NullInt64
		if err := db.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, int(lockPoll.Seconds())).Scan(&got); err != nil {
			return fmt.Errorf("wait for the migration lock %s: %w", name, err)
		}
		if got.Int64 == 1 {
			return nil
		}
	}
}

// prepare makes goose's table of versions. goose does it in two steps of which the second is not made up for when the first was the last
// thing that a program did. A database with tables of somebody else is not touched.
func prepare(ctx context.Context, db *sql.DB, database string) error {
	var ours, tables int
	err := db.QueryRowContext(ctx, `SELECT COALESCE(SUM(table_name = 'goose_db_version'), 0), COUNT(*) FROM information_schema.tables
		WHERE table_schema = DATABASE()`).Scan(&ours, &tables)
	if err != nil {
		return fmt.Errorf("look for tables: %w", err)
	}
	if ours == 0 && tables > 0 {
		return fmt.Errorf("database %s has %d tables, and they are not Huker's: give an empty one", database, tables)
	}
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS goose_db_version (
			id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
			version_id BIGINT          NOT NULL,
			is_applied BOOLEAN         NOT NULL,
			tstamp     DATETIME        NULL DEFAULT CURRENT_TIMESTAMP
		) ENGINE = InnoDB`,
		"INSERT INTO goose_db_version (version_id, is_applied) SELECT 0, 1 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 0)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the table of versions: %w", err)
		}
	}
	return nil
}

// durable warns of a server that acknowledges what a crash of its machine can undo.
func durable(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	var flush, sync, binlog int
	err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.sync_binlog, @@GLOBAL.log_bin").Scan(&flush, &sync, &binlog)
	if err != nil {
		return fmt.Errorf("read the server's settings: %w", err)
	}
	if flush != 1 || binlog == 1 && sync != 1 {
		log.Warn("the metadata server may lose acknowledged writes when its machine crashes: set innodb_flush_log_at_trx_commit=1 and sync_binlog=1",
			"op", "metastore.open", "innodb_flush_log_at_trx_commit", flush, "sync_binlog", sync)
	}
	return nil
}
