package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// How a session knows that it is alive.
//
// Every request of a client is a touch, which lets its session live for the time to live from then on: as the *leader* counts. The
// server that the client is connected to hears it, and passes it on when the leader pings it, which is every half tick. Its own answer (to
// go-zookeeper's pings too) therefore proves nothing: it may have lost the leader, and does not say so for as long as syncLimit allows.
//
// So the session asks for a sync, which the leader answers by way of the same server and in order. It proves that the leader has what
// the server passed on before: touches that are older than half a tick. The tick is not told to clients, but a session lasts two ticks at least, so
// that a quarter of the time to live is half a tick or more. Hence: when a sync that was sent at t is answered, the newest touch that
// was sent before t - ttl/4 has reached the leader, and the session lives until ttl after that one.
//
// A server asks the leader before it takes back a client that lost its connection, so such a greeting is a touch that has reached the
// leader; it is counted as the answer to a sync all the same.
//
// So a session is called lost 0.65 of its time to live after the last word of a leader at the latest. What that leaves out: a leader that is cut
// off from the others, and answers its own clients for up to syncLimit ticks and one, while the others elect a new one, which gives
// all sessions their whole time to live again. With that many ticks below a third of the time to live there is no overlap; with more there
// may be one if the others find each other at once. Leadership.Guard holds in any case.
const (
	touchesPerTTL = 8
	provenAfter   = 4  // a quarter of the time to live
	reserve       = 10 // a tenth is kept for the watchdog's own lateness, and for clocks that differ in pace
)

// maxHolds bounds how many nodes a session remembers having made.
const maxHolds = 16

// Session is a ZooKeeper session with a connection of its own, which go-zookeeper makes again when it breaks.
type Session struct {
	store *Store
	conn  *gozk.Conn
	owner int64 // ZooKeeper's number; does not change once NewSession has returned

	done    chan struct{}
	lost    sync.Once
	stopped chan struct{} // closed when nothing of it runs any more
	cancel  context.CancelFunc
	doubted atomic.Bool // its principal may have been expelled

	mu       sync.Mutex
	events   <-chan gozk.Event
	raw      net.Conn      // of the moment
	up       bool          // the servers know the session on this connection
	moved    chan struct{} // closed when up changes
	ttl      time.Duration // as the servers granted it
	touches  []time.Time   // not proven yet, in order
	deadline time.Time     // not proven to live after it
	watchdog *time.Timer
	holds    map[string]struct{} // nodes that it made, some of them
}

var _ coord.Session = (*Session)(nil)

func sessionID(owner int64) string { return fmt.Sprintf("%016x", uint64(owner)) }

// NewSession implements coord.Store. The servers bound ttl by their own least and greatest.
func (s *Store) NewSession(ctx context.Context, ttl time.Duration) (coord.Session, error) {
	if ttl < coord.MinTTL {
		return nil, fmt.Errorf("%w: a session of %s", coord.ErrInvalid, ttl)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if _, err := read(ctx, s, "open session", func(ctx context.Context, l *link) (any, error) {
		return call(ctx, l.conn, func(conn *gozk.Conn) (any, error) { return nil, s.touch(conn) })
	}); err != nil {
		return nil, err
	}
	return s.open(ctx, ttl)
}

// touch has the leader heard, and tells whether the principal is still admitted.
func (s *Store) touch(conn *gozk.Conn) error {
	if err := s.sync(conn); err != nil {
		return err
	}
	if s.who.mighty() {
		return nil
	}
	_, _, err := conn.Get(s.layout.principal(s.who.name))
	return expelled(err)
}

// expelled tells what it means when a principal cannot read its own node.
func expelled(err error) error {
	if errors.Is(err, gozk.ErrNoNode) {
		return gozk.ErrNoAuth
	}
	return err
}

// touch is the store's, without asking each time whether the principal is still admitted: the server tells when its node changes, before it
// answers the next sync. A new connection may have missed that, and of what changes after the right to read it was taken nothing is told:
// so it is asked each time as long as the node does not say that all is settled.
func (s *Session) touch(conn *gozk.Conn) error {
	if err := s.store.sync(conn); err != nil {
		return err
	}
	if s.store.who.mighty() || !s.doubted.Load() {
		return nil
	}
	node := s.store.layout.principal(s.store.who.name)
	if data, _, err := conn.Get(node); err != nil || !settled(data) {
		return expelled(err)
	}
	s.doubted.Store(false) // event may doubt it again from here on
	data, _, _, err := conn.GetW(node)
	if err != nil || !settled(data) {
		s.doubted.Store(true)
	}
	return expelled(err)
}

//nolint:contextcheck // a session lives as long as the store, not as the call that opened it
func (s *Store) open(ctx context.Context, ttl time.Duration) (coord.Session, error) {
	running, cancel := context.WithCancel(s.ctx)
	sess := &Session{
		store: s, done: make(chan struct{}), stopped: make(chan struct{}), cancel: cancel,
		moved: make(chan struct{}), holds: map[string]struct{}{},
	}
	conn, events, err := gozk.Connect(s.dialer.servers, ttl,
		gozk.WithDialer(func(_, server string, _ time.Duration) (net.Conn, error) { return sess.dial(running, server) }),
		gozk.WithHostProvider(&hosts{dialer: s.dialer}),
		gozk.WithEventCallback(sess.event),
		gozk.WithLogger(chatter{s.log}), gozk.WithLogInfo(false),
	)
	if err != nil {
		cancel()
		return nil, mapError("open session", err)
	}
	sess.mu.Lock()
	sess.conn, sess.events = conn, events
	sess.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.sessions[sess] = struct{}{}
		s.wg.Go(func() { sess.run(running) })
	}
	s.mu.Unlock()
	if closed {
		sess.lose()
		sess.hangUp()
		return nil, fmt.Errorf("open session: %w: the store is closed", coord.ErrUnavailable)
	}
	if err := sess.awaitUp(ctx); err != nil {
		sess.lose() // run ends what may have been begun
		return nil, mapError("open session", err)
	}
	return sess, nil
}

// dial is go-zookeeper's way to the servers. It is refused once the session is lost: go-zookeeper would open another one in its stead.
func (s *Session) dial(ctx context.Context, server string) (net.Conn, error) {
	c, err := s.store.dialer.dial(ctx, server)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive() {
		_ = c.Close()
		return nil, errOver
	}
	w := newWire(c, s.greeted)
	s.raw = w
	return w, nil
}

// greeted learns what the servers grant; they have heard of the greeting's request all together.
func (s *Session) greeted(g greeting) {
	if g.session == 0 {
		return // expired: an event follows
	}
	s.doubted.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == 0 {
		s.owner = g.session
	}
	if s.owner != g.session {
		s.lose()
		return
	}
	s.ttl, s.touches = g.timeout, []time.Time{g.asked}
	s.prove(g.asked.Add(-s.ttl / provenAfter))
}

// event is called by go-zookeeper.
func (s *Session) event(e gozk.Event) {
	if e.Type != gozk.EventSession {
		s.doubted.Store(true) // of its principal's node: touch sets no other watch
		return
	}
	switch e.State {
	case gozk.StateHasSession:
		s.setUp(true)
	case gozk.StateDisconnected:
		s.setUp(false)
	case gozk.StateExpired, gozk.StateAuthFailed:
		s.lose()
	}
}

func (s *Session) setUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = up
	close(s.moved)
	s.moved = make(chan struct{})
}

// awaitUp waits until the servers know the session.
func (s *Session) awaitUp(ctx context.Context) error {
	for {
		s.mu.Lock()
		up, moved := s.up, s.moved
		s.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-moved:
		case <-s.done:
			return coord.ErrSessionLost
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// prove moves the deadline: the leader has heard a touch that was sent at t. The caller holds mu.
func (s *Session) prove(t time.Time) {
	deadline := t.Add(s.ttl - s.ttl/reserve)
	if !deadline.After(s.deadline) {
		return
	}
	s.deadline = deadline
	if s.watchdog == nil {
		s.watchdog = time.AfterFunc(time.Until(deadline), s.lose)
		return
	}
	s.watchdog.Reset(time.Until(deadline))
}

// answered takes note that a touch was sent at t and answered by the leader.
func (s *Session) answered(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touches = append(s.touches, t)
	proven := -1
	for i, sent := range s.touches {
		if !sent.After(t.Add(-s.ttl / provenAfter)) {
			proven = i
		}
	}
	if proven >= 0 {
		s.prove(s.touches[proven])
		s.touches = s.touches[proven+1:]
	}
}

// alive tells whether the session is proven to live. After the process was stopped for a while, the clock knows before the watchdog
// has run. The caller holds mu.
func (s *Session) alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return s.deadline.IsZero() || time.Now().Before(s.deadline)
	}
}

// check loses the session if it is not proven to live.
func (s *Session) check() error {
	s.mu.Lock()
	alive := s.alive()
	s.mu.Unlock()
	if !alive {
		s.lose()
		return coord.ErrSessionLost
	}
	return nil
}

// ID implements coord.Session.
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sessionID(s.owner)
}

// Done implements coord.Session.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) lose() {
	s.lost.Do(func() {
		close(s.done)
		s.cancel()
	})
}

// run touches the session until it is lost, and ends it then.
func (s *Session) run(ctx context.Context) {
	defer close(s.stopped)
	defer s.forget()
	defer s.hangUp()
	defer s.lose()
	for s.awaitUp(ctx) == nil {
		s.mu.Lock()
		ttl := s.ttl
		s.mu.Unlock()
		sent := time.Now()
		wait := ttl / touchesPerTTL
		touching, cancel := context.WithTimeout(ctx, ttl)
		_, err := call(touching, s.conn, func(conn *gozk.Conn) (any, error) { return nil, s.touch(conn) })
		cancel()
		switch {
		case err == nil:
			s.answered(sent)
		case errors.Is(err, gozk.ErrNoAuth), errors.Is(err, gozk.ErrSessionExpired):
			return
		default:
			wait = min(wait, 100*time.Millisecond)
		}
		if s.check() != nil || !pause(ctx, time.Until(sent.Add(wait))) {
			return
		}
	}
}

// forget takes it off the store's list.
func (s *Session) forget() {
	s.mu.Lock()
	if s.watchdog != nil {
		s.watchdog.Stop()
	}
	s.mu.Unlock()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	delete(s.store.sessions, s)
}

// hangUp ends the ZooKeeper session if the server listens, and what go-zookeeper runs for it. It is lost before.
func (s *Session) hangUp() {
	s.mu.Lock()
	conn, events, up := s.conn, s.events, s.up
	s.mu.Unlock()
	if !up {
		// go-zookeeper may sit in a handshake, which would outlast its own Close.
		s.cut()
	}
	conn.Close()
	s.cut()
	for range events { //nolint:revive // closed at the end
	}
}

func (s *Session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw != nil {
		_ = s.raw.Close()
	}
}

// Close implements coord.Session.
func (s *Session) Close(ctx context.Context) error {
	const what = "close session"
	s.lose()
	ctx, cancel := s.store.bound(ctx)
	defer cancel()
	select {
	case <-s.stopped:
	case <-ctx.Done():
		return mapError(what, ended(ctx))
	}
	// go-zookeeper does not tell whether the server heard the farewell. All of a session's nodes go at once.
	for {
		left, err := read(ctx, s.store, what, func(ctx context.Context, l *link) (bool, error) {
			return call(ctx, l.conn, s.holdsAny)
		})
		if err != nil || !left {
			return err
		}
		if !pause(ctx, 20*time.Millisecond) {
			return mapError(what, ended(ctx))
		}
	}
}

// holdsAny tells whether any of the nodes that it made is still its own.
func (s *Session) holdsAny(conn *gozk.Conn) (bool, error) {
	s.mu.Lock()
	var paths []string
	for path := range s.holds {
		paths = append(paths, path)
	}
	s.mu.Unlock()
	if len(paths) == 0 {
		return false, nil
	}
	if err := s.store.sync(conn); err != nil {
		return false, err
	}
	for _, path := range paths {
		there, stat, err := conn.Exists(path)
		if errors.Is(err, gozk.ErrNoAuth) {
			continue
		}
		if err != nil {
			return false, err
		}
		if there && stat.EphemeralOwner == s.owner {
			return true, nil
		}
	}
	return false, nil
}

// commit sends a change on the session's connection.
func (s *Session) commit(ctx context.Context, p *plan, multi func(*gozk.Conn) (any, error)) error {
	if err := s.awaitUp(ctx); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	s.mu.Lock()
	for _, path := range p.ephemeral {
		if len(s.holds) < maxHolds {
			s.holds[path] = struct{}{}
		}
	}
	s.mu.Unlock()
	_, err := call(ctx, s.conn, multi)
	if errors.Is(err, gozk.ErrSessionExpired) { // the server's word: nothing was done
		s.lose()
		return coord.ErrSessionLost
	}
	return err
}

// sessionOf gives the session of a change; nil if it makes no ephemeral keys.
func (s *Store) sessionOf(ops []coord.Op) (*Session, error) {
	var found *Session
	for _, op := range ops {
		if op.Session == nil {
			continue
		}
		sess, ok := op.Session.(*Session)
		if !ok || sess.store != s {
			return nil, fmt.Errorf("%w: the session belongs to another store", coord.ErrInvalid)
		}
		if found != nil && sess != found {
			return nil, fmt.Errorf("%w: ephemeral keys of two sessions in one change", coord.ErrInvalid)
		}
		found = sess
	}
	if found == nil {
		return nil, nil //nolint:nilnil // none is needed
	}
	return found, found.check()
}
