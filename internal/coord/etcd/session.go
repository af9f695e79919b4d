package etcd

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord"
)

// closeTimeout bounds the attempt to end sessions when the store is closed.
const closeTimeout = time.Second

// Session is a lease that is kept alive.
type Session struct {
	store *Store
	id    clientv3.LeaseID
	ttl   time.Duration // as etcd granted it

	done    chan struct{}
	lost    sync.Once
	cancel  context.CancelFunc
	stopped chan struct{} // closed when nothing renews any more
}

var _ coord.Session = (*Session)(nil)

// NewSession implements coord.Store. etcd counts whole seconds, so ttl is rounded up.
func (s *Store) NewSession(ctx context.Context, ttl time.Duration) (coord.Session, error) {
	sess, err := s.OpenSession(ctx, ttl)
	if err != nil {
		return nil, err // no typed nil
	}
	return sess, nil
}

// OpenSession is NewSession with the type of this package.
//
//nolint:contextcheck // a session lives as long as the store, not as the call that opened it
func (s *Store) OpenSession(ctx context.Context, ttl time.Duration) (*Session, error) {
	if ttl < coord.MinTTL {
		return nil, fmt.Errorf("%w: a session of %s", coord.ErrInvalid, ttl)
	}
	asked := time.Now() // the lease cannot run out on etcd earlier than counted from here
	id, granted, err := s.Grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	renewing, cancel := context.WithCancel(s.ctx)
	sess := &Session{store: s, id: id, ttl: granted, done: make(chan struct{}), cancel: cancel, stopped: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, fmt.Errorf("open session: %w: the store is closed", coord.ErrUnavailable)
	}
	s.sessions[sess] = struct{}{}
	s.wg.Go(func() { sess.renew(renewing, asked) })
	return sess, nil
}

// Grant makes a lease that nobody renews: what hangs on it goes after ttl, at the earliest.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, time.Duration, error) {
	// Chosen at random here, because etcd's own ids can be guessed, and who knows a lease can keep it alive.
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, 0, fmt.Errorf("open session: %w", err)
	}
	req := &pb.LeaseGrantRequest{TTL: int64((ttl + time.Second - 1) / time.Second), ID: int64(binary.BigEndian.Uint64(b[:])>>1) | 1}
	var resp *pb.LeaseGrantResponse
	err := s.Do(ctx, "open session", func(ctx context.Context) (err error) {
		resp, err = s.lease.LeaseGrant(ctx, req)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return clientv3.LeaseID(resp.ID), time.Duration(resp.TTL) * time.Second, nil
}

func sessionID(id clientv3.LeaseID) string { return fmt.Sprintf("%016x", int64(id)) }

// ID implements coord.Session.
func (s *Session) ID() string { return sessionID(s.id) }

// Lease is what its keys hang on.
func (s *Session) Lease() clientv3.LeaseID { return s.id }

// Done implements coord.Session.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) lose() {
	s.lost.Do(func() {
		close(s.done)
		s.cancel()
		s.store.mu.Lock()
		delete(s.store.sessions, s)
		s.store.mu.Unlock()
	})
}

// Close implements coord.Session.
func (s *Session) Close(ctx context.Context) error {
	s.lose()
	select {
	case <-s.stopped:
	case <-ctx.Done():
		return MapError("close session", ctx.Err())
	}
	err := s.store.Do(ctx, "close session", func(ctx context.Context) error {
		_, err := s.store.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(s.id)})
		return err
	})
	if errors.Is(err, coord.ErrSessionLost) {
		return nil // it had run out
	}
	return err
}

// leaseOf gives the lease for an operation; nil is none.
func (s *Store) leaseOf(session coord.Session) (clientv3.LeaseID, error) {
	if session == nil {
		return clientv3.NoLease, nil
	}
	sess, ok := session.(*Session)
	if !ok || sess.store != s {
		return 0, fmt.Errorf("%w: the session belongs to another store", coord.ErrInvalid)
	}
	select {
	case <-sess.done:
		return 0, coord.ErrSessionLost
	default:
		return sess.id, nil
	}
}

// renew keeps the lease alive until the session ends. A watchdog counts from the moment that the last answered renewal was
// *sent*, by this machine's monotonic clock: whatever happens to answers, Done is closed before etcd may let the lease run
// out. The tenth that is held back is for the watchdog's own lateness and for clocks that differ in pace.
func (s *Session) renew(ctx context.Context, sent time.Time) {
	defer close(s.stopped)
	safe := s.ttl - s.ttl/10
	watchdog := time.AfterFunc(time.Until(sent.Add(safe)), s.lose)
	defer watchdog.Stop()
	defer s.lose()
	k := keeper{session: s}
	defer k.close()
	wait := s.ttl / 3
	for pause(ctx, wait) {
		sent = time.Now()
		alive, err := k.once(ctx, s.ttl/3)
		switch {
		case err != nil:
			wait = min(s.ttl/20, 250*time.Millisecond)
		case !alive:
			return
		default:
			watchdog.Reset(time.Until(sent.Add(safe)))
			wait = time.Until(sent.Add(s.ttl / 3))
		}
	}
}

// keeper holds the stream on which a lease is renewed.
type keeper struct {
	session *Session
	stream  pb.Lease_LeaseKeepAliveClient
	cancel  context.CancelFunc
}

func (k *keeper) close() {
	if k.cancel != nil {
		k.cancel()
	}
	k.stream, k.cancel = nil, nil
}

// once renews within timeout; false means that the lease is gone.
func (k *keeper) once(ctx context.Context, timeout time.Duration) (alive bool, err error) {
	if k.stream == nil {
		var sctx context.Context
		sctx, k.cancel = context.WithCancel(ctx)
		giveUp := time.AfterFunc(timeout, k.cancel)
		k.stream, err = k.session.store.lease.LeaseKeepAlive(sctx)
		giveUp.Stop()
		if err != nil {
			k.close()
			return k.verdict(err)
		}
	}
	// Neither Send nor Recv takes a deadline: a stream that does not answer is given up as a whole.
	giveUp := time.AfterFunc(timeout, k.cancel)
	defer giveUp.Stop()
	if err := k.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(k.session.id)}); err == nil {
		resp, err := k.stream.Recv()
		if err == nil {
			return resp.TTL > 0, nil
		}
		k.close()
		return k.verdict(err)
	}
	_, err = k.stream.Recv() // tells why Send failed
	k.close()
	return k.verdict(err)
}

// verdict tells a lease that is gone, or may no longer be renewed, from an engine that is away.
func (k *keeper) verdict(err error) (bool, error) {
	mapped := MapError("renew session", err)
	if errors.Is(mapped, coord.ErrSessionLost) || errors.Is(mapped, coord.ErrDenied) {
		return false, nil
	}
	if err == nil {
		return true, errors.New("renew session: the stream ended")
	}
	return true, mapped
}
