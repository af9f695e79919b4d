package gtid

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Max is the largest number that a transaction may have. Source: mysqld 9.7 refuses 9223372036854775807.
const Max = math.MaxInt64 - 1

// Interval is the transactions First to Last of one source, both included; 1 <= First <= Last <= Max.
type Interval struct{ First, Last int64 }

// source is the transactions of one server with one tag. Its intervals are ascending and neither touch nor overlap, and there is at least one.
type source struct {
	uuid UUID
	tag  string // lower case; empty: none
	runs []Interval
}

func (s source) compare(o source) int {
	return cmp.Or(slices.Compare(s.uuid[:], o.uuid[:]), strings.Compare(s.tag, o.tag))
}

// Set is a set of transactions. The zero value is empty. A Set is never changed once it is made, so it may be shared and copied.
type Set struct {
	sources []source // ascending by uuid, then tag
}

// Of is the transactions first to last of one source. Numbers outside of 1 to Max are left out, so first > last gives the empty set.
func Of(uuid UUID, first, last int64) Set {
	first, last = max(first, 1), min(last, Max)
	if first > last {
		return Set{}
	}
	return Set{[]source{{uuid: uuid, runs: []Interval{{first, last}}}}}
}

// Empty says whether there is no transaction in the set.
func (s Set) Empty() bool { return len(s.sources) == 0 }

// Count is how many transactions there are, at most math.MaxUint64.
func (s Set) Count() uint64 {
	var n uint64
	for _, src := range s.sources {
		for _, r := range src.runs {
			size := uint64(r.Last-r.First) + 1
			if n > math.MaxUint64-size {
				return math.MaxUint64
			}
			n += size
		}
	}
	return n
}

// Equal says whether both sets have the same transactions.
func (s Set) Equal(o Set) bool {
	return slices.EqualFunc(s.sources, o.sources, func(a, b source) bool { return a.compare(b) == 0 && slices.Equal(a.runs, b.runs) })
}

// Contains says whether s has every transaction of o: GTID_SUBSET(o, s).
func (s Set) Contains(o Set) bool {
	rest := s.sources
	for _, want := range o.sources {
		for len(rest) > 0 && rest[0].compare(want) < 0 {
			rest = rest[1:]
		}
		if len(rest) == 0 || rest[0].compare(want) != 0 || !covers(rest[0].runs, want.runs) {
			return false
		}
	}
	return true
}

// Union is the transactions that are in either set.
func (s Set) Union(o Set) Set {
	switch { // the usual case, and it shares the memory
	case s.Contains(o):
		return s
	case o.Contains(s):
		return o
	}
	return merge(s, o, true, true, join)
}

// Subtract is the transactions of s that are not in o: GTID_SUBTRACT(s, o).
func (s Set) Subtract(o Set) Set {
	return merge(s, o, true, false, without)
}

// Intersect is the transactions that are in both sets.
func (s Set) Intersect(o Set) Set {
	return merge(s, o, false, false, common)
}

// merge walks both sets. What only one of them has is kept as told, what both have goes through both.
func merge(a, b Set, onlyA, onlyB bool, both func(a, b []Interval) []Interval) Set {
	var out []source
	x, y := a.sources, b.sources
	for len(x) > 0 || len(y) > 0 {
		order := 0
		switch {
		case len(y) == 0:
			order = -1
		case len(x) == 0:
			order = 1
		default:
			order = x[0].compare(y[0])
		}
		switch {
		case order < 0:
			if onlyA {
				out = append(out, x[0])
			}
			x = x[1:]
		case order > 0:
			if onlyB {
				out = append(out, y[0])
			}
			y = y[1:]
		default:
			if runs := both(x[0].runs, y[0].runs); len(runs) > 0 {
				out = append(out, source{x[0].uuid, x[0].tag, runs})
			}
			x, y = x[1:], y[1:]
		}
	}
	return Set{out}
}

// normal sorts intervals and joins those that touch or overlap. It changes what it is given.
func normal(runs []Interval) []Interval {
	slices.SortFunc(runs, func(a, b Interval) int { return cmp.Compare(a.First, b.First) })
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

func join(a, b []Interval) []Interval { return normal(slices.Concat(a, b)) }

// without is a less b.
func without(a, b []Interval) []Interval {
	var out []Interval
	for _, r := range a {
		for len(b) > 0 && b[0].Last < r.First {
			b = b[1:]
		}
		for i := 0; i < len(b) && b[i].First <= r.Last; i++ {
			if b[i].First > r.First {
				out = append(out, Interval{r.First, b[i].First - 1})
			}
			r.First = b[i].Last + 1
		}
		if r.First <= r.Last {
			out = append(out, r)
		}
	}
	return out
}

func common(a, b []Interval) []Interval {
	var out []Interval
	for len(a) > 0 && len(b) > 0 {
		if first, last := max(a[0].First, b[0].First), min(a[0].Last, b[0].Last); first <= last {
			out = append(out, Interval{first, last})
		}
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// covers says whether every interval of b lies in one of a.
func covers(a, b []Interval) bool {
	for _, r := range b {
		for len(a) > 0 && a[0].Last < r.First {
			a = a[1:]
		}
		if len(a) == 0 || a[0].First > r.First || a[0].Last < r.Last {
			return false
		}
	}
	return true
}
