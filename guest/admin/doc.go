// Package admin is what Huker does inside a MySQL server by SQL: databases, users, rights, root, logs, settings that can
// change live, and the gate that keeps clients out until a server's role is known.
//
// It owns the statements, the rules for names and their quoting, and the errors in the words of its callers. It must not know
// who asks, what a role is, or where files of a guest lie.
package admin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Server is one MySQL server, entered as the agent's account.
type Server struct {
	db   *sql.DB
	logs map[string]string
}

// Logs are the paths of mysqld's logs.
type Logs struct {
	Error, SlowQuery, General string
}

// New takes a pool made by Dial. The pool stays the caller's to close.
func New(db *sql.DB, logs Logs) *Server {
	return &Server{db: db, logs: map[string]string{LogError: logs.Error, LogSlowQuery: logs.SlowQuery, LogGeneral: logs.General}}
}

// Login is how a server is entered by its socket.
type Login struct {
	Socket   string
	User     string
	Password string
	// Local keeps everything done in these sessions out of the binary log: for accounts that belong to one server alone.
	Local bool
}

// A session's limits. lockWait is short enough that a caller hears of a lock that a client holds before its own patience ends.
const (
	lockWait    = 20 * time.Second
	connectWait = 30 * time.Second
)

// Dial makes a pool of at most n connections; it connects only when it is used. Its sessions do not depend on the server's
// global defaults, which users may change: an ANSI_QUOTES or a sql_select_limit there must not change what Huker's statements mean.
func Dial(l Login, n int) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "unix", l.Socket, l.User, l.Password
	c.Timeout = connectWait
	c.InterpolateParams = true // one round trip; and passwords never become parameters of a prepared statement, which the server logs
	c.Logger = discard{}       // the driver's own lines repeat errors that are returned as well
	c.Params = map[string]string{
		"sql_mode":              "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
		"autocommit":            "1",
		"sql_select_limit":      "18446744073709551615",
		"transaction_read_only": "0",
		"max_execution_time":    "0",
		"lock_wait_timeout":     fmt.Sprint(int(lockWait / time.Second)),
		"wait_timeout":          "31536000",
	}
	if l.Local {
		c.Params["sql_log_bin"] = "0"
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(n)
	// Kept open for ever: when users take up all connections, the ones already held are the agent's only way in.
	db.SetMaxIdleConns(min(n, 2))
	return db, nil
}

type discard struct{}

func (discard) Print(...any) {}

// Denied reports whether err means that the server did not accept the account: unknown, wrong password, or locked.
func Denied(err error) bool {
	return isNumber(err, erAccessDenied, erAccountLocked, erMustChangePassword)
}

// Absent reports whether err means that no server answered, or that it went away meanwhile.
func Absent(err error) bool { return lost(err) || errors.Is(err, ErrNotReady) }

// Ping waits until the server answers.
func (s *Server) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// run runs statements one after the other, until one fails.
func (s *Server) run(ctx context.Context, op string, statements ...statement) error {
	for _, st := range statements {
		if _, err := s.db.ExecContext(ctx, st.text, st.args...); err != nil {
			return translate(op, err, st.secret)
		}
	}
	return nil
}

// statement is SQL with its values; secret is cut out of any error that repeats it.
type statement struct {
	text   string
	args   []any
	secret string
}

func stmt(text string, args ...any) statement { return statement{text: text, args: args} }

func (st statement) hiding(secret string) statement { st.secret = secret; return st }

// isNumber reports whether err is one of MySQL's errors with one of these numbers.
func isNumber(err error, numbers ...uint16) bool {
	var me *mysql.MySQLError
	if !errors.As(err, &me) {
		return false
	}
	for _, n := range numbers {
		if me.Number == n {
			return true
		}
	}
	return false
}
