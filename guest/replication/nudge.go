package replication

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/huker/huker/internal/failover"
)

// nudgeAfter is how long commits wait before that helps which enough members could acknowledge.
const nudgeAfter = 100 * time.Millisecond

// maxNudges is how many may wait at once. There is another one only when members have connected again, which takes them a second and more.
const maxNudges = 8

// nudges are what helps commits that wait though there are enough who could acknowledge them: a later commit. A member that received a transaction, and whose
// acknowledgement was lost with its connection, or which acknowledged nothing then, does not acknowledge it when it is back (seen on 9.7.4): the commit waits until
// something later is acknowledged, for ever if nobody writes. A nudge can be lost in the same way: it is good for the connections that there were, and no others.
type nudges struct {
	since time.Time // since when commits wait; or when that was last done something about
	links []uint64  // the connections that there were then
}

// help commits something where commits are stuck.
func (s *Server) help(p failover.Serving) error {
	s.mu.Lock()
	stuck := p.Waiting > 0 && len(p.Attached) >= p.Acks
	var free string // the name of a nudge that does not wait
	waits := false
	for _, name := range nudgeNames {
		if s.tasks[name] != nil {
			waits = true
		} else if free == "" {
			free = name
		}
	}
	switch {
	case !stuck:
		s.nudges.since = time.Time{}
	case s.nudges.since.IsZero():
		s.nudges.since = time.Now()
	}
	due := stuck && free != "" && time.Since(s.nudges.since) >= nudgeAfter && (!waits || !slices.Equal(s.nudges.links, s.links))
	if due {
		s.nudges = nudges{since: time.Now(), links: s.links}
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	// It is in the binary log, does next to nothing, and needs neither a table nor a lock.
	_, err := s.launch(free, "", func(ctx context.Context, c *sql.Conn) error { return run(ctx, c, "FLUSH OPTIMIZER_COSTS") })
	return err
}

// nudgeNames are the tasks' names.
var nudgeNames = func() (names []string) {
	for i := range maxNudges {
		names = append(names, fmt.Sprintf("nudge %d", i+1))
	}
	return names
}()

// links are the connections of who acknowledges.
func (now reading) links() (ids []uint64) {
	for _, t := range now.threads {
		if t.dumps() && orEmpty(t.Acks) == "1" {
			ids = append(ids, t.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
