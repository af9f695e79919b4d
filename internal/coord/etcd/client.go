package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/huker/huker/internal/coord"
)

// Defaults of a client.
const (
	// requestTimeout bounds a request whose context has no deadline: an engine that is away must not hang its callers.
	requestTimeout = 5 * time.Second
	// A lost connection is tried again at least this often, so that sessions of a few seconds outlive a restart of the engine.
	reconnectMax = time.Second
	// gRPC's own maximum is 120 s; its minimum for pings is 10 s. The timeout is also the kernel's for unacknowledged data
	// (TCP_USER_TIMEOUT), by which a peer that vanished is noticed.
	pingAfter   = 10 * time.Second
	pingTimeout = 3 * time.Second
	// Two values of full size and what surrounds them.
	maxRequest = 2*coord.MaxValue + 512<<10
)

// ClientConfig says where etcd is and who asks. CA, Cert and Key are PEM; the rights are those of Cert's CommonName.
type ClientConfig struct {
	Endpoints      []string // "https://127.0.0.1:12379"
	CA, Cert, Key  []byte
	RequestTimeout time.Duration // for requests without a deadline; 0: 5 s
}

// Store is one connection to etcd. It is safe for concurrent use.
type Store struct {
	client  *clientv3.Client
	lease   pb.LeaseClient
	timeout time.Duration

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	sessions map[*Session]struct{}
}

var _ coord.Store = (*Store)(nil)

// Dial prepares a connection, which is made, and made again, in the background: etcd need not be up yet. An
// error means that the configuration is unusable.
func Dial(ctx context.Context, cfg ClientConfig) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("dial etcd: no endpoint given")
	}
	pair, err := tls.X509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("dial etcd: certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cfg.CA) {
		return nil, errors.New("dial etcd: no authority's certificate given")
	}
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = requestTimeout
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13},
		Logger:               zap.NewNop(), // what matters comes back as an error
		DialKeepAliveTime:    pingAfter,
		DialKeepAliveTimeout: pingTimeout,
		MaxCallSendMsgSize:   maxRequest,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax},
				MinConnectTimeout: 3 * time.Second,
			}),
			// The buffers for reading and writing are of 32 KiB each by default; messages are small here.
			grpc.WithReadBufferSize(8 << 10),
			grpc.WithWriteBufferSize(8 << 10),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd: %w", err)
	}
	s := &Store{
		client:   client,
		lease:    pb.NewLeaseClient(client.ActiveConnection()),
		timeout:  cfg.RequestTimeout,
		sessions: map[*Session]struct{}{},
	}
	// Not a child of ctx: that one bounds the call to Dial only.
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Client is for packages that need more of etcd than coord.Store gives (the bus).
func (s *Store) Client() *clientv3.Client { return s.client }

// Close ends watches and sessions (whose keys go at once if etcd can be reached), and the connection.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	open := make([]*Session, 0, len(s.sessions))
	for sess := range s.sessions {
		open = append(open, sess)
	}
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(s.ctx, closeTimeout)
	defer cancel()
	var revoking sync.WaitGroup
	for _, sess := range open {
		// An error means that etcd is away; the keys then go when the session runs out.
		revoking.Go(func() { _ = sess.Close(ctx) })
	}
	revoking.Wait()
	s.cancel()
	err := s.client.Close()
	s.wg.Wait()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// Do runs one request: bounded in time, repeated when rights changed under it, its error mapped.
func (s *Store) Do(ctx context.Context, what string, request func(ctx context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.timeout)
		defer cancel()
	}
	for {
		err := request(ctx)
		if err == nil || !stale(err) {
			return MapError(what, err)
		}
		if !pause(ctx, 5*time.Millisecond) {
			return MapError(what, ctx.Err())
		}
	}
}

// Commit makes a transaction: then if all conditions hold, else otherwise.
func (s *Store) Commit(ctx context.Context, what string, conditions []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	var resp *clientv3.TxnResponse
	err := s.Do(ctx, what, func(ctx context.Context) error {
		var err error
		resp, err = s.client.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
		return err
	})
	return resp, err
}

// pause waits for d; false means that ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
