package check

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 10 * time.Second

// ops gives each operation a time of its own, unless it has one.
func ops(list ...Op) []Op {
	for n := range list {
		if list[n].Done == 0 {
			list[n].Sent, list[n].Done = time.Duration(10*n), time.Duration(10*n+5)
		}
	}
	return list
}

func get(found int64) Op { return Op{Action: Get, Found: found, Outcome: OK} }
func put(value int64) Op { return Op{Action: Put, Value: value, Outcome: OK} }
func swap(expect, value, found int64) Op {
	return Op{Action: Swap, Expect: expect, Value: value, Found: found, Outcome: OK}
}

func with(o Op, outcome Outcome) Op { o.Outcome = outcome; return o }
func lasting(o Op, from, to time.Duration) Op {
	o.Sent, o.Done = from, to
	return o
}

func TestRegistersFind(t *testing.T) {
	const fine, reads, writes = "fine", "reads", "writes"
	for name, c := range map[string]struct {
		history []Op
		want    string
	}{
		"nothing":                                 {nil, fine},
		"one after the other":                     {ops(get(0), put(1), get(1), swap(1, 2, 1), get(2), swap(1, 3, 2), get(2)), fine},
		"beside each other":                       {ops(put(1), lasting(put(2), 20, 50), lasting(get(1), 30, 35), lasting(get(2), 36, 60)), fine},
		"a stale read":                            {ops(put(1), put(2), get(1)), reads},
		"back and forth while it is written":      {ops(put(1), lasting(put(2), 20, 90), lasting(get(2), 30, 35), lasting(get(1), 40, 45)), reads},
		"a lost write":                            {ops(put(1), put(2), swap(1, 3, 1)), writes},
		"a lost write that only reads see":        {ops(put(1), get(0), get(0)), reads},
		"a swap that failed though it should not": {ops(put(1), swap(1, 2, 0)), reads},
		"two swaps of one value":                  {ops(put(1), swap(1, 2, 1), swap(1, 3, 1)), writes},
		"what was refused":                        {ops(put(1), with(put(2), Refused), get(2)), reads},
		"what nobody wrote":                       {ops(put(1), get(7)), reads},
		"unknown, and not done":                   {ops(put(1), with(put(2), Unknown), get(1)), fine},
		"unknown, and done late":                  {ops(put(1), with(put(2), Unknown), get(1), get(2), get(2)), fine},
		"unknown, and done twice":                 {ops(put(1), with(put(2), Unknown), get(2), put(3), get(2)), reads},
		"unknown, seen and lost":                  {ops(put(1), with(put(2), Unknown), get(2), get(1)), reads},
		"unknown swap, done":                      {ops(put(1), with(swap(1, 2, 0), Unknown), get(1), get(2)), fine},
		"unknown swap that could not":             {ops(put(1), with(swap(9, 2, 0), Unknown), get(2)), reads},
		"a read without an answer":                {ops(put(1), with(get(5), Unknown)), fine},
	} {
		t.Run(name, func(t *testing.T) {
			v := CheckRegisters(c.history, patience)
			require.Empty(t, v.Undecided)
			require.Equal(t, c.want != fine, len(v.Illegal) > 0)
			require.Equal(t, c.want == writes, len(v.WritesIllegal) > 0)
			require.Equal(t, c.want != fine, v.Err() != nil)
			if c.want != fine {
				require.NotEmpty(t, v.Explained[0])
			}
		})
	}
}

func TestRegistersAreOnTheirOwn(t *testing.T) {
	one, other := put(1), get(0)
	other.Key = 1
	require.NoError(t, CheckRegisters(ops(one, other), patience).Err())
	bad := get(3)
	bad.Key = 2
	v := CheckRegisters(ops(one, other, bad), patience)
	require.Equal(t, []int{2}, v.Illegal)
	require.ErrorContains(t, v.Err(), "key 2")
}

// served makes the history of some clients of one server, with answers that do not arrive. cheat changes what the server has.
func served(seed uint64, n int, cheat func(n int, value *int64)) []Op {
	r := rand.New(rand.NewPCG(seed, seed))
	var value, next int64
	now := time.Duration(0)
	seen := make([]int64, 8)
	busy := make([]time.Duration, 8) // until when each client is
	var history []Op
	for i := range n {
		client := r.IntN(len(seen))
		now += time.Duration(r.IntN(10) + 1)
		// Every operation takes effect now, at some time between it was sent, and answered.
		o := Op{Client: client, Sent: max(now-time.Duration(r.IntN(20)), busy[client]), Done: now + time.Duration(r.IntN(20)), Outcome: OK}
		o.Sent = min(o.Sent, now)
		if busy[client] > now {
			continue
		}
		busy[client] = o.Done + 1
		if cheat != nil {
			cheat(i, &value)
		}
		effective := true
		if r.IntN(20) == 0 {
			o.Outcome = Unknown
			effective = r.IntN(2) == 0
		}
		switch r.IntN(3) {
		case 0:
			o.Action, o.Found = Get, value
			seen[client] = value
		case 1:
			next++
			o.Action, o.Value = Put, next
			if effective {
				value = next
			}
		case 2:
			next++
			o.Action, o.Expect, o.Value, o.Found = Swap, seen[client], next, value
			seen[client] = value
			if effective && o.Expect == value {
				value, seen[client] = next, next
			}
		}
		if o.Outcome == Unknown {
			o.Found = 0
		}
		history = append(history, o)
	}
	return history
}

func TestRegistersOnAServer(t *testing.T) {
	found := 0
	const runs = 20
	for seed := range uint64(runs) {
		require.NoError(t, CheckRegisters(served(seed, 2000, nil), patience).Err(), "seed %d", seed)
		before := int64(0)
		v := CheckRegisters(served(seed, 2000, func(n int, value *int64) { // now and then it forgets what it got in the last while
			switch n % 200 {
			case 100:
				before = *value
			case 120:
				*value = before
			}
		}), patience)
		require.Empty(t, v.Undecided)
		found += len(v.Illegal)
	}
	require.Greater(t, found, runs*9/10, "a loss is found unless somebody writes before anybody reads: one of ten nearly always")
}
