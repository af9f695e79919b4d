package failover

import (
	"slices"
	"time"

	"github.com/huker/huker/internal/durability"
)

// find gives the first instance of which something is so.
func (v *view) find(is func(*Instance) bool) *Instance {
	for i := range v.o.Instances {
		if is(&v.o.Instances[i]) {
			return &v.o.Instances[i]
		}
	}
	return nil
}

// some makes a row of something that is so of one instance.
func some(is func(*view, *Instance) bool, do func(*view, *Instance) []Step) (func(*view) bool, func(*view) []Step) {
	found := func(v *view) *Instance { return v.find(func(m *Instance) bool { return is(v, m) }) }
	return led(func(v *view) bool { return found(v) != nil }), func(v *view) []Step { return do(v, found(v)) }
}

func (v *view) isMember(m *Instance) bool  { return slices.Contains(v.r.Ackers(), m.ID) }
func (v *view) isLearner(m *Instance) bool { return slices.Contains(v.r.Learners, m.ID) }

func (v *view) isOutsider(m *Instance) bool {
	return m.ID != v.r.Primary && !slices.Contains(v.r.Members, m.ID) && !v.isLearner(m)
}

// wrong says why a member or learner must not go on as such; empty: it may.
func (v *view) wrong(m *Instance) string {
	switch {
	case m.Unwanted:
		return "its deletion was asked for"
	case v.o.fresh(m) && !v.r.Is(m.ID, m.Status.Server):
		return "its data is gone: another server answers by its name"
	case v.o.fresh(m) && m.Status.Rebuilding:
		return "its data is being replaced"
	}
	return v.unfit(m)
}

func remove(v *view, m *Instance, why string) []Step {
	return v.change(durability.Change{Kind: durability.Remove, Member: m.ID}, why)
}

func memberProblems() []Problem {
	leavingMatch, leavingSteps := some(
		func(v *view, m *Instance) bool { return slices.Contains(v.r.Leaving, m.ID) },
		func(v *view, m *Instance) []Step { return remove(v, m, "") })
	wrongMatch, wrongSteps := some(
		func(v *view, m *Instance) bool { return v.isMember(m) && v.wrong(m) != "" },
		func(v *view, m *Instance) []Step { return remove(v, m, v.wrong(m)) })
	silentMatch, silentSteps := some(
		func(v *view, m *Instance) bool {
			return v.isMember(m) && v.o.silent(m) && v.o.silence(m) > v.o.Timing.RemoveAfter && (len(v.r.Ackers()) > 1 || v.r.Policy.Floor() == 0)
		},
		func(v *view, m *Instance) []Step { return remove(v, m, "it is silent") })
	gone := func(v *view, m *Instance) bool { return v.silentFor(m) > v.o.Timing.RemoveAfter }
	learnerMatch, learnerSteps := some(
		func(v *view, m *Instance) bool { return v.isLearner(m) && (v.wrong(m) != "" || gone(v, m)) },
		func(v *view, m *Instance) []Step { return remove(v, m, v.wrong(m)) })
	caughtMatch, caughtSteps := some(
		func(v *view, m *Instance) bool { return v.isLearner(m) && v.joins(m) },
		join)
	return []Problem{
		{
			Name: "member leaves", Class: ClassRepair,
			Shows: "a member is on its way out",
			Done:  "once the primary has shut it out and sealed with the others, publish that it is none",
			Why:   "rules 2 and 3; without the seal the only copy of an acknowledged transaction might be on it",
			match: leavingMatch, steps: leavingSteps,
		},
		{
			Name: "member unfit", Class: ClassRepair,
			Shows: "it is not wanted any more; its data is gone; it has what the primary does not have, or lacks what the primary has purged. " +
				"What it has is read first, what the primary has after it",
			Done:  "have the primary shut it out. Where it was the last one, nothing is promised from then on",
			Why:   "section 3, 9; bitpoke #425; moco #419, #797",
			match: wrongMatch, steps: wrongSteps,
		},
		{
			Name: "member silent", Class: ClassRepair,
			Shows: "a member has been silent for long, and another one is left (or none need be)",
			Done:  "have the primary shut it out",
			Why:   "a failover counts it among N, and waits for it",
			match: silentMatch, steps: silentSteps,
		},
		{
			Name: "learner unfit", Class: ClassRepair,
			Shows: "as with members; or it has been silent for long",
			Done:  "it replicates no more",
			Why:   "",
			match: learnerMatch, steps: learnerSteps,
		},
		{
			Name: "learner caught up", Class: ClassRepair,
			Shows: "it replicates from the primary, has what the primary had, and knows that it must not acknowledge",
			Done:  "publish it as a member; it then begins to acknowledge",
			Why:   "rule 2; one that lags would only make a failover wait for it",
			match: caughtMatch, steps: caughtSteps,
		},
	}
}

func (v *view) silentFor(m *Instance) (d time.Duration) {
	if v.o.silent(m) {
		d = v.o.silence(m)
	}
	return d
}

func join(v *view, m *Instance) []Step {
	return v.change(durability.Change{Kind: durability.Add, Member: m.ID}, "")
}

// joins says whether the next step of adding an instance can be taken now.
func (v *view) joins(m *Instance) bool {
	a := durability.Change{Kind: durability.Add, Member: m.ID}.Next(v.r, v.seen(m.ID))
	return a.Kind == durability.Swap
}

func askPrimary(v *view, m *Instance) []Step {
	return again("%s has to be asked now, to be compared with "+m.ID, v.r.Primary)
}

// present says whether an outsider is one that the cluster should have, and answers.
func (v *view) present(m *Instance) bool {
	return v.isOutsider(m) && !m.Unwanted && v.o.obeys(m) && m.Status.Mysqld == MysqldUp && !m.Status.Rebuilding
}

func outsiderProblems() []Problem {
	compareMatch, compareSteps := some(
		func(v *view, m *Instance) bool {
			unknown := !v.compared(m) && v.o.fresh(m) && m.Status.Mysqld == MysqldUp && !m.Status.Rebuilding
			return unknown && v.present(m) || v.suspected(m) && (v.isMember(m) || v.isLearner(m))
		},
		askPrimary)
	joinMatch, joinSteps := some(func(v *view, m *Instance) bool { return v.present(m) && v.joins(m) }, join)
	rebuildMatch, rebuildSteps := some(
		func(v *view, m *Instance) bool {
			needed := v.primary.Status.Open() || len(v.acking()) < v.r.SetAcks // else it could not open without it
			return v.present(m) && v.unfit(m) != "" && needed
		},
		func(v *view, m *Instance) []Step {
			return []Step{{Kind: StepRebuild, Members: []string{m.ID}, Server: m.Status.Server, Donor: v.donor(), Reason: v.unfit(m)}}
		})
	return []Problem{
		{
			Name: "primary to be asked again", Class: ClassRepair,
			Shows: "what the primary had was read before what somebody else has, who seems to be ahead or wants to join",
			Done:  "ask the primary now",
			Why:   "moco #419, #797: a healthy replica is declared another history",
			match: compareMatch, steps: compareSteps,
		},
		{
			Name: "outsider fits", Class: ClassRepair,
			Shows: "a server that is no member has nothing that the primary lacks, knows the newest record, and receives nothing",
			Done:  "let it replicate, without acknowledging",
			Why:   "an old primary returns by itself",
			match: joinMatch, steps: joinSteps,
		},
		{
			Name: "outsider does not fit", Class: ClassRepair,
			Shows: "it has what the primary lacks, or lacks what the primary has purged",
			Done:  "replace its data by a clone; it returns as another server",
			Why:   "MySQL bug 99370: a session that was killed while it waited commits locally; bitpoke #425",
			match: rebuildMatch, steps: rebuildSteps,
		},
		{
			Name: "primary does not open", Class: ClassRepair,
			Shows: "it answers, and has not sealed since it started",
			Done:  "wait, and say for whom",
			Why:   "rule 8; percona #1393: a cluster that crashed as a whole says what it waits for",
			match: led(func(v *view) bool { return !v.primary.Status.Open() }),
			steps: func(v *view) []Step {
				away := v.those(v.r.Ackers(), func(m *Instance) bool { return !slices.Contains(v.acking(), m.ID) })
				return wait("%s waits for %d members to hold what it has; %s not replicate from it now", v.r.Primary, v.r.SetAcks, verb(away))
			},
		},
		{
			Name: "members to follow", Class: ClassRepair,
			Shows: "somebody does not acknowledge yet, catches up, or is being rebuilt",
			Done:  "wait",
			Why:   "",
			match: led(func(v *view) bool { return v.busy() != nil }),
			steps: func(v *view) []Step {
				if m := v.busy(); m.Status.Room.Low {
					return wait("%s is not there yet: %s", m.ID, noRoom)
				}
				return wait("%s is not there yet", v.busy().ID)
			},
		},
	}
}

// busy is somebody who has still to come to what it should be.
func (v *view) busy() *Instance {
	return v.find(func(m *Instance) bool {
		return m.ID != v.r.Primary && !m.Unwanted && v.o.fresh(m) && !slices.Contains(v.acking(), m.ID)
	})
}

// donor is who can be cloned: a member that acknowledges rather than the primary.
func (v *view) donor() string {
	if acking := v.best(v.acking()); len(acking) > 0 {
		return acking[0]
	}
	return v.r.Primary
}
