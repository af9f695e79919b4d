package model

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
)

func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestTry(t *testing.T) {
	for _, c := range []Config{
		{Name: "k1", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 7, Kills: 1, Crashes: 1},
		{Name: "cut", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 7, Cuts: 1, Crashes: 1},
		{Name: "cuta", Members: 2, Acks: 1, Policy: durability.Available, Stale: 1, Trx: 1, Epochs: 6, Cuts: 1},
		{Name: "doubt", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 7, Doubts: 1, Crashes: 1},
		{Name: "wipe", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 7, Wipes: 1, Check: Everything &^ Held},
		{Name: "wipea", Members: 2, Acks: 1, Policy: durability.Available, Stale: 1, Trx: 1, Epochs: 7, Wipes: 1, Check: Everything &^ Held},
		{Name: "switch", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 6, Switchover: true, Crashes: 1},
		{Name: "switch3", Members: 3, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Switchover: true, Crashes: 1},
		{Name: "fast", Members: 2, Acks: 1, Policy: durability.Fast, Stale: 1, Trx: 1, Epochs: 6, Crashes: 1, Power: true, Check: Everything &^ Held},
		{Name: "fast3", Members: 3, Acks: 1, Policy: durability.Fast, Trx: 1, Epochs: 5, Crashes: 1, Power: true, Check: Everything &^ Held},
		{Name: "join", Members: 3, Acks: 2, Published: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "wipe3", Members: 3, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 5, Wipes: 1, Check: Everything &^ Held},
		{Name: "keep", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 2, Keep: true, Trx: 1, Epochs: 5, Crashes: 1},
		{Name: "fine", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Fine: true, Trx: 1, Epochs: 7, Crashes: 1},
		{Name: "allv", Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, AllViews: true, Trx: 1, Epochs: 7, Crashes: 1},
		{Name: "s1", Members: 3, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 4, Crashes: 1},
		{Name: "five", Members: 5, Acks: 2, Policy: durability.Strict, Trx: 1, Epochs: 3},
	} {
		if f := os.Getenv("TRY"); f != "" && !strings.Contains(","+f+",", ","+c.Name+",") {
			continue
		}
		if testing.Short() {
			c.MaxStates = 5000
		} else {
			c.MaxStates = 1_500_000
		}
		c.Settle = 50
		start, cpu := time.Now(), used()
		r, err := Explore(c)
		if err != nil {
			t.Error(err)
		}
		t.Log(c.Name, r, time.Since(start), used()-cpu)
		t.Log(r.Problems)
	}
}
