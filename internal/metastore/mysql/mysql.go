// Package mysql is the metadata store in a MySQL server, 8.0.17 or newer, which several processes on several machines use at once.
//
// It owns how the server is reached, what its errors mean, and how it is brought to the newest tables; the statements are sqlstore's. It must not
// know what the rows mean.
package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	gomysql "github.com/go-sql-driver/mysql"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlstore"
)

// turn is where a transaction that lost stands in line: see sqlstore.Dialect.
const turn = "SELECT id FROM heartbeat WHERE id = 2 FOR UPDATE"

// Store is a metadata store in a database of a MySQL server.
type Store struct{ *sqlstore.Store }

var _ metastore.Store = (*Store)(nil)

// Open connects to the server and makes the tables, or brings them to the newest version; other processes that do so at the same time wait for
// each other. It gives metastore.ErrNewer when a newer program has used them. Later the server may go away and come back, at the same address.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open metadata store %s: %w", cfg, err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, cfg, files); err != nil {
		return nil, err
	}
	recalls := &atomic.Uint64{}
	write, err := pool(cfg, false, writers, recalls)
	if err != nil {
		return nil, err
	}
	read, err := pool(cfg, true, readers, recalls)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &Store{sqlstore.New(write, read, dialect(cfg.Log, cfg.outage))}, nil
}

// pool makes connections for Views or for Updates. On those for Views every transaction only reads, and has begun with its first statement: to ask for it would be one
// more round trip.
func pool(cfg Config, views bool, size int, recalls *atomic.Uint64) (*sql.DB, error) {
	isolation := serializable
	if views {
		isolation = snapshot
	}
	d, err := cfg.driverConfig(isolation)
	if err != nil {
		return nil, err
	}
	if views {
		d.Params["autocommit"], d.Params["transaction_read_only"] = "0", "1"
	}
	inner, err := gomysql.NewConnector(d)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(&connector{Connector: inner, recalls: recalls, begun: views, log: cfg.Log})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	db.SetConnMaxLifetime(maxLifetime)
	db.SetConnMaxIdleTime(maxIdle)
	return db, nil
}

func dialect(log *slog.Logger, outage time.Duration) sqlstore.Dialect {
	return sqlstore.Dialect{
		IsUnique:  isUnique,
		IsForeign: isForeign,
		IsRetry:   isLost,
		IsGone:    isGone,
		IsUnknown: isUnknown,
		Isolation: sql.LevelDefault, // the session's, which is serializable
		Turn:      turn,
		Outage:    outage,
		Retried: func(ctx context.Context, attempt int, err error) {
			level := slog.LevelDebug
			if attempt == 1 && isGone(err) {
				level = slog.LevelWarn
			}
			log.Log(ctx, level, "a transaction is run again", "op", "metastore", "attempt", attempt, "err", err)
		},
	}
}
