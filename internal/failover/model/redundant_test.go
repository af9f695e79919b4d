package model

import (
	"slices"
	"testing"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// TestRedundant: rules that are kept although the search finds no way to lose without them, within the same bounds in which it finds all others. Should
// one of these fail, the rule has come to be needed, and belongs to the mutants.
func TestRedundant(t *testing.T) {
	if short() {
		t.Skip("takes a while")
	}
	const strict = durability.Strict
	for _, c := range []struct {
		name  string
		rules func(used *int) Rules
	}{
		// An agent that misses a record has let in nobody by it, so a seal of the record before would do.
		{"a seal is kept over a record that was missed", func(used *int) Rules {
			return Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				d := failover.Assign(id, s.Server, r)
				weaker := s.Serving.Seal.Acks >= d.Acks && !slices.ContainsFunc(s.Serving.Seal.Ackers, func(a string) bool { return !slices.Contains(d.Ackers, a) })
				if a.Kind == failover.ActDropSeal && weaker {
					*used++
					a.Kind = failover.ActKeepSeal
				}
				return a
			}}
		}},
	} {
		for _, cfg := range []Config{
			{Name: "two", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 6, Crashes: 1},
			{Name: "three, one joins", Members: 3, Acks: 2, Published: 1, Policy: strict, Trx: 1, Epochs: 5},
			{Name: "three, one is removed", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 4, Doubts: 1},
		} {
			t.Run(c.name+", "+cfg.Name, func(t *testing.T) {
				t.Parallel()
				used := 0
				cfg.Rules = c.rules(&used)
				r, err := Explore(cfg)
				if err != nil || !r.Whole || used == 0 {
					t.Errorf("%s; the rule came to it %d times: %v", r, used, err)
				}
				t.Log(r)
			})
		}
	}
}
