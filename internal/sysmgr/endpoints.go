package sysmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
)

// endpointsFile, among the guests' folders, keeps the endpoints that were carried out: coordination may be away when this host starts, and what is older
// than that is refused.
const endpointsFile = "endpoints.json"

// endpointsSoon is how long after a change it is looked whether others have changed anything: not in the middle of a failover.
const endpointsSoon = 300 * time.Millisecond

// Balancer leads clients to the servers behind endpoints. Set replaces all; Ensure puts back what others changed.
type Balancer interface {
	Set(ctx context.Context, endpoints []network.Endpoint) error
	Ensure(ctx context.Context) (changed bool, err error)
}

// endpoints are those of all clusters.
type endpoints struct {
	mu    sync.Mutex // one change after the other
	known map[string]protocol.Endpoint
	dirty bool // the balancer was not told of all of them, or could not do it

	kin atomic.Pointer[map[string][]string] // by address, the other members of its cluster
}

// peersOf are the databases that replicate from one, or that it replicates from.
func (e *endpoints) peersOf(address string) []string {
	if kin := e.kin.Load(); kin != nil {
		return (*kin)[address]
	}
	return nil
}

// relate notes who is in a cluster with whom, and says whether that has changed.
func (e *endpoints) relate(all map[string]protocol.Endpoint) bool {
	kin := map[string][]string{}
	for _, one := range all {
		members := slices.Sorted(maps.Keys(one.Access))
		for i, m := range members {
			kin[m] = slices.Concat(members[:i], members[i+1:])
		}
	}
	had := e.kin.Swap(&kin)
	return had == nil || !maps.EqualFunc(*had, kin, slices.Equal)
}

// followEndpoints has the host's kernel lead clients of all clusters where coordination says, for ever. While coordination is away nothing changes.
func (h *Host) followEndpoints(ctx context.Context) error {
	if h.cfg.Balancer == nil {
		return nil
	}
	if err := h.recallEndpoints(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := h.watchEndpoints(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn("following endpoints; trying again", "op", "endpoints", "error", err)
		}
		wait(ctx, time.Second)
	}
	return nil
}

func (h *Host) watchEndpoints(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := h.store.Watch(ctx, protocol.EndpointsKey)
	if err != nil {
		return err
	}
	if err := h.readEndpoints(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(h.cfg.Resync)
	defer tick.Stop()
	soon := time.NewTimer(endpointsSoon)
	defer soon.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return errors.New("the watch ended")
			}
			if changes, resync := pending(e, events); resync {
				if err := h.readEndpoints(ctx); err != nil {
					return err
				}
			} else {
				h.takeEndpoints(ctx, changes)
			}
			soon.Reset(endpointsSoon)
		case <-tick.C:
			h.ensureEndpoints(ctx)
		case <-soon.C:
			h.ensureEndpoints(ctx)
		}
	}
}

// pending adds to an event all that have come in with it or while the last ones were carried out: the kernel is told once for all of them. It gives the newest entry of each
// cluster, nil where that is gone; resync says that everything has to be read instead.
func pending(e coord.Event, events <-chan coord.Event) (changes map[string]*coord.Entry, resync bool) {
	changes = map[string]*coord.Entry{}
	for {
		resync = resync || e.Resync
		changes[strings.TrimPrefix(e.Key, protocol.EndpointsKey+"/")] = e.Entry
		var ok bool
		select {
		case e, ok = <-events:
			if ok {
				continue
			}
		default:
		}
		return changes, resync
	}
}

// readEndpoints takes in all that coordination has, and forgets the others.
func (h *Host) readEndpoints(ctx context.Context) error {
	entries, err := h.store.List(ctx, protocol.EndpointsKey)
	if err != nil {
		return err
	}
	h.endpoints.mu.Lock()
	defer h.endpoints.mu.Unlock()
	next := map[string]protocol.Endpoint{}
	for i := range entries {
		id := strings.TrimPrefix(entries[i].Key, protocol.EndpointsKey+"/")
		if e, ok := h.newer(id, entries[i].Value); ok {
			next[id] = e
		}
	}
	return h.balance(ctx, next)
}

// newer gives the endpoint that is to be in effect after a value was heard of: the value, unless what is in effect is newer. The caller holds mu.
func (h *Host) newer(id string, value []byte) (protocol.Endpoint, bool) {
	had, known := h.endpoints.known[id]
	var e protocol.Endpoint
	switch err := json.Unmarshal(value, &e); {
	case err != nil || e.Cluster != id:
		h.log.Error("an endpoint cannot be gone by", "op", "endpoints", "cluster", id, "error", err)
		return had, known
	case known && e.Epoch < had.Epoch:
		h.log.Warn("an older endpoint is refused", "op", "endpoints", "cluster", id, "epoch", e.Epoch, "newest", had.Epoch)
		return had, known
	}
	return e, true
}

// takeEndpoints takes changes in, by cluster.
func (h *Host) takeEndpoints(ctx context.Context, changes map[string]*coord.Entry) {
	h.endpoints.mu.Lock()
	defer h.endpoints.mu.Unlock()
	next := maps.Clone(h.endpoints.known)
	if next == nil {
		next = map[string]protocol.Endpoint{}
	}
	for id, entry := range changes {
		delete(next, id)
		if entry == nil {
			continue
		}
		if e, ok := h.newer(id, entry.Value); ok {
			next[id] = e
		}
	}
	if err := h.balance(ctx, next); err != nil && ctx.Err() == nil {
		h.log.Error("leading clients to clusters; trying again", "op", "endpoints", "clusters", slices.Sorted(maps.Keys(changes)), "error", err)
	}
}

// balance has these be all endpoints: in the kernel first, since clients wait for that, and then in the file. The caller holds mu.
func (h *Host) balance(ctx context.Context, next map[string]protocol.Endpoint) error {
	if !h.endpoints.dirty && maps.EqualFunc(next, h.endpoints.known, sameEndpoint) {
		return nil
	}
	was := h.endpoints.known
	h.endpoints.known, h.endpoints.dirty = next, true
	var all []network.Endpoint
	for _, id := range slices.Sorted(maps.Keys(next)) {
		e := next[id]
		if e.ReadWrite.Address == "" {
			continue // replicas of an instance have no address in common
		}
		all = append(all, network.Endpoint{
			ID: id, ReadWrite: network.Front(e.ReadWrite), ReadOnly: network.Front(e.ReadOnly), Primary: e.Primary, Readers: e.Readers, Members: membersOf(e),
		})
	}
	began := time.Now()
	if err := h.cfg.Balancer.Set(ctx, all); err != nil {
		return err
	}
	for id := range next {
		if had, known := was[id]; !known || had.Primary != next[id].Primary {
			h.log.Info("clients are led to a primary", "op", "endpoints", "cluster", id, "epoch", next[id].Epoch, "primary", next[id].Primary,
				"took", time.Since(began).Round(100*time.Microsecond).String())
		}
	}
	for id := range was {
		if _, known := next[id]; !known {
			h.log.Info("clients are led nowhere: the cluster is gone", "op", "endpoints", "cluster", id, "took", time.Since(began).Round(100*time.Microsecond).String())
		}
	}
	if h.endpoints.relate(next) {
		if err := h.setFirewall(ctx); err != nil {
			return err
		}
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encoding the endpoints: %w", err)
	}
	if err := h.writeFile(filepath.Join(h.cfg.GuestsDir, endpointsFile), data, false); err != nil {
		return err
	}
	h.endpoints.dirty = false
	return nil
}

func membersOf(e protocol.Endpoint) []network.Access {
	members := make([]network.Access, 0, len(e.Access))
	for _, address := range slices.Sorted(maps.Keys(e.Access)) {
		a := e.Access[address]
		members = append(members, network.Access{Address: address, Public: a.IsPublic, AllowedCIDRs: a.AllowedCIDRs})
	}
	return members
}

func sameEndpoint(a, b protocol.Endpoint) bool {
	return a.Cluster == b.Cluster && a.Epoch == b.Epoch && a.ReadWrite == b.ReadWrite && a.ReadOnly == b.ReadOnly && a.Primary == b.Primary &&
		slices.Equal(a.Readers, b.Readers) && maps.EqualFunc(a.Access, b.Access, func(a, b model.Access) bool {
		return a.IsPublic == b.IsPublic && slices.Equal(a.AllowedCIDRs, b.AllowedCIDRs)
	})
}

// ensureEndpoints does again what failed, and puts back what others changed.
func (h *Host) ensureEndpoints(ctx context.Context) {
	h.endpoints.mu.Lock()
	defer h.endpoints.mu.Unlock()
	err := h.balance(ctx, h.endpoints.known)
	if err == nil {
		var changed bool
		if changed, err = h.cfg.Balancer.Ensure(ctx); changed {
			h.log.Warn("somebody had changed the rules of endpoints; they are back", "op", "endpoints")
		}
	}
	if err != nil && ctx.Err() == nil {
		h.log.Error("keeping endpoints; trying again", "op", "endpoints", "error", err)
	}
}

// recallEndpoints leads clients where they were led before this process began.
func (h *Host) recallEndpoints(ctx context.Context) error {
	data, err := os.ReadFile(filepath.Join(h.cfg.GuestsDir, endpointsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	known := map[string]protocol.Endpoint{}
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil {
		return fmt.Errorf("reading the endpoints: %w", err)
	}
	h.endpoints.mu.Lock()
	defer h.endpoints.mu.Unlock()
	if err := h.balance(ctx, known); err != nil && ctx.Err() == nil {
		h.log.Error("leading clients where they were led before; trying again", "op", "endpoints", "error", err)
	}
	return nil
}
