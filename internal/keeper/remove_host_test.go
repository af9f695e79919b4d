package keeper

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// gateBook writes down who was let in and who was turned out, of keys.
type gateBook struct {
	mu  sync.Mutex
	was []string
}

func (g *gateBook) note(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.was = append(g.was, what)
}

func (g *gateBook) has(what string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.was, what)
}

func (g *gateBook) Admit(_ context.Context, principal string, _ coord.Rights) error {
	g.note("in " + principal)
	return nil
}

func (g *gateBook) Expel(_ context.Context, principal string) error {
	g.note("out " + principal)
	return nil
}

// A host that its operator has removed takes what is being deleted there with it, and nothing that is not.
func TestHostIsRemoved(t *testing.T) {
	s := newSim(t)
	s.host("a", 0)
	s.host("b", 1)
	k := s.keeper()
	book := &gateBook{}
	k.cfg.AdmitHosts, k.cfg.Resync, k.e.Keys = true, 50*time.Millisecond, book
	s.runs(k)
	await := func(why string, good func() bool) {
		t.Helper()
		require.Eventually(t, good, 20*time.Second, 10*time.Millisecond, why)
	}
	await("both are let in", func() bool { return book.has("in host.a") && book.has("in host.b") })

	change := func(edit func(tx metastore.Tx) error) { require.NoError(t, s.meta.Update(t.Context(), edit)) }
	is := func(kind, id string) (there bool) {
		require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) error {
			hosts, err := tx.Hosts().List(t.Context())
			if err != nil {
				return err
			}
			there = kind == "host" && slices.ContainsFunc(hosts, func(h model.Host) bool { return h.ID == id })
			all, err := tx.Instances().List(t.Context(), metastore.InstanceFilter{})
			there = there || kind == "instance" && slices.ContainsFunc(all, func(i model.Instance) bool { return i.ID == id })
			return err
		}))
		return there
	}
	now := time.Now().UTC()
	instance := func(id string, desired model.Desired) {
		change(func(tx metastore.Tx) error {
			return tx.Instances().Create(t.Context(), &model.Instance{
				ID: id, ProjectID: "p", Name: id, Desired: desired, Generation: 1, DatastoreVersionID: "v", FlavorID: "1", HostID: "a", Address: "10.0.0." + id,
				Status: model.StatusActive, OperatingStatus: model.OperatingShutdown, Created: now, Updated: now,
			})
		})
	}
	require.NoError(t, s.store.Apply(t.Context(), coord.Delete(protocol.HostAliveKey("a"), 0)))
	instance("11", model.DesiredDeleted)
	instance("12", model.DesiredPresent)
	time.Sleep(4 * k.cfg.Resync) // nothing is to happen in it
	require.True(t, is("instance", "11"), "its host is away, and may come back")

	remove := func(tx metastore.Tx) error {
		h, err := tx.Hosts().Get(t.Context(), "a")
		if err != nil {
			return err
		}
		h.Removed = true
		return tx.Hosts().Put(t.Context(), h)
	}
	change(remove)
	await("what is deleted is given up", func() bool { return !is("instance", "11") })
	require.True(t, book.has("out guest.11"))
	s.host("a", 0) // it comes back all the same
	time.Sleep(4 * k.cfg.Resync)
	require.True(t, is("instance", "12"), "nobody has deleted it")
	require.True(t, is("host", "a"), "its databases are found by it")
	require.False(t, book.has("out host.a"))

	change(func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(t.Context(), "12")
		if err != nil {
			return err
		}
		i.Desired = model.DesiredDeleted
		return tx.Instances().Update(t.Context(), &i)
	})
	await("then it goes", func() bool { return !is("host", "a") })
	require.True(t, book.has("out host.a"))
	require.False(t, is("instance", "12"))
	left, err := s.store.List(t.Context(), protocol.HostPrefix("a"))
	require.NoError(t, err)
	require.Empty(t, left, "its keys go with it")
	require.True(t, is("host", "b"))
	require.False(t, book.has("out host.b"))

	// It may be added again, and is let in again.
	book.mu.Lock()
	book.was = nil
	book.mu.Unlock()
	change(func(tx metastore.Tx) error {
		return tx.Hosts().Put(t.Context(), model.Host{ID: "a", Name: "a", Created: now})
	})
	await("it may come again", func() bool { return book.has("in host.a") })
}

// A host that was removed a moment ago, and of which this process still hears as of before, is not written down as a new one.
func TestRemovedHostIsNoNewOne(t *testing.T) {
	s := newSim(t)
	s.host("a", 0)
	k := s.keeper()
	k.view, k.known = newView(func(string) {}, func() {}, func(string) {}), make(chan map[string]model.Host, 1)
	for _, id := range []string{"a", "gone"} {
		said, err := json.Marshal(protocol.HostStatus{Host: id})
		require.NoError(t, err)
		k.view.applyHost(id, &coord.Entry{Value: said})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.NoError(t, k.begin(ctx))
	_ = k.registerAll(ctx) // nobody answers at either of them
	var ids []string
	require.NoError(t, s.meta.View(t.Context(), func(tx metastore.Tx) error {
		hosts, err := tx.Hosts().List(t.Context())
		for _, h := range hosts {
			ids = append(ids, h.ID)
		}
		return err
	}))
	require.Equal(t, []string{"a"}, ids)
}
