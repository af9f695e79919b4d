package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// errNoRoom says that no host can take an instance now; the user is told, and it is tried again.
var errNoRoom = errors.New("no room")

// place chooses a host and an address, once for an instance's life. Both are taken in the transaction that reads what is in use.
func (k *Keeper) place(ctx context.Context, o Observation) error {
	alive := k.view.alive()
	err := k.e.Store.Update(ctx, func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(ctx, o.Instance.ID)
		if err != nil || i.HostID != "" {
			return err
		}
		host, err := k.roomiest(ctx, tx, alive, o.Flavor)
		if err != nil {
			return err
		}
		used, err := tx.Instances().Addresses(ctx)
		if err != nil {
			return err
		}
		address, err := k.e.Addresses.Next(host, used)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		i.HostID, i.Address = host, address
		i.Updated = k.now().UTC()
		return tx.Instances().Update(ctx, &i)
	})
	if errors.Is(err, errNoRoom) {
		return errors.Join(err, k.fault(ctx, o.Instance.ID, err.Error()))
	}
	if err != nil {
		return fmt.Errorf("placing: %w", err)
	}
	fault.Pass(ctx, PointPlaced)
	return nil
}

// roomiest is the living host with the most memory that is not spoken for.
func (k *Keeper) roomiest(ctx context.Context, tx metastore.Tx, alive map[string]protocol.HostStatus, f model.Flavor) (string, error) {
	flavors, err := tx.Catalogue().Flavors(ctx)
	if err != nil {
		return "", err
	}
	ram := map[string]int{}
	for _, other := range flavors {
		ram[other.ID] = other.RAMMB
	}
	best, room := "", -1
	var refusals []string
	for id, h := range alive {
		known, err := tx.Hosts().Get(ctx, id)
		if err != nil && !errors.Is(err, metastore.ErrNotFound) {
			return "", err
		}
		if known.Drained {
			refusals = append(refusals, id+" is drained")
			continue
		}
		there, err := tx.Instances().List(ctx, metastore.InstanceFilter{HostID: id})
		if err != nil {
			return "", err
		}
		free := h.RAMMB
		for j := range there {
			free -= ram[there[j].FlavorID]
		}
		if free < f.RAMMB {
			refusals = append(refusals, fmt.Sprintf("%s has %d MB of memory left", id, max(free, 0)))
			continue
		}
		if free > room {
			best, room = id, free
		}
	}
	if best == "" {
		if len(refusals) == 0 {
			refusals = []string{"no host answers"}
		}
		slices.Sort(refusals)
		return "", fmt.Errorf("%w for %d MB of memory: %s", errNoRoom, f.RAMMB, strings.Join(refusals, "; "))
	}
	return best, nil
}

// serverID makes MySQL's server_id from the instance's address, which is as unique as it has to be.
func serverID(address string) uint32 {
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is4() {
		return 1
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
