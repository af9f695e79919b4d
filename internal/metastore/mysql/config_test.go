package mysql_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"testing"

	gomysql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
)

func TestConfigIsChecked(t *testing.T) {
	for address, secure := range map[string]bool{ // whether it may be used without TLS
		"127.0.0.1:3306": true, "127.1.2.3:3306": true, "[::1]:3306": true, "localhost:3306": true, "/run/mysqld/mysqld.sock": true,
		"10.0.0.1:3306": false, "db.example.org:3306": false, "[2001:db8::1]:3306": false, "0.0.0.0:3306": false, "localhost.example.org:3306": false,
	} {
		c := mysql.Config{Address: address, User: "u", Database: "d"}
		if secure {
			require.NoError(t, c.Check(), address)
		} else {
			require.ErrorContains(t, c.Check(), "TLS is needed", address)
			_, err := mysql.Open(t.Context(), c)
			require.ErrorContains(t, err, "TLS is needed")
		}
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		require.NoError(t, c.Check(), address)
	}
	for _, address := range []string{"", "host", ":3306", "host:", "relative/mysqld.sock", "a:b:c", "mysql://host:3306"} {
		require.ErrorContains(t, mysql.Config{Address: address, User: "u", Database: "d"}.Check(), "neither HOST:PORT", address)
	}
	err := mysql.Config{}.Check()
	for _, what := range []string{"address", "no user", "no database"} {
		require.ErrorContains(t, err, what)
	}
}

// TestPasswordIsKeptQuiet: whatever is done with a configuration, and whatever goes wrong with it.
func TestPasswordIsKeptQuiet(t *testing.T) {
	const password = "open sesame"
	c := mysql.Config{Address: "127.0.0.1:1", User: "u", Password: password, Database: "d"}
	var log bytes.Buffer
	c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.Log.Info("config", "config", c, "pointer", &c)
	_, err := mysql.Open(t.Context(), c)
	require.ErrorContains(t, err, "127.0.0.1:1")
	for _, said := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), fmt.Sprintf("%v %+v", &c, []mysql.Config{c}), log.String(), err.Error(),
	} {
		require.NotContains(t, said, password)
	}
}

// TestWrongLogins: each is told for what it is, at once.
func TestWrongLogins(t *testing.T) {
	s := server(t)
	right := config(s.Socket(), s.Database(t))
	for want, change := range map[string]func(*mysql.Config){
		"Access denied":          func(c *mysql.Config) { c.Password = "wrong" },
		"no such file":           func(c *mysql.Config) { c.Address += "x" },
		"Access denied for user": func(c *mysql.Config) { c.Database = "mysql" },
		"for user 'nobody'":      func(c *mysql.Config) { c.User = "nobody" },
		"invalid connection": func(c *mysql.Config) {
			c.Address = s.Proxy(t, func(string) mysqltest.Fate { return mysqltest.CutBefore })
		},
		"neither HOST:PORT nor the": func(c *mysql.Config) { c.Address = "mysqld.sock" },
	} {
		c := right
		change(&c)
		_, err := mysql.Open(t.Context(), c)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), right.Password)
	}
}

func TestTLS(t *testing.T) {
	s := server(t)
	l := s.Database(t)
	_, err := s.Root.ExecContext(t.Context(), "ALTER USER "+l.User+"@localhost REQUIRE SSL")
	require.NoError(t, err)
	_, err = mysql.Open(t.Context(), config(s.Socket(), l))
	require.ErrorContains(t, err, "Access denied", "the server must want TLS, or this shows nothing")

	c := config(s.TCP(t), l)
	c.TLS = s.TLS()
	st := openAt(t, c)
	require.NoError(t, st.Ping(t.Context()))
	rows, err := s.Root.QueryContext(t.Context(), `SELECT s.variable_value FROM performance_schema.status_by_thread s
		JOIN performance_schema.threads t USING (thread_id) WHERE t.processlist_user = ? AND s.variable_name = 'Ssl_version'`, l.User)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	connections := 0
	for ; rows.Next(); connections++ {
		var version string
		require.NoError(t, rows.Scan(&version))
		require.Contains(t, []string{"TLSv1.2", "TLSv1.3"}, version)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 2, connections, "one of each pool")

	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12} // trusts the machine's authorities
	_, err = mysql.Open(t.Context(), c)
	require.ErrorContains(t, err, "unknown authority")
	c.TLS = s.TLS()
	c.TLS.ServerName = "metadata.example.org"
	_, err = mysql.Open(t.Context(), c)
	require.ErrorContains(t, err, "metadata.example.org")
}

// TestSessions: what the store rests on is set for each connection, whatever the server's defaults.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t) // of its own
	for _, setting := range []string{
		"transaction_isolation = 'READ-UNCOMMITTED'", "sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'", "time_zone = '+05:30'", "character_set_server = 'latin1'",
		"wait_timeout = 28800", "innodb_lock_wait_timeout = 50", "collation_connection = 'latin1_swedish_ci'", "character_set_client = 'latin1'",
		"transaction_read_only = 1",
	} {
		_, err := s.Root.ExecContext(t.Context(), "SET GLOBAL "+setting)
		require.NoError(t, err)
	}
	l := s.Database(t)
	st := openAt(t, config(s.Socket(), l))
	require.NoError(t, st.Ping(t.Context()))
	want := map[string]string{
		"sql_mode": "ONLY_FULL_GROUP_BY,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "time_zone": "+00:00", "wait_timeout": "60", "innodb_lock_wait_timeout": "5",
		"lock_wait_timeout": "5", "collation_connection": "utf8mb4_0900_bin", "character_set_client": "utf8mb4", "character_set_results": "utf8mb4",
		"foreign_key_checks": "ON", "unique_checks": "ON",
	}
	apart := map[int64]string{} // what sets the two pools apart, by connection
	rows, err := s.Root.QueryContext(t.Context(), `SELECT v.thread_id, v.variable_name, v.variable_value FROM performance_schema.variables_by_thread v
		JOIN performance_schema.threads t USING (thread_id) WHERE t.processlist_user = ? ORDER BY v.variable_name`, l.User)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var thread int64
		var name, value string
		require.NoError(t, rows.Scan(&thread, &name, &value))
		if w, ok := want[name]; ok {
			require.Equal(t, w, value, name)
		}
		switch name {
		case "autocommit", "transaction_isolation", "transaction_read_only":
			apart[thread] += name + " " + value + "; "
		}
	}
	require.NoError(t, rows.Err())
	require.ElementsMatch(t, []string{
		"autocommit ON; transaction_isolation SERIALIZABLE; transaction_read_only OFF; ",
		"autocommit OFF; transaction_isolation REPEATABLE-READ; transaction_read_only ON; ",
	}, slices.Collect(maps.Values(apart)))
}

// TestLossyServerIsNamed: a server that acknowledges what it has not flushed.
func TestLossyServerIsNamed(t *testing.T) {
	s := server(t)
	warned := func() bool {
		var log bytes.Buffer
		c := config(s.Socket(), s.Database(t))
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		openAt(t, c)
		return bytes.Contains(log.Bytes(), []byte("may lose acknowledged writes"))
	}
	require.False(t, warned())
	_, err := s.Root.ExecContext(t.Context(), "SET GLOBAL sync_binlog = 0")
	require.NoError(t, err)
	defer func() {
		_, err := s.Root.ExecContext(context.WithoutCancel(t.Context()), "SET GLOBAL sync_binlog = 1")
		require.NoError(t, err)
	}()
	require.True(t, warned())
}

func serverError(number uint16, state, message string) error {
	e := &gomysql.MySQLError{Number: number, Message: message}
	copy(e.SQLState[:], state)
	return e
}

func TestErrorsWithoutValues(t *testing.T) {
	for _, c := range []struct {
		number             uint16
		state, said, wants string
	}{
		{1062, "23000", "Duplicate entry 's3cret' for key 'tokens.PRIMARY'", "Duplicate entry (a value) for key 'tokens.PRIMARY'"},
		{1062, "23000", "Duplicate entry 'it's for key 's3cret'' for key 'tokens.PRIMARY'", "Duplicate entry (a value) for key 'tokens.PRIMARY'"},
		{1366, "HY000", "Incorrect string value: 's3cret' for column 'x' at row 1", "Incorrect string value: (a value) at row 1"},
		{1064, "42000", "You have an error near 's3cret' at line 1", "You have an error near (a value) at line 1"},
		{1406, "22001", "Data too long for column 'name' at row 1", "Data too long for column (a value) at row 1"},
		{1292, "22007", "Truncated incorrect INTEGER value: 's3cret'", "Truncated incorrect INTEGER value: (a value)"},
		{1045, "28000", "Access denied for user 'u'@'h'", "Access denied for user 'u'@'h'"},
		{1452, "23000", "a foreign key constraint fails (`d`.`tokens`)", "a foreign key constraint fails (`d`.`tokens`)"},
	} {
		err := mysql.WithoutValues(fmt.Errorf("wrapped: %w", serverError(c.number, c.state, c.said)))
		require.ErrorContains(t, err, c.wants)
		require.NotContains(t, err.Error(), "s3cret")
	}
	require.NoError(t, mysql.WithoutValues(nil))
	require.Equal(t, io.EOF, mysql.WithoutValues(io.EOF))
}

// TestWhatErrorsMean: of a statement, whether the transaction can be run again on another connection; of a commit, whether it may have taken place.
func TestWhatErrorsMean(t *testing.T) {
	for name, c := range map[string]struct {
		err           error
		gone, unknown bool
	}{
		"nothing was sent":      {driver.ErrBadConn, true, false},
		"connection lost":       {gomysql.ErrInvalidConn, true, true},
		"end of file":           {io.EOF, true, true},
		"timeout":               {&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, true, true},
		"reset":                 {&net.OpError{Op: "read", Err: io.ErrUnexpectedEOF}, true, true},
		"no such host":          {&net.DNSError{}, true, true},
		"read-only":             {serverError(1290, "HY000", ""), true, false},
		"read-only mode":        {serverError(1836, "HY000", ""), true, false},
		"read-only transaction": {serverError(1792, "25006", ""), true, false},
		"shut down":             {serverError(1053, "08S01", ""), true, true},
		"offline":               {serverError(3032, "HY000", ""), true, true},
		"idle for too long":     {serverError(4031, "HY000", ""), true, false},
		"deadlock":              {serverError(1213, "40001", ""), false, false},
		"lock wait":             {serverError(1205, "HY000", ""), false, false},
		"group replication":     {serverError(3101, "40000", ""), false, false},
		"interrupted":           {serverError(1317, "70100", ""), false, true},
		"error in a commit":     {serverError(1180, "HY000", ""), false, true},
		"caller gave up":        {context.Canceled, false, false},
		"caller had no time":    {context.DeadlineExceeded, false, false},
		"rolled back before":    {sql.ErrTxDone, false, false},
		"a key that is taken":   {serverError(1062, "23000", ""), false, true},
	} {
		err := fmt.Errorf("wrapped: %w", c.err)
		require.Equal(t, c.gone, mysql.IsGone(err), name)
		require.Equal(t, c.unknown, mysql.IsUnknown(err), name)
	}
}
