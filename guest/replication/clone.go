package replication

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
)

// Clones is where a clone keeps what has to outlive mysqld, and the agent. All are on the volume.
type Clones struct {
	State    string // the agent's directory
	InitFile string // statements with which the supervisor has mysqld start, while the file is there
	AutoCnf  string // auto.cnf in mysqld's data directory, where the server's UUID is
	// CPUs are the container's, for the number of threads; Compress is for networks that are slower than a core compresses; MaxMBps bounds the transfer. 0: no limit.
	CPUs     float64
	Compress bool
	MaxMBps  int
}

const markFile = "clone.json"

// rebuild is kept while a server's data is being replaced. A clone that did not come to its end leaves a server that says it has executed what it has not: so
// long as this is there, it has no part in anything.
type rebuild struct {
	Donor  string `json:"donor"`
	Before string `json:"before"` // of which clone performance_schema.clone_status told before
	UUID   string `json:"uuid"`   // the server that was to be replaced
}

func (c Clones) mark() string { return filepath.Join(c.State, markFile) }

// unfinished says whether the server's data is being replaced, or was to be when something died.
func (c Clones) unfinished() bool {
	if c.State == "" {
		return false
	}
	_, err := os.Stat(c.mark())
	return !errors.Is(err, fs.ErrNotExist)
}

// Progress is how far a clone has come, in bytes.
type Progress struct{ Done, Estimate int64 }

// replaced is the server whose data is being replaced; empty: none is.
func (c Clones) replaced() string {
	if c.State == "" {
		return ""
	}
	mark, err := c.read()
	if err != nil {
		return ""
	}
	return mark.UUID
}

func (c Clones) read() (mark rebuild, err error) {
	b, err := os.ReadFile(c.mark())
	if err != nil {
		return mark, err
	}
	if err := json.Unmarshal(b, &mark); err != nil {
		return mark, fmt.Errorf("%s: %w", markFile, err)
	}
	return mark, nil
}

// progressEvery is how often Clone tells.
const progressEvery = 2 * time.Second

// PrepareDonor makes the account as which others clone this server. It lets in whoever has a certificate of the cluster's authority, and is nobody's in the
// record, as who is cloned to has no part in it yet. The session must not write the binary log: else members would wait for one another.
func PrepareDonor(ctx context.Context, c executor) error {
	var there int
	err := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE User = ? AND Host = ? AND account_locked = 'N'", cloneUser, accountHost).Scan(&there)
	if err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	if there > 0 {
		return nil
	}
	for _, text := range []string{
		"CREATE USER IF NOT EXISTS ?@? IDENTIFIED WITH caching_sha2_password BY '' REQUIRE X509 PASSWORD EXPIRE NEVER ACCOUNT LOCK",
		"GRANT BACKUP_ADMIN, CONNECTION_ADMIN, SYSTEM_USER ON *.* TO ?@?",
		"ALTER USER ?@? ACCOUNT UNLOCK",
	} {
		if err := run(ctx, c, text, cloneUser, accountHost); err != nil {
			return fmt.Errorf("make the account for clones: %w", err)
		}
	}
	return nil
}

// Clone replaces this server's data by a donor's, which is one of the members, however long that takes; progress may be nil. At its end mysqld restarts, and Clone returns nil: the next run's
// Server finds out whether all went well, and says Rebuilding, and the old server's name, until then. It is refused unless the server is shut, read-only
// and receives nothing. An error is of a clone that did not come about; if Rebuilding stays, it has to be tried again.
func (s *Server) Clone(ctx context.Context, donor string, members map[string]protocol.Member, progress func(Progress)) error {
	t, err := s.beginClone(ctx, donor, members)
	if err != nil {
		return fmt.Errorf("replication: clone: %w", err)
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return t.err
		case <-ctx.Done():
			return fmt.Errorf("replication: clone: %w: %w", ErrPending, ctx.Err())
		case <-tick.C:
			if p, err := s.progress(ctx); err == nil && progress != nil {
				progress(p)
			}
		}
	}
}

func (s *Server) beginClone(ctx context.Context, donor string, members map[string]protocol.Member) (t *task, err error) {
	from, known := members[donor]
	if !known || from.Address == "" {
		return nil, fmt.Errorf("%w: %s", ErrUnknownMember, donor)
	}
	if s.cfg.Clones.State == "" || s.cfg.Clones.InitFile == "" || s.cfg.Clones.AutoCnf == "" {
		return nil, errors.New("nobody said where its files are")
	}
	err = s.turnOf(ctx, actTimeout, func(ctx context.Context) error {
		if t, _ = s.running(taskClone); t != nil {
			return nil
		}
		var before rebuild
		if err := s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error { return s.prepareClone(ctx, c, from, members, &before) }); err != nil {
			return err
		}
		var err error
		t, err = s.launch(taskClone, from.Address, func(ctx context.Context, c *sql.Conn) error { return s.clone(ctx, c, from, before) })
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// prepareClone brings the server to a state from which every crash leads on: from here on it is Rebuilding, another server with its next start, and lets the agent
// in whatever accounts it has then.
func (s *Server) prepareClone(ctx context.Context, c *sql.Conn, donor protocol.Member, members map[string]protocol.Member, before *rebuild) error {
	ch, err := readChannel(ctx, c)
	if err != nil {
		return err
	}
	var shut, superReadOnly bool
	var state string
	err = c.QueryRowContext(ctx, `SELECT @@GLOBAL.offline_mode AND @@GLOBAL.read_only, @@GLOBAL.super_read_only, @@GLOBAL.server_uuid,
		COALESCE((SELECT CONCAT(BEGIN_TIME, ' ', SOURCE) FROM performance_schema.clone_status), ''),
		COALESCE((SELECT STATE FROM performance_schema.clone_status), '')`).Scan(&shut, &superReadOnly, &before.UUID, &before.Before, &state)
	switch {
	case err != nil:
		return fmt.Errorf("read the server's state: %w", err)
	case state == "In Progress":
		return fmt.Errorf("%w: another one has not ended", ErrPending)
	case shut && !superReadOnly && s.cfg.Clones.unfinished(): // whoever began one died in the middle of it
		return errors.Join(fmt.Errorf("%w: it is shut first", ErrPending), run(ctx, c, setReadOnly))
	case !shut || !superReadOnly || ch.receiver != "OFF" || !s.remembered().off:
		return fmt.Errorf("%w: the server is not shut", ErrRefused)
	}
	if ch.host != "" {
		if err := run(ctx, c, "STOP REPLICA"); err != nil {
			return err
		}
	}
	statements, err := initStatements(ctx, c, members)
	if err != nil {
		return err
	}
	if old := s.cfg.Clones.replaced(); old != "" { // an earlier attempt, which came to nothing
		before.UUID = old
	}
	before.Donor = donor.Address
	mark, err := json.Marshal(before)
	if err != nil {
		return err
	}
	clones := s.cfg.Clones
	if err := pki.WriteFile(clones.InitFile, []byte(statements), 0o600); err != nil {
		return err
	}
	if err := pki.WriteFile(clones.mark(), mark, 0o600); err != nil {
		return err
	}
	return removeFile(clones.AutoCnf)
}

// initStatements have the next start let the agent in with its present password, and nobody of the donor's replicas. All members' accounts are there from then on,
// locked. Each is one line: mysqld reads them so.
func initStatements(ctx context.Context, c *sql.Conn, members map[string]protocol.Member) (string, error) {
	var user, host, hash string
	err := c.QueryRowContext(ctx, "SELECT User, Host, HEX(authentication_string) FROM mysql.user WHERE CONCAT(User, '@', Host) = CURRENT_USER()").Scan(&user, &host, &hash)
	if err != nil {
		return "", fmt.Errorf("read the agent's account: %w", err)
	}
	account := literal(user) + "@" + literal(host)
	texts := []string{
		"SET SESSION sql_log_bin = 0",
		"SET GLOBAL super_read_only = OFF",
		"CREATE USER IF NOT EXISTS " + account,
		"ALTER USER " + account + " IDENTIFIED WITH caching_sha2_password AS 0x" + hash + " REQUIRE NONE PASSWORD EXPIRE NEVER ACCOUNT UNLOCK",
		"GRANT ALL PRIVILEGES ON *.* TO " + account + " WITH GRANT OPTION",
		"UPDATE mysql.user SET account_locked = 'Y' WHERE User LIKE 'huker|_r|_%' ESCAPE '|'",
		"FLUSH NO_WRITE_TO_BINLOG PRIVILEGES",
	}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		more, err := settings(id)
		if err != nil {
			return "", err
		}
		texts = append(texts, more...)
	}
	texts = append(texts, "SET GLOBAL super_read_only = ON")
	return strings.Join(texts, ";\n") + ";\n", nil
}

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func (s *Server) clone(ctx context.Context, c *sql.Conn, donor protocol.Member, before rebuild) error {
	clones := s.cfg.Clones
	threads := int(math.Ceil(2 * clones.CPUs))
	if clones.CPUs <= 0 {
		threads = 16 // MySQL's default
	}
	err := run(ctx, c, `SET GLOBAL clone_valid_donor_list = ?, GLOBAL clone_ssl_ca = ?, GLOBAL clone_ssl_cert = ?, GLOBAL clone_ssl_key = ?,
		GLOBAL clone_max_concurrency = ?, GLOBAL clone_enable_compression = ?, GLOBAL clone_max_data_bandwidth = ?`,
		donor.Address+":3306", s.cfg.CA, s.cfg.Cert, s.cfg.Key, min(max(threads, 1), 128), clones.Compress, clones.MaxMBps)
	if err == nil {
		// CLONE is refused under super_read_only. read_only stays, clients are shut out, and what anybody wrote would not outlast the clone.
		s.remember(func(m *memory) { m.off = false })
		err = run(ctx, c, "SET GLOBAL super_read_only = OFF")
	}
	if err == nil {
		err = run(ctx, c, "CLONE INSTANCE FROM ?@?:3306 IDENTIFIED BY '' REQUIRE SSL", cloneUser, donor.Address)
	}
	switch {
	case err == nil, isNumber(err, erRestartFailed):
		return nil
	case lost(err) && s.ctx.Err() == nil:
		return nil // mysqld has ended: by itself, or the next run will tell
	case s.ctx.Err() != nil:
		return err
	}
	var dropped bool
	if asked := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.clone_progress WHERE STAGE = 'DROP DATA' AND STATE <> 'Not Started'").Scan(&dropped); asked != nil || dropped {
		return err
	}
	// Nothing was touched: the server is who it was.
	if shut := run(ctx, c, setReadOnly); shut != nil {
		return errors.Join(err, shut)
	}
	if undone := clones.undo(before.UUID); undone != nil {
		return errors.Join(err, undone)
	}
	return err
}

// undo has a clone not have been begun.
func (c Clones) undo(uuid string) error {
	if err := pki.WriteFile(c.AutoCnf, []byte("[auto]\nserver-uuid="+uuid+"\n"), 0o640); err != nil { // #nosec G306 -- as mysqld writes it
		return err
	}
	return c.over()
}

// over removes what is kept during a clone. The mark goes last.
func (c Clones) over() error {
	if err := removeFile(c.InitFile); err != nil {
		return err
	}
	return removeFile(c.mark())
}

// removeFile removes a file, durably; no error when there is none.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d, err := os.Open(filepath.Dir(path)) // #nosec G304 -- the agent's own
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Server) progress(ctx context.Context) (p Progress, err error) {
	err = s.hand.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT COALESCE(SUM(DATA), 0), COALESCE(SUM(ESTIMATE), 0) FROM performance_schema.clone_progress").Scan(&p.Done, &p.Estimate)
	})
	return p, err
}

// settle finds out whether the clone that was begun in an earlier run of mysqld came to its end, and if so, removes what came along from the donor and must not
// stay: whom it replicated from.
func (s *Server) settle(ctx context.Context) error {
	if t, _ := s.running(taskClone); t != nil || !s.cfg.Clones.unfinished() {
		return nil
	}
	mark, err := s.cfg.Clones.read()
	if err != nil {
		return err
	}
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		var which, uuid string
		err := c.QueryRowContext(ctx, `SELECT CONCAT(BEGIN_TIME, ' ', SOURCE), @@GLOBAL.server_uuid FROM performance_schema.clone_status
			WHERE STATE = 'Completed' AND ERROR_NO = 0`).Scan(&which, &uuid)
		switch {
		case errors.Is(err, sql.ErrNoRows) || err == nil && which == mark.Before:
			return nil // it did not: Rebuilding says so
		case err != nil:
			return err
		case uuid == mark.UUID:
			return fmt.Errorf("the clone goes by the old server's UUID %s", uuid)
		}
		ch, err := readChannel(ctx, c)
		if err != nil {
			return err
		}
		if ch.host != "" {
			if err := runAll(ctx, c, "STOP REPLICA", "RESET REPLICA ALL"); err != nil {
				return err
			}
		}
		s.log.Info("the clone is complete", "op", "clone", "server", uuid)
		return s.cfg.Clones.over()
	})
}
