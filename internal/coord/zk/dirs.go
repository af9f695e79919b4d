package zk

import (
	"context"
	"errors"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// rights are those on a directory at one version of it: whoever changes them raises it.
type rights struct {
	acl     []gozk.ACL
	version int32 // of its data
	edition edition
}

// edition changes with every change of the rights on a node, and when the node is made anew.
type edition struct {
	made    int64
	changes int32 // how often they changed since it was made
}

func editionOf(stat *gozk.Stat) edition { return edition{stat.Czxid, stat.Aversion} }

// readRights reads the version first: rights that are newer than it do no harm, since what is made with them is made on condition of the version.
func readRights(conn *gozk.Conn, dir string) (rights, error) {
	_, stat, err := conn.Get(dir)
	if err != nil {
		return rights{}, err
	}
	acl, now, err := conn.GetACL(dir)
	if err != nil {
		return rights{}, err
	}
	return rights{acl: acl, version: stat.Version, edition: editionOf(now)}, nil
}

// makeDirs makes the directories that lack for a key, with the rights of the nearest one. Each is made on its own, because ZooKeeper makes
// no containers as part of a larger change. So the rights may change in between, and who changes them may not have seen the new ones: then
// theirs are put right here, and those of what others made in them by now. (A principal that is not the control plane cannot do that;
// Gatekeeper looks again after it.)
func (s *Store) makeDirs(ctx context.Context, l *link, st *state) error {
	late, err := call(ctx, l.conn, func(conn *gozk.Conn) (bool, error) {
		if st.near == "" {
			return false, s.makeTree(conn)
		}
		return s.makeContainers(conn, st)
	})
	if err != nil || !late {
		return err
	}
	return (&change{ctx: ctx, store: s, link: l}).settle(ctx, st.missing[0])
}

// makeContainers tells whether the rights changed after it had read them.
func (s *Store) makeContainers(conn *gozk.Conn, st *state) (late bool, err error) {
	from, err := readRights(conn, st.near)
	if err != nil {
		return false, gone(err)
	}
	for _, dir := range st.missing {
		if _, err := conn.CreateContainer(dir, nil, gozk.FlagContainer, from.acl); err != nil && !errors.Is(err, gozk.ErrNodeExists) {
			return false, gone(err)
		}
	}
	if !s.who.mighty() {
		return false, nil
	}
	there, stat, err := conn.Exists(st.near)
	return err == nil && there && stat.Version != from.version, err
}

// gone drops what only says that a directory went meanwhile: whoever made it looks again.
func gone(err error) error {
	if errors.Is(err, gozk.ErrNoNode) {
		return nil
	}
	return err
}

// makeTree makes what all keys and principals are below.
func (s *Store) makeTree(conn *gozk.Conn) error {
	parts := strings.Split(s.layout.root[1:], "/")
	var paths []string
	for i := range parts {
		paths = append(paths, "/"+strings.Join(parts[:i+1], "/"))
	}
	for _, path := range append(paths, s.layout.keys(), s.layout.principals()) {
		_, err := conn.Create(path, nil, gozk.FlagPersistent, s.who.base())
		if err == nil || errors.Is(err, gozk.ErrNodeExists) {
			continue
		}
		if there, _, lookErr := conn.Exists(path); errors.Is(err, gozk.ErrNoAuth) && lookErr == nil && there {
			continue // above the root, in a ZooKeeper that others use as well
		}
		return err
	}
	return nil
}
