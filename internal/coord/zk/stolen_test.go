package zk_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
	"github.com/huker/huker/internal/pki"
)

const keys = zk.DefaultRoot + "/keys"

// TestStolenCertificate: whoever broke into a guest has its certificate, and any ZooKeeper client. Nothing but the guest's own keys
// must be within reach.
func TestStolenCertificate(t *testing.T) {
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	require.NoError(t, gate.Admit(soon(t), "guest.b", coord.Rights{Own: []string{"/guests/b"}}))
	put(t, admin, "/clusters/b/record", "1")
	b := e.Open(t, "guest.b")
	sess, err := b.NewSession(soon(t), 30*time.Second)
	require.NoError(t, err)
	require.NoError(t, b.Apply(soon(t), coord.CreateEphemeral("/guests/b/status", []byte("secret"), sess)))
	before, err := admin.List(soon(t), "/")
	require.NoError(t, err)

	c := e.Raw(t, "guest.a")
	_, err = c.Create(keys+"/guests/a/mine", nil, 0, gozk.WorldACL(gozk.PermAll))
	require.NoError(t, err, "its own")
	own, _, err := c.GetACL(keys + "/guests/a")
	require.NoError(t, err)
	everybody := gozk.WorldACL(gozk.PermAll)
	value := keys + "/guests/b/status/ value"
	create := func(path string) error { _, err := c.Create(path, nil, 0, everybody); return err }
	multi := func(ops ...any) error { _, err := c.Multi(ops...); return err }
	for name, attempt := range map[string]func() error{
		"get":               func() error { _, _, err := c.Get(value); return err },
		"get and watch":     func() error { _, _, _, err := c.GetW(value); return err },
		"set":               func() error { _, err := c.Set(value, []byte("forged"), -1); return err },
		"delete":            func() error { return c.Delete(value, -1) },
		"delete prefix":     func() error { return c.Delete(keys+"/guests/b/ kept", -1) },
		"list":              func() error { _, _, err := c.Children(keys + "/guests/b"); return err },
		"list and watch":    func() error { _, _, _, err := c.ChildrenW(keys + "/guests/b/status"); return err },
		"list guests":       func() error { _, _, err := c.Children(keys + "/guests"); return err },
		"list all":          func() error { _, _, err := c.Children(keys); return err },
		"list root":         func() error { _, _, err := c.Children(zk.DefaultRoot); return err },
		"list principals":   func() error { _, _, err := c.Children(zk.DefaultRoot + "/principals"); return err },
		"see rights":        func() error { _, _, err := c.GetACL(keys + "/guests/b"); return err },
		"take rights":       func() error { _, err := c.SetACL(keys+"/guests/b", everybody, -1); return err },
		"widen own rights":  func() error { _, err := c.SetACL(keys+"/guests/a", everybody, -1); return err },
		"write own prefix":  func() error { _, err := c.Set(keys+"/guests/a", []byte("x"), -1); return err },
		"delete own prefix": func() error { return c.Delete(keys+"/guests/a", -1) },
		"other's record":    func() error { _, _, err := c.Get(zk.DefaultRoot + "/principals/guest.b"); return err },
		"own record":        func() error { _, err := c.Set(zk.DefaultRoot+"/principals/guest.a", nil, -1); return err },
		"new principal":     func() error { return create(zk.DefaultRoot + "/principals/mallory") },
		"below other":       func() error { return create(keys + "/guests/b/x") },
		"beside":            func() error { return create(keys + "/guests/c") },
		"at the root":       func() error { return create("/x") },
		"container":         func() error { _, err := c.CreateContainer(keys+"/guests/c", nil, gozk.FlagContainer, own); return err },
		"multi":             func() error { return multi(&gozk.SetDataRequest{Path: value, Version: -1}) },
		"check in a multi":  func() error { return multi(&gozk.CheckVersionRequest{Path: value, Version: 0}) },
		"beside its own": func() error {
			return multi(&gozk.SetDataRequest{Path: keys + "/guests/a/mine", Version: -1}, &gozk.DeleteRequest{Path: value, Version: -1})
		},
		"reconfigure": func() error { _, err := c.IncrementalReconfig(nil, []string{"1"}, -1); return err },
	} {
		err := attempt()
		require.Error(t, err, name)
		if name == "reconfigure" {
			continue // switched off, and denied otherwise
		}
		require.ErrorIs(t, err, gozk.ErrNoAuth, name)
	}
	after, err := admin.List(soon(t), "/")
	require.NoError(t, err)
	require.Equal(t, before, after)

	// The same with package zk in between.
	a := e.Open(t, "guest.a")
	for _, key := range []string{"/guests/b/status", "/guests/b", "/guests", "/clusters/b/record", "/nothing", "/guests/none/x"} {
		_, err := a.Get(soon(t), key)
		require.ErrorIs(t, err, coord.ErrDenied, key)
		_, err = a.List(soon(t), key)
		require.ErrorIs(t, err, coord.ErrDenied, key)
		_, err = a.Watch(t.Context(), key)
		require.ErrorIs(t, err, coord.ErrDenied, key)
		require.ErrorIs(t, a.Apply(soon(t), coord.Delete(key, 0)), coord.ErrDenied, key)
	}
	require.ErrorIs(t, zk.NewGatekeeper(a).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests"}}), coord.ErrDenied)
}

// TestEndedSession: what package zk says ZooKeeper cannot prevent. Whoever may connect can work out the password of anybody's session and
// end it. That takes a lease; it must not let two act.
func TestEndedSession(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	require.NoError(t, zk.NewGatekeeper(admin).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	sess, err := admin.NewSession(soon(t), 10*time.Second)
	require.NoError(t, err)
	l, err := coord.Elect(soon(t), admin, sess, "/lease", nil)
	require.NoError(t, err)

	number, err := strconv.ParseUint(sess.ID(), 16, 64)
	require.NoError(t, err)
	endSession(t, e, "guest.a", int64(number))
	require.Eventually(t, func() bool {
		_, err := admin.Get(t.Context(), "/lease")
		return errors.Is(err, coord.ErrNotFound)
	}, 20*time.Second, 5*time.Millisecond, "ZooKeeper got better: change the documentation")

	next := elect(t, admin, 10*time.Second, "/lease")
	require.Greater(t, next.Token, l.Token)
	require.ErrorIs(t, admin.Apply(soon(t), l.Guard(), coord.Put("/guarded", nil, nil)), coord.ErrConflict)
	select {
	case <-l.Context.Done():
	case <-time.After(5 * time.Second):
		require.Fail(t, "the first leader is not told")
	}
	require.Error(t, admin.Apply(soon(t), coord.Put("/owned", nil, sess)))
}

// endSession comes back as that session, with the password that the servers work out from its number, and closes it.
func endSession(t *testing.T, e *zktest.Ensemble, principal string, number int64) {
	t.Helper()
	c, err := tls.Dial("tcp", e.Servers[0].Address, e.Config(t, principal).TLS)
	require.NoError(t, err)
	defer c.Close()
	const mask = 1<<48 - 1
	seed := (uint64(number) ^ 0xB3415C00 ^ 0x5DEECE66D) & mask // java.util.Random
	var password []byte
	for len(password) < 16 {
		seed = (seed*0x5DEECE66D + 0xB) & mask
		for bits, i := uint32(seed>>16), 0; i < 4; i++ {
			password = append(password, byte(bits))
			bits >>= 8
		}
	}
	hello := binary.BigEndian.AppendUint32(nil, 0)
	hello = binary.BigEndian.AppendUint64(hello, 0)
	hello = binary.BigEndian.AppendUint32(hello, 10000)
	hello = binary.BigEndian.AppendUint64(hello, uint64(number))
	hello = binary.BigEndian.AppendUint32(hello, 16)
	hello = append(hello, password...)
	_, err = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(hello))), hello...))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	answer := make([]byte, 40)
	_, err = io.ReadFull(c, answer)
	require.NoError(t, err)
	farewell := binary.BigEndian.AppendUint32(nil, 8)
	farewell = binary.BigEndian.AppendUint32(farewell, 1)
	farewell = binary.BigEndian.AppendUint32(farewell, uint32(0xfffffff5)) // closeSession
	_, err = c.Write(farewell)
	require.NoError(t, err)
	_, _ = io.ReadAll(c)
}

// TestMaimedKeys: a guest does what it can to its own keys, so that nobody gets rid of them.
func TestMaimedKeys(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gate := zk.NewGatekeeper(admin)
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	own := keys + "/guests/a"
	for _, key := range []string{"/unmarked", "/garbage", "/deep", "/lone"} {
		put(t, e.Open(t, "guest.a"), "/guests/a"+key, "x")
	}
	c := e.Raw(t, "guest.a")
	mine := []gozk.ACL{{Perms: gozk.PermAll, Scheme: "x509", ID: "CN=guest.a"}}
	create := func(path string) {
		t.Helper()
		_, err := c.Create(path, []byte("x"), 0, mine)
		require.NoError(t, err)
	}
	remove := func(dir, prefix string) {
		t.Helper()
		names, _, err := c.Children(dir)
		require.NoError(t, err)
		for _, name := range names {
			if name[:len(prefix)] == prefix {
				require.NoError(t, c.Delete(dir+"/"+name, -1))
			}
		}
	}
	remove(own+"/unmarked", " made-")
	_, err := c.Set(own+"/garbage/ value", []byte("g"), -1)
	require.NoError(t, err)
	remove(own+"/deep", " value")
	create(own + "/deep/ value")
	create(own + "/deep/ value/below")
	create(own + "/deep/ value/below/below")
	remove(own+"/lone", " value")
	create(own + "/ junk")
	create(own + "/hidden")
	create(own + "/hidden/ value")

	// The control plane is not disturbed by them,
	entries, err := admin.List(soon(t), "/")
	require.NoError(t, err)
	require.Len(t, entries, 4)
	require.NoError(t, admin.Apply(soon(t), coord.Put("/guests/a/unmarked", []byte("y"), nil)))
	require.Equal(t, "y", string(get(t, admin, "/guests/a/unmarked").Value))
	// and gets rid of them.
	require.NoError(t, gate.Expel(soon(t), "guest.a"))
	_, _, err = c.Get(own + "/hidden/ value")
	require.ErrorIs(t, err, gozk.ErrNoAuth)
	entries, err = admin.List(soon(t), "/guests/a")
	require.NoError(t, err)
	for _, entry := range entries {
		require.NoError(t, admin.Apply(soon(t), coord.Delete(entry.Key, 0)), entry.Key)
	}
	entries, err = admin.List(soon(t), "/")
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}), "and it can be taken in again")
	put(t, e.Open(t, "guest.a"), "/guests/a/deep", "again")
}

// TestNoCertificate: without a certificate of this deployment one does not even get to ask.
func TestNoCertificate(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	foreign, err := pki.NewCA("another deployment")
	require.NoError(t, err)
	pair, err := foreign.IssueClient(zk.RootPrincipal)
	require.NoError(t, err)
	server, err := e.CA.IssueServer(zk.RootPrincipal, "127.0.0.1")
	require.NoError(t, err)
	unknown, err := e.CA.IssueClient("guest.unknown")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		tls  *tls.Config
		want error
	}{
		"foreign":     {zktest.TLS(t, e.CA, pair), coord.ErrUnavailable},
		"server cert": {zktest.TLS(t, e.CA, server), coord.ErrUnavailable},
		"plain text":  {nil, coord.ErrUnavailable},
		"unknown":     {zktest.TLS(t, e.CA, unknown), coord.ErrDenied},
	} {
		s := zktest.OpenConfig(t, zk.Config{Servers: e.Addresses(), TLS: c.tls})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err = s.Get(ctx, "/a")
		require.ErrorIs(t, err, c.want, name)
		_, err = s.NewSession(ctx, time.Second)
		require.ErrorIs(t, err, c.want, name)
		cancel()
	}
	none := e.Config(t, "x")
	none.TLS.Certificates = nil
	_, err = zk.Open(t.Context(), none)
	require.Error(t, err)
	require.ErrorIs(t, zk.NewGatekeeper(e.Root(t)).Admit(soon(t), zk.RootPrincipal, coord.Rights{Own: []string{"/a"}}), coord.ErrInvalid)
}
