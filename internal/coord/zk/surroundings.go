package zk

import (
	"context"
	"errors"
	"slices"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// systemNode is ZooKeeper's own.
const systemNode = "/zookeeper"

// shut takes from everybody what a new ZooKeeper allows everybody outside of Huker's keys: to make nodes at the root, and to write, limit and list below
// its own node. Whoever stole a credential could fill the servers' memory there, or take these nodes' rights from the control plane. The root is left alone
// where others have something in it: the ZooKeeper is not Huker's alone, and its owner must know. So are nodes whose rights others have set.
func (s *Store) shut(ctx context.Context, conn *gozk.Conn) error {
	for _, path := range []string{"/", systemNode, systemNode + "/quota", systemNode + "/config"} {
		acl, _, err := conn.GetACL(path)
		if errors.Is(err, gozk.ErrNoNode) {
			continue
		}
		if err == nil && !forEverybody(acl) {
			continue
		}
		others := ""
		if err == nil && path == "/" {
			others, err = s.beside(conn)
		}
		if err == nil && others == "" {
			_, err = conn.SetACL(path, s.who.base(), -1)
		}
		switch {
		case others != "":
			s.log.WarnContext(ctx, "whoever has a certificate may make nodes at ZooKeeper's root, which others use too", "op", "coord.rights", "others", others)
		case errors.Is(err, gozk.ErrNoAuth): // the servers do not know the control plane as their superuser
			s.log.WarnContext(ctx, "whoever has a certificate may use a node of ZooKeeper's own: its superuser is to take that right", "op", "coord.rights", "path", path)
		case err != nil:
			return err
		}
	}
	return nil
}

// beside names something at the root that is neither Huker's nor ZooKeeper's.
func (s *Store) beside(conn *gozk.Conn) (string, error) {
	names, _, err := conn.Children("/")
	if err != nil {
		return "", err
	}
	own, _, _ := strings.Cut(s.layout.root[1:], "/")
	for _, name := range names {
		if name != own && "/"+name != systemNode {
			return name, nil
		}
	}
	return "", nil
}

func forEverybody(acl []gozk.ACL) bool {
	return slices.ContainsFunc(acl, func(a gozk.ACL) bool { return a.Scheme == "world" })
}
