package keeper

import (
	"fmt"
	"time"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// Observation is all that a decision rests on.
type Observation struct {
	Instance  model.Instance
	Flavor    model.Flavor
	Version   model.DatastoreVersion
	HostAlive bool
	HostGone  bool                      // for good: its operator says so
	Container *protocol.ContainerStatus // nil: never heard of
	Guest     *protocol.GuestStatus     // nil: no agent is alive
	Held      string                    // why its cluster cannot do without it yet; empty: it can
	Now       time.Time
}

// StepKind names a step.
type StepKind string

// The steps.
const (
	StepNone      StepKind = "none"      // everything is as it should be
	StepPlace     StepKind = "place"     // choose a host and an address
	StepEnsure    StepKind = "ensure"    // have the host's sysmgr make or change the container
	StepPrepare   StepKind = "prepare"   // make the first databases and users
	StepConfigure StepKind = "configure" // give a running mysqld its new size
	StepRestart   StepKind = "restart"
	StepSettle    StepKind = "settle"  // write down that all is well
	StepUnwell    StepKind = "unwell"  // write down that the database does not serve now
	StepFault     StepKind = "fault"   // write down what its user must know
	StepRemove    StepKind = "remove"  // take away all that the instance has
	StepForget    StepKind = "forget"  // remove the row
	StepGiveUp    StepKind = "give up" // remove it from all but its host, which is gone
	StepWait      StepKind = "wait"    // somebody else is at work
)

// Step is a decision.
type Step struct {
	Kind   StepKind
	Reason string
}

// agentDeadline is how long a guest may take from its container's start to its agent's first word. A start takes about two
// seconds; crash recovery of a large database happens after the agent's first word.
const agentDeadline = 2 * time.Minute

// rule is a row of the table below: the first one that matches decides.
type rule struct {
	name  string
	match func(o *Observation) bool
	step  func(o *Observation) Step
}

// rules in order of precedence: deletion before everything, the host before the container, the container before the guest.
func rules() []rule {
	return []rule{
		{"deleted, never placed", func(o *Observation) bool { return o.deleted() && o.Instance.HostID == "" }, always(StepForget)},
		{"deleted, part of its cluster", func(o *Observation) bool { return o.deleted() && o.Held != "" && !o.Instance.ForceDelete }, func(o *Observation) Step {
			return Step{Kind: StepWait, Reason: o.Held}
		}},
		{"deleted, host gone for good", func(o *Observation) bool { return o.deleted() && o.HostGone }, always(StepGiveUp)},
		{"deleted, host away", func(o *Observation) bool { return o.deleted() && !o.HostAlive }, waitForHost},
		{"deleted", (*Observation).deleted, always(StepRemove)},
		{"not placed", func(o *Observation) bool { return o.Instance.HostID == "" }, always(StepPlace)},
		{"host away", func(o *Observation) bool { return !o.HostAlive }, waitForHost},
		// A smaller mysqld first and its limit after: the other way round the kernel would kill it.
		{"to shrink", (*Observation).mustShrink, always(StepConfigure)},
		{"container not as asked", (*Observation).behind, always(StepEnsure)},
		{"container cannot be brought about", func(o *Observation) bool { return o.Container.Error != "" && !o.running() }, func(o *Observation) Step {
			return o.fault(o.Container.Error)
		}},
		{"container down", func(o *Observation) bool { return !o.running() }, func(o *Observation) Step {
			return o.unwell("the container is " + o.Container.Phase)
		}},
		{"no agent for long", func(o *Observation) bool {
			return o.Guest == nil && o.Now.Sub(o.Container.Started) > agentDeadline
		}, func(o *Observation) Step {
			return o.fault(fmt.Sprintf("the guest agent has not reported for %s", agentDeadline))
		}},
		{"no agent", func(o *Observation) bool { return o.Guest == nil }, func(o *Observation) Step {
			return o.unwell("waiting for the guest agent")
		}},
		{"guest of another cluster", (*Observation).elsewhere, func(o *Observation) Step {
			return o.unwell("the guest agent still goes by the record of cluster " + o.Guest.Cluster)
		}},
		{"mysqld failed", func(o *Observation) bool { return o.Guest.Mysqld.State == protocol.MysqldFailed }, func(o *Observation) Step {
			return o.fault(o.Guest.Fault)
		}},
		{"restart asked for", (*Observation).mustRestart, always(StepRestart)},
		{"not serving", func(o *Observation) bool { return o.Guest.Mysqld.State != protocol.MysqldServing }, func(o *Observation) Step {
			return o.unwell("mysqld is " + o.Guest.Mysqld.State)
		}},
		{"first contents", (*Observation).mustPrepare, always(StepPrepare)},
		{"size not in effect", func(o *Observation) bool { return o.Guest.ConfigMemMB != o.Flavor.RAMMB }, always(StepConfigure)},
		{"not written down", (*Observation).unsettled, always(StepSettle)},
	}
}

// decide says what to do next. It is pure: the same observation gives the same step.
func decide(o Observation) Step {
	for _, r := range rules() {
		if r.match(&o) {
			s := r.step(&o)
			if s.Reason == "" {
				s.Reason = r.name
			}
			return s
		}
	}
	return Step{Kind: StepNone}
}

func always(kind StepKind) func(*Observation) Step {
	return func(*Observation) Step { return Step{Kind: kind} }
}

func waitForHost(o *Observation) Step {
	if o.deleted() || o.Instance.OperatingStatus != model.OperatingHealthy {
		return Step{Kind: StepWait, Reason: "host " + o.Instance.HostID + " does not answer"}
	}
	return o.unwell("host " + o.Instance.HostID + " does not answer")
}

func (o *Observation) deleted() bool { return o.Instance.Desired == model.DesiredDeleted }

func (o *Observation) running() bool { return o.Container.Phase == string(runtime.PhaseRunning) }

func (o *Observation) behind() bool {
	return o.Container == nil || o.Container.Generation < o.Instance.Generation
}

func (o *Observation) mustShrink() bool {
	return o.behind() && o.Guest != nil && o.Guest.Mysqld.State == protocol.MysqldServing && o.Guest.ConfigMemMB > o.Flavor.RAMMB
}

// elsewhere says whether the guest has not heard yet that it left its cluster. Agents of before say nothing about it.
func (o *Observation) elsewhere() bool {
	return o.Guest.Cluster != "" && o.Guest.Cluster != firstRecord(&o.Instance).Cluster
}

func (o *Observation) mustRestart() bool {
	return o.Guest.RestartsDone < o.Instance.RestartSerial && o.Guest.Mysqld.State != protocol.MysqldPreparing
}

// mustPrepare: what a member writes first goes to all of its cluster, so it is for the primary to write it.
func (o *Observation) mustPrepare() bool {
	return o.Instance.Bootstrap != nil && (o.Instance.ClusterID == "" || o.Guest.Part != nil && o.Guest.Part.Open())
}

func (o *Observation) unsettled() bool {
	i := &o.Instance
	drift := i.VolumeUsedBytes - o.Guest.VolumeUsed
	return i.Status != model.StatusActive || i.OperatingStatus != model.OperatingHealthy || !tells(i.Fault, o.Guest.Notice) ||
		i.ObservedGeneration < i.Generation || i.ObservedRestart < i.RestartSerial || max(drift, -drift)*100 > i.VolumeUsedBytes
}

// tells says whether a fault is what a database that serves says of itself; empty: nothing.
func tells(f *model.Fault, notice string) bool {
	if f == nil || notice == "" {
		return f == nil && notice == ""
	}
	return f.Message == notice
}

// unwell is written down only for an instance that served: one that is being made or changed is expected not to.
func (o *Observation) unwell(reason string) Step {
	if o.Instance.OperatingStatus == model.OperatingHealthy {
		return Step{Kind: StepUnwell, Reason: reason}
	}
	return Step{Kind: StepWait, Reason: reason}
}

// fault is written down once.
func (o *Observation) fault(reason string) Step {
	if reason == "" {
		reason = "the database does not start; see its error log"
	}
	if f := o.Instance.Fault; f != nil && f.Message == reason && o.Instance.Status == model.StatusError {
		return Step{Kind: StepWait, Reason: reason}
	}
	return Step{Kind: StepFault, Reason: reason}
}
