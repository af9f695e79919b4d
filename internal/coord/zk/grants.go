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
		_, err := c.call(func(conn *gozk.Conn) (any, error) {
			st := &state{dir: dir}
			if err := c.store.locate(conn, st); err != nil {
				return nil, err
			}
			if st.near == "" {
				if err := c.store.makeTree(conn); err != nil {
					return nil, err
				}
				return nil, gozk.ErrNoNode
			}
			if len(st.missing) > 0 {
				if err := c.store.makeContainers(conn, st); err != nil {
					return nil, err
				}
			}
			_, err := conn.Create(keptPath(dir), nil, gozk.FlagPersistent, c.base())
			return nil, err
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
	dir       string
	inherited []gozk.ACL // the rights on the directory above it
}

// settle puts right the rights on a directory and all below it, from the top: who lost the right to make something in a directory
// before that was listed, cannot have made anything that the list lacks.
func (c *change) settle(ctx context.Context, top string) error {
	above, err := c.call(func(conn *gozk.Conn) (any, error) { return readRights(conn, parent(top)) })
	if err != nil {
		return gone(err)
	}
	r, _ := above.(rights)
	for level := []branch{{top, r.acl}}; len(level) > 0; {
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

func (c *change) settleDir(ctx context.Context, b branch) ([]branch, error) {
	acl, err := c.settleRights(b)
	if err != nil {
		return nil, err
	}
	names, err := timed(ctx, c.store, c.link, func(conn *gozk.Conn) ([]string, error) {
		names, _, err := conn.Children(b.dir)
		return names, err
	})
	if err != nil {
		return nil, err
	}
	var below []branch
	for _, name := range names {
		path := b.dir + "/" + name
		if !reserved(name) {
			below = append(below, branch{path, acl})
			continue
		}
		if err := c.settleNode(path, c.rightsOf(acl, name, names)); gone(err) != nil {
			return nil, err
		}
	}
	return below, nil
}

// settleRights puts right the rights on a directory: those on the one above, those of the principal if this is a prefix of its, and
// those of others that were admitted here. Whatever else there is, a principal made up.
func (c *change) settleRights(b branch) ([]gozk.ACL, error) {
	for {
		now, err := c.call(func(conn *gozk.Conn) (any, error) { return readRights(conn, b.dir) })
		if err != nil {
			return nil, err
		}
		have, _ := now.(rights)
		want, err := c.rightful(b, have.acl)
		if err != nil {
			return nil, err
		}
		if sameRights(have.acl, want) {
			return want, nil
		}
		_, err = c.call(func(conn *gozk.Conn) (any, error) {
			if _, err := conn.SetACL(b.dir, want, have.changes); err != nil {
				return nil, err
			}
			return conn.Set(b.dir, nil, -1) // for those who have read the rights and not used them yet
		})
		if err == nil {
			return want, nil
		}
		if !errors.Is(err, gozk.ErrBadVersion) {
			return nil, err
		}
	}
}

// rightful are the rights that there are to be on a directory which has some.
func (c *change) rightful(b branch, have []gozk.ACL) ([]gozk.ACL, error) {
	key := c.store.layout.key(b.dir)
	want := slices.Clone(b.inherited)
	switch {
	case slices.Contains(c.rights.Own, key):
		want = with(want, grant(c.principal, dirRights))
	case slices.Contains(c.rights.Read, key):
		want = with(want, grant(c.principal, readerRights))
	}
	inherited := setOf(b.inherited)
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
// it there so that they could not be deleted.
func (c *change) settleNode(path string, want []gozk.ACL) error {
	_, err := c.call(func(conn *gozk.Conn) (any, error) {
		acl, stat, err := conn.GetACL(path)
		if err == nil && want != nil && !sameRights(acl, want) {
			_, err = conn.SetACL(path, want, -1)
		}
		if err == nil && stat.NumChildren > 0 {
			err = prune(conn, path)
		}
		if err == nil && want == nil {
			err = conn.Delete(path, -1)
		}
		return nil, err
	})
	return err
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
