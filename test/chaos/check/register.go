package check

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Action is what is done with a register.
type Action string

const (
	// Get reads.
	Get Action = "read"
	// Put writes. Each value is written once only, so that it is known from whom it came.
	Put Action = "write"
	// Swap writes if the register has a certain value. One that finds another value has read that one.
	Swap Action = "swap"
)

// Op is an operation on a register, which is 0 at first.
type Op struct {
	Client     int
	Key        int
	Action     Action
	Expect     int64 // Swap
	Value      int64 // written by Put and Swap
	Found      int64 // what Get and Swap have read
	Sent, Done time.Duration
	Outcome    Outcome
}

// swapped says whether a Swap that was acknowledged has written.
func (o Op) swapped() bool { return o.Action == Swap && o.Found == o.Expect }

// wrote says whether an operation may have changed the register.
func (o Op) wrote() bool {
	return o.Action == Put || o.Action == Swap && (o.Outcome != OK || o.swapped())
}

func (o Op) String() string {
	what := fmt.Sprintf("key %d, client %d: ", o.Key, o.Client)
	switch o.Action {
	case Get:
		what += fmt.Sprintf("read %d", o.Found)
	case Put:
		what += fmt.Sprintf("write %d", o.Value)
	case Swap:
		what += fmt.Sprintf("swap %d for %d", o.Expect, o.Value)
		if o.Outcome == OK && !o.swapped() {
			what += fmt.Sprintf(", found %d", o.Found)
		}
	}
	return fmt.Sprintf("%s, %s–%s, %s", what, o.Sent.Round(time.Millisecond), o.Done.Round(time.Millisecond), o.Outcome)
}

// Registers is the verdict on a history of registers.
type Registers struct {
	OK, Refused, Unknown int
	// Illegal are the keys whose history is none that a single server could have had.
	Illegal []int
	// WritesIllegal are those that are so even if nothing but writes, and swaps that wrote, are looked at: then somebody did not just read from a server
	// that was no longer the primary.
	WritesIllegal []int
	// Undecided are the keys for which the search took too long.
	Undecided []int
	// Explained has for each illegal key the end of an order that is as long as one can be, and the operations that fit nowhere behind it.
	Explained map[int][]Op
}

// Err says what is wrong; nil when nothing is.
func (v Registers) Err() error {
	var wrong []string
	for _, key := range v.Illegal {
		what := "reads were stale, or what they should have found was lost"
		if slices.Contains(v.WritesIllegal, key) {
			what = "writes were lost, or took effect in no order"
		}
		text := fmt.Sprintf("key %d is not linearizable: %s", key, what)
		for _, o := range v.Explained[key] {
			text += "\n\t" + o.String()
		}
		wrong = append(wrong, text)
	}
	if len(v.Undecided) > 0 {
		wrong = append(wrong, fmt.Sprintf("keys %v: not decided in time", v.Undecided))
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}

// CheckRegisters says whether every register behaved as on one server. Patience is for each key, and once more for its writes.
func CheckRegisters(history []Op, patience time.Duration) Registers {
	v := Registers{Explained: map[int][]Op{}}
	keys := map[int][]Op{}
	for _, o := range history {
		switch o.Outcome {
		case OK:
			v.OK++
		case Refused:
			v.Refused++
		case Unknown:
			v.Unknown++
		}
		keys[o.Key] = append(keys[o.Key], o)
	}
	for key, ops := range keys {
		list := operations(ops)
		switch porcupine.CheckOperationsTimeout(register, list, patience) {
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, key)
		case porcupine.Illegal:
			v.Illegal = append(v.Illegal, key)
			_, info := porcupine.CheckOperationsVerbose(register, list, patience)
			v.Explained[key] = stuck(list, info)
			writes := slices.DeleteFunc(slices.Clone(ops), func(o Op) bool { return !o.wrote() })
			if porcupine.CheckOperationsTimeout(register, operations(writes), patience) == porcupine.Illegal {
				v.WritesIllegal = append(v.WritesIllegal, key)
			}
		case porcupine.Ok:
		}
	}
	slices.Sort(v.Illegal)
	slices.Sort(v.WritesIllegal)
	slices.Sort(v.Undecided)
	return v
}

// operations are those that say something. What was refused, or was a read without an answer, does not. What is unknown may take effect at any time,
// or never, which is the same as after everything else. One whose value nobody has found is left out: that makes the search short, and hides nothing, since
// every other operation says what it found.
func operations(ops []Op) []porcupine.Operation {
	found := map[int64]bool{}
	for _, o := range ops {
		if o.Outcome == OK && o.Action != Put {
			found[o.Found] = true
		}
	}
	var list []porcupine.Operation
	for _, o := range ops {
		p := porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: int64(o.Sent), Return: int64(o.Done)}
		switch {
		case o.Outcome == Refused, o.Outcome == Unknown && (o.Action == Get || !found[o.Value]):
			continue
		case o.Outcome == Unknown:
			p.Return = math.MaxInt64
		}
		list = append(list, p)
	}
	return list
}

// register is one register on one server.
var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		value, o := state.(int64), input.(Op)
		switch {
		case o.Action == Put:
			return true, o.Value
		case o.Action == Swap && o.Outcome == Unknown:
			if value == o.Expect {
				return true, o.Value
			}
			return true, value // it has found something else, and changed nothing
		case o.Action == Swap && o.swapped():
			return value == o.Expect, o.Value
		}
		return value == o.Found, value
	},
	DescribeOperation: func(input, _ any) string { return input.(Op).String() },
}

// stuck explains why operations cannot be put in an order.
func stuck(list []porcupine.Operation, info porcupine.LinearizationInfo) []Op {
	var best []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, p := range partition {
			if len(p) > len(best) {
				best = p
			}
		}
	}
	const shown = 3
	placed := map[Op]bool{}
	for _, p := range best {
		placed[p.Input.(Op)] = true
	}
	var end, rest []Op
	for _, p := range best[max(0, len(best)-shown):] {
		end = append(end, p.Input.(Op))
	}
	for _, p := range list {
		if o := p.Input.(Op); !placed[o] {
			rest = append(rest, o)
		}
	}
	slices.SortFunc(rest, func(a, b Op) int { return int(a.Done - b.Done) })
	return append(end, rest[:min(shown, len(rest))]...)
}
