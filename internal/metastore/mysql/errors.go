package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	gomysql "github.com/go-sql-driver/mysql"
)

// What the server's error numbers mean. Source: MySQL 9.7 error message reference.

// lostNumbers: the transaction lost against another one.
func lostNumbers() []uint16 {
	return []uint16{
		1205, // ER_LOCK_WAIT_TIMEOUT: rolls back the statement only; sqlstore rolls back the rest
		1213, // ER_LOCK_DEADLOCK: rolled back
		3100, // ER_RUN_HOOK_ERROR: before the commit
		3101, // ER_TRANSACTION_ROLLBACK_DURING_COMMIT: group replication found it in conflict
	}
}

// readOnlyNumbers: the server takes no writes (now): it was made a replica, or is about to be.
func readOnlyNumbers() []uint16 {
	return []uint16{
		1290, // ER_OPTION_PREVENTS_STATEMENT: --read-only, --super-read-only
		1792, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
		1836, // ER_READ_ONLY_MODE
	}
}

// awayNumbers: the server has no time for this connection (now).
func awayNumbers() []uint16 {
	return []uint16{
		1040, // ER_CON_COUNT_ERROR: too many connections
		1053, // ER_SERVER_SHUTDOWN
		1203, // ER_TOO_MANY_USER_CONNECTIONS
		1226, // ER_USER_LIMIT_REACHED: the same, for an account with a limit of its own
		3032, // ER_SERVER_OFFLINE_MODE
		3169, // ER_SESSION_WAS_KILLED
		4031, // ER_CLIENT_INTERACTION_TIMEOUT: nothing was heard of us for sessionTimeout
	}
}

// doneNumbers: a step of a migration that had been taken before.
func doneNumbers() []uint16 {
	return []uint16{
		1050, // ER_TABLE_EXISTS_ERROR
		1051, // ER_BAD_TABLE_ERROR: no such table to drop
		1060, // ER_DUP_FIELDNAME
		1061, // ER_DUP_KEYNAME
		1091, // ER_CANT_DROP_FIELD_OR_KEY: not there
		1826, // ER_FK_DUP_NAME
	}
}

const (
	noSuchTable    = 1146 // ER_NO_SUCH_TABLE
	duplicateEntry = 1062 // ER_DUP_ENTRY
	interaction    = 4031 // ER_CLIENT_INTERACTION_TIMEOUT
)

func number(err error) uint16 {
	var e *gomysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0 // which is no error's
}

func isUnique(err error) bool { return number(err) == duplicateEntry }

func isForeign(err error) bool {
	n := number(err)
	return n == 1216 || n == 1452 // ER_NO_REFERENCED_ROW, ER_NO_REFERENCED_ROW_2
}

func isLost(err error) bool     { return slices.Contains(lostNumbers(), number(err)) }
func isReadOnly(err error) bool { return slices.Contains(readOnlyNumbers(), number(err)) }
func isDone(err error) bool     { return slices.Contains(doneNumbers(), number(err)) }

// isGone reports that the server or the connection was lost. What ends with the caller's own context is none of it.
func isGone(err error) bool {
	if n := number(err); n != 0 {
		return slices.Contains(awayNumbers(), n) || isReadOnly(err)
	}
	for _, target := range []error{
		driver.ErrBadConn, gomysql.ErrInvalidConn, gomysql.ErrMalformPkt, gomysql.ErrPktSync, gomysql.ErrPktSyncMul, gomysql.ErrBusyBuffer,
		io.EOF, io.ErrUnexpectedEOF, io.ErrShortWrite, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	var dial *net.OpError
	var name *net.DNSError
	return errors.As(err, &dial) || errors.As(err, &name)
}

// isUnknown reports that a COMMIT may have been carried out in spite of its error. Only what is known to come before it, or to have
// rolled it back, says that it was not.
func isUnknown(err error) bool {
	switch {
	case errors.Is(err, driver.ErrBadConn): // the driver's word for: nothing was sent
		return false
	case errors.Is(err, sql.ErrTxDone), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false // database/sql, and the driver, end a transaction with its context before they commit, not while
	case isLost(err), isReadOnly(err), number(err) == interaction: // the server hung up before it was asked
		return false
	default:
		return true
	}
}

// withoutValues takes what may come from a row out of a server's error: secrets and hashes of tokens are in rows, and errors are logged.
func withoutValues(err error) error {
	var e *gomysql.MySQLError
	if !errors.As(err, &e) || !tellsValues(e) {
		return err
	}
	clean := *e
	first, last := strings.IndexByte(e.Message, '\''), strings.LastIndexByte(e.Message, '\'')
	if e.Number == duplicateEntry {
		if at := strings.LastIndex(e.Message, " for key "); at > first {
			last = at - 1 // the key's name may stay
		}
	}
	if first >= 0 && last > first {
		clean.Message = e.Message[:first] + "(a value)" + e.Message[last+1:]
	}
	return &clean
}

// tellsValues: the classes of data exceptions and constraint violations do, and what quotes the statement.
func tellsValues(e *gomysql.MySQLError) bool {
	switch string(e.SQLState[:2]) {
	case "22", "23":
		return true
	}
	return slices.Contains([]uint16{
		1064, // ER_PARSE_ERROR
		1149, // ER_SYNTAX_ERROR
		1300, // ER_INVALID_CHARACTER_STRING
		1366, // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD
		1411, // ER_WRONG_VALUE_FOR_TYPE
		1525, // ER_WRONG_VALUE
	}, e.Number)
}
