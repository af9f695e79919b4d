package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

// replyExchange carries replies to whoever called.
const replyExchange = "huker.replies"

// Pauses before a server that did not answer is asked again.
const (
	minRedial = 50 * time.Millisecond
	maxRedial = 2 * time.Second
)

// session is one connection with what hangs on it.
type session struct {
	bus  *Bus
	conn *amqp.Connection
	wire net.Conn      // below it
	lost chan struct{} // closed when the connection is gone

	mu       sync.Mutex
	declared map[string]bool   // queues that are there
	busy     map[string]*claim // queues that are made or dropped
	out      *publisher
	replies  *replies
}

// session gives the connection, and waits for one until ctx ends.
func (b *Bus) session(ctx context.Context) (*session, error) {
	pause := minRedial
	for {
		s, err := b.tryServers(ctx)
		if err == nil || denied(err) {
			return s, err
		}
		b.cfg.Log.DebugContext(ctx, "RabbitMQ does not answer", "op", "bus.dial", "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", b.ended(ctx), err)
		}
		pause = min(2*pause, maxRedial)
	}
}

// tryServers gives the living connection, or makes one.
func (b *Bus) tryServers(ctx context.Context) (*session, error) {
	select {
	case b.dialing <- struct{}{}: // one at a time
		defer func() { <-b.dialing }()
	case <-ctx.Done():
		return nil, b.ended(ctx)
	}
	b.mu.Lock()
	current := b.current
	b.mu.Unlock()
	if current != nil {
		select {
		case <-current.lost:
		default:
			return current, nil
		}
	}
	var errs []error
	for range b.cfg.Servers {
		server := b.cfg.Servers[b.next%len(b.cfg.Servers)]
		s, err := b.connect(ctx, server)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.closed {
				_ = s.conn.Close()
				return nil, fmt.Errorf("%w: the bus was closed", bus.ErrUnavailable)
			}
			b.current = s
			return s, nil
		}
		if denied(err) {
			return nil, fmt.Errorf("%w: %w", bus.ErrDenied, err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
		b.next++
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (b *Bus) connect(ctx context.Context, server string) (*session, error) {
	var wire net.Conn
	config := amqp.Config{
		Vhost: b.cfg.VHost, Heartbeat: b.cfg.Heartbeat, TLSClientConfig: b.cfg.TLS, Properties: amqp.NewConnectionProperties(),
		SASL: []amqp.Authentication{&amqp.ExternalAuth{}},
		Dial: func(network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// The handshake is bounded too.
			if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			wire = &watched{Conn: c, patience: b.cfg.Heartbeat}
			return wire, nil
		},
	}
	config.Properties.SetClientConnectionName("huker")
	if b.cfg.Username != "" {
		config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: b.cfg.Username, Password: b.cfg.Password}}
	}
	scheme := "amqp://"
	if b.cfg.TLS != nil {
		scheme = "amqps://"
		config.TLSClientConfig = b.cfg.TLS.Clone()
		if config.TLSClientConfig.ServerName == "" {
			host, _, err := net.SplitHostPort(server)
			if err != nil {
				return nil, err
			}
			config.TLSClientConfig.ServerName = host
		}
	}
	conn, err := amqp.DialConfig(scheme+server+"/", config)
	if err != nil {
		return nil, err
	}
	s := &session{bus: b, conn: conn, wire: wire, lost: make(chan struct{}), declared: map[string]bool{}, busy: map[string]*claim{}}
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	b.wg.Go(func() {
		reason := <-closed
		close(s.lost)
		if b.ctx.Err() == nil {
			b.cfg.Log.WarnContext(b.ctx, "the connection to RabbitMQ was lost", "op", "bus.dial", "server", server, "error", reason)
		}
	})
	return s, nil
}

// bounded waits for requests to be answered; the library itself would wait for ever. A connection on which they are not is given up.
func (s *session) bounded(ctx context.Context, requests func() error) error {
	return s.within(ctx, answerTimeout, requests)
}

func (s *session) within(ctx context.Context, patience time.Duration, requests func() error) error {
	done := make(chan error, 1)
	s.bus.wg.Go(func() { done <- requests() })
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	case <-timer.C:
	}
	_ = s.wire.Close()
	if err := <-done; denied(err) {
		return err
	}
	if ctx.Err() != nil {
		return s.bus.ended(ctx)
	}
	return fmt.Errorf("%w: no answer within %s", errLost, patience)
}

// watched is a connection that is given up when nothing was heard for one heartbeat interval, in which the server sends two: before the server
// gives up, which takes it two intervals, so that nobody goes on with what others are given.
type watched struct {
	net.Conn
	patience time.Duration
}

func (w *watched) SetReadDeadline(t time.Time) error {
	if most := time.Now().Add(w.patience); t.IsZero() || t.After(most) {
		t = most
	}
	return w.Conn.SetReadDeadline(t)
}

// SetDeadline is what the library takes its own bounds of the handshake back with: then nothing but reads are bounded.
func (w *watched) SetDeadline(t time.Time) error {
	if !t.IsZero() {
		return w.Conn.SetDeadline(t)
	}
	if err := w.SetWriteDeadline(t); err != nil {
		return err
	}
	return w.SetReadDeadline(t)
}

func nonce() string { return rand.Text() }
