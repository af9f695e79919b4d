package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

const runningPhase = string(runtime.PhaseRunning)

// Fault points of clusters: after each thing that a step leaves behind.
const (
	PointFounded     fault.Point = "keeper.cluster.founded"
	PointSwapped     fault.Point = "keeper.cluster.swapped"
	PointRostered    fault.Point = "keeper.cluster.rostered"
	PointEndpointed  fault.Point = "keeper.cluster.endpointed"
	PointOrdered     fault.Point = "keeper.cluster.ordered"
	PointDissolved   fault.Point = "keeper.cluster.dissolved"
	PointClusterSeen fault.Point = "keeper.cluster.settled"
)

// Bounds of calls about clusters. An answer that comes later is worth nothing: who owes one counts as silent by then.
const (
	lookDeadline    = time.Second
	fenceDeadline   = 5 * time.Second
	rebuildDeadline = 5 * time.Second
	rebuildAgain    = 10 * time.Second // before the same rebuild is ordered once more
)

// carryOut does what was decided: the record first. Orders are not waited for, since each is decided again until it shows.
func (k *Keeper) carryOut(ctx context.Context, c *cluster, r storedRecord, o failover.Observation, d failover.Decision) (swapped bool, err error) {
	row, members, _ := c.rows()
	if s := d.Swap(); s != nil {
		if err := k.swap(ctx, c, r, o, *s, row, members); err != nil {
			return false, err
		}
		swapped = true
	}
	for i := range d.Steps {
		s := &d.Steps[i]
		switch s.Kind {
		case failover.StepSuspect, failover.StepStop, failover.StepQuiesce, failover.StepLead, failover.StepFollow, failover.StepDemote:
			for _, id := range s.Members {
				go k.lookAt(ctx, c, id, r.Record)
			}
		case failover.StepRebuild:
			k.rebuild(ctx, c, r.Record, *s)
		case failover.StepFence, failover.StepUnfence:
			for _, id := range s.Members {
				go k.fence(ctx, c, id, s.Kind == failover.StepFence)
			}
		default: // steps with Next are carried out, and waiting is no act
		}
	}
	return swapped, nil
}

// swap replaces the record by the next one, if it still is the one that the decision rests on; and the endpoint with it, so that nobody is led to a primary
// that the record does not name.
func (k *Keeper) swap(ctx context.Context, c *cluster, r storedRecord, o failover.Observation, s failover.Step, row model.Cluster, members []model.Instance) error {
	next := *s.Next
	text, err := next.Text()
	if err != nil {
		return fmt.Errorf("%s: %w", s.Kind, err) // a bug in the rules: better nothing than that
	}
	o.Record = next
	endpoint, changed, err := k.endpointOf(c, o, row, members)
	if err != nil {
		return err
	}
	ops := []coord.Op{coord.Update(protocol.RecordKey(c.id), text, r.revision)}
	if changed {
		ops = append(ops, coord.Put(protocol.EndpointKey(c.id), []byte(endpoint), nil))
	}
	err = k.e.Coord.Apply(ctx, ops...)
	lost := errors.Is(err, coord.ErrConflict)
	if err != nil && !lost {
		c.endpoint = ""                                    // not known
		return fmt.Errorf("replacing the record: %w", err) // it may have been done: what is there is read again
	}
	if changed && !lost {
		c.endpoint = endpoint
	}
	now, err := k.e.Coord.Get(ctx, protocol.RecordKey(c.id))
	if err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	k.view.setRecord(c.id, &now)
	if lost {
		k.log.Info("the record was replaced meanwhile", "op", "cluster.swap", "cluster", c.id, "step", s.Kind)
		return nil
	}
	k.log.Info("the record is replaced", "op", "cluster.swap", "cluster", c.id, "step", s.Kind, "epoch", next.Epoch, "primary", next.Primary, "members", next.Members,
		"min_acks", next.MinAcks, "reason", s.Reason)
	k.mark(c, o, s)
	fault.Pass(ctx, PointSwapped)
	return nil
}

// lookAt asks a guest how it is, and tells it the record.
func (k *Keeper) lookAt(ctx context.Context, c *cluster, instance string, r durability.Record) {
	if !k.view.look(instance) {
		return
	}
	var reply *protocol.GuestStatus
	defer func() {
		k.view.looked(instance, reply)
		k.clusterQueue.add(c.id)
	}()
	var s protocol.GuestStatus
	if err := k.guest(ctx, instance, protocol.KindLook, lookDeadline, protocol.LookRequest{Record: r}, &s); err != nil {
		k.log.Debug("a guest does not say how it is", "op", "cluster.look", "instance", instance, "error", err)
		return
	}
	reply = &s
	fault.Pass(ctx, PointOrdered)
}

// lookAround asks all members: the replicas first and the primary after them, so that a replica which is well does not seem to have what the primary lacks.
func (k *Keeper) lookAround(ctx context.Context, c *cluster, r durability.Record, members []model.Instance) {
	if !c.looking.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.looking.Store(false)
		var wg sync.WaitGroup
		for i := range members {
			if m := &members[i]; m.HostID != "" && m.ID != r.Primary {
				wg.Go(func() { k.lookAt(ctx, c, m.ID, r) })
			}
		}
		if r.Intent == nil { // else nothing is compared, and who was the primary may never answer
			wg.Wait()
		}
		if r.Primary != "" {
			k.lookAt(ctx, c, r.Primary, r)
		}
		wg.Wait()
		pause(ctx, restless)
	}()
}

// rebuild orders a rebuild, and not again for a while: it takes its time to show.
func (k *Keeper) rebuild(ctx context.Context, c *cluster, r durability.Record, s failover.Step) {
	for _, id := range s.Members {
		if k.now().Sub(c.rebuilding[id]) < rebuildAgain {
			continue
		}
		c.rebuilding[id] = k.now()
		k.log.Info("a member is rebuilt", "op", "cluster.rebuild", "cluster", c.id, "instance", id, "donor", s.Donor, "reason", s.Reason)
		go func() {
			request := protocol.RebuildRequest{Epoch: r.Epoch, Server: s.Server, Donor: s.Donor}
			if err := k.guest(ctx, id, protocol.KindRebuild, rebuildDeadline, request, nil); err != nil {
				k.log.Warn("a member cannot be rebuilt now", "op", "cluster.rebuild", "cluster", c.id, "instance", id, "error", err)
			}
		}()
	}
}

// fence has a member's host keep clients and replicas from it, or let them in again.
func (k *Keeper) fence(ctx context.Context, c *cluster, instance string, fenced bool) {
	_, members, _ := c.rows()
	i := slices.IndexFunc(members, func(m model.Instance) bool { return m.ID == instance })
	if i < 0 || members[i].HostID == "" {
		return
	}
	if _, under := c.fencing.LoadOrStore(instance, true); under {
		return
	}
	defer c.fencing.Delete(instance)
	ctx, cancel := context.WithTimeout(ctx, fenceDeadline)
	defer cancel()
	err := k.host(ctx, members[i].HostID, protocol.KindFence, protocol.FenceRequest{Term: k.term, Instance: instance, Fenced: fenced}, nil)
	if err != nil {
		k.log.Warn("a member cannot be fenced, or let in again", "op", "cluster.fence", "cluster", c.id, "instance", instance, "fenced", fenced, "error", err)
		return
	}
	k.log.Info("a member is fenced, or let in again", "op", "cluster.fence", "cluster", c.id, "instance", instance, "fenced", fenced)
}

// guest calls a guest's agent.
func (k *Keeper) guest(ctx context.Context, instance, kind string, within time.Duration, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, err := k.e.Bus.Call(ctx, protocol.GuestQueue(instance), bus.Message{ID: uuid.NewString(), Kind: kind, Body: body})
	if err != nil {
		return fmt.Errorf("%s of %s: %w", kind, instance, err)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", kind, err)
	}
	return nil
}
