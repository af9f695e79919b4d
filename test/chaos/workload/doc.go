// Package workload uses a database as clients do whose every request is accounted for, and looks at its members from outside, while others ill-treat it. It
// makes the histories that package check judges.
//
// It owns its tables in the database that it is given. It must not know what the database is made of, nor what is done to it.
package workload

import "time"

// Clock counts from when a run began.
type Clock struct{ began time.Time }

// NewClock starts one.
func NewClock() Clock { return Clock{time.Now()} }

// Now never goes back: it does not follow the machine's idea of the time of day.
func (c Clock) Now() time.Duration { return time.Since(c.began) }

// Time is a moment of the run as the time of day, for people.
func (c Clock) Time(at time.Duration) time.Time { return c.began.Add(at) }
