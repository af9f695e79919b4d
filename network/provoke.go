package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// flow is a client's connection as the client knows it.
type flow struct{ client, front netip.AddrPort }

// provoke has clients find out that their connections are at an end. Who waits for an answer sends nothing, and so would learn of it by its own patience alone:
// when a server hangs, or its host is cut off, nobody ends its connections for it. A SYN out of nowhere makes a client's kernel repeat where the connection
// stands (RFC 5961, section 4), and that packet is answered like any of a connection that is forgotten: by a reset that fits.
//
// It is sent as SYN and ACK, which connection tracking takes for no beginning of anything here, and for nothing to mind on a client's own machine. Who does not
// get it is no worse off than without.
func provoke(flows []flow) error {
	if len(flows) == 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("network: telling clients of a former primary: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var failed error
	for _, f := range flows {
		if err := unix.Sendto(fd, synAck(f), unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: f.client.Addr().As4()}); err != nil && failed == nil {
			failed = fmt.Errorf("network: telling %s of a former primary: %w", f.client, err)
		}
	}
	return failed
}

// Sizes of headers without options.
const (
	ipHeader  = 20
	tcpHeader = 20
)

// synAck is an IP packet from a front to its client. The kernel adds the packet's length, number and checksum.
func synAck(f flow) []byte {
	p := make([]byte, ipHeader+tcpHeader)
	from, to := f.front.Addr().As4(), f.client.Addr().As4()
	p[0], p[8], p[9] = 4<<4|ipHeader/4, 64, unix.IPPROTO_TCP // version and length, hops, what follows
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	tcp := p[ipHeader:]
	binary.BigEndian.PutUint16(tcp[0:], f.front.Port())
	binary.BigEndian.PutUint16(tcp[2:], f.client.Port())
	tcp[12], tcp[13] = tcpHeader/4<<4, 0x12 // length; SYN, ACK
	pseudo := append(append(append([]byte{}, from[:]...), to[:]...), 0, unix.IPPROTO_TCP, 0, tcpHeader)
	binary.BigEndian.PutUint16(tcp[16:], ^sum(append(pseudo, tcp...)))
	return p
}

// sum is the sum of the internet's checksum, of an even number of bytes.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s) //nolint:gosec // it fits by now
}
