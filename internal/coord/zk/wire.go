package zk

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	gozk "github.com/go-zookeeper/zk"
)

// handshakeTimeout bounds how long a server may take to accept a connection, and to say that it has a session: it asks the leader.
const handshakeTimeout = 3 * time.Second

// dialer makes connections to the servers in turn.
type dialer struct {
	servers []string
	tls     *tls.Config // nil: none
	next    atomic.Uint32
}

func newDialer(cfg Config) *dialer {
	d := &dialer{servers: cfg.Servers, tls: cfg.TLS}
	d.next.Store(rand.Uint32()) //nolint:gosec // spreads clients over the servers
	return d
}

func (d *dialer) server() string { return d.servers[int(d.next.Add(1))%len(d.servers)] }

func (d *dialer) dial(ctx context.Context, server string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	plain := &net.Dialer{KeepAlive: -1} // ZooKeeper has pings of its own
	if d.tls == nil {
		return plain.DialContext(ctx, "tcp", server)
	}
	return (&tls.Dialer{NetDialer: plain, Config: d.tls}).DialContext(ctx, "tcp", server)
}

// hosts is what go-zookeeper asks for servers: it resolves no names beforehand, so a name that cannot be resolved now breaks nothing.
type hosts struct {
	dialer *dialer
	tried  int // since a server gave a session
}

var _ gozk.HostProvider = (*hosts)(nil)

func (h *hosts) Init([]string) error { return nil }

func (h *hosts) Len() int { return len(h.dialer.servers) }

// Next gives the next server. The client pauses before it goes round again.
func (h *hosts) Next() (server string, again bool) {
	h.tried++
	return h.dialer.server(), h.tried > len(h.dialer.servers)
}

func (h *hosts) Connected() { h.tried = 0 }

// greeting is the server's answer to a client that comes or comes back.
type greeting struct {
	asked   time.Time     // the answer is to what was sent then
	timeout time.Duration // of the session, as the server grants it
	session int64         // 0: it has expired
}

// greetingSize is how far into the first packet the greeting reaches: length, protocol, timeout, session.
const greetingSize = 20

// wire is a connection of go-zookeeper's, which does not tell what it was granted, and waits very long for servers that accept
// connections and say nothing.
type wire struct {
	net.Conn
	greeted func(greeting) // called once, before the client learns of it
	limit   time.Time      // for the greeting
	asked   time.Time
	head    []byte // what was read of the greeting
}

func newWire(c net.Conn, greeted func(greeting)) *wire {
	return &wire{Conn: c, greeted: greeted, limit: time.Now().Add(handshakeTimeout)}
}

// Write notes when the first packet goes out. Until that is answered, the client uses the connection from one goroutine.
func (w *wire) Write(b []byte) (int, error) {
	if w.asked.IsZero() {
		w.asked = time.Now()
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if missing := greetingSize - len(w.head); missing > 0 && n > 0 {
		w.head = append(w.head, b[:min(n, missing)]...)
		if len(w.head) == greetingSize {
			w.greeted(greeting{
				asked:   w.asked,
				timeout: time.Duration(binary.BigEndian.Uint32(w.head[8:])) * time.Millisecond,
				session: int64(binary.BigEndian.Uint64(w.head[12:])),
			})
		}
	}
	return n, err
}

// SetReadDeadline bounds the wait for the greeting in any case.
func (w *wire) SetReadDeadline(t time.Time) error {
	if len(w.head) < greetingSize && (t.IsZero() || t.After(w.limit)) {
		t = w.limit
	}
	return w.Conn.SetReadDeadline(t)
}

// chatter takes what go-zookeeper writes to its log: of interest only to who looks for the reason of an outage.
type chatter struct{ log *slog.Logger }

func (c chatter) Printf(format string, args ...any) {
	c.log.Debug("zookeeper client", "says", fmt.Sprintf(format, args...))
}
