package mysqltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Fate is what becomes of a statement, and of the connection that it came on.
type Fate int

// The fates of a statement.
const (
	Pass      Fate = iota
	CutBefore      // the server never sees it, and the connection is lost
	CutAfter       // the server carries it out, and the connection is lost before the client has the answer
	Silence        // the server carries it out, and nothing is heard from it any more
)

// Proxy stands before a server and sees each statement that comes without TLS.
type Proxy struct {
	server   string
	listener net.Listener
	fate     func(statement string) Fate

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	active sync.WaitGroup
}

// Proxy gives a socket of a proxy that asks fate about every statement, one at a time; nil passes them all.
func (s *Server) Proxy(t TB, fate func(statement string) Fate) (address string) {
	t.Helper()
	address = filepath.Join(s.Dir, fmt.Sprintf("proxy-%d.sock", s.made.Add(1)))
	s.proxy(t, "unix", address, fate)
	return address
}

// TCP gives the address of a proxy at 127.0.0.1, for clients with TLS.
func (s *Server) TCP(t TB) (address string) {
	t.Helper()
	return s.proxy(t, "tcp", "127.0.0.1:0", nil).listener.Addr().String()
}

func (s *Server) proxy(t TB, network, address string, fate func(string) Fate) *Proxy {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	if fate == nil {
		fate = func(string) Fate { return Pass }
	}
	p := &Proxy{server: s.Socket(), listener: l, fate: fate, conns: map[net.Conn]struct{}{}}
	p.active.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.active.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.active.Go(func() { p.serve(client) })
	}
}

// keep has close end a connection, and says whether it is too late for that.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return !p.closed
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.Close()
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.Dial("unix", p.server)
	if err != nil || !p.keep(client) || !p.keep(server) {
		return
	}
	defer p.drop(server)
	var deaf, mute atomic.Bool // what the server answers is not passed on any more; and the client is not told so
	var answers sync.WaitGroup
	answers.Go(func() {
		defer func() { _ = client.Close() }()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if deaf.Load() {
				return
			}
			if mute.Load() && err == nil {
				continue
			}
			if _, werr := client.Write(buffer[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	_ = p.requests(client, server, &deaf, &mute)
	if !deaf.Load() {
		_ = server.Close()
	}
	answers.Wait()
}

var errCut = errors.New("cut")

// requests passes packets on to the server, and asks for the fate of each that is a statement: of the first packet in a command (sequence 0), of type
// COM_QUERY (3).
func (p *Proxy) requests(client io.Reader, server io.Writer, deaf, mute *atomic.Bool) error {
	for {
		var header [4]byte
		if _, err := io.ReadFull(client, header[:]); err != nil {
			return err
		}
		length := binary.LittleEndian.Uint32(append(header[:3:3], 0))
		packet := make([]byte, 4+length)
		copy(packet, header[:])
		if _, err := io.ReadFull(client, packet[4:]); err != nil {
			return err
		}
		fate := Pass
		if header[3] == 0 && length > 0 && packet[4] == 3 {
			fate = p.ask(string(packet[5:]))
		}
		if fate == CutBefore {
			return errCut
		}
		switch fate {
		case CutAfter:
			deaf.Store(true)
		case Silence:
			mute.Store(true)
		}
		if _, err := server.Write(packet); err != nil {
			return err
		}
		if fate == CutAfter {
			return errCut
		}
		if header[3] == 1 && length == 32 { // the request for TLS: from here on there is nothing to see
			_, err := io.Copy(server, client)
			return err
		}
	}
}

func (p *Proxy) ask(statement string) Fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fate(statement)
}
