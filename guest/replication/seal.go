package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// Schema is the agents' own. It is replicated, and not among the databases that users see.
const Schema = "huker"

// probeEvery is how often a primary tries a write.
const probeEvery = 500 * time.Millisecond

// probeSeldom is the same while clients cannot write anyway, for want of room: each takes some 400 bytes in the binary log, which would be 70 MB a day.
const probeSeldom = 10 * time.Second

// keptSeals is how many rows the journal keeps.
const keptSeals = 100

var schema = []string{
	"CREATE DATABASE IF NOT EXISTS huker CHARACTER SET utf8mb4",
	`CREATE TABLE IF NOT EXISTS huker.journal (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, epoch BIGINT NOT NULL, server_uuid CHAR(36) NOT NULL,
		gtids LONGTEXT NOT NULL, at TIMESTAMP(6) NOT NULL) ENGINE = InnoDB COMMENT = 'With what each primary began'`,
	`CREATE TABLE IF NOT EXISTS huker.probe (id TINYINT NOT NULL PRIMARY KEY, at TIMESTAMP(6) NOT NULL) ENGINE = InnoDB COMMENT = 'The last write of an agent'`,
}

// seal begins a transaction and has it wait, for ever, until it is acknowledged under the terms of this record. One that was begun under others is waited for
// first: it ends as soon as these are met.
func (s *Server) seal(ctx context.Context, r durability.Record) error {
	uuid, err := s.uuid(ctx)
	if err != nil {
		return err
	}
	server := s.name(uuid, r)
	s.learn(r, server)
	d := failover.Assign(s.cfg.Instance, server, r)
	if d.Role != failover.RolePrimary {
		return fmt.Errorf("%w: it is not the primary at epoch %d", ErrRefused, r.Epoch)
	}
	begun := s.remembered()
	return s.begin(ctx, taskSeal, fmt.Sprint(r.Epoch, begun.terms), func(ctx context.Context, c *sql.Conn) error {
		if err := writeSeal(ctx, c, r.Epoch); err != nil {
			return err
		}
		s.remember(func(m *memory) {
			if m.serial == begun.serial && m.terms == begun.terms && m.epoch == r.Epoch {
				m.seal = failover.Seal{Epoch: r.Epoch, Acks: d.Acks, Ackers: slices.Clone(d.Ackers)}
				m.proven = true
			}
		})
		return nil
	})
}

func (s *Server) uuid(ctx context.Context) (uuid string, err error) {
	err = s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid").Scan(&uuid)
	})
	return uuid, err
}

func writeSeal(ctx context.Context, c *sql.Conn, epoch int64) error {
	err := insertSeal(ctx, c, epoch)
	if !isNumber(err, erNoSuchTable, erBadDatabase) {
		return err
	}
	if err := runAll(ctx, c, schema...); err != nil {
		return err
	}
	return insertSeal(ctx, c, epoch)
}

func insertSeal(ctx context.Context, c *sql.Conn, epoch int64) error {
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of what was committed there is nothing to roll back
	res, err := tx.ExecContext(ctx, "INSERT INTO huker.journal (epoch, server_uuid, gtids, at) VALUES (?, @@GLOBAL.server_uuid, @@GLOBAL.gtid_executed, NOW(6))", epoch)
	if err != nil {
		return err
	}
	if id, err := res.LastInsertId(); err == nil && id > keptSeals {
		if _, err := tx.ExecContext(ctx, "DELETE FROM huker.journal WHERE id <= ?", id-keptSeals); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// keepSeal has what was sealed be sealed under this record, whose terms are no stricter.
func (s *Server) keepSeal(ctx context.Context, r durability.Record) error {
	uuid, err := s.uuid(ctx)
	if err != nil {
		return err
	}
	d := failover.Assign(s.cfg.Instance, s.name(uuid, r), r)
	s.remember(func(m *memory) {
		if m.seal.Epoch+1 == r.Epoch {
			m.seal = failover.Seal{Epoch: r.Epoch, Acks: d.Acks, Ackers: slices.Clone(d.Ackers)}
		}
	})
	return nil
}

// keepWriting tries a write every now and then on a primary that has sealed, whether clients are let in or not; and helps commits that are stuck.
func (s *Server) keepWriting(st failover.Status, r durability.Record) {
	role := failover.Assign(s.cfg.Instance, st.Server, r).Role
	if role != failover.RolePrimary && role != failover.RoleQuiesced || st.Writes != failover.WritesOn {
		return
	}
	every := probeEvery
	if st.Guarded {
		every = probeSeldom
	}
	s.mu.Lock()
	due := role == failover.RolePrimary && st.Serving.Proven && time.Since(s.begun) >= every
	s.mu.Unlock()
	var errs []error
	if due {
		errs = append(errs, s.probe())
	}
	errs = append(errs, s.help(st.Serving))
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("a write does not get through", "op", "probe", "err", err)
	}
}

// probe begins a write of the agent's own, unless one is on its way, and does not wait for it.
func (s *Server) probe() error {
	s.mu.Lock()
	if s.tried.IsZero() || s.answered() {
		s.tried = time.Now()
	}
	if t := s.tasks[taskProbe]; t != nil {
		s.mu.Unlock()
		return nil
	}
	s.begun = time.Now()
	serial := s.memory.serial
	s.mu.Unlock()
	_, err := s.launch(taskProbe, "", func(ctx context.Context, c *sql.Conn) error {
		if err := run(ctx, c, "INSERT INTO huker.probe (id, at) VALUES (1, NOW(6)) ON DUPLICATE KEY UPDATE at = NOW(6)"); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.memory.serial == serial {
			s.probed = time.Now()
		}
		return nil
	})
	return err
}

// unguarded has probes begin anew when clients can write again: the last one is as old as it may have been while they could not.
func (s *Server) unguarded(guarded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory.guarded && !guarded {
		s.probed, s.tried = time.Time{}, time.Time{}
	}
	s.memory.guarded = guarded
}

// probeAgo is since a probe was last committed while the server has been open, or since the first was tried; negative: none was. It begins anew with each
// tenure: what was tried in one long ago would look like writes that do not get through. So would the time in which an agent that hung has tried nothing: it does
// not count. While it is seldom tried, or held up for a moment, it is since the first was begun that has not been committed.
func (s *Server) probeAgo(open, seldom bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !open:
		s.probed, s.tried = time.Time{}, time.Time{}
		return -1
	case s.tried.IsZero():
		return -1
	case seldom && s.answered():
		return 0
	case seldom || s.probed.IsZero():
		return time.Since(s.tried)
	case s.answered():
		return min(time.Since(s.probed), probeEvery)
	}
	return min(time.Since(s.probed), time.Since(s.tried)+probeEvery)
}

// answered says whether every probe that was begun has been committed. The caller holds mu.
func (s *Server) answered() bool { return !s.probed.Before(s.begun) }
