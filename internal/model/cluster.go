package model

import "time"

// MemberRole is what a member is in its cluster.
type MemberRole string

// The roles that users see.
const (
	RolePrimary MemberRole = "primary"
	RoleReplica MemberRole = "replica"
)

// Cluster is several instances, its members, that hold the same data: as with Instance, what was asked for and what was last seen. What it holds at the
// moment (who is the primary, who acknowledges) is its record in coordination, not here.
type Cluster struct {
	ID        string // UUID
	ProjectID string
	Name      string
	// Implicit is of an instance that replicas were asked for, and has that instance's id: users see the instances only, until it is
	// asked for by its id.
	Implicit bool

	// Asked for. Generation is raised by one with each change of this part.
	Desired            Desired
	Generation         int64
	DatastoreVersionID string
	Policy             string        // durability.Policy: "strict", "available" or "fast"
	Acks               int           // acknowledgements that a commit waits for; 0: the default for its size
	MaxLag             time.Duration // how far a member that readers are sent to may be behind
	Switchover         *Switchover   // nil: none was ever asked for
	RestartSerial      int64         // raised by one with each rolling restart that is asked for
	Spread             string        // "anti-affinity" (members on different hosts, else refused), "soft-anti-affinity" (the default), "affinity", "soft-affinity"

	// Addresses of the endpoint, chosen once by nodekeeper and kept for life; empty until then, and of an implicit cluster that has none.
	ReadWrite, ReadOnly         string
	ReadWritePort, ReadOnlyPort int

	// Seen.
	Status             Status // as an instance's; ACTIVE when all members are and it has a primary
	Founded            bool   // it has a record; one that is missing then is never made anew
	PrimaryID          string
	Epoch              int64  // of the record when this was written
	Condition          string // what nodekeeper does about it or waits for; empty: all is well
	Alarms             []Alarm
	ObservedGeneration int64
	ObservedSwitchover int64
	ObservedRestart    int64
	Fault              *Fault

	Created time.Time
	Updated time.Time
	Version int64 // row version: raised with every write, compared on update
}

// Switchover asks for another primary.
type Switchover struct {
	Serial   int64         `json:"serial"` // raised by one with each that is asked for
	To       string        `json:"to"`     // instance; empty: whoever fits best
	From     string        `json:"from,omitempty"`
	Timeout  time.Duration `json:"timeout"`        // after it the old primary opens again
	Dead     bool          `json:"dead,omitempty"` // the primary is given up: a failover, even where it answers
	Asked    time.Time     `json:"asked"`
	Fault    string        `json:"fault,omitempty"` // why it did not come about
	Finished bool          `json:"finished"`
}

// Alarm is something about a cluster that a person should know.
type Alarm struct {
	Name  string    `json:"name"` // its page in the operator's handbook
	Text  string    `json:"text"`
	Since time.Time `json:"since"`
}

// Turn is a change of primary that is over: a line of a cluster's history.
type Turn struct {
	ClusterID string        `json:"-"`
	Epoch     int64         `json:"epoch"` // of the record that ended it
	Kind      string        `json:"kind"`  // "failover", "switchover", or "back": it did not come about
	From      string        `json:"from"`  // instance
	To        string        `json:"to"`
	Reason    string        `json:"reason"`
	Seen      []string      `json:"seen"` // what was known when it was begun, in words
	Began     time.Time     `json:"began"`
	Phases    []Phase       `json:"phases"`
	Gap       time.Duration `json:"gap"` // from what was noticed to the new primary's opening
}

// Phase is a part of a Turn.
type Phase struct {
	Name string        `json:"name"` // "stopping", "applying", "opening", "endpoint"
	Took time.Duration `json:"took"`
	Note string        `json:"note,omitempty"`
}
