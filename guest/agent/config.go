package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/huker/huker/internal/protocol"
)

// errMoved ends an agent whose guest belongs to another cluster than when it started: all that it knows is of that one. mysqld is not touched by it.
var errMoved = errors.New("the guest has left its cluster")

// configLoop follows the guest's configuration file, which sysmgr replaces: it may name a newer agent, or carry a newer record.
func (a *Agent) configLoop(ctx context.Context) {
	var seen time.Time
	for first := true; ctx.Err() == nil; first = false {
		if st, err := os.Stat(a.cfg.GuestFile); err == nil && (first || !st.ModTime().Equal(seen)) {
			if err := a.followConfig(ctx, first); err == nil {
				seen = st.ModTime()
			} else if ctx.Err() == nil {
				a.log.Warn("the guest's configuration cannot be followed", "op", "config", "err", err)
			}
		}
		if !pause(ctx, verifyEvery) {
			return
		}
	}
}

// followConfig has the supervisor replace this agent if the configuration names another one. A file that has not changed is no reason to try again
// what the supervisor has given up for this agent.
func (a *Agent) followConfig(ctx context.Context, unchanged bool) error {
	b, err := os.ReadFile(a.cfg.GuestFile)
	if err != nil {
		return err
	}
	var g protocol.GuestConfig
	if err := json.Unmarshal(b, &g); err != nil {
		return fmt.Errorf("%s: %w", a.cfg.GuestFile, err)
	}
	if g.Record.Cluster != a.cfg.Guest.Record.Cluster {
		a.log.Warn("this guest has left its cluster; the agent starts anew", "op", "config", "from", a.cfg.Guest.Record.Cluster, "to", g.Record.Cluster)
		a.leave(errMoved)
		return nil
	}
	a.records.offer(g.Record, "configuration")
	st, err := a.cfg.Supervisor.Watch(ctx, 0)
	if err != nil {
		return err
	}
	if g.Agent == "" || g.Agent == st.Agent.Binary || unchanged && st.Agent.Fault != "" {
		return nil
	}
	a.log.Info("another agent is to take over", "op", "replace", "from", st.Agent.Binary, "to", g.Agent)
	return a.cfg.Supervisor.ReplaceAgent(ctx)
}
