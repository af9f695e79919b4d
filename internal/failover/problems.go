package failover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/huker/huker/internal/durability"
)

// Problem is a row of the table: what can be wrong with a cluster, how it shows, what is done about it, and why that.
type Problem struct {
	Name  string
	Class Class
	Shows string
	Done  string
	Why   string

	match func(*view) bool
	steps func(*view) []Step
}

// Class groups problems. The first one that matches is dealt with, so nothing is repaired while somebody else has to become the primary.
type Class string

// Classes of problems, by precedence.
const (
	ClassHold       Class = "hold"
	ClassFailover   Class = "failover"
	ClassSwitchover Class = "switchover"
	ClassRepair     Class = "repair"
)

// table is never changed.
var table = slices.Concat(
	[]Problem{{
		Name: "frozen", Class: ClassHold,
		Shows: "an operator said that nothing may be changed",
		Done:  "nothing; agents go on by the newest record",
		Why:   "maintenance by hand",
		match: func(v *view) bool { return v.o.Want.Frozen != "" },
		steps: func(v *view) []Step { return wait("nothing is changed: %s", v.o.Want.Frozen) },
	}},
	stoppingProblems(), quiescingProblems(), openingProblems(), primaryProblems(), switchoverProblems(), policyProblems(), lastProblems(), ackProblems(),
	memberProblems(), outsiderProblems(),
)

// Problems is the table, by precedence.
func Problems() []Problem { return slices.Clone(table) }

func wait(format string, args ...any) []Step {
	return []Step{{Kind: StepWait, Reason: fmt.Sprintf(format, args...)}}
}

func swap(kind StepKind, next durability.Record, format string, args ...any) []Step {
	return []Step{{Kind: kind, Next: &next, Reason: fmt.Sprintf(format, args...)}}
}

// again asks for what is known of instances to be read anew.
func again(format string, ids ...string) []Step {
	return []Step{{Kind: StepSuspect, Members: ids, Reason: fmt.Sprintf(format, strings.Join(ids, ", "))}}
}

func inPhase(p durability.Phase, match func(*view) bool) func(*view) bool {
	return func(v *view) bool { return v.r.Intent != nil && v.r.Intent.Phase == p && match(v) }
}

func settled(match func(*view) bool) func(*view) bool {
	return func(v *view) bool { return v.r.Intent == nil && match(v) }
}

// led is of what is done to members: only while the primary is well, as taking one away needs it.
func led(match func(*view) bool) func(*view) bool {
	return func(v *view) bool { return v.leads() && match(v) }
}

func always(*view) bool { return true }
