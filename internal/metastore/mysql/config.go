package mysql

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	gomysql "github.com/go-sql-driver/mysql"
)

const (
	// writers and readers are how many Updates and Views run at once. Each has a pool of its own, so that neither can keep the other from
	// a connection, not even a View inside an Update. A server's default of 151 connections is enough for nine processes.
	writers = 8
	readers = 8
	// maxLifetime of a connection: what changes in front of the server (an address that moved, a proxy) is noticed after that at the latest.
	maxLifetime = 3 * time.Minute
	// maxIdle is well below what the server grants (sessionTimeout), so that it is this side that hangs up.
	maxIdle = sessionTimeout / 2
	// dialTimeout bounds the wait for a server that does not answer at all.
	dialTimeout = 5 * time.Second
	// ioTimeout bounds the wait for the answer to one statement, the commit included. It is longer than lockWait, so that a wait for a lock ends
	// with an error that says so.
	ioTimeout = 15 * time.Second
	// lockWait bounds the wait for one lock; the transaction is then run again.
	lockWait = 5 * time.Second
	// sessionTimeout is how long the server waits for the next statement before it gives a connection up, and its locks with it: a process
	// that hangs in the middle of a transaction, or is cut off, must not stop all others for the eight hours that are the server's default.
	sessionTimeout = time.Minute
)

// Config says which database to use, and as whom.
type Config struct {
	Address  string // host:port, or the absolute path of a socket
	User     string // with all rights on Database, and on nothing else
	Password string
	Database string      // must be there; empty, or made by Huker
	TLS      *tls.Config // needed unless Address is a socket or a loopback address; the server's certificate must be for the host of Address, or for ServerName
	Log      *slog.Logger

	outage time.Duration // see sqlstore.Dialect; for tests
}

// String gives no password.
func (c Config) String() string {
	return fmt.Sprintf("mysql://%s@%s/%s", c.User, c.Address, c.Database)
}

// GoString gives no password either.
func (c Config) GoString() string { return c.String() }

// LogValue implements slog.LogValuer, without the password.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Check says what is wrong with a configuration, all of it.
func (c Config) Check() error {
	var errs []error
	network, local, err := c.network()
	switch {
	case err != nil:
		errs = append(errs, err)
	case network == "tcp" && !local && c.TLS == nil:
		errs = append(errs, fmt.Errorf("%s is not on this machine: TLS is needed", c.Address))
	}
	if c.User == "" {
		errs = append(errs, errors.New("no user"))
	}
	if c.Database == "" {
		errs = append(errs, errors.New("no database"))
	}
	return errors.Join(errs...)
}

// network says how Address is dialled, and whether that stays on this machine.
func (c Config) network() (network string, local bool, err error) {
	if filepath.IsAbs(c.Address) {
		return "unix", true, nil
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return "", false, fmt.Errorf("address %q is neither HOST:PORT nor the absolute path of a socket", c.Address)
	}
	ip := net.ParseIP(host)
	return "tcp", host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// The isolation levels that connections are made with, rather than asked for by each transaction, which would be one more round trip.
const (
	// serializable: every read of an Update takes a shared lock, on the gaps between rows too, so that what was read stays true until the commit. Two
	// that read the same and then write it lose one against the other (a deadlock), and that one is run again.
	serializable = "SERIALIZABLE"
	// snapshot is what a View needs: it reads what was committed when it began, takes no locks and waits for nobody.
	snapshot = "REPEATABLE-READ"
)

// driverConfig is how connections are made. Every setting of the server that the store depends on is set here for the session, whatever the
// server's own is.
func (c Config) driverConfig(isolation string) (*gomysql.Config, error) {
	network, _, err := c.network()
	if err != nil {
		return nil, err
	}
	cfg := gomysql.NewConfig()
	cfg.Net, cfg.Addr = network, c.Address
	cfg.User, cfg.Passwd, cfg.DBName = c.User, c.Password, c.Database
	if c.TLS != nil {
		cfg.TLS = c.TLS.Clone()
		cfg.TLS.MinVersion = max(cfg.TLS.MinVersion, tls.VersionTLS12)
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = dialTimeout, ioTimeout, ioTimeout
	cfg.Logger = driverLog{c.Log}
	cfg.AllowNativePasswords = false // SHA-1; servers of today have none, and one that asks for it is not ours
	cfg.ClientFoundRows = true       // sqlstore counts the rows found
	// One round trip a statement instead of three. The driver escapes as the session's sql_mode wants it, and utf8mb4 is safe to escape in.
	cfg.InterpolateParams = true
	seconds := func(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }
	cfg.Params = map[string]string{
		"character_set_client":     "utf8mb4",
		"character_set_results":    "utf8mb4",
		"collation_connection":     "utf8mb4_0900_bin",
		"transaction_isolation":    "'" + isolation + "'",
		"transaction_read_only":    "0",
		"autocommit":               "1",
		"sql_mode":                 "'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ENGINE_SUBSTITUTION'",
		"time_zone":                "'+00:00'",
		"foreign_key_checks":       "1",
		"unique_checks":            "1",
		"sql_safe_updates":         "0",
		"wait_timeout":             seconds(sessionTimeout),
		"lock_wait_timeout":        seconds(lockWait),
		"innodb_lock_wait_timeout": seconds(lockWait),
	}
	return cfg, nil
}

// driverLog takes what the driver has to say besides its errors: that an idle connection had gone bad, mostly.
type driverLog struct{ log *slog.Logger }

// Print implements the driver's Logger.
func (l driverLog) Print(v ...any) {
	l.log.Debug("mysql driver: "+fmt.Sprint(v...), "op", "metastore.connect")
}
