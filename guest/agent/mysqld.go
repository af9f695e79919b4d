package agent

import (
	"context"
	"fmt"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/protocol"
)

// Fault points of calls that touch mysqld as a whole.
const (
	pointRestartPending fault.Point = "agent.restart.pending"
	pointRestarted      fault.Point = "agent.restart.restarted" // it runs again, and that is not written down
	pointApplied        fault.Point = "agent.configure.applied"
)

// restart restarts mysqld once per serial, and returns when the database serves again (or is locked by its role).
func (c call) restart(ctx context.Context, r protocol.RestartRequest) (any, error) {
	c.serial.Lock()
	defer c.serial.Unlock()
	marks, err := c.done.restarts()
	if err != nil {
		return nil, fmt.Errorf("read the restarts that were carried out: %w", err)
	}
	if r.Serial <= marks.Done {
		return nil, nil
	}
	st, err := c.cfg.Supervisor.Watch(ctx, 0)
	if err != nil {
		return nil, err
	}
	// One that was begun, and whose mysqld is another one by now, was carried out.
	if marks.Pending != r.Serial || !up(st.Mysqld) || marks.Of.Equal(st.Mysqld.Started) {
		if err := c.done.keepRestarts(restartMarks{Done: marks.Done, Pending: r.Serial, Of: st.Mysqld.Started}); err != nil {
			return nil, err
		}
		fault.Pass(ctx, pointRestartPending)
		if err := c.cfg.Supervisor.RestartMysqld(ctx); err != nil {
			return nil, fmt.Errorf("restart: %w", err)
		}
		if st, err = c.cfg.Supervisor.Watch(ctx, 0); err != nil {
			return nil, err
		}
	}
	if err := c.status.holds(ctx, st.Mysqld.Started); err != nil {
		return nil, fmt.Errorf("restart: MySQL runs again, but does not serve yet: %w", err)
	}
	fault.Pass(ctx, pointRestarted)
	if err := c.done.keepRestarts(restartMarks{Done: r.Serial}); err != nil {
		return nil, err
	}
	c.status.update(func(now *protocol.GuestStatus) { now.RestartsDone = r.Serial })
	return nil, nil
}

// configure has the running mysqld take on a new size, as far as it can change while it runs. The configuration of its next start is
// made from guest.json, which carries the size too.
func (c call) configure(ctx context.Context, r protocol.ConfigureRequest) (any, error) {
	if r.MemoryMB <= 0 || r.CPUs < 0 || r.VolumeGB < 0 {
		return nil, fail(admin.ErrInvalid, "a guest needs memory")
	}
	c.serial.Lock()
	defer c.serial.Unlock()
	return c.inside(ctx, func(s *admin.Server) (any, error) {
		st, err := c.cfg.Supervisor.Watch(ctx, 0)
		if err != nil {
			return nil, err
		}
		now, err := s.State(ctx)
		if err != nil {
			return nil, err
		}
		settings, err := c.cfg.Settings(r, now.Granule)
		if err != nil {
			return nil, fail(admin.ErrInvalid, "no configuration fits this size: %v", err)
		}
		fixed, err := s.Apply(ctx, settings)
		if err != nil {
			return nil, err
		}
		if len(fixed) > 0 {
			c.log.Warn("settings wait for the next restart", "op", protocol.KindConfigure, "settings", fixed)
		}
		if err := s.Resized(ctx); err != nil {
			return nil, err
		}
		fault.Pass(ctx, pointApplied)
		if err := c.done.keepSize(st.Mysqld.Started, r); err != nil {
			return nil, err
		}
		c.status.update(func(now *protocol.GuestStatus) { now.ConfigMemMB = r.MemoryMB })
		reply := c.status.get()
		return reply, nil
	})
}

// rootEnable and rootDisable do not run at once: what one unlocks the other must not have locked meanwhile.
func (c call) rootEnable(ctx context.Context, r protocol.RootRequest) (any, error) {
	c.serial.Lock()
	defer c.serial.Unlock()
	return c.inside(ctx, func(s *admin.Server) (any, error) { return s.RootEnable(ctx, r) })
}

func (c call) rootDisable(ctx context.Context, _ nothing) (any, error) {
	c.serial.Lock()
	defer c.serial.Unlock()
	return c.inside(ctx, func(s *admin.Server) (any, error) { return nil, s.RootDisable(ctx) })
}

// logSet switches a log, and remembers it for mysqld's next starts.
func (c call) logSet(ctx context.Context, r protocol.LogSet) (any, error) {
	c.serial.Lock()
	defer c.serial.Unlock()
	return c.inside(ctx, func(s *admin.Server) (any, error) {
		l, err := s.LogSet(ctx, r)
		if err != nil || !(r.Enable || r.Disable) {
			return l, err
		}
		on, err := c.done.logs()
		if err != nil {
			on = map[string]bool{}
		}
		on[r.Name] = r.Enable
		return l, c.done.keepLogs(on)
	})
}

// restoreLogs switches logs as they were switched before mysqld was started anew. Without them the database serves all the same.
func (a *Agent) restoreLogs(ctx context.Context, server *admin.Server) {
	on, err := a.done.logs()
	if err != nil {
		a.log.Warn("which logs are on is not known", "op", "log.restore", "err", err)
		return
	}
	for name, enable := range on {
		if _, err := server.LogSet(ctx, protocol.LogSet{Name: name, Enable: enable, Disable: !enable}); err != nil {
			a.log.Warn("a log cannot be switched", "op", "log.restore", "log", name, "err", err)
		}
	}
}
