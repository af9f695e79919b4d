package zk

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"
)

// linkTimeout is that of the session behind a link, which owns nothing: two thirds of it without a word from the server end the link.
const linkTimeout = 6 * time.Second

// link is a connection for everything but sessions' own changes. It is used once: when it breaks, its requests fail, and what
// was not sent yet is never sent; its watches are gone, and the next link begins with none. (go-zookeeper would carry requests over to
// the next connection, where they may be carried out long after their callers gave up.)
type link struct {
	conn *gozk.Conn
	raw  net.Conn
	arms arms

	up, down         chan struct{}
	upOnce, downOnce sync.Once
	events           <-chan gozk.Event // closed by go-zookeeper when it has ended
}

// connect makes a link to one server; it has a session when connect returns.
func (s *Store) connect(ctx context.Context) (*link, error) {
	server := s.dialer.server()
	raw, err := s.dialer.dial(ctx, server)
	if err != nil {
		return nil, err
	}
	l := &link{raw: raw, up: make(chan struct{}), down: make(chan struct{})}
	var used atomic.Bool
	l.conn, l.events, err = gozk.Connect([]string{server}, linkTimeout,
		gozk.WithDialer(func(string, string, time.Duration) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errOver
			}
			return newWire(raw, func(greeting) {}), nil
		}),
		gozk.WithHostProvider(&hosts{dialer: &dialer{servers: []string{server}}}),
		gozk.WithEventCallback(l.event),
		gozk.WithLogger(chatter{s.log}), gozk.WithLogInfo(false),
	)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	select {
	case <-l.up:
		return l, nil
	case <-l.down:
		err = fmt.Errorf("%s gave no session: %w", server, errOver)
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.close()
	return nil, err
}

// event is called by go-zookeeper, in the order in which things happen, and must not block.
func (l *link) event(e gozk.Event) {
	if e.Type != gozk.EventSession {
		l.arms.fire(e)
		return
	}
	switch e.State {
	case gozk.StateHasSession:
		l.upOnce.Do(func() { close(l.up) })
	case gozk.StateDisconnected, gozk.StateExpired, gozk.StateAuthFailed:
		l.downOnce.Do(func() { close(l.down) })
	}
}

// close ends the link's session and waits until nothing of it runs any more.
func (l *link) close() {
	l.downOnce.Do(func() { close(l.down) })
	hangUp(l.conn, l.raw, l.events)
}

// hangUp ends a connection of go-zookeeper's: with a word to the server if that listens.
func hangUp(conn *gozk.Conn, raw net.Conn, events <-chan gozk.Event) {
	conn.Close()
	if raw != nil {
		_ = raw.Close()
	}
	for range events { //nolint:revive // closed at the end
	}
}

// call runs a request, which knows no context, until it is done or ctx ends. What it gives after that is dropped.
func call[T any](ctx context.Context, conn *gozk.Conn, request func(*gozk.Conn) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if ctx.Err() != nil {
		return none, ended(ctx)
	}
	answered := make(chan answer, 1)
	go func() {
		v, err := request(conn)
		answered <- answer{v, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		return none, ended(ctx)
	}
}
