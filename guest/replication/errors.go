package replication

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"
)

var (
	// ErrRefused is an act that would lose what was acknowledged: the server is not in the state that it is for.
	ErrRefused = errors.New("replication: refused")
	// ErrPending is an act that was begun and goes on: look at the status, or ask again.
	ErrPending = errors.New("replication: it goes on in the background")
	// ErrUnknownMember means that nobody said where a member is.
	ErrUnknownMember = errors.New("replication: the member's address is not known")
	// ErrInstance is the name of an instance that is no UUID.
	ErrInstance = errors.New("replication: an instance goes by a UUID")

	errReadOnlyStays = errors.New("it stays read-only")
)

// Numbers of MySQL's errors that mean something here. Source: mysql-9.7 messages_to_clients.txt and messages_to_error_log.txt.
const (
	erBadDatabase      = 1049
	erNoSuchThread     = 1094
	erLockWaitTimeout  = 1205
	erNoSuchTable      = 1146
	erQueryInterrupted = 1317
	erRestartFailed    = 3707 // the end of a clone where mysqld has no supervisor
)

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

// lost reports whether err means that the connection, and not the statement, failed.
func lost(err error) bool {
	var ne net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &ne)
}
