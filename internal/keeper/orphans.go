package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/protocol"
)

// sweep looks for containers and volumes of this deployment that no instance owns.
func (k *Keeper) sweep(ctx context.Context) error {
	tick := time.NewTicker(k.cfg.OrphanGrace / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		for host := range k.view.alive() {
			if err := k.sweepHost(ctx, host); err != nil && ctx.Err() == nil {
				k.log.Warn("looking for orphans", "op", "sweep", "host", host, "error", err)
			}
		}
	}
}

// sweepHost removes a host's orphan containers that are older than the grace period. Volumes are kept and reported: deleting an instance
// takes its volume along, so one that is left without a row may be all that remains after metadata was lost.
func (k *Keeper) sweepHost(ctx context.Context, host string) error {
	var inv protocol.Inventory
	if err := k.host(ctx, host, protocol.KindInventory, struct{}{}, &inv); err != nil {
		return err
	}
	for _, c := range inv.Containers {
		gone, err := k.orphan(ctx, c.Instance, c.Created)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		k.log.Warn("removing an orphan container; its volume is kept", "op", "sweep", "host", host, "instance", c.Instance)
		if err := k.host(ctx, host, protocol.KindRemove, protocol.RemoveRequest{Term: k.term, Instance: c.Instance, Grace: time.Minute}, nil); err != nil {
			return err
		}
		if err := k.revoke(ctx, c.Instance); err != nil {
			return err
		}
	}
	for _, v := range inv.Volumes {
		gone, err := k.orphan(ctx, v.Instance, v.Created)
		if err != nil {
			return err
		}
		if gone {
			k.log.Warn("a volume belongs to no instance; it is kept (huker doctor tells how to remove it)", "op", "sweep", "host", host, "instance", v.Instance)
		}
	}
	return nil
}

func (k *Keeper) orphan(ctx context.Context, instance string, made time.Time) (bool, error) {
	if instance == "" || k.now().Sub(made) < k.cfg.OrphanGrace {
		return false, nil
	}
	err := k.e.Store.View(ctx, func(tx metastore.Tx) error {
		_, err := tx.Instances().Get(ctx, instance)
		return err
	})
	if errors.Is(err, metastore.ErrNotFound) {
		return true, nil
	}
	return false, err
}
