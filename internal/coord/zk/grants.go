package zk

import (
	"context"
	"errors"
	"slices"
	"strings"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// change is one principal's rights being given or taken.
type change struct {
	ctx       context.Context //nolint:containedctx // of one call
	store     *Store
	link      *link
	principal string
	rights    coord.Rights // what it may have in the end
}

func (c *change) node() string { return c.store.layout.principal(c.principal) }

func (c *change) base() []gozk.ACL { return c.store.who.base() }

func (c *change) call(request func(*gozk.Conn) (any, error)) (any, error) {
	return timed(c.ctx, c.store, c.link, request)
}

// give lets the principal have a prefix, whose directory is made, and kept.
func (c *change) give(ctx context.Context, prefix string) error {
	dir := c.store.layout.dir(prefix)
	for settled := false; ; settled = true {
		// Whoever lost the same prefix meanwhile, and did not see these rights yet, may have let the directory go.
		made, err := c.keep(dir)
		if err != nil || settled && !made {
			return err
		}
		if err := c.settle(ctx, dir); err != nil {
			return err
		}
	}
}

// stands tells whether the principal has its right on a prefix's directory, and that is kept.
func (c *change) stands(prefix string) (bool, error) {
	dir := c.store.layout.dir(prefix)
	want := grant(c.principal, readerRights)
	if slices.Contains(c.rights.Own, prefix) {
		want.Perms = dirRights
	}
	stands, err := c.call(func(conn *gozk.Conn) (any, error) {
		acl, _, err := conn.GetACL(dir)
		if err != nil || !allows(acl, want) {
			return false, gone(err)
		}
		kept, _, err := conn.Exists(keptPath(dir))
		return kept, err
	})
	return stands == true, err
}

// keep makes a prefix's directory, and has it stay; made is false when it did already.
func (c *change) keep(dir string) (made bool, err error) {
	for {
		st, err := timed(c.ctx, c.store, c.link, func(conn *gozk.Conn) (*state, error) {
			st := &state{dir: dir}
			return st, c.store.locate(conn, st)
		})
		if err != nil {
			return false, err
		}
		if st.near == "" || len(st.missing) > 0 {
			if err := c.store.makeDirs(c.ctx, c.link, st); err != nil {
				return false, err
			}
		}
		_, err = c.call(func(conn *gozk.Conn) (any, error) {
			return conn.Create(keptPath(dir), nil, gozk.FlagPersistent, c.base())
		})
		if err == nil || errors.Is(err, gozk.ErrNodeExists) {
			return err == nil, nil
		}
		if !errors.Is(err, gozk.ErrNoNode) {
			return false, err
		}
	}
}

// take leaves the principal no right at and below a prefix, but those that it has by other prefixes.
func (c *change) take(ctx context.Context, prefix string) error {
	dir := c.store.layout.dir(prefix)
	if err := c.settle(ctx, dir); err != nil {
		return err
	}
	// Nobody else's prefix: the directory may go when it is empty.
	_, err := c.call(func(conn *gozk.Conn) (any, error) {
		own, err := readRights(conn, dir)
		if err != nil {
			return nil, err
		}
		above, err := readRights(conn, parent(dir))
		if err != nil {
			return nil, err
		}
		if sameRights(own.acl, above.acl) {
			_, err = conn.Multi(&gozk.CheckVersionRequest{Path: dir, Version: own.version}, &gozk.DeleteRequest{Path: keptPath(dir), Version: -1})
		}
		return nil, err
	})
	if errors.Is(err, gozk.ErrBadVersion) {
		return nil // somebody was given it meanwhile
	}
	return gone(err)
}

// branch is a directory whose rights are to be put right.
type branch struct {
	dir   string
	above rights // on the directory above it, as last read
}

// settle puts right the rights on a directory and all below it, from the top: who lost the right to make something in a directory
// before that was listed, cannot have made anything that the list lacks.
//
// Others may do the same at the same time, for another principal, and have begun with other rights further up. So whoever has set rights on
// a node looks whether those on the directory above are still the ones that it took them from, and does it again if not. Whoever changes
// those after that look comes by here afterwards: the last word on a node is from the last rights above it.
func (c *change) settle(ctx context.Context, top string) error {
	above, err := c.rightsOn(parent(top))
	if err != nil {
		return gone(err)
	}
	for level := []branch{{top, above}}; len(level) > 0; {
		below := make([][]branch, len(level))
		err := parallel(ctx, len(level), func(ctx context.Context, i int) (err error) {
			below[i], err = c.settleDir(ctx, level[i])
			return gone(err)
		})
		if err != nil {
			return err
		}
		level = slices.Concat(below...)
	}
	return nil
}

func (c *change) rightsOn(dir string) (rights, error) {
	return timed(c.ctx, c.store, c.link, func(conn *gozk.Conn) (rights, error) { return readRights(conn, dir) })
}

// current tells whether a directory's rights are still those that were read.
func (c *change) current(dir string, at edition) (bool, error) {
	return timed(c.ctx, c.store, c.link, func(conn *gozk.Conn) (bool, error) {
		there, stat, err := conn.Exists(dir)
		return err == nil && there && editionOf(stat) == at, err
	})
}

func (c *change) settleDir(ctx context.Context, b branch) ([]branch, error) {
	for {
		own, err := c.settleRights(&b)
		if err != nil {
			return nil, err
		}
		below, set, err := c.settleNodes(ctx, b.dir, own)
		if err != nil || !set {
			return below, err
		}
		if current, err := c.current(b.dir, own.edition); err != nil || current {
			return below, err
		}
	}
}

// settleNodes puts right what lies in a directory and is no directory itself, and lists those that are; set is true if anything was not as it had to be.
func (c *change) settleNodes(ctx context.Context, dir string, own rights) (below []branch, set bool, err error) {
	names, err := timed(ctx, c.store, c.link, func(conn *gozk.Conn) ([]string, error) {
		names, _, err := conn.Children(dir)
		return names, err
	})
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		path := dir + "/" + name
		if !reserved(name) {
			below = append(below, branch{path, own})
			continue
		}
		changed, err := c.settleNode(path, c.rightsOf(own.acl, name, names))
		if gone(err) != nil {
			return nil, false, err
		}
		set = set || changed
	}
	return below, set, nil
}

// settleRights puts right the rights on a directory: those on the one above, those of the principal if this is a prefix of its, and
// those of others that were admitted here. Whatever else there is, a principal made up.
func (c *change) settleRights(b *branch) (rights, error) {
	for {
		have, err := c.rightsOn(b.dir)
		if err != nil {
			return rights{}, err
		}
		want, err := c.rightful(*b, have.acl)
		if err != nil {
			return rights{}, err
		}
		if sameRights(have.acl, want) {
			return have, nil
		}
		set, err := timed(c.ctx, c.store, c.link, func(conn *gozk.Conn) (*gozk.Stat, error) {
			stat, err := conn.SetACL(b.dir, want, have.edition.changes)
			if err == nil {
				_, err = conn.Set(b.dir, nil, -1) // for those who have read the rights and not used them yet
			}
			return stat, err
		})
		if err != nil && !errors.Is(err, gozk.ErrBadVersion) {
			return rights{}, err
		}
		current, lookErr := c.current(parent(b.dir), b.above.edition)
		if lookErr != nil {
			return rights{}, lookErr
		}
		if err == nil && current {
			return rights{acl: want, edition: editionOf(set)}, nil
		}
		if !current {
			if b.above, err = c.rightsOn(parent(b.dir)); err != nil {
				return rights{}, err
			}
		}
	}
}

// rightful are the rights that there are to be on a directory which has some.
func (c *change) rightful(b branch, have []gozk.ACL) ([]gozk.ACL, error) {
	key := c.store.layout.key(b.dir)
	want := slices.Clone(b.above.acl)
	switch {
	case slices.Contains(c.rights.Own, key):
		want = with(want, grant(c.principal, dirRights))
	case slices.Contains(c.rights.Read, key):
		want = with(want, grant(c.principal, readerRights))
	}
	inherited := setOf(b.above.acl)
	for _, a := range have {
		name, ok := principalOf(a)
		if !ok || inherited[a] || name == c.principal || a.Perms != dirRights && a.Perms != readerRights {
			continue
		}
		r, err := c.recordOf(name)
		if err != nil {
			return nil, err
		}
		if r != nil && (slices.Contains(r.Own, key) || a.Perms == readerRights && slices.Contains(r.Read, key)) {
			want = with(want, a)
		}
	}
	return want, nil
}

// rightsOf are those on a node in a directory; nil when it does not belong there.
func (c *change) rightsOf(dir []gozk.ACL, name string, beside []string) []gozk.ACL {
	switch {
	case name == valueName:
		return rightsOn(dir, valueRights)
	case name == keptName:
		return c.base()
	case strings.HasPrefix(name, markerName) && hasValue(beside):
		return rightsOn(dir, markerRights)
	}
	return nil
}

// settleNode gives a value or a marker its rights; what does not belong is deleted. They have nothing below them, unless a principal put
// it there so that they could not be deleted. It tells whether it gave rights.
func (c *change) settleNode(path string, want []gozk.ACL) (set bool, err error) {
	return timed(c.ctx, c.store, c.link, func(conn *gozk.Conn) (set bool, err error) {
		acl, stat, err := conn.GetACL(path)
		if err == nil && want != nil && !sameRights(acl, want) {
			_, err = conn.SetACL(path, want, -1)
			set = true
		}
		if err == nil && stat.NumChildren > 0 {
			err = prune(conn, path)
		}
		if err == nil && want == nil {
			err = conn.Delete(path, -1)
		}
		return set, err
	})
}

// prune deletes all below a node.
func prune(conn *gozk.Conn, path string) error {
	names, _, err := conn.Children(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := path + "/" + name
		if err := prune(conn, below); gone(err) != nil {
			return err
		}
		if err := conn.Delete(below, -1); gone(err) != nil {
			return err
		}
	}
	return nil
}
