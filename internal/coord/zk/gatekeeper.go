package zk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// errPlain means that there is nobody to give rights to.
var errPlain = fmt.Errorf("%w: without TLS, ZooKeeper knows no principals", coord.ErrInvalid)

// Gatekeeper gives rights in ZooKeeper. What a principal was admitted to is written in a node of its own, before rights are given and
// until all are taken; so a call that was cut short is made good by the next.
//
// Rights are on every node. What is made later inherits them from its directory (create, makeContainers); whoever reads a
// directory's rights while they change finds that its version rose.
type Gatekeeper struct {
	store *Store
	shut  atomic.Bool // what lies around the keys was closed for everybody else
	// walked has the prefixes of which this gatekeeper has put right all that is below. Many principals may have the same one, and are admitted
	// again when a control plane starts: one walk is enough for all whose rights were settled before.
	walked sync.Map
}

var _ coord.Gatekeeper = (*Gatekeeper)(nil)

// NewGatekeeper needs the store of RootPrincipal.
func NewGatekeeper(s *Store) *Gatekeeper { return &Gatekeeper{store: s} }

// record is what a principal's node holds: rights that may have been given.
type record struct {
	Own  []string `json:"prefixes"`
	Read []string `json:"read,omitempty"`
	// Settled says that these have been given, all of them, and no others.
	Settled bool `json:"settled,omitempty"`
}

// settled tells whether a principal's node says so.
func settled(data []byte) bool {
	var r record
	return json.Unmarshal(data, &r) == nil && r.Settled
}

// prefixes are those of either kind, each once.
func (r record) prefixes() []string { return union(r.Own, r.Read) }

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// Admit implements coord.Gatekeeper.
func (g *Gatekeeper) Admit(ctx context.Context, principal string, rights coord.Rights) error {
	if err := coord.CheckRights(rights); err != nil {
		return err
	}
	if err := g.check(principal); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	return g.on(ctx, "admit", principal, func(ctx context.Context, c *change) error {
		if err := g.surround(ctx, c); err != nil {
			return err
		}
		loaded, err := c.load()
		if err != nil {
			return err
		}
		had := record{}
		if loaded != nil {
			had = *loaded
		}
		want := record{Own: union(rights.Own, nil), Read: union(rights.Read, nil), Settled: true}
		c.rights = rights
		if had.Settled && sameRecord(had, want) {
			return g.give(ctx, c, want, true)
		}
		if err := c.save(record{Own: union(had.Own, want.Own), Read: union(had.Read, want.Read)}); err != nil {
			return err
		}
		for _, p := range narrowed(had, want) { // first narrow, then widen
			if err := c.take(ctx, p); err != nil {
				return err
			}
		}
		if err := g.give(ctx, c, want, false); err != nil {
			return err
		}
		return c.save(want)
	})
}

func sameRecord(a, b record) bool { return slices.Equal(a.Own, b.Own) && slices.Equal(a.Read, b.Read) }

// give gives all of a record's rights; settled says that they were given before, so that it is enough to look.
func (g *Gatekeeper) give(ctx context.Context, c *change, r record, settled bool) error {
	for _, p := range r.prefixes() {
		if _, walked := g.walked.Load(p); walked && settled {
			stands, err := c.stands(p)
			if err != nil {
				return err
			}
			if stands {
				continue
			}
		}
		if err := c.give(ctx, p); err != nil {
			return err
		}
		g.walked.Store(p, true)
	}
	return nil
}

// narrowed are the prefixes of which a principal keeps less than it had.
func narrowed(had, want record) []string {
	return slices.DeleteFunc(had.prefixes(), func(p string) bool {
		return slices.Contains(want.Own, p) || slices.Contains(want.Read, p) && !slices.Contains(had.Own, p)
	})
}

// surround closes what lies around the keys before the first principal can come.
func (g *Gatekeeper) surround(ctx context.Context, c *change) error {
	if g.shut.Load() {
		return nil
	}
	_, err := c.call(func(conn *gozk.Conn) (any, error) { return nil, g.store.shut(ctx, conn) })
	if err == nil {
		g.shut.Store(true)
	}
	return err
}

// Expel implements coord.Gatekeeper.
func (g *Gatekeeper) Expel(ctx context.Context, principal string) error {
	if err := g.check(principal); err != nil {
		return fmt.Errorf("expel: %w", err)
	}
	return g.on(ctx, "expel", principal, func(ctx context.Context, c *change) error {
		had, err := c.load()
		if err != nil || had == nil {
			return err
		}
		if err := c.save(record{Own: had.Own, Read: had.Read}); err != nil {
			return err
		}
		// It can open no session any more, and its own client, which the record has told to look, ends those that it has.
		if _, err := c.call(func(conn *gozk.Conn) (any, error) { return conn.SetACL(c.node(), c.base(), -1) }); err != nil {
			return gone(err)
		}
		prefixes := had.prefixes()
		for _, p := range prefixes {
			g.walked.Delete(p)
		}
		// Twice, because another principal that shares a prefix may have been making a directory while the rights on the one above it changed.
		for range 2 {
			for _, p := range prefixes {
				if err := c.take(ctx, p); err != nil {
					return err
				}
			}
		}
		_, err = c.call(func(conn *gozk.Conn) (any, error) { return nil, conn.Delete(c.node(), -1) })
		return gone(err)
	})
}

func (g *Gatekeeper) check(principal string) error {
	switch {
	case !principalName.MatchString(principal) || principal == RootPrincipal:
		return fmt.Errorf("%w: principal %q", coord.ErrInvalid, principal)
	case g.store.who.plain():
		return errPlain
	case !g.store.who.mighty():
		return fmt.Errorf("%w: %q gives no rights", coord.ErrDenied, g.store.who.name)
	}
	return nil
}

// on runs a change on the link of the moment, and again from the start on the next one.
func (g *Gatekeeper) on(ctx context.Context, what, principal string, run func(context.Context, *change) error) error {
	for {
		l, err := g.store.linkSoon(ctx)
		if err == nil {
			err = run(ctx, &change{ctx: ctx, store: g.store, link: l, principal: principal})
		}
		if !broken(err) || !l.gone(ctx) {
			return mapError(what+" "+principal, err)
		}
	}
}

// load gives the rights that a principal may have; nil when it is unknown.
func (c *change) load() (*record, error) {
	if _, err := c.call(func(conn *gozk.Conn) (any, error) { return nil, c.store.sync(conn) }); err != nil {
		return nil, err
	}
	return c.recordOf(c.principal)
}

func (c *change) recordOf(principal string) (*record, error) {
	data, err := c.call(func(conn *gozk.Conn) (any, error) {
		data, _, err := conn.Get(c.store.layout.principal(principal))
		return data, err
	})
	if errors.Is(err, gozk.ErrNoNode) {
		return nil, nil //nolint:nilnil // nobody
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	if raw, ok := data.([]byte); ok {
		err = json.Unmarshal(raw, r)
	}
	if err != nil {
		return nil, fmt.Errorf("what was kept of %s: %w", principal, err)
	}
	return r, nil
}

// save writes the record, which its principal may read.
func (c *change) save(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	acl := append(c.base(), grant(c.principal, gozk.PermRead))
	_, err = c.call(func(conn *gozk.Conn) (any, error) {
		for {
			_, err := conn.Create(c.node(), data, gozk.FlagPersistent, acl)
			if errors.Is(err, gozk.ErrNodeExists) {
				if _, err = conn.Set(c.node(), data, -1); err == nil {
					_, err = conn.SetACL(c.node(), acl, -1)
				}
				return nil, err
			}
			if !errors.Is(err, gozk.ErrNoNode) {
				return nil, err
			}
			if err := c.store.makeTree(conn); err != nil {
				return nil, err
			}
		}
	})
	return err
}
