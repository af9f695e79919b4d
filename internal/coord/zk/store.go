package zk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/huker/huker/internal/coord"
)

// Defaults of a client.
const (
	// DefaultRoot is where Huker's nodes are.
	DefaultRoot = "/huker"
	// requestTimeout bounds a request whose context has no deadline: an engine that is away must not hang its callers.
	requestTimeout = 5 * time.Second
	// closeTimeout bounds the attempt to end sessions when the store is closed.
	closeTimeout = 2 * time.Second
	// Pauses before a lost connection is made again.
	reconnectFirst = 50 * time.Millisecond
	reconnectLast  = time.Second
)

// Config says where ZooKeeper is and who asks.
type Config struct {
	Servers []string // host:port
	// TLS has the client's certificate first; the rights are those of its CommonName. Nil: without TLS, and without any
	// protection of one principal from another.
	TLS            *tls.Config
	Root           string        // the node that everything is below; empty: DefaultRoot
	RequestTimeout time.Duration // for requests without a deadline; 0: 5 s
	Log            *slog.Logger  // nil: none
}

// Store is one client of ZooKeeper. It is safe for concurrent use.
type Store struct {
	layout  layout
	who     identity
	dialer  *dialer
	timeout time.Duration
	log     *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	main     *link         // nil while there is none
	moved    chan struct{} // closed when main changes
	sessions map[*Session]struct{}
}

var _ coord.Store = (*Store)(nil)

// Open prepares a connection, which is made, and made again, in the background: ZooKeeper need not be up yet. An
// error means that the configuration is unusable.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(cfg.Servers) == 0 {
		return nil, errors.New("open zookeeper: no server given")
	}
	for _, server := range cfg.Servers {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return nil, fmt.Errorf("open zookeeper: %q is not HOST:PORT: %w", server, err)
		}
	}
	l := newLayout(cfg.Root)
	if err := coord.CheckKey(l.root); err != nil {
		return nil, fmt.Errorf("open zookeeper: root: %w", err)
	}
	who, err := identify(cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("open zookeeper: %w", err)
	}
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = requestTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		layout: l, who: who, dialer: newDialer(cfg), timeout: cfg.RequestTimeout, log: cfg.Log,
		moved: make(chan struct{}), sessions: map[*Session]struct{}{},
	}
	// Not a child of ctx: that one bounds the call to Open only.
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(func() { s.keepLinked(s.ctx) })
	return s, nil
}

// identify reads who comes from the client's certificate.
func identify(cfg *tls.Config) (identity, error) {
	if cfg == nil {
		return identity{}, nil
	}
	if len(cfg.Certificates) == 0 || len(cfg.Certificates[0].Certificate) == 0 {
		return identity{}, errors.New("TLS without a client certificate: ZooKeeper would not know who comes")
	}
	leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		return identity{}, fmt.Errorf("client certificate: %w", err)
	}
	name := leaf.Subject.CommonName
	if !principalName.MatchString(name) || leaf.Subject.String() != "CN="+name {
		return identity{}, fmt.Errorf("client certificate of %q: its subject must be a CommonName and nothing else", leaf.Subject)
	}
	return identity{name: name}, nil
}

// Close ends watches and sessions (whose keys go at once if ZooKeeper can be reached), and the connection.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
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
	var closing sync.WaitGroup
	for _, sess := range open {
		// An error means that ZooKeeper is away; the keys then go when the session runs out.
		closing.Go(func() { _ = sess.Close(ctx) })
	}
	closing.Wait()
	s.cancel()
	s.wg.Wait()
	return nil
}

// keepLinked has a connection made whenever there is none.
func (s *Store) keepLinked(ctx context.Context) {
	wait := reconnectFirst
	for ctx.Err() == nil {
		l, err := s.connect(ctx)
		if err != nil {
			s.log.Debug("zookeeper: no connection", "error", err)
			pause(ctx, wait)
			wait = min(2*wait, reconnectLast)
			continue
		}
		wait = reconnectFirst
		s.setLink(l)
		select {
		case <-l.down:
		case <-ctx.Done():
		}
		s.setLink(nil)
		s.wg.Go(l.close)
	}
}

func (s *Store) setLink(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.main = l
	close(s.moved)
	s.moved = make(chan struct{})
}

// link waits for a connection.
func (s *Store) link(ctx context.Context) (*link, error) {
	for {
		s.mu.Lock()
		l, moved := s.main, s.moved
		s.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ended(ctx)
		case <-s.ctx.Done():
			return nil, fmt.Errorf("%w: the store is closed", coord.ErrUnavailable)
		}
	}
}

// linkSoon is link for callers that may take their time otherwise.
func (s *Store) linkSoon(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.link(ctx)
}

// bound gives ctx a deadline if it has none.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.timeout)
}

// read runs what changes nothing on the link of the moment, and again on the next one if that breaks.
func read[T any](ctx context.Context, s *Store, what string, request func(context.Context, *link) (T, error)) (T, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for {
		l, err := s.link(ctx)
		var value T
		if err == nil {
			value, err = request(ctx, l)
		}
		if !broken(err) {
			return value, mapError(what, err)
		}
		if !l.gone(ctx) {
			return value, mapError(what, fmt.Errorf("%w: %w", ended(ctx), err))
		}
	}
}

// gone waits until the link is known to be over; false means that ctx ended before.
func (l *link) gone(ctx context.Context) bool {
	select {
	case <-l.down:
		return true
	case <-ctx.Done():
		return false
	}
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
