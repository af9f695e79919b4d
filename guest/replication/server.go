package replication

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
)

// Config is what a Server is made of.
type Config struct {
	Instance string // a UUID
	// Machine is the boot id of the machine: under policy fast a server that lost power is another one.
	Machine string
	// CA, Cert and Key are the files of the cluster's authority and of this member's certificate, as mysqld sees them. The certificate has to be good for
	// clients, too (extended key usage clientAuth), and its subject Subject(Instance).
	CA, Cert, Key string
	// Kill ends mysqld with SIGKILL and has it start again (control.Client.KillMysqld).
	Kill func(context.Context) error
	// Clones says where a clone keeps what has to outlive mysqld.
	Clones Clones
	Log    *slog.Logger
}

// Times.
const (
	// brief is how long an act waits for what usually takes milliseconds, before it goes on in the background.
	brief = 500 * time.Millisecond
	// actTimeout bounds the statements that wait for nothing but a lock.
	actTimeout = 5 * time.Second
	// heartbeat is how often a source that has nothing to say says so, in seconds.
	heartbeat = 0.5
	// MinConnections is how many connections the pool given to New must allow. All but those for a clone and for further nudges are opened ahead of need, and kept.
	MinConnections = 10 + maxNudges - 1
)

// Server is one mysqld, in one of its runs. It is safe for concurrent use: one act and one reading exclude each other.
//
// What it remembers is lost with it, and with the connection that Status uses: then it is proven anew, which is safe, and costs a transaction.
type Server struct {
	cfg   Config
	since time.Time
	log   *slog.Logger
	ctx   context.Context // of what goes on in the background
	end   context.CancelFunc
	work  sync.WaitGroup

	turn  chan struct{}       // of capacity 1: held by Status or Do
	look  *session            // of Status; its loss is the loss of memory
	act   *session            // of Do, without binary log
	hand  *session            // for short questions, and to end other sessions' statements
	lanes map[string]*session // of tasks

	warming sync.Once

	mu     sync.Mutex // guards all below; never held over a statement
	memory memory
	tasks  map[string]*task
	probed time.Time // when a probe was last committed
	tried  time.Time // when the first one was begun of those that were not committed yet
	begun  time.Time // when the last one was begun
	held   time.Time // when clients were last tried to be refused, and statements that write kept that from taking effect
	links  []uint64  // the connections of who acknowledges, when the status was last read
	nudges nudges
}

// memory is what is known of this run of mysqld, and cannot be read.
type memory struct {
	serial int // raised when all of it is forgotten: what was begun before does not count
	terms  int // raised when a primary's terms are changed: a seal that was begun before does not count
	epoch  int64
	off    bool // SET super_read_only=ON has returned, and nothing has switched it off since
	seal   failover.Seal
	proven bool
	// enforced is the newest epoch of which the terms were seen in effect.
	enforced int64
	guarded  bool // when the status was last read
	started  bool // the receiver was started, and not stopped since
	// startedAt is when that was.
	startedAt time.Time
	// broken is why the receiver stopped by itself, until it hears of a source again.
	broken   string
	brokenAt time.Time
	// connected is when the receiver was first seen running, since it was last seen not to.
	connected time.Time
}

// New takes a pool whose sessions are the agent's, with all rights, of a mysqld that answers since then. Nobody else should use the pool: it must allow
// MinConnections. It stays the caller's to close, after Close.
func New(db *sql.DB, since time.Time, cfg Config) (*Server, error) {
	if _, err := Account(cfg.Instance); err != nil {
		return nil, err
	}
	if cfg.CA == "" || cfg.Cert == "" || cfg.Key == "" {
		return nil, errors.New("replication: the files of the certificate are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, since: since, log: cfg.Log.With("instance", cfg.Instance), turn: make(chan struct{}, 1), tasks: map[string]*task{},
		look: newSession(db, setupAct), act: newSession(db, setupAct), hand: newSession(db, setupAct), lanes: map[string]*session{
			taskReadOnly: newSession(db, setupTask), taskGuard: newSession(db, setupGuard), taskAdmit: newSession(db, setupOwn), taskSeal: newSession(db, setupTask),
			taskProbe: newSession(db, setupTask), taskClone: newSession(db, setupTask),
		},
	}
	s.lanes[taskStop] = s.lanes[taskReadOnly] // nothing asks for both at once
	for _, name := range nudgeNames {
		s.lanes[name] = newSession(db, setupTask)
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends what goes on in the background, and gives the connections back. What waits inside mysqld goes on waiting there.
func (s *Server) Close() {
	s.end()
	s.work.Wait()
	for _, c := range s.sessions() {
		c.close()
	}
	s.lanes[taskClone].close()
	for _, name := range nudgeNames[1:] {
		s.lanes[name].close()
	}
}

// sessions are those that are opened ahead: all but the one for a clone, and those for nudges after the first.
func (s *Server) sessions() []*session {
	return []*session{s.look, s.act, s.hand, s.lanes[taskReadOnly], s.lanes[taskGuard], s.lanes[taskAdmit], s.lanes[taskSeal], s.lanes[taskProbe], s.lanes[nudgeNames[0]]}
}

// turnOf has f run while no other reading or act does. When ctx ends before f does, f goes on, within its own bound.
func (s *Server) turnOf(ctx context.Context, bound time.Duration, f func(context.Context) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.ctx.Err() != nil {
		<-s.turn
		return s.ctx.Err()
	}
	done := make(chan error, 1)
	inner, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	closing := context.AfterFunc(s.ctx, cancel) //nolint:contextcheck // it only ends f
	s.work.Go(func() {
		defer func() { <-s.turn }()
		defer cancel()
		defer closing()
		done <- f(inner)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// name is who this server is under a record.
func (s *Server) name(uuid string, r durability.Record) string {
	if r.Policy == durability.Fast && s.cfg.Machine != "" {
		return uuid + "@" + s.cfg.Machine
	}
	return uuid
}

// identity is name; but of a server whose data is being replaced it is the one that it was before: so long as that has not come to its end there is no
// new one.
func (s *Server) identity(uuid string, r durability.Record) string {
	if old := s.cfg.Clones.replaced(); old != "" {
		uuid = old
	}
	return s.name(uuid, r)
}

// learn has the memory be of a record: a seal that was begun under another does not count, and who is not the primary any more has sealed nothing.
func (s *Server) learn(r durability.Record, server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory.epoch != r.Epoch {
		s.memory.epoch = r.Epoch
	}
	switch failover.Assign(s.cfg.Instance, server, r).Role {
	case failover.RolePrimary, failover.RoleQuiesced:
	default:
		s.memory.seal, s.memory.proven = failover.Seal{}, false
	}
}

// forget drops what was remembered: mysqld may have been started anew.
func (s *Server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = memory{serial: s.memory.serial + 1, terms: s.memory.terms + 1, epoch: s.memory.epoch}
	s.probed, s.tried, s.begun = time.Time{}, time.Time{}, time.Time{}
}

func (s *Server) remembered() memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory
}

func (s *Server) remember(change func(m *memory)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.memory)
}
