package guestclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/guestclient"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

const instance = "0192f0c4-0000-7000-8000-000000000001"

// caller answers every call with reply or err, and keeps what was sent.
type caller struct {
	reply string
	err   error
	queue string
	sent  bus.Message
	left  time.Duration
}

func (c *caller) Call(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	c.queue, c.sent = queue, m
	if d, ok := ctx.Deadline(); ok {
		c.left = time.Until(d)
	}
	return []byte(c.reply), c.err
}

func client(t *testing.T, c *caller, timeout time.Duration) *guestclient.Client {
	t.Helper()
	g, err := guestclient.New(c, timeout)
	require.NoError(t, err)
	return g
}

// TestKinds checks for every method which kind it sends, what it sends and what it makes of the answer.
func TestKinds(t *testing.T) {
	name := "new"
	for _, tc := range []struct {
		kind, body, reply string
		call              func(context.Context, *guestclient.Client) (any, error)
		want              any
	}{
		{protocol.KindGuestStatus, "", `{"agent_version":"7"}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Status(ctx, instance)
		}, protocol.GuestStatus{AgentVersion: "7"}},
		{protocol.KindPrepare, `{"databases":[{"name":"a"}]}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.Prepare(ctx, instance, model.Bootstrap{Databases: []model.Database{{Name: "a"}}})
		}, nil},
		{protocol.KindConfigure, `{"memory_mb":512,"cpus":1.5,"volume_gb":3}`, `{"config_memory_mb":512}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Configure(ctx, instance, protocol.ConfigureRequest{MemoryMB: 512, CPUs: 1.5, VolumeGB: 3})
		}, protocol.GuestStatus{ConfigMemMB: 512}},
		{protocol.KindRestart, `{"serial":4}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.Restart(ctx, instance, 4)
		}, nil},
		{protocol.KindDatabaseList, `{"limit":2,"marker":"a"}`, `[{"name":"b"}]`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Databases(ctx, instance, protocol.ListRequest{Limit: 2, Marker: "a"})
		}, []model.Database{{Name: "b"}}},
		{protocol.KindDatabaseCreate, `[{"name":"a","character_set":"utf8mb4"}]`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.CreateDatabases(ctx, instance, []model.Database{{Name: "a", CharacterSet: "utf8mb4"}})
		}, nil},
		{protocol.KindDatabaseDelete, `{"name":"a"}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.DeleteDatabase(ctx, instance, "a")
		}, nil},
		{protocol.KindUserList, `{"limit":0,"marker":""}`, `[{"name":"u","host":"%"}]`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Users(ctx, instance, protocol.ListRequest{})
		}, []model.User{{Name: "u", Host: "%"}}},
		{protocol.KindUserShow, `{"name":"u","host":"h"}`, `{"name":"u"}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.User(ctx, instance, protocol.UserRequest{Name: "u", Host: "h"})
		}, model.User{Name: "u"}},
		{protocol.KindUserCreate, `[{"name":"u","password":"p"}]`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.CreateUsers(ctx, instance, []model.User{{Name: "u", Password: "p"}})
		}, nil},
		{protocol.KindUserUpdate, `{"name":"u","host":"","new_name":"new"}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.UpdateUser(ctx, instance, protocol.UserUpdate{Name: "u", NewName: &name})
		}, nil},
		{protocol.KindUserDelete, `{"name":"u","host":""}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.DeleteUser(ctx, instance, protocol.UserRequest{Name: "u"})
		}, nil},
		{protocol.KindGrant, `{"name":"u","host":"","databases":["a"]}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.Grant(ctx, instance, protocol.GrantRequest{Name: "u", Databases: []string{"a"}})
		}, nil},
		{protocol.KindRevoke, `{"name":"u","host":"","databases":["a"]}`, "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.Revoke(ctx, instance, protocol.GrantRequest{Name: "u", Databases: []string{"a"}})
		}, nil},
		{protocol.KindRootShow, "", `{"enabled":true}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Root(ctx, instance)
		}, protocol.RootReply{Enabled: true}},
		{protocol.KindRootEnable, `{"password":"p"}`, `{"enabled":true,"password":"p"}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.EnableRoot(ctx, instance, "p")
		}, protocol.RootReply{Enabled: true, Password: "p"}},
		{protocol.KindRootDisable, "", "", func(ctx context.Context, g *guestclient.Client) (any, error) {
			return nil, g.DisableRoot(ctx, instance)
		}, nil},
		{protocol.KindLogList, "", `[{"name":"error"}]`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.Logs(ctx, instance)
		}, []protocol.Log{{Name: "error"}}},
		{protocol.KindLogSet, `{"name":"general","enable":true,"disable":false,"discard":false}`, `{"enabled":true}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.SetLog(ctx, instance, protocol.LogSet{Name: "general", Enable: true})
		}, protocol.Log{Enabled: true}},
		{protocol.KindLogRead, `{"name":"error","offset":-10,"limit":5}`, `{"data":"aGk=","size":9}`, func(ctx context.Context, g *guestclient.Client) (any, error) {
			return g.ReadLog(ctx, instance, protocol.LogRead{Name: "error", Offset: -10, Limit: 5})
		}, protocol.LogChunk{Data: []byte("hi"), Size: 9}},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			c := &caller{reply: tc.reply}
			got, err := tc.call(t.Context(), client(t, c, time.Minute))
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			require.Equal(t, "guest."+instance, c.queue)
			require.Equal(t, tc.kind, c.sent.Kind)
			require.Equal(t, tc.body, string(c.sent.Body))
			require.False(t, c.sent.Deadline.IsZero(), "a late guest must not carry it out")
		})
	}
}

func TestErrorsComeThrough(t *testing.T) {
	for _, want := range []error{bus.ErrTimeout, bus.ErrUnavailable, &bus.CallError{Code: protocol.CodeNotFound, Message: "no"}} {
		_, err := client(t, &caller{err: want}, 0).Root(t.Context(), instance)
		require.ErrorIs(t, err, want)
	}
	var ce *bus.CallError
	_, err := client(t, &caller{err: &bus.CallError{Code: "x"}}, 0).Logs(t.Context(), instance)
	require.True(t, errors.As(err, &ce))
}

func TestBadReply(t *testing.T) {
	_, err := client(t, &caller{reply: "{"}, 0).Root(t.Context(), instance)
	var syntax *json.SyntaxError
	require.ErrorAs(t, err, &syntax)
}

func TestTimeout(t *testing.T) {
	c := &caller{reply: "{}"}
	_, err := client(t, c, time.Second).Root(t.Context(), instance)
	require.NoError(t, err)
	require.LessOrEqual(t, c.left, time.Second)
	require.Positive(t, c.left)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = client(t, c, time.Second).Root(ctx, instance)
	require.NoError(t, err)
	require.LessOrEqual(t, c.left, 100*time.Millisecond, "the caller's deadline wins when it is earlier")
}

func TestTooLarge(t *testing.T) {
	c := &caller{}
	err := client(t, c, 0).CreateDatabases(t.Context(), instance, []model.Database{{Name: strings.Repeat("a", bus.MaxBody)}})
	require.ErrorIs(t, err, bus.ErrTooLarge)
	require.Empty(t, c.queue, "nothing is sent")
}

func TestNew(t *testing.T) {
	_, err := guestclient.New(nil, 0)
	require.Error(t, err)
	_, err = guestclient.New(&caller{}, -1)
	require.Error(t, err)
}
