// Package supervisor is PID 1 of a database container: it makes the data directory, runs mysqld and the agent, and knows at once when
// either ends.
//
// It owns the life of the two processes. It must not know SQL, roles, coordination or anything else that could need to be changed often or could fail:
// while the agent is replaced, the supervisor is what stays. It links nothing but the standard library and golang.org/x/sys, and is small.
//
// Should the supervisor die, the kernel kills everything in the container, and the runtime starts it again; so there is no state of
// mysqld's running without its supervisor.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/datadir"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
)

// Config is what a supervisor is made of.
type Config struct {
	Paths  paths.Paths
	Mysqld string // the server's program; empty: where packages put it
	Log    *slog.Logger
	Out    *os.File // where children write what is not in their logs; nil: standard error
	Timing Timing   // zero values: the defaults
}

// Timing are the supervisor's patience; tests shorten it.
type Timing struct {
	Backoff    time.Duration // before the second restart in a row (the first is immediate); doubled with each: 500 ms
	BackoffMax time.Duration // 30 s
	Stable     time.Duration // so long up, and earlier exits are forgotten: 30 s
	AgentReady time.Duration // a new agent must say that it is ready: 30 s
	AgentStop  time.Duration // between SIGTERM and SIGKILL of an agent: 10 s
	Resend     time.Duration // SIGTERM is sent to mysqld again, since it loses one that comes while it starts: 3 s
	Look       time.Duration // between looks at the sizes of logs and the volume: 10 s
}

func (t Timing) withDefaults() Timing {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&t.Backoff, 500*time.Millisecond)
	def(&t.BackoffMax, 30*time.Second)
	def(&t.Stable, 30*time.Second)
	def(&t.AgentReady, 30*time.Second)
	def(&t.AgentStop, 10*time.Second)
	def(&t.Resend, 3*time.Second)
	def(&t.Look, 10*time.Second)
	return t
}

// backoff is the pause after n exits in a row.
func (t Timing) backoff(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	d := t.Backoff
	for i := 2; i < n && d < t.BackoffMax; i++ {
		d *= 2
	}
	return min(d, t.BackoffMax)
}

// Supervisor runs mysqld and the agent.
type Supervisor struct {
	cfg   Config
	log   *slog.Logger
	board *board
	procs *procs
	db    *database
	agent *agent

	mu    sync.Mutex
	guest protocol.GuestConfig // the newest that could be read
}

var _ control.Supervisor = (*Supervisor)(nil)

// New reads the guest's configuration.
func New(cfg Config) (*Supervisor, error) {
	cfg.Timing = cfg.Timing.withDefaults()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if cfg.Out == nil {
		cfg.Out = os.Stderr
	}
	g, err := readGuest(cfg.Paths.Config())
	if err != nil {
		return nil, err
	}
	s := &Supervisor{cfg: cfg, log: cfg.Log, board: newBoard(), procs: newProcs(), guest: g}
	s.db = newDatabase(s)
	s.agent = newAgent(s)
	return s, nil
}

// Run supervises until ctx ends; then it shuts mysqld down cleanly, however long that takes, and then the agent.
func (s *Supervisor) Run(ctx context.Context) error {
	if os.Getpid() != 1 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("supervisor: become the parent of orphans: %w", err)
		}
	}
	if err := os.MkdirAll(s.cfg.Paths.Volume, 0o700); err != nil {
		return fmt.Errorf("supervisor: %w", err)
	}
	lock, err := datadir.Lock(s.cfg.Paths.Volume)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // freed in any case
	server, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }() // waiting calls are cut off: their answer is that the container ends

	rest := context.WithoutCancel(ctx) // the reaper and the agent outlive mysqld's shutdown
	reaping, stopReaping := context.WithCancel(rest)
	agentCtx, stopAgent := context.WithCancel(rest)
	defer stopAgent()
	var reaper, agent sync.WaitGroup
	reaper.Go(func() { s.procs.run(reaping) })
	agent.Go(func() { s.agent.run(agentCtx) })
	s.db.run(ctx)
	stopAgent()
	agent.Wait()
	stopReaping()
	reaper.Wait()
	return nil
}

func (s *Supervisor) listen(ctx context.Context) (*http.Server, error) {
	socket := s.cfg.Paths.SupervisorSocket()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	server := &http.Server{Handler: control.NewHandler(s), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the control socket is lost", "op", "serve", "error", err)
		}
	}()
	return server, nil
}

// Watch implements control.Supervisor.
func (s *Supervisor) Watch(ctx context.Context, after uint64) (control.Status, error) {
	return s.board.watch(ctx, after), nil
}

// StartMysqld implements control.Supervisor.
func (s *Supervisor) StartMysqld(ctx context.Context) error { return s.db.wish(ctx, wishStart) }

// StopMysqld implements control.Supervisor.
func (s *Supervisor) StopMysqld(ctx context.Context) error { return s.db.wish(ctx, wishStop) }

// RestartMysqld implements control.Supervisor.
func (s *Supervisor) RestartMysqld(ctx context.Context) error { return s.db.wish(ctx, wishRestart) }

// KillMysqld implements control.Supervisor.
func (s *Supervisor) KillMysqld(ctx context.Context) error { return s.db.wish(ctx, wishKill) }

// ReplaceAgent implements control.Supervisor.
func (s *Supervisor) ReplaceAgent(ctx context.Context) error {
	return s.agent.send(ctx, agentCall{replace: true, reply: make(chan error, 1)})
}

// AgentReady implements control.Supervisor.
func (s *Supervisor) AgentReady(ctx context.Context, pid int) error {
	return s.agent.send(ctx, agentCall{ready: pid, reply: make(chan error, 1)})
}
