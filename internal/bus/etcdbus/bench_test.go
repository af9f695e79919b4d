package etcdbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
)

func BenchmarkCall(b *testing.B) {
	e := etcdtest.StartProcess(b)
	caller, server := etcdbus.New(e.Root(b), etcdbus.Config{}), etcdbus.New(e.Root(b), etcdbus.Config{})
	defer caller.Close()
	defer server.Close()
	go func() {
		_ = server.Serve(context.Background(), "bench", 4, func(_ context.Context, m bus.Message) ([]byte, error) { return m.Body, nil })
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	body := make([]byte, 2048)
	for b.Loop() {
		_, err := caller.Call(ctx, "bench", bus.Message{Body: body})
		require.NoError(b, err)
	}
}
