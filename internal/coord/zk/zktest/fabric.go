package zktest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fabric is the network between servers: each one's connections to others go through a SOCKS5 proxy of its own, which can be cut. (Servers
// tell each other where they are found, and no two of them can be told different addresses of a third; so connections are caught where they
// begin. And a server must be refused where nobody listens yet: one that is accepted and hung up on waits for many seconds.)
type fabric struct {
	owners map[string]int // addresses at which servers listen for others; not changed once they run

	mu     sync.Mutex
	moved  *sync.Cond
	cut    map[int]bool
	closed bool
	open   map[net.Conn]struct{}
	wg     sync.WaitGroup
}

func newFabric(t testing.TB) *fabric {
	f := &fabric{owners: map[string]int{}, cut: map[int]bool{}, open: map[net.Conn]struct{}{}}
	f.moved = sync.NewCond(&f.mu)
	t.Cleanup(func() {
		f.mu.Lock()
		f.closed = true
		for c := range f.open {
			_ = c.Close()
		}
		f.moved.Broadcast()
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

// proxy starts a server's proxy and gives its port.
func (f *fabric) proxy(t testing.TB, from int) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.wg.Go(func() { f.serve(c, from) })
			}
		}
	})
	t.Cleanup(func() { _ = l.Close() }) // before the fabric's own
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// set cuts a server off, or takes that back.
func (f *fabric) set(server int, cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut[server] = cut
	f.moved.Broadcast()
}

// pass waits until traffic flows between two servers; false means that the test is over.
func (f *fabric) pass(a, b int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for (f.cut[a] || f.cut[b]) && !f.closed {
		f.moved.Wait()
	}
	return !f.closed
}

// keep has a connection closed at the end of the test; false means that it is over.
func (f *fabric) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[c] = struct{}{}
	return !f.closed
}

func (f *fabric) hangUp(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c)
}

func (f *fabric) serve(c net.Conn, from int) {
	defer f.hangUp(c)
	if !f.keep(c) {
		return
	}
	target, err := greet(c)
	to := f.owners[target]
	if err != nil || !f.pass(from, to) {
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}) // refused
		return
	}
	defer f.hangUp(out)
	if !f.keep(out) {
		return
	}
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return
	}
	var wg sync.WaitGroup
	forward := func(into, out net.Conn) {
		_, _ = io.Copy(gate{into, func() bool { return f.pass(from, to) }}, out)
		_ = into.Close()
		_ = out.Close()
	}
	wg.Go(func() { forward(out, c) })
	wg.Go(func() { forward(c, out) })
	wg.Wait()
}

// gate holds back what is written while the network is cut.
type gate struct {
	io.Writer
	pass func() bool
}

func (g gate) Write(b []byte) (int, error) {
	if !g.pass() {
		return 0, net.ErrClosed
	}
	return g.Writer.Write(b)
}

// greet reads where a SOCKS connection is to go.
func greet(c net.Conn) (target string, err error) {
	head := make([]byte, 2) // version, number of ways to log in
	if _, err = io.ReadFull(c, head); err != nil {
		return "", err
	}
	if _, err = io.ReadFull(c, make([]byte, head[1])); err != nil {
		return "", err
	}
	if _, err = c.Write([]byte{5, 0}); err != nil {
		return "", err
	}
	request := make([]byte, 4+net.IPv4len+2) // version, connect, 0, kind of address
	if _, err = io.ReadFull(c, request); err != nil {
		return "", err
	}
	if request[1] != 1 || request[3] != 1 {
		return "", errors.New("not a connection to an IPv4 address")
	}
	return fmt.Sprintf("%s:%d", net.IP(request[4:8]), binary.BigEndian.Uint16(request[8:])), nil
}
