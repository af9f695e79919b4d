package admin

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/protocol"
)

// Sentinels: what an Error is of.
var (
	ErrNotFound = errors.New("admin: not found")
	ErrExists   = errors.New("admin: exists")
	ErrInvalid  = errors.New("admin: invalid")
	ErrNotReady = errors.New("admin: the database does not serve now")
	ErrInternal = errors.New("admin: internal")
)

var codes = map[error]string{
	ErrNotFound: protocol.CodeNotFound,
	ErrExists:   protocol.CodeExists,
	ErrInvalid:  protocol.CodeInvalid,
	ErrNotReady: protocol.CodeNotReady,
	ErrInternal: protocol.CodeInternal,
}

// Error carries a code that crosses the bus, and words for the user.
type Error struct {
	Kind  error // one of the sentinels
	Text  string
	Cause error // nil when Text says it all
}

var _ bus.Coder = (*Error)(nil)

func (e *Error) Error() string { return e.Text }

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// ErrorCode is one of protocol.Code*.
func (e *Error) ErrorCode() string { return codes[e.Kind] }

func failf(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Numbers of MySQL's errors that mean something to Huker. Source: mysql-9.7 messages_to_clients.txt.
const (
	erTooManyConnections = 1040
	erAccessDenied       = 1045
	erDatabaseExists     = 1007
	erDatabaseMissing    = 1008
	erServerShutdown     = 1053
	erTooLongIdent       = 1059
	erWrongDatabaseName  = 1102
	erUnknownCharset     = 1115
	erNoSuchThread       = 1094
	erNoSuchGrant        = 1141
	erLockWait           = 1205
	erCollationMismatch  = 1253
	erUnknownCollation   = 1273
	erReadOnly           = 1290
	erCannotUser         = 1396
	erUnknownUserGrant   = 1410
	erWrongStringLength  = 1470
	erNotValidPassword   = 1819
	erMustChangePassword = 1862
	erOfflineMode        = 3032
	erAccountLocked      = 3118
	erNoSuchUser         = 3162
	erUnknownVariable    = 1193
	erNotDynamic         = 1238
)

var kinds = map[uint16]error{
	erDatabaseExists: ErrExists, erDatabaseMissing: ErrNotFound, erNoSuchGrant: ErrNotFound, erUnknownUserGrant: ErrNotFound,
	erNoSuchUser: ErrNotFound, erTooLongIdent: ErrInvalid, erWrongDatabaseName: ErrInvalid, erUnknownCharset: ErrInvalid,
	erCollationMismatch: ErrInvalid, erUnknownCollation: ErrInvalid, erWrongStringLength: ErrInvalid,
	erNotValidPassword: ErrInvalid, erTooManyConnections: ErrNotReady, erServerShutdown: ErrNotReady, erLockWait: ErrNotReady,
	erReadOnly: ErrNotReady, erOfflineMode: ErrNotReady,
}

// translate gives a server's or a connection's error a kind, and removes secret from its words: a server may quote the statement
// that it did not understand.
func translate(op string, err error, secret string) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	text := err.Error()
	if secret != "" {
		text = strings.ReplaceAll(text, secret, "***")
	}
	kind := ErrInternal
	var me *mysql.MySQLError
	switch {
	case errors.As(err, &me):
		if k, ok := kinds[me.Number]; ok {
			kind = k
		}
	case lost(err):
		kind = ErrNotReady
	}
	e := &Error{Kind: kind, Text: op + ": " + text}
	if secret == "" { // a cause could be printed by someone, secret and all
		e.Cause = err
	}
	return e
}

// lost reports whether err means that the connection, and not the statement, failed.
func lost(err error) bool {
	var ne net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &ne)
}
