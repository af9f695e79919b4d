package failover

import (
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/durability"
)

// ActKind is what an agent does to its mysqld.
type ActKind string

// Kinds of Act. Each is idempotent, and the agent does one at a time.
const (
	ActNone ActKind = "none" // the server is as its duty says
	ActWait ActKind = "wait"
	// ActShut keeps clients out: offline_mode=ON, event_scheduler=OFF. What waits for an acknowledgement is not ended by it.
	ActShut ActKind = "shut"
	// ActReadOnly is SET super_read_only=ON, within a bounded time: it waits for commits that are on their way.
	ActReadOnly ActKind = "read only"
	// ActRestart kills mysqld and has it start again, shut: commits wait for acknowledgements that will not come, or its receiver does not stop. Clients of commits get
	// no answer; crash recovery keeps the transactions, which may make this server another history.
	ActRestart ActKind = "restart"
	// ActAsynchronous is rpl_semi_sync_source_enabled=OFF. It answers OK to whoever waits, so nobody may.
	ActAsynchronous ActKind = "asynchronous"
	ActStop         ActKind = "stop"  // STOP REPLICA IO_THREAD, and see it stopped
	ActDrain        ActKind = "drain" // have the applier apply what was received
	ActPoint        ActKind = "point" // CHANGE REPLICATION SOURCE to Source. With both threads stopped this deletes relay logs: drained first
	ActStart        ActKind = "start" // rpl_semi_sync_replica_enabled as told, then START REPLICA
	ActAcks         ActKind = "acks"  // rpl_semi_sync_source_wait_for_replica_count and _enabled; 0 acknowledgements: asynchronous
	ActWritable     ActKind = "writable"
	// ActGuard is read_only=ON with super_read_only=OFF: clients are refused with an error that says why, and read; the agent writes. It may wait for statements
	// that write, within a bounded time, and keeps others from writing meanwhile.
	ActGuard ActKind = "guard"
	// ActAdmit opens the replication accounts of Admit and locks all others (sql_log_bin=0), kills the dump threads of those, and sees them gone.
	ActAdmit ActKind = "admit"
	// ActSeal commits a row of the journal (epoch, server, GTID set) and waits for it, for ever: an acknowledgement of it is one of everything before.
	ActSeal     ActKind = "seal"
	ActKeepSeal ActKind = "keep seal" // what was sealed is sealed under the record's terms too, which are no stricter: remember it so
	ActDropSeal ActKind = "drop seal" // it is not
	ActOpen     ActKind = "open"      // offline_mode=OFF, event_scheduler as configured; of a replica for readers only, as super_read_only is ON
)

// Act is the next thing that an agent does.
type Act struct {
	Kind        ActKind
	Source      string   // of ActPoint
	Acknowledge bool     // of ActStart
	Acks        int      // of ActAcks and ActSeal
	Rotate      bool     // of ActAcks: those who come read on from a binary log that begins now
	Admit       []string // of ActAdmit
	Reason      string
}

// Conduct says what the agent of an instance does next, so that its server comes to do what the record asks of it. The record is the newest that the
// agent knows, and it is on the volume. Conduct is pure, and looks at what is, not at what was done: the agent may be killed at any time.
func Conduct(instance string, r durability.Record, s Status) Act {
	if s.Mysqld != MysqldUp || s.Rebuilding {
		return Act{Kind: ActWait, Reason: "mysqld is " + string(s.Mysqld)}
	}
	switch d := Assign(instance, s.Server, r); d.Role {
	case RolePrimary:
		return lead(d, r, s)
	case RoleQuiesced:
		return quiesce(s)
	case RoleReplica:
		return first(retire(s, false), follow(d, s))
	case RoleStopped:
		return first(retire(s, false), stand(s))
	default:
		return Retire(s)
	}
}

// Retire is what the agent of a server does that has no part in anything, and before its data is replaced: it serves nobody, writes nothing, and receives nothing.
func Retire(s Status) Act { return first(retire(s, true), stop(s)) }

// InEffect says whether a primary's terms are those of the record: nobody but those who may replicates, and commits wait for enough of them.
func InEffect(instance string, r durability.Record, s Status) bool {
	d := Assign(instance, s.Server, r)
	return d.Role == RolePrimary && s.Mysqld == MysqldUp && s.Receiver.State == ReceiverStopped && s.acks() == d.Acks && slices.Equal(s.Serving.Admitted, d.Admit)
}

func first(acts ...Act) Act {
	for _, a := range acts {
		if a.Kind != ActNone {
			return a
		}
	}
	return Act{Kind: ActNone}
}

// acks is how many acknowledgements a commit waits for.
func (s Status) acks() int {
	if !s.Serving.SemiSync {
		return 0
	}
	return s.Serving.Acks
}

// retire ends a server's time as primary, in the order in which nothing is answered OK that nobody else holds: clients out, read-only, and only then no
// acknowledgements.
func retire(s Status, shut bool) Act {
	switch {
	case !s.Offline && (shut || s.Writes != WritesOff):
		return Act{Kind: ActShut}
	case s.Writes != WritesOff && s.Serving.Waiting > 0:
		return Act{Kind: ActRestart, Reason: "commits wait for acknowledgements that will not come"}
	case s.Writes != WritesOff:
		return Act{Kind: ActReadOnly}
	case s.Serving.SemiSync:
		return Act{Kind: ActAsynchronous}
	}
	return Act{Kind: ActNone}
}

// quiesce has a primary stand still, in a way that it can come back from. What waits for acknowledgements may still get them. Semi-sync goes off as soon as nothing can be
// committed any more, and not only when another one is the primary: MySQL's listener for acknowledgements sees that it is to end once a second, or when a replica's
// connection ends, as all do when there is another primary; after that only the second is left. A primary that opens again has it on before it can be written to.
func quiesce(s Status) Act {
	switch {
	case s.Receiver.State != ReceiverStopped:
		return halt(s)
	case s.Writes != WritesOff && !s.Offline:
		return Act{Kind: ActShut}
	case s.Writes != WritesOff && s.Serving.Waiting > 0:
		return Act{Kind: ActWait, Reason: "commits wait for acknowledgements"}
	case s.Writes != WritesOff:
		return Act{Kind: ActReadOnly}
	// Nobody takes over before that is so, and nothing can be read of a server while it waits for its listener to end.
	case !s.Owned.Empty():
		return Act{Kind: ActWait, Reason: "transactions come to their end"}
	case s.Serving.SemiSync:
		return Act{Kind: ActAsynchronous}
	}
	return Act{Kind: ActNone}
}

func stop(s Status) Act {
	if s.Receiver.State != ReceiverStopped {
		return halt(s)
	}
	return Act{Kind: ActNone}
}

// stopMost is how long a receiver may take to stop. It takes milliseconds, and a second where it is connecting.
const stopMost = 10 * time.Second

// halt has a receiver stop. One that has once met a full disk waits for a minute in the middle of what it writes, whether there is room again or not, and everybody who replaces
// the primary waits for it: mysqld is started anew then. What it has acknowledged outlives that.
func halt(s Status) Act {
	if s.Receiver.StoppingFor > stopMost && !s.Room.Low {
		return Act{Kind: ActRestart, Reason: "its receiver does not stop"}
	}
	return Act{Kind: ActStop}
}

// stand is what a member does between two primaries: it receives nothing, and applies what it received. Where mysqld was started meanwhile, nobody has it do that otherwise,
// and whoever takes over has to have.
func stand(s Status) Act {
	if a := stop(s); a.Kind != ActNone {
		return a
	}
	if !s.drained() && (s.Applier == "" || starved(s)) {
		return Act{Kind: ActDrain, Reason: "whoever takes over has applied everything that it received"}
	}
	return Act{Kind: ActNone}
}

func follow(d Duty, s Status) Act {
	switch r := s.Receiver; {
	case d.Shut && !s.Offline:
		return Act{Kind: ActShut}
	// What is received is acknowledged, and kept twice until it is applied. Who does not receive is nobody that a commit waits for; who would wait for space in
	// the middle of it is.
	case s.Room.Low && r.State != ReceiverStopped:
		return Act{Kind: ActStop, Reason: noRoom}
	case s.Room.Low:
		return Act{Kind: ActNone, Reason: noRoom}
	case r.State != ReceiverStopped && r.StoppingFor > 0: // it was told to while there was no room
		return halt(s)
	// It is started with the receiver; not more often than every other second, if it does not get anywhere.
	case r.State == ReceiverRunning && !r.Fresh && starved(s):
		return Act{Kind: ActStop, Reason: "its applier gave up for want of room, and there is some again"}
	}
	return receive(d, s)
}

// receive has a replica with room receive what it is to.
func receive(d Duty, s Status) Act {
	r := s.Receiver
	switch {
	case r.State != ReceiverStopped && r.Source == d.Source && r.Acknowledges == d.Acknowledge:
		if d.Acknowledge && s.Offline && !d.Shut {
			return Act{Kind: ActOpen, Reason: "for readers"}
		}
		return Act{Kind: ActNone}
	case r.State != ReceiverStopped:
		return halt(s)
	case r.Source != d.Source && !s.drained():
		return Act{Kind: ActDrain, Reason: "what was received is acknowledged: it is applied before relay logs go"}
	case r.Source != d.Source:
		return Act{Kind: ActPoint, Source: d.Source}
	}
	return Act{Kind: ActStart, Acknowledge: d.Acknowledge}
}

// starvation are MySQL's errors for want of room: no room to write to a file or for a row in a table (EE_WRITE, ER_DISK_FULL, ER_ERROR_ON_WRITE, ER_RECORD_FILE_FULL).
var starvation = []string{"3", "1021", "1026", "1114"}

// starved says whether an applier has given up for want of room, and there is some now. What it failed to apply was no fault of what it has, so it may try again.
func starved(s Status) bool {
	number, _, _ := strings.Cut(s.Applier, ":")
	return !s.Room.Low && slices.Contains(starvation, number)
}

// lead makes a server the primary. It opens to clients after it has sealed once since it started or was promoted: what crash recovery brought back,
// and what only it had received, is held by enough members before anybody can read it.
//
// Under strict a primary may have nobody who may acknowledge, and nothing is promised: what it has to wait for is somebody who joins, if need be by a clone of it. A clone
// waits for every commit that waits (InnoDB: "Waiting for prepared transaction to exit"), and fails after minutes. So none is begun, and one that was ends with mysqld.
func lead(d Duty, r durability.Record, s Status) Act {
	if barren(d, r) && d.Open && s.Serving.Waiting > 0 {
		return Act{Kind: ActRestart, Reason: "commits wait, and nobody may acknowledge them before it could be cloned"}
	}
	return first(prepare(d, r.Epoch, s), serve(d, r, s))
}

// barren is of a primary that nobody may acknowledge, though it has to wait for somebody, and of which nothing is promised.
func barren(d Duty, r durability.Record) bool {
	promised := r.MinAcks
	if r.Intent != nil {
		promised = r.Intent.MinAcks
	}
	return promised == 0 && len(d.Ackers) < d.Acks
}

// prepare is what has to be before a primary can be written to at all.
func prepare(d Duty, epoch int64, s Status) Act {
	sealed := s.Serving.Seal
	switch {
	case sealed.Epoch > 0 && sealed.Epoch < epoch && sealed.covers(epoch, d): // before weaker terms are in effect
		return Act{Kind: ActKeepSeal}
	case sealed.Epoch > 0 && sealed.Epoch < epoch:
		return Act{Kind: ActDropSeal}
	case s.Receiver.State != ReceiverStopped:
		return halt(s)
	case !s.drained():
		return Act{Kind: ActDrain, Reason: "everything received is applied before the first write"}
	case !s.Offline && (!d.Open || s.Writes != WritesOn):
		return Act{Kind: ActShut}
	case s.acks() < d.Acks: // before anything can be written
		// Whoever comes to a new primary is searched the place for in its newest binary log, event by event, and every client waits for that. A log is made of some bytes.
		return Act{Kind: ActAcks, Acks: d.Acks, Rotate: !d.Open && !s.Room.Low}
	case s.Writes != WritesOn:
		return writable(s)
	}
	return Act{Kind: ActNone}
}

// serve is what a primary does then.
func serve(d Duty, r durability.Record, s Status) Act {
	sealed := s.Serving.Seal.Epoch >= r.Epoch
	switch {
	case !slices.Equal(s.Serving.Admitted, d.Admit):
		return Act{Kind: ActAdmit, Admit: d.Admit}
	case s.acks() > d.Acks: // published already: it answers OK to those who wait for more
		return Act{Kind: ActAcks, Acks: d.Acks}
	case d.Open && s.Offline && s.Serving.Proven && !s.unguarded():
		return Act{Kind: ActOpen}
	case !sealed && barren(d, r):
		return Act{Kind: ActWait, Reason: "nobody may acknowledge what it has"}
	case !sealed:
		return Act{Kind: ActSeal, Acks: d.Acks}
	}
	return guard(s)
}

// writable has a server write that could not: for its clients, or where there is no room for what they would write for its agent alone.
func writable(s Status) Act {
	if s.Room.Low {
		return Act{Kind: ActGuard, Reason: noRoom}
	}
	return Act{Kind: ActWritable}
}

const noRoom = "there is hardly any room left on its disk"

// unguarded says whether clients could use up the last room of a disk. Where commits wait for acknowledgements nobody can: none comes to its end.
func (s Status) unguarded() bool { return s.Room.Low && !s.Guarded && s.Serving.Waiting == 0 }

// guard has clients not fill the disk of a primary, and lets them write again when there is room. It comes after whatever commits may wait for, since it waits for
// them itself.
func guard(s Status) Act {
	switch {
	case !s.Offline && s.Room.Last && s.unguarded(): // statements go on that write, and it waits for them
		return Act{Kind: ActShut, Reason: noRoom}
	case s.Room.Low && !s.Guarded:
		return Act{Kind: ActGuard, Reason: noRoom}
	case s.Guarded && !s.Room.Low:
		return Act{Kind: ActWritable, Reason: "there is room again"}
	}
	return Act{Kind: ActNone}
}
