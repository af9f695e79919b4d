package model

import (
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// Config is a cluster to explore, and how far.
type Config struct {
	Name      string
	Members   int  // with the first primary
	Acks      int  // W as wanted
	Promised  int  // W at the start. 0: as wanted
	Published int  // how many replicas are members at the start; the others are outsiders that are up. 0: all
	Ahead     bool // those outsiders have a transaction that nobody else has
	Policy    durability.Policy

	Trx    int // transactions that clients write
	Epochs int // changes of the record
	// How often what may happen. What is not counted may happen at any time: any message or action may be late, or not come at all.
	Crashes int  // of a member: mysqld and agent
	Power   bool // a crash is a loss of power: relay logs that were not flushed are lost
	Cuts    int  // a receiver loses its source, and tries to connect
	Doubts  int  // a manager hears nothing of a member that is well
	Kills   int  // a session that waits for an acknowledgement is killed: it commits
	Wipes   int  // a member's data is lost
	Spare   bool // only of one that is no member, and is up
	Fills   int  // a member's disk becomes nearly full. At any time there is room again

	Stale      int       // of how many members at once a manager may have an old view
	AllViews   bool      // old views of what is only waited for are told apart, too
	Keep       bool      // old views outlive a change of the record by whoever has them
	Fine       bool      // crashes and messages come between any two acts of an agent, not only between what others can notice
	Switchover bool      // to the second member is asked for
	MaxStates  int       // 0: all there are
	MaxDepth   int       // 0: any
	Settle     int       // of every so many states, have one come to rest; 0: none
	Check      Invariant // 0: Everything
	Rules      Rules
}

func (c *Config) checks(i Invariant) bool { return c.Check == 0 || c.Check&i != 0 }

// Rules are what mutants break.
type Rules struct {
	Observe func(*failover.Observation)
	Decide  func(failover.Observation, failover.Decision) failover.Decision
	Conduct func(instance string, r durability.Record, s failover.Status, a failover.Act) failover.Act

	ObeyOld      bool // agents take older records, too
	ForgetEpoch  bool // agents keep the record in memory only, and take an older one after a restart
	NoAdmission  bool // the primary lets in whoever comes
	AckTimeout   bool // a commit waits for acknowledgements only for a while
	RelayLost    bool // relay_log_recovery=ON
	RebuildStale bool // a rebuild is done whenever its order arrives
	BlindWrite   bool // a manager writes the record without comparing
	StartPurges  bool // an agent points the receiver anew whenever it starts it
	SealUnacked  bool // sealing does not wait
	Nameless     bool // a server answers to its name even when it is another one
}
