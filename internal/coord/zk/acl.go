package zk

import (
	"regexp"
	"slices"
	"strings"

	gozk "github.com/go-zookeeper/zk"
)

// RootPrincipal is the control plane's name in ZooKeeper; it may do everything.
const RootPrincipal = "root"

const (
	scheme   = "x509"
	idPrefix = "CN="
)

var principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Rights of a principal. To make and delete a node is a right on the directory it is in; nobody but the control plane may give rights
// on, or write into, a directory.
const (
	dirRights    = gozk.PermRead | gozk.PermCreate | gozk.PermDelete
	valueRights  = gozk.PermRead | gozk.PermWrite
	markerRights = gozk.PermRead
	// readerRights are those of who may only read, on a directory and on all that is in it.
	readerRights = gozk.PermRead
)

// identity is who a client is to the servers.
type identity struct{ name string } // empty: without TLS, where all are one

func (i identity) plain() bool { return i.name == "" }

// mighty tells whether everything is allowed to it.
func (i identity) mighty() bool { return i.plain() || i.name == RootPrincipal }

// base is the control plane's own rights: what a node has that no principal was admitted to.
func (i identity) base() []gozk.ACL {
	if i.plain() {
		return gozk.WorldACL(gozk.PermAll)
	}
	return []gozk.ACL{{Perms: gozk.PermAll, Scheme: scheme, ID: idPrefix + RootPrincipal}}
}

func grant(principal string, rights int32) gozk.ACL {
	return gozk.ACL{Perms: rights, Scheme: scheme, ID: idPrefix + principal}
}

// principalOf gives the name that an entry is for.
func principalOf(a gozk.ACL) (name string, ok bool) {
	name, ok = strings.CutPrefix(a.ID, idPrefix)
	return name, ok && a.Scheme == scheme
}

// rightsOn turns a directory's rights into those of a node in it.
func rightsOn(dir []gozk.ACL, rights int32) []gozk.ACL {
	acl := slices.Clone(dir)
	for i, a := range acl {
		if a.Perms != gozk.PermAll && a.Perms != readerRights {
			acl[i].Perms = rights
		}
	}
	return acl
}

// sameRights does not look at the order. Lists are as long as a prefix has principals: of /endpoints every host is one.
func sameRights(a, b []gozk.ACL) bool {
	if len(a) != len(b) {
		return false
	}
	if slices.Equal(a, b) {
		return true
	}
	have := setOf(b)
	for _, e := range a {
		if !have[e] {
			return false
		}
	}
	return true
}

func setOf(acl []gozk.ACL) map[gozk.ACL]bool {
	set := make(map[gozk.ACL]bool, len(acl))
	for _, a := range acl {
		set[a] = true
	}
	return set
}

// allows tells whether somebody has a right, and maybe more.
func allows(acl []gozk.ACL, a gozk.ACL) bool {
	return slices.ContainsFunc(acl, func(e gozk.ACL) bool { return e.Scheme == a.Scheme && e.ID == a.ID && e.Perms&a.Perms == a.Perms })
}

// with adds to the rights of one; nobody is on a list twice.
func with(acl []gozk.ACL, a gozk.ACL) []gozk.ACL {
	for i, e := range acl {
		if e.Scheme == a.Scheme && e.ID == a.ID {
			acl[i].Perms |= a.Perms
			return acl
		}
	}
	return append(acl, a)
}
