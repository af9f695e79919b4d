package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/protocol"
)

// dismissHost takes a removed host's rights back, and then its row, once nothing is on it any more: instances that are given up are found by it.
func (k *Keeper) dismissHost(ctx context.Context, id string, keys *sync.Mutex) error {
	var now bool
	err := k.e.Store.View(ctx, func(tx metastore.Tx) (err error) {
		now, err = removable(ctx, tx, id)
		return err
	})
	if err != nil || !now {
		return err
	}
	keys.Lock()
	err = k.expel(ctx, protocol.HostPrincipal(id), protocol.HostQueue(id), protocol.HostPrefix(id))
	keys.Unlock()
	if err != nil {
		return fmt.Errorf("expelling host %s: %w", id, err)
	}
	err = k.update(ctx, func(tx metastore.Tx) error {
		if now, err := removable(ctx, tx, id); err != nil || !now {
			return err
		}
		return tx.Hosts().Delete(ctx, id)
	})
	if err != nil {
		return fmt.Errorf("removing host %s: %w", id, err)
	}
	k.log.Info("host removed", "op", "hosts", "host", id)
	return nil
}

// removable says whether a host is to go and nothing is on it. What was read of it before may be of a former host of its name.
func removable(ctx context.Context, tx metastore.Tx, id string) (bool, error) {
	h, err := tx.Hosts().Get(ctx, id)
	if errors.Is(err, metastore.ErrNotFound) {
		return false, nil
	}
	if err != nil || !h.Removed {
		return false, err
	}
	left, err := tx.Instances().List(ctx, metastore.InstanceFilter{HostID: id, Limit: 1})
	return len(left) == 0, err
}
