package sysmgr

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// backoff says when an instance's container may be started again, so that one that dies at once does not eat the host.
type backoff struct {
	failures int
	next     time.Time
}

// Bounds of the pause before a container that keeps dying is started again. The first restart is at once.
const (
	minRestartPause = 500 * time.Millisecond
	maxRestartPause = 30 * time.Second
	// restartForgiven is how long a container must have run for its earlier deaths to be forgotten.
	restartForgiven = 30 * time.Second
)

// watch starts what should run and does not: at once on an event, and at every resync.
func (h *Host) watch(ctx context.Context) error {
	events, err := h.engine.Events(ctx)
	if err != nil {
		return fmt.Errorf("listening to the container runtime: %w", err)
	}
	h.resync(ctx)
	tick := time.NewTicker(h.cfg.Resync)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			h.resync(ctx)
			h.sweep(now)
		case e, ok := <-events:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("the container runtime's events ended")
			}
			if e.Kind == runtime.EventResync {
				h.resync(ctx)
				continue
			}
			if id := e.Labels[InstanceLabel]; id != "" && e.Kind != runtime.EventOOM {
				go h.keep(ctx, id)
			}
		}
	}
}

// resync looks at every instance that this host knows. The firewall's rules of all of them come first, in one step.
func (h *Host) resync(ctx context.Context) {
	ids, err := h.instances()
	if err != nil {
		h.log.Error("resync", "op", "resync", "error", err)
		return
	}
	if err := h.rejoin(ctx); err != nil && ctx.Err() == nil {
		h.log.Error("taking the host's place", "op", "resync", "error", err)
	}
	if err := h.restoreAccess(ctx, ids); err != nil {
		h.log.Error("restoring the firewall", "op", "resync", "error", err)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, serveConcurrency)
	for _, id := range ids {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			h.keep(ctx, id)
		}()
	}
	wg.Wait()
}

// restoreAccess sets the rules of all remembered instances again, whether or not somebody flushed them.
func (h *Host) restoreAccess(ctx context.Context, ids []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if _, ok := h.access[id]; ok {
			continue
		}
		r, ok, err := h.recall(id)
		if err != nil {
			return err
		}
		if ok {
			h.access[id] = network.Access{Address: r.Address, Public: r.Access.IsPublic, AllowedCIDRs: r.Access.AllowedCIDRs}
		}
	}
	return h.firewall.Set(ctx, accessList(h.access))
}

// keep has an instance's container be as last asked, and tells what it is like.
func (h *Host) keep(ctx context.Context, instance string) {
	defer h.locks.lock(instance)()
	r, ok, err := h.recall(instance)
	if err != nil {
		h.log.Error("keeping an instance", "op", "keep", "instance", instance, "error", err)
		return
	}
	if !ok {
		return
	}
	if err := h.renewAgent(&r); err != nil {
		h.log.Error("handing out a newer agent", "op", "keep", "instance", instance, "error", err)
	}
	state, err := h.engine.Inspect(ctx, h.containerName(instance))
	if err == nil && state.Phase == runtime.PhaseRunning && state.Limits == limitsOf(r) {
		h.publish(ctx, h.status(ctx, instance, nil))
		return
	}
	if errors.Is(err, runtime.ErrUnavailable) || ctx.Err() != nil {
		return // the engine's return is an event
	}
	pause := h.pause(instance, state)
	if pause > 0 {
		h.publish(ctx, h.status(ctx, instance, nil))
		time.AfterFunc(pause, func() { // an event may come first; then there is nothing left to do
			if ctx.Err() == nil {
				h.keep(ctx, instance)
			}
		})
		return
	}
	err = h.bring(ctx, r, false)
	if err != nil && ctx.Err() == nil {
		h.log.Error("bringing an instance back", "op", "keep", "instance", instance, "error", err)
	}
	if ctx.Err() == nil {
		h.publish(ctx, h.status(ctx, instance, explain(err)))
	}
}

// renewAgent names this host's agent in the guest's configuration, where the running one sees it and has itself replaced; mysqld goes on.
func (h *Host) renewAgent(r *protocol.EnsureRequest) error {
	if r.Guest.Agent == h.cfg.Agent {
		return nil
	}
	r.Guest.Agent = h.cfg.Agent
	if err := h.writeGuest(*r); err != nil {
		return err
	}
	return h.remember(*r)
}

// pause says how long to wait before a dead container is started again, and counts the attempt when the answer is zero.
func (h *Host) pause(instance string, s runtime.State) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	b := h.restarts[instance]
	if b == nil || (!s.Finished.IsZero() && s.Finished.Sub(s.Started) > restartForgiven) {
		b = &backoff{}
		h.restarts[instance] = b
	}
	if now.Before(b.next) {
		return b.next.Sub(now)
	}
	pause := min(minRestartPause<<min(b.failures, 10), maxRestartPause)
	b.failures++
	b.next = now.Add(pause)
	return 0
}
