package theft

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/protocol"
)

// verb is something that can be done to a key or a queue by its name.
type verb struct {
	name  string
	mine  bool // allowed on one's own
	reads bool // allowed on what one may only read
	do    func(ctx context.Context, name string) error
}

// attempt is something that nobody but the control plane may do.
type attempt struct {
	name string
	try  func(ctx context.Context) error
}

// tools are one engine's raw clients with a stolen credential.
type tools struct {
	verbs    []verb
	attempts []attempt
	denied   func(error) bool
}

// thief has the credential of a guest or of a host.
type thief struct {
	*site
	principal   string
	credentials engines.Credentials
	prefixes    []string // of keys that are its own
	readable    []string // of keys that it may read and watch
	queue       string
}

func (s *site) guestThief(n int) *thief {
	id := s.guests[n]
	return &thief{
		site: s, principal: "guest." + id, credentials: guestFiles(s.t, s.etc(id)), queue: protocol.GuestQueue(id),
		prefixes: []string{protocol.GuestPrefix(id)}, readable: []string{protocol.ClusterPrefix(id)},
	}
}

func (s *site) hostThief(n int) *thief {
	id := s.hosts[n]
	return &thief{
		site: s, principal: protocol.HostPrincipal(id), credentials: identity(s.t, s.dir+"/host-"+id), queue: protocol.HostQueue(id),
		prefixes: []string{protocol.HostPrefix(id)}, readable: []string{protocol.EndpointsKey},
	}
}

func (th *thief) owns(key string) bool { return within(key, th.prefixes) }

func (th *thief) reads(key string) bool { return within(key, th.readable) }

func within(key string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return key == p || strings.HasPrefix(key, p+"/") })
}

func (s *site) root() *engines.Engines { return s.open(identity(s.t, s.fleet.Identity)) }

func TestOnEtcd(t *testing.T) { run(t, onEtcd(t)) }

func TestOnZooKeeperAndRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("not in a short run")
	}
	s := onZooKeeperAndRabbitMQ(t)
	run(t, s)
	t.Run("WhatZooKeeperTells", func(t *testing.T) { testWhatZooKeeperTells(t, s) })
	t.Run("WhatRabbitMQTells", func(t *testing.T) { testWhatRabbitMQTells(t, s) })
}

func run(t *testing.T, s *site) {
	for name, who := range map[string]func(int) *thief{"Guest": s.guestThief, "Host": s.hostThief} {
		th := who(0)
		t.Run(name+"Keys", func(t *testing.T) { testKeys(t, th) })
		t.Run(name+"Queues", func(t *testing.T) { testQueues(t, th) })
		t.Run(name+"Clients", func(t *testing.T) { testClients(t, th) })
		t.Run(name+"API", func(t *testing.T) { testAPI(t, th) })
		t.Run(name+"Impersonates", func(t *testing.T) { testImpersonates(t, th) })
	}
	t.Run("Answers", func(t *testing.T) { testAnswers(t, s) })
	t.Run("Forgeries", func(t *testing.T) { testForgeries(t, s) })
	t.Run("Deleted", func(t *testing.T) { testDeleted(t, s) })
}

// testKeys tries everything on every key that is somebody else's: also on those that the thief may read, where it is to read only.
func testKeys(t *testing.T, th *thief) {
	root := th.root().Coord
	open := th.keyTools(t, th)
	before := others(t, root, th)
	victim, host := th.guests[1], th.hosts[1]
	targets := []string{
		"/new", "/keeper", "/keeper/new", "/guests", "/hosts", "/clusters", "/guests/new", "/hosts/new", protocol.GuestPrefix(victim), protocol.GuestPrefix(victim) + "/new",
		protocol.ClusterPrefix(victim), protocol.HostPrefix(host), protocol.HostContainerKey(host, th.guests[0]), th.prefixes[0] + "x",
		protocol.EndpointsKey, protocol.EndpointKey("new"), protocol.ClusterPrefix("new"), th.readable[0], th.readable[0] + "x", th.readable[0] + "/new/key",
	}
	there := map[string]bool{}
	for _, e := range before {
		targets = append(targets, e.Key)
		there[e.Key] = true
	}
	for _, must := range append(th.clusterKeys(),
		protocol.GuestStatusKey(victim), protocol.HostAliveKey(host), protocol.HostContainerKey(host, victim), "/keeper/leader",
	) {
		require.True(t, there[must], "the site has what is to be stolen: %s", must)
	}
	require.True(t, slices.ContainsFunc(before, func(e coord.Entry) bool { return th.reads(e.Key) }))
	for n, v := range open.verbs {
		if v.mine {
			own := fmt.Sprintf("%s/own-%d", th.prefixes[0], n)
			require.NoError(t, root.Apply(soon(t), coord.Put(own, []byte("mine"), nil)))
			require.NoError(t, v.do(soon(t), own), "%s its own", v.name)
		}
		for _, key := range targets {
			if v.reads && th.reads(key) {
				if there[key] {
					require.NoError(t, v.do(soon(t), key), "%s %s", v.name, key)
				}
				continue // to be told that there is nothing is no theft
			}
			open.refuses(t, v.name+" "+key, func(ctx context.Context) error { return v.do(ctx, key) })
		}
	}
	for _, a := range open.attempts {
		open.refuses(t, a.name, a.try)
	}
	require.Equal(t, before, others(t, root, th), "nothing of it left a trace")
}

func (o *tools) refuses(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	err := try(soon(t))
	if assert.Error(t, err, what) {
		assert.True(t, o.denied(err), "%s: %v", what, err)
	}
}

func others(t *testing.T, root coord.Store, th *thief) []coord.Entry {
	t.Helper()
	all, err := root.List(soon(t), "/")
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(e coord.Entry) bool { return th.owns(e.Key) })
}

// testQueues tries everything on every queue that is somebody else's.
func testQueues(t *testing.T, th *thief) {
	control := th.root().Bus
	open := th.queueTools(t, th)
	victim, host := th.guests[1], th.hosts[1]
	const unserved = "nobody"
	require.NoError(t, control.Publish(soon(t), unserved, bus.Message{ID: "kept", Kind: "secret", Body: []byte("secret")}))
	targets := []string{protocol.GuestQueue(victim), protocol.HostQueue(host), protocol.KeeperQueue, unserved, "new", th.queue + "x"}
	for n, v := range open.verbs {
		if v.mine {
			require.NoError(t, control.Publish(soon(t), th.queue, bus.Message{ID: fmt.Sprint("own-", n), Kind: "test"}))
			require.NoError(t, v.do(soon(t), th.queue), "%s its own", v.name)
		}
		for _, queue := range targets {
			open.refuses(t, v.name+" "+queue, func(ctx context.Context) error { return v.do(ctx, queue) })
		}
	}
	for _, a := range open.attempts {
		open.refuses(t, a.name, a.try)
	}
	// What was there still is, and those whose queues they are still serve them.
	for _, instance := range th.guests {
		answer, err := control.Call(soon(t), protocol.GuestQueue(instance), bus.Message{Kind: "test"})
		require.NoError(t, err)
		require.Equal(t, `"`+instance+`"`, string(answer))
	}
	var kept []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := control.Serve(ctx, unserved, 1, func(_ context.Context, m bus.Message) ([]byte, error) {
		kept = append(kept, m.ID)
		cancel()
		return nil, nil
	})
	if !errors.Is(err, context.Canceled) {
		require.NoError(t, err)
	}
	require.Equal(t, []string{"kept"}, kept)
	require.NoError(t, control.Drop(soon(t), unserved))
}

// testClients has the thief use the product's own clients and gatekeepers.
func testClients(t *testing.T, th *thief) {
	e := th.open(th.credentials)
	victim := th.guests[1]
	key, queue := protocol.GuestStatusKey(victim), protocol.GuestQueue(victim)
	calls := map[string]func(ctx context.Context) error{
		"get":    func(ctx context.Context) error { _, err := e.Coord.Get(ctx, key); return err },
		"list":   func(ctx context.Context) error { _, err := e.Coord.List(ctx, "/"); return err },
		"watch":  func(ctx context.Context) error { _, err := e.Coord.Watch(ctx, protocol.GuestsKey); return err },
		"put":    func(ctx context.Context) error { return e.Coord.Apply(ctx, coord.Put(key, nil, nil)) },
		"delete": func(ctx context.Context) error { return e.Coord.Apply(ctx, coord.Delete(key, 0)) },
		"lead": func(ctx context.Context) error {
			session, err := e.Coord.NewSession(ctx, 5*time.Second)
			require.NoError(t, err)
			_, err = coord.Elect(ctx, e.Coord, session, "/keeper/leader", nil)
			return errors.Join(err, session.Close(ctx))
		},
		"admit itself": func(ctx context.Context) error {
			return e.Keys.Admit(ctx, th.principal, coord.Rights{Own: []string{"/guests"}})
		},
		"admit another": func(ctx context.Context) error {
			return e.Keys.Admit(ctx, "guest.new", coord.Rights{Own: []string{"/guests/new"}})
		},
		"expel":       func(ctx context.Context) error { return e.Keys.Expel(ctx, "guest."+victim) },
		"serve":       func(ctx context.Context) error { return e.Bus.Serve(ctx, queue, 1, nil) },
		"serve hosts": func(ctx context.Context) error { return e.Bus.Serve(ctx, protocol.HostQueue(th.hosts[1]), 1, nil) },
		"publish":     func(ctx context.Context) error { return e.Bus.Publish(ctx, queue, bus.Message{Kind: "forged"}) },
		"kick": func(ctx context.Context) error {
			return e.Bus.Publish(ctx, protocol.KeeperQueue, bus.Message{Kind: "forged"})
		},
		"call": func(ctx context.Context) error {
			_, err := e.Bus.Call(ctx, queue, bus.Message{Kind: "forged"})
			return err
		},
		"drop": func(ctx context.Context) error { return e.Bus.Drop(ctx, queue) },
		"dead": func(ctx context.Context) error { _, err := e.Bus.DeadLetters(ctx, queue); return err },
	}
	if th.rabbit == nil {
		calls["admit to queues"] = func(ctx context.Context) error { return e.Queues.Admit(ctx, th.principal, []string{queue}) }
		calls["expel from queues"] = func(ctx context.Context) error { return e.Queues.Expel(ctx, "guest."+victim) }
	}
	for name, call := range calls {
		err := call(soon(t))
		require.Error(t, err, name)
		require.True(t, errors.Is(err, coord.ErrDenied) || errors.Is(err, bus.ErrDenied), "%s: %v", name, err)
	}
	for _, key := range th.clusterKeys() {
		_, err := e.Coord.Get(soon(t), key)
		if th.reads(key) {
			require.NoError(t, err, key)
		} else {
			require.ErrorIs(t, err, coord.ErrDenied, key)
		}
		for _, op := range []coord.Op{coord.Put(key, nil, nil), coord.Delete(key, 0), coord.Create(key, nil), coord.Update(key, nil, 1)} {
			require.ErrorIs(t, e.Coord.Apply(soon(t), op), coord.ErrDenied, key)
		}
	}
	for _, prefix := range th.readable {
		_, err := e.Coord.List(soon(t), prefix)
		require.NoError(t, err, prefix)
		_, err = e.Coord.Watch(t.Context(), prefix)
		require.NoError(t, err, prefix)
	}
	own := th.prefixes[0] + "/with-the-product"
	require.NoError(t, e.Coord.Apply(soon(t), coord.Put(own, nil, nil)))
	require.NoError(t, e.Coord.Apply(soon(t), coord.Delete(own, 0)))
}

// testImpersonates shows the stolen certificate to those who look for an engine or for another host.
func testImpersonates(t *testing.T, th *thief) {
	pair, err := tls.X509KeyPair(th.credentials.Cert, th.credentials.Key)
	require.NoError(t, err)
	// The same with a certificate that is good for the address.
	server := identity(t, th.issue("server", "here", "127.0.0.1"))
	good, err := tls.X509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	for _, c := range []struct {
		show tls.Certificate
		ok   bool
	}{{pair, false}, {good, true}} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c.show}, MinVersion: tls.VersionTLS12})
		require.NoError(t, err)
		go func() {
			if conn, err := l.Accept(); err == nil {
				_ = conn.(*tls.Conn).HandshakeContext(t.Context())
				_ = conn.Close()
			}
		}()
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), tlsOf(t, identity(t, th.fleet.Identity)))
		if c.ok {
			require.NoError(t, err)
			_ = conn.Close()
		} else {
			var bad *tls.CertificateVerificationError
			require.ErrorAs(t, err, &bad)
		}
		_ = l.Close()
	}
}

// testForgeries comes with certificates that are none of this deployment's, or not for now, or not for this.
func testForgeries(t *testing.T, s *site) {
	forgeries := s.forgeries()
	for place, enter := range s.doors() {
		require.NoError(t, enter(soon(t), tlsOf(t, s.guestThief(0).credentials)), "%s: a guest's own gets in", place)
		for name, forged := range forgeries {
			t.Run(place+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				require.Error(t, enter(ctx, forged))
			})
		}
	}
}

// testDeleted: what a credential was good for ends with its database, for connections that are open too.
func testDeleted(t *testing.T, s *site) {
	id := s.create("passing")
	th := &thief{
		site: s, principal: "guest." + id, credentials: guestFiles(t, s.etc(id)), queue: protocol.GuestQueue(id),
		prefixes: []string{protocol.GuestPrefix(id)}, readable: []string{protocol.ClusterPrefix(id)},
	}
	e := s.open(th.credentials)
	own := protocol.GuestPrefix(id) + "/own"
	require.NoError(t, e.Coord.Apply(soon(t), coord.Put(own, nil, nil)))
	keysBefore, queuesBefore := th.keyTools(t, th), th.queueTools(t, th)
	verbs := append(slices.Clone(keysBefore.verbs), queuesBefore.verbs...)
	if s.rabbit != nil {
		verbs = verbs[:len(keysBefore.verbs)+2] // who is not let in is told so after three seconds
	}
	require.NoError(t, keysBefore.verbs[0].do(soon(t), own))
	serving := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		serving <- e.Bus.Serve(ctx, th.queue, 1, func(context.Context, bus.Message) ([]byte, error) { return nil, nil })
	}()
	s.delete(id)

	if s.rabbit != nil { // RabbitMQ closes the connection; on etcd the server waits for messages that do not come
		select {
		case err := <-serving:
			require.ErrorIs(t, err, bus.ErrDenied)
		case <-time.After(20 * time.Second):
			require.Fail(t, "it still serves its queue")
		}
	}
	for _, v := range verbs {
		name := own
		if !slices.ContainsFunc(keysBefore.verbs, func(k verb) bool { return k.name == v.name }) {
			name = th.queue
		}
		require.Error(t, v.do(soon(t), name), "%s, on a connection from before", v.name)
	}
	fresh := s.open(th.credentials)
	_, err := fresh.Coord.Get(soon(t), own)
	require.ErrorIs(t, err, coord.ErrDenied)
	require.ErrorIs(t, fresh.Coord.Apply(soon(t), coord.Put(own, nil, nil)), coord.ErrDenied)
	require.ErrorIs(t, fresh.Bus.Serve(soon(t), th.queue, 1, nil), bus.ErrDenied)
	left, err := s.root().Coord.List(soon(t), "/")
	require.NoError(t, err)
	for _, entry := range left {
		require.NotContains(t, entry.Key, id)
	}
}
