package agent

import (
	"context"
	"database/sql"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/internal/protocol"
)

// superviseLoop follows mysqld through the supervisor's eyes: each run of mysqld gets a tenure, which ends with it.
func (a *Agent) superviseLoop(ctx context.Context) {
	var (
		again  retry
		serial uint64
		held   control.Mysqld // the run that the tenure is of
		end    = func() {}    // ends it
		failed bool           // the last Watch
		came   = true         // this agent has not heard of mysqld before
	)
	defer func() { end() }()
	for ctx.Err() == nil {
		st, err := a.cfg.Supervisor.Watch(ctx, serial)
		if err != nil {
			// mysqld goes on as it is, and so does the tenure.
			if ctx.Err() == nil && !failed {
				a.log.Warn("the supervisor does not answer", "op", "supervise", "err", err)
			}
			failed = true
			again.wait(ctx)
			continue
		}
		failed, serial = false, st.Serial
		again.reset()
		m := st.Mysqld
		if held.Pid != 0 && sameRun(held, m) {
			a.observe(m, true)
			continue
		}
		end()
		held, end = control.Mysqld{}, func() {}
		if came && m.Phase == control.Running && a.roster.several() { // it may well be the primary: nothing is said of it before it was read
			a.status.update(func(now *protocol.GuestStatus) { a.outside(now, m) })
		} else {
			a.observe(m, false)
		}
		came = false
		if up(m) {
			held, end = m, a.beginTenure(ctx, m)
		}
		if m.Phase != control.Running {
			a.worksOnce.Do(func() { close(a.works) })
		}
	}
}

// up reports whether there is a process that clients could get into.
func up(m control.Mysqld) bool {
	return m.Pid > 0 && (m.Phase == control.Starting || m.Phase == control.Running)
}

func sameRun(a, b control.Mysqld) bool { return up(b) && a.Pid == b.Pid && a.Started.Equal(b.Started) }

// observe puts what the supervisor says into the status. While a tenure goes on, what the database is for its clients is the tenure's to say.
func (a *Agent) observe(m control.Mysqld, tenure bool) {
	if tenure {
		a.status.update(func(now *protocol.GuestStatus) {
			now.Mysqld.Pid, now.Mysqld.Crashes, now.Mysqld.LastExit = m.Pid, m.Crashes, m.LastExit
		})
		return
	}
	a.status.shut(func(now *protocol.GuestStatus) { a.outside(now, m) })
}

// outside is what is known of a run of mysqld without asking it.
func (a *Agent) outside(now *protocol.GuestStatus, m control.Mysqld) {
	now.Mysqld.Pid, now.Mysqld.Crashes, now.Mysqld.LastExit = m.Pid, m.Crashes, m.LastExit
	now.Part = a.absent(m)
	now.Mysqld.State, now.Mysqld.Since, now.Fault = string(m.Phase), m.Since, m.Reason
	if m.Phase == control.Running {
		now.Mysqld.State = protocol.MysqldStarting // it answers, but not for its clients yet
	}
	now.ConfigMemMB = m.MemoryMB
	if size, ok := a.done.size(m); ok {
		now.ConfigMemMB = size.MemoryMB
	}
}

// readyLoop tells the supervisor, once, that this agent works: it has the database in hand, or there is none to be had now. A binary that never
// says so is given up for the one before it.
func (a *Agent) readyLoop(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.works:
	}
	var again retry
	for {
		err := a.cfg.Supervisor.Ready(ctx)
		if err == nil {
			return
		}
		a.log.Warn("the supervisor was not told that the agent works", "op", "ready", "err", err)
		if !again.wait(ctx) {
			return
		}
	}
}

// beginTenure starts to look after one run of mysqld; the function that it returns ends that, and waits until it has ended.
func (a *Agent) beginTenure(ctx context.Context, m control.Mysqld) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.tenure(ctx, m)
	}()
	return func() { cancel(); <-done }
}

// tenure signs in as soon as mysqld lets it, and then holds the gate as the newest record wants it.
func (a *Agent) tenure(ctx context.Context, m control.Mysqld) {
	db, server := a.signIn(ctx)
	if server == nil {
		return // ctx has ended
	}
	defer func() { _ = db.Close() }()
	var p *player
	defer func() { p.close() }()
	defer a.status.unread()
	verify, look := time.NewTicker(verifyEvery), time.NewTicker(lookEvery)
	defer verify.Stop()
	defer look.Stop()
	var said string
	for {
		if p == nil && a.cfg.Part != nil && a.roster.several() {
			p = a.newPlayer(ctx, server, m)
		}
		if p != nil {
			a.status.read(func() { p.next = p.play(ctx) })
			if !a.until(ctx, p.next) {
				return
			}
			continue
		}
		var err error
		unguarded := false
		a.status.read(func() { unguarded, err = a.hold(ctx, server, m) })
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			a.log.Error("the database's role cannot be put into effect", "op", "gate", "err", err)
		case err == nil:
			said = ""
		}
		var soon <-chan time.Time
		if err != nil {
			soon = time.After(pollSlow)
		}
		for idle := true; idle; {
			idle = false
			select {
			case <-ctx.Done():
				return
			case <-a.recheck:
			case <-verify.C:
			case <-soon:
			case <-look.C:
				idle = !a.room.turned() && !unguarded
			}
		}
	}
}

// until waits for so long, or until something is to be looked at; false when ctx ends.
func (a *Agent) until(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-a.recheck:
	case <-t.C:
	}
	return ctx.Err() == nil
}

// signIn polls mysqld until it lets the agent in; nil when ctx ends before that.
func (a *Agent) signIn(ctx context.Context) (*sql.DB, *admin.Server) {
	var said string
	for {
		db, server, err := a.entry.come(ctx)
		if err == nil {
			return db, server
		}
		next := pollSocket
		if !admin.Absent(err) && ctx.Err() == nil { // it answers, but not as it should: no reason to hurry
			next = pollSlow
			if err.Error() != said {
				said = err.Error()
				a.log.Error("the agent cannot sign in", "op", "sign-in", "err", err)
			}
			a.status.shut(func(now *protocol.GuestStatus) { now.Fault = err.Error() })
		}
		if !pause(ctx, next) {
			return nil, nil
		}
	}
}

// hold compares the gate with the role that the newest record gives, and the room that is left, and changes it if they differ. Unguarded: clients have still
// to be kept from writing.
func (a *Agent) hold(ctx context.Context, server *admin.Server, m control.Mysqld) (unguarded bool, err error) {
	a.room.look()
	record, err := a.records.newest()
	r := decide(a.cfg.Guest.Instance, record)
	if err != nil {
		r = role{why: err.Error()}
	}
	st, err := a.put(ctx, server, r, m)
	if err != nil {
		if ctx.Err() == nil {
			a.status.shut(func(now *protocol.GuestStatus) {
				now.Mysqld.State, now.Fault = protocol.MysqldStarting, "the database does not follow: "+err.Error()
			})
		}
		return false, err
	}
	state, opened, notice := protocol.MysqldServing, server, a.room.notice(refusal(st.Guarded()))
	if !r.open {
		state, opened = protocol.MysqldLocked, nil
	}
	a.status.held(m.Started, opened, func(now *protocol.GuestStatus) {
		if now.Mysqld.State != state {
			now.Mysqld.State, now.Mysqld.Since = state, time.Now().UTC().Truncate(time.Millisecond)
		}
		now.Mysqld.Version, now.Mysqld.UUID, now.Fault, now.Notice = st.Version, st.UUID, r.why, notice
		if record != nil {
			now.Epoch = record.Epoch
		}
	})
	a.worksOnce.Do(func() { close(a.works) })
	return r.open && a.room.now.Low && !st.Guarded(), nil
}

// put has the gate be as the role wants it.
func (a *Agent) put(ctx context.Context, server *admin.Server, r role, m control.Mysqld) (admin.State, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := server.State(ctx)
	switch {
	case err != nil:
		return st, err
	case r.open && a.room.now.Low:
		if !st.Guarded() {
			return a.guard(ctx, server, st)
		}
	case r.open && !st.Open():
		if st, err = server.Open(ctx); err != nil {
			return st, err
		}
		a.log.Info("the database is open", "op", "gate.open", "epoch", a.records.epoch(), "pid", m.Pid, "after", time.Since(m.Started).Round(time.Millisecond).String())
		a.restoreLogs(ctx, server)
	case !r.open && !st.Locked():
		a.log.Warn("the database is locked", "op", "gate.lock", "why", r.why)
		return st, server.Lock(ctx)
	}
	return st, nil
}
