package zk

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestGreeting: the server's answer is understood however it comes in, and what follows is left alone.
func TestGreeting(t *testing.T) {
	packet := binary.BigEndian.AppendUint32(nil, 37)
	packet = binary.BigEndian.AppendUint32(packet, 0)
	packet = binary.BigEndian.AppendUint32(packet, 4000)
	packet = binary.BigEndian.AppendUint64(packet, 1<<60+7)
	packet = append(packet, make([]byte, 21)...)
	for _, step := range []int{1, 3, 19, 20, 21, len(packet)} {
		client, server := net.Pipe()
		var got []greeting
		w := newWire(client, func(g greeting) { got = append(got, g) })
		go func() {
			_, _ = server.Read(make([]byte, 10))
			_, _ = server.Write(packet)
			_, _ = server.Write(packet)
			_ = server.Close()
		}()
		before := time.Now()
		_, err := w.Write([]byte("hello"))
		require.NoError(t, err)
		total := 0
		for b := make([]byte, step); err == nil; {
			var n int
			n, err = w.Read(b)
			total += n
		}
		require.Equal(t, 2*len(packet), total)
		require.Len(t, got, 1)
		require.Equal(t, 4*time.Second, got[0].timeout)
		require.EqualValues(t, 1<<60+7, got[0].session)
		require.WithinRange(t, got[0].asked, before, time.Now())
	}
}

// TestProof: what an answered touch proves, by the clock of session.go.
func TestProof(t *testing.T) {
	const ttl = 8 * time.Second
	start := time.Now().Add(time.Second)
	s := &Session{done: make(chan struct{}), cancel: func() {}, store: &Store{}}
	s.greeted(greeting{asked: start, timeout: ttl, session: 1})
	defer s.watchdog.Stop()
	proven := func() time.Duration { return s.deadline.Sub(start) - ttl*9/10 }
	require.Equal(t, -ttl/4, proven())
	s.answered(start.Add(1 * time.Second))
	require.Equal(t, -ttl/4, proven(), "the leader may not have heard of it")
	s.answered(start.Add(2 * time.Second))
	require.Zero(t, proven())
	s.answered(start.Add(3 * time.Second))
	require.Equal(t, 1*time.Second, proven())
	s.answered(start.Add(3500 * time.Millisecond))
	require.Equal(t, 1*time.Second, proven())
	s.answered(start.Add(6 * time.Second))
	require.Equal(t, 3500*time.Millisecond, proven(), "the newest that is older than a quarter")
	s.greeted(greeting{asked: start.Add(7 * time.Second), timeout: ttl, session: 1})
	require.Equal(t, 5*time.Second, proven(), "taken back by another server")
	s.greeted(greeting{asked: start.Add(6 * time.Second), timeout: ttl, session: 1})
	require.Equal(t, 5*time.Second, proven(), "never back")
	select {
	case <-s.done:
		require.Fail(t, "lost")
	default:
	}
	s.greeted(greeting{asked: start.Add(6 * time.Second), timeout: ttl, session: 2})
	<-s.done
}

// TestWatchdog: without proof, a session is lost in time.
func TestWatchdog(t *testing.T) {
	s := &Session{done: make(chan struct{}), cancel: func() {}, store: &Store{}}
	start := time.Now()
	s.greeted(greeting{asked: start, timeout: time.Second, session: 1})
	<-s.done
	require.Less(t, time.Since(start), time.Second)
	require.Error(t, s.check())
}

func FuzzDecodeValue(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{valueFormat})
	f.Add(encodeValue("0011223344556677", []byte("x")))
	f.Add(encodeValue("", nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		nonce, value := decodeValue(data)
		if nonce != "" {
			require.Len(t, nonce, 2*nonceSize)
			require.Equal(t, data, encodeValue(nonce, value))
		}
		again, same := decodeValue(encodeValue(nonce, value))
		require.Equal(t, nonce, again)
		require.Equal(t, string(value), string(same))
	})
}

func TestPaths(t *testing.T) {
	l := newLayout("/x/y/")
	require.Equal(t, "/x/y/keys", l.dir("/"))
	require.Equal(t, "/x/y/keys/a/b", l.dir("/a/b"))
	for _, key := range []string{"/", "/a", "/a/b"} {
		require.Equal(t, key, l.key(l.dir(key)))
	}
	require.Equal(t, "/", parent("/a"))
	require.Equal(t, "/a", parent("/a/b"))
	require.True(t, within("/a/b", "/a"))
	require.True(t, within("/a", "/a"))
	require.False(t, within("/ab", "/a"))
	require.False(t, within("/", "/a"))
}
