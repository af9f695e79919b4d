package model

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// exploration is a cluster all of whose states are gone through.
type exploration struct {
	cfg   Config
	quick bool // in a short test, too
}

// explorations are bounded by their numbers alone: no state within the bounds is left out.
func explorations() []exploration {
	const strict, available, fast = durability.Strict, durability.Available, durability.Fast
	noticed := Everything &^ Held // data that is gone is held by nobody
	return []exploration{
		{quick: true, cfg: Config{Name: "two, one crash", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "two, two transactions", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 2, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "two, both crash", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 4, Crashes: 2}},
		{cfg: Config{Name: "two, three crashes", Members: 2, Acks: 1, Policy: strict, Trx: 1, Epochs: 6, Crashes: 3}},
		{cfg: Config{Name: "two, a killed session", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 7, Kills: 1, Crashes: 1}},
		{cfg: Config{Name: "two, replication cut", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 6, Cuts: 1, Crashes: 1}},
		{cfg: Config{Name: "two, manager cut off", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 5, Doubts: 1, Crashes: 1}},
		{cfg: Config{Name: "two, data lost", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 7, Wipes: 1, Check: noticed}},
		{cfg: Config{Name: "two, switchover", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 5, Switchover: true, Crashes: 1}},
		{cfg: Config{Name: "two, managers with old views", Members: 2, Acks: 1, Policy: strict, Stale: 2, Keep: true, Trx: 1, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "two, every old view", Members: 2, Acks: 1, Policy: strict, Stale: 1, AllViews: true, Trx: 1, Epochs: 6, Crashes: 1}},
		{cfg: Config{Name: "two, between any two acts", Members: 2, Acks: 1, Policy: strict, Stale: 1, Fine: true, Trx: 1, Epochs: 7, Crashes: 1}},
		{cfg: Config{Name: "two, available", Members: 2, Acks: 1, Policy: available, Stale: 1, Trx: 1, Epochs: 5, Crashes: 1}},
		{cfg: Config{Name: "two, available, replication cut", Members: 2, Acks: 1, Policy: available, Stale: 1, Trx: 1, Epochs: 6, Cuts: 1}},
		{cfg: Config{Name: "two, available, data lost", Members: 2, Acks: 1, Policy: available, Stale: 1, Trx: 1, Epochs: 7, Wipes: 1, Check: noticed}},
		{cfg: Config{Name: "two, fast, power lost", Members: 2, Acks: 1, Policy: fast, Stale: 1, Trx: 1, Epochs: 6, Crashes: 1, Power: true, Check: noticed}},

		{quick: true, cfg: Config{Name: "two, a full disk", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 4, Fills: 1}},
		{cfg: Config{Name: "two, a full disk, one crash", Members: 2, Acks: 1, Policy: strict, Trx: 1, Epochs: 5, Fills: 1, Crashes: 1}},
		{cfg: Config{Name: "two, available, a full disk", Members: 2, Acks: 1, Policy: available, Stale: 1, Trx: 1, Epochs: 6, Fills: 1}},
		{cfg: Config{Name: "two, switchover, a full disk", Members: 2, Acks: 1, Policy: strict, Stale: 1, Trx: 1, Epochs: 5, Switchover: true, Fills: 1}},

		{quick: true, cfg: Config{Name: "three, replication cut", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 3, Cuts: 1}},
		{cfg: Config{Name: "three, one crash", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "three, two crashes", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 3, Crashes: 2}},
		{cfg: Config{Name: "three, two transactions", Members: 3, Acks: 1, Policy: strict, Trx: 2, Epochs: 3, Crashes: 1}},
		{cfg: Config{Name: "three, both acknowledge", Members: 3, Acks: 2, Policy: strict, Trx: 1, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "three, one joins", Members: 3, Acks: 2, Published: 1, Policy: strict, Trx: 1, Epochs: 6}},
		{cfg: Config{Name: "three, switchover", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 4, Switchover: true, Crashes: 1}},
		{cfg: Config{Name: "three, data lost", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 5, Wipes: 1, Check: noticed}},
		{cfg: Config{Name: "three, available", Members: 3, Acks: 1, Policy: available, Trx: 1, Epochs: 4, Crashes: 1}},
		{cfg: Config{Name: "three, fast, power lost", Members: 3, Acks: 1, Policy: fast, Trx: 1, Epochs: 4, Crashes: 1, Power: true, Check: noticed}},
		{cfg: Config{Name: "three, a full disk, one crash", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 3, Fills: 1, Crashes: 1}},
		{cfg: Config{Name: "three, both acknowledge, a full disk", Members: 3, Acks: 2, Policy: strict, Trx: 1, Epochs: 4, Fills: 1}},
		{cfg: Config{Name: "three, switchover, a full disk", Members: 3, Acks: 1, Policy: strict, Trx: 1, Epochs: 4, Switchover: true, Fills: 1}},
		{cfg: Config{Name: "five", Members: 5, Acks: 2, Policy: strict, Trx: 1, Epochs: 2}},
	}
}

// short says whether only the quick part is wanted. The search is one goroutine: the race detector has nothing to find in it, and takes ten times as long.
func short() bool { return testing.Short() || raceEnabled }

// TestExplore: whatever happens within the bounds, no invariant is broken, and from every fiftieth state the cluster comes to itself, with all of
// its members and with any one of them gone for ever.
//
// Every row of the table of problems that is not listed as out of the model's reach was decided on.
func TestExplore(t *testing.T) {
	var mu sync.Mutex
	reached := map[string]bool{}
	t.Run("cluster", func(t *testing.T) {
		for _, e := range explorations() {
			t.Run(e.cfg.Name, func(t *testing.T) {
				if short() && !e.quick {
					t.Skip("takes a while")
				}
				t.Parallel()
				problems := e.explore(t)
				mu.Lock()
				defer mu.Unlock()
				for name := range problems {
					reached[name] = true
				}
			})
		}
	})
	if t.Failed() || short() {
		return
	}
	for _, p := range failover.Problems() {
		if reached[p.Name] == slices.Contains(outOfReach(), p.Name) {
			t.Errorf("%q: reached: %v", p.Name, reached[p.Name])
		}
	}
}

// outOfReach are the rows that the model has nothing of: they are for unit tests alone.
func outOfReach() []string {
	return []string{
		"frozen",               // nobody works by hand
		"histories differ",     // it does not come to that as long as the rules are kept
		"primary in doubt",     // the model has no clock: what is in doubt may as well be lost, which is worse
		"primary not heard of", // likewise
		"less is wanted",       // nobody changes their mind
		"another policy is wanted",
		// The last one that could acknowledge is on its way out, is heard of after the primary, and has more: deeper than the bounds.
		"member that leaves to be compared",
	}
}

func (e exploration) explore(t *testing.T) map[string]int {
	e.cfg.Settle = 50
	start := time.Now()
	r, err := Explore(e.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Whole || r.Settled < r.States/50 {
		t.Errorf("not all states were gone through: %s", r)
	}
	t.Logf("%s, %s", r, time.Since(start).Round(10*time.Millisecond))
	return r.Problems
}

// TestExploreLonger goes through more than fits into a minute: HUKER_MODEL=long go test ./internal/failover/model -run Longer -timeout 60m.
func TestExploreLonger(t *testing.T) {
	if os.Getenv("HUKER_MODEL") != "long" {
		t.Skip("HUKER_MODEL=long asks for it")
	}
	for _, cfg := range []Config{
		{Name: "two, manager and replication cut off", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 7, Doubts: 1, Cuts: 1, Crashes: 1},
		{Name: "two, managers with old views", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 2, Keep: true, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "three, one crash", Members: 3, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "three, both acknowledge", Members: 3, Acks: 2, Policy: durability.Strict, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "three, one joins", Members: 3, Acks: 2, Published: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "three, manager with an old view", Members: 3, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 4, Crashes: 1},
		{Name: "three, switchover", Members: 3, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Switchover: true, Crashes: 1},
		{Name: "three, fast, power lost", Members: 3, Acks: 1, Policy: durability.Fast, Trx: 1, Epochs: 5, Crashes: 1, Power: true, Check: Everything &^ Held},
		{Name: "five", Members: 5, Acks: 2, Policy: durability.Strict, Trx: 1, Epochs: 3},
	} {
		t.Run(cfg.Name, func(t *testing.T) {
			cfg.Settle, cfg.MaxStates = 50, 12_000_000
			start := time.Now()
			r, err := Explore(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %s", r, time.Since(start).Round(10*time.Millisecond))
		})
	}
}

// TestBounds: a search that is not whole says so.
func TestBounds(t *testing.T) {
	cfg := Config{Members: 2, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 3, Crashes: 1}
	for name, change := range map[string]func(*Config){
		"states": func(c *Config) { c.MaxStates = 100 },
		"depth":  func(c *Config) { c.MaxDepth = 3 },
	} {
		c := cfg
		change(&c)
		if r, err := Explore(c); err != nil || r.Whole {
			t.Errorf("%s: %s, %v", name, r, err)
		}
	}
}

// TestLawful: a record that is not valid ends a search.
func TestLawful(t *testing.T) {
	_, err := Explore(Config{Members: 2, Acks: 1, Promised: 2, Policy: durability.Strict, Trx: 1, Epochs: 3})
	var v *violation
	if !errors.As(err, &v) || v.of != Lawful {
		t.Errorf("%v", err)
	}
}
