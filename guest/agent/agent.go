package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// Supervisor is what the agent asks of PID 1; *control.Client is one.
type Supervisor interface {
	// Watch waits until the status is newer than after.
	Watch(ctx context.Context, after uint64) (control.Status, error)
	// RestartMysqld returns when mysqld, configured anew, answers.
	RestartMysqld(ctx context.Context) error
	// KillMysqld ends mysqld at once, whatever waits in it; it is started again.
	KillMysqld(ctx context.Context) error
	// ReplaceAgent has the agent that the configuration names take over from this one.
	ReplaceAgent(ctx context.Context) error
	// Ready says that this agent works.
	Ready(ctx context.Context) error
}

var _ Supervisor = (*control.Client)(nil)

// Config is what an agent is made of.
type Config struct {
	Guest      protocol.GuestConfig
	Version    string // the agent's own
	GuestFile  string // where Guest was read from; empty: it does not change
	Socket     string // mysqld's
	StateDir   string // on the data volume, the agent's own
	VolumeDir  string // the data volume
	DataDir    string // mysqld's, on it
	Logs       admin.Logs
	Supervisor Supervisor
	// Settings are the variables that follow from a size and can change while mysqld runs, whose buffer pool moves in steps of
	// granule bytes.
	Settings func(size protocol.ConfigureRequest, granule int64) (map[string]string, error)
	// Part makes a run of mysqld a member of a cluster, with so many sessions of its own; nil: this guest is alone for ever.
	Part         func(db *sql.DB, m control.Mysqld) (Part, error)
	PartSessions int
	// Store and Bus are nil when it is not even known how to reach them. The database is given its role all the same.
	Store coord.Store
	Bus   bus.Bus
	Log   *slog.Logger
}

// Times. Each is a constant because none needs to differ between guests.
const (
	pollSocket  = 10 * time.Millisecond  // while mysqld starts: what is late here is late for the first query
	pollSlow    = 250 * time.Millisecond // when mysqld answers, but with an error
	verifyEvery = 5 * time.Second        // the gate is compared with the role even when nothing happened
	sessionTTL  = 3 * time.Second        // of the status: how fast the agent's death is seen
	retryFirst  = 100 * time.Millisecond
	retryMost   = 2 * time.Second
	sampleEvery = 30 * time.Second // the volume's use
	waitServing = 5 * time.Second  // how long a call waits for the database before "not ready"
	askTimeout  = 10 * time.Second // mysqld says how it is in a millisecond; but read_only waits for commits under way
	concurrency = 4                // calls at once
)

// Agent is one guest's agent.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	entry    entry
	records  *records
	roster   *roster
	status   *status
	handlers map[string]handler
	volume   func(context.Context, string) (volumeUse, error)
	room     *room

	// recheck wakes the loop that holds mysqld's gate; of capacity 1, so that many reasons are one look.
	recheck chan struct{}
	// serial serializes the calls that touch mysqld as a whole.
	serial sync.Mutex
	// guardHeld is when statements that write last kept a database that is alone from being guarded; of the goroutine that holds its gate.
	guardHeld time.Time
	leave     context.CancelCauseFunc // ends the agent; set by Run
	done      journal

	works     chan struct{} // closed when this agent has shown that it works
	worksOnce sync.Once
}

// New checks the configuration and reads what the volume knows. It starts nothing.
func New(cfg Config) (*Agent, error) {
	switch {
	case cfg.Guest.Instance == "":
		return nil, errors.New("agent: the guest's configuration names no instance")
	case cfg.Socket == "" || cfg.StateDir == "" || cfg.VolumeDir == "":
		return nil, errors.New("agent: socket, state directory and volume are needed")
	case cfg.Supervisor == nil || cfg.Settings == nil:
		return nil, errors.New("agent: supervisor and settings are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		cfg:      cfg,
		log:      cfg.Log.With("instance", cfg.Guest.Instance),
		volume:   measureVolume,
		handlers: handlers(),
		recheck:  make(chan struct{}, 1),
		works:    make(chan struct{}),
		done:     journal{dir: cfg.StateDir},
	}
	if err := makeStateDir(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	removeLeftovers(cfg.StateDir)
	a.room = &room{dir: cfg.VolumeDir, given: cfg.Guest.Room, log: a.log, measure: measureRoom}
	a.entry = entry{socket: cfg.Socket, dir: cfg.StateDir, logs: cfg.Logs}
	a.records = newRecords(cfg.Guest, cfg.StateDir, a.log, a.wake)
	a.roster = newRoster(cfg.StateDir, cfg.Guest.Record.Cluster, a.log, a.wake)
	restarts, err := a.done.restarts()
	if err != nil {
		a.log.Warn("what was carried out before is not known", "err", err)
	}
	a.status = newStatus(protocol.GuestStatus{
		Instance: cfg.Guest.Instance, Cluster: cfg.Guest.Record.Cluster, AgentVersion: cfg.Version, AgentSince: time.Now().UTC().Truncate(time.Millisecond),
		Epoch: a.records.epoch(), RestartsDone: restarts.Done,
		Mysqld: protocol.MysqldStatus{State: protocol.MysqldPreparing, Version: cfg.Guest.Version},
	})
	if a.roster.several() {
		a.status.quiet(quietMost)
	}
	return a, nil
}

// Run does the agent's work until ctx ends, or the guest has left its cluster; it says which.
func (a *Agent) Run(ctx context.Context) error {
	ctx, a.leave = context.WithCancelCause(ctx)
	defer a.leave(nil)
	var wg sync.WaitGroup
	loops := []func(context.Context){a.superviseLoop, a.volumeLoop, a.readyLoop}
	if a.cfg.GuestFile != "" {
		loops = append(loops, a.configLoop)
	}
	if a.cfg.Store != nil {
		loops = append(loops, a.recordLoop, a.publishLoop)
	}
	if a.cfg.Bus != nil {
		loops = append(loops, a.serveLoop)
	}
	for _, loop := range loops {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// wake has the gate looked at.
func (a *Agent) wake() {
	select {
	case a.recheck <- struct{}{}:
	default:
	}
}

// pause waits, and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// retry is a growing wait between attempts.
type retry struct{ next time.Duration }

func (r *retry) reset() { r.next = 0 }

func (r *retry) wait(ctx context.Context) bool {
	if r.next == 0 {
		r.next = retryFirst
	}
	d := r.next
	r.next = min(2*r.next, retryMost)
	return pause(ctx, d)
}
