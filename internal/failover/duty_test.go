package failover

import (
	"reflect"
	"strings"
	"testing"

	"github.com/huker/huker/internal/durability"
)

// TestAssign: what a server has to do follows from the record alone.
func TestAssign(t *testing.T) {
	learning := record(1).Admit("d", "sd")
	leaving := record(1).Leave("c")
	failing, handing, opening := failing(1).Record, handing().Record, opening().Record
	failingWithLearner := learning.Begin(failing.Intent.Kind, "", "", now, now)
	nobody := record(1)
	nobody.Primary = ""
	for _, c := range []struct {
		name, instance, server string
		record                 durability.Record
		want                   Duty
	}{
		{"settled: the primary", "a", "sa", record(1), Duty{Role: RolePrimary, Open: true, Acks: 1, Ackers: []string{"b", "c"}, Admit: []string{"b", "c"}}},
		{"settled: a member", "b", "sb", record(1), Duty{Role: RoleReplica, Source: "a", Acknowledge: true}},
		{"settled: a stranger", "d", "sd", record(1), Duty{Role: RoleOutsider, Why: "no member"}},
		{"settled: another server by the name of the primary", "a", "sx", record(1), Duty{Role: RoleOutsider, Why: "another server"}},
		{"settled: another server by the name of a member", "b", "sx", record(1), Duty{Role: RoleOutsider, Why: "another server"}},
		{"a learner is let in, and does not acknowledge: the primary", "a", "sa", learning, Duty{
			Role: RolePrimary, Open: true, Acks: 1, Ackers: []string{"b", "c"}, Admit: []string{"b", "c", "d"},
		}},
		{"a learner is let in, and does not acknowledge: the learner", "d", "sd", learning, Duty{Role: RoleReplica, Source: "a"}},
		{"rule 3: who leaves is shut out at the primary", "a", "sa", leaving, Duty{Role: RolePrimary, Open: true, Acks: 1, Ackers: []string{"b"},
			Admit: []string{"b"}}},
		{"rule 3: who leaves receives nothing", "c", "sc", leaving, Duty{Role: RoleOutsider, Why: "no member"}},
		{"acknowledgements are raised before they are published", "a", "sa", record(1).Require(2), Duty{
			Role: RolePrimary, Open: true, Acks: 2, Ackers: []string{"b", "c"}, Admit: []string{"b", "c"},
		}},
		{"stopping: the old primary", "a", "sa", failing, Duty{Role: RoleQuiesced}},
		{"stopping: a member", "b", "sb", failing, Duty{Role: RoleStopped}},
		{"stopping: a learner", "d", "sd", failingWithLearner, Duty{Role: RoleStopped}},
		{"stopping: a stranger", "e", "se", failing, Duty{Role: RoleOutsider, Why: "a failover is under way"}},
		{"quiescing: the old primary", "a", "sa", handing, Duty{Role: RoleQuiesced}},
		{"quiescing: its successor still receives, and is shut", "b", "sb", handing, Duty{Role: RoleReplica, Source: "a", Acknowledge: true, Shut: true, Why: "about to become"}},
		{"quiescing: the others go on", "c", "sc", handing, Duty{Role: RoleReplica, Source: "a", Acknowledge: true}},
		{"handed over: the old primary receives, and stays shut", "a", "sa", handing.Promote("b", []string{"a", "c"}, 1), Duty{
			Role: RoleReplica, Source: "b", Acknowledge: true, Shut: true, Why: "another one is about to",
		}},
		{"handed over: the others go on", "c", "sc", handing.Promote("b", []string{"a", "c"}, 1), Duty{Role: RoleReplica, Source: "b", Acknowledge: true}},
		{"it is over: the old primary is a replica like others", "a", "sa", handing.Promote("b", []string{"a", "c"}, 1).Establish(), Duty{
			Role: RoleReplica, Source: "b", Acknowledge: true,
		}},
		{"rule 5: opening: the new primary leads, and is not open", "b", "sb", opening, Duty{Role: RolePrimary, Acks: 1, Ackers: []string{"c"},
			Admit: []string{"c"}}},
		{"opening: who is expected follows", "c", "sc", opening, Duty{Role: RoleReplica, Source: "b", Acknowledge: true}},
		{"opening: the old primary has no part", "a", "sa", opening, Duty{Role: RoleOutsider, Why: "no member"}},
		{"nobody leads", "d", "sd", nobody, Duty{Role: RoleOutsider, Why: "no primary"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Assign(c.instance, c.server, c.record)
			why := got.Why
			got.Why = c.want.Why
			if !reflect.DeepEqual(got, c.want) || (c.want.Why == "") != (why == "") || !strings.Contains(why, c.want.Why) {
				t.Errorf("%+v, %q", got, why)
			}
		})
	}
}

// TestCovers: what was sealed under one record is sealed under the next one when that asks for no more, of nobody else.
func TestCovers(t *testing.T) {
	seal := Seal{Epoch: 7, Acks: 1, Ackers: []string{"b", "c"}}
	for _, c := range []struct {
		name  string
		epoch int64
		duty  Duty
		want  bool
	}{
		{"the same", 8, Duty{Acks: 1, Ackers: []string{"b", "c"}}, true},
		{"one more may acknowledge", 8, Duty{Acks: 1, Ackers: []string{"b", "c", "d"}}, true},
		{"fewer are asked for", 8, Duty{Acks: 0, Ackers: []string{"b", "c"}}, true},
		{"more are asked for", 8, Duty{Acks: 2, Ackers: []string{"b", "c"}}, false},
		{"one less: it may hold the only copy", 8, Duty{Acks: 1, Ackers: []string{"b"}}, false},
		{"a record was missed", 9, Duty{Acks: 1, Ackers: []string{"b", "c"}}, false},
		{"the seal is newer", 7, Duty{Acks: 1, Ackers: []string{"b", "c"}}, false},
	} {
		if got := seal.covers(c.epoch, c.duty); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
