// Package check judges what was observed of a cluster while it was ill-treated: was anything lost that was acknowledged, did it behave as one server would,
// were two members ever open at once, did it get well. It is pure: histories in, verdicts out. It must not know how they were made.
//
// All times are since the run began, by one clock that only goes forward.
package check

import "time"

// Outcome is what a client knows of a request when it is over.
type Outcome int

const (
	// Unknown means that no answer came, or one that leaves it open: it may have been carried out, or may yet be.
	Unknown Outcome = iota
	// OK means that it was acknowledged.
	OK
	// Refused means that it was certainly not carried out, and will not be.
	Refused
)

func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Span is a time between two moments.
type Span struct{ From, To time.Duration }

// Length is 0 for what ends before it begins.
func (s Span) Length() time.Duration { return max(0, s.To-s.From) }
