package replication

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
)

// session is a connection that is kept: while a user's CREATE USER waits for acknowledgements, nobody can sign in.
type session struct {
	db    *sql.DB
	setup string
	turn  chan struct{} // of capacity 1
	conn  *sql.Conn
	id    uint64 // of the connection
	lost  bool   // one was had and lost, since fresh was last asked
}

func newSession(db *sql.DB, setup string) *session {
	return &session{db: db, setup: setup, turn: make(chan struct{}, 1)}
}

// use runs f with the connection, which is opened if there is none. One on which a statement did not come to its end is given up.
func (s *session) use(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.conn == nil {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	err := f(ctx, s.conn)
	if err != nil && lost(err) {
		s.drop()
	}
	return err
}

// open takes a connection out of the pool and prepares it.
func (s *session) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	err = run(ctx, conn, s.setup)
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&s.id)
	}
	if err != nil {
		discard(conn)
		return fmt.Errorf("prepare a session: %w", err)
	}
	s.conn = conn
	return nil
}

// drop gives the connection up; to be called from within use.
func (s *session) drop() {
	if s.conn != nil {
		discard(s.conn)
		s.conn, s.lost = nil, true
	}
}

// fresh says whether a connection was lost since it was last asked; to be called from within use.
func (s *session) fresh() bool {
	was := s.lost
	s.lost = false
	return was
}

func (s *session) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.drop()
}

// discard closes a connection for good: it is not what others of its pool are.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // which is what has the pool drop it
	_ = conn.Close()                                           // closed already
}

func run(ctx context.Context, conn executor, text string, args ...any) error {
	if _, err := conn.ExecContext(ctx, text, args...); err != nil {
		return fmt.Errorf("%s: %w", firstWords(text), err)
	}
	return nil
}

// executor is a *sql.Conn or a *sql.DB.
type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// firstWords name a statement in an error, without its values.
func firstWords(text string) string {
	const most = 60
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
