package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(member string, sent, done time.Duration) Sight {
	return Sight{Member: member, Sent: sent, Done: done, Seen: true, Open: true, Identity: member}
}

func shut(member string, sent, done time.Duration) Sight {
	s := open(member, sent, done)
	s.Open = false
	return s
}

func blind(member string, sent, done time.Duration) Sight {
	return Sight{Member: member, Sent: sent, Done: done}
}

func other(s Sight) Sight { s.Identity += ", started again"; return s }

func TestPrimariesFind(t *testing.T) {
	for name, c := range map[string]struct {
		sights []Sight
		rivals []Span
	}{
		"one": {[]Sight{open("a", 0, 1), open("a", 10, 11), shut("b", 0, 1), shut("b", 10, 11)}, nil},
		"one after the other": {
			[]Sight{open("a", 0, 1), open("a", 10, 11), shut("a", 20, 21), shut("b", 10, 11), open("b", 20, 21), open("b", 30, 31)}, nil,
		},
		"two": {
			[]Sight{open("a", 0, 1), open("a", 10, 11), open("a", 20, 21), open("b", 9, 10), open("b", 19, 20)}, []Span{{10, 19}},
		},
		"the order does not matter": {
			[]Sight{open("b", 19, 20), open("a", 20, 21), open("a", 0, 1), open("b", 9, 10), open("a", 10, 11)}, []Span{{10, 19}},
		},
		"looks that lie over each other prove nothing": {[]Sight{open("a", 0, 9), open("b", 0, 9)}, nil},
		"a look that takes long proves little: it may have been shut when the other opened": {
			[]Sight{open("a", 0, 1), open("a", 2, 20), open("b", 10, 11), open("b", 19, 20)}, nil,
		},
		"a look that shows nothing ends what is certain": {
			[]Sight{open("a", 0, 1), blind("a", 5, 9), open("a", 20, 21), open("b", 10, 11), open("b", 15, 16)}, nil,
		},
		"started again in between": {[]Sight{open("a", 0, 1), other(open("a", 20, 21)), open("b", 10, 11), open("b", 15, 16)}, nil},
		"touching is not overlapping": {
			[]Sight{open("a", 0, 1), open("a", 10, 11), open("b", 9, 10), open("b", 20, 21)}, nil,
		},
		"three": {
			[]Sight{open("a", 0, 1), open("a", 30, 31), open("b", 0, 2), open("b", 30, 31), open("c", 0, 3), open("c", 30, 31)},
			[]Span{{2, 30}, {3, 30}, {3, 30}},
		},
		"twice": {
			[]Sight{
				open("a", 0, 1), open("a", 30, 31), open("b", 2, 3), open("b", 8, 9), shut("b", 10, 11), open("b", 12, 13), open("b", 18, 19), shut("b", 20, 21),
			},
			[]Span{{3, 8}, {13, 18}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := CheckPrimaries(c.sights)
			var spans []Span
			for _, r := range v.Rivals {
				spans = append(spans, r.Span)
			}
			require.Equal(t, c.rivals, spans)
			require.Equal(t, c.rivals != nil, v.Err() != nil)
		})
	}
	require.Error(t, CheckPrimaries([]Sight{blind("a", 0, 1)}).Err(), "who sees nothing finds nothing")
}
