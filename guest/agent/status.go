package agent

import (
	"context"
	"sync"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/internal/protocol"
)

// status is what the agent says of its guest, and the door to the server while it serves.
type status struct {
	mu      sync.Mutex
	now     protocol.GuestStatus
	server  *admin.Server // non-nil while the database serves
	run     time.Time     // the start of the mysqld whose gate is held; zero while none is
	changed chan struct{} // closed and replaced at each change
}

func newStatus(s protocol.GuestStatus) *status { return &status{now: s, changed: make(chan struct{})} }

// get gives the status, and a channel that is closed when it is no longer the present one.
func (s *status) get() (protocol.GuestStatus, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.changed
}

// serving gives the server while the database serves, else nil and a channel as of get.
func (s *status) serving() (*admin.Server, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server, s.changed
}

// update changes the status; only a real change wakes those who wait.
func (s *status) update(change func(now *protocol.GuestStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	change(&s.now)
	s.signal(before, s.server)
}

// shut says what the database is while nobody holds its gate.
func (s *status) shut(change func(now *protocol.GuestStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(time.Time{}, nil, change)
}

// held says what the database is for its clients, by who holds its gate: of the mysqld that was started at run.
func (s *status) held(run time.Time, server *admin.Server, change func(now *protocol.GuestStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(run, server, change)
}

func (s *status) set(run time.Time, server *admin.Server, change func(now *protocol.GuestStatus)) {
	before, had := s.now, s.server
	s.run, s.server = run, server
	change(&s.now)
	s.signal(before, had)
}

// holds waits until the gate of the mysqld that was started at run is held.
func (s *status) holds(ctx context.Context, run time.Time) error {
	for {
		s.mu.Lock()
		held, changed := s.run.Equal(run), s.changed
		s.mu.Unlock()
		if held {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (s *status) signal(before protocol.GuestStatus, had *admin.Server) {
	if s.now != before || s.server != had {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}
