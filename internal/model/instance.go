package model

import "time"

// Status is the state of an instance as Trove's API spells it.
type Status string

// The states an instance goes through. Sources: Trove v1.0 `instance.status`.
const (
	StatusBuild           Status = "BUILD"
	StatusActive          Status = "ACTIVE"
	StatusReboot          Status = "REBOOT"
	StatusResize          Status = "RESIZE"
	StatusShutdown        Status = "SHUTDOWN"
	StatusError           Status = "ERROR"
	StatusUpgrade         Status = "UPGRADE"
	StatusRestartRequired Status = "RESTART_REQUIRED"
)

// States that are shown while an instance's part in its cluster changes. They follow from what was asked of the cluster, and are in no row.
const (
	StatusPromote Status = "PROMOTE"
	StatusEject   Status = "EJECT"
	StatusDetach  Status = "DETACH"
)

// OperatingStatus is what the guest says of the database; empty while a task is under way.
type OperatingStatus string

// The operating states that Huker reports.
const (
	OperatingBusy     OperatingStatus = ""
	OperatingHealthy  OperatingStatus = "HEALTHY"
	OperatingShutdown OperatingStatus = "SHUTDOWN"
	OperatingError    OperatingStatus = "ERROR"
)

// Desired is what the user wants of an instance's existence.
type Desired string

// An instance is wanted until its deletion is asked for; there is no way back.
const (
	DesiredPresent Desired = "present"
	DesiredDeleted Desired = "deleted"
)

// Instance is one database server: the state that was asked for (changed only by the API) and the state last
// seen (changed only by nodekeeper), in one row so that both are compared and changed in one transaction.
type Instance struct {
	ID        string // UUID
	ProjectID string
	Name      string

	// Asked for. Generation is raised by one with each change of this part.
	Desired            Desired
	Generation         int64
	DatastoreVersionID string
	FlavorID           string
	VolumeGB           int // 1 and up
	VolumeType         string
	Access             Access
	RestartSerial      int64 // raised by one with each restart that is asked for
	Bootstrap          *Bootstrap
	ForceDelete        bool // delete without waiting for anything in the guest
	// ClusterID is the cluster that it is a member of; empty: it is alone. An instance that replicas were asked for is a member of the cluster with
	// its own id.
	ClusterID string
	Priority  int // the higher, the rather it becomes the primary; 0 by default
	// Detaching has it leave its cluster, with its data, and be alone. nodekeeper empties ClusterID and this when that is done.
	Detaching bool

	// Placement: chosen once by nodekeeper, and kept for life.
	HostID  string
	Address string // IPv4 address; the database answers there at port 3306

	// Seen.
	Status             Status
	OperatingStatus    OperatingStatus
	ObservedGeneration int64 // the newest generation that is fully in effect
	ObservedRestart    int64 // the newest restart that was carried out
	Fault              *Fault
	VolumeUsedBytes    int64
	RootEnabledAt      time.Time // zero when root was never enabled
	RootEnabledBy      string
	RootEnabled        bool
	Role               MemberRole // in its cluster; empty: none yet, or it is alone

	Created              time.Time
	Updated              time.Time
	ServiceStatusUpdated time.Time
	Version              int64 // row version: raised with every write, compared on update
}

// Access says who may reach the database's port.
type Access struct {
	IsPublic     bool     `json:"is_public"`
	AllowedCIDRs []string `json:"allowed_cidrs"` // empty means everyone
}

// Fault is why an instance is in ERROR, in words for its user.
type Fault struct {
	Message string    `json:"message"`
	Details string    `json:"details"`
	Created time.Time `json:"created"`
}

// Bootstrap is what a new instance is to hold from the start. It carries passwords, so nodekeeper removes it from
// the row as soon as the guest has applied it.
type Bootstrap struct {
	Databases []Database `json:"databases,omitempty"`
	Users     []User     `json:"users,omitempty"`
}

// Database is a schema of an instance.
type Database struct {
	Name         string `json:"name"`
	CharacterSet string `json:"character_set,omitempty"`
	Collate      string `json:"collate,omitempty"`
}

// User is an account of an instance. Password is never read back.
type User struct {
	Name      string   `json:"name"`
	Host      string   `json:"host,omitempty"` // "%" when empty
	Password  string   `json:"password,omitempty"`
	Databases []string `json:"databases,omitempty"`
}

// Event is a line of an instance's history, shown by `huker instance events`.
type Event struct {
	ID         int64
	ProjectID  string
	InstanceID string
	Time       time.Time
	Kind       string // "instance.create.requested", "instance.active", "instance.fault", ...
	Message    string
	RequestID  string
}

// Busy reports whether a change is under way, in which case the API refuses another one.
func (i *Instance) Busy() bool {
	return i.Desired == DesiredDeleted || i.Status == StatusBuild ||
		(i.ObservedGeneration < i.Generation && i.Status != StatusError)
}
