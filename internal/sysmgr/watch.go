package sysmgr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// keepDeadline bounds what is done for one instance at a time: an engine that never answers for one container must not hold up the rest.
const keepDeadline = 2 * time.Minute

// watch starts what should run and does not: at once on an event, and at every resync. It waits for no work, because events must be
// acted on at once, whatever goes on elsewhere.
func (h *Host) watch(ctx context.Context) error {
	events, err := h.engine.Events(ctx)
	if err != nil {
		return fmt.Errorf("listening to the container runtime: %w", err)
	}
	again := make(chan struct{}, 1) // several reasons for a resync come to one
	resync := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	h.work.Go(func() { h.resyncs(ctx, again) })
	resync()
	tick := time.NewTicker(h.cfg.Resync)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			resync()
		case id := <-h.due:
			h.work.Go(func() { h.keep(ctx, id, nil) })
		case e, ok := <-events:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("the container runtime's events ended")
			}
			if e.Kind == runtime.EventResync {
				resync()
				continue
			}
			if id := e.Labels[InstanceLabel]; id != "" && e.Kind != runtime.EventOOM {
				if e.Kind == runtime.EventDied {
					h.fell(id, e.Time)
				}
				h.work.Go(func() {
					h.tellFallen(ctx, id) // whatever else goes on: the engine may not answer for whoever holds the lock
					h.keep(ctx, id, nil)
				})
			}
		}
	}
}

// resyncs makes one resync after the other, as they are asked for.
func (h *Host) resyncs(ctx context.Context, again <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			h.resync(ctx)
			h.sweep(time.Now())
		}
	}
}

// resync has every instance that this host knows be looked at. The firewall's rules of all of them come first, in one step.
func (h *Host) resync(ctx context.Context) {
	ids, err := h.instances()
	if err != nil {
		h.log.Error("resync", "op", "resync", "error", err)
		return
	}
	if err := h.rejoin(ctx); err != nil && ctx.Err() == nil {
		h.log.Error("taking the host's place", "op", "resync", "error", err)
	}
	if err := h.setFirewall(ctx); err != nil && ctx.Err() == nil {
		h.log.Error("restoring the firewall", "op", "resync", "error", err)
	}
	for _, id := range ids {
		h.work.Go(func() { h.keep(ctx, id, h.slots) })
	}
}

// keep has an instance's container be as last asked, and tells what it is like. It takes one of slots meanwhile; nil: there are enough.
func (h *Host) keep(ctx context.Context, instance string, slots chan struct{}) {
	t := h.locks.of(instance)
	if !t.queued.CompareAndSwap(false, true) {
		return // another one waits, and will see whatever this one would
	}
	unlock, err := h.locks.lock(ctx, instance)
	if err == nil {
		defer unlock()
	}
	if err == nil && slots != nil {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
		}
	}
	t.queued.Store(false) // from here on, what happens is for the next one
	if ctx.Err() == nil {
		h.keepLocked(ctx, instance)
	}
}

func (h *Host) keepLocked(parent context.Context, instance string) {
	ctx, cancel := context.WithTimeout(parent, keepDeadline)
	defer cancel()
	r, ok, err := h.recall(instance)
	if err != nil {
		h.log.Error("keeping an instance", "op", "keep", "instance", instance, "error", err)
		return
	}
	if !ok {
		return
	}
	h.tellFallen(ctx, instance)
	if err := h.renewAgent(&r); err != nil {
		h.log.Error("handing out a newer agent", "op", "keep", "instance", instance, "error", err)
	}
	state, err := h.engine.Inspect(ctx, h.containerName(instance))
	switch {
	case errors.Is(err, runtime.ErrUnavailable) || ctx.Err() != nil:
		return // the engine's return is an event
	case err == nil && state.Phase == runtime.PhaseRunning && state.Limits == limitsOf(r) && h.isAdmitted(r):
		_, _ = h.settled(ctx, r) // what cannot be told now is told at the next resync
		return
	}
	if err == nil && state.Phase != runtime.PhaseRunning {
		h.tell(ctx, r, nil) // at once: somebody may have to take its place, and need not wait for what is done here
	}
	if pause, trouble := h.pause(instance, state, parent.Done()); pause > 0 {
		h.tell(ctx, r, trouble)
		return
	}
	err = explain(h.bring(ctx, r, false))
	switch {
	case parent.Err() != nil:
	case err != nil:
		h.log.Error("bringing an instance back", "op", "keep", "instance", instance, "error", err)
		h.failed(ctx, r, err)
	default:
		_, _ = h.settled(ctx, r)
	}
}

// renewAgent names this host's agent in the guest's configuration, where the running one sees it and has itself replaced; mysqld goes on.
func (h *Host) renewAgent(r *protocol.EnsureRequest) error {
	agent := h.cfg.Programs.Agent()
	if agent == "" || r.Guest.Agent == agent {
		return nil
	}
	r.Guest.Agent = agent
	if err := h.writeGuest(*r); err != nil {
		return err
	}
	return h.remember(*r)
}
