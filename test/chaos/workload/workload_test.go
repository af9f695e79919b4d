package workload

import (
	"context"
	"database/sql/driver"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/chaos/check"
)

// during runs workloads for a while, with something done in the middle.
func during(t *testing.T, d time.Duration, middle func(), runs ...func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var all sync.WaitGroup
	for _, run := range runs {
		all.Go(func() { run(ctx) })
	}
	if middle != nil {
		require.NoError(t, Wait(ctx, d/2))
		middle()
	}
	all.Wait()
}

const while = 300 * time.Millisecond

func TestSetFindsWhatAServerDoes(t *testing.T) {
	const nth = 50
	// only has one insert go wrong.
	only := func(stored func(row int64) []int64, err error) func(*server) {
		return func(s *server) {
			s.insert = func(n int, row int64) ([]int64, error) {
				if n == nth {
					return stored(row), err
				}
				return []int64{row}, nil
			}
		}
	}
	nothing := func(int64) []int64 { return nil }
	itself := func(row int64) []int64 { return []int64{row} }
	for name, c := range map[string]struct {
		cheat func(*server)
		found func(check.Set) int
	}{
		"nothing":              {func(*server) {}, nil},
		"connections lost":     {only(nothing, errLost), nil},
		"answers lost":         {only(itself, errLost), nil},
		"refused":              {only(nothing, errRefused), nil},
		"acknowledged, lost":   {only(nothing, nil), func(v check.Set) int { return len(v.Lost) }},
		"refused, done":        {only(itself, errRefused), func(v check.Set) int { return len(v.Refuted) }},
		"doubled":              {only(func(row int64) []int64 { return []int64{row, row} }, nil), func(v check.Set) int { return len(v.Doubled) }},
		"another's row":        {only(func(row int64) []int64 { return []int64{row, row + 1e9} }, nil), func(v check.Set) int { return len(v.Unexpected) }},
		"out of order for all": {func(s *server) { s.read = backwards }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			c.cheat(s)
			set := &Set{Connector: s, Clock: NewClock(), Pace: time.Millisecond, Every: while / 10}
			require.NoError(t, set.Prepare(t.Context()))
			during(t, while, nil, set.Run)
			v, err := set.Finish(t.Context())
			require.NoError(t, err)
			require.Greater(t, v.Acknowledged, nth)
			if c.found == nil {
				require.NoError(t, v.Err())
				return
			}
			require.Equal(t, 1, c.found(v), "%+v", v)
			require.Error(t, v.Err())
		})
	}
}

func backwards(rows []int64) []int64 { slices.Reverse(rows); return rows }

func TestSetFindsStaleReads(t *testing.T) {
	s := newServer()
	set := &Set{Connector: s, Clock: NewClock(), Pace: time.Millisecond, Every: while / 20}
	during(t, while, func() {
		s.change(func() {
			old := slices.Clone(s.set)
			s.read = func([]int64) []int64 { return old }
		})
	}, set.Run)
	s.change(func() { s.read = nil })
	v, err := set.Finish(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Lost)
	require.NotEmpty(t, v.Late)
}

func TestSetFindsWhatWasReadAndGone(t *testing.T) {
	s := newServer()
	s.insert = func(n int, row int64) ([]int64, error) {
		if n%10 == 0 {
			return []int64{row}, errLost
		}
		return []int64{row}, nil
	}
	set := &Set{Connector: s, Clock: NewClock(), Pace: time.Millisecond, Every: while / 20}
	during(t, while, nil, set.Run)
	unknown := 0
	for _, w := range set.Writes() {
		if w.Outcome == check.Unknown {
			s.change(func() { s.set = slices.DeleteFunc(s.set, func(row int64) bool { return row == w.Row }) })
			unknown++
		}
	}
	require.Positive(t, unknown)
	v, err := set.Finish(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Lost)
	require.NotEmpty(t, v.Vanished)
}

func TestSetMeasuresGaps(t *testing.T) {
	s := newServer()
	set := &Set{Connector: s, Clock: NewClock(), Pace: time.Millisecond}
	var from, to time.Duration
	during(t, while, func() {
		from = set.Clock.Now()
		s.change(func() { s.insert = func(int, int64) ([]int64, error) { return nil, errRefused } })
		require.NoError(t, Wait(t.Context(), while/4))
		to = set.Clock.Now()
		s.change(func() { s.insert = nil })
	}, set.Run)
	gap := check.LongestGap(check.Acknowledged(set.Writes()), check.Span{From: from, To: to}, set.Clock.Now())
	require.GreaterOrEqual(t, gap.Length(), while/4)
	require.InDelta(t, from.Seconds(), gap.From.Seconds(), while.Seconds()/8)
}

func TestRegistersFindWhatAServerDoes(t *testing.T) {
	for name, c := range map[string]struct {
		commit func(n int) (bool, error)
		middle func(*server)
		wrong  bool
	}{
		"nothing":          {nil, nil, false},
		"connections lost": {func(n int) (bool, error) { return n%20 != 0, lostEvery(n, 10) }, nil, false},
		"refused":          {func(n int) (bool, error) { return n%10 != 0, refusedEvery(n, 10) }, nil, false},
		"lost":             {func(n int) (bool, error) { return n%10 != 0, nil }, nil, true},
		"refused, done":    {func(n int) (bool, error) { return true, refusedEvery(n, 10) }, nil, true},
		"set back":         {nil, func(s *server) { maps.Copy(s.registers, s.stale); s.stale = nil }, true},
		"stale reads":      {nil, func(*server) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer()
			s.commit = c.commit
			r := &Registers{Connector: s, Clock: NewClock(), Seed: 1, Pace: time.Millisecond, Length: 100}
			require.NoError(t, r.Prepare(t.Context()))
			during(t, while, func() {
				if c.middle == nil {
					return
				}
				s.change(func() { s.stale = maps.Clone(s.registers) })
				require.NoError(t, Wait(t.Context(), while/10))
				s.change(func() { c.middle(s) })
			}, r.Run)
			v := r.Finish()
			require.Empty(t, v.Undecided)
			require.Greater(t, v.OK, 100)
			require.Equal(t, c.wrong, v.Err() != nil, v.Err())
		})
	}
}

func lostEvery(n, times int) error {
	if n%times == 0 {
		return errLost
	}
	return nil
}

func refusedEvery(n, times int) error {
	if n%times == 0 {
		return errRefused
	}
	return nil
}

func TestWatchFindsTwo(t *testing.T) {
	for _, writing := range []bool{false, true} {
		a, b := newServer(), newServer()
		b.open = false
		w := &Watch{Members: map[string]driver.Connector{"a": a, "b": b}, Clock: NewClock(), Every: time.Millisecond, Write: writing}
		hand := func(from, to *server) { // over in order
			from.change(func() { from.open = false })
			to.change(func() { to.open = true })
		}
		during(t, while, func() { hand(a, b) }, w.Run)
		v := w.Finish()
		require.NoError(t, v.Err())
		require.Len(t, v.Reigns, 2)

		w = &Watch{Members: w.Members, Clock: NewClock(), Every: time.Millisecond, Write: writing}
		during(t, while, func() {
			a.change(func() { a.open = true })
			require.NoError(t, Wait(t.Context(), while/10))
			b.change(func() { b.open = false })
		}, w.Run)
		v = w.Finish()
		require.Len(t, v.Rivals, 1)
		require.InDelta(t, (while / 10).Seconds(), v.Rivals[0].Length().Seconds(), (while / 10).Seconds())
		require.Error(t, v.Err())

		w = &Watch{Members: w.Members, Clock: NewClock(), Every: time.Millisecond, Write: writing}
		during(t, while, func() { a.change(func() { a.away = true }) }, w.Run)
		v = w.Finish()
		require.NoError(t, v.Err(), "what is away is not open")
		require.Less(t, v.Reigns[0].To, while*3/4)
	}
}

func TestHealth(t *testing.T) {
	var mu sync.Mutex
	ill := true
	h := &Health{Clock: NewClock(), Every: time.Millisecond, Ask: func(context.Context) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		if ill {
			return []string{"b is away"}, nil
		}
		return nil, nil
	}}
	healed := time.Duration(0)
	during(t, while, func() {
		short, cancel := context.WithTimeout(t.Context(), while/10)
		defer cancel()
		require.Equal(t, []string{"b is away"}, h.AwaitWell(short, time.Millisecond))
		mu.Lock()
		healed = h.Clock.Now()
		ill = false
		mu.Unlock()
		require.Empty(t, h.AwaitWell(t.Context(), 10*time.Millisecond))
	}, h.Run)
	took, err := h.Recovery(healed, while)
	require.NoError(t, err)
	require.Less(t, took, while/4)
}

func TestJudge(t *testing.T) {
	for want, errs := range map[check.Outcome][]error{
		check.OK:      {nil},
		check.Refused: {errRefused, driver.ErrBadConn, &mysql.MySQLError{Number: 1213}},
		// A session that is killed while it waits for an acknowledgement has committed.
		check.Unknown: {errLost, errors.New("i/o timeout"), &mysql.MySQLError{Number: 1317}, &mysql.MySQLError{Number: 1053}, errOffline},
	} {
		for _, err := range errs {
			require.Equal(t, want, Judge(err), "%v", err)
		}
	}
}
