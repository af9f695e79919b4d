package workload

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"time"

	"github.com/huker/huker/test/chaos/check"
)

// Watch looks at every member, all the time, whether it is open for writes.
type Watch struct {
	// Members by name, each at its own address. Answers should be waited for a second at most: a look that takes long proves little.
	Members map[string]driver.Connector
	Clock   Clock
	Every   time.Duration // between two looks at one member; 0: 20 ms
	// Write has the looks write: then a member is open only if a write was acknowledged. Without it one is open if it says so. A primary that is cut off
	// may say so rightly, and yet cannot acknowledge anything; but a write that it is asked for makes it differ from the others.
	Write bool

	mu     sync.Mutex
	sights []check.Sight
}

const (
	watchLook   = "SELECT @@GLOBAL.super_read_only, @@GLOBAL.offline_mode, @@GLOBAL.server_uuid, CONNECTION_ID()"
	watchCreate = "CREATE TABLE IF NOT EXISTS chaos_watch (member VARCHAR(100) PRIMARY KEY, n BIGINT NOT NULL)"
	watchWrite  = "INSERT INTO chaos_watch (member, n) VALUES (?, 1) ON DUPLICATE KEY UPDATE n = n + 1"
)

// Prepare makes the table, through the address of the primary.
func (w *Watch) Prepare(ctx context.Context, primary driver.Connector) error {
	return prepare(ctx, primary, watchCreate)
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	every := w.Every
	if every == 0 {
		every = 20 * time.Millisecond
	}
	var watchers sync.WaitGroup
	for name, c := range w.Members {
		watchers.Go(func() {
			session := NewSession(c)
			defer session.Close()
			for {
				s := w.look(context.WithoutCancel(ctx), session, name)
				w.mu.Lock()
				w.sights = append(w.sights, s)
				w.mu.Unlock()
				if Wait(ctx, every) != nil {
					return
				}
			}
		})
	}
	watchers.Wait()
}

func (w *Watch) look(ctx context.Context, session *Session, name string) check.Sight {
	s := check.Sight{Member: name, Sent: w.Clock.Now()}
	var readOnly, offline bool
	var server string
	var connection int64
	err := session.Query(ctx, []any{&readOnly, &offline, &server, &connection}, watchLook)
	s.Done = w.Clock.Now()
	s.Seen = err == nil || Shut(err)
	if err != nil || readOnly || offline {
		return s
	}
	s.Open = true
	// A connection is to one start of one server.
	s.Identity = fmt.Sprintf("%s, connection %d", server, connection)
	if w.Write {
		s.Sent = w.Clock.Now()
		outcome, _ := session.Exec(ctx, watchWrite, name)
		s.Done = w.Clock.Now()
		s.Open, s.Seen = outcome == check.OK, outcome != check.Unknown
	}
	return s
}

// Finish gives the verdict. It is to be called when Run has returned.
func (w *Watch) Finish() check.Primaries {
	w.mu.Lock()
	defer w.mu.Unlock()
	return check.CheckPrimaries(w.sights)
}

// Health asks again and again what is wrong with a cluster.
type Health struct {
	Ask   func(context.Context) ([]string, error) // what is wrong; an error is wrong, too
	Clock Clock
	Every time.Duration // 0: half a second

	mu       sync.Mutex
	checkups []check.Checkup
}

// Run asks until ctx ends.
func (h *Health) Run(ctx context.Context) {
	every := h.Every
	if every == 0 {
		every = 500 * time.Millisecond
	}
	for {
		h.ask(ctx)
		if Wait(ctx, every) != nil {
			return
		}
	}
}

func (h *Health) ask(ctx context.Context) {
	c := check.Checkup{At: h.Clock.Now()}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*AnswerTimeout)
	defer cancel()
	problems, err := h.Ask(asking)
	if err != nil {
		problems = append(problems, err.Error())
	}
	c.Problems = problems
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checkups = append(h.checkups, c)
}

// AwaitWell waits until the cluster was well for some time, counted from now, or until ctx ends: then the last problems are given.
func (h *Health) AwaitWell(ctx context.Context, lasting time.Duration) []string {
	from := h.Clock.Now()
	for {
		since, problems := h.state(from)
		if problems == nil && since > 0 && h.Clock.Now()-since >= lasting {
			return nil
		}
		if Wait(ctx, 50*time.Millisecond) == nil {
			continue
		}
		switch since, problems = h.state(from); {
		case problems != nil:
			return problems
		case since == 0:
			return []string{"nobody has asked"}
		}
		return []string{"it is well, but not for long enough"}
	}
}

// state says since when all is well; or what is wrong.
func (h *Health) state(from time.Duration) (since time.Duration, problems []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.checkups {
		switch {
		case c.At < from:
		case len(c.Problems) > 0:
			since, problems = 0, c.Problems
		default:
			problems = nil
			if since == 0 {
				since = c.At
			}
		}
	}
	return since, problems
}

// Recovery says how long after a moment the cluster was well for good.
func (h *Health) Recovery(after, limit time.Duration) (time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return check.Recovery(h.checkups, after, limit)
}
