package zk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// bearers gives all nodes below a prefix on which a principal has rights.
func bearers(t *testing.T, conn *gozk.Conn, prefix, principal string) (found []string) {
	t.Helper()
	for _, path := range zktest.Znodes(t, conn, prefix) {
		acl, _, err := conn.GetACL(keys + path)
		if errors.Is(err, gozk.ErrNoNode) {
			continue
		}
		require.NoError(t, err)
		for _, a := range acl {
			if a.ID == "CN="+principal {
				found = append(found, path)
			}
		}
	}
	return found
}

// TestExpelWhileOthersWrite: rights are taken while the control plane and another principal make keys in the same place, each of which
// inherits the rights of its directory. None may be left.
func TestExpelWhileOthersWrite(t *testing.T) {
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	conn := e.Raw(t, zk.RootPrincipal)
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		p := fmt.Sprintf("/c%d", round)
		require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{p, p + "/deep/er"}}))
		require.NoError(t, gate.Admit(soon(t), "guest.b", coord.Rights{Own: []string{p}}))
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for w, who := range []string{"root", "guest.b", "guest.a"} {
			s := e.Open(t, who)
			wg.Go(func() {
				for i := 0; ctx.Err() == nil && i < 200; i++ {
					err := s.Apply(context.WithoutCancel(ctx), coord.Put(fmt.Sprintf("%s/w%d/%d/%d", p, w, i%7, i), nil, nil))
					if who == "guest.a" && errors.Is(err, coord.ErrDenied) {
						return // as it should
					}
					if err != nil {
						errs <- err
						return
					}
				}
			})
		}
		time.Sleep(30 * time.Millisecond)
		require.NoError(t, gate.Expel(soon(t), "guest.a"))
		left := bearers(t, conn, p, "guest.a")
		stop()
		wg.Wait()
		require.Empty(t, left)
		require.Empty(t, bearers(t, conn, p, "guest.a"), "nor by what was under way")
		require.NotEmpty(t, bearers(t, conn, p, "guest.b"))
		close(errs)
		for err := range errs {
			require.NoError(t, err)
		}
	}
}

// TestSharedAndNestedPrefixes: what one principal loses, others keep.
func TestSharedAndNestedPrefixes(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	put(t, admin, "/c/one/record", "x")
	put(t, admin, "/c/two/record", "x")
	require.NoError(t, gate.Admit(soon(t), "p", coord.Rights{Own: []string{"/c", "/c/one"}}))
	require.NoError(t, gate.Admit(soon(t), "q", coord.Rights{Own: []string{"/c/one"}}))
	p, q := e.Open(t, "p"), e.Open(t, "q")
	can := func(s coord.Store, key string) bool {
		t.Helper()
		_, err := s.Get(soon(t), key)
		if err != nil {
			require.ErrorIs(t, err, coord.ErrDenied)
		}
		return err == nil
	}
	require.True(t, can(p, "/c/one/record"))
	require.True(t, can(p, "/c/two/record"))
	require.True(t, can(q, "/c/one/record"))
	require.False(t, can(q, "/c/two/record"))
	require.NoError(t, gate.Admit(soon(t), "p", coord.Rights{Own: []string{"/c/one"}}))
	require.True(t, can(p, "/c/one/record"), "it has this prefix yet")
	require.False(t, can(p, "/c/two/record"))
	require.NoError(t, gate.Expel(soon(t), "p"))
	require.False(t, can(p, "/c/one/record"))
	require.True(t, can(q, "/c/one/record"))
	require.NoError(t, q.Apply(soon(t), coord.Create("/c/one/new/key", nil)))
	put(t, admin, "/c/one/new/other", "x")
	require.True(t, can(q, "/c/one/new/other"), "what others make is its own to read")
	require.NoError(t, gate.Admit(soon(t), "p", coord.Rights{Own: []string{"/c"}}))
	require.True(t, can(q, "/c/one/new/other"))
	require.True(t, can(p, "/c/one/new/other"))
}

// TestNothingIsLeft: instances come and go; of those that went, ZooKeeper keeps nothing.
func TestNothingIsLeft(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	put(t, admin, "/hosts/h/x", "stays")
	for i := range 5 {
		name := fmt.Sprintf("guest.%d", i)
		prefix := fmt.Sprintf("/guests/%d", i)
		cluster := fmt.Sprintf("/clusters/%d", i)
		require.NoError(t, gate.Admit(soon(t), name, coord.Rights{Own: []string{prefix}, Read: []string{cluster}}))
		require.NoError(t, gate.Admit(soon(t), name+".other", coord.Rights{Read: []string{cluster}}))
		put(t, admin, cluster+"/record", "x")
		guest := e.Open(t, name)
		sess, err := guest.NewSession(soon(t), time.Second)
		require.NoError(t, err)
		require.NoError(t, guest.Apply(soon(t), coord.CreateEphemeral(prefix+"/status", nil, sess), coord.Put(prefix+"/a/b/c", nil, nil)))
		require.NoError(t, guest.Apply(soon(t), coord.Put(prefix, nil, nil), coord.Check(prefix+"/none/x", 0)))
		require.NoError(t, gate.Expel(soon(t), name))
		require.NoError(t, gate.Expel(soon(t), name+".other"))
		require.NoError(t, admin.Apply(soon(t), coord.Delete(cluster+"/record", 0)))
		entries, err := admin.List(soon(t), prefix)
		require.NoError(t, err)
		for _, entry := range entries {
			require.NoError(t, admin.Apply(soon(t), coord.Delete(entry.Key, 0)))
		}
		require.NoError(t, admin.Apply(soon(t), coord.Delete(prefix, 0)))
	}
	conn := e.Raw(t, zk.RootPrincipal)
	var left []string
	require.Eventually(t, func() bool {
		left = nil
		for _, path := range zktest.Znodes(t, conn, "") {
			if strings.HasPrefix(path, "/guests") || strings.HasPrefix(path, "/clusters") {
				left = append(left, path)
			}
		}
		return len(left) == 0
	}, 30*time.Second, 100*time.Millisecond, "%v", &left)
	names, _, err := conn.Children(zk.DefaultRoot + "/principals")
	require.NoError(t, err)
	require.Empty(t, names)
	require.Equal(t, "stays", string(get(t, admin, "/hosts/h/x").Value))
}

// TestKeptPrefix: an admitted prefix stays usable however empty it is.
func TestKeptPrefix(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	require.NoError(t, zk.NewGatekeeper(admin).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	guest := e.Open(t, "guest.a")
	conn := e.Raw(t, zk.RootPrincipal)
	for range 2 {
		put(t, guest, "/guests/a/x/y", "1")
		put(t, admin, "/others/a/x/y", "1")
		require.NoError(t, guest.Apply(soon(t), coord.Delete("/guests/a/x/y", 0)))
		require.NoError(t, admin.Apply(soon(t), coord.Delete("/others/a/x/y", 0)))
		require.Eventually(t, func() bool { // by then the servers have had time for the other as well
			there, _, err := conn.Exists(keys + "/others")
			return err == nil && !there
		}, 30*time.Second, 50*time.Millisecond)
	}
	_, err := guest.Get(soon(t), "/guests/a/x/y")
	require.ErrorIs(t, err, coord.ErrNotFound)
}

// TestRightsChangeBetweenReadAndWrite: a key is about to be made with the rights that its directory had.
func TestRightsChangeBetweenReadAndWrite(t *testing.T) {
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	conn := e.Raw(t, zk.RootPrincipal)
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/c"}}))
	put(t, admin, "/c/dir/key/other", "x")
	for name, change := range map[string]func() error{
		"expel": func() error { return gate.Expel(soon(t), "guest.a") },
		"admit": func() error { return gate.Admit(soon(t), "guest.b", coord.Rights{Own: []string{"/c/dir"}}) },
	} {
		op := coord.Put("/c/dir/key", []byte(name), nil)
		commit, err := admin.Prepare(soon(t), op)
		require.NoError(t, err)
		require.NoError(t, change())
		require.Error(t, commit(soon(t)), name)
		require.NoError(t, admin.Apply(soon(t), op))
		require.NoError(t, admin.Apply(soon(t), coord.Delete(op.Key, 0)))
	}
	put(t, admin, "/c/dir/key", "x")
	require.Empty(t, bearers(t, conn, "", "guest.a"))
	require.Equal(t, "x", string(get(t, e.Open(t, "guest.b"), "/c/dir/key").Value))
}

// TestSurroundings: a new ZooKeeper lets everybody write outside of Huker's keys. That ends with the first principal that is admitted.
func TestSurroundings(t *testing.T) {
	e := zktest.Start(t, 1)
	conn := e.Raw(t, zk.RootPrincipal)
	everybody := gozk.WorldACL(gozk.PermAll)
	thief := e.Raw(t, "guest.a")
	places := []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}
	open := func(path string) bool {
		t.Helper()
		_, _, err := thief.Children(path)
		if err != nil {
			require.ErrorIs(t, err, gozk.ErrNoAuth)
		}
		return err == nil
	}
	_, err := conn.SetACL("/", everybody, -1) // as a new server has it
	require.NoError(t, err)
	for _, path := range places {
		require.True(t, open(path), "%s: if this fails, ZooKeeper got better", path)
	}

	// Somebody else's node at the root: that is not Huker's to close.
	_, err = conn.Create("/others", nil, 0, everybody)
	require.NoError(t, err)
	require.NoError(t, zk.NewGatekeeper(e.Root(t)).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	require.True(t, open("/"))
	for _, path := range places[1:] {
		require.False(t, open(path), path)
	}
	require.NoError(t, conn.Delete("/others", -1))
	require.NoError(t, zk.NewGatekeeper(e.Root(t)).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	require.False(t, open("/"))

	// Rights that an operator gave are left.
	monitor := []gozk.ACL{{Perms: gozk.PermRead, Scheme: "x509", ID: "CN=guest.a"}}
	_, err = conn.SetACL("/zookeeper", monitor, -1)
	require.NoError(t, err)
	require.NoError(t, zk.NewGatekeeper(e.Root(t)).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	require.True(t, open("/zookeeper"))
	put(t, e.Open(t, "guest.a"), "/guests/a/x", "still works")
}
