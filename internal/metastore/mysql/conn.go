package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// rawConn is what the driver's connections can do, and database/sql uses.
type rawConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
}

// connector makes the connections of one pool.
type connector struct {
	driver.Connector
	recalls *atomic.Uint64 // raised to have every connection made before thrown away; shared by all pools of a store
	begun   bool           // its connections' transactions begin with their first statement

	// For migrations: one connection and no other in its place, as a lock is held by it; and statements that were carried out before.
	only      bool
	connected atomic.Bool
	tolerant  bool
	log       *slog.Logger
}

var errOnlyOne = errors.New("the connection was lost on the way")

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.only && c.connected.Swap(true) {
		return nil, errOnlyOne
	}
	made := c.recalls.Load() // before it is made: a recall meanwhile is meant for it, too
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	raw, ok := conn.(rawConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T cannot do all that is needed", conn), conn.Close())
	}
	return &session{rawConn: raw, home: c, made: made}, nil
}

// session is one connection. It sees every error, of which some mean that the connection, or all of them, are good for nothing any more.
type session struct {
	rawConn
	home *connector
	made uint64
}

// errTooLarge is all that can have the driver prepare a statement.
var errTooLarge = errors.New("the statement and its values are larger than one packet may be")

// Prepare refuses: whatever is not too large goes as one statement.
func (s *session) Prepare(string) (driver.Stmt, error) { return nil, errTooLarge }

// Close implements driver.Conn. A connection that cannot take its leave any more is closed all the same.
func (s *session) Close() error {
	_ = s.rawConn.Close()
	return nil
}

// ExecContext implements driver.ExecerContext.
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.rawConn.ExecContext(ctx, query, args)
	if err != nil && s.home.tolerant && isDone(err) {
		s.home.log.Info("a step of a migration had been taken before", "op", "metastore.migrate", "step", err.Error())
		return driver.RowsAffected(0), nil
	}
	return r, s.seen(err)
}

// QueryContext implements driver.QueryerContext.
func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.rawConn.QueryContext(ctx, query, args)
	return rows, s.seen(err)
}

// BeginTx implements driver.ConnBeginTx.
func (s *session) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if s.home.begun {
		return sessionTx{begun{s.rawConn}, s}, nil
	}
	tx, err := s.rawConn.BeginTx(ctx, o)
	if err != nil {
		return nil, s.seen(err)
	}
	return sessionTx{tx, s}, nil
}

// begun is a transaction that needs no statement to begin.
type begun struct{ conn rawConn }

func (t begun) Commit() error   { return t.end("COMMIT") }
func (t begun) Rollback() error { return t.end("ROLLBACK") }

func (t begun) end(statement string) error {
	_, err := t.conn.ExecContext(context.Background(), statement, nil) // as the driver does; the connection's timeouts bound it
	return err
}

type sessionTx struct {
	driver.Tx
	s *session
}

func (t sessionTx) Commit() error   { return t.s.seen(t.Tx.Commit()) }
func (t sessionTx) Rollback() error { return t.s.seen(t.Tx.Rollback()) }

// seen looks at what a statement came to. A server that does not write any more has handed over to another one, and every connection to it has
// to go: a View on one of them would read what was true before.
func (s *session) seen(err error) error {
	if isReadOnly(err) {
		s.home.recalls.CompareAndSwap(s.made, s.made+1) // once for all connections of the same age
	}
	return withoutValues(err)
}

func (s *session) recalled() bool { return s.made != s.home.recalls.Load() }

// ResetSession implements driver.SessionResetter: it is asked before a connection of the pool is used again.
func (s *session) ResetSession(ctx context.Context) error {
	if s.recalled() {
		return driver.ErrBadConn
	}
	return s.rawConn.ResetSession(ctx)
}

// IsValid implements driver.Validator: it is asked before a connection goes back to the pool.
func (s *session) IsValid() bool { return !s.recalled() && s.rawConn.IsValid() }
