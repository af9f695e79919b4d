package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/protocol"
)

// Part is mysqld as a member of a cluster; *replication.Server is one. It is of one run of mysqld. Nothing of it waits for longer than its ctx.
type Part interface {
	// Status reads how the server does its part, in the order that failover.Status asks for.
	Status(ctx context.Context, r durability.Record, peers map[string]protocol.Member) (failover.Status, error)
	// Do does one act. What may take for ever it begins, and Status shows when it is done.
	Do(ctx context.Context, r durability.Record, a failover.Act, peers map[string]protocol.Member) error
	// Lag is how far a replica is behind; negative: not known.
	Lag(ctx context.Context) time.Duration
	// Clone replaces the server's data by the donor's, however long that takes; mysqld ends with it.
	Clone(ctx context.Context, donor string, peers map[string]protocol.Member) error
	// Close ends what was begun.
	Close()
}

// Times of a member.
const (
	lookEvery = 250 * time.Millisecond // how a server does its part, when nothing happened
	lookSoon  = 5 * time.Millisecond   // while something is under way
	readMost  = 1500 * time.Millisecond
	actMost   = 5 * time.Second
	// A receiver that cannot connect tries again after a second at the soonest, and a new primary lets it in a few milliseconds after it was first
	// asked. So it is started anew, after a wait that grows; one that is not known to have failed is given time to connect.
	nudgeFirst = 20 * time.Millisecond
	nudgeBlind = 300 * time.Millisecond
	nudgeMost  = time.Second
	reopens    = 3 * time.Second // cloning is tried again
)

// player has one run of mysqld do its part.
type player struct {
	*Agent
	part   Part
	db     *sql.DB // of part alone
	server *admin.Server
	m      control.Mysqld

	next    time.Duration // to the next look
	last    failover.ActKind
	nudge   time.Duration
	nudged  time.Time
	cloning chan error // nil: no clone is under way
	failed  time.Time  // of the last clone
}

// newPlayer takes a run of mysqld into a cluster; nil where that cannot be done now.
func (a *Agent) newPlayer(ctx context.Context, server *admin.Server, m control.Mysqld) *player {
	db, err := a.entry.sessions(ctx, a.cfg.PartSessions)
	if err != nil {
		a.log.Warn("the sessions for a cluster cannot be opened", "op", "part", "err", err)
		return nil
	}
	part, err := a.cfg.Part(db, m)
	if err != nil {
		a.log.Error("this server cannot be part of a cluster", "op", "part", "err", err)
		_ = db.Close()
		return nil
	}
	return &player{Agent: a, part: part, db: db, server: server, m: m}
}

func (p *player) close() {
	if p != nil {
		p.part.Close()
		_ = p.db.Close()
	}
}

// play looks at the server, does what the record asks next, and says when to look again.
func (p *player) play(ctx context.Context) time.Duration {
	record, err := p.records.newest()
	if err != nil || record == nil {
		why := "the role of this database is not known: coordination has not been reached"
		if err != nil {
			why = err.Error()
		}
		p.status.shut(func(now *protocol.GuestStatus) { now.Mysqld.State, now.Fault = protocol.MysqldLocked, why })
		return lookEvery
	}
	s, lag, err := p.read(ctx, *record)
	if ctx.Err() != nil {
		return lookEvery
	}
	if err != nil {
		p.unread(*record, err)
		return lookEvery
	}
	if under, before := p.rebuild(ctx, &s); under {
		p.tell(*record, s, lag, "its data is being replaced")
		if before.Kind == failover.ActNone {
			return lookEvery
		}
		return p.do(ctx, *record, s, before)
	}
	act := failover.Conduct(p.cfg.Guest.Instance, *record, s)
	p.tell(*record, s, lag, p.why(*record, s, act))
	return p.do(ctx, *record, s, act)
}

func (p *player) read(ctx context.Context, r durability.Record) (failover.Status, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, readMost)
	defer cancel()
	s, err := p.part.Status(ctx, r, p.roster.peers())
	if err != nil {
		return s, -1, err
	}
	lag := time.Duration(-1)
	switch caughtUp := s.Executed.Contains(s.Retrieved); {
	case s.Receiver.State == failover.ReceiverStopped || r.Primary == p.cfg.Guest.Instance:
	case caughtUp && s.Receiver.State == failover.ReceiverRunning:
		lag = s.Receiver.HeardAgo
	default:
		lag = p.part.Lag(ctx)
	}
	s.Epoch, s.Room = r.Epoch, p.room.look()
	return s, lag, nil
}

// unread says of a server that runs and does not answer that it does not: a primary in that state is none.
func (p *player) unread(r durability.Record, err error) {
	fault := "mysqld does not answer: " + err.Error()
	p.status.shut(func(now *protocol.GuestStatus) {
		if now.Fault != fault { // it is asked many times a second
			p.log.Warn("mysqld does not say how it does its part", "op", "part.status", "err", err)
		}
		s := failover.Status{Epoch: r.Epoch, Server: p.identity(), Mysqld: failover.MysqldStarting}
		if now.Part != nil {
			s = *now.Part
			s.Epoch, s.Mysqld, s.MysqldFor = r.Epoch, failover.MysqldStarting, 0
		}
		now.Part = &s
		now.Mysqld.State, now.Fault = protocol.MysqldStarting, fault
	})
}

// tell puts what was read into the status. Who leads opens the door for calls, and so does a replica, which changes nothing by itself.
func (p *player) tell(r durability.Record, s failover.Status, lag time.Duration, why string) {
	duty := failover.Assign(p.cfg.Guest.Instance, s.Server, r)
	serves := s.Open() && duty.Role == failover.RolePrimary ||
		!s.Offline && duty.Role == failover.RoleReplica && (s.Receiver.State != failover.ReceiverStopped || s.Room.Low)
	state, server := protocol.MysqldLocked, (*admin.Server)(nil)
	if serves {
		state, server, why = protocol.MysqldServing, p.server, ""
	}
	notice := ""
	switch {
	case duty.Role == failover.RolePrimary:
		notice = p.room.notice(refusal(s.Guarded))
	case duty.Role == failover.RoleReplica && s.Room.Low:
		notice = p.room.notice(deafness)
	}
	p.status.held(p.m.Started, server, func(now *protocol.GuestStatus) {
		now.Notice = notice
		if now.Mysqld.State != state {
			now.Mysqld.State, now.Mysqld.Since = state, time.Now().UTC().Truncate(time.Millisecond)
		}
		uuid, _, _ := strings.Cut(s.Server, "@")
		now.Mysqld.UUID, now.Fault, now.Epoch, now.Part, now.Lag, now.Turning = uuid, why, r.Epoch, &s, lag, r.Intent != nil
	})
	p.worksOnce.Do(func() { close(p.works) })
}

// why says to its user why a database is shut.
func (p *player) why(r durability.Record, s failover.Status, act failover.Act) string {
	if d := failover.Assign(p.cfg.Guest.Instance, s.Server, r); d.Why != "" {
		return d.Why
	}
	why := fmt.Sprintf("at epoch %d: %s", r.Epoch, act.Kind)
	if act.Reason != "" {
		why += ": " + act.Reason
	}
	return why
}

// do does an act, and says when to look again.
func (p *player) do(ctx context.Context, r durability.Record, s failover.Status, act failover.Act) time.Duration {
	again := act.Kind == p.last // begun before, and still under way
	p.last = act.Kind
	ctx, cancel := context.WithTimeout(ctx, actMost)
	defer cancel()
	var err error
	switch act.Kind {
	case failover.ActNone:
		if err = p.nudgeReceiver(ctx, r, s); err == nil {
			return p.pace(r, s)
		}
	case failover.ActWait:
		return 4 * lookSoon
	case failover.ActRestart:
		p.log.Warn("mysqld is killed and started again", "op", "part.restart", "epoch", r.Epoch, "why", act.Reason)
		err = p.cfg.Supervisor.KillMysqld(ctx)
	default:
		err = p.part.Do(ctx, r, act, p.roster.peers())
		if !again {
			p.log.Info("an act", "op", "part.act", "act", string(act.Kind), "epoch", r.Epoch, "why", act.Reason)
		}
		if err == nil && act.Kind == failover.ActOpen {
			p.restoreLogs(ctx, p.server)
		}
	}
	if errors.Is(err, replication.ErrPending) {
		again, err = true, nil
	}
	switch {
	case err != nil:
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.log.Warn("an act failed", "op", "part.act", "act", string(act.Kind), "epoch", r.Epoch, "err", err)
		}
		return 10 * lookSoon
	case again && act.Kind == failover.ActGuard: // it takes as long as others' statements
		return 10 * lookSoon
	case again:
		return lookSoon
	}
	return 0
}

// pace is when to look again at a server that does its part. While the primary changes there is something to be seen of who takes over, and of who does not reach it yet;
// the others have told all that they have to, and every look is work for a machine that may have enough of it.
func (p *player) pace(r durability.Record, s failover.Status) time.Duration {
	switch {
	case r.Intent == nil:
		return lookEvery
	case r.Intent.To == "" || r.Intent.To == p.cfg.Guest.Instance:
		return lookSoon
	case s.Receiver.State == failover.ReceiverConnecting:
		return 2 * lookSoon
	}
	return 4 * lookSoon
}

// nudgeReceiver starts a receiver anew that has not come through to a primary that is about to open, and needs it for that. Nobody else is worth it: MySQL tries again
// every second, and a receiver that tries to connect to a container that is gone cannot be stopped for as long as that.
func (p *player) nudgeReceiver(ctx context.Context, r durability.Record, s failover.Status) error {
	now := time.Now()
	if s.Receiver.State != failover.ReceiverConnecting || r.Intent == nil {
		p.nudge = 0
		return nil
	}
	wait := p.nudge
	if !s.Receiver.Refused {
		wait = max(wait, nudgeBlind)
	}
	switch {
	case p.nudge == 0:
		p.nudge, p.nudged = nudgeFirst, now
		return nil
	case now.Sub(p.nudged) < wait || p.nudge > nudgeMost:
		return nil
	}
	p.nudge, p.nudged = 2*p.nudge, now
	if p.nudge > nudgeMost {
		p.nudge = nudgeMost
	}
	return p.part.Do(ctx, r, failover.Act{Kind: failover.ActStop}, p.roster.peers()) // what follows is to start it
}

// rebuildMark is an order that is on the volume from before data is touched until its copy is whole: with it, the data directory is nobody's.
type rebuildMark struct {
	Server string `json:"server"` // what is being replaced
	Donor  string `json:"donor"`
}

func (a *Agent) markPath() string { return filepath.Join(a.cfg.StateDir, "rebuild-order.json") }

// rebuild goes on with a rebuild that was begun, by this agent or one before it; under is false when there is none. before is what the server has to do first: the order
// may come while a former primary is on its way to a stop.
func (p *player) rebuild(ctx context.Context, s *failover.Status) (under bool, before failover.Act) {
	none := failover.Act{Kind: failover.ActNone}
	var mark rebuildMark
	found, err := readJSON(p.markPath(), &mark)
	switch {
	case err != nil:
		p.log.Error("it cannot be told whether the data is whole", "op", "rebuild", "err", err)
		s.Rebuilding = true
		return true, none
	case !found:
		return s.Rebuilding, none
	case s.Server != mark.Server && !s.Rebuilding && p.cloning == nil:
		if err := removeFile(p.markPath()); err != nil {
			p.log.Error("a rebuild that is over cannot be struck off", "op", "rebuild", "err", err)
			s.Rebuilding = true
			return true, none
		}
		p.log.Info("the data was replaced", "op", "rebuild", "server", s.Server, "donor", mark.Donor)
		return false, none
	}
	touched := s.Rebuilding || p.cloning != nil
	s.Rebuilding = true
	if act := failover.Retire(*s); !touched && act.Kind != failover.ActNone {
		return true, act
	}
	peers := p.roster.peers()
	if _, known := peers[mark.Donor]; p.cloning == nil && known && time.Since(p.failed) > reopens {
		p.cloning = make(chan error, 1)
		p.log.Info("the data is being replaced", "op", "rebuild", "donor", mark.Donor)
		go func() { p.cloning <- p.part.Clone(ctx, mark.Donor, peers) }()
	}
	select {
	case err := <-p.cloning:
		p.cloning, p.failed = nil, time.Now()
		if err != nil && ctx.Err() == nil {
			p.log.Error("a clone failed; it is tried again", "op", "rebuild", "err", err)
		}
	default:
	}
	return true, none
}

// orderRebuild takes the order to replace this server's data.
func (c call) orderRebuild(_ context.Context, r protocol.RebuildRequest) (any, error) {
	now := c.status.get()
	record, err := c.records.newest()
	if err != nil {
		return nil, err
	}
	switch {
	case record == nil || now.Part == nil || record.Epoch != r.Epoch:
		return nil, fail(admin.ErrNotReady, "this guest does not go by epoch %d", r.Epoch)
	case now.Part.Server != r.Server:
		return nil, fail(admin.ErrInvalid, "server %s was to be rebuilt, and this is %s", r.Server, now.Part.Server)
	case failover.Assign(c.cfg.Guest.Instance, r.Server, *record).Role != failover.RoleOutsider:
		return nil, fail(admin.ErrInvalid, "this server has a part in the cluster")
	}
	if _, known := c.roster.peers()[r.Donor]; !known {
		return nil, fail(admin.ErrNotReady, "the donor %s is not known here yet", r.Donor)
	}
	if err := writeJSON(c.markPath(), rebuildMark{Server: r.Server, Donor: r.Donor}); err != nil {
		return nil, err
	}
	c.wake()
	return nil, nil
}

// look goes by a newer record, if it is one, and gives a status that was read after the call came in.
func (c call) look(ctx context.Context, r protocol.LookRequest) (any, error) {
	if r.Record.Cluster != "" {
		c.records.offer(r.Record, "nodekeeper")
	}
	if err := c.status.reread(ctx, c.wake); err != nil {
		return nil, err
	}
	now, _, err := c.status.tell(ctx)
	return now, err
}

// absent is the part of a server that cannot be asked.
func (a *Agent) absent(m control.Mysqld) *failover.Status {
	if !a.roster.several() {
		return nil
	}
	s := failover.Status{Epoch: a.records.epoch(), Server: a.identity(), Mysqld: failover.MysqldDown}
	if m.Pid > 0 && slices.Contains([]control.Phase{control.Starting, control.Running}, m.Phase) {
		s.Mysqld, s.MysqldFor = failover.MysqldStarting, time.Since(m.Started)
	}
	return &s
}

// identity reads the server's UUID from its data directory; empty when there is none.
func (a *Agent) identity() string {
	b, err := os.ReadFile(filepath.Join(a.cfg.DataDir, "auto.cnf")) // #nosec G304 -- mysqld's own file
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if uuid, ok := strings.CutPrefix(strings.TrimSpace(line), "server-uuid="); ok {
			return uuid
		}
	}
	return ""
}
