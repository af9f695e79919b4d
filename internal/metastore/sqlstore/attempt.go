package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/metastore"
)

// outcome is what came of one attempt of a transaction.
type outcome int

const (
	final outcome = iota // committed, or an error that another attempt would not mend
	lost                 // against another transaction
	gone                 // the server, or the connection to it
)

// run runs fn in a transaction, again and again while the engine says that it lost against another, or that its server went away.
func (s *Store) run(ctx context.Context, db *sql.DB, o *sql.TxOptions, fn func(metastore.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.active.Done()
	var losses int
	var since time.Time // when the server was first seen to be gone
	pause := minPause
	for attempt := 1; ; attempt++ {
		came, err := s.once(ctx, db, o, losses > 0 && !o.ReadOnly, fn)
		switch came {
		case final:
			return err
		case lost:
			if losses++; losses == maxAttempts {
				return fmt.Errorf("transaction given up after %d attempts: %w", attempt, errors.Join(metastore.ErrConflict, err))
			}
		case gone:
			if since.IsZero() {
				since = time.Now()
			}
			if away := time.Since(since); away > s.dialect.Outage {
				return fmt.Errorf("%w for %s: %w", metastore.ErrUnavailable, away.Round(time.Millisecond), err)
			}
		}
		s.dialect.Retried(ctx, attempt, err)
		if cerr := wait(ctx, pause); cerr != nil {
			return fmt.Errorf("transaction to be run again (%w): %w", err, cerr)
		}
		pause = min(2*pause, maxPause)
	}
}

// once makes one attempt. inLine has it wait for its turn first.
func (s *Store) once(ctx context.Context, db *sql.DB, o *sql.TxOptions, inLine bool, fn func(metastore.Tx) error) (came outcome, err error) {
	stx, err := db.BeginTx(ctx, o)
	if err != nil {
		return s.judge(err), fmt.Errorf("begin transaction: %w", err)
	}
	t := &tx{sql: stx, dialect: &s.dialect, readOnly: o.ReadOnly}
	committed := false
	defer func() { // also when fn panics
		if !committed {
			_ = stx.Rollback() // nothing to add: the error that led here is returned, and an unfinished transaction never counts
			t.undoAll()
		}
	}()
	if inLine && s.dialect.Turn != "" {
		if _, err = stx.ExecContext(ctx, s.dialect.Turn); err != nil {
			return s.judge(err), fmt.Errorf("wait for a turn: %w", err)
		}
	}
	err = fn(t)
	if t.broken != nil { // also when fn swallowed it: what it has read since may be wrong
		return s.judge(t.broken), t.broken
	}
	if err != nil {
		return final, err
	}
	if o.ReadOnly { // all is known already, and the caller need not wait for the engine to take leave
		committed = true
		s.active.Add(1)
		go func() {
			defer s.active.Done()
			_ = stx.Commit() // a connection on which it fails is thrown away
		}()
		return final, nil
	}
	if err = stx.Commit(); err != nil {
		return s.judgeCommit(ctx, t, err)
	}
	committed = true
	return final, nil
}

// judge says whether another attempt may mend an error.
func (s *Store) judge(err error) outcome {
	switch {
	case s.dialect.IsRetry(err):
		return lost
	case s.dialect.IsGone(err):
		return gone
	default:
		return final
	}
}

func (s *Store) judgeCommit(ctx context.Context, t *tx, err error) (outcome, error) {
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = ctx.Err() // database/sql rolled back when ctx ended, and tells only the consequence
	}
	// A transaction that wrote nothing took place or not: there is no difference.
	if t.wrote && s.dialect.IsUnknown(err) {
		return final, fmt.Errorf("commit transaction: %w: %w", metastore.ErrUnknown, err)
	}
	return s.judge(err), fmt.Errorf("commit transaction: %w", err)
}
