package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// errNoRoom says that no host can take an instance now; the user is told, and it is tried again.
var errNoRoom = errors.New("no room")

// errNoHost is errNoRoom because no host answers that knows its place.
var errNoHost = fmt.Errorf("%w: no host answers", errNoRoom)

// errNoRoomYet is errNoRoom while a host is not ready.
var errNoRoomYet = fmt.Errorf("%w yet", errNoRoom)

// hostPatience is for how long a new instance waits for a host to answer before its user is told: hosts that have just been added, or whose
// sysmgr starts again, need a moment, and clients take an instance in ERROR for lost.
const hostPatience = 30 * time.Second

// place chooses a host and an address, once for an instance's life. Both are taken in the transaction that reads what is in use.
func (k *Keeper) place(ctx context.Context, o Observation) error {
	alive := k.view.alive()
	err := k.update(ctx, func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(ctx, o.Instance.ID)
		if err != nil || i.HostID != "" {
			return err
		}
		hosts, err := candidates(ctx, tx, alive)
		if err != nil {
			return err
		}
		need := amount{CPUs: o.Flavor.VCPUs, RAMMB: o.Flavor.RAMMB, DiskGB: i.VolumeGB}
		spread, err := k.beside(ctx, tx, &i, hosts)
		if err != nil {
			return err
		}
		host, err := schedule(spread, request{Need: need, Zones: zones(spread)})
		if err != nil {
			return err
		}
		used, err := tx.Instances().Addresses(ctx)
		if err != nil {
			return err
		}
		address, err := k.e.Addresses.Next(alive[host].Subnet, used)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		i.HostID, i.Address = host, address
		i.Updated = k.now().UTC()
		return tx.Instances().Update(ctx, &i)
	})
	if (errors.Is(err, errNoHost) || errors.Is(err, errNoRoomYet)) && k.now().Sub(o.Instance.Created) < hostPatience {
		return err
	}
	if errors.Is(err, errNoRoom) {
		return errors.Join(err, k.fault(ctx, o.Instance.ID, err.Error()))
	}
	if err != nil {
		return fmt.Errorf("placing: %w", err)
	}
	fault.Pass(ctx, PointPlaced)
	return nil
}

// candidates are the living hosts that know their place, with what is taken of them.
func candidates(ctx context.Context, tx metastore.Tx, alive map[string]protocol.HostStatus) ([]candidate, error) {
	known, err := tx.Hosts().List(ctx)
	if err != nil {
		return nil, err
	}
	usage, err := tx.Hosts().Usage(ctx)
	if err != nil {
		return nil, err
	}
	var hosts []candidate
	for i := range known {
		h := &known[i]
		status, ok := alive[h.ID]
		if !ok || h.Removed || h.Subnet == "" || status.Subnet != h.Subnet {
			continue
		}
		u := usage[h.ID]
		hosts = append(hosts, candidate{
			ID: h.ID, Zone: h.Labels[ZoneLabel], Drained: h.Drained, Lacking: len(status.Lacks) > 0,
			Has:  amount{CPUs: status.CPUs, RAMMB: status.RAMMB, DiskGB: status.DiskGB},
			Used: amount{CPUs: u.CPUs, RAMMB: u.RAMMB, DiskGB: u.DiskGB},
		})
	}
	return hosts, nil
}

// beside counts the members of an instance's cluster on each host, and leaves out hosts that have one where members must not share a host.
func (k *Keeper) beside(ctx context.Context, tx metastore.Tx, i *model.Instance, hosts []candidate) ([]candidate, error) {
	if i.ClusterID == "" {
		return hosts, nil
	}
	row, err := tx.Clusters().Get(ctx, i.ClusterID)
	if err != nil {
		return nil, fmt.Errorf("reading its cluster: %w", err)
	}
	members, err := tx.Instances().List(ctx, metastore.InstanceFilter{ClusterID: i.ClusterID})
	if err != nil {
		return nil, fmt.Errorf("reading its cluster's members: %w", err)
	}
	on := map[string]int{}
	for m := range members {
		if members[m].ID != i.ID && members[m].HostID != "" {
			on[members[m].HostID]++
		}
	}
	var out []candidate
	for _, h := range hosts {
		h.Members = on[h.ID]
		switch row.Spread {
		case spreadApart:
			h.Taken = h.Members > 0
		case spreadTogether:
			h.Taken = h.Members == 0 && len(on) > 0
		case spreadSoftTogether:
			h.Members = -h.Members
		}
		out = append(out, h)
	}
	return out, nil
}

// How members of a cluster are spread over hosts, in the words of Trove's locality. None of these: apart if possible.
const (
	spreadApart        = "anti-affinity"
	spreadTogether     = "affinity"
	spreadSoftTogether = "soft-affinity"
)

// zones counts members by failure domain.
func zones(hosts []candidate) map[string]int {
	n := map[string]int{}
	for i := range hosts {
		n[hosts[i].Zone] += hosts[i].Members
	}
	return n
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
