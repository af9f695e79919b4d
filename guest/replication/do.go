package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/protocol"
)

// Do carries out one act that failover.Conduct asked for under this record. Each is idempotent. What may wait for ever is begun, and waited for a moment only:
// the status shows when it is done, and asking again has it begun again if it came to nothing. ErrRefused is an act that would lose something: the
// status has changed since, or whoever asks is wrong. Members is where the others are.
func (s *Server) Do(ctx context.Context, r durability.Record, a failover.Act, members map[string]protocol.Member) error {
	err := s.turnOf(ctx, actTimeout, func(ctx context.Context) error { return s.do(ctx, r, a, members) })
	if err != nil && !errors.Is(err, ErrPending) {
		return fmt.Errorf("replication: %s: %w", a.Kind, err)
	}
	return nil
}

func (s *Server) do(ctx context.Context, r durability.Record, a failover.Act, members map[string]protocol.Member) error {
	switch a.Kind {
	case failover.ActNone, failover.ActWait:
		return nil
	case failover.ActShut:
		return s.acting(ctx, "SET GLOBAL offline_mode = ON", "SET GLOBAL event_scheduler = OFF")
	case failover.ActReadOnly:
		return s.readOnly(ctx)
	case failover.ActRestart:
		if s.cfg.Kill == nil {
			return errors.New("nobody said how mysqld is killed")
		}
		return s.cfg.Kill(ctx)
	case failover.ActAsynchronous:
		return s.asynchronous(ctx)
	case failover.ActStop:
		return s.stop(ctx)
	case failover.ActDrain:
		return s.drain(ctx)
	case failover.ActPoint:
		return s.point(ctx, a.Source, members)
	case failover.ActStart:
		return s.start(ctx, r, a.Acknowledge)
	case failover.ActAcks:
		return s.acks(ctx, a.Acks, a.Rotate)
	case failover.ActWritable:
		return s.writable(ctx)
	case failover.ActGuard:
		return s.guard(ctx)
	case failover.ActAdmit:
		return s.admit(ctx, a.Admit)
	case failover.ActSeal:
		return s.seal(ctx, r)
	case failover.ActKeepSeal:
		return s.keepSeal(ctx, r)
	case failover.ActDropSeal:
		s.remember(func(m *memory) { m.seal = failover.Seal{} })
		return nil
	case failover.ActOpen:
		return s.open(ctx, r)
	}
	return fmt.Errorf("%w: there is no such act", ErrRefused)
}

// acting runs statements, one after the other.
func (s *Server) acting(ctx context.Context, texts ...string) error {
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error { return runAll(ctx, c, texts...) })
}

func runAll(ctx context.Context, c *sql.Conn, texts ...string) error {
	for _, text := range texts {
		if err := run(ctx, c, text); err != nil {
			return err
		}
	}
	return nil
}

// asynchronous switches semi-sync off. That answers OK to whoever waits, so it is refused while anybody could.
func (s *Server) asynchronous(ctx context.Context) error {
	if !s.remembered().off {
		return fmt.Errorf("%w: writes are not known to be off", ErrRefused)
	}
	s.remember(func(m *memory) { m.terms++ })
	return s.acting(ctx, "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
}

// acks has commits wait for so many acknowledgements. The count is set first: semi-sync never runs with fewer.
func (s *Server) acks(ctx context.Context, n int, rotated bool) error {
	s.remember(func(m *memory) { m.terms++ })
	if n == 0 {
		return s.acting(ctx, "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
	}
	if rotated {
		if err := s.act.use(ctx, rotate); err != nil {
			return err
		}
	}
	return s.acting(ctx,
		fmt.Sprintf("SET GLOBAL rpl_semi_sync_source_timeout = %d, GLOBAL rpl_semi_sync_source_wait_point = %s, GLOBAL rpl_semi_sync_source_wait_no_replica = ON",
			int64(semiTimeout), semiWaitPoint),
		fmt.Sprintf("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = %d", n),
		"SET GLOBAL rpl_semi_sync_source_enabled = ON")
}

// longSearch is how many bytes of a binary log take a moment to search.
const longSearch = 16 << 20

// rotate begins another binary log where the newest one is long.
func rotate(ctx context.Context, c *sql.Conn) error {
	var file, doDB, ignoreDB, executed string
	var position int64
	if err := c.QueryRowContext(ctx, "SHOW BINARY LOG STATUS").Scan(&file, &position, &doDB, &ignoreDB, &executed); err != nil {
		return fmt.Errorf("ask for the newest binary log: %w", err)
	}
	if position < longSearch {
		return nil
	}
	return run(ctx, c, "FLUSH BINARY LOGS")
}

// open lets clients in: of a primary to write, of a replica to read. Users' events run on a primary only.
func (s *Server) open(ctx context.Context, r durability.Record) error {
	if r.Primary != s.cfg.Instance {
		return s.acting(ctx, "SET GLOBAL partial_revokes = ON", "SET GLOBAL offline_mode = OFF")
	}
	if !s.remembered().proven {
		return fmt.Errorf("%w: it has not sealed", ErrRefused)
	}
	return s.acting(ctx, "SET GLOBAL partial_revokes = ON", "SET GLOBAL offline_mode = OFF", "SET GLOBAL event_scheduler = ON")
}
