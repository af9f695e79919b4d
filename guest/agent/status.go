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
	ended   chan struct{} // closed and replaced after each reading
	reading int           // readings that were begun
	done    int           // the newest that is over
	busy    bool          // somebody reads mysqld, time and again
	hush    time.Time     // until then nobody is told, unless something was read before
}

func newStatus(s protocol.GuestStatus) *status {
	return &status{now: s, changed: make(chan struct{}), ended: make(chan struct{})}
}

// get gives the status.
func (s *status) get() protocol.GuestStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// quietMost is how long an agent that has come says nothing of a mysqld that runs, and does not let it in: then it says that it starts.
const quietMost = 5 * time.Second

// quiet has nobody be told before a server was read, for a while: an agent that has just come to a mysqld that runs knows less of it than the one before has said.
func (s *status) quiet(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hush = time.Now().Add(d)
}

// tell gives the status, as soon as there is something to be told, and a channel that is closed when it is no longer the present one.
func (s *status) tell(ctx context.Context) (protocol.GuestStatus, <-chan struct{}, error) {
	for {
		s.mu.Lock()
		now, changed, left := s.now, s.changed, time.Until(s.hush)
		s.mu.Unlock()
		if left <= 0 {
			return now, changed, nil
		}
		t := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
		}
		t.Stop()
		if ctx.Err() != nil {
			return now, changed, ctx.Err()
		}
	}
}

// serving gives the server while the database serves, else nil and a channel as of tell.
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
	if server == nil {
		s.now.Notice = "" // it is of a database that serves
	}
	if !s.hush.IsZero() {
		s.hush = time.Time{}
		close(s.changed)
		s.changed = make(chan struct{})
	}
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
	s.now.Serial = before.Serial + 1
	if news(before, s.now) || s.server != had {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// read lets look look at mysqld, of which it puts into the status what it finds; whoever waits in reread for a newer one than there was, has it then.
func (s *status) read(look func()) {
	s.mu.Lock()
	s.busy = true
	s.reading++
	n := s.reading
	s.mu.Unlock()
	look()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = n
	close(s.ended)
	s.ended = make(chan struct{})
}

// unread says that nobody reads mysqld any more.
func (s *status) unread() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	close(s.ended)
	s.ended = make(chan struct{})
}

// reread waits until the status was read after the call. Where nobody can ask mysqld, it is as new as can be.
func (s *status) reread(ctx context.Context, wake func()) error {
	s.mu.Lock()
	after := s.reading
	s.mu.Unlock()
	wake()
	for {
		s.mu.Lock()
		over, ended := s.done > after || !s.busy, s.ended
		s.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			wake()
		}
	}
}
