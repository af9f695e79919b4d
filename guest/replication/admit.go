package replication

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// signedIn is how long a session is waited for that had not said yet who it is when accounts were locked; then it is killed.
	signedIn = 250 * time.Millisecond
	// seenGone is how long sessions may take to end that were killed.
	seenGone = 2 * time.Second
)

// admit opens the accounts of those who may replicate, locks all others, and ends the sessions of these. The accounts are this server's own: they are
// not in the binary log, which would have other servers let the same in; and nothing here waits for acknowledgements.
func (s *Server) admit(ctx context.Context, ids []string) error {
	s.remember(func(m *memory) { m.terms++ })
	return s.begin(ctx, taskAdmit, strings.Join(ids, " "), func(ctx context.Context, c *sql.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := PrepareDonor(ctx, c); err != nil {
			return err
		}
		open := map[string]bool{}
		for _, id := range ids {
			name, err := Account(id)
			if err != nil {
				return err
			}
			open[name] = true
		}
		if err := lockOthers(ctx, c, open); err != nil {
			return err
		}
		if err := endOthers(ctx, c, open); err != nil {
			return err
		}
		for _, id := range ids {
			if err := makeAccount(ctx, c, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeAccount opens an instance's account, or makes it. It can be entered only when the last step is done.
//
// CONNECTION_ADMIN lets members in while clients are kept out (offline_mode), as they are until a new primary has sealed; SYSTEM_USER keeps users who
// may change accounts from changing this one.
func makeAccount(ctx context.Context, c *sql.Conn, id string) error {
	name, err := Account(id)
	if err != nil {
		return err
	}
	var open int
	if err := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE User = ? AND Host = ? AND account_locked = 'N'", name, accountHost).Scan(&open); err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	if open > 0 {
		return nil
	}
	for _, st := range []struct {
		text string
		args []any
	}{
		{"CREATE USER IF NOT EXISTS ?@? IDENTIFIED WITH caching_sha2_password BY '' REQUIRE SUBJECT ? ACCOUNT LOCK", []any{name, accountHost, Subject(id)}},
		{"ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY '' REQUIRE SUBJECT ? PASSWORD EXPIRE NEVER ACCOUNT LOCK", []any{name, accountHost, Subject(id)}},
		{"GRANT REPLICATION SLAVE, CONNECTION_ADMIN, SYSTEM_USER ON *.* TO ?@?", []any{name, accountHost}},
		{"ALTER USER ?@? ACCOUNT UNLOCK", []any{name, accountHost}},
	} {
		if err := run(ctx, c, st.text, st.args...); err != nil {
			return fmt.Errorf("make the account of %s: %w", id, err)
		}
	}
	return nil
}

// lockOthers locks all replication accounts but those.
func lockOthers(ctx context.Context, c *sql.Conn, open map[string]bool) error {
	rows, err := c.QueryContext(ctx, "SELECT User FROM mysql.user WHERE Host = ? AND User LIKE 'huker|_r|_%' ESCAPE '|' AND account_locked = 'N'", accountHost)
	if err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return fmt.Errorf("read the accounts: %w", err)
		}
		if !open[name] {
			names = append(names, name)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	for _, name := range names {
		if err := run(ctx, c, "ALTER USER ?@? ACCOUNT LOCK", name, accountHost); err != nil {
			return err
		}
	}
	return nil
}

// endOthers ends every session that replicates, or could, as somebody else than those, and sees them gone. A session that was signing in when the accounts were
// locked may have been looked up before: it is waited for until it has said who it is, and ended if it does not.
func endOthers(ctx context.Context, c *sql.Conn, open map[string]bool) error {
	nameless, err := namelessSessions(ctx, c)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(signedIn)
	for {
		left, err := killOthers(ctx, c, open)
		if err != nil {
			return err
		}
		late := time.Now().After(deadline)
		if len(nameless) > 0 {
			now, err := namelessSessions(ctx, c)
			if err != nil {
				return err
			}
			nameless = slices.DeleteFunc(nameless, func(id uint64) bool { return !slices.Contains(now, id) })
			for i := 0; late && i < len(nameless); i++ {
				if err := ended(run(ctx, c, "KILL CONNECTION ?", nameless[i])); err != nil {
					return err
				}
			}
			// Once more, as one of them may have turned out to be somebody's who is shut out.
			left += len(nameless)
			if len(nameless) == 0 {
				continue
			}
		}
		switch {
		case left == 0:
			return nil
		case time.Now().After(deadline.Add(seenGone)):
			return fmt.Errorf("%d sessions of members that are shut out do not end", left)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// namelessSessions are those that are signing in.
func namelessSessions(ctx context.Context, c *sql.Conn) ([]uint64, error) {
	return processes(ctx, c, "PROCESSLIST_USER IS NULL AND PROCESSLIST_COMMAND <> 'Daemon'")
}

// killOthers kills the sessions that replicate, or could, as somebody else than those, and says how many there were.
func killOthers(ctx context.Context, c *sql.Conn, open map[string]bool) (int, error) {
	names := make([]any, 0, len(open)+1)
	names = append(names, "")
	for name := range open {
		names = append(names, name)
	}
	ids, err := processes(ctx, c, `PROCESSLIST_USER NOT IN (?`+strings.Repeat(", ?", len(names)-1)+`) AND (PROCESSLIST_USER LIKE 'huker|_r|_%' ESCAPE '|'
		OR PROCESSLIST_COMMAND LIKE 'Binlog Dump%' AND EXISTS (SELECT 1 FROM performance_schema.user_variables_by_thread v
			WHERE v.THREAD_ID = threads.THREAD_ID AND VARIABLE_NAME = 'rpl_semi_sync_replica' AND VARIABLE_VALUE = '1'))`, names...)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := ended(run(ctx, c, "KILL CONNECTION ?", id)); err != nil {
			return len(ids), err
		}
	}
	return len(ids), nil
}
