package theft

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/protocol"
)

// etcdClient is etcd's own client, as package etcd sets it up.
func (s *site) etcdClient(t *testing.T, th *thief) *clientv3.Client {
	t.Helper()
	c := th.credentials
	store, err := etcd.Dial(t.Context(), etcd.ClientConfig{Endpoints: []string{"https://" + s.etcd.Address}, CA: c.CA, Cert: c.Cert, Key: c.Key})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store.Client()
}

// etcdConnection is gRPC without etcd's client, which asks a hundred times when it is refused.
func (s *site) etcdConnection(t *testing.T, cfg *tls.Config) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(s.etcd.Address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// etcdKey is where package etcd keeps a key.
func etcdKey(key string) string {
	return "c" + strings.ReplaceAll(strings.TrimSuffix(key, "/"), "/", " ")
}

func etcdDenied(err error) bool {
	return errors.Is(etcd.MapError("theft", err), coord.ErrDenied)
}

// etcdVerbs are on a key of etcd's own.
func etcdVerbs(c *clientv3.Client, own string) []func(string) verb {
	commit := func(txn clientv3.Txn) error { _, err := txn.Commit(); return err }
	all := func(key string) clientv3.OpOption { return clientv3.WithRange(key + "!") }
	simple := func(name string, do func(ctx context.Context, key string) error) func(string) verb {
		return func(kind string) verb { return verb{name: kind + name, mine: true, do: do} }
	}
	reading := func(name string, do func(ctx context.Context, key string) error) func(string) verb {
		return func(kind string) verb { return verb{name: kind + name, mine: true, reads: true, do: do} }
	}
	return []func(string) verb{
		reading("get", func(ctx context.Context, key string) error { _, err := c.Get(ctx, key); return err }),
		reading("get an old value", func(ctx context.Context, key string) error {
			r, err := c.Get(ctx, own)
			if err != nil {
				return err
			}
			_, err = c.Get(ctx, key, clientv3.WithRev(r.Header.Revision-1))
			return err
		}),
		reading("get serializable", func(ctx context.Context, key string) error {
			_, err := c.Get(ctx, key, clientv3.WithSerializable())
			return err
		}),
		reading("count", func(ctx context.Context, key string) error {
			_, err := c.Get(ctx, key, all(key), clientv3.WithCountOnly())
			return err
		}),
		reading("list", func(ctx context.Context, key string) error {
			_, err := c.Get(ctx, key, all(key), clientv3.WithKeysOnly())
			return err
		}),
		reading("watch", func(ctx context.Context, key string) error { return watched(ctx, c, key, "", 0) }),
		reading("watch below", func(ctx context.Context, key string) error { return watched(ctx, c, key, key+"!", 0) }),
		reading("watch the past", func(ctx context.Context, key string) error {
			return watched(ctx, c, key, key+"!", 1)
		}),
		simple("put", func(ctx context.Context, key string) error { _, err := c.Put(ctx, key, "forged"); return err }),
		simple("put and see", func(ctx context.Context, key string) error {
			_, err := c.Put(ctx, key, "forged", clientv3.WithPrevKV())
			return err
		}),
		simple("put below", func(ctx context.Context, key string) error { _, err := c.Put(ctx, key+" new", "forged"); return err }),
		simple("put without a value", func(ctx context.Context, key string) error {
			_, err := c.Put(ctx, key, "", clientv3.WithIgnoreValue())
			return err
		}),
		simple("put with a lease", func(ctx context.Context, key string) error {
			l, err := c.Grant(ctx, 30)
			if err == nil {
				_, err = c.Put(ctx, key, "", clientv3.WithLease(l.ID))
			}
			return err
		}),
		reading("compare", func(ctx context.Context, key string) error {
			return commit(c.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), ">", "s")))
		}),
		reading("compare a range", func(ctx context.Context, key string) error {
			return commit(c.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), ">", 0).WithRange(key + "!")))
		}),
		reading("branch not run", func(ctx context.Context, key string) error { return commit(c.Txn(ctx).Else(clientv3.OpGet(key))) }),
		simple("beside its own", func(ctx context.Context, key string) error {
			return commit(c.Txn(ctx).Then(clientv3.OpPut(own+" beside its own", ""), clientv3.OpPut(key+" beside", "")))
		}),
		reading("nested", func(ctx context.Context, key string) error {
			return commit(c.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(key)}, nil)))
		}),
		simple("delete", func(ctx context.Context, key string) error { _, err := c.Delete(ctx, key); return err }),
		simple("delete and see", func(ctx context.Context, key string) error {
			_, err := c.Delete(ctx, key, all(key), clientv3.WithPrevKV())
			return err
		}),
		// From one's own to that of others.
		func(kind string) verb {
			return verb{name: kind + "range from its own", do: func(ctx context.Context, key string) error {
				from, to := own, key+"!"
				if from > to {
					from, to = key, own+"!"
				}
				_, err := c.Get(ctx, from, clientv3.WithRange(to))
				return err
			}}
		},
	}
}

// watched is nil when the watch stands. Each is a stream of its own: etcd's client has its watches share one, which it opens and closes as they come and go.
func watched(ctx context.Context, c *clientv3.Client, key, end string, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := etcdserverpb.NewWatchClient(c.ActiveConnection()).Watch(ctx)
	if err != nil {
		return err
	}
	create := &etcdserverpb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), StartRevision: from}
	if err := stream.Send(&etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		return err
	}
	resp, err := stream.Recv()
	switch {
	case err != nil:
		return err
	case resp.Canceled && strings.Contains(resp.CancelReason, "permission denied"):
		return rpctypes.ErrPermissionDenied
	case resp.Canceled:
		return errors.New(resp.CancelReason)
	}
	return nil
}

func (s *site) etcdKeyTools(t *testing.T, th *thief) *tools {
	t.Helper()
	c := s.etcdClient(t, th)
	own := etcdKey(th.prefixes[0])
	o := &tools{denied: etcdDenied}
	for _, make := range etcdVerbs(c, own) {
		v := make("")
		do := v.do
		v.do = func(ctx context.Context, key string) error { return do(ctx, etcdKey(key)) }
		o.verbs = append(o.verbs, v)
	}
	o.attempts = append(s.etcdAdministration(c, th), s.etcdServices(c)...)
	for _, key := range []string{"\x00", "a", "b", "c", "c ", "c!", "d", "principal:" + th.principal, "\xff"} {
		for _, v := range etcdVerbs(c, own) {
			v := v("")
			o.attempts = append(o.attempts, attempt{fmt.Sprintf("%s %q", v.name, key), func(ctx context.Context) error { return v.do(ctx, key) }})
		}
	}
	o.attempts = append(o.attempts,
		attempt{"get everything", func(ctx context.Context) error { _, err := c.Get(ctx, "\x00", clientv3.WithFromKey()); return err }},
		attempt{"watch everything", func(ctx context.Context) error {
			return watched(ctx, c, "\x00", "\x00", 1)
		}},
		attempt{"delete everything", func(ctx context.Context) error { _, err := c.Delete(ctx, "\x00", clientv3.WithFromKey()); return err }},
	)
	// Names that others have chosen for the same connection: the certificate's counts.
	plain := s.etcdConnection(t, tlsOf(t, th.credentials))
	for name, md := range map[string][]string{
		"a forged token":       {"token", "root.1"},
		"a forged bearer":      {"authorization", "root.1"},
		"by a pretended proxy": {"grpcgateway-accept", "application/json"},
	} {
		key := etcdKey(protocol.GuestStatusKey(s.guests[1]))
		o.attempts = append(o.attempts, attempt{"get with " + name, func(ctx context.Context) error {
			_, err := etcdserverpb.NewKVClient(plain).Range(metadata.AppendToOutgoingContext(ctx, md...), &etcdserverpb.RangeRequest{Key: []byte(key)})
			if status.Code(err) == codes.InvalidArgument || status.Code(err) == codes.Unauthenticated { // a user without a name, a token that nobody gave out
				return rpctypes.ErrPermissionDenied
			}
			return err
		}})
	}
	return o
}

// etcdAdministration is what only the control plane may ask for.
func (s *site) etcdAdministration(c *clientv3.Client, th *thief) []attempt {
	endpoint := "https://" + s.etcd.Address
	role := "principal:" + th.principal
	read := clientv3.PermissionType(clientv3.PermRead)
	var o []attempt
	add := func(name string, try func(ctx context.Context) error) { o = append(o, attempt{name, try}) }
	add("leases", func(ctx context.Context) error { _, err := c.Leases(ctx); return err })
	add("compact", func(ctx context.Context) error { _, err := c.Compact(ctx, 2); return err })
	add("add user", func(ctx context.Context) error { _, err := c.UserAdd(ctx, "mallory", "x"); return err })
	add("delete user", func(ctx context.Context) error { _, err := c.UserDelete(ctx, "guest."+s.guests[1]); return err })
	add("see user", func(ctx context.Context) error { _, err := c.UserGet(ctx, "guest."+s.guests[1]); return err })
	add("see itself", func(ctx context.Context) error { _, err := c.UserGet(ctx, th.principal); return err })
	add("list users", func(ctx context.Context) error { _, err := c.UserList(ctx); return err })
	add("list roles", func(ctx context.Context) error { _, err := c.RoleList(ctx); return err })
	add("see role", func(ctx context.Context) error { _, err := c.RoleGet(ctx, role); return err })
	add("add role", func(ctx context.Context) error { _, err := c.RoleAdd(ctx, "mallory"); return err })
	add("delete role", func(ctx context.Context) error {
		_, err := c.RoleDelete(ctx, "principal:guest."+s.guests[1])
		return err
	})
	add("password", func(ctx context.Context) error { _, err := c.UserChangePassword(ctx, "root", "x"); return err })
	add("become root", func(ctx context.Context) error { _, err := c.UserGrantRole(ctx, th.principal, "root"); return err })
	add("become another", func(ctx context.Context) error {
		_, err := c.UserGrantRole(ctx, th.principal, "principal:guest."+s.guests[1])
		return err
	})
	add("widen", func(ctx context.Context) error {
		_, err := c.RoleGrantPermission(ctx, role, "\x00", "\x00", read)
		return err
	})
	add("narrow another", func(ctx context.Context) error {
		_, err := c.RoleRevokePermission(ctx, "principal:guest."+s.guests[1], "c", "d")
		return err
	})
	add("auth on", func(ctx context.Context) error { _, err := c.AuthEnable(ctx); return err })
	add("auth off", func(ctx context.Context) error { _, err := c.AuthDisable(ctx); return err })
	add("auth status", func(ctx context.Context) error { _, err := c.AuthStatus(ctx); return err })
	add("authenticate", func(ctx context.Context) error { _, err := c.Authenticate(ctx, "root", ""); return err })
	add("members", func(ctx context.Context) error { _, err := c.MemberList(ctx); return err })
	add("add member", func(ctx context.Context) error {
		_, err := c.MemberAdd(ctx, []string{"http://10.0.0.1:2380"})
		return err
	})
	add("add learner", func(ctx context.Context) error {
		_, err := c.MemberAddAsLearner(ctx, []string{"http://10.0.0.1:2380"})
		return err
	})
	add("remove member", func(ctx context.Context) error { _, err := c.MemberRemove(ctx, 1); return err })
	add("alarms", func(ctx context.Context) error { _, err := c.AlarmList(ctx); return err })
	add("disarm", func(ctx context.Context) error { _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); return err })
	add("status", func(ctx context.Context) error { _, err := c.Status(ctx, endpoint); return err })
	add("defragment", func(ctx context.Context) error { _, err := c.Defragment(ctx, endpoint); return err })
	add("hash", func(ctx context.Context) error { _, err := c.HashKV(ctx, endpoint, 0); return err })
	add("move leader", func(ctx context.Context) error { _, err := c.MoveLeader(ctx, 1); return err })
	add("downgrade", func(ctx context.Context) error { _, err := c.Downgrade(ctx, 1, "3.6.0"); return err })
	add("snapshot", func(ctx context.Context) error {
		r, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		_, err = io.ReadAll(r)
		return err
	})
	return o
}

// etcdServices are those that etcd brings besides its own: they act inside of the server.
func (s *site) etcdServices(c *clientv3.Client) []attempt {
	locks, elections := v3lockpb.NewLockClient(c.ActiveConnection()), v3electionpb.NewElectionClient(c.ActiveConnection())
	name := []byte(etcdKey("/keeper/leader"))
	return []attempt{
		{"lock", func(ctx context.Context) error {
			_, err := locks.Lock(ctx, &v3lockpb.LockRequest{Name: name})
			return err
		}},
		{"unlock", func(ctx context.Context) error {
			_, err := locks.Unlock(ctx, &v3lockpb.UnlockRequest{Key: name})
			return err
		}},
		{"campaign", func(ctx context.Context) error {
			_, err := elections.Campaign(ctx, &v3electionpb.CampaignRequest{Name: name})
			return err
		}},
		{"leader", func(ctx context.Context) error {
			_, err := elections.Leader(ctx, &v3electionpb.LeaderRequest{Name: name})
			return err
		}},
		{"observe", func(ctx context.Context) error {
			stream, err := elections.Observe(ctx, &v3electionpb.LeaderRequest{Name: name})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}},
	}
}

func (s *site) etcdQueueTools(t *testing.T, th *thief) *tools {
	t.Helper()
	c := s.etcdClient(t, th)
	own := etcd.QueueKey(th.queue)
	o := &tools{denied: etcdDenied}
	for _, make := range etcdVerbs(c, own) {
		for _, part := range []string{"", " b", " c", " d", " e", " r", " x", " r forged", " e kept", " b kept"} {
			v := make("")
			if part != "" && strings.HasSuffix(v.name, "without a value") {
				continue // of a key that is there
			}
			do := v.do
			v.name += part
			v.do = func(ctx context.Context, queue string) error { return do(ctx, etcd.QueueKey(queue)+part) }
			if v.name == "put without a value" {
				v.mine = false // there is no such key
			}
			o.verbs = append(o.verbs, v)
		}
	}
	o.attempts = s.leaseAttempts(t, th, c)
	return o
}

// leaseAttempts are on leases that the thief knows, because something of its own hangs on them too.
func (s *site) leaseAttempts(t *testing.T, th *thief, c *clientv3.Client) []attempt {
	t.Helper()
	control := s.root().Bus
	deadline := time.Now().Add(10 * time.Minute)
	shared := "lease-of-" + th.principal
	// Nobody serves th.queue+"x": what is in it stays. In the thief's own queue its server may be faster than we are.
	require.NoError(t, control.Publish(soon(t), th.queue+"x", bus.Message{ID: shared, Kind: "test", Deadline: deadline}))
	t.Cleanup(func() { _ = control.Drop(context.WithoutCancel(t.Context()), th.queue+"x") })
	root := s.etcd.Root(t).Client()
	r, err := root.Get(soon(t), etcd.QueueKey(th.queue+"x")+" b "+shared)
	require.NoError(t, err)
	require.Len(t, r.Kvs, 1)
	lease := clientv3.LeaseID(r.Kvs[0].Lease)
	require.NotZero(t, lease)
	session, err := root.Get(soon(t), etcdKey(protocol.GuestStatusKey(s.guests[1])))
	require.NoError(t, err)
	require.Len(t, session.Kvs, 1)
	leader, err := root.Get(soon(t), etcdKey("/keeper/leader"))
	require.NoError(t, err)
	require.Len(t, leader.Kvs, 1)
	var o []attempt
	for name, id := range map[string]clientv3.LeaseID{
		"a message's": lease, "another's session's": clientv3.LeaseID(session.Kvs[0].Lease), "the leader's": clientv3.LeaseID(leader.Kvs[0].Lease),
	} {
		o = append(o,
			attempt{"revoke " + name, func(ctx context.Context) error { _, err := c.Revoke(ctx, id); return err }},
			attempt{"keep alive " + name, func(ctx context.Context) error { _, err := c.KeepAliveOnce(ctx, id); return err }},
			attempt{"see " + name, func(ctx context.Context) error {
				_, err := c.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
				return err
			}},
			attempt{"see the time of " + name, func(ctx context.Context) error { _, err := c.TimeToLive(ctx, id); return err }},
			attempt{"hang something on " + name, func(ctx context.Context) error {
				_, err := c.Put(ctx, etcdKey(th.prefixes[0]+"/hung"), "", clientv3.WithLease(id))
				return err
			}},
		)
	}
	own, err := c.Grant(soon(t), 30)
	require.NoError(t, err)
	_, err = c.KeepAliveOnce(soon(t), own.ID)
	require.NoError(t, err)
	_, err = c.Put(soon(t), etcdKey(th.prefixes[0]+"/hung"), "", clientv3.WithLease(own.ID))
	require.NoError(t, err)
	_, err = c.Revoke(soon(t), own.ID)
	require.NoError(t, err)
	return o
}
