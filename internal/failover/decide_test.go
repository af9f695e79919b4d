package failover

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// scenario is an observation, and what is to be decided on it.
type scenario struct {
	name    string
	from    Observation
	change  func(*Observation)
	problem string
	steps   string // "stop b c, wait"
	next    string // the record that is written
	text    string // part of the first step's reason
}

func scenarios() []scenario {
	return slices.Concat(changeScenarios(), primaryScenarios(), memberScenarios(), roomScenarios())
}

func TestDecide(t *testing.T) {
	reached := map[string]bool{"": true}
	for _, c := range scenarios() {
		t.Run(c.name, func(t *testing.T) {
			c.change(&c.from)
			if err := c.from.Record.Validate(); err != nil && c.from.Record.Primary != "" {
				t.Fatal(err)
			}
			d := Decide(c.from)
			reached[d.Problem] = true
			if d.Problem != c.problem || kinds(d) != c.steps || next(d) != c.next {
				t.Errorf("%q, %q, %q; steps %+v", d.Problem, kinds(d), next(d), d.Steps)
			}
			if c.text != "" && !strings.Contains(d.Steps[0].Reason, c.text) {
				t.Errorf("%q", d.Steps[0].Reason)
			}
			for _, s := range d.Steps {
				if s.Reason == "" {
					t.Errorf("%s gives no reason", s.Kind)
				}
			}
			if s := d.Swap(); s != nil && (s.Next.Validate() != nil || s.Next.Epoch != c.from.Record.Epoch+1) {
				t.Errorf("epoch %d, %v", s.Next.Epoch, s.Next.Validate())
			}
			if again := Decide(c.from); !reflect.DeepEqual(again, d) {
				t.Errorf("decided differently: %+v", again)
			}
		})
	}
	for _, p := range Problems() {
		if !reached[p.Name] {
			t.Errorf("no scenario has %q", p.Name)
		}
		if p.Shows == "" || p.Done == "" || !slices.Contains([]Class{ClassHold, ClassFailover, ClassSwitchover, ClassRepair}, p.Class) {
			t.Errorf("%+v", p)
		}
	}
}
