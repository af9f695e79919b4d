package theft

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/protocol"
)

// Requests that go-zookeeper does not have.
const (
	zkExists          = 3
	zkGetData         = 4
	zkSetAuth         = 100
	zkSetWatches      = 101
	zkGetEphemerals   = 103
	zkCountChildren   = 104
	zkSetWatches2     = 105
	zkAddWatch        = 106
	zkWhoAmI          = 107
	zkPersistent      = 0
	zkRecursive       = 1
	zkNoAuth          = -102
	zkNoNode          = -101
	zkEventXid        = -1
	zkSessionTimeout  = 30000
	zkHandshakeAnswer = 40
)

// zkRaw is a connection to ZooKeeper without a client in between.
type zkRaw struct {
	conn net.Conn

	mu      sync.Mutex
	xid     int32
	waiting map[int32]chan zkAnswer
	events  []string // paths
	failed  error
}

type zkAnswer struct {
	code int32
	body []byte
}

func zkString(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) //nolint:gosec // short
}

func zkStrings(all ...string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(all))) //nolint:gosec // few
	for _, s := range all {
		b = append(b, zkString(s)...)
	}
	return b
}

func dialZK(ctx context.Context, server string, cfg *tls.Config) (*zkRaw, error) {
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	hello := make([]byte, 12, 64)
	hello = binary.BigEndian.AppendUint32(hello, zkSessionTimeout)
	hello = binary.BigEndian.AppendUint64(hello, 0)
	hello = append(append(hello, zkString(string(make([]byte, 16)))...), 0)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(hello))), hello...)); err != nil { //nolint:gosec // short
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := zkPacket(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	z := &zkRaw{conn: conn, waiting: map[int32]chan zkAnswer{}}
	go z.receive()
	return z, nil
}

func zkPacket(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, packet)
	return packet, err
}

func (z *zkRaw) receive() {
	for {
		packet, err := zkPacket(z.conn)
		z.mu.Lock()
		if err != nil || len(packet) < 16 {
			z.failed = errors.Join(err, errors.New("the connection was closed"))
			for _, w := range z.waiting {
				close(w)
			}
			z.waiting = nil
			z.mu.Unlock()
			return
		}
		xid := int32(binary.BigEndian.Uint32(packet)) //nolint:gosec // as it was written
		body := packet[16:]
		if xid == zkEventXid {
			z.events = append(z.events, string(body[12:]))
		} else if w := z.waiting[xid]; w != nil {
			w <- zkAnswer{int32(binary.BigEndian.Uint32(packet[12:])), body} //nolint:gosec // as it was written
			delete(z.waiting, xid)
		}
		z.mu.Unlock()
	}
}

// ask makes a request; err is gozk.ErrNoAuth where the server says so.
func (z *zkRaw) ask(ctx context.Context, op int32, payload []byte) ([]byte, error) {
	z.mu.Lock()
	if z.failed != nil {
		z.mu.Unlock()
		return nil, z.failed
	}
	z.xid++
	answer := make(chan zkAnswer, 1)
	xid := z.xid
	if op == zkSetAuth {
		xid = -4
	}
	z.waiting[xid] = answer
	z.mu.Unlock()
	packet := binary.BigEndian.AppendUint32(nil, uint32(8+len(payload))) //nolint:gosec // short
	packet = binary.BigEndian.AppendUint32(packet, uint32(xid))          //nolint:gosec // its bits
	packet = binary.BigEndian.AppendUint32(packet, uint32(op))           //nolint:gosec // small
	if _, err := z.conn.Write(append(packet, payload...)); err != nil {
		return nil, err
	}
	select {
	case a, open := <-answer:
		switch {
		case !open:
			return nil, errors.New("the connection was closed")
		case a.code == zkNoAuth:
			return nil, gozk.ErrNoAuth
		case a.code == zkNoNode:
			return nil, gozk.ErrNoNode
		case a.code != 0:
			return nil, fmt.Errorf("ZooKeeper answers %d", a.code)
		}
		return a.body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// heard gives the paths that watches told of.
func (z *zkRaw) heard() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.events)
}

func (s *site) zkRawAs(t *testing.T, th *thief) *zkRaw {
	t.Helper()
	z, err := dialZK(soon(t), s.zk.Servers[0].Address, tlsOf(t, th.credentials))
	require.NoError(t, err)
	t.Cleanup(func() { _ = z.conn.Close() })
	return z
}

// zkClient is go-zookeeper's.
func (s *site) zkClient(t *testing.T, cfg *tls.Config) *gozk.Conn {
	t.Helper()
	conn, events, err := gozk.Connect(s.zk.Addresses(), 10*time.Second, gozk.WithLogInfo(false), gozk.WithLogger(silent{}),
		gozk.WithDialer(func(network, address string, timeout time.Duration) (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, network, address, cfg)
		}))
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		for range events {
		}
	})
	return conn
}

type silent struct{}

func (silent) Printf(string, ...any) {}

const zkKeys = zk.DefaultRoot + "/keys"

func (s *site) zkKeyTools(t *testing.T, th *thief) *tools {
	t.Helper()
	c, z := s.zkClient(t, tlsOf(t, th.credentials)), s.zkRawAs(t, th)
	o := &tools{denied: func(err error) bool { return errors.Is(err, gozk.ErrNoAuth) }}
	everybody := gozk.WorldACL(gozk.PermAll)
	base := []gozk.ACL{{Perms: gozk.PermAll, Scheme: "x509", ID: "CN=root"}}
	onKey := func(name string, mine bool, do func(dir string) error) {
		o.verbs = append(o.verbs, verb{name: name, mine: mine, do: func(_ context.Context, key string) error { return do(zkKeys + key) }})
	}
	reading := func(name string, do func(dir string) error) {
		onKey(name, true, do)
		o.verbs[len(o.verbs)-1].reads = true
	}
	value := func(dir string) string { return dir + "/ value" }
	reading("get", func(dir string) error { _, _, err := c.Get(value(dir)); return absent(c, dir, err) })
	reading("get the directory", func(dir string) error { _, _, err := c.Get(dir); return absent(c, dir, err) })
	reading("get and watch", func(dir string) error { _, _, _, err := c.GetW(value(dir)); return absent(c, dir, err) })
	reading("list", func(dir string) error { _, _, err := c.Children(dir); return absent(c, dir, err) })
	reading("list and watch", func(dir string) error { _, _, _, err := c.ChildrenW(dir); return absent(c, dir, err) })
	reading("see rights", func(dir string) error { _, _, err := c.GetACL(dir); return absent(c, dir, err) })
	reading("see a value's rights", func(dir string) error { _, _, err := c.GetACL(value(dir)); return absent(c, dir, err) })
	onKey("take rights", false, func(dir string) error { _, err := c.SetACL(dir, everybody, -1); return absent(c, dir, err) })
	onKey("take a value's rights", false, func(dir string) error { _, err := c.SetACL(value(dir), everybody, -1); return absent(c, dir, err) })
	onKey("set", true, func(dir string) error { _, err := c.Set(value(dir), []byte("forged"), -1); return absent(c, dir, err) })
	onKey("set the directory", false, func(dir string) error { _, err := c.Set(dir, []byte("forged"), -1); return absent(c, dir, err) })
	onKey("create", true, func(dir string) error { _, err := c.Create(dir+"/forged", nil, 0, base); return absent(c, dir, err) })
	onKey("create a value", false, func(dir string) error {
		_, err := c.Create(value(dir)+"/below", nil, 0, base)
		return absent(c, dir, err)
	})
	onKey("create an ephemeral", true, func(dir string) error {
		_, err := c.Create(dir+"/ephemeral", nil, gozk.FlagEphemeral, base)
		return absent(c, dir, err)
	})
	onKey("create one of a sequence", true, func(dir string) error {
		_, err := c.Create(dir+"/n-", nil, gozk.FlagSequence, base)
		return absent(c, dir, err)
	})
	onKey("create a container", true, func(dir string) error {
		_, err := c.CreateContainer(dir+"/container", nil, gozk.FlagContainer, base)
		return absent(c, dir, err)
	})
	onKey("multi", true, func(dir string) error {
		_, err := c.Multi(&gozk.SetDataRequest{Path: value(dir), Data: []byte("forged"), Version: -1})
		return absent(c, dir, err)
	})
	reading("check in a multi", func(dir string) error {
		_, err := c.Multi(&gozk.CheckVersionRequest{Path: value(dir), Version: -1})
		return absent(c, dir, err)
	})
	beside := 0
	onKey("beside its own", true, func(dir string) error {
		beside++
		_, err := c.Multi(&gozk.CreateRequest{Path: fmt.Sprintf("%s%s/beside-%d", zkKeys, th.prefixes[0], beside), Acl: base},
			&gozk.CreateRequest{Path: dir + "/beside", Acl: base})
		return absent(c, dir, err)
	})
	reading("count", func(dir string) error {
		_, err := z.ask(soon(t), zkCountChildren, zkString(dir))
		return absent(c, dir, err)
	})
	onKey("delete", true, func(dir string) error { return absent(c, dir, c.Delete(value(dir), -1)) })
	onKey("delete the directory", false, func(dir string) error { return absent(c, dir, c.Delete(dir+"/ kept", -1)) })
	o.attempts = s.zkAttempts(t, th, c, z)
	return o
}

// absent lets a node that is not there pass as refused where the thief could not have made it either: in this place it may make nothing, and
// ZooKeeper says of any path whether it is there.
func absent(c *gozk.Conn, dir string, err error) error {
	if !errors.Is(err, gozk.ErrNoNode) {
		return err
	}
	for path := dir; ; path = path[:strings.LastIndexByte(path, '/')] {
		there, _, err := c.Exists(path)
		if err != nil {
			return err
		}
		if there {
			_, err := c.Create(path+"/made", nil, 0, gozk.WorldACL(gozk.PermAll))
			return err
		}
	}
}

// zkAttempts are on what is no key.
func (s *site) zkAttempts(t *testing.T, th *thief, c *gozk.Conn, z *zkRaw) []attempt {
	t.Helper()
	everybody := gozk.WorldACL(gozk.PermAll)
	victim := zk.DefaultRoot + "/principals/guest." + s.guests[1]
	var o []attempt
	add := func(name string, try func() error) {
		o = append(o, attempt{name, func(context.Context) error { return try() }})
	}
	for _, path := range []string{"/", zk.DefaultRoot, zkKeys, zk.DefaultRoot + "/principals", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"} {
		add("list "+path, func() error { _, _, err := c.Children(path); return err })
		add("set "+path, func() error { _, err := c.Set(path, []byte("x"), -1); return err })
		add("create in "+path, func() error {
			_, err := c.Create(strings.TrimSuffix(path, "/")+"/mallory", nil, 0, everybody)
			return err
		})
		add("take rights on "+path, func() error { _, err := c.SetACL(path, everybody, -1); return err })
		add("see rights on "+path, func() error { _, _, err := c.GetACL(path); return err })
	}
	add("limit Huker's keys", func() error { _, err := c.Create("/zookeeper/quota"+zk.DefaultRoot, nil, 0, everybody); return err })
	add("another's record", func() error { _, _, err := c.Get(victim); return err })
	add("delete another's record", func() error { return c.Delete(victim, -1) })
	add("its own record", func() error { _, err := c.Set(zk.DefaultRoot+"/principals/"+th.principal, nil, -1); return err })
	add("rights on its own record", func() error {
		_, err := c.SetACL(zk.DefaultRoot+"/principals/"+th.principal, everybody, -1)
		return err
	})
	add("see the servers", func() error { _, _, err := c.Get("/zookeeper/config"); return err })
	// More names for the same connection: they open nothing.
	status := zkKeys + protocol.GuestStatusKey(s.guests[1]) + "/ value"
	for scheme, auth := range map[string]string{"x509": "CN=root", "digest": "super:x", "ip": "127.0.0.1", "world": "anyone", "sasl": "root"} {
		add("get as "+scheme+" "+auth, func() error {
			more, err := dialZK(soon(t), s.zk.Servers[0].Address, tlsOf(t, th.credentials))
			if err != nil {
				return err
			}
			defer func() { _ = more.conn.Close() }()
			payload := append(binary.BigEndian.AppendUint32(nil, 0), zkString(scheme)...)
			if _, err := more.ask(soon(t), zkSetAuth, append(payload, zkString(auth)...)); err != nil {
				return gozk.ErrNoAuth // turned away at once
			}
			_, err = more.ask(soon(t), zkGetData, append(zkString(status), 0))
			return err
		})
	}
	add("reconfigure", func() error {
		if _, err := c.IncrementalReconfig(nil, []string{"1"}, -1); err == nil {
			return nil
		}
		return gozk.ErrNoAuth // switched off, and denied otherwise
	})
	return o
}

// testWhatZooKeeperTells is what docs/OPERATIONS.md says that ZooKeeper does not keep from whoever may connect: no values, but existence and times.
func testWhatZooKeeperTells(t *testing.T, s *site) {
	th := s.guestThief(0)
	z := s.zkRawAs(t, th)
	status := zkKeys + protocol.GuestStatusKey(s.guests[1]) + "/ value"
	control := s.root().Coord

	stat, err := z.ask(soon(t), zkExists, append(zkString(status), 0))
	assert.NoError(t, err, "whether it is there: if this is refused, the server got better, and the documentation is wrong")
	assert.Len(t, stat, 68, "times, size and session; no value")

	// A watch on what cannot be read tells of it all the same, by name only.
	setWatches := binary.BigEndian.AppendUint64(nil, 0)
	setWatches = append(setWatches, zkStrings(status)...)
	setWatches = append(append(setWatches, zkStrings()...), zkStrings()...)
	_, err = z.ask(soon(t), zkSetWatches, setWatches)
	assert.NoError(t, err)
	assert.Eventually(t, func() bool { return slices.Contains(z.heard(), status) }, 10*time.Second, 10*time.Millisecond, "it tells when it changed: %q", z.heard())

	// Names of what is below are told by nothing: neither by watches on a whole tree, nor by those that are taken up again.
	own := protocol.GuestPrefix(s.guests[0])
	whole := func(path string, mode uint32) (int32, []byte) {
		return zkAddWatch, binary.BigEndian.AppendUint32(zkString(path), mode)
	}
	restored := func(path string) (int32, []byte) {
		b := binary.BigEndian.AppendUint64(nil, 1<<62)
		b = append(append(append(b, zkStrings()...), zkStrings()...), zkStrings(path)...)
		return zkSetWatches2, append(append(b, zkStrings(path)...), zkStrings(path)...)
	}
	for name, watch := range map[string]func(path string) (int32, []byte){
		"persistent": func(path string) (int32, []byte) { return whole(path, zkPersistent) },
		"recursive":  func(path string) (int32, []byte) { return whole(path, zkRecursive) },
		"restored":   restored,
	} {
		z := s.zkRawAs(t, th)
		for _, path := range []string{zkKeys, zkKeys + protocol.GuestsKey, zkKeys + protocol.GuestPrefix(s.guests[1]), zkKeys + own} {
			op, payload := watch(path)
			_, _ = z.ask(soon(t), op, payload) // what counts is what is told
		}
		secret := protocol.GuestPrefix(s.guests[1]) + "/" + name + "-secret"
		require.NoError(t, control.Apply(soon(t), coord.Put(secret, nil, nil)))
		require.NoError(t, control.Apply(soon(t), coord.Delete(secret, 0)))
		require.NoError(t, control.Apply(soon(t), coord.Put(own+"/"+name, nil, nil))) // told after the other
		assert.Eventually(t, func() bool {
			return slices.ContainsFunc(z.heard(), func(path string) bool { return strings.HasPrefix(path, zkKeys+own) })
		}, 10*time.Second, 10*time.Millisecond, "%s: it hears of its own", name)
		for _, path := range z.heard() {
			assert.NotContains(t, path, "secret", name)
		}
	}
	names, err := z.ask(soon(t), zkGetEphemerals, zkString("/"))
	assert.NoError(t, err)
	assert.NotContains(t, string(names), zkKeys, "of its own session only")
	_, err = z.ask(soon(t), zkWhoAmI, nil)
	assert.NoError(t, err)
}
