package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// restless is how soon a cluster with which something is the matter is looked at again when nothing was heard.
const restless = 100 * time.Millisecond

// cluster is what nodekeeper knows of a cluster besides what is in the view. The queue gives it to one worker at a time.
type cluster struct {
	id string

	mu        sync.Mutex
	row       model.Cluster
	instances []model.Instance // its members' rows, in the order in which they were made
	stale     bool             // the rows have to be read again

	// Of the worker.
	roster, endpoint string // as written last
	turn             *turn
	calm             bool // the last decision found nothing to do, and nothing to look at again
	restless         *time.Timer
	rebuilding       map[string]time.Time

	looking atomic.Bool // all members are being asked
	fencing sync.Map    // instances that are being fenced or let in

	shown shown // for the row; by mu
}

// shown is what is to be written into the row of a cluster.
type shown struct {
	decision   failover.Decision
	generation int64 // of the row that was decided on
	record     durability.Record
	seen       map[string]failover.Status
	turns      []model.Turn
	fault      string
}

// clusters are those of this term, by id and by member.
type clusters struct {
	mu  sync.Mutex
	all map[string]*cluster
	of  map[string]string
}

func newClusters() *clusters { return &clusters{all: map[string]*cluster{}, of: map[string]string{}} }

func (cs *clusters) get(id string) *cluster {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.all[id]
	if c == nil {
		c = &cluster{id: id, stale: true, rebuilding: map[string]time.Time{}}
		cs.all[id] = c
	}
	return c
}

// clusterOf says which cluster an instance is in, as far as is known.
func (cs *clusters) clusterOf(instance string) string {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.of[instance]
}

func (cs *clusters) keep(c *cluster, row model.Cluster, instances []model.Instance) {
	c.mu.Lock()
	if row.Version >= c.row.Version || c.stale {
		c.row, c.instances, c.stale = row, instances, false
	}
	c.mu.Unlock()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for i := range instances {
		cs.of[instances[i].ID] = c.id
	}
}

// leave is of an instance that is in no cluster any more.
func (cs *clusters) leave(instance string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.of, instance)
}

func (cs *clusters) forget(id string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.all, id)
	for instance, cluster := range cs.of {
		if cluster == id {
			delete(cs.of, instance)
		}
	}
}

// outdated has the rows of a cluster be read before it is looked at again.
func (c *cluster) outdated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = true
}

// rows gives the rows as they were read last.
func (c *cluster) rows() (model.Cluster, []model.Instance, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.row, c.instances, c.stale
}

// clusterChanged has a cluster's rows be read, and it be looked at.
func (k *Keeper) clusterChanged(id string) {
	if id != "" {
		k.clusters.get(id).outdated()
		k.clusterQueue.add(id)
	}
}

// resyncClusters reads all clusters at once, and has each be looked at: what there is to do about it follows from what is known already.
func (k *Keeper) resyncClusters(ctx context.Context, observations []Observation) error {
	var rows []model.Cluster
	err := k.e.Store.View(ctx, func(tx metastore.Tx) (err error) {
		rows, err = tx.Clusters().List(ctx, metastore.ClusterFilter{})
		return err
	})
	if err != nil {
		return fmt.Errorf("reading all clusters: %w", err)
	}
	members := map[string][]model.Instance{}
	for i := range observations {
		if id := observations[i].Instance.ClusterID; id != "" {
			members[id] = append(members[id], observations[i].Instance)
		}
	}
	for i := range rows {
		k.clusters.keep(k.clusters.get(rows[i].ID), rows[i], ordered(members[rows[i].ID]))
		k.clusterQueue.add(rows[i].ID)
	}
	return nil
}

// wakeInstance has an instance and its cluster looked at.
func (k *Keeper) wakeInstance(instance string) {
	k.queue.add(instance)
	if id := k.clusters.clusterOf(instance); id != "" {
		k.clusterQueue.add(id)
	}
}

// readCluster reads a cluster's rows. While metadata is away, a cluster that is known goes on by what was read last: nobody's failover waits for metadata.
func (k *Keeper) readCluster(ctx context.Context, c *cluster) error {
	_, _, stale := c.rows()
	if !stale {
		return nil
	}
	var row model.Cluster
	var members []model.Instance
	err := k.e.Store.View(ctx, func(tx metastore.Tx) (err error) {
		if row, err = tx.Clusters().Get(ctx, c.id); err != nil {
			return err
		}
		members, err = tx.Instances().List(ctx, metastore.InstanceFilter{ClusterID: c.id})
		return err
	})
	known, _, _ := c.rows()
	switch {
	case err == nil:
		k.clusters.keep(c, row, ordered(members))
	case errors.Is(err, metastore.ErrNotFound) || known.ID == "":
		return err
	default:
		k.log.Warn("metadata is away; the cluster goes on by what is known", "op", "cluster", "cluster", c.id, "error", err)
	}
	return nil
}

// ordered puts members in the order in which they were made.
func ordered(members []model.Instance) []model.Instance {
	slices.SortFunc(members, func(a, b model.Instance) int {
		if d := a.Created.Compare(b.Created); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return members
}

// workClusters takes clusters off their queue.
func (k *Keeper) workClusters(ctx context.Context) error {
	for {
		id, ok := k.clusterQueue.take(ctx)
		if !ok {
			return nil
		}
		err := k.reconcileCluster(ctx, id)
		if over(err) {
			k.clusterQueue.done(id)
			return err
		}
		if err != nil && ctx.Err() == nil {
			k.clusters.get(id).outdated()
			after := k.clusterQueue.failed(id)
			k.log.Warn("conducting a cluster; trying again", "op", "cluster", "cluster", id, "after", after, "error", err)
			continue
		}
		k.clusterQueue.done(id)
	}
}

// reconcileCluster takes steps for a cluster until there is nothing to do but wait.
func (k *Keeper) reconcileCluster(ctx context.Context, id string) error {
	c := k.clusters.get(id)
	for range maxSteps {
		err := k.readCluster(ctx, c)
		if errors.Is(err, metastore.ErrNotFound) {
			k.clusters.forget(id)
			return nil
		}
		if err != nil {
			return err
		}
		again, err := k.conduct(ctx, c)
		if err != nil || !again {
			return err
		}
	}
	return errors.New("too many steps in one turn")
}

// conduct takes one step; again says that it is worth deciding anew at once.
func (k *Keeper) conduct(ctx context.Context, c *cluster) (again bool, err error) {
	row, members, _ := c.rows()
	if row.Desired == model.DesiredDeleted {
		return false, k.removeCluster(ctx, c, members)
	}
	if !row.Implicit && row.ReadWrite == "" {
		return true, k.placeEndpoint(ctx, c)
	}
	record, known := k.view.record(c.id)
	switch {
	case !known && row.Founded:
		return false, k.refind(ctx, c)
	case !known:
		return k.found(ctx, c, row, members)
	case record.broken != nil:
		return false, fmt.Errorf("the record of cluster %s cannot be gone by; nothing is changed: %w", c.id, record.broken)
	}
	if err := k.writeRoster(ctx, c, members); err != nil {
		return false, err
	}
	o := k.observeCluster(record.Record, row, members)
	d := failover.Decide(o)
	k.follow(c, row.Generation, o, d)
	swapped, err := k.carryOut(ctx, c, record, o, d)
	if err != nil {
		return false, err
	}
	c.calm = d.Problem == "" && !swapped && !uneasy(o)
	if !swapped {
		if err := k.writeEndpoint(ctx, c, record, o, row, members); err != nil {
			return false, err
		}
		k.settleQueue.add(c.id)
		if again, err := k.tend(ctx, c, o, row, members); again || err != nil {
			return again, err
		}
	}
	if !c.calm && !swapped {
		k.lookAround(ctx, c, record.Record, members)
		k.again(c)
	}
	return swapped, nil
}

// again has a cluster be looked at after a while; later than that where it is looked at before.
func (k *Keeper) again(c *cluster) {
	if c.restless == nil {
		c.restless = time.AfterFunc(restless, func() { k.clusterQueue.add(c.id) })
		return
	}
	c.restless.Reset(restless)
}

// uneasy says whether something is worth being looked at though it is no problem yet: a replica that hears nothing of its source asks for its source to be
// asked, and readers are chosen by how far they lag. A source says something every half second.
func uneasy(o failover.Observation) bool {
	soon := o.Timing.CutOff / 3
	return slices.ContainsFunc(o.Instances, func(i failover.Instance) bool {
		r := i.Status.Receiver
		deaf := r.State == failover.ReceiverConnecting || r.State == failover.ReceiverRunning && r.HeardAgo > soon
		slow := i.ID == o.Record.Primary && i.Status.Serving.ProbeAgo > o.Timing.CutOff/2
		return i.Status.Mysqld == failover.MysqldUp && deaf || slow
	})
}

// observeCluster is all that a decision rests on.
func (k *Keeper) observeCluster(r durability.Record, row model.Cluster, members []model.Instance) failover.Observation {
	o := failover.Observation{Record: r, Now: k.now(), Since: k.since, Timing: failover.DefaultTiming()}
	o.Want.Acks, o.Want.Policy = row.Acks, durability.Policy(row.Policy)
	for i := range members {
		m := &members[i]
		in := failover.Instance{ID: m.ID, Unwanted: m.Desired == model.DesiredDeleted || m.Detaching, Priority: m.Priority}
		w, heard := k.view.word(m.ID)
		if w.status.Part != nil {
			in.Status = *w.status.Part
			in.Seen, in.Asked, in.Lost, in.Heard = w.seen, w.asked, w.lost, heard
		}
		alive, container := k.view.hostOf(m.HostID, m.ID)
		in.Host = failover.Host{Alive: alive, Down: down(container), Fenced: container != nil && container.Fenced}
		o.Instances = append(o.Instances, in)
		if !in.Unwanted {
			o.Want.Replicas++
		}
	}
	o.Want.Replicas = max(o.Want.Replicas-1, 0)
	k.want(&o, row)
	k.rolls(&o, row, members)
	return o
}

// want adds a change of primary that was asked for.
func (k *Keeper) want(o *failover.Observation, row model.Cluster) {
	s := row.Switchover
	if s == nil || s.Finished || o.Record.Source() != s.From {
		return // it has come about, and that is only not written down yet
	}
	if s.Dead {
		// Whoever asks says that the primary is gone, whatever it says itself.
		for i := range o.Instances {
			if in := &o.Instances[i]; in.ID == o.Record.Primary && in.ID == s.From && o.Record.Intent == nil {
				in.Lost, in.Heard, in.Host.Alive, in.Host.Down = true, time.Time{}, true, true
			}
		}
		return
	}
	to := s.To
	if to == "" {
		to = successor(o)
	}
	if to != "" {
		o.Want.Switchover = &failover.Switchover{To: to, Deadline: s.Asked.Add(s.Timeout)}
	}
}

// better says whether one is to be the primary rather than another: it has room, a higher priority, or more.
func better(a, b *failover.Instance) bool {
	switch {
	case a.Status.Room.Low != b.Status.Room.Low:
		return b.Status.Room.Low
	case a.Priority != b.Priority:
		return a.Priority > b.Priority
	}
	return a.Status.Executed.Count() > b.Status.Executed.Count()
}

// successor is who is to be the primary where nobody in particular was asked for: of those that acknowledge, the one with the highest priority that has most.
func successor(o *failover.Observation) string {
	if i := o.Record.Intent; i != nil {
		return i.To
	}
	var best *failover.Instance
	for i := range o.Instances {
		in := &o.Instances[i]
		if !slices.Contains(o.Record.Ackers(), in.ID) || in.Unwanted || in.Lost {
			continue
		}
		if best == nil || better(in, best) {
			best = in
		}
	}
	if best == nil {
		return ""
	}
	return best.ID
}

// refind has a record that should be there be read again; one that is gone is not made anew, since nobody knows any more what was promised.
func (k *Keeper) refind(ctx context.Context, c *cluster) error {
	e, err := k.e.Coord.Get(ctx, protocol.RecordKey(c.id))
	if errors.Is(err, coord.ErrNotFound) {
		c.mu.Lock()
		c.shown = shown{fault: "the cluster's record is gone from coordination: who was promised what is not known, and nothing is changed. " +
			"Its members go on by the record on their volumes; put coordination's data back"}
		c.mu.Unlock()
		k.settleQueue.add(c.id)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the record: %w", err)
	}
	k.view.setRecord(c.id, &e)
	k.clusterQueue.add(c.id)
	return nil
}

func down(c *protocol.ContainerStatus) bool { return c != nil && c.Phase != runningPhase }
