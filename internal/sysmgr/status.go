package sysmgr

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

func accessList(m map[string]network.Access) []network.Access {
	list := make([]network.Access, 0, len(m))
	for _, a := range m {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b network.Access) int { return strings.Compare(a.Address, b.Address) })
	return list
}

// status is what nodekeeper is to know of an instance's container; trouble is why the last attempt failed.
func (h *Host) status(ctx context.Context, instance string, trouble error) protocol.ContainerStatus {
	s := protocol.ContainerStatus{Instance: instance, Phase: protocol.PhaseAbsent}
	if r, ok, err := h.recall(instance); err == nil && ok {
		s.Generation = r.Generation
	}
	state, err := h.engine.Inspect(ctx, h.containerName(instance))
	switch {
	case err == nil:
		s = statusOf(state, s)
	case !errors.Is(err, runtime.ErrNotFound):
		s.Error = explain(err).Error()
	}
	if trouble != nil {
		s.Error = trouble.Error()
	}
	return s
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

// publish writes the status where nodekeeper watches, if it changed. A failure is made good by the next resync.
func (h *Host) publish(ctx context.Context, s protocol.ContainerStatus) {
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

// forget takes an instance's status out of coordination.
func (h *Host) forget(ctx context.Context, instance string) {
	if err := h.store.Apply(ctx, coord.Delete(protocol.HostContainerKey(h.cfg.Host, instance), 0)); err != nil {
		h.log.Warn("taking back a container's status", "op", "forget", "instance", instance, "error", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.published, instance)
	delete(h.restarts, instance)
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
