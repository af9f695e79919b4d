package coordtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func testEphemeralClose(t *testing.T, h Harness) {
	a, b, p := open(t, h), open(t, h), root()
	sess, other := session(t, a, 30*time.Second), session(t, b, 30*time.Second)
	require.NotEqual(t, sess.ID(), other.ID())
	require.NoError(t, a.Apply(soon(t), coord.CreateEphemeral(p+"/e", []byte("x"), sess), coord.Create(p+"/d", nil)))
	require.NoError(t, b.Apply(soon(t), coord.CreateEphemeral(p+"/o", nil, other)))
	require.Equal(t, sess.ID(), get(t, b, p+"/e").Session)
	require.Empty(t, get(t, b, p+"/d").Session)

	require.NoError(t, sess.Close(soon(t)))
	require.True(t, isClosed(sess.Done()), "a closed session is done")
	require.True(t, gone(soon(t), b, p+"/e"), "gone at once, not after its time to live")
	require.False(t, gone(soon(t), b, p+"/d"))
	require.False(t, gone(soon(t), b, p+"/o"))
	require.ErrorIs(t, a.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, sess)), coord.ErrSessionLost)
	require.NoError(t, sess.Close(soon(t)), "closing twice")
}

func testEphemeralStoreClose(t *testing.T, h Harness) {
	a, b, p := h.Open(t), open(t, h), root()
	sess, err := a.NewSession(soon(t), 30*time.Second)
	require.NoError(t, err)
	require.NoError(t, a.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, sess)))
	require.NoError(t, a.Close())
	require.True(t, isClosed(sess.Done()))
	eventually(t, "a closed client's keys go long before their time to live", func() bool { return gone(t.Context(), b, p+"/e") })
	require.NoError(t, a.Close(), "closing twice")
}

func testEphemeralKinds(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	one, two := session(t, s, 30*time.Second), session(t, s, 30*time.Second)
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, one)))
	e := get(t, s, p+"/e")
	require.NoError(t, s.Apply(soon(t), coord.Update(p+"/e", []byte("x"), e.Revision)))
	require.Equal(t, one.ID(), get(t, s, p+"/e").Session, "an update keeps the session")
	require.NoError(t, s.Apply(soon(t), coord.Put(p+"/e", []byte("y"), one)))
	require.Equal(t, one.ID(), get(t, s, p+"/e").Session)
	require.NoError(t, s.Apply(soon(t), coord.Put(p+"/e", []byte("z"), two)))
	require.Equal(t, two.ID(), get(t, s, p+"/e").Session, "put gives it to another session")
	require.NoError(t, one.Close(soon(t)))
	require.False(t, gone(soon(t), s, p+"/e"), "the first session has no more hold on it")
	require.NoError(t, s.Apply(soon(t), coord.Put(p+"/e", []byte("durable"), nil)))
	require.Empty(t, get(t, s, p+"/e").Session, "put without a session makes it durable")
	require.NoError(t, two.Close(soon(t)))
	require.Equal(t, "durable", string(get(t, s, p+"/e").Value))
}

// testSessionCut is the heart of failure detection: whoever is cut off knows so before others see its keys go.
func testSessionCut(t *testing.T, h Harness) {
	needCut(t, h)
	const ttl = 2 * time.Second
	a, cut, _ := h.OpenCuttable(t)
	b, p := open(t, h), root()
	sess, err := a.NewSession(soon(t), ttl)
	require.NoError(t, err)
	require.NoError(t, a.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, sess)))
	require.Never(t, func() bool { return isClosed(sess.Done()) || gone(t.Context(), b, p+"/e") }, ttl+ttl/2, 20*time.Millisecond, "it is kept alive")

	cutAt := time.Now()
	cut()
	var lostAt, goneAt time.Time
	var knew bool
	eventually(t, "session lost, and its keys gone", func() bool {
		if lostAt.IsZero() && isClosed(sess.Done()) {
			lostAt = time.Now()
		}
		// Asked after: if the key is seen gone, Done must have been closed already.
		if goneAt.IsZero() && gone(t.Context(), b, p+"/e") {
			goneAt = time.Now()
			knew = isClosed(sess.Done())
		}
		return !lostAt.IsZero() && !goneAt.IsZero()
	})
	require.True(t, knew, "others saw the keys go before the owner knew")
	require.Less(t, lostAt.Sub(cutAt), ttl, "the owner stops within the time to live")
	require.Less(t, goneAt.Sub(cutAt), ttl+3*time.Second, "the keys go soon after it")
	require.ErrorIs(t, a.Apply(soon(t), coord.Put(p+"/e", nil, sess)), coord.ErrSessionLost, "nothing more is done in its name")
	require.NoError(t, a.Close())
}

func testSessionShortCut(t *testing.T, h Harness) {
	needCut(t, h)
	const ttl = 9 * time.Second
	a, cut, mend := h.OpenCuttable(t)
	defer a.Close()
	b, p := open(t, h), root()
	sess, err := a.NewSession(soon(t), ttl)
	require.NoError(t, err)
	require.NoError(t, a.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, sess)))
	for range 2 { // each longer than the pause between two renewals
		cut()
		time.Sleep(ttl * 35 / 100)
		mend()
		time.Sleep(ttl * 35 / 100)
	}
	require.False(t, isClosed(sess.Done()))
	require.False(t, gone(soon(t), b, p+"/e"))
}

func testSessionOutage(t *testing.T, h Harness) {
	needKill(t, h)
	s, p := open(t, h), root()
	const ttl = 2 * time.Second
	long := session(t, s, 15*time.Second)
	sess := session(t, s, ttl)
	// Two changes: not every engine can make keys of two sessions in one.
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, sess)))
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/long", nil, long)))
	h.Kill(t)
	within(t, sess.Done(), ttl, "an engine that is away is as good as a session that is lost")
	h.Revive(t)
	eventually(t, "its keys go once the engine is back", func() bool { return gone(t.Context(), s, p+"/e") })
	require.False(t, isClosed(long.Done()), "a longer session outlives the outage")
	require.False(t, gone(soon(t), s, p+"/long"))
	next := session(t, s, ttl)
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/e", nil, next)))
}

func testRestartKeeps(t *testing.T, h Harness) {
	needKill(t, h)
	s, p := open(t, h), root()
	put(t, s, p+"/a", "1")
	before := get(t, s, p+"/a")
	for range 2 {
		h.Kill(t)
		h.Revive(t)
		eventually(t, "it answers again", func() bool { _, err := s.Get(t.Context(), p+"/a"); return err == nil })
	}
	require.Equal(t, before, get(t, s, p+"/a"), "what was answered is stored")
	require.NoError(t, s.Apply(soon(t), coord.Update(p+"/a", []byte("2"), before.Revision)))
}

func testOutage(t *testing.T, h Harness) {
	needKill(t, h)
	s, p := open(t, h), root()
	put(t, s, p+"/a", "1")
	h.Kill(t)
	late := h.Open(t)
	defer late.Close()
	requests := map[string]func() error{
		"get":     func() error { _, err := s.Get(t.Context(), p+"/a"); return err },
		"apply":   func() error { return s.Apply(t.Context(), coord.Put(p+"/a", nil, nil)) },
		"session": func() error { _, err := s.NewSession(t.Context(), time.Second); return err },
		"watch":   func() error { _, err := s.Watch(t.Context(), p); return err },
	}
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer, len(requests))
	for name, request := range requests { // side by side, since each waits for as long as the engine's patience lasts
		go func() { answers <- answer{name, request()} }()
	}
	tooLong := time.After(40 * time.Second)
	for range requests {
		select {
		case a := <-answers:
			require.ErrorIs(t, a.err, coord.ErrUnavailable, a.name)
		case <-tooLong:
			require.Fail(t, "a request waits without end because no deadline was given")
		}
	}
	h.Revive(t)
	eventually(t, "a client from before", func() bool { _, err := s.Get(t.Context(), p+"/a"); return err == nil })
	eventually(t, "a client that was opened during the outage", func() bool { _, err := late.Get(t.Context(), p+"/a"); return err == nil })
}
