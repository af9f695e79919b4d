package replication

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// What goes on in the background.
const (
	taskReadOnly = "read only"
	taskGuard    = "guard"
	taskStop     = "stop the receiver"
	taskAdmit    = "admit"
	taskSeal     = "seal"
	taskProbe    = "probe"
	taskClone    = "clone"
)

// Sessions of acts wait for locks no longer than an act may take; those of tasks as long as MySQL lets them.
const (
	setupAct  = "SET SESSION sql_log_bin = 0, lock_wait_timeout = 4"
	setupTask = "SET SESSION lock_wait_timeout = 31536000"
	// While SET read_only=ON waits for statements that write, no others begin; nor does the write with which an agent proves that the primary is well. So it
	// waits for the least that there is, a second, well below what has a primary be replaced, and again after a pause.
	setupGuard = "SET SESSION lock_wait_timeout = 1"
	setupOwn   = "SET SESSION sql_log_bin = 0, lock_wait_timeout = 31536000" // of what no other server is to get
)

// task is a statement that may wait for ever, in a session of its own.
type task struct {
	key   string // what it is about: another one of the same name and another key has to wait for it
	since time.Time
	done  chan struct{} // closed at its end
	err   error         // then
	conn  uint64        // its connection's id; 0 until it is known. Guarded by Server.mu
}

// begin starts f in the background unless a task of that name goes on already, and waits for it for a moment. ErrPending: it goes on.
func (s *Server) begin(ctx context.Context, name, key string, f func(context.Context, *sql.Conn) error) error {
	t, err := s.launch(name, key, f)
	if err != nil {
		return err
	}
	timer := time.NewTimer(brief)
	defer timer.Stop()
	select {
	case <-t.done:
		return t.err
	case <-timer.C:
	case <-ctx.Done():
	}
	return fmt.Errorf("%s: %w", name, ErrPending)
}

func (s *Server) launch(name, key string, f func(context.Context, *sql.Conn) error) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[name]
	switch {
	case t != nil && t.key != key:
		return nil, fmt.Errorf("%s: %w: the one before has not ended", name, ErrPending)
	case t != nil:
		return t, nil
	case s.ctx.Err() != nil:
		return nil, s.ctx.Err()
	}
	t = &task{key: key, since: time.Now(), done: make(chan struct{})}
	s.tasks[name] = t
	s.work.Go(func() { s.perform(name, t, f) })
	return t, nil
}

func (s *Server) perform(name string, t *task, f func(context.Context, *sql.Conn) error) {
	lane := s.lanes[name]
	err := lane.use(s.ctx, func(ctx context.Context, c *sql.Conn) error {
		s.mu.Lock()
		t.conn = lane.id
		s.mu.Unlock()
		return f(ctx, c)
	})
	if err != nil {
		t.err = fmt.Errorf("%s: %w", name, err)
	}
	s.mu.Lock()
	delete(s.tasks, name)
	s.mu.Unlock()
	close(t.done)
}

// running gives the task of that name, and its connection as far as it is known; nil: there is none.
func (s *Server) running(name string) (*task, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[name]
	if t == nil {
		return nil, 0
	}
	return t, t.conn
}

// interrupt ends a task's statement, and waits for the task's end. Never for one that waits for acknowledgements.
func (s *Server) interrupt(ctx context.Context, name string) error {
	killed := false
	for {
		t, id := s.running(name)
		if t == nil {
			break
		}
		if id != 0 {
			killed = true
			if err := s.killQuery(ctx, id); err != nil {
				return err
			}
		}
		select {
		case <-t.done:
		case <-time.After(20 * time.Millisecond): // its statement may only have begun after the KILL
		case <-ctx.Done():
			return fmt.Errorf("interrupt %s: %w", name, ctx.Err())
		}
	}
	if !killed {
		return nil
	}
	// A KILL that came too late would end the session's next statement.
	lane := s.lanes[name]
	return lane.use(ctx, func(context.Context, *sql.Conn) error { lane.drop(); return nil })
}

func (s *Server) killQuery(ctx context.Context, id uint64) error {
	return s.hand.use(ctx, func(ctx context.Context, c *sql.Conn) error { return ended(run(ctx, c, "KILL QUERY ?", id)) })
}

// ended takes it as done that there is nobody to kill.
func ended(err error) error {
	if isNumber(err, erNoSuchThread) {
		return nil
	}
	return err
}

// warm opens all sessions, once, before they are needed.
func (s *Server) warm() {
	s.warming.Do(func() {
		s.work.Go(func() {
			for _, c := range s.sessions() {
				if err := c.use(s.ctx, func(context.Context, *sql.Conn) error { return nil }); err != nil && s.ctx.Err() == nil {
					s.log.Warn("a session cannot be opened ahead of need", "op", "sign-in", "err", err)
				}
			}
		})
	})
}
