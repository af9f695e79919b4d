package failover

import (
	"fmt"
	"slices"

	"github.com/huker/huker/internal/durability"
)

func primaryProblems() []Problem {
	return []Problem{
		{
			Name: "primary's server not known", Class: ClassHold,
			Shows: "the record has no server for its primary, or one before a restart of the machine, and it answers",
			Done:  "write it down",
			Why:   "a volume that is lost later would come back as an empty primary",
			match: settled(func(v *view) bool {
				return v.r.Primary != "" && v.o.well(v.primary) && v.r.Servers[v.r.Primary] != v.primary.Status.Server
			}),
			steps: func(v *view) []Step {
				return swap(StepName, v.r.Named(v.primary.ID, v.primary.Status.Server), "%s is server %s", v.primary.ID, v.primary.Status.Server)
			},
		},
		{
			Name: "primary lost", Class: ClassFailover,
			Shows: "mysqld or its container does not run; or the agent is silent and no replica hears of it; or writes do not get through; or it is cut off " +
				"from replicas that are well; or its data is gone. And so many members answer that R + W > N, and enough are left to acknowledge",
			Done: "begin a failover (raise the epoch), then have members stop their receivers",
			Why:  "rules 1 and 5; restarting mysqld takes seconds, this does not",
			match: settled(func(v *view) bool {
				can, _ := v.replaceable()
				return v.lost != "" && can && (v.couldOpen() || v.lostFor() > v.o.Timing.GiveUp)
			}),
			steps: func(v *view) []Step { return v.begin(v.lost) },
		},
		{
			Name: "primary lost, and its successor could not open", Class: ClassFailover,
			Shows: "as above, but a successor would have too few acknowledgers",
			Done:  "wait a while for the primary to come back; then begin all the same, so that new replicas can be made",
			Why:   "1+1 under strict: a primary that restarts in place is back sooner, and stays whole",
			match: settled(func(v *view) bool { can, _ := v.replaceable(); return v.lost != "" && can }),
			steps: func(v *view) []Step {
				return wait("%s: %s; a successor would have nobody to acknowledge", v.primary.ID, v.lost)
			},
		},
		{
			Name: "primary lost, and nobody may take its place", Class: ClassHold,
			Shows: "as above, but too few members answer, or W = 0 is published",
			Done:  "wait, and say for whom; after a crash of everything, whoever comes back first decides how it goes on",
			Why:   "rules 1, 4 and 12: nothing is changed towards a primary that does not answer",
			match: settled(func(v *view) bool { return v.lost != "" }),
			steps: func(v *view) []Step {
				_, why := v.replaceable()
				return wait("%s: %s. It has to come back, because %s", v.primary.ID, v.lost, why)
			},
		},
		{
			Name: "primary in doubt", Class: ClassHold,
			Shows: "its agent is silent while replicas hear of it, or its writes take long",
			Done:  "ask its agent, its host and the replicas again, at once; change nothing meanwhile",
			Why:   "rule 2: a suspect primary freezes the set. Agent dead is not mysqld dead (xenon #72)",
			match: settled(func(v *view) bool { return v.doubt != "" }),
			steps: func(v *view) []Step {
				return []Step{{Kind: StepSuspect, Members: append([]string{v.primary.ID}, v.r.Members...), Reason: v.primary.ID + ": " + v.doubt}}
			},
		},
		{
			Name: "primary not heard of", Class: ClassHold,
			Shows: "nothing was heard of it for a moment, or since this manager began",
			Done:  "wait; change nothing meanwhile",
			Why:   "rule 2",
			match: settled(func(v *view) bool { return v.r.Primary != "" && !v.o.well(v.primary) }),
			steps: func(v *view) []Step { return wait("nothing is heard of %s", v.primary.ID) },
		},
	}
}

func switchoverProblems() []Problem {
	return []Problem{
		{
			Name: "switchover asked for", Class: ClassSwitchover,
			Shows: "somebody asked for another primary, who acknowledges and has caught up",
			Done:  "begin a switchover, with a deadline",
			Why:   "rule 5",
			match: led(func(v *view) bool { return v.o.Want.Switchover != nil && v.refused() == "" }),
			steps: func(v *view) []Step {
				s := v.o.Want.Switchover
				return swap(StepBegin, v.r.Begin(durability.Switchover, s.To, "asked for", v.o.Now, s.Deadline), "%s hands over to %s", v.r.Primary, s.To)
			},
		},
	}
}

// refused says why a switchover that was asked for cannot begin; empty: it can.
func (v *view) refused() string {
	s := v.o.Want.Switchover
	to := v.o.instance(s.To)
	acking := v.those(v.acking(), func(m *Instance) bool { return m.ID == s.To })
	switch {
	case s.To == v.r.Primary:
		return s.To + " is the primary"
	case !v.o.Now.Before(s.Deadline):
		return "its deadline is over"
	case v.o.fresh(to) && to.Status.Room.Low:
		return fmt.Sprintf("the disk of %s is nearly full", s.To)
	case len(acking) == 0:
		return s.To + " does not acknowledge"
	case !v.primary.Status.Open():
		return v.r.Primary + " is not open"
	case !to.Status.Executed.Contains(v.primary.Status.Executed) && to.Status.Applier != "":
		return s.To + " does not apply: " + to.Status.Applier
	case to.Unwanted:
		return s.To + " is being deleted"
	case v.o.fresh(v.primary) && v.primary.Status.Room.Low && v.others(s.To) < v.r.Policy.InEffect(v.acksOf(v.others(s.To))):
		return fmt.Sprintf("the disk of %s is nearly full, so it could not acknowledge to %s, and too few others can", v.r.Primary, s.To)
	}
	return ""
}

// others is how many members besides one could acknowledge to it.
func (v *view) others(to string) int {
	return len(v.those(v.r.Ackers(), func(m *Instance) bool { return m.ID != to && v.o.follows(m) }))
}

// able are the acknowledgers that a primary can count on: those that acknowledge or have not been away for long, and have room for what they receive; of a
// primary whose writes are stuck only those that do acknowledge.
func (v *view) able() []string {
	s, t := v.primary.Status, v.o.Timing
	if s.Open() && s.Serving.ProbeAgo > t.Stall || !s.Open() && s.MysqldFor > t.Stall && !s.Serving.Proven {
		return v.acking()
	}
	return v.those(v.r.Ackers(), func(m *Instance) bool {
		return v.o.follows(m) || v.r.Is(m.ID, m.Status.Server) && !v.o.fresh(m) && v.o.silence(m) <= t.Stall
	})
}

func policyProblems() []Problem {
	return []Problem{
		{
			Name: "another policy is wanted", Class: ClassRepair,
			Shows: "the owner has changed the policy",
			Done:  "publish it. The primary then waits for as many acknowledgements as it asks for at least",
			Why:   "rules 2 and 4: with nobody left to acknowledge it decides whether writes wait, so it comes before all that goes by it",
			match: led(func(v *view) bool {
				want := v.o.Want.Policy
				return want != "" && want != v.r.Policy && want.Like(v.r.Policy)
			}),
			steps: func(v *view) []Step {
				return swap(StepMember, v.r.Govern(v.o.Want.Policy), "the policy is %s from now on", v.o.Want.Policy)
			},
		},
	}
}

// lastProblems are about a member that is on its way out and may be the last that could acknowledge.
func lastProblems() []Problem {
	neededMatch, neededSteps := some(
		func(v *view, m *Instance) bool {
			return slices.Contains(v.r.Leaving, m.ID) && v.o.well(m) && v.wrong(m) == "" && !v.suspected(m) && len(v.able()) < v.r.SetAcks
		},
		func(v *view, m *Instance) []Step {
			return swap(StepMember, v.r.Stay(m.ID), "%s stays a member: without it only %s can acknowledge", m.ID, list(v.able()))
		})
	lastMatch, lastSteps := some(
		func(v *view, m *Instance) bool {
			return slices.Contains(v.r.Leaving, m.ID) && v.suspected(m) && len(v.able()) < v.r.SetAcks
		},
		askPrimary)
	return []Problem{
		{
			Name: "member that leaves to be compared", Class: ClassRepair,
			Shows: "a member is on its way out, the others cannot acknowledge enough, and it seems to have what the primary had not when that was read",
			Done:  "ask the primary now",
			Why:   "the next two do the opposite of one another, and both would be done in turns",
			match: lastMatch, steps: lastSteps,
		},
		{
			Name: "member that leaves is needed", Class: ClassRepair,
			Shows: "a member is on its way out, though it answers and is well, and the others cannot acknowledge enough",
			Done:  "it acknowledges again",
			Why:   "its removal is sealed by the others; when they are gone for ever, so would be the cluster (found by the model)",
			match: neededMatch, steps: neededSteps,
		},
		{
			Name: "nobody left to seal a removal", Class: ClassRepair,
			Shows: "a member is on its way out that answers and is unfit, no other one can acknowledge, and the policy does not allow to go on alone",
			Done:  "promise nothing, so that it may be removed without a seal, and come back; writes still wait",
			Why:   "rule 4; the others may be gone for ever. Nothing is lost by it: no failover could count on a member that is unfit (found by the model)",
			match: led(func(v *view) bool {
				answers := v.those(v.r.Leaving, func(m *Instance) bool { return v.o.fresh(m) && !v.suspected(m) })
				return len(answers) > 0 && len(v.able()) == 0 && v.r.MinAcks > 0
			}),
			steps: func(v *view) []Step {
				return swap(StepMember, v.r.Promise(0), "nobody is left to acknowledge that %s may go", list(v.r.Leaving))
			},
		},
	}
}

func ackProblems() []Problem {
	p := func(v *view) durability.Policy { return v.r.Policy }
	return []Problem{
		{
			Name: "less is wanted", Class: ClassRepair,
			Shows: "more acknowledgements are published than the owner wants now",
			Done:  "publish fewer; then the primary waits for fewer",
			Why:   "rule 2",
			match: led(func(v *view) bool { return v.acksOf(len(v.r.Ackers())) < v.r.MinAcks && len(v.r.Leaving) == 0 }),
			steps: func(v *view) []Step {
				return v.change(durability.Change{Kind: durability.Lower, Acks: v.acksOf(len(v.r.Ackers()))}, "")
			},
		},
		{
			Name: "too few acknowledge", Class: ClassRepair,
			Shows: "for a while fewer members acknowledge than the primary waits for, and the policy allows to ask fewer",
			Done:  "publish fewer; then the primary waits for fewer. At 0 automatic failover is off",
			Why:   "rules 2 and 4; orchestrator #1137: the only replica dies and all writes hang",
			match: led(func(v *view) bool { return p(v).InEffect(v.acksOf(len(v.able()))) < v.r.SetAcks }),
			steps: func(v *view) []Step {
				n := min(v.r.MinAcks, v.acksOf(len(v.able())))
				return v.change(durability.Change{Kind: durability.Lower, Acks: n}, "")
			},
		},
		{
			Name: "acknowledgements being raised", Class: ClassRepair,
			Shows: "the primary is to wait for more acknowledgements than are published",
			Done:  "once it does, and has sealed, publish as many",
			Why:   "rule 2: what was acknowledged before by fewer has to be held by as many",
			match: led(func(v *view) bool { return v.r.SetAcks > p(v).InEffect(v.r.MinAcks) }),
			steps: func(v *view) []Step {
				return v.change(durability.Change{Kind: durability.Raise, Acks: v.r.SetAcks}, "")
			},
		},
		{
			Name: "more may be promised", Class: ClassRepair,
			Shows: "more members acknowledge, and may go on, than acknowledgements are published, and more are wanted",
			Done:  "have the primary wait for more",
			Why:   "rule 2",
			match: led(func(v *view) bool { return v.acksOf(v.dependable()) > v.r.MinAcks }),
			steps: func(v *view) []Step {
				return v.change(durability.Change{Kind: durability.Raise, Acks: v.acksOf(v.dependable())}, "")
			},
		},
	}
}

// dependable counts those that acknowledge and are not about to be removed: a promise that was taken back for one of them would be given again.
func (v *view) dependable() int {
	return len(v.those(v.acking(), func(m *Instance) bool { return v.wrong(m) == "" && !v.suspected(m) }))
}

// change takes the next step of a plan.
func (v *view) change(c durability.Change, why string) []Step {
	a := c.Next(v.r, v.seen(c.Member))
	if why != "" {
		a.Reason += ": " + why
	}
	switch a.Kind {
	case durability.Swap:
		return swap(StepMember, a.Next, "%s", a.Reason)
	case durability.Tell:
		role := Assign(a.Target, v.o.instance(a.Target).Status.Server, v.r).Role
		return []Step{{Kind: orderOf(role), Members: []string{a.Target}, Reason: a.Reason}}
	case durability.Done:
		return nil
	}
	return wait("%s", a.Reason)
}

// alarms is what a person should know, whatever is being done about it.
func (v *view) alarms() []Alarm {
	var alarms []Alarm
	alarm := func(when bool, name, format string, args ...any) {
		if when {
			alarms = append(alarms, Alarm{name, fmt.Sprintf(format, args...)})
		}
	}
	s, well := v.primary.Status, v.o.well(v.primary)
	acking := len(v.acking())
	alarm(v.diverge != nil, "histories-differ", "%v", v.diverge)
	alarm(v.lost != "", "primary-lost", "%s: %s", v.r.Primary, v.lost)
	alarm(v.doubt != "", "primary-in-doubt", "%s: %s", v.r.Primary, v.doubt)
	alarm(v.o.Want.Replicas > 0 && v.r.MinAcks == 0, "no-automatic-failover", "no acknowledgements are promised: if %s fails, it has to come back", v.r.Primary)
	alarm(well && v.r.Intent == nil && acking < v.r.SetAcks, "writes-wait", "%d replicas acknowledge, %d have to", acking, v.r.SetAcks)
	alarm(well && v.r.Intent == nil && acking < v.o.Want.Replicas, "replicas-missing", "%d of %d replicas acknowledge", acking, v.o.Want.Replicas)
	alarm(well && s.Open() && s.acks() < v.r.MinAcks, "asynchronous-primary", "%s waits for %d acknowledgements, %d are promised", v.r.Primary, s.acks(),
		v.r.MinAcks)
	for i := range v.o.Instances {
		m := &v.o.Instances[i]
		alarm(v.o.fresh(m) && m.Status.Open() && m.ID != v.r.Source(), "second-primary", "%s is open, and %s is the primary", m.ID, v.r.Primary)
		if v.o.fresh(m) && m.ID != v.r.Primary {
			alarm(m.Status.Applier != "", "applier-broken", "%s does not apply: %s", m.ID, m.Status.Applier)
		}
		alarm(v.o.fresh(m) && m.Status.Room.Low, "disk-full", "%s", v.short(m))
	}
	if w := v.o.Want.Switchover; w != nil && v.r.Intent == nil && v.leads() {
		why := v.refused()
		alarm(why != "" && w.To != v.r.Primary, "switchover-refused", "the switchover to %s cannot begin: %s", w.To, why)
	}
	return alarms
}
