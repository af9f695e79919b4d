package etcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
)

// TestResyncAfterCompaction: a watcher was away for longer than history is kept.
func TestResyncAfterCompaction(t *testing.T) {
	e := etcdtest.StartProcess(t) // killed below: one that ends in order waits for the connection that is cut
	admin := e.Root(t)
	proxy := coordtest.NewProxy(t, e.Address)
	cfg := e.Config(t, etcd.RootPrincipal)
	cfg.Endpoints = []string{"https://" + proxy.Address}
	s, err := etcd.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	events, err := s.Watch(ctx, "/a")
	require.NoError(t, err)
	require.NoError(t, admin.Apply(ctx, coord.Put("/a/0", nil, nil)))
	require.Equal(t, "/a/0", (<-events).Key)

	proxy.Cut()
	// The engine is started anew, so that it does not keep the watch's place.
	e.Down()
	e.Up(t)
	require.Eventually(t, func() bool { return admin.Apply(ctx, coord.Put("/a/1", []byte("missed"), nil)) == nil }, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, admin.Apply(ctx, coord.Put("/a/1", []byte("newer"), nil)))
	resp, err := admin.Client().Get(ctx, "x")
	require.NoError(t, err)
	_, err = admin.Client().Compact(ctx, resp.Header.Revision)
	require.NoError(t, err)
	proxy.Mend()

	select {
	case ev := <-events:
		require.Equal(t, coord.Event{Resync: true}, ev)
	case <-ctx.Done():
		require.Fail(t, "no Resync came")
	}
	got, err := s.Get(ctx, "/a/1")
	require.NoError(t, err)
	require.Equal(t, "newer", string(got.Value))
	require.NoError(t, admin.Apply(ctx, coord.Put("/a/2", nil, nil)))
	require.Equal(t, "/a/2", (<-events).Key, "and it goes on")
}

func TestDialRefusesNonsense(t *testing.T) {
	e := etcdtest.Start(t)
	good := e.Config(t, etcd.RootPrincipal)
	for name, change := range map[string]func(*etcd.ClientConfig){
		"no endpoint": func(c *etcd.ClientConfig) { c.Endpoints = nil },
		"no ca":       func(c *etcd.ClientConfig) { c.CA = []byte("x") },
		"no cert":     func(c *etcd.ClientConfig) { c.Cert = nil },
		"wrong key":   func(c *etcd.ClientConfig) { c.Key = e.CA.KeyPEM() },
	} {
		cfg := good
		change(&cfg)
		_, err := etcd.Dial(t.Context(), cfg)
		require.Error(t, err, name)
	}
}

// TestForeignSession: a session of another connection may end without this one knowing.
func TestForeignSession(t *testing.T) {
	e := etcdtest.Start(t)
	a, b := e.Root(t), e.Root(t)
	sess, err := a.NewSession(t.Context(), 5*time.Second)
	require.NoError(t, err)
	require.ErrorIs(t, b.Apply(t.Context(), coord.CreateEphemeral("/x", nil, sess)), coord.ErrInvalid)
}
