package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at makes a write that takes a tenth of a second.
func at(row int64, s float64, o Outcome) Write {
	sent := seconds(s)
	return Write{Row: row, Sent: sent, Done: sent + 100*time.Millisecond, Outcome: o}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func read(s float64, rows ...int64) Read {
	return Read{Sent: seconds(s), Done: seconds(s) + 100*time.Millisecond, Rows: rows}
}

func TestSetFinds(t *testing.T) {
	writes := []Write{at(1, 0, OK), at(2, 1, OK), at(3, 2, Unknown), at(4, 2, Refused), at(5, 4, OK)}
	for name, c := range map[string]struct {
		reads []Read
		want  Set // of the lists only
	}{
		"nothing":                              {[]Read{read(9, 1, 2, 5)}, Set{}},
		"nothing when an unknown one survived": {[]Read{read(9, 3, 2, 5, 1)}, Set{Survived: 1}},
		"lost":                                 {[]Read{read(9, 1, 5)}, Set{Lost: []int64{2}}},
		"everything lost":                      {[]Read{read(9)}, Set{Lost: []int64{1, 2, 5}}},
		"unexpected":                           {[]Read{read(9, 1, 2, 5, 6, 7)}, Set{Unexpected: []int64{6, 7}}},
		"unexpected, and gone at the end":      {[]Read{read(3, 1, 2, 8), read(9, 1, 2, 5)}, Set{Unexpected: []int64{8}}},
		"refused and there":                    {[]Read{read(9, 1, 2, 4, 5)}, Set{Refuted: []int64{4}}},
		"doubled":                              {[]Read{read(9, 1, 2, 2, 5)}, Set{Doubled: []int64{2}}},
		"a stale read":                         {[]Read{read(1.2, 1), read(9, 1, 2, 5)}, Set{Late: []Absence{{2, seconds(1.2)}}}},
		"no stale read of what is under way":   {[]Read{read(1.05, 1), read(9, 1, 2, 5)}, Set{}},
		"a lost one is lost, not late":         {[]Read{read(1.2, 1), read(9, 1, 5)}, Set{Lost: []int64{2}}},
		"read, and gone":                       {[]Read{read(3, 1, 2, 3), read(9, 1, 2, 5)}, Set{Vanished: []Absence{{3, seconds(9)}}}},
		"gone by a read at the same time":      {[]Read{read(3, 1, 2, 3), read(3.05, 1, 2), read(9, 1, 2, 3, 5)}, Set{Survived: 1}},
		"not what was not asked for":           {[]Read{{Sent: seconds(8), Done: seconds(8.1), From: 5, Rows: []int64{5}}, read(9, 1, 2, 5)}, Set{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := CheckSet(writes, c.reads)
			require.NoError(t, err)
			c.want.Acknowledged, c.want.Refused, c.want.Unknown = 3, 1, 1
			require.Equal(t, c.want, got)
			wrong := len(got.Lost)+len(got.Unexpected)+len(got.Refuted)+len(got.Doubled)+len(got.Late)+len(got.Vanished) > 0
			require.Equal(t, wrong, got.Err() != nil, got.Err())
		})
	}
}

func TestSetNeedsTheEnd(t *testing.T) {
	for name, reads := range map[string][]Read{
		"no read": nil, "too early": {read(1.05, 1, 2)}, "not of everything": {{Sent: seconds(9), From: 2, Rows: []int64{2}}},
	} {
		_, err := CheckSet([]Write{at(1, 0, OK), at(2, 1, OK)}, reads)
		require.ErrorIs(t, err, ErrNothingRead, name)
	}
	_, err := CheckSet([]Write{at(1, 0, OK), at(1, 1, OK)}, []Read{read(9, 1)})
	require.Error(t, err, "who sends a row twice cannot tell")
}

func TestLongestGap(t *testing.T) {
	acks := []time.Duration{4, 1, 2, 9, 10, 11, 13}
	for name, c := range map[string]struct{ of, want Span }{
		"inside":                  {Span{1, 13}, Span{4, 9}},
		"touches its begin":       {Span{8, 10}, Span{4, 9}},
		"touches its end":         {Span{2, 5}, Span{4, 9}},
		"the longest of those":    {Span{9, 13}, Span{11, 13}},
		"from the start":          {Span{0, 1}, Span{0, 1}},
		"until the end":           {Span{14, 15}, Span{13, 20}},
		"longer than the run was": {Span{14, 25}, Span{13, 25}},
	} {
		require.Equal(t, c.want, LongestGap(acks, c.of, 20), name)
	}
	require.Equal(t, Span{0, 7}, LongestGap(nil, Span{2, 3}, 7))
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	require.Zero(t, Quantile(times, 0.5))
	for n := range 20 {
		times = append(times, time.Duration(20-n))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.05: 1, 0.06: 2, 0.5: 10, 0.99: 20, 1: 20} {
		require.Equal(t, want, Quantile(times, q), q)
	}
}
