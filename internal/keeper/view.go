package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// view is what coordination says of hosts, containers and guests, kept up by watches.
type view struct {
	wake    func(instance string)
	heard   func()               // something of a host
	changed func(cluster string) // its record
	now     func() time.Time

	mu         sync.RWMutex
	hosts      map[string]protocol.HostStatus
	gone       map[string]bool                                // hosts that their operator has removed
	containers map[string]map[string]protocol.ContainerStatus // host -> instance
	fell       map[string]time.Time                           // when it was last heard that an instance's container does not run
	guests     map[string]protocol.GuestStatus                // whose agents are alive
	words      map[string]word                                // the newest of each guest in a cluster
	records    map[string]storedRecord                        // by cluster
}

func newView(wake func(string), heard func(), changed func(string)) *view {
	return &view{
		wake: wake, heard: heard, changed: changed, now: time.Now, hosts: map[string]protocol.HostStatus{},
		containers: map[string]map[string]protocol.ContainerStatus{}, fell: map[string]time.Time{}, guests: map[string]protocol.GuestStatus{}, words: map[string]word{},
		records: map[string]storedRecord{},
	}
}

// follow keeps the view until ctx ends; synced is closed when it is complete for the first time.
func (v *view) follow(ctx context.Context, s coord.Store, synced chan<- struct{}) error {
	hosts, err := s.Watch(ctx, protocol.HostsKey)
	if err != nil {
		return fmt.Errorf("watching hosts: %w", err)
	}
	guests, err := s.Watch(ctx, protocol.GuestsKey)
	if err != nil {
		return fmt.Errorf("watching guests: %w", err)
	}
	clusters, err := s.Watch(ctx, protocol.ClustersKey)
	if err != nil {
		return fmt.Errorf("watching clusters: %w", err)
	}
	for _, prefix := range []string{protocol.HostsKey, protocol.GuestsKey, protocol.ClustersKey} {
		if err := v.load(ctx, s, prefix); err != nil {
			return err
		}
	}
	close(synced)
	for {
		var e coord.Event
		var ok bool
		prefix := protocol.HostsKey
		select {
		case <-ctx.Done():
			return nil
		case e, ok = <-hosts:
		case e, ok = <-guests:
			prefix = protocol.GuestsKey
		case e, ok = <-clusters:
			prefix = protocol.ClustersKey
		}
		switch {
		case !ok && ctx.Err() == nil:
			return fmt.Errorf("the watch of %s ended", prefix)
		case !ok:
		case e.Resync:
			if err := v.load(ctx, s, prefix); err != nil {
				return err
			}
		default:
			v.apply(e)
		}
	}
}

// load reads everything below prefix and forgets what is gone.
func (v *view) load(ctx context.Context, s coord.Store, prefix string) error {
	entries, err := s.List(ctx, prefix)
	if err != nil {
		return fmt.Errorf("reading %s: %w", prefix, err)
	}
	v.mu.Lock()
	switch prefix {
	case protocol.HostsKey:
		clear(v.hosts)
		clear(v.containers)
	case protocol.GuestsKey:
		clear(v.guests)
		v.allLost()
	default:
		clear(v.records)
	}
	v.mu.Unlock()
	for i := range entries {
		v.apply(coord.Event{Key: entries[i].Key, Entry: &entries[i]})
	}
	return nil
}

// apply takes one change in, and wakes the instances it concerns.
func (v *view) apply(e coord.Event) {
	parts := strings.Split(strings.TrimPrefix(e.Key, "/"), "/")
	switch {
	case len(parts) == 3 && parts[0] == "hosts" && parts[2] == "alive":
		v.applyHost(parts[1], e.Entry)
	case len(parts) == 4 && parts[0] == "hosts" && parts[2] == "containers":
		v.applyContainer(parts[1], parts[3], e.Entry)
	case len(parts) == 3 && parts[0] == "guests" && parts[2] == "status":
		v.applyGuest(parts[1], e.Entry)
	case len(parts) == 3 && parts[0] == "clusters" && parts[2] == "record":
		v.applyRecord(parts[1], e.Entry)
	}
}

func (v *view) applyHost(host string, e *coord.Entry) {
	v.mu.Lock()
	var status protocol.HostStatus
	if e == nil || json.Unmarshal(e.Value, &status) != nil {
		delete(v.hosts, host)
	} else {
		v.hosts[host] = status
	}
	var ids []string
	for id := range v.containers[host] {
		ids = append(ids, id)
	}
	v.mu.Unlock()
	v.heard()
	for _, id := range ids {
		v.wake(id)
	}
}

func (v *view) applyContainer(host, instance string, e *coord.Entry) {
	v.mu.Lock()
	var status protocol.ContainerStatus
	if e == nil || json.Unmarshal(e.Value, &status) != nil {
		delete(v.containers[host], instance)
	} else {
		v.keepContainer(host, instance, status)
	}
	v.mu.Unlock()
	v.wake(instance)
}

func (v *view) applyGuest(instance string, e *coord.Entry) {
	v.mu.Lock()
	var status protocol.GuestStatus
	if e == nil || json.Unmarshal(e.Value, &status) != nil {
		delete(v.guests, instance)
		v.lost(instance)
	} else {
		v.guests[instance] = status
		v.say(instance, status, time.Time{})
	}
	v.mu.Unlock()
	v.wake(instance)
}

// setContainer and setGuest take in what a reply said of the instance that was asked about, ahead of the watch. Which one the reply itself names
// does not count: who answers may be a thief, and speaks for nobody else.
func (v *view) setContainer(host, instance string, s protocol.ContainerStatus) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keepContainer(host, instance, s)
}

// keepContainer takes in what a host says of a container. The caller holds mu.
func (v *view) keepContainer(host, instance string, s protocol.ContainerStatus) {
	if v.containers[host] == nil {
		v.containers[host] = map[string]protocol.ContainerStatus{}
	}
	v.containers[host][instance] = s
	if down(&s) {
		v.fell[instance] = v.now()
	}
}

func (v *view) setGuest(instance string, s protocol.GuestStatus) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.guests[instance] = s
}

func (v *view) fill(o *Observation) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, o.HostAlive = v.hosts[o.Instance.HostID]
	o.HostGone = v.gone[o.Instance.HostID]
	if c, ok := v.containers[o.Instance.HostID][o.Instance.ID]; ok {
		o.Container = &c
	}
	if g, ok := v.guests[o.Instance.ID]; ok {
		o.Guest = &g
	}
}

// sources lists where a host can get an image from, besides itself.
func (v *view) sources(host, image string) []string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var from []string
	for id, h := range v.hosts {
		if id != host && h.Depot != "" && slices.ContainsFunc(h.Images, func(i protocol.HostImage) bool { return i.Ref == image }) {
			from = append(from, h.Depot)
		}
	}
	slices.Sort(from)
	return from
}

// setGone takes in which hosts have been removed.
func (v *view) setGone(hosts map[string]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone = hosts
}

func (v *view) alive() map[string]protocol.HostStatus {
	v.mu.RLock()
	defer v.mu.RUnlock()
	hosts := make(map[string]protocol.HostStatus, len(v.hosts))
	for id, h := range v.hosts {
		hosts[id] = h
	}
	return hosts
}
