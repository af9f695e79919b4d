package zk_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// TestPausedBetweenReadAndWrite: a client reads, is paused, and writes, while the key is deleted and made again. ZooKeeper's version is
// then the same as before; the write must fail all the same. With a session's key, this is what keeps a former leader from writing.
func TestPausedBetweenReadAndWrite(t *testing.T) {
	e := zktest.Start(t, 1)
	s := e.Root(t)
	for name, op := range map[string]func(coord.Entry) coord.Op{
		"update": func(e coord.Entry) coord.Op { return coord.Update(e.Key, []byte("late"), e.Revision) },
		"delete": func(e coord.Entry) coord.Op { return coord.Delete(e.Key, e.Revision) },
		"check":  func(e coord.Entry) coord.Op { return coord.Check(e.Key, e.Revision) },
	} {
		t.Run(name, func(t *testing.T) {
			key := "/" + name
			put(t, s, key, "old")
			before := get(t, s, key)
			commit, err := s.Prepare(soon(t), op(before), coord.Put(key+"-beside", nil, nil))
			require.NoError(t, err)
			require.NoError(t, s.Apply(soon(t), coord.Delete(key, 0)))
			require.NoError(t, s.Apply(soon(t), coord.Create(key, []byte("new"))))
			after := get(t, s, key)
			require.NotEqual(t, before.Revision, after.Revision)
			require.Greater(t, after.Created, before.Created)
			require.Error(t, commit(soon(t)))
			require.Equal(t, after, get(t, s, key))
			_, err = s.Get(soon(t), key+"-beside")
			require.ErrorIs(t, err, coord.ErrNotFound)
			require.ErrorIs(t, s.Apply(soon(t), op(before)), coord.ErrConflict)
		})
	}
	t.Run("absence", func(t *testing.T) {
		for _, key := range []string{"/none", "/none/deep/er"} {
			commit, err := s.Prepare(soon(t), coord.Check(key, 0), coord.Put("/beside", nil, nil))
			require.NoError(t, err)
			put(t, s, key, "x")
			require.Error(t, commit(soon(t)))
			require.NoError(t, s.Apply(soon(t), coord.Delete(key, 0)))
		}
	})
	t.Run("deletion in any case", func(t *testing.T) {
		commit, err := s.Prepare(soon(t), coord.Delete("/gone", 0), coord.Put("/beside", []byte("first"), nil))
		require.NoError(t, err)
		put(t, s, "/gone", "x")
		require.Error(t, commit(soon(t)), "both or none: it is planned again")
		require.NoError(t, s.Apply(soon(t), coord.Delete("/gone", 0), coord.Put("/beside", []byte("first"), nil)))
	})
}

func TestOneChange(t *testing.T) {
	e := zktest.Start(t, 1)
	s, other := e.Root(t), e.Root(t)
	open := func(s *zk.Store) coord.Session {
		sess, err := s.NewSession(soon(t), 10*time.Second)
		require.NoError(t, err)
		return sess
	}
	one, two, foreign := open(s), open(s), open(other)
	require.ErrorIs(t, s.Apply(soon(t), coord.CreateEphemeral("/x", nil, foreign)), coord.ErrInvalid)
	require.ErrorIs(t, s.Apply(soon(t), coord.CreateEphemeral("/x", nil, one), coord.CreateEphemeral("/y", nil, two)), coord.ErrInvalid)
	// Conditions are on what was before the change, wherever they stand in it.
	require.NoError(t, s.Apply(soon(t), coord.Create("/a/b", []byte("1")), coord.Check("/a/b", 0), coord.Check("/a/b/c", 0)))
	r := get(t, s, "/a/b").Revision
	require.NoError(t, s.Apply(soon(t), coord.Delete("/a/b", r), coord.Check("/a/b", r), coord.CreateEphemeral("/a/b/c", nil, one)))
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral("/a", nil, one), coord.CreateEphemeral("/a/d", nil, one)), "below one another")
	require.NoError(t, s.Apply(soon(t), coord.Put("/a", []byte("now two's"), two), coord.Delete("/a/d", 0)))
	require.Equal(t, two.ID(), get(t, s, "/a").Session)
	var ops []coord.Op
	for i := range coord.MaxOps {
		ops = append(ops, coord.Create(fmt.Sprintf("/many/%d/x", i), make([]byte, 2*coord.MaxValue/coord.MaxOps)))
	}
	require.NoError(t, s.Apply(soon(t), ops...), "as much as a change may be")
	entries, err := other.List(soon(t), "/many")
	require.NoError(t, err)
	require.Len(t, entries, coord.MaxOps)
}

// TestPlain: without TLS it works, and nobody can be admitted.
func TestPlain(t *testing.T) {
	e := zktest.StartPlain(t)
	cfg := e.Config(t, "")
	cfg.Root = "apps/huker"
	s := zktest.OpenConfig(t, cfg)
	put(t, s, "/a", "1")
	entries, err := s.List(soon(t), "/")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	events, err := s.Watch(t.Context(), "/")
	require.NoError(t, err)
	require.NoError(t, s.Apply(soon(t), coord.Delete("/a", entries[0].Revision)))
	require.Equal(t, coord.Event{Key: "/a"}, <-events)
	require.ErrorIs(t, zk.NewGatekeeper(s).Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/a"}}), coord.ErrInvalid)
	there, _, err := e.Raw(t, "").Exists("/apps/huker/keys")
	require.NoError(t, err)
	require.True(t, there)
	other := e.Root(t) // at the default root
	entries, err = other.List(soon(t), "/")
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestOpenRefusesNonsense(t *testing.T) {
	for name, cfg := range map[string]zk.Config{
		"no server": {},
		"no port":   {Servers: []string{"a"}},
		"bad root":  {Servers: []string{"a:1"}, Root: "a//b"},
	} {
		_, err := zk.Open(t.Context(), cfg)
		require.Error(t, err, name)
	}
	s, err := zk.Open(t.Context(), zk.Config{Servers: []string{"no.such.host.invalid:1"}, RequestTimeout: 100 * time.Millisecond})
	require.NoError(t, err, "names are looked up when they are needed")
	_, err = s.Get(t.Context(), "/a")
	require.ErrorIs(t, err, coord.ErrUnavailable)
	require.NoError(t, s.Close())
}

// TestResync: what changes while a watcher is cut off is told as a Resync, and it goes on after that.
func TestResync(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	proxy := coordtest.NewProxy(t, e.Servers[0].Address)
	cfg := e.Config(t, zk.RootPrincipal)
	cfg.Servers = []string{proxy.Address}
	s := zktest.OpenConfig(t, cfg)
	events, err := s.Watch(t.Context(), "/a")
	require.NoError(t, err)
	next := func() coord.Event {
		t.Helper()
		select {
		case e, ok := <-events:
			require.True(t, ok)
			return e
		case <-time.After(30 * time.Second):
			require.Fail(t, "no event came")
			return coord.Event{}
		}
	}
	put(t, admin, "/a", "the prefix, which was not there")
	require.Equal(t, "/a", next().Key)
	put(t, admin, "/a/x/y", "1")
	require.Equal(t, "/a/x/y", next().Key)
	require.NoError(t, admin.Apply(soon(t), coord.Delete("/a/x/y", 0), coord.Delete("/a", 0)))
	require.ElementsMatch(t, []coord.Event{{Key: "/a"}, {Key: "/a/x/y"}}, []coord.Event{next(), next()})
	conn := e.Raw(t, zk.RootPrincipal)
	require.Eventually(t, func() bool { // the directories go as well,
		there, _, err := conn.Exists(keys + "/a")
		return err == nil && !there
	}, 30*time.Second, 20*time.Millisecond)
	put(t, admin, "/a/x/y", "2") // and come back
	require.Equal(t, "2", string(next().Entry.Value))

	proxy.Cut()
	put(t, admin, "/a/z", "missed")
	time.Sleep(5 * time.Second) // until the link is given up
	proxy.Mend()
	for {
		if ev := next(); ev.Resync {
			break
		}
	}
	require.Equal(t, "missed", string(get(t, s, "/a/z").Value))
	put(t, admin, "/a/w", "after")
	require.Equal(t, "/a/w", next().Key)
}

// TestWatchesAreTakenBack: who watches and stops, again and again, leaves nothing behind in the client.
func TestWatchesAreTakenBack(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	s := e.Root(t)
	put(t, s, "/a/b", "x")
	last, err := s.Watch(t.Context(), "/a")
	require.NoError(t, err)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		events, err := s.Watch(ctx, "/a")
		require.NoError(t, err)
		cancel()
		for range events { //nolint:revive // until it is closed
		}
	}
	require.Equal(t, 3, s.WatchesSet(), "on two directories and a value")
	put(t, s, "/a/b", "y")
	require.Equal(t, "y", string((<-last).Entry.Value))
}

// TestGuestSession: a session of a principal lives on, and ends when it is expelled.
func TestGuestSession(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	gate := zk.NewGatekeeper(e.Root(t))
	require.NoError(t, gate.Admit(soon(t), "guest.a", coord.Rights{Own: []string{"/guests/a"}}))
	sess, err := e.Open(t, "guest.a").NewSession(soon(t), time.Second)
	require.NoError(t, err)
	select {
	case <-sess.Done():
		require.Fail(t, "lost")
	case <-time.After(4 * time.Second):
	}
	require.NoError(t, gate.Expel(soon(t), "guest.a"))
	select {
	case <-sess.Done():
	case <-time.After(time.Second):
		require.Fail(t, "it goes on")
	}
}

// TestExpelledSessionsEnd: whenever in the life of a session its principal is thrown out, the session's own client ends it. The clients ask for their
// right when they come, and rely on being told after that.
func TestExpelledSessionsEnd(t *testing.T) {
	long(t)
	e := zktest.Start(t, 1)
	gate := zk.NewGatekeeper(e.Root(t))
	const many = 30
	name := func(i int) string { return fmt.Sprintf("guest.%d", i) }
	own := func(i int) coord.Rights { return coord.Rights{Own: []string{fmt.Sprintf("/guests/%d", i)}} }
	sessions := make([]coord.Session, many)
	for i := range sessions {
		require.NoError(t, gate.Admit(soon(t), name(i), own(i)))
		var err error
		sessions[i], err = e.Open(t, name(i)).NewSession(soon(t), 10*time.Second)
		require.NoError(t, err)
	}
	ends := func(i int) {
		t.Helper()
		require.NoError(t, gate.Expel(soon(t), name(i)))
		select {
		case <-sessions[i].Done():
		case <-time.After(30 * time.Second):
			require.Fail(t, "the session goes on", i)
		}
	}
	for i := range many / 3 { // as soon as they have come
		ends(i)
	}
	e.Servers[0].Kill()
	e.Servers[0].Launch(t)
	e.AwaitUp(t, 0)
	for i := many / 3; i < 2*many/3; i++ { // as soon as they have come back
		ends(i)
	}
	for i := 2 * many / 3; i < many; i++ {
		require.NoError(t, gate.Admit(soon(t), name(i), coord.Rights{Own: own(i).Own, Read: []string{"/shared"}}))
	}
	for i := 2 * many / 3; i < many; i++ { // after their rights changed
		select {
		case <-sessions[i].Done():
			require.Fail(t, "lost", i)
		default:
		}
		ends(i)
	}
}

// TestEventsInOrder: whoever writes where, events come in the order of the changes.
func TestEventsInOrder(t *testing.T) {
	e := zktest.Start(t, 1)
	reader := e.Root(t)
	events, err := reader.Watch(t.Context(), "/")
	require.NoError(t, err)
	const writers, each = 5, 150
	var wg sync.WaitGroup
	for w := range writers {
		s := e.Root(t)
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("/d%d/%d/k%d", i%3, w, i%11)
				op := coord.Put(key, []byte(strconv.Itoa(i)), nil)
				if i%4 == 3 {
					op = coord.Delete(key, 0)
				}
				if err := s.Apply(t.Context(), op); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() {
		wg.Wait()
		_ = reader.Apply(t.Context(), coord.Put("/end", nil, nil))
	}()
	var newest coord.Revision
	told := map[string]coord.Revision{}
	for n := 0; ; n++ {
		ev := <-events
		require.False(t, ev.Resync)
		if ev.Entry == nil {
			delete(told, ev.Key)
			continue
		}
		require.Greater(t, ev.Entry.Revision, newest, "event %d, %s", n, ev.Key)
		newest = ev.Entry.Revision
		told[ev.Key] = newest
		if ev.Key == "/end" {
			break
		}
	}
	entries, err := reader.List(soon(t), "/")
	require.NoError(t, err)
	there := map[string]coord.Revision{}
	for _, entry := range entries {
		there[entry.Key] = entry.Revision
	}
	require.Equal(t, there, told)
}
