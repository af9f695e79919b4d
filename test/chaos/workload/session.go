package workload

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/huker/huker/test/chaos/check"
)

// How long a client waits. Who waits longer hides a failover, and who waits less takes a slow answer for none.
const (
	ConnectTimeout = time.Second
	AnswerTimeout  = 5 * time.Second
)

// Endpoint is where, and as whom, to connect.
type Endpoint struct {
	Address                  string // HOST:PORT
	User, Password, Database string
	TLS                      *tls.Config                                             // nil: what the server offers, not verified
	Dial                     func(context.Context, string, string) (net.Conn, error) // nil: from here
	Answer                   time.Duration                                           // 0: AnswerTimeout
}

// Connector makes connections to the endpoint.
func (e Endpoint) Connector() (driver.Connector, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = e.User, e.Password, "tcp", e.Address, e.Database
	c.Timeout, c.ReadTimeout, c.WriteTimeout = ConnectTimeout, AnswerTimeout, AnswerTimeout
	if e.Answer > 0 {
		c.ReadTimeout, c.WriteTimeout = e.Answer, e.Answer
	}
	c.InterpolateParams = true // one round trip for each statement
	c.TLS = e.TLS
	if e.TLS == nil {
		c.TLSConfig = "preferred"
	}
	if e.Dial != nil {
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, ConnectTimeout) // the driver gives its own dialer the timeout, and nobody else
			defer cancel()
			return e.Dial(ctx, network, address)
		}
	}
	c.Logger = quiet{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", e.Address, err)
	}
	return connector, nil
}

// quiet keeps the driver from writing what is expected here all the time.
type quiet struct{}

func (quiet) Print(v ...any) { slog.Debug(fmt.Sprint(v...), "op", "driver") }

// Session is one client with one connection at most. After an error it connects anew. It is not for several goroutines.
type Session struct {
	db   *sql.DB
	conn *sql.Conn
}

// NewSession does not connect yet.
func NewSession(c driver.Connector) *Session {
	s := &Session{db: sql.OpenDB(c)}
	s.db.SetMaxIdleConns(-1) // a connection is used as long as it is well, and never again
	return s
}

// Close ends it.
func (s *Session) Close() {
	s.drop()
	_ = s.db.Close()
}

func (s *Session) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// connect gets a connection. What fails here was never sent.
func (s *Session) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout+AnswerTimeout) // the handshake has AnswerTimeout for each answer
	defer cancel()
	var err error
	s.conn, err = s.db.Conn(ctx)
	return err
}

// Exec runs a statement that commits by itself, and says what is known of it.
func (s *Session) Exec(ctx context.Context, query string, args ...any) (check.Outcome, error) {
	if err := s.connect(ctx); err != nil {
		return check.Refused, err
	}
	_, err := s.conn.ExecContext(ctx, query, args...)
	return s.outcome(err), err
}

// Transact runs a transaction. What fails before it was told to commit is not committed.
func (s *Session) Transact(ctx context.Context, f func(context.Context, *sql.Conn) error) (check.Outcome, error) {
	if err := s.connect(ctx); err != nil {
		return check.Refused, err
	}
	_, err := s.conn.ExecContext(ctx, begin)
	if err == nil {
		err = f(ctx, s.conn)
	}
	if err != nil {
		s.drop()
		return check.Refused, err
	}
	_, err = s.conn.ExecContext(ctx, commit)
	return s.outcome(err), err
}

// Query reads integers and strings of one row, or of none, as they come.
func (s *Session) Query(ctx context.Context, to []any, query string, args ...any) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	err := s.conn.QueryRowContext(ctx, query, args...).Scan(to...)
	if err != nil {
		s.drop()
	}
	return err
}

const (
	begin  = "START TRANSACTION"
	commit = "COMMIT"
)

// outcome ends the connection unless all is well.
func (s *Session) outcome(err error) check.Outcome {
	if err != nil {
		s.drop()
	}
	return Judge(err)
}

// refusals are the server's answers that say that nothing was done. Any other error may come when a commit is already on its way: for one, a session that is
// killed while it waits for an acknowledgement gets an error, and the commit stands.
var refusals = []uint16{
	1044, 1045, 1049, 1142, 1146, // access denied; no such database or table
	1114,       // the table is full
	1205, 1213, // a lock was waited for too long; a deadlock
	1290, 1836, // read only
	3098, 3101, // Group Replication: not allowed; rolled back during commit
}

// Judge says what is known of a statement that ended with an error.
func Judge(err error) check.Outcome {
	var answer *mysql.MySQLError
	switch {
	case err == nil:
		return check.OK
	case errors.Is(err, driver.ErrBadConn): // the driver says so only when it has sent nothing
		return check.Refused
	case errors.As(err, &answer) && slices.Contains(refusals, answer.Number):
		return check.Refused
	}
	return check.Unknown
}

// Shut says whether an error is a server's answer that lets nobody in: in offline mode, or shutting down.
func Shut(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && (answer.Number == 3032 || answer.Number == 1053)
}

// prepare runs statements until they are done once, by connections of its own.
func prepare(ctx context.Context, c driver.Connector, statements ...string) error {
	s := NewSession(c)
	defer s.Close()
	for _, q := range statements {
		for {
			_, err := s.Exec(ctx, q)
			if err == nil {
				break
			}
			if Wait(ctx, 100*time.Millisecond) != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
	}
	return nil
}

// Wait waits for d, or until ctx ends: then it says so.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// all reads a column of integers.
func (s *Session) all(ctx context.Context, query string, args ...any) ([]int64, error) {
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	list, err := func() (_ []int64, err error) {
		rows, err := s.conn.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		var list []int64
		for rows.Next() {
			var v int64
			if err := rows.Scan(&v); err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, rows.Err()
	}()
	if err != nil {
		s.drop()
		return nil, err
	}
	return list, nil
}
