package sysmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// settled publishes the status of an instance that is as asked for.
func (h *Host) settled(ctx context.Context, r protocol.EnsureRequest) (protocol.ContainerStatus, error) {
	h.mu.Lock()
	h.backoffOf(r.Instance).trouble = nil
	h.effect[r.Instance] = r.Generation
	h.mu.Unlock()
	deaths := h.locks.of(r.Instance).deaths.Load()
	s, err := h.status(ctx, r, nil)
	if err == nil {
		h.publish(ctx, s, deaths)
	}
	return s, err
}

// failed publishes why an instance is not as asked for. That the engine does not answer says nothing about the instance, and an image
// that is on its way is no fault: its user would be told that the instance is in ERROR.
func (h *Host) failed(ctx context.Context, r protocol.EnsureRequest, trouble error) {
	if errors.Is(trouble, runtime.ErrUnavailable) {
		return
	}
	var c *codedError
	if errors.As(trouble, &c) && c.code == protocol.CodeFetching {
		trouble = nil
	}
	h.mu.Lock()
	h.backoffOf(r.Instance).trouble = trouble
	h.mu.Unlock()
	h.tell(ctx, r, trouble)
}

func (h *Host) tell(ctx context.Context, r protocol.EnsureRequest, trouble error) {
	deaths := h.locks.of(r.Instance).deaths.Load()
	if s, err := h.status(ctx, r, trouble); err == nil {
		h.publish(ctx, s, deaths)
	}
}

// fell notes that a container has ended.
func (h *Host) fell(instance string, at time.Time) {
	t := h.locks.of(instance)
	t.deaths.Add(1)
	t.fallen.Store(&at)
}

// tellFallen says that a container has ended, if nobody has yet, though Docker may have started it again by now: what was in it is gone, and nodekeeper may go by what
// it said until its session has run out. The engine is not asked: Docker does not answer for a container while it starts it again, and somebody has to take its place
// meanwhile. What is told already may be of its next run.
func (h *Host) tellFallen(ctx context.Context, instance string) {
	t := h.locks.of(instance)
	t.telling.Lock()
	defer t.telling.Unlock()
	at := t.fallen.Swap(nil)
	if at == nil {
		return
	}
	h.mu.Lock()
	told := h.published[instance]
	h.mu.Unlock()
	var s protocol.ContainerStatus
	if json.Unmarshal([]byte(told), &s) == nil && s.Phase == string(runtime.PhaseRunning) && !s.Started.After(*at) {
		s.Phase = string(runtime.PhaseExited)
		h.put(ctx, s)
	}
}

// status is what nodekeeper is to know of an instance's container; trouble is why the last attempt failed. An error means that the
// engine does not tell, so that there is nothing to be said: the database may well be running.
func (h *Host) status(ctx context.Context, r protocol.EnsureRequest, trouble error) (protocol.ContainerStatus, error) {
	s := protocol.ContainerStatus{Instance: r.Instance, Phase: protocol.PhaseAbsent, Generation: r.Generation, Fenced: h.fenced(r.Instance)}
	state, err := h.engine.Inspect(ctx, h.containerName(r.Instance))
	switch {
	case err == nil:
		s = statusOf(state, s)
	case errors.Is(err, runtime.ErrNotFound):
	case errors.Is(err, runtime.ErrUnavailable) || ctx.Err() != nil:
		return s, explain(err)
	default:
		s.Error = explain(err).Error()
	}
	if trouble == nil {
		return s, nil
	}
	s.Error = trouble.Error()
	if state.Phase == runtime.PhaseRunning { // it runs as it was before
		h.mu.Lock()
		defer h.mu.Unlock()
		s.Generation = h.effect[r.Instance]
	}
	return s, nil
}

func statusOf(state runtime.State, s protocol.ContainerStatus) protocol.ContainerStatus {
	s.Phase = string(state.Phase)
	s.ExitCode = state.ExitCode
	s.OOM = state.OOM
	s.Error = state.Error
	s.Created = state.Created.UTC()
	s.Started = state.Started.UTC()
	return s
}

// publish tells a status that was read when the container had ended so many times. That it ran is not told any more when it has ended since: whoever looks after it then
// tells how it is.
func (h *Host) publish(ctx context.Context, s protocol.ContainerStatus, deaths int64) {
	t := h.locks.of(s.Instance)
	t.telling.Lock()
	defer t.telling.Unlock()
	if s.Phase == string(runtime.PhaseRunning) && t.deaths.Load() != deaths {
		return
	}
	h.put(ctx, s)
}

// put writes the status where nodekeeper watches, if it changed. A failure is made good by the next resync. The caller tells.
func (h *Host) put(ctx context.Context, s protocol.ContainerStatus) {
	data, err := json.Marshal(s)
	if err != nil {
		h.log.Error("encoding a container's status", "instance", s.Instance, "error", err)
		return
	}
	h.mu.Lock()
	same := h.published[s.Instance] == string(data)
	h.mu.Unlock()
	if same {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := h.store.Apply(ctx, coord.Put(protocol.HostContainerKey(h.cfg.Host, s.Instance), data, nil)); err != nil {
		h.log.Warn("publishing a container's status", "op", "publish", "instance", s.Instance, "error", err)
		return
	}
	h.mu.Lock()
	h.published[s.Instance] = string(data)
	h.mu.Unlock()
}

// forget takes an instance's status out of coordination. A removal is not done before: nobody would take it out later.
func (h *Host) forget(ctx context.Context, instance string) error {
	t := h.locks.of(instance)
	t.telling.Lock()
	defer t.telling.Unlock()
	if err := h.store.Apply(ctx, coord.Delete(protocol.HostContainerKey(h.cfg.Host, instance), 0)); err != nil {
		return fmt.Errorf("taking back the container's status: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.restarts[instance]; b != nil && b.timer != nil {
		b.timer.Stop()
	}
	delete(h.published, instance)
	delete(h.effect, instance)
	delete(h.restarts, instance)
	return nil
}

// inventory lists everything of this deployment on the host, asked for or not.
func (h *Host) inventory(ctx context.Context) (protocol.Inventory, error) {
	var inv protocol.Inventory
	role := map[string]string{RoleLabel: RoleDatabase}
	containers, err := h.engine.List(ctx, role)
	if err != nil {
		return inv, explain(err)
	}
	for _, c := range containers {
		inv.Containers = append(inv.Containers, statusOf(c, protocol.ContainerStatus{Instance: c.Labels[InstanceLabel]}))
	}
	volumes, err := h.engine.ListVolumes(ctx, role)
	if err != nil {
		return inv, explain(err)
	}
	for _, v := range volumes {
		inv.Volumes = append(inv.Volumes, protocol.VolumeStatus{Instance: v.Labels[InstanceLabel], Created: v.Created})
	}
	return inv, nil
}
