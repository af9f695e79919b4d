package failover

import (
	"slices"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/gtid"
)

// Observation is all that a decision rests on.
type Observation struct {
	Record    durability.Record
	Now       time.Time
	Since     time.Time // when this manager began to look: silence before does not count
	Instances []Instance
	Want      Want
	Timing    Timing
}

// Want is what the cluster's owner asked for.
type Want struct {
	Replicas   int               // how many there are to be, for the default number of acknowledgements
	Acks       int               // acknowledgements; 0: the default (durability.DefaultAcks)
	Policy     durability.Policy // empty: as it is
	Switchover *Switchover       // nil: none
	Frozen     string            // why nothing may be changed; empty: it may
}

// Switchover asks for another primary.
type Switchover struct {
	To       string
	Deadline time.Time // by the manager's clock; when it is not over by then, the old primary opens again
}

// Instance is a member of the cluster, or one that shall be or was.
type Instance struct {
	ID       string
	Unwanted bool // its deletion was asked for
	Priority int  // the higher, the rather it becomes the primary

	// Status is what its agent said last. Seen is when it came in, Asked when it was asked for, both by the manager's clock: what is in Status was read
	// between the two. An agent that tells without being asked leaves Asked zero. Lost is that its session has ended since.
	Status Status
	Seen   time.Time // zero: never
	Asked  time.Time
	Lost   bool
	// Heard is when its agent last gave a sign of life; a session that is kept up is one. What is in Status is as old as Seen all the same.
	Heard time.Time

	Host Host
}

// Host is what the instance's host says of it.
type Host struct {
	Alive  bool // its sysmgr has a session
	Down   bool // the container is known not to run
	Fenced bool // clients and replicas are kept from it, because it was fenced
}

// MysqldState is whether a mysqld can be asked.
type MysqldState string

// States of mysqld.
const (
	MysqldDown     MysqldState = "down"     // it does not run
	MysqldStarting MysqldState = "starting" // it runs, and does not answer yet; crash recovery is part of it
	MysqldUp       MysqldState = "up"
)

// WriteState is what super_read_only does.
type WriteState string

// States of writing.
const (
	// WritesOff: SET super_read_only=ON has returned, so no commit is on its way. The variable alone is no proof: it reads 1 while the statement still waits for
	// commits, with read_only still 0 (seen on 9.7.4).
	WritesOff      WriteState = "off"
	WritesStopping WriteState = "stopping"
	WritesOn       WriteState = "on"
)

// ReceiverState is SERVICE_STATE of the receiver (IO thread).
type ReceiverState string

// States of a receiver. Connecting is not stopped: it may be acknowledging again the next moment.
const (
	ReceiverStopped    ReceiverState = "stopped"
	ReceiverConnecting ReceiverState = "connecting"
	ReceiverRunning    ReceiverState = "running"
)

// Status is what an agent says of its server. It is read in this order: the epoch that the agent goes by; then everything else, while the agent does
// nothing to its mysqld.
type Status struct {
	Epoch  int64
	Server string // server_uuid; under policy fast with "@" and the boot id of its machine

	Mysqld     MysqldState
	MysqldFor  time.Duration // since when
	Offline    bool          // offline_mode: clients are kept out
	Writes     WriteState
	Guarded    bool // WritesOn, but for Huker's own accounts only: read_only is on, and clients are refused (error 1290)
	Room       Room
	Rebuilding bool // its data is being replaced by a clone

	Executed  gtid.Set // gtid_executed
	Retrieved gtid.Set // Retrieved_Gtid_Set: empty after some restarts, so never enough by itself
	Owned     gtid.Set // gtid_owned: in the binlog already, still waiting for acknowledgements
	Purged    gtid.Set // gtid_purged: no replica can get these any more

	Receiver Receiver
	Applier  string // why the applier does not work; empty: it does
	Serving  Serving
}

// Room is how much space is left on the file system that a server's data is on.
type Room struct {
	Low  bool  // so little that no client may add to it, and nothing is received. It ends when there is clearly more
	Last bool  // half of what was left then is gone, too
	Free int64 // bytes
	Size int64 // bytes, of all of it
}

// Receiver is how a server replicates.
type Receiver struct {
	State        ReceiverState
	Source       string        // instance it is pointed at
	Acknowledges bool          // rpl_semi_sync_replica_enabled was on when it was started
	HeardAgo     time.Duration // since it last heard of its source, heartbeats included
	Fresh        bool          // it has not been running for long: what had waited for it may not be acknowledged yet
	Refused      bool          // it is connecting, and the last attempt has come to nothing: the next one is up to a second away
	StoppingFor  time.Duration // how long its agent has waited for it to stop; 0: it does not
	Broken       string        // why it cannot go on by itself ("1236": the source has purged what it needs); empty: it can
}

// Serving is the primary's side of replication.
type Serving struct {
	SemiSync bool
	Acks     int      // rpl_semi_sync_source_wait_for_replica_count
	Admitted []string // whose replication accounts are open; of all others no dump thread is left (verified). Sorted.
	Attached []string // acknowledgers that have a dump thread
	Waiting  int      // sessions that wait for an acknowledgement
	Enforced int64    // the newest epoch of which InEffect was true
	Seal     Seal
	Proven   bool // it has sealed since mysqld started, and since it became the primary
	// ProbeAgo is since a write of the agent's own was last committed; negative: none was tried.
	ProbeAgo time.Duration
}

// Seal is the proof that a primary's members hold what it has: a transaction that was begun under the terms of Epoch has been committed, and no weaker ones
// were in effect since. It is of this run of mysqld, and of this time as primary; else Epoch is 0.
type Seal struct {
	Epoch  int64
	Acks   int
	Ackers []string
}

// Has is what a server holds, on its disk, of its sources' transactions and its own.
func (s Status) Has() gtid.Set { return s.Executed.Union(s.Retrieved) }

// all is what a server holds, with what still waits for acknowledgements: after a crash it would have executed that too.
func (s Status) all() gtid.Set { return s.Has().Union(s.Owned) }

// drained says whether everything that was received was applied, so that relay logs may go.
func (s Status) drained() bool { return s.Executed.Contains(s.Retrieved) }

// Open says whether clients are let in as by a primary: to write, unless it is guarded.
func (s Status) Open() bool { return s.Mysqld == MysqldUp && !s.Offline && s.Writes == WritesOn }

// Timing is how long is how long. All of it is about when to act; none of it is needed for safety.
type Timing struct {
	Silent      time.Duration // without word from an agent: it is silent
	Probe       time.Duration // without a committed probe: writes do not get through
	CutOff      time.Duration // the primary has too few acknowledgers while these are well: it is cut off from them
	Stall       time.Duration // the same with acknowledgers that are not well: ask fewer
	RemoveAfter time.Duration // a silent member does not count any more
	GiveUp      time.Duration // a failover without result: a primary that is back goes on
	Patience    time.Duration // for the members of a new primary
	Near        uint64        // transactions that a learner may lack to become a member: under load it always lacks some
	Linger      time.Duration // for members that answer to stop too, when fewer would do, so that the new primary has acknowledgers
}

// DefaultTiming is for a local network, so that a primary whose host is lost is replaced within 3 s: replicas miss it after CutOff, and it has been asked, and
// Silent has gone by, when they do.
func DefaultTiming() Timing {
	return Timing{
		Silent: 1250 * time.Millisecond, Probe: 2 * time.Second, CutOff: 2 * time.Second, Stall: 3 * time.Second,
		RemoveAfter: 10 * time.Second, GiveUp: 10 * time.Second, Patience: 3 * time.Second, Near: 1000, Linger: 300 * time.Millisecond,
	}
}

// instance gives an instance by its id; one that is not known was never seen.
func (o *Observation) instance(id string) *Instance {
	if i := slices.IndexFunc(o.Instances, func(i Instance) bool { return i.ID == id }); i >= 0 {
		return &o.Instances[i]
	}
	return &Instance{ID: id}
}

// silence is how long nothing was heard of an instance.
func (o *Observation) silence(i *Instance) time.Duration {
	last := i.heard()
	if last.Before(o.Since) {
		last = o.Since
	}
	return o.Now.Sub(last)
}

// heard is when the agent last gave a sign of life.
func (i *Instance) heard() time.Time {
	if i.Heard.After(i.Seen) {
		return i.Heard
	}
	return i.Seen
}

// read is from when on what the agent said is about, at the least.
func (i *Instance) read() time.Time {
	if i.Asked.IsZero() {
		return i.Seen
	}
	return i.Asked
}

// fresh says whether what the agent said is about now.
func (o *Observation) fresh(i *Instance) bool {
	return !i.Lost && !i.Seen.IsZero() && o.Now.Sub(i.heard()) <= o.Timing.Silent
}

// silent says whether an agent has not been heard of for long enough to count as such.
func (o *Observation) silent(i *Instance) bool {
	return !o.fresh(i) && (i.Lost || o.silence(i) > o.Timing.Silent)
}

// well says whether an instance answers, with a mysqld that can be asked, and is the server that the record means.
func (o *Observation) well(i *Instance) bool {
	return o.fresh(i) && i.Status.Mysqld == MysqldUp && !i.Status.Rebuilding && o.Record.Is(i.ID, i.Status.Server)
}

// follows says whether an instance can acknowledge to somebody: it is well, and has room for what it would receive.
func (o *Observation) follows(i *Instance) bool { return o.well(i) && !i.Status.Room.Low }

// obeys says whether an instance goes by the newest record.
func (o *Observation) obeys(i *Instance) bool { return o.fresh(i) && i.Status.Epoch >= o.Record.Epoch }
