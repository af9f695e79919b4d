package replication

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// setReadOnly is told from other statements in the process list by its words: one of an agent that has died must not land later.
const setReadOnly = "SET GLOBAL super_read_only = ON"

// readOnly begins SET super_read_only=ON, which waits for the commits that are on their way.
func (s *Server) readOnly(ctx context.Context) error {
	serial := s.remembered().serial
	return s.begin(ctx, taskReadOnly, "", func(ctx context.Context, c *sql.Conn) error {
		if err := run(ctx, c, setReadOnly); err != nil {
			return err
		}
		s.remember(func(m *memory) { m.off = m.serial == serial })
		return nil
	})
}

// proveOff has a server that reads as read-only and of which this Server does not know it say so: then the statement returns at once.
func (s *Server) proveOff(ctx context.Context, now reading) {
	if t, _ := s.running(taskReadOnly); t != nil || !now.superReadOnly || !now.readOnly || s.remembered().off {
		return
	}
	if err := s.readOnly(ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn("it is not known yet whether writes are off", "op", "status", "err", err)
	}
}

// writable ends every SET super_read_only=ON that is still waiting, and lifts it.
func (s *Server) writable(ctx context.Context) error {
	if err := s.interrupt(ctx, taskReadOnly); err != nil {
		return err
	}
	s.remember(func(m *memory) { m.off = false })
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		for {
			left, err := s.endPending(ctx, c)
			if err != nil {
				return err
			}
			if left == 0 {
				break
			}
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		if err := run(ctx, c, "SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF"); err != nil {
			return err
		}
		var still bool
		if err := c.QueryRowContext(ctx, "SELECT @@GLOBAL.super_read_only OR @@GLOBAL.read_only").Scan(&still); err != nil {
			return err
		}
		if still {
			return fmt.Errorf("make writable: %w", errReadOnlyStays)
		}
		return nil
	})
}

// endPending interrupts the statements of other sessions that would make the server read-only, of an agent that has died, and says how many there were.
func (s *Server) endPending(ctx context.Context, c *sql.Conn) (int, error) {
	ids, err := processes(ctx, c, "PROCESSLIST_INFO = ?", setReadOnly)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := ended(run(ctx, c, "KILL QUERY ?", id)); err != nil {
			return len(ids), err
		}
	}
	return len(ids), nil
}

// processes are the ids of sessions, but this one, for which a condition holds.
func processes(ctx context.Context, c *sql.Conn, where string, args ...any) ([]uint64, error) {
	rows, err := c.QueryContext(ctx, "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE PROCESSLIST_ID <> CONNECTION_ID() AND ("+where+")", args...) // #nosec G202 -- constants
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var ids []uint64
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read the sessions: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
