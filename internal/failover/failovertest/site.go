// Package failovertest simulates the servers and agents of clusters: the agents go by the real records in a real coordination engine, and by
// failover.Conduct, on servers that are only numbers.
//
// It owns what a server and its replication do, without time and without MySQL. It must not know who decides.
package failovertest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

// TB is what a Site needs of a test.
type TB interface {
	Errorf(format string, args ...any)
	Cleanup(cleanup func())
}

// sessionTTL of agents.
const sessionTTL = 2 * time.Second

// Site is the servers of any number of clusters.
type Site struct {
	t     TB
	ctx   context.Context //nolint:containedctx // of the whole test
	store coord.Store

	mu      sync.Mutex
	servers map[string]*Server
	next    int64         // the number of the next transaction
	shared  coord.Session // of all agents, where each having its own would be too dear; nil: each has
	wg      sync.WaitGroup
}

// NewSite makes one without servers. ctx must end before the test does.
func NewSite(ctx context.Context, t TB, store coord.Store) *Site {
	s := &Site{t: t, ctx: ctx, store: store, servers: map[string]*Server{}, next: 1}
	t.Cleanup(s.wg.Wait)
	return s
}

// Share has all agents live in one session, which never ends by itself: for thousands of them.
func (s *Site) Share() error {
	session, err := s.store.NewSession(s.ctx, time.Minute)
	s.shared = session
	return err
}

// Server is one mysqld with its agent.
type Server struct {
	site    *Site
	id      string
	cluster string
	heard   chan struct{} // capacity 1: there is a newer record

	// By the site's mu.
	record   durability.Record
	status   failover.Status
	alive    bool // agent and mysqld
	removed  bool
	restarts int64
	serial   int64
	since    time.Time
	said     protocol.GuestStatus
	session  coord.Session
}

// Start has a server run, and its agent with it, unless it does. A new one is empty and has not heard of any record.
func (s *Site) Start(id, cluster string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers[id] != nil {
		return
	}
	v := &Server{
		site: s, id: id, cluster: cluster, alive: true, since: time.Now(), heard: make(chan struct{}, 1), status: failover.Status{
			Server: "s" + id, Mysqld: failover.MysqldUp, Offline: true, Writes: failover.WritesOff, Receiver: failover.Receiver{State: failover.ReceiverStopped},
		},
	}
	s.servers[id] = v
	s.wg.Go(v.run)
}

// Remove takes a server away, with all that it holds.
func (s *Site) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.servers[id]; v != nil {
		v.alive, v.removed = false, true
	}
	delete(s.servers, id)
}

// Kill has a server and its agent be gone.
func (s *Site) Kill(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[id]
	v.alive = false
	select {
	case v.heard <- struct{}{}: // that its session ends
	default:
	}
}

// Revive has one that was killed come back, or one that runs start again. serial is of the restart that this carries out; 0: none.
func (s *Site) Revive(id string, serial int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[id]
	v.alive, v.since, v.said = true, time.Now(), protocol.GuestStatus{}
	v.status.Offline, v.status.Writes, v.status.Guarded, v.status.Serving = true, failover.WritesOff, false, failover.Serving{}
	v.status.Receiver.State = failover.ReceiverStopped
	v.restarts = max(v.restarts, serial)
}

// Fill has the disk of a server be nearly full, or have room again.
func (s *Site) Fill(id string, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[id].status.Room = failover.Room{Low: full, Free: 60 << 20, Size: 600 << 20}
}

// Look is what an agent answers to protocol.KindLook; false when there is none.
func (s *Site) Look(id string, r durability.Record) (protocol.GuestStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[id]
	if v == nil || !v.alive {
		return protocol.GuestStatus{}, false
	}
	v.learn(r)
	return v.word(), true
}

// Open are the servers of a cluster that are open for writes, with what they have executed.
func (s *Site) Open(cluster string) map[string]gtid.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := map[string]gtid.Set{}
	for _, v := range s.servers {
		if v.cluster == cluster && v.alive && v.status.Open() {
			open[v.id] = v.status.Executed
		}
	}
	return open
}

// Commit commits one more transaction on a server, as a client would; ok says that it was acknowledged.
func (s *Site) Commit(id string) (trx gtid.Set, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.servers[id]
	if v == nil || !v.alive || !v.status.Open() || v.status.Guarded {
		return gtid.Set{}, false
	}
	return s.commit(v)
}

func (v *Server) learn(r durability.Record) {
	if v.alive && r.Cluster == v.cluster && r.Epoch > v.record.Epoch {
		v.record = r
		select {
		case v.heard <- struct{}{}:
		default:
		}
	}
}

// word is what the agent says now. The caller holds mu.
func (v *Server) word() protocol.GuestStatus {
	s := v.status
	s.Epoch = v.record.Epoch
	v.serial++
	w := protocol.GuestStatus{
		Instance: v.id, AgentSince: v.since, Serial: v.serial, Epoch: s.Epoch, Part: &s, Turning: v.record.Intent != nil, ConfigMemMB: 512, RestartsDone: v.restarts,
	}
	w.Mysqld.State = protocol.MysqldLocked
	if !s.Offline {
		w.Mysqld.State = protocol.MysqldServing
	}
	return w
}

// run is the agent. Servers that share a session hear of records from Follow, else each watches its own.
func (v *Server) run() {
	ctx := v.site.ctx
	var events <-chan coord.Event
	every := 20 * time.Millisecond
	if v.site.shared == nil {
		var err error
		if events, err = v.site.store.Watch(ctx, protocol.ClusterPrefix(v.cluster)); err != nil {
			v.site.t.Errorf("%s: %v", v.id, err)
			return
		}
	} else {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil && !v.over() {
		v.site.mu.Lock()
		v.step()
		v.site.mu.Unlock()
		v.publish(ctx)
		select {
		case <-ctx.Done():
		case e := <-events:
			v.site.hear(e)
		case <-v.heard:
		case <-tick.C:
		}
	}
}

// Follow hears of the records of all clusters, for servers that share a session, until ctx ends.
func (s *Site) Follow() error {
	events, err := s.store.Watch(s.ctx, protocol.ClustersKey)
	if err != nil {
		return fmt.Errorf("watching all clusters: %w", err)
	}
	s.wg.Go(func() {
		for e := range events {
			s.hear(e)
		}
	})
	return nil
}

func (s *Site) hear(e coord.Event) {
	if e.Entry == nil || !strings.HasSuffix(e.Key, "/record") {
		return
	}
	r, err := durability.Parse(e.Entry.Value)
	if err != nil {
		s.t.Errorf("the record: %v", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.members(r.Cluster) {
		s.servers[id].learn(r)
	}
}

func (v *Server) over() bool {
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	return v.removed && v.session == nil
}

// publish keeps the status in coordination, when it tells something new, and takes it away with its agent.
func (v *Server) publish(ctx context.Context) {
	s := v.site
	s.mu.Lock()
	alive, session := v.alive, v.session
	var w, same protocol.GuestStatus
	if alive {
		w = v.word()
		same = v.said
		same.Serial = w.Serial
	} else {
		v.session, v.said = nil, protocol.GuestStatus{}
	}
	s.mu.Unlock()
	switch {
	case !alive && session != nil && s.shared != nil:
		_ = s.store.Apply(ctx, coord.Delete(protocol.GuestStatusKey(v.id), 0))
		return
	case !alive && session != nil:
		_ = session.Close(ctx)
		return
	case !alive || reflect.DeepEqual(same, w):
		return
	case session == nil && s.shared != nil:
		session = s.shared
	case session == nil:
		var err error
		if session, err = s.store.NewSession(ctx, sessionTTL); err != nil {
			return
		}
	}
	text, err := json.Marshal(w)
	if err != nil {
		s.t.Errorf("%v", err)
	}
	err = s.store.Apply(ctx, coord.Put(protocol.GuestStatusKey(v.id), text, session))
	s.mu.Lock()
	defer s.mu.Unlock()
	v.session = session
	if err == nil {
		v.said = w
	}
}

// Number gives transactions as a set.
func Number(first, last int64) gtid.Set {
	s, err := gtid.Parse(fmt.Sprintf("00000000-0000-4000-8000-000000000001:%d-%d", first, last))
	if err != nil {
		panic(err) // of two numbers
	}
	return s
}
