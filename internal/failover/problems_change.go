package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/durability"
)

func stoppingProblems() []Problem {
	stopping := func(match func(*view) bool) func(*view) bool { return inPhase(durability.Stopping, match) }
	return []Problem{
		{
			Name: "histories differ", Class: ClassFailover,
			Shows: "two stopped members have each transactions that the other lacks",
			Done:  "freeze; a person decides",
			Why:   "rule 1: never guess",
			match: stopping(func(v *view) bool { return v.diverge != nil }),
			steps: func(v *view) []Step { return []Step{{Kind: StepFreeze, Reason: v.diverge.Error()}} },
		},
		{
			Name: "successor ready, acknowledgers about to stop", Class: ClassFailover,
			Shows: "somebody can take over, but with fewer acknowledgers than wanted, and members that answer have not stopped yet",
			Done:  "wait for them for a moment",
			Why:   "who has not stopped cannot acknowledge to the new primary, which would have to wait for it, or go on alone",
			match: stopping(func(v *view) bool {
				to := v.successor()
				if to == nil {
					to = v.heir("")
				}
				return to != nil && v.lingers(to)
			}),
			steps: func(v *view) []Step { return wait("%s are still to stop", list(v.loitering())) },
		},
		{
			Name: "successor ready", Class: ClassFailover,
			Shows: "R members with R + W > N are stopped under this intent; one that answers has what a quorum of them has, and has applied it",
			Done:  "set the record's primary, with the stopped members that answer as its acknowledgers; fence the old one",
			Why:   "rules 1 and 5: the old primary cannot acknowledge any more, and everything it did acknowledge is here",
			match: stopping(func(v *view) bool { s := v.successor(); return s != nil && ready(s) }),
			steps: func(v *view) []Step { return v.promote(v.successor()) },
		},
		{
			Name: "successor applies", Class: ClassFailover,
			Shows: "as above, and it has not applied everything it received",
			Done:  "write down who it is, and wait",
			Why:   "section 3, 5: what was received was acknowledged",
			match: stopping(func(v *view) bool { return v.successor() != nil }),
			steps: func(v *view) []Step {
				s := v.successor()
				if v.r.Intent.To != s.ID {
					return swap(StepChoose, v.r.Choose(s.ID), "%s has everything, and applies it", s.ID)
				}
				return wait("%s applies %d transactions%s", s.ID, s.Status.Retrieved.Subtract(s.Status.Executed).Count(), colon(s.Status.Applier))
			},
		},
		{
			Name: "old primary stands still", Class: ClassFailover,
			Shows: "too few members are stopped, but the old primary answers, is read-only with nothing waiting, and a member has all it has",
			Done:  "set the record's primary to that member",
			Why:   "rule 1, the other lawful way",
			match: stopping(func(v *view) bool { return v.heir("") != nil }),
			steps: func(v *view) []Step { return v.promote(v.heir("")) },
		},
		{
			Name: "old primary is back", Class: ClassFailover,
			Shows: "no member can take over, and the old primary has answered for a while since the failover was begun",
			Done:  "end the failover; it goes on",
			Why:   "nothing was promised by anybody else yet, so it still has everything",
			match: stopping(func(v *view) bool { return v.o.well(v.source) && v.o.Now.Sub(v.r.Intent.Began) > v.o.Timing.GiveUp }),
			steps: func(v *view) []Step {
				return swap(StepBack, v.r.Back(), "%s answers again, and nobody could take its place", v.source.ID)
			},
		},
		{
			Name: "too few stopped", Class: ClassFailover,
			Shows: "none of the above",
			Done:  "have the members that answer stop their receivers, and wait for the others",
			Why:   "rule 1: with R + W <= N the old primary may still acknowledge, and the only copy may be on a member that is away",
			match: stopping(always),
			steps: func(v *view) []Step {
				return wait("%s: %s", v.r.Intent.Reason, v.waitsFor())
			},
		},
	}
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// waitsFor says what a failover in the phase Stopping waits for.
func (v *view) waitsFor() string {
	if v.quorum {
		return fmt.Sprintf("%s would be the successor, and nobody of them answers", list(v.fit))
	}
	stopped := []string{}
	for _, s := range v.stops {
		if slices.Contains(v.r.Members, s.Member) && s.Epoch >= v.r.Intent.Since {
			stopped = append(stopped, s.Member)
		}
	}
	away := v.those(v.r.Members, func(m *Instance) bool { return !slices.Contains(stopped, m.ID) })
	return fmt.Sprintf("%s; it waits for %s, or for %s to come back", v.missing, strings.Join(away, " or "), v.source.ID)
}

// loitering are members that answer and have not stopped yet.
func (v *view) loitering() []string {
	return v.those(v.r.Ackers(), func(m *Instance) bool {
		return v.o.follows(m) && (m.Status.Epoch < v.r.Intent.Since || m.Status.Receiver.State != ReceiverStopped)
	})
}

// lingers says whether it is worth to wait for those.
func (v *view) lingers(to *Instance) bool {
	others := len(v.r.Ackers()) - 1
	return v.o.Now.Sub(v.r.Intent.Began) <= v.o.Timing.Linger && len(v.loitering()) > 0 && v.acksOf(len(v.court(to))) < v.acksOf(others)
}

// promote makes somebody the record's primary, to open once its members hold what it has.
func (v *view) promote(to *Instance) []Step {
	court := v.court(to)
	return swap(StepPromote, v.r.Promote(to.ID, court, v.acksOf(len(court))), "%s takes the place of %s; %s acknowledge", to.ID, v.source.ID, list(court))
}

func quiescingProblems() []Problem {
	quiescing := func(match func(*view) bool) func(*view) bool { return inPhase(durability.Quiescing, match) }
	to := func(v *view) *Instance { return v.o.instance(v.r.Intent.To) }
	return []Problem{
		{
			Name: "primary lost while it was handing over", Class: ClassFailover,
			Shows: "during a switchover the old primary is silent, or its mysqld does not run",
			Done:  "begin a failover in its place",
			Why:   "rule 12",
			match: quiescing(func(v *view) bool { return v.lost != "" && v.heir(v.r.Intent.To) == nil && v.r.MinAcks > 0 }),
			steps: func(v *view) []Step { return v.begin(v.lost) },
		},
		{
			Name: "handed over", Class: ClassSwitchover,
			Shows: "the old primary is read-only with nothing waiting, and the successor has executed all it has",
			Done:  "set the record's primary",
			Why:   "rule 1, the other lawful way",
			match: quiescing(func(v *view) bool { return v.heir(v.r.Intent.To) != nil }),
			steps: func(v *view) []Step { return v.promote(to(v)) },
		},
		{
			Name: "switchover takes too long", Class: ClassSwitchover,
			Shows: "its deadline is over, the successor does not answer, or nobody needs it any more",
			Done:  "the old primary opens again",
			Why:   "mariadb-operator #1852: read-only for hours; vitess #17709: one lost acknowledgement blocks it",
			match: quiescing(func(v *view) bool {
				return v.o.Now.After(v.r.Intent.Deadline) || v.o.silent(to(v)) || v.o.fresh(to(v)) && !v.o.well(to(v))
			}),
			steps: func(v *view) []Step {
				return swap(StepBack, v.r.Back(), "the switchover to %s did not come about: %s", v.r.Intent.To, v.handing())
			},
		},
		{
			Name: "handing over", Class: ClassSwitchover,
			Shows: "none of the above",
			Done:  "have the old primary stop writes; wait",
			Why:   "",
			match: quiescing(always),
			steps: func(v *view) []Step { return wait("%s", v.handing()) },
		},
	}
}

// handing says what a switchover waits for.
func (v *view) handing() string {
	s := v.source.Status
	switch q, ok := v.quiet(); {
	case !v.o.obeys(v.source):
		return fmt.Sprintf("%s does not know of it yet", v.source.ID)
	case !ok && s.Serving.Waiting > 0:
		return fmt.Sprintf("%d commits on %s wait for acknowledgements", s.Serving.Waiting, v.source.ID)
	case !ok:
		return fmt.Sprintf("%s stops writes", v.source.ID)
	default:
		_, why := durability.MayHandOver(v.r, q, v.o.instance(v.r.Intent.To).Status.Executed)
		return why
	}
}

func openingProblems() []Problem {
	opening := func(match func(*view) bool) func(*view) bool { return inPhase(durability.Opening, match) }
	return []Problem{
		{
			Name: "successor lost, old primary there", Class: ClassFailover,
			Shows: "the new primary fell out before it opened, and the old one answers",
			Done:  "the old primary opens again",
			Why:   "the new one has promised nothing yet, so the old one still has everything",
			match: opening(func(v *view) bool { return v.lost != "" && v.o.well(v.source) }),
			steps: func(v *view) []Step {
				return swap(StepBack, v.r.Back(), "%s: %s; %s is there", v.r.Primary, v.lost, v.source.ID)
			},
		},
		{
			Name: "successor lost", Class: ClassFailover,
			Shows: "the new primary fell out before it opened",
			Done:  "begin the failover anew, by the members and acknowledgements of the old primary",
			Why:   "until it opens, the new primary is but one of those members",
			match: opening(func(v *view) bool { return v.lost != "" && v.r.MinAcks > 0 }),
			steps: func(v *view) []Step { return v.begin(v.r.Primary + ": " + v.lost) },
		},
		{
			Name: "successor holds on its own terms", Class: ClassFailover,
			Shows: "the new primary has sealed under this epoch: its members hold everything it has",
			Done:  "make its members the record's; it opens",
			Why:   "rule 8; from then on they are what a failover has to satisfy",
			match: opening(func(v *view) bool {
				s := v.primary.Status
				return v.o.well(v.primary) && (v.r.Intent.MinAcks == 0 || s.Serving.Enforced >= v.r.Epoch && s.Serving.Seal.Epoch >= v.r.Epoch)
			}),
			steps: func(v *view) []Step {
				return swap(StepEstablish, v.r.Establish(), "%s and %s hold everything", v.r.Primary, list(v.r.Intent.Members))
			},
		},
		{
			Name: "switchover takes too long to open", Class: ClassSwitchover,
			Shows: "its deadline is over, and the old primary answers",
			Done:  "the old primary opens again",
			Why:   "mariadb-operator #1852",
			match: opening(func(v *view) bool {
				i := v.r.Intent
				return i.Kind == durability.Switchover && v.o.Now.After(i.Deadline) && v.o.well(v.source)
			}),
			steps: func(v *view) []Step {
				return swap(StepBack, v.r.Back(), "%s did not open in time", v.r.Primary)
			},
		},
		{
			Name: "too few to acknowledge to the successor", Class: ClassFailover,
			Shows: "fewer of its members answer, with room for what they receive, than have to acknowledge; or after a longer while, fewer of them can, as they do not reach it or lack what it has purged",
			Done:  "expect the others; where none is left, writes wait (strict) or go on alone (available, fast). Whoever can replicate from it is let in then",
			Why:   "vitess #21187: replicas that cannot be repointed count as acknowledgers, and the new primary hangs",
			match: opening(func(v *view) bool {
				i := v.r.Intent
				return len(v.expected()) < i.MinAcks && v.o.Now.Sub(i.Began) > v.o.Timing.Patience
			}),
			steps: func(v *view) []Step {
				there := v.expected()
				return swap(StepExpect, v.r.Expect(there, v.acksOf(len(there))), "of %s only %s can acknowledge", list(v.r.Intent.Members), list(there))
			},
		},
		{
			Name: "opening", Class: ClassFailover,
			Shows: "none of the above",
			Done:  "have the new primary lead and its members follow; wait",
			Why:   "",
			match: opening(always),
			steps: func(v *view) []Step {
				return wait("%s waits for %d of %s to hold what it has", v.r.Primary, v.r.Intent.SetAcks, list(v.r.Intent.Members))
			},
		},
	}
}

// expected are those of a new primary's members that answer and have room, and do not prove to be of no use to it. Who still applies what it received from the old one comes
// to follow it.
func (v *view) expected() []string {
	late := v.o.Now.Sub(v.r.Intent.Began) > v.o.Timing.GiveUp
	return v.those(v.r.Intent.Members, func(m *Instance) bool {
		r := m.Status.Receiver
		return v.o.follows(m) && (!late || r.State != ReceiverConnecting && r.Broken == "")
	})
}

func (v *view) begin(reason string) []Step {
	next := v.r.Begin(durability.Failover, "", reason, v.o.Now, time.Time{})
	return swap(StepBegin, next, "%s has to be replaced: %s", v.source.ID, reason)
}
