package workload

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/huker/huker/test/chaos/check"
)

// Set has writers insert rows, each of them once, and reads now and then what is there.
type Set struct {
	Connector driver.Connector
	Clock     Clock
	Writers   int           // 0: 8
	Pace      time.Duration // of each writer, between two rows; 0: as fast as it goes
	Every     time.Duration // between two reads; 0: a second
	Window    int64         // how many of the newest rows are read; 0: 5,000

	next   atomic.Int64
	mu     sync.Mutex
	writes []check.Write
	reads  []check.Read
}

// What is said to the server, for a pretended one to know it.
const (
	setCreate = "CREATE TABLE IF NOT EXISTS chaos_set (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL, KEY (number))"
	setEmpty  = "DELETE FROM chaos_set"
	setInsert = "INSERT INTO chaos_set (number) VALUES (?)"
	setRead   = "SELECT number FROM chaos_set WHERE number >= ?"
)

const (
	usualWriters = 8
	usualWindow  = 5000
)

// Prepare makes the table, and waits until that is done.
func (s *Set) Prepare(ctx context.Context) error {
	return prepare(ctx, s.Connector, setCreate, setEmpty)
}

// Run writes and reads until ctx ends, and returns when every request has come to its end. All numbers may be given before.
func (s *Set) Run(ctx context.Context) {
	if s.Writers == 0 {
		s.Writers = usualWriters
	}
	var clients sync.WaitGroup
	for range s.Writers {
		clients.Go(func() { s.write(ctx) })
	}
	clients.Go(func() { s.look(ctx) })
	clients.Wait()
}

func (s *Set) write(ctx context.Context) {
	session := NewSession(s.Connector)
	defer session.Close()
	const breath = 10 * time.Millisecond // after an error, so as not to be a flood
	asked := context.WithoutCancel(ctx)  // who is cut off by ourselves would only know less
	for ctx.Err() == nil {
		w := check.Write{Row: s.next.Add(1), Sent: s.Clock.Now()}
		w.Outcome, _ = session.Exec(asked, setInsert, w.Row)
		w.Done = s.Clock.Now()
		s.mu.Lock()
		s.writes = append(s.writes, w)
		s.mu.Unlock()
		pause := s.Pace
		if w.Outcome != check.OK {
			pause = max(pause, breath)
		}
		if pause > 0 {
			_ = Wait(ctx, pause)
		}
	}
}

func (s *Set) look(ctx context.Context) {
	session := NewSession(s.Connector)
	defer session.Close()
	every, window := s.Every, s.Window
	if every == 0 {
		every = time.Second
	}
	if window == 0 {
		window = usualWindow
	}
	for Wait(ctx, every) == nil {
		_ = s.read(context.WithoutCancel(ctx), session, max(0, s.next.Load()-window))
	}
}

func (s *Set) read(ctx context.Context, session *Session, from int64) error {
	r := check.Read{Sent: s.Clock.Now(), From: from}
	var err error
	if r.Rows, err = session.all(ctx, setRead, from); err != nil {
		return err // it has learned nothing
	}
	r.Done = s.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, r)
	return nil
}

// Finish reads all that is there, as soon as that can be done, and gives the verdict. It is to be called when Run has returned.
func (s *Set) Finish(ctx context.Context) (check.Set, error) {
	session := NewSession(s.Connector)
	defer session.Close()
	for {
		err := s.read(ctx, session, 0)
		if err == nil {
			break
		}
		if Wait(ctx, 200*time.Millisecond) != nil {
			return check.Set{}, fmt.Errorf("reading what is there at the end: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return check.CheckSet(s.writes, s.reads)
}

// Writes are those that have come to their end so far.
func (s *Set) Writes() []check.Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]check.Write(nil), s.writes...)
}
