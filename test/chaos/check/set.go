package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Write is an attempt to insert a row that nobody else inserts.
type Write struct {
	Row        int64
	Sent, Done time.Duration
	Outcome    Outcome
}

// Read is what was there. Rows below From were not asked for; a row that is there twice is in Rows twice.
type Read struct {
	Sent, Done time.Duration
	From       int64
	Rows       []int64
}

// Absence is a row that a read should have found.
type Absence struct {
	Row int64
	At  time.Duration // when the read was sent
}

// Set is the verdict on a set of rows to which rows were only ever added.
type Set struct {
	Acknowledged, Refused, Unknown int
	Survived                       int // of the unknown ones

	Lost       []int64   // acknowledged, and not there at the end
	Unexpected []int64   // there, and never sent
	Refuted    []int64   // there, and refused
	Doubled    []int64   // there more than once
	Late       []Absence // acknowledged before a read that did not find it, and there at the end: the read was stale
	Vanished   []Absence // found by a read, not acknowledged, and not found by a later one: what was read was not kept
}

// ErrNothingRead means that nothing can be said, as nobody has looked at the end.
var ErrNothingRead = errors.New("check: no read after the last write")

// CheckSet compares what was written with what was read. The last read has to be of everything, and after all writes.
func CheckSet(writes []Write, reads []Read) (Set, error) {
	if len(reads) == 0 {
		return Set{}, ErrNothingRead
	}
	reads = slices.Clone(reads)
	slices.SortStableFunc(reads, func(a, b Read) int { return int(a.Sent - b.Sent) })
	writes = slices.Clone(writes)
	slices.SortFunc(writes, func(a, b Write) int { return int(a.Row - b.Row) })
	last := reads[len(reads)-1]
	sent := make(map[int64]Write, len(writes))
	for _, w := range writes {
		if _, twice := sent[w.Row]; twice {
			return Set{}, fmt.Errorf("check: row %d was sent twice", w.Row)
		}
		if w.Done > last.Sent || w.Row < last.From {
			return Set{}, ErrNothingRead
		}
		sent[w.Row] = w
	}
	v := Set{}
	v.atTheEnd(writes, sent, last)
	seen := map[int64]time.Duration{} // when a read that found the row was done, at the earliest
	for _, r := range reads {
		v.inBetween(writes, sent, r, seen)
	}
	return v, nil
}

func (v *Set) atTheEnd(writes []Write, sent map[int64]Write, last Read) {
	there := map[int64]int{}
	for _, row := range last.Rows {
		there[row]++
	}
	for _, w := range writes {
		found := there[w.Row] > 0
		switch w.Outcome {
		case OK:
			v.Acknowledged++
			if !found {
				v.Lost = append(v.Lost, w.Row)
			}
		case Refused:
			v.Refused++
			if found {
				v.Refuted = append(v.Refuted, w.Row)
			}
		case Unknown:
			v.Unknown++
			if found {
				v.Survived++
			}
		}
	}
	for row, times := range there {
		if times > 1 {
			v.Doubled = append(v.Doubled, row)
		}
		if _, known := sent[row]; !known {
			v.Unexpected = append(v.Unexpected, row)
		}
	}
	slices.Sort(v.Doubled)
	slices.Sort(v.Unexpected)
}

// inBetween looks for what a read should have found. writes are sorted by row.
func (v *Set) inBetween(writes []Write, sent map[int64]Write, r Read, seen map[int64]time.Duration) {
	found := make(map[int64]bool, len(r.Rows))
	for _, row := range r.Rows {
		found[row] = true
		if _, known := sent[row]; !known && !slices.Contains(v.Unexpected, row) {
			v.Unexpected = append(v.Unexpected, row)
		}
	}
	from, _ := slices.BinarySearchFunc(writes, r.From, func(w Write, row int64) int { return int(w.Row - row) })
	for _, w := range writes[from:] {
		if found[w.Row] {
			continue
		}
		when, read := seen[w.Row]
		switch {
		case w.Outcome == OK && w.Done <= r.Sent:
			if _, lost := slices.BinarySearch(v.Lost, w.Row); !lost {
				v.Late = append(v.Late, Absence{w.Row, r.Sent})
			}
		case w.Outcome != OK && read && when <= r.Sent:
			v.Vanished = append(v.Vanished, Absence{w.Row, r.Sent})
		}
	}
	for row := range found {
		if when, read := seen[row]; !read || r.Done < when {
			seen[row] = r.Done
		}
	}
}

// Err says what is wrong; nil when nothing is.
func (v Set) Err() error {
	var wrong []string
	add := func(what string, rows []int64) {
		if len(rows) > 0 {
			wrong = append(wrong, fmt.Sprintf("%d %s (%s)", len(rows), what, first(rows)))
		}
	}
	add("acknowledged and lost", v.Lost)
	add("there and never sent", v.Unexpected)
	add("refused and there", v.Refuted)
	add("there twice", v.Doubled)
	add("acknowledged and not found by a later read", rows(v.Late))
	add("read and not found by a later read", rows(v.Vanished))
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

func rows(absences []Absence) []int64 {
	var all []int64
	for _, a := range absences {
		if len(all) == 0 || all[len(all)-1] != a.Row {
			all = append(all, a.Row)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// first shows some of many.
func first(rows []int64) string {
	const some = 10
	text := strings.Trim(fmt.Sprint(rows[:min(some, len(rows))]), "[]")
	if len(rows) > some {
		text += " …"
	}
	return text
}
