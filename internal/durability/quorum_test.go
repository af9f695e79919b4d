package durability

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/huker/huker/internal/gtid"
)

const one = "00000000-0000-0000-0000-000000000001"

func gtids(t testing.TB, text string) gtid.Set {
	t.Helper()
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func cluster(members, acks int) Record {
	r := Record{Cluster: "m", Epoch: 7, Primary: "a", MinAcks: acks, SetAcks: acks, Policy: Strict, Servers: map[string]string{"a": "sa"}}
	for i := range members {
		id := string(rune('b' + i))
		r.Members = append(r.Members, id)
		r.Servers[id] = "s" + id
	}
	return r
}

// TestQuorumTable is the table of rule 1.
func TestQuorumTable(t *testing.T) {
	for _, c := range []struct {
		topology               string
		acks, members, stopped int
		survives               int // members that may be lost together with the primary
	}{
		{"1+1", 1, 1, 1, 0},
		{"1+2, one acknowledges", 1, 2, 2, 0},
		{"1+2, both acknowledge", 2, 2, 1, 1},
		{"1+4", 2, 4, 3, 1},
	} {
		r := cluster(c.members, c.acks)
		if got := NeededStops(r); got != c.stopped || c.members-got != c.survives {
			t.Errorf("%s: %d have to be stopped", c.topology, got)
		}
	}
	if r := cluster(2, 0); NeededStops(r) <= len(r.Members) {
		t.Error("W = 0: there are never enough")
	}
}

// TestQuorumArithmetic: R is the smallest number of which any so many members have one in common with any W that acknowledged.
func TestQuorumArithmetic(t *testing.T) {
	for n := 1; n <= 6; n++ {
		for w := 1; w <= n; w++ {
			needed := NeededStops(cluster(n, w))
			disjoint := func(stopped int) bool { // is there a choice in which nobody who is stopped acknowledged?
				for a := range 1 << n {
					for s := range 1 << n {
						if bits.OnesCount(uint(a)) == w && bits.OnesCount(uint(s)) == stopped && a&s == 0 {
							return true
						}
					}
				}
				return false
			}
			if disjoint(needed) || !disjoint(needed-1) {
				t.Errorf("W = %d, N = %d: R = %d", w, n, needed)
			}
		}
	}
}

func stopped(id string, epoch int64, has gtid.Set) Stop {
	return Stop{Member: id, Server: "s" + id, Epoch: epoch, Has: has}
}

func TestMayPromote(t *testing.T) {
	has := gtids(t, one+":1-10")
	b, c := stopped("b", 8, has), stopped("c", 8, has)
	pair := cluster(2, 2).Begin(Failover, "", "", began, began)
	for _, x := range []struct {
		name  string
		r     Record
		stops []Stop
		why   string // empty: it may
	}{
		{"enough are stopped", failing(), []Stop{b, c}, ""},
		{"both acknowledged, one is stopped", pair, []Stop{b}, ""},
		{"one is not", failing(), []Stop{b}, "1 of 2 members are known to be stopped, 2 must be"},
		{"none is", failing(), nil, "0 of 2"},
		{"the same one twice", failing(), []Stop{b, b}, "1 of 2"},
		{"one stopped under an older epoch: it may have begun again since", failing(), []Stop{b, stopped("c", 7, has)}, "1 of 2"},
		{"one is another server by that name", failing(), []Stop{b, {Member: "c", Server: "sx", Epoch: 8, Has: has}}, "1 of 2"},
		{"one is no member", failing(), []Stop{b, stopped("d", 8, has)}, "1 of 2"},
		{"no failover was begun", settled(), []Stop{stopped("b", 7, has), stopped("c", 7, has)}, "no failover was begun"},
		{"nothing is promised", cluster(2, 0).Begin(Failover, "", "", began, began), []Stop{b, c}, "may have acknowledged what nobody else has"},
	} {
		t.Run(x.name, func(t *testing.T) {
			ok, why := MayPromote(x.r, x.stops)
			if ok != (x.why == "") || !strings.Contains(why, x.why) {
				t.Errorf("%v, %q", ok, why)
			}
			if fit, err := Candidates(x.r, x.stops); !ok && (len(fit) > 0 || err != nil) {
				t.Errorf("%v, %v", fit, err)
			}
		})
	}
}

// TestCandidates: the maximum of Retrieved and Executed.
func TestCandidates(t *testing.T) {
	short, long := gtids(t, one+":1-10"), gtids(t, one+":1-12")
	other := gtids(t, one+":1-10:12")
	five := cluster(4, 2).Begin(Failover, "", "", began, began)
	for _, c := range []struct {
		name  string
		r     Record
		stops []Stop
		fit   []string
	}{
		{"the same: both", failing(), []Stop{stopped("c", 8, long), stopped("b", 8, long)}, []string{"b", "c"}},
		{"one has more", failing(), []Stop{stopped("b", 8, short), stopped("c", 8, long)}, []string{"c"}},
		{"a gap that is contained", failing(), []Stop{stopped("b", 8, other), stopped("c", 8, long)}, []string{"c"}},
		{"of four, one that contains a quorum is enough", five, []Stop{
			stopped("b", 8, short), stopped("c", 8, short), stopped("d", 8, short), stopped("e", 8, long),
		}, []string{"b", "c", "d", "e"}},
		{"of three, only the maximum does", five, []Stop{stopped("b", 8, short), stopped("c", 8, short), stopped("d", 8, long)}, []string{"d"}},
		{"too few", failing(), []Stop{stopped("c", 8, long)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			fit, err := Candidates(c.r, c.stops)
			if err != nil || !slices.Equal(fit, c.fit) {
				t.Errorf("%v, %v", fit, err)
			}
		})
	}
	fit, err := Candidates(failing(), []Stop{stopped("b", 8, gtids(t, one+":1-11")), stopped("c", 8, other)})
	if !errors.Is(err, ErrDiverged) || fit != nil || !strings.Contains(err.Error(), one+":11") || !strings.Contains(err.Error(), one+":12") {
		t.Errorf("never guess: %v, %v", fit, err)
	}
}

// TestCandidatesHold: whoever W members hold an acknowledged transaction, and whoever R are stopped, every candidate has it.
func TestCandidatesHold(t *testing.T) {
	all, before := gtids(t, one+":1-5"), gtids(t, one+":1-4")
	for n := 1; n <= 5; n++ {
		for w := 1; w <= n; w++ {
			r := cluster(n, w).Begin(Failover, "", "", began, began)
			for holders := range 1 << n {
				if bits.OnesCount(uint(holders)) < w {
					continue
				}
				for who := range 1 << n {
					var stops []Stop
					for i, id := range r.Members {
						switch has := holders>>i&1 == 1; {
						case who>>i&1 == 0:
						case has:
							stops = append(stops, stopped(id, 8, all))
						default:
							stops = append(stops, stopped(id, 8, before))
						}
					}
					fit, err := Candidates(r, stops)
					if err != nil || len(stops) >= NeededStops(r) && len(fit) == 0 {
						t.Fatalf("W = %d, N = %d, stopped %v: %v, %v", w, n, stops, fit, err)
					}
					for _, id := range fit {
						if i := slices.Index(r.Members, id); holders>>i&1 == 0 {
							t.Fatalf("W = %d, N = %d, held by %s: candidate %s", w, n, fmt.Sprintf("%b", holders), id)
						}
					}
				}
			}
		}
	}
}

func TestMayHandOver(t *testing.T) {
	has := gtids(t, one+":1-10")
	q := Quiet{Server: "sa", Epoch: 8, Executed: has}
	nameless := switching()
	delete(nameless.Servers, "a")
	for _, c := range []struct {
		name     string
		r        Record
		q        Quiet
		executed gtid.Set
		why      string
	}{
		{"it has everything", switching(), q, has, ""},
		{"a failover whose old primary answers", failing(), q, has, ""},
		{"fast: the machine of the old primary started again", switching(), Quiet{Server: "sa@boot2", Epoch: 8, Executed: has}, has, ""},
		{"it lags", switching(), q, gtids(t, one+":1-7"), "3 transactions are still to be applied"},
		{"no change was begun", settled(), q, has, "no change of primary was begun"},
		{"the old primary does not know yet", switching(), Quiet{Server: "sa", Epoch: 7, Executed: has}, has, "does not know yet"},
		{"the old primary's data is gone", switching(), Quiet{Server: "sx", Epoch: 8}, has, "not the server any more"},
		{"which server it was is not known", nameless, q, has, "not the server any more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok, why := MayHandOver(c.r, c.q, c.executed)
			if ok != (c.why == "") || !strings.Contains(why, c.why) {
				t.Errorf("%v, %q", ok, why)
			}
		})
	}
}
