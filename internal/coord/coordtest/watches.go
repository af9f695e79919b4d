package coordtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func watch(t *testing.T, s coord.Store, prefix string) <-chan coord.Event {
	t.Helper()
	events, err := s.Watch(t.Context(), prefix)
	require.NoError(t, err)
	return events
}

func nextEvent(t *testing.T, events <-chan coord.Event) coord.Event {
	t.Helper()
	select {
	case e, ok := <-events:
		require.True(t, ok, "the watch ended")
		return e
	case <-time.After(patience):
		require.Fail(t, "no event came")
		return coord.Event{}
	}
}

func testWatchOrder(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	put(t, s, p+"/before", "x")
	events := watch(t, s, p)
	const n = 200
	go func() {
		for i := range n {
			_ = s.Apply(t.Context(), coord.Create(fmt.Sprintf("%s/k%d", p, i), []byte(strconv.Itoa(i))))
		}
	}()
	for i := range n {
		e := nextEvent(t, events)
		require.False(t, e.Resync)
		require.Equal(t, fmt.Sprintf("%s/k%d", p, i), e.Key, "in order, none missed, none from before")
		require.NotNil(t, e.Entry)
		require.Equal(t, strconv.Itoa(i), string(e.Entry.Value))
		require.NotZero(t, e.Entry.Revision)
	}
	// Several changes of one key may be told as one, but the last is told, and never an older one after a newer.
	for i := range n {
		put(t, s, p+"/same", strconv.Itoa(i))
	}
	for last := -1; last < n-1; {
		e := nextEvent(t, events)
		require.Equal(t, p+"/same", e.Key)
		i, err := strconv.Atoi(string(e.Entry.Value))
		require.NoError(t, err)
		require.Greater(t, i, last)
		last = i
	}
	require.NoError(t, s.Apply(soon(t), coord.Delete(p+"/same", 0)))
	e := nextEvent(t, events)
	require.Equal(t, p+"/same", e.Key)
	require.Nil(t, e.Entry)
}

func testWatchScope(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	events := watch(t, s, p+"/a")
	for _, k := range []string{"/ab", "/a-b", "/a!", "/b", "/a", "/a/b", "/a/b/c"} {
		put(t, s, p+k, "x")
	}
	for _, want := range []string{"/a", "/a/b", "/a/b/c"} {
		require.Equal(t, want, strings.TrimPrefix(nextEvent(t, events).Key, p))
	}
	sess := session(t, s, 30*time.Second)
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/a/e", nil, sess)))
	require.Equal(t, sess.ID(), nextEvent(t, events).Entry.Session)
	require.NoError(t, sess.Close(soon(t)))
	e := nextEvent(t, events)
	require.Equal(t, p+"/a/e", e.Key)
	require.Nil(t, e.Entry, "a session's end is told too")
}

// testWatchMany has several writers and watchers; each watcher ends with the same picture as a list.
func testWatchMany(t *testing.T, h Harness) {
	p := root()
	const watchers, writers, each = 4, 4, 60
	reader := open(t, h)
	var channels []<-chan coord.Event
	for range watchers {
		channels = append(channels, watch(t, open(t, h), p))
	}
	var wg sync.WaitGroup
	for w := range writers {
		s := open(t, h)
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%s/w%d/%d", p, w, i%7)
				op := coord.Put(key, []byte(strconv.Itoa(i)), nil)
				if i%5 == 4 {
					op = coord.Delete(key, 0)
				}
				_ = s.Apply(t.Context(), op)
			}
		})
	}
	wg.Wait()
	put(t, reader, p+"/end", "end")
	entries, err := reader.List(soon(t), p)
	require.NoError(t, err)
	want := map[string]string{}
	for _, e := range entries {
		want[e.Key] = string(e.Value)
	}
	for _, events := range channels {
		got := map[string]string{}
		for got[p+"/end"] == "" {
			e := nextEvent(t, events)
			if e.Entry == nil {
				delete(got, e.Key)
				continue
			}
			got[e.Key] = string(e.Entry.Value)
		}
		require.Equal(t, want, got)
	}
}

func testWatchEnds(t *testing.T, h Harness) {
	s, p := h.Open(t), root()
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Watch(ctx, p)
	require.NoError(t, err)
	second, err := s.Watch(t.Context(), p)
	require.NoError(t, err)
	cancel()
	requireEnd(t, first)
	put(t, s, p+"/a", "x")
	require.Equal(t, p+"/a", nextEvent(t, second).Key, "other watches go on")
	require.NoError(t, s.Close())
	requireEnd(t, second)
}

func requireEnd(t *testing.T, events <-chan coord.Event) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, open := <-events:
			if !open {
				return
			}
		case <-deadline:
			require.Fail(t, "the channel is not closed")
		}
	}
}

// testWatchAcrossRestart: what changes while the engine or the connection comes and goes is told, or a Resync is.
func testWatchAcrossRestart(t *testing.T, h Harness) {
	needKill(t, h)
	s, w, p := open(t, h), open(t, h), root()
	events := watch(t, w, p)
	for round := range 3 {
		key := fmt.Sprintf("%s/round%d", p, round)
		h.Kill(t)
		h.Revive(t)
		eventually(t, "written after the restart", func() bool {
			return s.Apply(t.Context(), coord.Put(key, []byte("x"), nil)) == nil
		})
		for {
			e := nextEvent(t, events)
			if e.Resync {
				require.False(t, gone(soon(t), w, key), "after Resync a read shows it")
				break
			}
			if e.Key == key {
				break
			}
		}
	}
}
