package lessons

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
)

// scenario is a cluster that is well and written to all the time, of which every member is looked at, while something is done to it.
type scenario struct {
	*testing.T
	*cluster
	clock  workload.Clock
	set    *workload.Set
	struck []fault.Fault
	first  time.Duration // when something was done first
}

// play runs a scenario, waits until the cluster is well by itself, and judges.
func (l *shared) play(t *testing.T, run func(*scenario)) {
	t.Helper()
	c := l.get(t)
	s := &scenario{T: t, cluster: c, clock: workload.NewClock()}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell()
		}
	})
	s.set = &workload.Set{Connector: c.endpoint, Clock: s.clock, Writers: 3, Pace: 15 * time.Millisecond}
	watch := &workload.Watch{Members: map[string]driver.Connector{}, Clock: s.clock, Every: 100 * time.Millisecond, Write: true}
	for _, m := range c.members {
		watch.Members[m.name] = m.direct
	}
	require.NoError(t, s.set.Prepare(t.Context()))
	require.NoError(t, watch.Prepare(t.Context(), c.endpoint))
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { s.set.Run(ctx) })
	work.Go(func() { watch.Run(ctx) })
	defer work.Wait()
	defer stop()
	defer s.heal() // whatever comes of it, the next one finds nothing of it
	s.writesGoOn(10 * time.Second)
	run(s)
	s.heal()
	healed := s.clock.Now()
	s.well()
	took := s.clock.Now() - healed
	s.writesGoOn(10 * time.Second)
	end := s.clock.Now()
	stop()
	work.Wait()
	verdict, err := s.set.Finish(t.Context())
	require.NoError(t, err)
	gap := check.LongestGap(check.Acknowledged(s.set.Writes()), check.Span{From: s.first, To: end}, end)
	t.Logf("longest gap %.2f s, well %.2f s after the last fault, %.1f s in all; rows: %d acknowledged, %d refused, %d not known, of which %d are there",
		gap.Length().Seconds(), took.Seconds(), s.clock.Now().Seconds(), verdict.Acknowledged, verdict.Refused, verdict.Unknown, verdict.Survived)
	require.NoError(t, verdict.Err())
	require.NoError(t, watch.Finish().Err())
	s.sameEverywhere(verdict.Acknowledged + verdict.Survived)
	s.sound()
	l.ill = false
}

// tell shows what the control plane and the agents had to say.
func (s *scenario) tell() {
	var lines []string
	for line := range strings.Lines(s.plane.Output()) {
		if !strings.Contains(line, `"msg":"request"`) {
			lines = append(lines, line)
		}
	}
	s.Logf("it began at %s; the control plane's log, but for requests:\n%s", s.clock.Time(0).UTC(), strings.Join(lines[max(0, len(lines)-300):], ""))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), 20*time.Second)
	defer cancel()
	for _, m := range s.members {
		s.Logf("log of %s (%s, %s):\n%s", m.name, m.id, m.address, m.log(ctx))
	}
	members, err := s.plane.API.ClusterMembers(ctx, s.id)
	s.Logf("members: %+v %v", members, err)
}

// do strikes.
func (s *scenario) do(faults ...fault.Fault) {
	s.Helper()
	if s.first == 0 {
		s.first = s.clock.Now()
	}
	for _, f := range faults {
		s.struck = append(s.struck, f)
		require.NoError(s, f.Do(s.Context()), f.Name())
		s.Logf("%6.2f s %s", s.clock.Now().Seconds(), f.Name())
	}
}

// heal undoes what was done, or some of it.
func (s *scenario) heal(only ...fault.Fault) {
	s.Helper()
	if len(only) == 0 {
		only, s.struck = s.struck, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), time.Minute)
	defer cancel()
	for _, f := range slices.Backward(only) {
		if err := f.Heal(ctx); err != nil {
			s.Errorf("undoing that %s: %v", f.Name(), err)
		}
	}
}

// note says what has come about.
func (s *scenario) note(format string, args ...any) {
	s.Helper()
	s.Logf("%6.2f s %s", s.clock.Now().Seconds(), fmt.Sprintf(format, args...))
}

func (s *scenario) until(what string, limit time.Duration, so func() error) {
	s.Helper()
	until(s.T, what, limit, so)
	s.note("%s", what)
}

// pause lets things be as they are for a while.
func (s *scenario) pause(d time.Duration) {
	s.Helper()
	require.NoError(s, workload.Wait(s.Context(), d))
}

// now is the cluster as the API shows it.
func (s *scenario) now() client.Cluster {
	s.Helper()
	now, err := s.plane.API.Cluster(s.Context(), s.id)
	require.NoError(s, err)
	return now
}

// roles gives the primary and the others.
func (s *scenario) roles() (primary *member, others []*member) {
	s.Helper()
	id := s.now().Primary
	for _, m := range s.members {
		if m.id == id {
			primary = m
		} else {
			others = append(others, m)
		}
	}
	require.NotNil(s, primary, "there is no primary")
	return primary, others
}

// ledBy waits until one of those is the primary.
func (s *scenario) ledBy(limit time.Duration, of ...*member) *member {
	s.Helper()
	var now *member
	s.until("the primary is another one", limit, func() error {
		c, err := s.plane.API.Cluster(s.Context(), s.id)
		n := slices.IndexFunc(of, func(m *member) bool { return m.id == c.Primary })
		if err != nil || n < 0 {
			return fmt.Errorf("%q is the primary: %s %w", c.Primary, c.Condition, err)
		}
		now = of[n]
		return nil
	})
	return now
}

// well waits until the cluster has been whole for a moment.
func (s *scenario) well() {
	s.Helper()
	const lasting = 600 * time.Millisecond
	var since time.Time
	until(s.T, "the cluster is well", healthLimit, func() error {
		now, err := s.plane.API.Cluster(s.Context(), s.id)
		if err := errors.Join(err, troubles(now)); err != nil {
			since = time.Time{}
			return err
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < lasting {
			return errors.New("it is well, but not for long enough")
		}
		return nil
	})
}

// acked counts the rows acknowledged since a moment.
func (s *scenario) acked(since time.Duration) int {
	acks := check.Acknowledged(s.set.Writes())
	n, _ := slices.BinarySearch(acks, since)
	return len(acks) - n
}

// writesGoOn waits until a number of rows has been acknowledged from now on.
func (s *scenario) writesGoOn(limit time.Duration) {
	s.Helper()
	from := s.clock.Now()
	until(s.T, "writes go on", limit, func() error {
		if n := s.acked(from); n < 20 {
			return fmt.Errorf("%d rows were acknowledged", n)
		}
		return nil
	})
}

// silent says that nothing is acknowledged for a while, but for what was under way.
func (s *scenario) silent(d time.Duration) {
	s.Helper()
	s.pause(200 * time.Millisecond)
	from := s.clock.Now()
	s.pause(d)
	require.Zero(s, s.acked(from), "rows were acknowledged")
}

// live asks the members' agents how they are; one that does not answer is not among them.
func (s *scenario) live() map[string]client.LiveMember {
	s.Helper()
	all, err := s.plane.API.ClusterMembers(s.Context(), s.id)
	require.NoError(s, err)
	by := map[string]client.LiveMember{}
	for _, m := range all {
		if m.Reachable {
			by[m.ID] = m
		}
	}
	return by
}

// held gives what a member has, and how much of that it has not applied yet.
func (s *scenario) held(m *member) (has gtid.Set, unapplied uint64) {
	s.Helper()
	executed := m.executed(s)
	retrieved := gtids(s.T, m.value(s, "SELECT RECEIVED_TRANSACTION_SET FROM performance_schema.replication_connection_status"))
	return executed.Union(retrieved), retrieved.Subtract(executed).Count()
}

// behind waits until so many transactions lie on members that have received and not applied them.
func (s *scenario) behind(n uint64, members ...*member) {
	s.Helper()
	for _, m := range members {
		s.until(fmt.Sprintf("%s has received %d transactions that it has not applied", m.name, n), 20*time.Second, func() error {
			if _, left := s.held(m); left < n {
				return fmt.Errorf("%d of them", left)
			}
			return nil
		})
	}
}

// server is the identity of a member's data.
func (s *scenario) server(m *member) string {
	s.Helper()
	is, ok := s.live()[m.id]
	require.True(s, ok, "%s does not answer", m.name)
	require.NotEmpty(s, is.Server)
	return is.Server
}

func (s *scenario) sql(m *member, text string) []string {
	s.Helper()
	rows, err := m.sql(s.Context(), text)
	require.NoError(s, err)
	return rows
}

// query reads one row of a member, at its own address.
func (s *scenario) query(m *member, to []any, text string) error {
	session := workload.NewSession(m.direct)
	defer session.Close()
	return session.Query(s.Context(), to, text)
}

// sameEverywhere waits until every member has the same rows, and as many as there should be.
func (s *scenario) sameEverywhere(rows int) {
	s.Helper()
	until(s.T, "every member has the same rows", 20*time.Second, func() error {
		want := int64(-1)
		for _, m := range s.members {
			var n, sum int64
			if err := s.query(m, []any{&n, &sum}, "SELECT COUNT(*), CAST(COALESCE(SUM(number * (number % 1009)), 0) AS SIGNED) FROM chaos_set"); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if want < 0 {
				want = sum
			}
			if n != int64(rows) || sum != want {
				return fmt.Errorf("%s has %d rows of sum %d, wanted %d of sum %d", m.name, n, sum, rows, want)
			}
		}
		return nil
	})
}

// never is rpl_semi_sync_source_timeout, in ms: the most that there is.
const never = 1<<32 - 1

// sound says that every member is set up as its part demands: whatever has happened, the primary waits for acknowledgements, practically for ever, and
// the others give them, and take no writes.
func (s *scenario) sound() {
	s.Helper()
	primary, _ := s.roles()
	for _, m := range s.members {
		var source, replica, readOnly, offline bool
		var acks int
		var timeout int64
		var point string
		until(s.T, m.name+" does its part", 10*time.Second, func() error {
			err := s.query(m, []any{&source, &acks, &timeout, &point, &replica, &readOnly, &offline}, `SELECT @@GLOBAL.rpl_semi_sync_source_enabled,
				@@GLOBAL.rpl_semi_sync_source_wait_for_replica_count, @@GLOBAL.rpl_semi_sync_source_timeout, @@GLOBAL.rpl_semi_sync_source_wait_point,
				@@GLOBAL.rpl_semi_sync_replica_enabled, @@GLOBAL.super_read_only, @@GLOBAL.offline_mode`)
			leads := m == primary
			if err == nil && (source != leads || !leads && !replica || readOnly == leads || offline || leads && acks != s.now().MinAcks) {
				err = errors.New("it does not")
			}
			if err != nil {
				return fmt.Errorf("primary %t, semi-sync source %t %d replica %t, read-only %t, offline %t: %w", leads, source, acks, replica, readOnly, offline, err)
			}
			return nil
		})
		require.EqualValues(s, never, timeout, m.name)
		require.Equal(s, "AFTER_SYNC", point, m.name)
	}
}

// dead is a member whose mysqld is killed and that nobody reaches until it is healed.
func dead(m *member) []fault.Fault {
	return []fault.Fault{fault.CutContainer(m.Container), fault.KillProgram(m.Container, mysqld)}
}

// The programs in a container.
const (
	mysqld = "mysqld"
	agent  = "huker-guestagent"
)

// locked has a member's mysqld commit nothing, though it answers and its connections stay: what a disk does that is dead.
func (s *scenario) locked(m *member) fault.Fault {
	const idle = "SELECT SLEEP(120)"
	return fault.Step{
		What: "nothing can be committed on " + m.name,
		Strike: func(ctx context.Context) error {
			go func() { _, _ = m.sql(ctx, "FLUSH TABLES WITH READ LOCK; "+idle) }()
			for {
				rows, err := m.sql(ctx, "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_INFO = '"+idle+"'")
				if err != nil || len(rows) == 1 && rows[0] == "1" {
					return err
				}
				if err := workload.Wait(ctx, beat); err != nil {
					return err
				}
			}
		},
		Undo: func(ctx context.Context) error {
			ids, err := m.sql(ctx, "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE PROCESSLIST_INFO = '"+idle+"'")
			for _, id := range ids {
				_, killed := m.sql(ctx, "KILL "+id)
				err = errors.Join(err, killed)
			}
			return err
		},
	}
}

// sent is a statement that is under way on a connection of its own, and waits for long.
type sent struct {
	done    chan struct{}
	outcome check.Outcome
	err     error
}

// send begins a statement at an address.
func (s *scenario) send(address, text string) *sent {
	s.Helper()
	w := &sent{done: make(chan struct{})}
	session := workload.NewSession(endpointAt(s.T, address, time.Minute))
	ctx := context.WithoutCancel(s.Context())
	go func() {
		defer close(w.done)
		defer session.Close()
		w.outcome, w.err = session.Exec(ctx, text)
	}()
	return w
}

func (w *sent) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}
