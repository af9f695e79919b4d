// Package control is how an agent talks to the supervisor beside it: JSON over HTTP over a Unix socket that only their user can open.
//
// It owns the shapes, the routes and the client. It must not know how the supervisor does what it is asked; and it stays free of
// everything but the standard library, since PID 1 links it.
package control

import (
	"context"
	"time"
)

// Status is all that a supervisor knows.
type Status struct {
	Serial uint64 `json:"serial"` // from 1; raised with every change
	Mysqld Mysqld `json:"mysqld"`
	Agent  Agent  `json:"agent"`
}

// Phase is where mysqld is.
type Phase string

// Phases of mysqld.
const (
	Preparing Phase = "preparing" // the data directory is being made
	Starting  Phase = "starting"  // the process runs, but does not answer yet; or it waits for its next attempt after a crash
	Running   Phase = "running"   // it answers on its socket
	Stopping  Phase = "stopping"
	Stopped   Phase = "stopped" // as it was told
	Failed    Phase = "failed"  // several starts in a row came to nothing; Reason says why. It is tried again, slowly
)

// Mysqld is the state of mysqld.
type Mysqld struct {
	Phase      Phase     `json:"phase"`
	Reason     string    `json:"reason,omitempty"` // in words for the database's user, while Phase is Failed
	Pid        int       `json:"pid"`              // 0 when there is no process
	Since      time.Time `json:"since"`            // of the Phase
	Started    time.Time `json:"started"`          // of the process
	Starts     int       `json:"starts"`           // processes started since the container did; a new one has a new number
	Crashes    int       `json:"crashes"`          // unwanted exits since the container started
	LastExit   string    `json:"last_exit,omitempty"`
	LastExitAt time.Time `json:"last_exit_at"`
	Fresh      bool      `json:"fresh"`     // the data directory was made by this run of the container
	MemoryMB   int       `json:"memory_mb"` // sizes that the running mysqld was configured for
	CPUs       float64   `json:"cpus"`
}

// Agent is the state of the agent.
type Agent struct {
	Binary   string    `json:"binary"` // its name below paths.Bin
	Pid      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"` // it said so
	Crashes  int       `json:"crashes"`
	LastExit string    `json:"last_exit,omitempty"`
	Fault    string    `json:"fault,omitempty"` // why the binary that guest.json names was given up for the one before
}

// Supervisor is what answers the calls. All are safe to repeat. A wish (start, stop, restart, replace) stays in effect when its ctx ends
// before it is fulfilled.
type Supervisor interface {
	// Watch waits until Status.Serial > after (0: not at all) or ctx ends; at the end of ctx it gives the status as it is.
	Watch(ctx context.Context, after uint64) (Status, error)
	// StartMysqld has mysqld running, and returns when it answers, or ErrFailed.
	StartMysqld(ctx context.Context) error
	// StopMysqld shuts mysqld down cleanly, and returns when it is gone. It stays down until StartMysqld or RestartMysqld.
	StopMysqld(ctx context.Context) error
	// RestartMysqld shuts mysqld down cleanly and starts it with a newly generated configuration; it returns when it answers, or ErrFailed.
	RestartMysqld(ctx context.Context) error
	// KillMysqld ends mysqld at once, whatever waits in it (sessions that wait for an acknowledgement hold up a clean shutdown for ever), and starts it
	// as RestartMysqld does. It does not wait for either.
	KillMysqld(ctx context.Context) error
	// ReplaceAgent has the agent be the binary that guest.json now names, if it is another one: it returns before it acts, since the
	// caller is the one that is replaced.
	ReplaceAgent(ctx context.Context) error
	// AgentReady is the word of the agent with that pid that it works; without it in time, a new binary is given up for the one before.
	AgentReady(ctx context.Context, pid int) error
}
