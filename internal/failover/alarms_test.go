package failover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
)

// TestAlarms: what a person is told, whatever is done about it.
func TestAlarms(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   Observation
		change func(*Observation)
		alarms []string
		text   string // of the first
	}{
		{"all is well", well(), func(*Observation) {}, nil, ""},
		{"rule 1: never guess", failing(1), func(o *Observation) {
			o.lose("a")
			o.stop("b", "c")
			o.status("b").Executed, o.status("c").Executed = trx(1, 100).Union(errant(1, 1)), trx(1, 101)
		}, []string{"histories-differ", "primary-lost"}, "members hold different histories"},
		{"the primary is lost", well(), func(o *Observation) { o.status("a").Mysqld = MysqldDown }, []string{"primary-lost"}, "mysqld does not run"},
		{"the primary is in doubt", well(), func(o *Observation) { o.lose("a") }, []string{"primary-in-doubt"}, "replicas hear of it"},
		{"rule 4: no automatic failover", joining(), func(o *Observation) {
			o.Record.Policy = durability.Available
			o.Record = o.Record.Promise(0)
			o.instance("a").Status = leading(o.Record)
		}, []string{"no-automatic-failover", "replicas-missing"}, "if a fails, it has to come back"},
		{"4.5: writes wait", well(), func(o *Observation) { o.deafen("b", "c") }, []string{"writes-wait", "replicas-missing"}, "0 replicas acknowledge, 1 have to"},
		{"a replica is missing", well(), func(o *Observation) { o.deafen("c") }, []string{"replicas-missing"}, "1 of 2 replicas"},
		{"3.10: semi-sync is off", well(), func(o *Observation) { o.status("a").Serving.SemiSync = false }, []string{"asynchronous-primary"},
			"waits for 0 acknowledgements, 1 are promised"},
		{"4.7: a second primary", well(), func(o *Observation) { o.status("c").Writes = WritesOn }, []string{"second-primary"}, "c is open, and a is the primary"},
		{"an applier does not work", well(), func(o *Observation) { o.status("c").Applier = "1062" }, []string{"applier-broken"}, "c does not apply: 1062"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change(&c.from)
			d := Decide(c.from)
			var names []string
			for _, a := range d.Alarms {
				names = append(names, a.Name)
			}
			if !slices.Equal(names, c.alarms) || c.text != "" && !strings.Contains(d.Alarms[0].Text, c.text) {
				t.Errorf("%+v", d.Alarms)
			}
		})
	}
}

// TestSwitchoverRefused: it says why, at once, and nothing is begun.
func TestSwitchoverRefused(t *testing.T) {
	for _, c := range []struct {
		name, to string
		change   func(*Observation)
		text     string // empty: there is nothing to say
	}{
		{"it is the primary already", "a", func(*Observation) {}, ""},
		{"its deadline is over", "b", func(o *Observation) { o.Want.Switchover.Deadline = now }, "its deadline is over"},
		{"nobody knows it", "x", func(*Observation) {}, "x does not acknowledge"},
		{"it does not replicate", "b", func(o *Observation) { o.deafen("b") }, "b does not acknowledge"},
		{"the primary is not open", "b", func(o *Observation) { o.status("a").Offline = true }, "a is not open"},
		{"its applier is broken", "b", func(o *Observation) { o.status("b").Applier, o.status("a").Executed = "1062", trx(1, 101) }, "b does not apply: 1062"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := well()
			o.Want.Switchover = &Switchover{c.to, now.Add(time.Minute)}
			c.change(&o)
			d := Decide(o)
			i := slices.IndexFunc(d.Alarms, func(a Alarm) bool { return a.Name == "switchover-refused" })
			if next(d) != "" || (i >= 0) != (c.text != "") || i >= 0 && !strings.Contains(d.Alarms[i].Text, c.text) {
				t.Errorf("%q, %+v", next(d), d.Alarms)
			}
		})
	}
	// Who is being deleted is not made the primary; it is removed in place of it.
	o := well()
	o.Want.Switchover = &Switchover{"b", now.Add(time.Minute)}
	o.instance("b").Unwanted = true
	if d := Decide(o); d.Problem != "member unfit" || d.Alarms[0].Text != "the switchover to b cannot begin: b is being deleted" {
		t.Errorf("%q, %+v", d.Problem, d.Alarms)
	}
}

// TestFences is rule 7b: a host ends stale reads and hung clients of who was the primary. It is no proof, so nothing waits for it.
func TestFences(t *testing.T) {
	back := func(o *Observation, change func(*Instance)) { // the host of the old primary answers
		a := o.instance("a")
		a.Host = Host{Alive: true}
		change(a)
	}
	for _, c := range []struct {
		name   string
		from   Observation
		change func(*Observation)
		want   string
	}{
		{"its place is taken, and its agent is silent", opening(), func(o *Observation) { back(o, func(*Instance) {}) }, "fence a"},
		{"its place is certain to be taken", failing(1), func(o *Observation) {
			o.lose("a")
			o.stop("b", "c")
			back(o, func(*Instance) {})
		}, "fence a"},
		{"it is not certain yet", failing(1), func(o *Observation) {
			o.lose("a", "c")
			o.stop("b")
			back(o, func(*Instance) {})
		}, ""},
		{"it is fenced", opening(), func(o *Observation) { back(o, func(a *Instance) { a.Host.Fenced = true }) }, ""},
		{"its container does not run", opening(), func(o *Observation) { back(o, func(a *Instance) { a.Host.Down = true }) }, ""},
		{"its host does not answer", opening(), func(*Observation) {}, ""},
		{"it is shut by itself, under the newest record", opening(), func(o *Observation) {
			back(o, func(a *Instance) { a.Lost, a.Seen = false, now })
			o.stand("a")
		}, ""},
		{"it is back, shut, and fenced still", opening(), func(o *Observation) {
			back(o, func(a *Instance) { a.Lost, a.Seen, a.Host.Fenced = false, now, true })
			o.stand("a")
		}, "unfence a"},
		{"it is the primary again", well(), func(o *Observation) { o.instance("a").Host.Fenced = true }, "unfence a"},
		{"4.7: somebody who is open and not the primary", well(), func(o *Observation) { o.status("c").Writes = WritesOn }, "fence c"},
		{"a switchover asks, it does not fence", handing(), func(o *Observation) { back(o, func(*Instance) {}) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change(&c.from)
			var got []string
			for _, s := range Decide(c.from).Steps {
				if s.Kind == StepFence || s.Kind == StepUnfence {
					got = append(got, string(s.Kind)+" "+strings.Join(s.Members, " "))
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestOrders: who goes by an older record is told to do what the newest one makes of it; whoever knows it, or does not answer, is left alone.
func TestOrders(t *testing.T) {
	o := failing(1)
	o.Instances = append(o.Instances, Instance{ID: "d", Seen: now, Status: Status{Epoch: 7, Server: "sd", Mysqld: MysqldUp}})
	if got := kinds(Decide(o)); got != "wait, quiesce a, stop b c, demote d" {
		t.Error(got)
	}
	o.stop("b")
	o.lose("c")
	if got := kinds(Decide(o)); got != "wait, quiesce a, demote d" {
		t.Error(got)
	}
	o = opening()
	o.status("b").Epoch, o.status("c").Epoch = 8, 8
	if got := kinds(Decide(o)); got != "wait, lead b, follow c" {
		t.Error(got)
	}
}

// TestDonor: a member that acknowledges is cloned rather than the primary, which has enough to do.
func TestDonor(t *testing.T) {
	o := joining()
	o.status("c").Executed = errant(1, 1)
	step := func() Step {
		d := Decide(o)
		if d.Problem != "outsider does not fit" || len(d.Steps) != 1 {
			t.Fatalf("%+v", d)
		}
		return d.Steps[0]
	}
	if s := step(); s.Donor != "b" || s.Server != "sc" {
		t.Errorf("%+v", s)
	}
	o.Record.Policy = durability.Available
	o.Record = o.Record.Promise(0).Unpublish("b")
	o.instance("a").Status = leading(o.Record)
	o.lose("b")
	o.status("c").Epoch = o.Record.Epoch
	if s := step(); s.Donor != "a" {
		t.Errorf("%+v", s)
	}
}

// TestTimes: nothing that was seen is needed for safety, but a lost host has to be noticed within 3 s, and a failover begun by then.
func TestTimes(t *testing.T) {
	if d := DefaultTiming(); d.Silent >= 3*time.Second || d.Probe >= 3*time.Second || d.CutOff >= 3*time.Second || d.Linger >= 500*time.Millisecond ||
		d.Stall <= d.CutOff || d.RemoveAfter <= d.Stall {
		t.Errorf("%+v", d)
	}
	for _, c := range []struct {
		since time.Duration
		want  string
	}{{time.Second, ""}, {1200 * time.Millisecond, ""}, {1300 * time.Millisecond, "primary lost"}, {time.Minute, "primary lost"}} {
		o := well()
		o.instance("a").Seen = now.Add(-c.since)
		o.deafen("b", "c")
		if d := Decide(o); (d.Problem == "primary lost") != (c.want != "") {
			t.Errorf("silent for %s: %q", c.since, d.Problem)
		}
	}
}
