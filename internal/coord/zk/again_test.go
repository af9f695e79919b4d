package zk_test

import (
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

const record = zk.DefaultRoot + "/principals/guest.a"

// versions are what an Admit that writes raises: of a node's data, its rights, and what is in it.
func versions(t *testing.T, conn *gozk.Conn, path string) [3]int32 {
	t.Helper()
	there, stat, err := conn.Exists(path)
	require.NoError(t, err)
	require.True(t, there, path)
	return [3]int32{stat.Version, stat.Aversion, stat.Cversion}
}

// shutOff leaves a node to the control plane alone.
func shutOff(t *testing.T, conn *gozk.Conn, path string) {
	t.Helper()
	_, err := conn.SetACL(path, []gozk.ACL{{Perms: gozk.PermAll, Scheme: "x509", ID: "CN=root"}}, -1)
	require.NoError(t, err)
}

// TestAdmittedAgain: who has its rights already is not given them again, which takes long where a prefix has many keys; unless something is wrong.
func TestAdmittedAgain(t *testing.T) {
	e := zktest.Start(t, 1)
	admin, conn := e.Root(t), e.Raw(t, zk.RootPrincipal)
	gate := zk.NewGatekeeper(admin)
	rights := coord.Rights{Own: []string{"/guests/a"}, Read: []string{"/clusters/c"}}
	put(t, admin, "/clusters/c/record", "x")
	require.NoError(t, gate.Admit(soon(t), "guest.a", rights))
	guest := e.Open(t, "guest.a")
	get(t, guest, "/clusters/c/record")

	const top = keys + "/clusters/c"
	const value = top + "/record/ value"
	before := map[string][3]int32{}
	for _, path := range []string{record, keys + "/guests/a", top, top + "/record", value} {
		before[path] = versions(t, conn, path)
	}
	require.NoError(t, gate.Admit(soon(t), "guest.a", rights))
	require.NoError(t, zk.NewGatekeeper(admin).Admit(soon(t), "guest.a", rights))
	for path, was := range before {
		require.Equal(t, was, versions(t, conn, path), "%s was as it should be", path)
	}

	for name, c := range map[string]struct {
		gate  *zk.Gatekeeper
		spoil func()
	}{
		"no right on the prefix": {gate, func() { shutOff(t, conn, top) }},
		"the prefix is gone": {gate, func() {
			require.NoError(t, admin.Apply(soon(t), coord.Delete("/clusters/c/record", 0)))
			require.NoError(t, conn.Delete(top+"/ kept", -1))
			require.Eventually(t, func() bool { there, _, err := conn.Exists(top); return err == nil && !there }, 30*time.Second, 20*time.Millisecond)
		}},
		"no right below, and the control plane was started anew": {zk.NewGatekeeper(admin), func() { shutOff(t, conn, value) }},
		"cut short": {gate, func() {
			_, err := conn.Set(record, []byte(`{"prefixes":["/guests/a"],"read":["/clusters/c"]}`), -1)
			require.NoError(t, err)
			shutOff(t, conn, value)
			shutOff(t, conn, record)
		}},
	} {
		c.spoil()
		require.NoError(t, c.gate.Admit(soon(t), "guest.a", rights), name)
		put(t, admin, "/clusters/c/record", name)
		require.Equal(t, name, string(get(t, guest, "/clusters/c/record").Value))
		entries, err := guest.List(soon(t), "/clusters/c")
		require.NoError(t, err, name)
		require.Len(t, entries, 1)
		versions(t, conn, top+"/ kept")
		sess, err := guest.NewSession(soon(t), time.Second)
		require.NoError(t, err, name)
		require.NoError(t, sess.Close(soon(t)))
	}
}

// TestAdmittedBefore: rights were once of one kind only, and what was kept of a principal says no more.
func TestAdmittedBefore(t *testing.T) {
	e := zktest.Start(t, 1)
	admin, conn := e.Root(t), e.Raw(t, zk.RootPrincipal)
	gate := zk.NewGatekeeper(admin)
	put(t, admin, "/clusters/c/record", "x")
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a", "/clusters/c"}}))
	_, err := conn.Set(record, []byte(`{"prefixes":["/clusters/c","/guests/a"]}`), -1)
	require.NoError(t, err)
	guest := e.Open(t, "guest.a")
	put(t, guest, "/clusters/c/record", "forged")
	put(t, guest, "/clusters/c/made/up", "forged")

	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}, Read: []string{"/clusters/c"}}))
	for _, key := range []string{"/clusters/c/record", "/clusters/c/made/up", "/clusters/c/new"} {
		require.ErrorIs(t, guest.Apply(soon(t), coord.Put(key, nil, nil)), coord.ErrDenied, key)
	}
	require.Equal(t, "forged", string(get(t, guest, "/clusters/c/made/up").Value))
	put(t, guest, "/guests/a/x", "its own")
}
