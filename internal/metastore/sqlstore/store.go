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
	// defaultOutage is long enough for a server that was killed to recover, or for another to take over.
	defaultOutage = 10 * time.Second
)

// Dialect says what an engine's errors mean. Those that an engine does not know may be nil.
type Dialect struct {
	// IsUnique reports that a row with the same key is there.
	IsUnique func(error) bool
	// IsForeign reports that a row which is referred to is not there.
	IsForeign func(error) bool
	// IsRetry reports that the transaction lost against another one (or never began), so that it can be run again from its start.
	IsRetry func(error) bool
	// IsGone reports that the server, or the connection to it, was lost or would not write: nothing of the transaction took place, and it
	// can be run again on another connection. What a commit gives is asked of IsUnknown first.
	IsGone func(error) bool
	// IsUnknown reports that an error of a commit leaves open whether it took place.
	IsUnknown func(error) bool
	// Isolation of Update's transactions, which must come out serializable.
	Isolation sql.IsolationLevel
	// Turn is a statement that waits for a lock which is held until the transaction ends. A transaction that lost begins with it when
	// it is run again, so that those who lose stand in line rather than collide anew. Empty: transactions stand in line anyway.
	Turn string
	// Outage is for how long a server that is gone is tried again; 0: 10 s.
	Outage time.Duration
	// Retried is told of every attempt that is to be made again, and why.
	Retried func(ctx context.Context, attempt int, err error)
}

// withDefaults fills in what an engine does not know.
func (d Dialect) withDefaults() Dialect {
	no := func(error) bool { return false }
	for _, is := range []*func(error) bool{&d.IsUnique, &d.IsForeign, &d.IsRetry, &d.IsGone, &d.IsUnknown} {
		if *is == nil {
			*is = no
		}
	}
	if d.Outage == 0 {
		d.Outage = defaultOutage
	}
	if d.Retried == nil {
		d.Retried = func(context.Context, int, error) {}
	}
	return d
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
	return &Store{write: write, read: read, dialect: d.withDefaults()}
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
