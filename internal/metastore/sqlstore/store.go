// Package sqlstore is the metadata store in SQL: the statements and the transactions that all relational engines share.
//
// It owns what each method does to the tables. It must not know an engine: an engine's package opens the databases,
// makes the tables, and says through Dialect what its errors mean. Statements are plain SQL with ? for arguments; identifiers
// compare byte by byte, and affected rows means rows found.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/huker/huker/internal/metastore"
)

const (
	// maxAttempts bounds how often a transaction that lost against another is run again. With the pauses below that is some
	// seconds of bad luck in a row, after which the caller learns of it.
	maxAttempts = 50
	minPause    = time.Millisecond
	maxPause    = 100 * time.Millisecond
)

// Dialect says what an engine's errors mean.
type Dialect struct {
	// IsUnique reports that a row with the same key is there.
	IsUnique func(error) bool
	// IsForeign reports that a row which is referred to is not there.
	IsForeign func(error) bool
	// IsRetry reports that the transaction lost against another one (or never began), so that it can be run again from its start.
	IsRetry func(error) bool
	// Isolation of Update's transactions, which must come out serializable.
	Isolation sql.IsolationLevel
}

// Store is a metadata store on two pools of one database.
type Store struct {
	write, read *sql.DB
	dialect     Dialect

	mu     sync.Mutex
	closed bool
	active sync.WaitGroup // raised under mu while not closed
}

var _ metastore.Store = (*Store)(nil)

// New makes a store of a pool for writing and one for reading (they may be the same). It closes both in Close.
func New(write, read *sql.DB, d Dialect) *Store {
	return &Store{write: write, read: read, dialect: d}
}

// Update implements metastore.Store.
func (s *Store) Update(ctx context.Context, fn func(metastore.Tx) error) error {
	return s.run(ctx, s.write, &sql.TxOptions{Isolation: s.dialect.Isolation}, fn)
}

// View implements metastore.Store.
func (s *Store) View(ctx context.Context, fn func(metastore.Tx) error) error {
	return s.run(ctx, s.read, &sql.TxOptions{ReadOnly: true}, fn)
}

// Ping implements metastore.Store: it writes and reads one row.
func (s *Store) Ping(ctx context.Context) error {
	err := s.Update(ctx, func(mtx metastore.Tx) error {
		t, ok := mtx.(*tx)
		if !ok {
			return errors.New("not a transaction of this store")
		}
		_, err := t.exec(ctx, "UPDATE heartbeat SET beats = beats + 1 WHERE id = 1")
		return err
	})
	if err != nil {
		return fmt.Errorf("write the metadata store: %w", err)
	}
	var beats int64
	err = s.View(ctx, func(mtx metastore.Tx) error {
		t, ok := mtx.(*tx)
		if !ok {
			return errors.New("not a transaction of this store")
		}
		return t.sql.QueryRowContext(ctx, "SELECT beats FROM heartbeat WHERE id = 1").Scan(&beats)
	})
	if err != nil {
		return fmt.Errorf("read the metadata store: %w", err)
	}
	return nil
}

// Close implements metastore.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.active.Wait()
	// The writer goes last: the last connection to leave is the one that tidies up.
	err := s.read.Close()
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	return err
}

func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return metastore.ErrClosed
	}
	s.active.Add(1)
	return nil
}

// run runs fn in a transaction, again and again while the engine says that it lost against another.
func (s *Store) run(ctx context.Context, db *sql.DB, o *sql.TxOptions, fn func(metastore.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.active.Done()
	pause := minPause
	for attempt := 1; ; attempt++ {
		again, err := s.once(ctx, db, o, fn)
		if !again {
			return err
		}
		if attempt == maxAttempts {
			return fmt.Errorf("transaction given up after %d attempts: %w", attempt, errors.Join(metastore.ErrConflict, err))
		}
		if cerr := wait(ctx, pause); cerr != nil {
			return fmt.Errorf("transaction to be run again (%w): %w", err, cerr)
		}
		pause = min(2*pause, maxPause)
	}
}

// once makes one attempt and says whether to make another.
func (s *Store) once(ctx context.Context, db *sql.DB, o *sql.TxOptions, fn func(metastore.Tx) error) (again bool, err error) {
	stx, err := db.BeginTx(ctx, o)
	if err != nil {
		return s.dialect.IsRetry(err), fmt.Errorf("begin transaction: %w", err)
	}
	t := &tx{sql: stx, dialect: &s.dialect, readOnly: o.ReadOnly}
	committed := false
	defer func() { // also when fn panics
		if !committed {
			_ = stx.Rollback() // nothing to add: the error that led here is returned, and an unfinished transaction never counts
			t.undoAll()
		}
	}()
	err = fn(t)
	if t.lost != nil { // also when fn swallowed it: what it has read since may be wrong
		return true, t.lost
	}
	if err != nil {
		return false, err
	}
	if err = stx.Commit(); err != nil {
		return s.dialect.IsRetry(err), fmt.Errorf("commit transaction: %w", err)
	}
	committed = true
	return false, nil
}

// wait pauses between a half of d and d, so that those who collided do not collide again.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d/2+1)) //nolint:gosec // chance, not secrecy
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
