package embedded

import (
	"context"
	"math"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/huker/huker/internal/coord/etcd"
)

// guard stands before etcd's own permissions, and closes what they leave open: calls that any user may make (listing leases,
// compaction, alarms, members), watches and leases that outlive the right to them, and the time until permissions are on.
type guard struct {
	server atomic.Pointer[etcdserver.EtcdServer]
	ctx    context.Context // ends when the server shuts down
	shut   context.CancelFunc
}

func newGuard() *guard {
	g := &guard{}
	g.ctx, g.shut = context.WithCancel(context.Background())
	return g
}

func (g *guard) open(s *etcdserver.EtcdServer) { g.server.Store(s) }

func (g *guard) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
}

// allowed is what a principal other than root may call. Keys are checked by etcd.
var allowed = map[string]bool{
	pb.KV_Range_FullMethodName:             true,
	pb.KV_Put_FullMethodName:               true,
	pb.KV_DeleteRange_FullMethodName:       true,
	pb.KV_Txn_FullMethodName:               true,
	pb.Watch_Watch_FullMethodName:          true,
	pb.Lease_LeaseGrant_FullMethodName:     true,
	pb.Lease_LeaseRevoke_FullMethodName:    true,
	pb.Lease_LeaseKeepAlive_FullMethodName: true,
}

var (
	errNotReady = status.Error(codes.Unavailable, "not ready")
	errDenied   = status.Error(codes.PermissionDenied, "etcdserver: permission denied")
)

// admit says who calls, and whether the call is open to them.
func (g *guard) admit(ctx context.Context, method string) (s *etcdserver.EtcdServer, principal string, err error) {
	if s = g.server.Load(); s == nil {
		return nil, "", errNotReady
	}
	if principal = principalOf(ctx); principal == etcd.RootPrincipal {
		return s, principal, nil
	}
	if !allowed[method] || !exists(s, principal) {
		return nil, "", errDenied
	}
	return s, principal, nil
}

func principalOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

func exists(s *etcdserver.EtcdServer, principal string) bool {
	_, err := s.AuthStore().UserGet(&pb.AuthUserGetRequest{Name: principal})
	return err == nil
}

func (g *guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, _, err := g.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (g *guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s, principal, err := g.admit(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(g.ctx, func() { cancel(errNotReady) })()
	gs := &guardedStream{ServerStream: ss, ctx: ctx, cancel: cancel, server: s}
	if principal != etcd.RootPrincipal {
		gs.principal = principal
	}
	err = handler(srv, gs)
	// What the guard stopped ends with the guard's reason, whatever the handler made of it.
	if cause := context.Cause(ctx); ctx.Err() != nil && status.Code(cause) != codes.Unknown {
		return cause
	}
	return err
}

// guardedStream looks again at the principal's rights with each message, because etcd does so only at the first.
type guardedStream struct {
	grpc.ServerStream
	ctx       context.Context
	cancel    context.CancelCauseFunc
	server    *etcdserver.EtcdServer
	principal string // "" for root
}

// Context implements grpc.ServerStream.
func (g *guardedStream) Context() context.Context { return g.ctx }

// RecvMsg implements grpc.ServerStream.
func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if g.principal != "" && !exists(g.server, g.principal) {
		g.cancel(errDenied)
		return errDenied
	}
	return nil
}

// SendMsg implements grpc.ServerStream.
func (g *guardedStream) SendMsg(m any) error {
	if resp, ok := m.(*pb.WatchResponse); ok && g.principal != "" && !g.mayRead(resp) {
		g.cancel(errDenied)
		return errDenied
	}
	return g.ServerStream.SendMsg(m)
}

func (g *guardedStream) mayRead(resp *pb.WatchResponse) bool {
	as := g.server.AuthStore()
	// The rights of now, however new.
	who := &auth.AuthInfo{Username: g.principal, Revision: math.MaxUint64}
	for _, e := range resp.Events {
		if as.IsRangePermitted(who, e.Kv.Key, nil) != nil {
			return false
		}
	}
	return true
}
