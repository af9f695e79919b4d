// Package keeper is nodekeeper, the central manager: it places instances and brings what is into line with what was
// asked for.
//
// It is level-triggered. For each instance one loop observes (the row in metadata, what sysmgr and the guest say in coordination),
// decides (a pure function, decide) and takes one step; every step may be repeated. So it may die anywhere and be started again, and
// messages may come twice or never. It owns placement and the seen half of an instance's row. It must not know how a
// container is run (sysmgr) or how MySQL is spoken to (guest).
package keeper

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// leaderKey is held by the nodekeeper that acts.
const leaderKey = "/keeper/leader"

// Certificates makes the private files of guests.
type Certificates interface {
	// Principal makes a client certificate for the coordination engine; ca is what the client verifies the engine with.
	Principal(name string) (ca, cert, key []byte, err error)
	// Database makes an instance's own CA and a server certificate for its addresses.
	Database(instance string, addresses []string) (ca, caKey, cert, key []byte, err error)
	// Member makes a server certificate of the CA of a member's cluster.
	Member(ca, caKey []byte, instance string, addresses []string) (cert, key []byte, err error)
}

// Addresses gives out addresses for databases.
type Addresses interface {
	// Next gives a free address of a subnet, given those in use.
	Next(subnet string, used []string) (string, error)
	// Endpoint gives a free address for a cluster's clients, given those in use, of a deployment's range.
	Endpoint(within string, used []string) (string, error)
	// Ports gives two free ports, given those in use.
	Ports(used []int) (readWrite, readOnly int, err error)
}

// Config of a nodekeeper.
type Config struct {
	Deployment string
	// Coordination and Bus are where guests reach the engines; an empty Bus is coordination's.
	Coordination, Bus string
	// Range is where hosts' subnets are taken from, a /24 each: "10.88.0.0/16".
	Range string
	// Egress is what databases' agents connect to off their host, HOST:PORT each.
	Egress []string
	// AdmitHosts gives each host that is known the rights of its own principal; else they come as the control plane.
	AdmitHosts bool
	// Offer puts datastore versions whose images hosts have into the catalogue; nil: nobody does.
	Offer func(ctx context.Context, versions []model.DatastoreVersion) error
	// Resync is how often every instance is looked at even when nothing was heard. Default 10 s.
	Resync time.Duration
	// SessionTTL is after how long another nodekeeper takes over from a dead one. Default 5 s.
	SessionTTL time.Duration
	// Workers bounds how many instances are worked on at once. Default 32.
	Workers int
	// OrphanGrace is how old a thing that no instance owns must be to be removed. Default 5 min.
	OrphanGrace time.Duration
}

// Engines are what a nodekeeper works with.
type Engines struct {
	Store     metastore.Store
	Coord     coord.Store
	Bus       bus.Bus
	Keys      coord.Gatekeeper
	Queues    bus.Gatekeeper
	Certs     Certificates
	Addresses Addresses
}

// Keeper is a nodekeeper.
type Keeper struct {
	cfg   Config
	e     Engines
	view  *view
	queue *queue
	log   *slog.Logger
	now   func() time.Time
	term  int64         // of the leadership; set before anything else is done in it
	since time.Time     // when this term began to look
	hosts chan struct{} // capacity 1: something was heard of a host

	clusters     *clusters // of this term
	clusterQueue *queue
	settleQueue  *queue // clusters whose rows have to be written

	known chan map[string]model.Host // capacity 1: the newest rows of hosts, to be admitted; of this term
}

// New checks the configuration.
func New(cfg Config, e Engines, log *slog.Logger) (*Keeper, error) {
	if cfg.Deployment == "" || cfg.Coordination == "" {
		return nil, errors.New("keeper: deployment and coordination's address must be set")
	}
	if cfg.Resync == 0 {
		cfg.Resync = 10 * time.Second
	}
	if cfg.SessionTTL == 0 {
		cfg.SessionTTL = 5 * time.Second
	}
	if cfg.Workers == 0 {
		cfg.Workers = 32
	}
	if cfg.OrphanGrace == 0 {
		cfg.OrphanGrace = 5 * time.Minute
	}
	return &Keeper{cfg: cfg, e: e, queue: newQueue(), clusterQueue: newQueue(), settleQueue: newQueue(), clusters: newClusters(), log: log, now: time.Now, hosts: make(chan struct{}, 1), known: make(chan map[string]model.Host, 1)}, nil
}

// Run stands for election and, while elected, keeps everything in line, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := k.serveTerm(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("term ended; standing again", "op", "elect", "error", err)
			pause(ctx, time.Second)
		}
	}
	return nil
}

// serveTerm is one session: from candidate to the loss of leadership.
func (k *Keeper) serveTerm(ctx context.Context) error {
	session, err := k.e.Coord.NewSession(ctx, k.cfg.SessionTTL)
	if err != nil {
		return fmt.Errorf("opening a session: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = session.Close(ctx)
	}()
	host, _ := os.Hostname()
	leadership, err := coord.Elect(ctx, k.e.Coord, session, leaderKey, []byte(host))
	if err != nil {
		return fmt.Errorf("standing for election: %w", err)
	}
	k.log.Info("leading", "op", "elect", "token", leadership.Token)
	return k.lead(leadership.Context) //nolint:contextcheck // the leadership has a context of its own, a child of ctx
}

// lead works until ctx, the leadership, ends.
func (k *Keeper) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := k.begin(ctx); err != nil {
		return err
	}
	k.view = newView(k.wakeInstance, k.heard, k.clusterQueue.add)
	k.view.now, k.clusters, k.known = k.now, newClusters(), make(chan map[string]model.Host, 1)
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			// A term that is over ends everything, wherever that was noticed.
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		}()
	}
	synced := make(chan struct{})
	part("watching", func(ctx context.Context) error { return k.view.follow(ctx, k.e.Coord, synced) })
	select {
	case <-synced: // decide nothing on an empty view
	case <-ctx.Done():
	}
	k.since = k.now()
	part("hosts", k.register)
	part("admitting hosts", k.admitHosts)
	part("listening", func(ctx context.Context) error {
		return k.e.Bus.Serve(ctx, protocol.KeeperQueue, 4, k.kicked)
	})
	part("resync", k.resync)
	part("orphans", k.sweep)
	for range k.cfg.Workers {
		part("working", k.work)
		part("conducting", k.workClusters)
	}
	for range settlers {
		part("writing down", k.workSettle)
	}
	wg.Wait()
	return context.Cause(ctx)
}

// kicked takes a hint that an instance is worth looking at.
func (k *Keeper) kicked(_ context.Context, m bus.Message) ([]byte, error) {
	var kick protocol.Kick
	if m.Kind != protocol.KindKick || json.Unmarshal(m.Body, &kick) != nil || kick.Instance == "" && kick.Cluster == "" {
		return nil, fmt.Errorf("%w: not a kick", bus.ErrRejected)
	}
	if kick.Instance != "" {
		k.queue.add(kick.Instance)
		kick.Cluster = cmp.Or(kick.Cluster, k.clusters.clusterOf(kick.Instance))
	}
	k.clusterChanged(kick.Cluster)
	return nil, nil
}

// resync looks at every instance, whatever was heard of it.
func (k *Keeper) resync(ctx context.Context) error {
	tick := time.NewTicker(k.cfg.Resync)
	defer tick.Stop()
	for level := slog.LevelInfo; ; level = slog.LevelDebug { // who takes over says when it knows everything
		if err := k.resyncAll(ctx, level); err != nil && ctx.Err() == nil {
			k.log.Error("looking at all instances", "op", "resync", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// resyncAll reads everything at once and puts into the queue only what there is something to do about: with thousands of instances, almost all of which are
// as they should be, reading each by itself would be most of what nodekeeper does.
func (k *Keeper) resyncAll(ctx context.Context, level slog.Level) error {
	began := time.Now()
	observations, err := k.observeAll(ctx)
	if err != nil {
		return err
	}
	queued := 0
	for i := range observations {
		o := &observations[i]
		k.view.fill(o)
		if decide(*o).Kind != StepNone {
			k.queue.add(o.Instance.ID)
			queued++
		}
	}
	if err := k.resyncClusters(ctx, observations); err != nil {
		return err
	}
	k.log.Log(ctx, level, "looked at all instances", "op", "resync", "instances", len(observations), "queued", queued, "seconds", time.Since(began).Seconds())
	return nil
}

// work takes instances off the queue.
func (k *Keeper) work(ctx context.Context) error {
	for {
		id, ok := k.queue.take(ctx)
		if !ok {
			return nil
		}
		err := k.reconcile(ctx, id)
		if over(err) {
			k.queue.done(id)
			return err
		}
		if err != nil && ctx.Err() == nil {
			after := k.queue.failed(id)
			k.log.Warn("reconciling; trying again", "op", "reconcile", "instance", id, "after", after, "error", err)
		} else {
			k.queue.done(id)
		}
	}
}

// settlers write down what is seen of clusters: one row at a time is enough for a few, and metadata is not to be flooded when many change at once.
const settlers = 4

// maxSteps bounds one turn, so that a decision that changes nothing cannot spin.
const maxSteps = 16

// reconcile takes steps for one instance until there is nothing to do but wait.
func (k *Keeper) reconcile(ctx context.Context, id string) error {
	for range maxSteps {
		o, err := k.observe(ctx, id)
		if errors.Is(err, metastore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s := decide(o)
		if s.Kind == StepNone {
			return nil
		}
		k.log.Debug("step", "op", "reconcile", "instance", id, "step", s.Kind, "reason", s.Reason)
		again, err := k.act(ctx, o, s)
		k.clusterChanged(o.Instance.ClusterID)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Kind, err)
		}
		if !again {
			return nil
		}
	}
	return errors.New("too many steps in one turn")
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
