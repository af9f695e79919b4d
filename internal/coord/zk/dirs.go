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
	changes int32 // how often they changed since it was made
}

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
	return rights{acl: acl, version: stat.Version, changes: now.Aversion}, nil
}

// makeDirs makes the directories that lack for a key, with the rights of the nearest one.
func (s *Store) makeDirs(ctx context.Context, l *link, st *state) error {
	_, err := call(ctx, l.conn, func(conn *gozk.Conn) (any, error) {
		if st.near == "" {
			return nil, s.makeTree(conn)
		}
		return nil, s.makeContainers(conn, st)
	})
	return err
}

// makeContainers makes each on its own, because ZooKeeper makes no containers as part of a larger change. So the rights may change in
// between: then they are inherited again. (A principal that is not the control plane cannot do that; Gatekeeper looks again after it.)
func (s *Store) makeContainers(conn *gozk.Conn, st *state) error {
	from, err := readRights(conn, st.near)
	if err != nil {
		return gone(err)
	}
	var made []string
	for _, dir := range st.missing {
		_, err := conn.CreateContainer(dir, nil, gozk.FlagContainer, from.acl)
		if err == nil {
			made = append(made, dir)
		} else if !errors.Is(err, gozk.ErrNodeExists) {
			return gone(err)
		}
	}
	for changes := int32(0); s.who.mighty() && len(made) > 0; changes++ {
		there, stat, err := conn.Exists(st.near)
		if err != nil || !there || stat.Version == from.version {
			return err
		}
		if from, err = readRights(conn, st.near); err != nil {
			return gone(err)
		}
		for _, dir := range made {
			// Only as long as nobody else has given rights on it.
			if _, err := conn.SetACL(dir, from.acl, changes); err != nil && !overtaken(err) {
				return err
			}
		}
	}
	return nil
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
