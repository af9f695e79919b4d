package zk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
}

var _ coord.Gatekeeper = (*Gatekeeper)(nil)

// NewGatekeeper needs the store of RootPrincipal.
func NewGatekeeper(s *Store) *Gatekeeper { return &Gatekeeper{store: s} }

// record is what a principal's node holds.
type record struct {
	Prefixes []string `json:"prefixes"` // rights may have been given on these
}

// Admit implements coord.Gatekeeper. Rights to other keys, given before, are taken back.
func (g *Gatekeeper) Admit(ctx context.Context, principal string, prefixes []string) error {
	for _, p := range prefixes {
		if err := coord.CheckKey(p); err != nil { // "/" is not one
			return err
		}
	}
	if err := g.check(principal); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	return g.on(ctx, "admit", principal, func(ctx context.Context, c *change) error {
		if err := g.surround(ctx, c); err != nil {
			return err
		}
		had, err := c.load()
		if err != nil {
			return err
		}
		all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(had, prefixes))))
		if err := c.save(record{Prefixes: all}); err != nil {
			return err
		}
		c.prefixes = prefixes
		for _, p := range all { // first narrow, then widen
			if !slices.Contains(prefixes, p) {
				if err := c.take(ctx, p); err != nil {
					return err
				}
			}
		}
		for _, p := range prefixes {
			if err := c.give(ctx, p); err != nil {
				return err
			}
		}
		return c.save(record{Prefixes: prefixes})
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
		// It can open no session any more, and its own client ends those that it has.
		if _, err := c.call(func(conn *gozk.Conn) (any, error) { return conn.SetACL(c.node(), c.base(), -1) }); err != nil {
			return gone(err)
		}
		// Twice, because another principal that shares a prefix may have been making a directory while the rights on the one above it changed.
		for range 2 {
			for _, p := range had {
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

// load gives the prefixes that a principal may have rights on; nil when it is unknown.
func (c *change) load() ([]string, error) {
	if _, err := c.call(func(conn *gozk.Conn) (any, error) { return nil, c.store.sync(conn) }); err != nil {
		return nil, err
	}
	r, err := c.recordOf(c.principal)
	if err != nil || r == nil {
		return nil, err
	}
	return append([]string{}, r.Prefixes...), nil
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
