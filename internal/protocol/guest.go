package protocol

import (
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// GuestConfig is /huker/etc/guest.json in a guest: what its supervisor and agent must know to start. No secrets in it.
type GuestConfig struct {
	Instance   string  `json:"instance"`
	Deployment string  `json:"deployment"`
	Engine     string  `json:"engine"`  // "mysql"
	Version    string  `json:"version"` // "9.7.4"
	MemoryMB   int     `json:"memory_mb"`
	CPUs       float64 `json:"cpus"`
	VolumeGB   int     `json:"volume_gb"`
	ServerID   uint32  `json:"server_id"`
	// Coordination and Bus are addresses as internal/engines takes them; an empty Bus is coordination's.
	Coordination string `json:"coordination"` // "etcd://172.30.0.1:12379"
	Bus          string `json:"bus,omitempty"`
	Principal    string `json:"principal"` // the name that agent-cert.pem carries: "guest.<instance>"
	// Room says when the disk counts as nearly full; nil: by what it is.
	Room   *RoomLimits       `json:"room,omitempty"`
	Record durability.Record `json:"record"` // the record at the time of writing; a newer one in coordination or on the data volume wins
	Agent  string            `json:"agent"`  // the agent's binary, below /huker/bin: "huker-guestagent-<sha>"; set by the host's sysmgr
}

// RoomLimits are bytes that are free on a database's file system: with fewer than CloseBelow it takes no writes, until there are OpenAbove.
type RoomLimits struct {
	CloseBelow int64 `json:"close_below"`
	OpenAbove  int64 `json:"open_above"`
}

// GuestStatus is what an agent says of its database.
type GuestStatus struct {
	Instance     string       `json:"instance"`
	Cluster      string       `json:"cluster"` // whose record it goes by; its instance's id where it is alone
	AgentVersion string       `json:"agent_version"`
	AgentSince   time.Time    `json:"agent_since"`
	Serial       int64        `json:"serial"` // raised with each reading by this agent: of two, the greater one is newer
	Epoch        int64        `json:"epoch"`  // of the record that is in effect
	Mysqld       MysqldStatus `json:"mysqld"`
	ConfigMemMB  int          `json:"config_memory_mb"` // the memory size that is in effect in mysqld
	VolumeUsed   int64        `json:"volume_used"`      // bytes
	VolumeSize   int64        `json:"volume_size"`      // bytes; of the file system below
	RestartsDone int64        `json:"restarts_done"`    // the newest serial of KindRestart that was carried out
	Fault        string       `json:"fault,omitempty"`  // why the database does not serve, in words for its user
	// Notice is what its user should know though the database serves: that it takes no writes, or receives nothing, as its disk is nearly full.
	Notice string `json:"notice,omitempty"`
	// Part is how the server does its part in a cluster of several; nil of one that is alone. What changes with every commit is of the moment it was read at,
	// and is no reason to publish: who needs it newer asks (KindLook).
	Part *failover.Status `json:"part,omitempty"`
	// Turning is of a member that knows of a change of primary that is under way: then every transaction is worth publishing.
	Turning bool `json:"turning,omitempty"`
	// Lag is how far a replica is behind what it has received, and behind its source as far as it knows; negative: not known. Published when it has doubled or
	// halved, from a second up.
	Lag time.Duration `json:"lag,omitempty"`
}

// MysqldStatus is mysqld as the supervisor and the agent see it.
type MysqldStatus struct {
	State    string    `json:"state"` // "preparing", "starting", "serving", "locked", "stopping", "stopped", "failed"
	Version  string    `json:"version"`
	UUID     string    `json:"uuid"`
	Pid      int       `json:"pid"`
	Since    time.Time `json:"since"`
	Crashes  int       `json:"crashes"` // unwanted exits since the container started
	LastExit string    `json:"last_exit,omitempty"`
}

// States of mysqld.
const (
	MysqldPreparing = "preparing" // the data directory is being made
	MysqldStarting  = "starting"
	MysqldServing   = "serving" // open for its role
	MysqldLocked    = "locked"  // runs, but shut for clients until its role is known
	MysqldStopping  = "stopping"
	MysqldStopped   = "stopped" // as it was told
	MysqldFailed    = "failed"  // does not start; Fault says why
)

// Kinds of call to a guest. All are idempotent.
const (
	KindGuestStatus    = "guest.status"    // nothing -> GuestStatus
	KindPrepare        = "guest.prepare"   // model.Bootstrap -> nothing; what exists already is no error
	KindConfigure      = "guest.configure" // ConfigureRequest -> GuestStatus; live, without a restart where MySQL can
	KindRestart        = "mysqld.restart"  // RestartRequest -> nothing, when it serves again
	KindDatabaseList   = "database.list"   // ListRequest -> []model.Database by name
	KindDatabaseCreate = "database.create" // []model.Database -> nothing; guest.ErrExists
	KindDatabaseDelete = "database.delete" // NameRequest -> nothing
	KindUserList       = "user.list"       // ListRequest -> []model.User by name and host
	KindUserCreate     = "user.create"     // []model.User -> nothing
	KindUserShow       = "user.show"       // UserRequest -> model.User
	KindUserUpdate     = "user.update"     // UserUpdate -> nothing
	KindUserDelete     = "user.delete"     // UserRequest -> nothing
	KindGrant          = "user.grant"      // GrantRequest -> nothing
	KindRevoke         = "user.revoke"     // GrantRequest with one database -> nothing
	KindRootShow       = "root.show"       // nothing -> RootReply without password
	KindRootEnable     = "root.enable"     // RootRequest -> RootReply
	KindRootDisable    = "root.disable"    // nothing -> nothing
	KindLogList        = "log.list"        // nothing -> []Log
	KindLogSet         = "log.set"         // LogSet -> Log
	KindLogRead        = "log.read"        // LogRead -> LogChunk
)

// Codes of errors that a guest answers with (bus.CallError.Code).
const (
	CodeNotFound = "not_found"
	CodeExists   = "exists"
	CodeInvalid  = "invalid"   // the request itself cannot be carried out: 400
	CodeNotReady = "not_ready" // the database does not serve now: try again
	CodeInternal = "internal"
)

// ListRequest pages by name; Marker is the last name ("name" or "name@host") of the page before.
type ListRequest struct {
	Limit  int    `json:"limit"`
	Marker string `json:"marker"`
}

// NameRequest names a database.
type NameRequest struct {
	Name string `json:"name"`
}

// UserRequest names a user; Host "" is "%".
type UserRequest struct {
	Name string `json:"name"`
	Host string `json:"host"`
}

// UserUpdate changes a user; nil leaves as it is.
type UserUpdate struct {
	Name        string  `json:"name"`
	Host        string  `json:"host"`
	NewName     *string `json:"new_name,omitempty"`
	NewHost     *string `json:"new_host,omitempty"`
	NewPassword *string `json:"new_password,omitempty"`
}

// GrantRequest gives or takes all rights on databases.
type GrantRequest struct {
	Name      string   `json:"name"`
	Host      string   `json:"host"`
	Databases []string `json:"databases"`
}

// ConfigureRequest is the new size of a guest.
type ConfigureRequest struct {
	MemoryMB int     `json:"memory_mb"`
	CPUs     float64 `json:"cpus"`
	VolumeGB int     `json:"volume_gb"`
}

// RestartRequest carries the serial that RestartsDone will show, so that a repeated message restarts nothing twice.
type RestartRequest struct {
	Serial int64 `json:"serial"`
}

// RootRequest enables root; an empty password lets the guest make one.
type RootRequest struct {
	Password string `json:"password,omitempty"`
}

// RootReply says whether root is enabled.
type RootReply struct {
	Enabled  bool   `json:"enabled"`
	Password string `json:"password,omitempty"`
}

// Log is one of mysqld's logs.
type Log struct {
	Name    string `json:"name"` // "error", "slow_query", "general"
	Type    string `json:"type"` // "SYS" (always on) or "USER"
	Enabled bool   `json:"enabled"`
	Size    int64  `json:"size"` // bytes
}

// LogSet switches a USER log on or off, or empties it.
type LogSet struct {
	Name    string `json:"name"`
	Enable  bool   `json:"enable"`
	Disable bool   `json:"disable"`
	Discard bool   `json:"discard"`
}

// LogRead reads at most 256 KiB from Offset on; a negative offset counts from the end.
type LogRead struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Limit  int    `json:"limit"`
}

// LogChunk is a part of a log.
type LogChunk struct {
	Data   []byte `json:"data"`
	Offset int64  `json:"offset"` // of the first byte
	Size   int64  `json:"size"`   // of the log
}
