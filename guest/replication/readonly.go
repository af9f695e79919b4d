package replication

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// setReadOnly is told from other statements in the process list by its words: one of an agent that has died must not land later.
const setReadOnly = "SET GLOBAL super_read_only = ON"

const setGuard = "SET GLOBAL read_only = ON"

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

// writable ends every SET super_read_only=ON and SET read_only=ON that is still waiting, and lifts both.
func (s *Server) writable(ctx context.Context) error {
	if err := s.interrupt(ctx, taskGuard); err != nil {
		return err
	}
	return s.lift(ctx, []any{setReadOnly, setGuard}, func(ctx context.Context, c *sql.Conn) error {
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

// lift ends every SET super_read_only=ON that is still waiting, and other sessions' statements of those texts, before f lifts what they did.
func (s *Server) lift(ctx context.Context, texts []any, f func(context.Context, *sql.Conn) error) error {
	if err := s.interrupt(ctx, taskReadOnly); err != nil {
		return err
	}
	s.remember(func(m *memory) { m.off = false })
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		for {
			left, err := s.endPending(ctx, c, texts)
			if err != nil {
				return err
			}
			if left == 0 {
				return f(ctx, c)
			}
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	})
}

// guardAgain is how long others may write before they are kept from it once more.
const guardAgain = time.Second

// guard has clients be refused while the agent's sessions write, which have the right to (CONNECTION_ADMIN). From super_read_only that is to lift half of it.
// Otherwise it waits for statements that write, a second at most, in the background; what they hold it up with is not broken off, since a session may wait for
// acknowledgements by the time that it is killed, and would commit.
func (s *Server) guard(ctx context.Context) error {
	if t, _ := s.running(taskGuard); t != nil {
		return s.refuseClients(ctx)
	}
	var readOnly bool
	err := s.lift(ctx, []any{setReadOnly}, func(ctx context.Context, c *sql.Conn) error {
		if err := c.QueryRowContext(ctx, "SELECT @@GLOBAL.read_only").Scan(&readOnly); err != nil || !readOnly {
			return err
		}
		return run(ctx, c, "SET GLOBAL super_read_only = OFF")
	})
	if err != nil || readOnly {
		return err
	}
	s.mu.Lock()
	early := time.Since(s.held) < guardAgain
	s.mu.Unlock()
	if early {
		return fmt.Errorf("guard: %w: statements that write go on", ErrPending)
	}
	return s.refuseClients(ctx)
}

// guarding says whether clients are being kept from writing, or were to be a moment ago: then the agent's own writes are held up by it, too.
func (s *Server) guarding() bool {
	t, _ := s.running(taskGuard)
	s.mu.Lock()
	defer s.mu.Unlock()
	return t != nil || time.Since(s.held) < 2*guardAgain
}

func (s *Server) refuseClients(ctx context.Context) error {
	return s.begin(ctx, taskGuard, "", func(ctx context.Context, c *sql.Conn) error {
		err := run(ctx, c, setGuard)
		if isNumber(err, erLockWaitTimeout) {
			s.mu.Lock()
			s.held = time.Now()
			s.mu.Unlock()
			s.log.Warn("clients are not kept from writing yet: statements that write go on", "op", "guard")
			return fmt.Errorf("%w: %w", ErrPending, err)
		}
		return err
	})
}

// endPending interrupts the statements of other sessions that would make the server read-only, of an agent that has died, and says how many there were.
func (s *Server) endPending(ctx context.Context, c *sql.Conn, texts []any) (int, error) {
	ids, err := processes(ctx, c, "PROCESSLIST_INFO IN (?"+strings.Repeat(", ?", len(texts)-1)+")", texts...)
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
