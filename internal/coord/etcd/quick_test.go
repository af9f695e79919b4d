package etcd_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
)

func TestMain(m *testing.M) {
	etcdtest.Serve()
	os.Exit(m.Run())
}

func TestQuick(t *testing.T) {
	t0 := time.Now()
	e := etcdtest.Start(t)
	t.Log("start", time.Since(t0))
	s := e.Root(t)
	ctx := context.Background()
	t0 = time.Now()
	require.NoError(t, s.Apply(ctx, coord.Create("/a/b", []byte("x"))))
	t.Log("first apply", time.Since(t0))
	t0 = time.Now()
	for range 20 {
		require.NoError(t, s.Apply(ctx, coord.Put("/a/b", []byte("x"), nil)))
	}
	t.Log("apply", time.Since(t0)/20)
	t0 = time.Now()
	e.Down()
	t.Log("down", time.Since(t0))
	t0 = time.Now()
	e.Up(t)
	t.Log("again", time.Since(t0))
	t0 = time.Now()
	en, err := s.Get(ctx, "/a/b")
	require.NoError(t, err)
	t.Log("get", time.Since(t0), en)
}
