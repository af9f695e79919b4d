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
		open := instances{}
		for _, id := range ids {
			name, err := Account(id)
			if err != nil {
				return err
			}
			open[name] = id
		}
		all, err := entrances(ctx, c)
		if err != nil {
			return err
		}
		for name, now := range all {
			if _, in := open[name]; now.open && !in {
				if err := run(ctx, c, "ALTER USER ?@? ACCOUNT LOCK", name, accountHost); err != nil {
					return fmt.Errorf("lock the account %s: %w", name, err)
				}
			}
		}
		if err := endOthers(ctx, c, open); err != nil {
			return err
		}
		for name, id := range open {
			if err := unlock(ctx, c, id, all[name]); err != nil {
				return err
			}
		}
		return nil
	})
}

// endOthers ends every session that replicates, or could, as somebody else than those, and sees them gone. A session that was signing in when the accounts were
// locked may have been looked up before: it is waited for until it has said who it is, and ended if it does not.
func endOthers(ctx context.Context, c *sql.Conn, open instances) error {
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
func killOthers(ctx context.Context, c *sql.Conn, open instances) (int, error) {
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
