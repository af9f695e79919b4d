package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// found writes a cluster's first record, once the member that is to be its first primary answers. The row says that it was done, so that a record which
// is lost later is not taken for one that never was.
func (k *Keeper) found(ctx context.Context, c *cluster, row model.Cluster, members []model.Instance) (again bool, err error) {
	first := founder(row, members)
	if first == "" {
		return false, nil
	}
	if err := k.writeRoster(ctx, c, members); err != nil { // who is in a cluster says how it does its part in it
		return false, err
	}
	if w, _ := k.view.word(first); w.status.Part == nil || w.lost {
		k.settleQueue.add(c.id)
		return false, nil // it is on its way, and wakes the cluster
	}
	record := durability.Founding(c.id, first, durability.Policy(row.Policy))
	if row.Implicit {
		record = durability.Alone(c.id)
	}
	text, err := record.Text()
	if err != nil {
		return false, err
	}
	err = k.e.Coord.Apply(ctx, coord.Create(protocol.RecordKey(c.id), text))
	if err != nil && !errors.Is(err, coord.ErrConflict) { // it was written, and the row does not say so yet
		return false, fmt.Errorf("writing the first record: %w", err)
	}
	fault.Pass(ctx, PointFounded)
	err = k.changeCluster(ctx, c.id, func(row *model.Cluster) (string, string) {
		row.Founded = true
		return "", ""
	})
	if err != nil {
		return false, err
	}
	e, err := k.e.Coord.Get(ctx, protocol.RecordKey(c.id))
	if err != nil {
		return false, fmt.Errorf("reading the first record: %w", err)
	}
	k.view.setRecord(c.id, &e)
	c.outdated()
	k.log.Info("a cluster is founded", "op", "cluster.found", "cluster", c.id, "primary", first)
	return true, nil
}

// founder is the first primary: of an implicit cluster the instance with its id, else the first member that was made.
func founder(row model.Cluster, members []model.Instance) string {
	for i := range members {
		m := &members[i]
		if m.Desired == model.DesiredDeleted || m.HostID == "" || row.Implicit && m.ID != row.ID {
			continue
		}
		return m.ID
	}
	return ""
}

// placeEndpoint takes addresses and ports for a cluster's clients, once for its life.
func (k *Keeper) placeEndpoint(ctx context.Context, c *cluster) error {
	err := k.update(ctx, func(tx metastore.Tx) error {
		row, err := tx.Clusters().Get(ctx, c.id)
		if err != nil || row.ReadWrite != "" {
			return err
		}
		all, err := tx.Clusters().List(ctx, metastore.ClusterFilter{})
		if err != nil {
			return err
		}
		used, err := tx.Instances().Addresses(ctx)
		if err != nil {
			return err
		}
		var ports []int
		for i := range all {
			used = append(used, all[i].ReadWrite, all[i].ReadOnly)
			ports = append(ports, all[i].ReadWritePort, all[i].ReadOnlyPort)
		}
		if row.ReadWrite, err = k.e.Addresses.Endpoint(k.cfg.Range, used); err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		if row.ReadOnly, err = k.e.Addresses.Endpoint(k.cfg.Range, append(used, row.ReadWrite)); err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		if row.ReadWritePort, row.ReadOnlyPort, err = k.e.Addresses.Ports(ports); err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		row.Updated = k.now().UTC()
		return tx.Clusters().Update(ctx, &row)
	})
	c.outdated()
	if err != nil {
		return fmt.Errorf("finding addresses for cluster %s: %w", c.id, err)
	}
	_, members, _ := c.rows()
	for i := range members { // their certificates name them
		k.queue.add(members[i].ID)
	}
	return nil
}

// writeRoster tells the members where the others are.
func (k *Keeper) writeRoster(ctx context.Context, c *cluster, members []model.Instance) error {
	roster := protocol.Roster{Members: map[string]protocol.Member{}}
	for i := range members {
		if m := &members[i]; m.Address != "" {
			roster.Members[m.ID] = protocol.Member{Address: m.Address}
		}
	}
	text, err := json.Marshal(roster)
	if err != nil {
		return fmt.Errorf("encoding the roster: %w", err)
	}
	if string(text) == c.roster {
		return nil
	}
	if err := k.e.Coord.Apply(ctx, coord.Put(protocol.RosterKey(c.id), text, nil)); err != nil {
		return fmt.Errorf("writing the roster: %w", err)
	}
	c.roster = string(text)
	fault.Pass(ctx, PointRostered)
	return nil
}

// endpointOf says where clients are to be led under a record: for writing to its primary unless that is being replaced, for reading to members that lag
// by no more than is allowed. An instance with replicas has no address for clients besides its own; its endpoint only says who is in the cluster.
func (k *Keeper) endpointOf(c *cluster, o failover.Observation, row model.Cluster, members []model.Instance) (text string, changed bool, err error) {
	if row.ReadWrite == "" && !row.Implicit {
		return "", false, nil
	}
	e := protocol.Endpoint{
		Cluster: c.id, Epoch: o.Record.Epoch, ReadWrite: protocol.Front{Address: row.ReadWrite, Port: row.ReadWritePort},
		ReadOnly: protocol.Front{Address: row.ReadOnly, Port: row.ReadOnlyPort}, Access: map[string]model.Access{},
	}
	for i := range members {
		m := &members[i]
		if m.Address != "" {
			e.Access[m.Address] = m.Access
		}
		switch {
		case m.Address == "":
		case m.ID == o.Record.Primary && o.Record.Intent == nil:
			e.Primary = m.Address
		case k.reads(o, m.ID, row.MaxLag):
			e.Readers = append(e.Readers, m.Address)
		}
	}
	slices.Sort(e.Readers)
	data, err := json.Marshal(e)
	if err != nil {
		return "", false, fmt.Errorf("encoding the endpoint: %w", err)
	}
	return string(data), string(data) != c.endpoint, nil
}

// reads says whether readers are led to a member: one that is open to them and lags by no more than is allowed. One whose lag is not known is not used, nor is one that is to be
// the primary.
func (k *Keeper) reads(o failover.Observation, id string, most time.Duration) bool {
	i := slices.IndexFunc(o.Instances, func(in failover.Instance) bool { return in.ID == id })
	if i < 0 || !slices.Contains(o.Record.Members, id) || o.Record.Intent != nil && o.Record.Intent.To == id {
		return false
	}
	in := &o.Instances[i]
	w, _ := k.view.word(id)
	return !in.Lost && !in.Unwanted && !in.Host.Down && in.Status.Mysqld == failover.MysqldUp && !in.Status.Offline && !in.Status.Rebuilding &&
		w.status.Lag >= 0 && w.status.Lag <= most
}

// endpointRests is for how long after a change of primary was begun readers that come and go do not change the endpoint: hosts would be at work on that when they are to
// lead writers to the new primary. Each step of the change takes the readers of that moment with it.
const endpointRests = time.Second

// writeEndpoint publishes where clients are to be led. It is refused where the record has been replaced meanwhile.
func (k *Keeper) writeEndpoint(ctx context.Context, c *cluster, r storedRecord, o failover.Observation, row model.Cluster, members []model.Instance) error {
	if i := o.Record.Intent; i != nil && o.Now.Sub(i.Began).Abs() < endpointRests { // a clock that was set back does not make it longer
		return nil
	}
	text, changed, err := k.endpointOf(c, o, row, members)
	if err != nil || !changed {
		return err
	}
	err = k.e.Coord.Apply(ctx, coord.Check(protocol.RecordKey(c.id), r.revision), coord.Put(protocol.EndpointKey(c.id), []byte(text), nil))
	if errors.Is(err, coord.ErrConflict) {
		k.clusterQueue.add(c.id)
		return nil
	}
	if err != nil {
		return fmt.Errorf("publishing the endpoint: %w", err)
	}
	c.endpoint = text
	fault.Pass(ctx, PointEndpointed)
	return nil
}

// removeCluster takes away what a cluster has besides its members, once they are gone; its row goes last.
func (k *Keeper) removeCluster(ctx context.Context, c *cluster, members []model.Instance) error {
	if len(members) > 0 {
		c.outdated()
		for i := range members {
			k.queue.add(members[i].ID)
		}
		return nil
	}
	err := k.e.Coord.Apply(ctx, coord.Delete(protocol.EndpointKey(c.id), 0), coord.Delete(protocol.RosterKey(c.id), 0), coord.Delete(protocol.RecordKey(c.id), 0))
	if err != nil {
		return fmt.Errorf("removing the cluster's keys: %w", err)
	}
	fault.Pass(ctx, PointDissolved)
	if err := k.update(ctx, func(tx metastore.Tx) error { return tx.Clusters().Delete(ctx, c.id) }); err != nil {
		return fmt.Errorf("removing the cluster: %w", err)
	}
	k.clusters.forget(c.id)
	return nil
}

// changeCluster edits a cluster's row. edit sees the newest row; it must change only the seen half.
func (k *Keeper) changeCluster(ctx context.Context, id string, edit func(c *model.Cluster) (kind, message string)) error {
	return k.update(ctx, func(tx metastore.Tx) error {
		c, err := tx.Clusters().Get(ctx, id)
		if errors.Is(err, metastore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		kind, message := edit(&c)
		c.Updated = k.now().UTC()
		if err := tx.Clusters().Update(ctx, &c); err != nil {
			return err
		}
		if kind == "" {
			return nil
		}
		return tx.Events().Append(ctx, &model.Event{ProjectID: c.ProjectID, InstanceID: c.ID, Time: c.Updated, Kind: kind, Message: message})
	})
}
