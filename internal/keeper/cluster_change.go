package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Fault points of changes to a cluster's members.
const (
	PointReplaced  fault.Point = "keeper.cluster.replaced"
	PointRestarts  fault.Point = "keeper.cluster.restarts"
	PointDetaching fault.Point = "keeper.cluster.detached"
)

// replaceAfter is how long a member's host may be silent before another member is made elsewhere. It is more than a reboot takes: a clone of a large
// database costs more than to wait for it.
const replaceAfter = 5 * time.Minute

// rollTimeout bounds the switchover of a rolling restart. It is tried again.
const rollTimeout = 30 * time.Second

// tend does what has no hurry, while nothing is the matter with the primary: members that have left are let go, lost ones replaced, and those that are to be
// restarted are, one at a time. again says that rows were changed.
func (k *Keeper) tend(ctx context.Context, c *cluster, o failover.Observation, row model.Cluster, members []model.Instance) (again bool, err error) {
	if o.Record.Intent != nil {
		return false, nil
	}
	for i := range members {
		m := &members[i]
		switch {
		case m.Detaching && k.held(m) == "":
			return true, k.detach(ctx, c, m.ID)
		case k.lost(o, m):
			return true, k.replace(ctx, c, m.ID)
		}
	}
	return k.roll(ctx, c, row, members)
}

// detach has an instance be alone: it keeps what it has. Its generation is raised, so that its host tells its agent.
func (k *Keeper) detach(ctx context.Context, c *cluster, id string) error {
	err := k.change(ctx, id, func(i *model.Instance) (string, string) {
		if !i.Detaching {
			return "", ""
		}
		i.ClusterID, i.Detaching, i.Role, i.Generation = "", false, "", i.Generation+1
		i.Status, i.OperatingStatus = model.StatusDetach, model.OperatingBusy // until it is open, on its own
		return "instance.detached", "it has left its cluster, with its data"
	})
	c.outdated()
	if err != nil {
		return fmt.Errorf("detaching %s: %w", id, err)
	}
	k.clusters.leave(id)
	k.queue.add(id)
	fault.Pass(ctx, PointDetaching)
	return nil
}

// lost says whether a member is to be replaced: its host has been silent for long, and the cluster goes on without it.
func (k *Keeper) lost(o failover.Observation, m *model.Instance) bool {
	i := slices.IndexFunc(o.Instances, func(in failover.Instance) bool { return in.ID == m.ID })
	if i < 0 || m.Desired == model.DesiredDeleted || m.HostID == "" || o.Instances[i].Host.Alive || m.ID == o.Record.Source() {
		return false
	}
	heard := o.Since
	for _, t := range []time.Time{o.Instances[i].Seen, o.Instances[i].Heard} {
		if t.After(heard) {
			heard = t
		}
	}
	return o.Now.Sub(heard) > replaceAfter && !slices.Contains(o.Record.Members, m.ID)
}

// replace has another member be made in a lost one's place. What is left of that one is removed when its host is back.
func (k *Keeper) replace(ctx context.Context, c *cluster, id string) error {
	err := k.update(ctx, func(tx metastore.Tx) error {
		was, err := tx.Instances().Get(ctx, id)
		if errors.Is(err, metastore.ErrNotFound) || was.Desired == model.DesiredDeleted {
			return nil
		}
		if err != nil {
			return err
		}
		now := k.now().UTC()
		next := was
		next.ID = uuid.NewString()
		next.HostID, next.Address, next.Role, next.Fault, next.Bootstrap = "", "", "", nil, nil
		next.Status, next.OperatingStatus, next.Generation, next.ObservedGeneration = model.StatusBuild, model.OperatingBusy, 1, 0
		next.Created, next.Updated, next.ServiceStatusUpdated, next.Version, next.VolumeUsedBytes = now, now, now, 0, 0
		if err := tx.Instances().Create(ctx, &next); err != nil {
			return err
		}
		was.Desired, was.ForceDelete, was.Generation, was.Updated = model.DesiredDeleted, true, was.Generation+1, now
		if err := tx.Instances().Update(ctx, &was); err != nil {
			return err
		}
		text := fmt.Sprintf("host %s has been silent for more than %s: %s takes the place of %s", was.HostID, replaceAfter, next.ID, was.ID)
		return tx.Events().Append(ctx, &model.Event{ProjectID: was.ProjectID, InstanceID: c.id, Time: now, Kind: "cluster.member.replaced", Message: text})
	})
	c.outdated()
	if err != nil {
		return fmt.Errorf("replacing %s: %w", id, err)
	}
	fault.Pass(ctx, PointReplaced)
	return nil
}

// roll restarts members one after the other, the primary last: after it has handed over. A member's own count of restarts is set to the cluster's, so it
// shows who is left.
func (k *Keeper) roll(ctx context.Context, c *cluster, row model.Cluster, members []model.Instance) (again bool, err error) {
	if row.RestartSerial <= row.ObservedRestart {
		return false, nil
	}
	next, busy := toRestart(row, members, k.primaryOf(c))
	switch {
	case busy || next == "" && !c.calm:
		return false, nil
	case next == "" && len(restartsLeft(row, members)) > 0:
		return false, nil // the primary, which hands over first: want sees to that
	case next == "":
		err = k.changeCluster(ctx, c.id, func(now *model.Cluster) (string, string) {
			now.ObservedRestart = row.RestartSerial
			return "cluster.restarted", "all members were restarted, one after the other"
		})
	case c.calm:
		err = k.change(ctx, next, func(i *model.Instance) (string, string) {
			i.RestartSerial = max(i.RestartSerial, row.RestartSerial)
			return "instance.restart.requested", "its cluster is restarted, one member after the other"
		})
		k.queue.add(next)
	default:
		return false, nil
	}
	c.outdated()
	if err != nil {
		return false, fmt.Errorf("restarting one after the other: %w", err)
	}
	fault.Pass(ctx, PointRestarts)
	return true, nil
}

func (k *Keeper) primaryOf(c *cluster) string {
	r, _ := k.view.record(c.id)
	return r.Primary
}

// restartsLeft are the members that have still to be restarted.
func restartsLeft(row model.Cluster, members []model.Instance) []string {
	var left []string
	for i := range members {
		if m := &members[i]; m.Desired != model.DesiredDeleted && m.RestartSerial < row.RestartSerial {
			left = append(left, m.ID)
		}
	}
	return left
}

// toRestart is the member whose turn it is: never the primary, unless it is alone. busy says that one is being restarted.
func toRestart(row model.Cluster, members []model.Instance, primary string) (next string, busy bool) {
	for i := range members {
		m := &members[i]
		if m.RestartSerial > m.ObservedRestart {
			return "", true
		}
	}
	left := restartsLeft(row, members)
	for _, id := range left {
		if id != primary || len(members) == 1 {
			return id, false
		}
	}
	return "", false
}

// rolls adds the switchover that a rolling restart needs: when the primary alone is left.
func (k *Keeper) rolls(o *failover.Observation, row model.Cluster, members []model.Instance) {
	left := restartsLeft(row, members)
	_, busy := toRestart(row, members, o.Record.Primary)
	if row.RestartSerial > row.ObservedRestart && !busy && len(members) > 1 && slices.Equal(left, []string{o.Record.Primary}) && o.Want.Switchover == nil {
		if to := successor(o); to != "" {
			o.Want.Switchover = &failover.Switchover{To: to, Deadline: o.Now.Add(rollTimeout)}
		}
	}
}

// part of a record that an instance has.
func partOf(r durability.Record, id string) bool {
	return r.Primary == id || r.Source() == id || slices.Contains(r.Members, id) || slices.Contains(r.Learners, id) || slices.Contains(r.Ackers(), id)
}
