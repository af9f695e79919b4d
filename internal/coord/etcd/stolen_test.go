package etcd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/etcdtest"
	"github.com/huker/huker/internal/pki"
)

// TestStolenCertificate: whoever broke into a guest has its certificate, and any etcd client. Nothing but the guest's own
// keys must be within reach.
func TestStolenCertificate(t *testing.T) {
	e := etcdtest.Start(t)
	admin := e.Root(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	gate := etcd.NewGatekeeper(admin)
	require.NoError(t, gate.Admit(ctx, "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	require.NoError(t, gate.AdmitQueues(ctx, "guest.a", []string{"guest.a"}))
	require.NoError(t, gate.Admit(ctx, "guest.b", coord.Rights{Own: []string{"/guests/b"}}))

	b := e.Open(t, "guest.b")
	victim, err := b.OpenSession(ctx, 30*time.Second)
	require.NoError(t, err)
	require.NoError(t, b.Apply(ctx, coord.CreateEphemeral("/guests/b/status", []byte("secret"), victim)))
	entry, err := b.Get(ctx, "/guests/b/status")
	require.NoError(t, err)

	c := e.Open(t, "guest.a").Client()
	lease, err := c.Grant(ctx, 30)
	require.NoError(t, err)
	_, err = c.Put(ctx, "c guests a x", "mine", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	_, err = c.Put(ctx, "b guest.a e 1", "mine")
	require.NoError(t, err)

	attempts := map[string]func() error{
		"put":           func() error { _, err := c.Put(ctx, "c guests b status", "forged"); return err },
		"put queue":     func() error { _, err := c.Put(ctx, "b guest.b e 1", ""); return err },
		"put elsewhere": func() error { _, err := c.Put(ctx, "x", ""); return err },
		"get":           func() error { _, err := c.Get(ctx, "c guests b status"); return err },
		"list":          func() error { _, err := c.Get(ctx, "c guests ", clientv3.WithPrefix()); return err },
		"list all":      func() error { _, err := c.Get(ctx, "\x00", clientv3.WithFromKey()); return err },
		"count":         func() error { _, err := c.Get(ctx, "c", clientv3.WithPrefix(), clientv3.WithCountOnly()); return err },
		"old revision":  func() error { _, err := c.Get(ctx, "c guests b status", clientv3.WithRev(entry.Created)); return err },
		"serializable":  func() error { _, err := c.Get(ctx, "c guests b status", clientv3.WithSerializable()); return err },
		"delete":        func() error { _, err := c.Delete(ctx, "c guests b status"); return err },
		"delete all":    func() error { _, err := c.Delete(ctx, "c", clientv3.WithPrefix()); return err },
		"compare": func() error {
			return commit(c.Txn(ctx).If(clientv3.Compare(clientv3.Version("c guests b status"), ">", 0)))
		},
		"branch not run": func() error { return commit(c.Txn(ctx).Else(clientv3.OpGet("c guests b status"))) },
		"nested": func() error {
			return commit(c.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet("c guests b status")}, nil)))
		},
		"revoke": func() error { _, err := c.Revoke(ctx, victim.Lease()); return err },
		"attach": func() error { _, err := c.Put(ctx, "c guests a y", "", clientv3.WithLease(victim.Lease())); return err },
	}
	refused(t, attempts)
	refused(t, administration(ctx, c, e.Address, victim.Lease()))
	now, err := b.Get(ctx, "/guests/b/status")
	require.NoError(t, err)
	require.Equal(t, entry, now)
}

// administration is what only the control plane may ask for.
func administration(ctx context.Context, c *clientv3.Client, address string, victim clientv3.LeaseID) map[string]func() error {
	return map[string]func() error{
		"leases":       func() error { _, err := c.Leases(ctx); return err },
		"time to live": func() error { _, err := c.TimeToLive(ctx, victim, clientv3.WithAttachedKeys()); return err },
		"compact":      func() error { _, err := c.Compact(ctx, 2); return err },
		"add user":     func() error { _, err := c.UserAdd(ctx, "mallory", "x"); return err },
		"see user":     func() error { _, err := c.UserGet(ctx, "guest.b"); return err },
		"see itself":   func() error { _, err := c.UserGet(ctx, "guest.a"); return err },
		"list users":   func() error { _, err := c.UserList(ctx); return err },
		"password":     func() error { _, err := c.UserChangePassword(ctx, "root", "x"); return err },
		"become root":  func() error { _, err := c.UserGrantRole(ctx, "guest.a", "root"); return err },
		"widen": func() error {
			_, err := c.RoleGrantPermission(ctx, "principal:guest.a", "c", "d", clientv3.PermissionType(2))
			return err
		},
		"auth off":     func() error { _, err := c.AuthDisable(ctx); return err },
		"auth status":  func() error { _, err := c.AuthStatus(ctx); return err },
		"authenticate": func() error { _, err := c.Authenticate(ctx, "root", ""); return err },
		"members":      func() error { _, err := c.MemberList(ctx); return err },
		"add member":   func() error { _, err := c.MemberAdd(ctx, []string{"http://10.0.0.1:2380"}); return err },
		"alarms":       func() error { _, err := c.AlarmList(ctx); return err },
		"disarm":       func() error { _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); return err },
		"status":       func() error { _, err := c.Status(ctx, "https://"+address); return err },
		"defragment":   func() error { _, err := c.Defragment(ctx, "https://"+address); return err },
		"hash":         func() error { _, err := c.HashKV(ctx, "https://"+address, 0); return err },
		"downgrade":    func() error { _, err := c.Downgrade(ctx, 1, "3.6.0"); return err },
		"watch":        func() error { return watchFails(ctx, c, "c guests b", clientv3.WithPrefix()) },
		"watch all":    func() error { return watchFails(ctx, c, "\x00", clientv3.WithFromKey()) },
		"snapshot": func() error {
			r, err := c.Snapshot(ctx)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.ReadAll(r)
			return err
		},
	}
}

func refused(t *testing.T, attempts map[string]func() error) {
	t.Helper()
	for name, attempt := range attempts {
		err := attempt()
		require.Error(t, err, name)
		require.ErrorIs(t, etcd.MapError(name, err), coord.ErrDenied, name)
	}
}

func commit(txn clientv3.Txn) error {
	_, err := txn.Commit()
	return err
}

func watchFails(ctx context.Context, c *clientv3.Client, key string, opts ...clientv3.OpOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range c.Watch(ctx, key, append(opts, clientv3.WithRev(1))...) {
		if resp.Err() != nil {
			if resp.Canceled && strings.Contains(resp.Err().Error(), "permission denied") {
				return rpctypes.ErrPermissionDenied
			}
			return resp.Err()
		}
		if len(resp.Events) > 0 {
			return nil
		}
	}
	return nil
}

// TestNoCertificate: without a certificate of this deployment one does not even get to ask.
func TestNoCertificate(t *testing.T) {
	e := etcdtest.Start(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(e.CA.CertPEM())
	foreign, err := pki.NewCA("another deployment")
	require.NoError(t, err)
	pair, err := foreign.IssueClient(etcd.RootPrincipal)
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	server, err := e.CA.IssueServer(etcd.RootPrincipal, "127.0.0.1")
	require.NoError(t, err)
	serverCert, err := tls.X509KeyPair(server.Cert, server.Key)
	require.NoError(t, err)
	for name, cfg := range map[string]*tls.Config{
		"none":        {RootCAs: pool, MinVersion: tls.VersionTLS13},
		"foreign":     {RootCAs: pool, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}},
		"server cert": {RootCAs: pool, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{serverCert}},
		"plain text":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a client that is turned away tries again for as long as it may
			turnedAway(t, e.Address, cfg)
		})
	}
}

func turnedAway(t *testing.T, address string, cfg *tls.Config) {
	t.Helper()
	scheme := "https://"
	if cfg == nil {
		scheme = "http://"
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{scheme + address}, TLS: cfg, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = c.Get(ctx, "c")
	require.Error(t, err)
	require.NotEqual(t, codes.OK, status.Code(err))
}

// TestNotAdmitted: the deployment knows the principal, but never let it in; and the control plane's own name is nobody else's.
func TestNotAdmitted(t *testing.T) {
	e := etcdtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := e.Open(t, "guest.unknown").NewSession(ctx, time.Second)
	require.ErrorIs(t, err, coord.ErrDenied)
	require.ErrorIs(t, etcd.NewGatekeeper(e.Root(t)).Admit(ctx, etcd.RootPrincipal, coord.Rights{Own: []string{"/a"}}), coord.ErrInvalid)
}
