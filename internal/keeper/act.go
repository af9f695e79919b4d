package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"time"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/guestclient"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Fault points: after each thing that a step leaves behind.
const (
	PointPlaced     fault.Point = "keeper.create.placed"
	PointAdmitted   fault.Point = "keeper.create.admitted"
	PointEnsured    fault.Point = "keeper.ensure.done"
	PointPrepared   fault.Point = "keeper.create.prepared"
	PointConfigured fault.Point = "keeper.resize.configured"
	PointRestarted  fault.Point = "keeper.restart.done"
	PointSettled    fault.Point = "keeper.settled"
	PointRemoved    fault.Point = "keeper.delete.removed"
	PointExpelled   fault.Point = "keeper.delete.expelled"
	PointDropped    fault.Point = "keeper.delete.dropped"
)

// Points lists all fault points of this package.
func Points() []fault.Point {
	return []fault.Point{
		PointPlaced, PointAdmitted, PointEnsured, PointPrepared, PointConfigured, PointRestarted, PointSettled, PointRemoved,
		PointExpelled, PointDropped,
	}
}

// Bounds of calls to hosts and guests. What is not answered in time is asked for again: every call may be repeated.
const (
	hostDeadline    = time.Minute
	guestDeadline   = 30 * time.Second
	restartDeadline = 3 * time.Minute // mysqld's clean shutdown and start
)

// act takes a step; again says that it is worth deciding anew at once.
func (k *Keeper) act(ctx context.Context, o Observation, s Step) (again bool, err error) {
	switch s.Kind {
	case StepPlace:
		return true, k.place(ctx, o)
	case StepEnsure:
		return k.ensure(ctx, o)
	case StepPrepare:
		return true, k.prepare(ctx, o)
	case StepConfigure:
		return true, k.configure(ctx, o)
	case StepRestart:
		return true, k.restart(ctx, o)
	case StepSettle:
		return false, k.settle(ctx, o)
	case StepUnwell:
		return false, k.change(ctx, o.Instance.ID, func(i *model.Instance) (string, string) {
			i.OperatingStatus = model.OperatingShutdown
			i.ServiceStatusUpdated = k.now().UTC()
			return "instance.unwell", s.Reason
		})
	case StepFault:
		return false, k.fault(ctx, o.Instance.ID, s.Reason)
	case StepRemove:
		return true, k.remove(ctx, o)
	case StepGiveUp:
		return true, k.giveUp(ctx, o)
	case StepForget:
		return false, k.forget(ctx, o.Instance.ID)
	}
	return false, nil
}

// ensure has the host's sysmgr make the container, or change it.
func (k *Keeper) ensure(ctx context.Context, o Observation) (bool, error) {
	i := &o.Instance
	files, err := k.admit(ctx, i)
	if err != nil {
		return false, err
	}
	request := protocol.EnsureRequest{
		Term: k.term, Instance: i.ID, Generation: i.Generation, Sources: k.view.sources(i.HostID, o.Version.Image), Image: o.Version.Image, Address: i.Address,
		CPUs: o.Flavor.VCPUs, MemoryMB: o.Flavor.RAMMB, Access: i.Access, Files: files,
		Guest: k.guestConfig(o),
	}
	var reply protocol.EnsureReply
	err = k.host(ctx, i.HostID, protocol.KindEnsure, request, &reply)
	var called *bus.CallError
	switch {
	case errors.As(err, &called) && (called.Code == protocol.CodeUnavailable || called.Code == protocol.CodeFetching || called.Code == protocol.CodeTermOver):
		return false, err
	case errors.As(err, &called):
		// The user is told, and sysmgr and the next resync go on trying.
		return false, errors.Join(err, k.fault(ctx, i.ID, called.Message))
	case err != nil:
		return false, err
	}
	k.view.setContainer(i.HostID, i.ID, reply.Container)
	fault.Pass(ctx, PointEnsured)
	return true, nil
}

func (k *Keeper) guestConfig(o Observation) protocol.GuestConfig {
	i := &o.Instance
	return protocol.GuestConfig{
		Instance: i.ID, Deployment: k.cfg.Deployment, Engine: o.Version.Engine, Version: o.Version.Name,
		MemoryMB: o.Flavor.RAMMB, CPUs: o.Flavor.VCPUs, VolumeGB: i.VolumeGB, ServerID: serverID(i.Address),
		Coordination: k.cfg.Coordination, Bus: k.cfg.Bus, Principal: principal(i.ID),
		Record: firstRecord(i),
	}
}

// firstRecord is what an instance goes by until it hears of a newer one: alone, or, as a member, no part in anything.
func firstRecord(i *model.Instance) durability.Record {
	if i.ClusterID == "" || i.ClusterID == i.ID {
		return durability.Alone(i.ID)
	}
	return durability.Unborn(i.ClusterID)
}

func (k *Keeper) prepare(ctx context.Context, o Observation) error {
	guests, err := k.guests(guestDeadline)
	if err != nil {
		return err
	}
	err = guests.Prepare(ctx, o.Instance.ID, *o.Instance.Bootstrap)
	var called *bus.CallError
	if errors.As(err, &called) && (called.Code == protocol.CodeInvalid || called.Code == protocol.CodeExists) {
		return errors.Join(err, k.fault(ctx, o.Instance.ID, "making the first databases and users: "+called.Message))
	}
	if err != nil {
		return err
	}
	fault.Pass(ctx, PointPrepared)
	return k.change(ctx, o.Instance.ID, func(i *model.Instance) (string, string) {
		i.Bootstrap = nil
		return "", ""
	})
}

func (k *Keeper) configure(ctx context.Context, o Observation) error {
	guests, err := k.guests(guestDeadline)
	if err != nil {
		return err
	}
	status, err := guests.Configure(ctx, o.Instance.ID, protocol.ConfigureRequest{
		MemoryMB: o.Flavor.RAMMB, CPUs: o.Flavor.VCPUs, VolumeGB: o.Instance.VolumeGB,
	})
	if err != nil {
		return err
	}
	if status.ConfigMemMB != o.Flavor.RAMMB {
		return fmt.Errorf("the guest runs with %d MB after it was told %d", status.ConfigMemMB, o.Flavor.RAMMB)
	}
	k.view.setGuest(o.Instance.ID, status)
	fault.Pass(ctx, PointConfigured)
	return nil
}

func (k *Keeper) restart(ctx context.Context, o Observation) error {
	guests, err := k.guests(restartDeadline)
	if err != nil {
		return err
	}
	if err := guests.Restart(ctx, o.Instance.ID, o.Instance.RestartSerial); err != nil {
		return err
	}
	status, err := guests.Status(ctx, o.Instance.ID)
	if err != nil {
		return err
	}
	if status.RestartsDone < o.Instance.RestartSerial {
		return errors.New("the guest did not restart mysqld")
	}
	k.view.setGuest(o.Instance.ID, status)
	fault.Pass(ctx, PointRestarted)
	return nil
}

// settle writes down that what was asked for, as it was observed, is in effect. A newer request leaves the instance busy.
func (k *Keeper) settle(ctx context.Context, o Observation) error {
	err := k.change(ctx, o.Instance.ID, func(i *model.Instance) (string, string) {
		kind, message := "", ""
		if i.Status != model.StatusActive || i.OperatingStatus != model.OperatingHealthy {
			kind, message = "instance.active", "the database answers at "+i.Address+":3306"
		}
		notice := o.Guest.Notice
		i.ObservedGeneration = o.Instance.Generation
		i.ObservedRestart = o.Instance.RestartSerial
		i.VolumeUsedBytes = o.Guest.VolumeUsed
		i.ServiceStatusUpdated = k.now().UTC()
		if i.Desired == model.DesiredDeleted || i.Generation > o.Instance.Generation || i.RestartSerial > o.Instance.RestartSerial {
			return "", ""
		}
		i.Status, i.OperatingStatus = model.StatusActive, model.OperatingHealthy
		switch {
		case tells(i.Fault, notice):
		case notice != "":
			i.Fault = &model.Fault{Message: notice, Created: k.now().UTC()}
			return "instance.disk-full", notice
		default:
			i.Fault = nil
			if kind == "" {
				return "instance.disk-roomy", "there is room on its disk again"
			}
		}
		return kind, message
	})
	if err == nil {
		fault.Pass(ctx, PointSettled)
	}
	return err
}

// fault writes down why the instance is in ERROR.
func (k *Keeper) fault(ctx context.Context, id, reason string) error {
	return k.change(ctx, id, func(i *model.Instance) (string, string) {
		if i.Desired == model.DesiredDeleted || (i.Fault != nil && i.Fault.Message == reason && i.Status == model.StatusError) {
			return "", ""
		}
		i.Status, i.OperatingStatus = model.StatusError, model.OperatingError
		i.Fault = &model.Fault{Message: reason, Created: k.now().UTC()}
		i.ServiceStatusUpdated = k.now().UTC()
		return "instance.fault", reason
	})
}

// remove takes away everything but the row, which is what would find the rest again, and goes last.
func (k *Keeper) remove(ctx context.Context, o Observation) error {
	i := &o.Instance
	if err := k.host(ctx, i.HostID, protocol.KindRemove, protocol.RemoveRequest{Term: k.term, Instance: i.ID, Purge: true}, nil); err != nil {
		return err
	}
	fault.Pass(ctx, PointRemoved)
	if err := k.revoke(ctx, i.ID); err != nil {
		return err
	}
	return k.forget(ctx, i.ID)
}

// giveUp forgets an instance whose host is gone for good. What the host still has of it stays there.
func (k *Keeper) giveUp(ctx context.Context, o Observation) error {
	id := o.Instance.ID
	if err := k.revoke(ctx, id); err != nil {
		return err
	}
	return k.update(ctx, func(tx metastore.Tx) error {
		h, err := tx.Hosts().Get(ctx, o.Instance.HostID)
		if err != nil {
			return err
		}
		if !h.Removed {
			return fmt.Errorf("host %s is not removed", h.ID)
		}
		return tx.Instances().Delete(ctx, id)
	})
}

// revoke takes back an instance's credentials, and its queue and keys with them.
func (k *Keeper) revoke(ctx context.Context, id string) error {
	if err := k.expel(ctx, principal(id), protocol.GuestQueue(id), protocol.GuestPrefix(id)); err != nil {
		return fmt.Errorf("expelling the guest: %w", err)
	}
	k.view.forgetWord(id)
	fault.Pass(ctx, PointDropped)
	return nil
}

// expel takes back a guest's or a host's credentials, and its queue and keys with them.
func (k *Keeper) expel(ctx context.Context, principal, queue, prefix string) error {
	if err := errors.Join(k.e.Keys.Expel(ctx, principal), k.e.Queues.Expel(ctx, principal)); err != nil {
		return err
	}
	fault.Pass(ctx, PointExpelled)
	if err := k.e.Bus.Drop(ctx, queue); err != nil {
		return fmt.Errorf("dropping its queue: %w", err)
	}
	entries, err := k.e.Coord.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("listing its keys: %w", err)
	}
	ops := make([]coord.Op, 0, len(entries))
	for _, e := range entries {
		ops = append(ops, coord.Delete(e.Key, 0))
	}
	if len(ops) == 0 {
		return nil
	}
	if err := k.e.Coord.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("removing its keys: %w", err)
	}
	return nil
}

func (k *Keeper) forget(ctx context.Context, id string) error {
	return k.update(ctx, func(tx metastore.Tx) error { return tx.Instances().Delete(ctx, id) })
}

// host calls a host's sysmgr.
func (k *Keeper) host(ctx context.Context, host, kind string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, hostDeadline)
	defer cancel()
	answer, err := k.e.Bus.Call(ctx, protocol.HostQueue(host), bus.Message{ID: uuid.NewString(), Kind: kind, Body: body})
	if err != nil {
		return fmt.Errorf("%s on host %s: %w", kind, host, err)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", kind, err)
	}
	return nil
}

func (k *Keeper) guests(deadline time.Duration) (*guestclient.Client, error) {
	return guestclient.New(k.e.Bus, deadline)
}
