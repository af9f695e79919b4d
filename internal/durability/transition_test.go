package durability

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// TestTransitions: every change is the next epoch, lawful, and leaves the record that it replaces as it was.
func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		name string
		of   Record
		do   func(Record) Record
		want func(Record) bool
	}{
		{"named", settled(), func(r Record) Record { return r.Named("a", "sx") }, func(r Record) bool { return r.Servers["a"] == "sx" }},
		{"admit", settled(), func(r Record) Record { return r.Admit("d", "sd") }, func(r Record) bool {
			return slices.Equal(r.Learners, []string{"d"}) && r.Servers["d"] == "sd" && !slices.Contains(r.Ackers(), "d")
		}},
		{"admit twice", settled().Admit("d", "s1"), func(r Record) Record { return r.Admit("d", "sd") }, func(r Record) bool {
			return slices.Equal(r.Learners, []string{"d"}) && r.Servers["d"] == "sd"
		}},
		{"dismiss", settled().Admit("d", "sd"), func(r Record) Record { return r.Dismiss("d") }, func(r Record) bool {
			return len(r.Learners) == 0 && r.Servers["d"] == ""
		}},
		{"publish", settled().Admit("aa", "saa"), func(r Record) Record { return r.Publish("aa") }, func(r Record) bool {
			return len(r.Learners) == 0 && slices.Equal(r.Members, []string{"aa", "b", "c"}) && r.Servers["aa"] == "saa"
		}},
		{"leave: still a member", settled(), func(r Record) Record { return r.Leave("b") }, func(r Record) bool {
			return slices.Equal(r.Members, []string{"b", "c"}) && slices.Equal(r.Ackers(), []string{"c"}) && r.MinAcks == 1
		}},
		{"stay", settled().Leave("b"), func(r Record) Record { return r.Stay("b") }, func(r Record) bool {
			return len(r.Leaving) == 0 && slices.Equal(r.Ackers(), []string{"b", "c"})
		}},
		{"unpublish", settled().Leave("b"), func(r Record) Record { return r.Unpublish("b") }, func(r Record) bool {
			return len(r.Leaving) == 0 && slices.Equal(r.Members, []string{"c"}) && r.Servers["b"] == ""
		}},
		{"require: waited for, not promised", settled(), func(r Record) Record { return r.Require(2) },
			func(r Record) bool { return r.SetAcks == 2 && r.MinAcks == 1 }},
		{"promise", settled().Require(2), func(r Record) Record { return r.Promise(2) }, func(r Record) bool { return r.SetAcks == 2 && r.MinAcks == 2 }},
		{"promise nothing, strict", settled(), func(r Record) Record { return r.Promise(0) }, func(r Record) bool { return r.SetAcks == 1 && r.MinAcks == 0 }},
		{"govern: as many are waited for as are promised", settled(), func(r Record) Record { return r.Govern(Available) },
			func(r Record) bool { return r.Policy == Available && r.SetAcks == 1 && r.MinAcks == 1 }},
		{"govern: available goes on alone", settled().Promise(0), func(r Record) Record { return r.Govern(Available) },
			func(r Record) bool { return r.SetAcks == 0 && r.MinAcks == 0 }},
		{"govern: strict waits for somebody", settled().Promise(0).Govern(Available), func(r Record) Record { return r.Govern(Strict) },
			func(r Record) bool { return r.Policy == Strict && r.SetAcks == 1 && r.MinAcks == 0 }},
		{"govern: what is being raised goes on", settled().Require(2), func(r Record) Record { return r.Govern(Available) },
			func(r Record) bool { return r.SetAcks == 2 && r.MinAcks == 1 }},
		{"begin a failover", settled(), func(r Record) Record { return r.Begin(Failover, "", "why", began, time.Time{}) }, func(r Record) bool {
			i := r.Intent
			return r.Primary == "a" && i.Phase == Stopping && i.Since == 8 && i.From == "a" && i.To == "" && i.Reason == "why" && i.Began.Equal(began)
		}},
		{"begin it anew: older confirmations do not count", failing(), func(r Record) Record { return r.Begin(Failover, "", "again", began, time.Time{}) },
			func(r Record) bool {
				return r.Intent.Since == 9 && r.Intent.From == "a"
			}},
		{"begin it anew while the successor opens: by the old primary's members", opening(), func(r Record) Record {
			return r.Begin(Failover, "", "b is lost", began, time.Time{})
		}, func(r Record) bool {
			return r.Primary == "a" && r.Intent.From == "a" && r.Intent.Phase == Stopping && slices.Equal(r.Members, []string{"b", "c"}) && r.MinAcks == 1
		}},
		{"a failover in place of a switchover", switching(), func(r Record) Record { return r.Begin(Failover, "", "a is lost", began, time.Time{}) },
			func(r Record) bool {
				return r.Intent.Kind == Failover && r.Intent.Phase == Stopping && r.Intent.To == "" && r.Intent.Since == 9
			}},
		{"begin a switchover", settled(), func(r Record) Record { return r.Begin(Switchover, "b", "asked", began, began.Add(time.Minute)) }, func(r Record) bool {
			return r.Primary == "a" && r.Intent.Phase == Quiescing && r.Intent.To == "b" && r.Intent.Deadline.Equal(began.Add(time.Minute))
		}},
		{"choose: confirmations go on counting", failing(), func(r Record) Record { return r.Choose("c") }, func(r Record) bool {
			return r.Primary == "a" && r.Intent.To == "c" && r.Intent.Since == 8 && r.Intent.Phase == Stopping
		}},
		{"promote: the members stay the old primary's", failing().Admit("d", "sd"), func(r Record) Record { return r.Promote("c", []string{"d", "b"}, 1) },
			func(r Record) bool {
				return r.Primary == "c" && r.Source() == "a" && slices.Equal(r.Members, []string{"b", "c"}) && slices.Equal(r.Ackers(), []string{"b",
					"d"}) && len(r.Learners) == 0
			}},
		{"promote with nobody, strict: it waits for one", failing(), func(r Record) Record { return r.Promote("c", nil, 0) }, func(r Record) bool {
			return r.Intent.MinAcks == 0 && r.Acks() == 1
		}},
		{"expect fewer", opening(), func(r Record) Record { return r.Expect(nil, 0) }, func(r Record) bool {
			return len(r.Ackers()) == 0 && r.Acks() == 1 && r.Primary == "b" && r.MinAcks == 1
		}},
		{"establish: the new terms are the record's", opening(), Record.Establish, func(r Record) bool {
			return r.Intent == nil && r.Primary == "b" && r.Source() == "b" && slices.Equal(r.Members,
				[]string{"c"}) && r.MinAcks == 1 && len(r.Servers) == 2 && r.Servers["a"] == ""
		}},
		{"back: the old terms still are", opening(), Record.Back, func(r Record) bool {
			return r.Intent == nil && r.Primary == "a" && slices.Equal(r.Members, []string{"b", "c"}) && r.MinAcks == 1 && len(r.Servers) == 3
		}},
		{"a record without servers", Record{Cluster: "m", Primary: "a"}, func(r Record) Record { return r.Named("a", "sa") },
			func(r Record) bool { return r.Servers["a"] == "sa" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := json.Marshal(c.of)
			if err != nil {
				t.Fatal(err)
			}
			got := c.do(c.of)
			after, err := json.Marshal(c.of)
			switch {
			case err != nil || string(after) != string(before):
				t.Errorf("the record it came from became %s, %v", after, err)
			case got.Epoch != c.of.Epoch+1:
				t.Errorf("epoch %d follows %d", got.Epoch, c.of.Epoch)
			case got.Validate() != nil:
				t.Errorf("%v", got.Validate())
			case !c.want(got):
				t.Errorf("%+v, %+v", got, got.Intent)
			}
		})
	}
}

// TestNoSharing: what is done to a record does nothing to the one it came from.
func TestNoSharing(t *testing.T) {
	r := opening()
	next := r.Named("c", "other")
	next.Members[0], next.Intent.Members[0], next.Intent.To = "x", "x", "x"
	if r.Members[0] != "b" || r.Intent.Members[0] != "c" || r.Intent.To != "b" || r.Servers["c"] != "sc" {
		t.Errorf("%+v, %+v", r, r.Intent)
	}
}
