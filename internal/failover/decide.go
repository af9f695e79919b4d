package failover

import (
	"fmt"
	"slices"

	"github.com/huker/huker/internal/durability"
)

// StepKind names a step.
type StepKind string

// The steps. Those with Next replace the record by compare-and-set on the epoch that was observed.
const (
	StepWait    StepKind = "wait"    // somebody else is at work, or has to come back
	StepSuspect StepKind = "suspect" // look again, now, at Members: ask their agents and hosts
	StepFreeze  StepKind = "freeze"  // a person has to look: nothing is changed

	// With Next.
	StepName      StepKind = "name"      // write down which server the primary is
	StepBegin     StepKind = "begin"     // a failover or switchover
	StepChoose    StepKind = "choose"    // write down the successor, which still applies
	StepPromote   StepKind = "promote"   // set the record's primary
	StepExpect    StepKind = "expect"    // change who acknowledges to a primary that has not opened yet
	StepEstablish StepKind = "establish" // end the change of primary: it opens
	StepBack      StepKind = "back"      // the old primary opens again
	StepMember    StepKind = "member"    // a step of durability.Change

	// Orders to the agents of Members: go by the record. What that means for them is the kind.
	StepStop    StepKind = "stop"    // stop the receiver, and say so
	StepQuiesce StepKind = "quiesce" // stop writes, in a way that one can come back from
	StepLead    StepKind = "lead"    // be the primary; open as soon as the record says so
	StepFollow  StepKind = "follow"  // replicate from the record's primary
	StepDemote  StepKind = "demote"  // have no part in the cluster for now

	StepRebuild StepKind = "rebuild" // have Members be replaced by a clone of Donor, under this epoch only
	StepFence   StepKind = "fence"   // have the hosts of Members stop the containers, or keep clients and replicas from them
	StepUnfence StepKind = "unfence" // undo it
)

// Step is something to do.
type Step struct {
	Kind    StepKind
	Members []string
	Next    *durability.Record
	Donor   string // of StepRebuild
	Server  string // of StepRebuild: whose data it is. Another server by the name refuses
	Reason  string
}

// Alarm is something that a person should know.
type Alarm struct {
	Name string // the page of the operator's handbook
	Text string
}

// Decision is what to do about an observation. Its steps may be done at once and in any order; at most one has Next. Whatever of them is
// lost is decided again.
type Decision struct {
	Problem string // the row of the table; empty: all is well
	Class   Class  // of the problem
	Steps   []Step
	Alarms  []Alarm
}

// Looks says whether nothing is known to be the matter: somebody has only to be looked at again, to be compared.
func (d Decision) Looks() bool {
	return d.Class == ClassRepair && !slices.ContainsFunc(d.Steps, func(s Step) bool { return s.Kind != StepSuspect })
}

// Decide says what to do next. It is pure: the same observation gives the same decision.
func Decide(o Observation) Decision {
	v := look(&o)
	d := Decision{Alarms: v.alarms()}
	for i := range table {
		if p := &table[i]; p.match(v) {
			d.Problem, d.Class = p.Name, p.Class
			d.Steps = p.steps(v)
			break
		}
	}
	d.Steps = append(d.Steps, v.orders(d.Steps)...)
	d.Steps = append(d.Steps, v.fences()...)
	return d
}

// Swap gives the step that replaces the record, or nil.
func (d Decision) Swap() *Step {
	for i := range d.Steps {
		if d.Steps[i].Next != nil {
			return &d.Steps[i]
		}
	}
	return nil
}

// orders tells every agent that answers of the record, when it goes by an older one. An agent watches the record by itself; this is for those that cannot.
// Who is told by one of the steps already is not told twice.
func (v *view) orders(already []Step) []Step {
	told := func(id string, kind StepKind) bool {
		return slices.ContainsFunc(already, func(s Step) bool { return s.Kind == kind && slices.Contains(s.Members, id) })
	}

	to := map[StepKind][]string{}
	kinds := []StepKind{}
	for i := range v.o.Instances {
		if m := &v.o.Instances[i]; v.o.fresh(m) && m.Status.Epoch < v.r.Epoch {
			kind := orderOf(Assign(m.ID, m.Status.Server, v.r).Role)
			if told(m.ID, kind) {
				continue
			}
			if to[kind] == nil {
				kinds = append(kinds, kind)
			}
			to[kind] = append(to[kind], m.ID)
		}
	}
	var steps []Step
	for _, kind := range kinds {
		steps = append(steps, Step{Kind: kind, Members: to[kind], Reason: fmt.Sprintf("they do not go by epoch %d yet", v.r.Epoch)})
	}
	return steps
}

func orderOf(r Role) StepKind {
	switch r {
	case RolePrimary:
		return StepLead
	case RoleReplica:
		return StepFollow
	case RoleStopped:
		return StepStop
	case RoleQuiesced:
		return StepQuiesce
	default:
		return StepDemote
	}
}

// fences keeps clients from whoever may still look like a primary to them and is none any more. It is no proof of anything, which the stopped
// receivers are; it ends stale reads, and connections that hang.
func (v *view) fences() []Step {
	var steps []Step
	for i := range v.o.Instances {
		m := &v.o.Instances[i]
		if !m.Host.Alive {
			continue
		}
		shut := v.o.obeys(m) && m.Status.Mysqld != MysqldStarting && !m.Status.Open()
		switch {
		case m.Host.Fenced && (shut || m.ID == v.r.Primary):
			steps = append(steps, Step{Kind: StepUnfence, Members: []string{m.ID}, Reason: "it goes by the newest record"})
		case !m.Host.Fenced && !m.Host.Down && v.deposed(m) && !shut:
			steps = append(steps, Step{Kind: StepFence, Members: []string{m.ID}, Reason: "it was the primary, and may not know that it is not any more"})
		}
	}
	return steps
}

// deposed says whether an instance is, or was until now, a primary whose place is taken or certain to be.
func (v *view) deposed(m *Instance) bool {
	i := v.r.Intent
	switch {
	case m.ID == v.r.Primary && i == nil:
		return false
	case i != nil && m.ID == i.From:
		return i.Kind == durability.Failover && (i.Phase == durability.Opening || v.quorum)
	}
	return m.Status.Open() && m.ID != v.r.Primary
}
