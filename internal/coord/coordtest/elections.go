package coordtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func elect(t *testing.T, s coord.Store, sess coord.Session, key string) *coord.Leadership {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	giveUp := time.AfterFunc(patience, cancel)
	l, err := coord.Elect(ctx, s, sess, key, []byte("value of "+sess.ID()))
	giveUp.Stop()
	require.NoError(t, err)
	return l
}

func testElection(t *testing.T, h Harness) {
	a, b, key := open(t, h), open(t, h), root()+"/leader"
	sa, sb := session(t, a, 5*time.Second), session(t, b, 5*time.Second)
	la := elect(t, a, sa, key)
	require.Equal(t, "value of "+sa.ID(), string(get(t, b, key).Value))

	next := make(chan *coord.Leadership, 1)
	go func() {
		if l, err := coord.Elect(t.Context(), b, sb, key, nil); err == nil {
			next <- l
		}
	}()
	select {
	case <-next:
		require.Fail(t, "two leaders")
	case <-time.After(500 * time.Millisecond):
	}
	require.NoError(t, la.Context.Err())
	require.NoError(t, a.Apply(soon(t), la.Guard(), coord.Put(key+"-data", []byte("a"), nil)))

	require.NoError(t, sa.Close(soon(t)))
	within(t, la.Context.Done(), patience, "the old leader knows")
	require.ErrorIs(t, context.Cause(la.Context), coord.ErrSessionLost)
	select {
	case lb := <-next:
		require.Greater(t, lb.Token, la.Token, "tokens rise")
		require.NoError(t, b.Apply(soon(t), lb.Guard(), coord.Put(key+"-data", []byte("b"), nil)))
		require.ErrorIs(t, a.Apply(soon(t), la.Guard(), coord.Put(key+"-data", []byte("late"), nil)), coord.ErrConflict)
	case <-time.After(patience):
		require.Fail(t, "nobody took over")
	}
	require.Equal(t, "b", string(get(t, b, key+"-data").Value))
}

func testElectionExclusion(t *testing.T, h Harness) {
	key := root() + "/leader"
	const candidates, terms = 5, 4
	var leading, held atomic.Int32
	var top atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, candidates)
	for range candidates {
		s := open(t, h)
		wg.Go(func() {
			for range terms {
				sess, err := s.NewSession(t.Context(), 10*time.Second)
				if err != nil {
					errs <- err
					return
				}
				l, err := coord.Elect(t.Context(), s, sess, key, nil)
				if err != nil {
					errs <- err
					return
				}
				if leading.Add(1) != 1 || top.Swap(l.Token) >= l.Token {
					held.Store(-1000)
				}
				held.Add(1)
				time.Sleep(5 * time.Millisecond)
				leading.Add(-1)
				if err := sess.Close(t.Context()); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.EqualValues(t, candidates*terms, held.Load(), "each in turn, never two, with rising tokens")
}

// testElectionFencing: a leader that is cut off, and does not notice, can do no harm when it comes back.
func testElectionFencing(t *testing.T, h Harness) {
	needCut(t, h)
	a, cut, mend := h.OpenCuttable(t)
	b, p := open(t, h), root()
	sa, err := a.NewSession(soon(t), 2*time.Second)
	require.NoError(t, err)
	la := elect(t, a, sa, p+"/leader")
	guard := la.Guard() // what a paused process holds in its hands
	put(t, b, p+"/data", "start")

	cut()
	lb := elect(t, b, session(t, b, 10*time.Second), p+"/leader")
	require.Error(t, la.Context.Err(), "by the time there is another, the first has been told")
	require.NoError(t, b.Apply(soon(t), lb.Guard(), coord.Put(p+"/data", []byte("b"), nil)))
	mend()
	var late error
	eventually(t, "the late write is answered, not lost on the way", func() bool {
		late = a.Apply(t.Context(), guard, coord.Put(p+"/data", []byte("late"), nil))
		return !errors.Is(late, coord.ErrUnavailable)
	})
	require.ErrorIs(t, late, coord.ErrConflict)
	require.Equal(t, "b", string(get(t, b, p+"/data").Value))
	require.NoError(t, lb.Context.Err())
	require.NoError(t, la.Resign(soon(t)), "resigning late takes nothing from the new leader")
	require.NoError(t, b.Apply(soon(t), lb.Guard(), coord.Put(p+"/data", []byte("b2"), nil)))
	require.NoError(t, a.Close())
}

func testElectionSessionLost(t *testing.T, h Harness) {
	a, b, key := open(t, h), open(t, h), root()+"/leader"
	_ = elect(t, a, session(t, a, 10*time.Second), key)
	sess := session(t, b, 10*time.Second)
	failed := make(chan error, 1)
	go func() {
		_, err := coord.Elect(t.Context(), b, sess, key, nil)
		failed <- err
	}()
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, sess.Close(soon(t)))
	select {
	case err := <-failed:
		require.ErrorIs(t, err, coord.ErrSessionLost)
	case <-time.After(patience):
		require.Fail(t, "a candidate without a session waits for ever")
	}

	// Someone removes the key by hand: the leader is none any more.
	l := elect(t, b, session(t, b, 10*time.Second), key+"2")
	require.NoError(t, a.Apply(soon(t), coord.Delete(key+"2", 0)))
	within(t, l.Context.Done(), patience, "the key is gone")
}

func testElectionResign(t *testing.T, h Harness) {
	s, key := open(t, h), root()+"/leader"
	sess := session(t, s, 10*time.Second)
	first := elect(t, s, sess, key)
	require.NoError(t, first.Resign(soon(t)))
	require.Error(t, first.Context.Err())
	require.True(t, gone(soon(t), s, key))
	second := elect(t, s, sess, key)
	require.Greater(t, second.Token, first.Token)
	require.NoError(t, first.Resign(soon(t)))
	require.NoError(t, second.Context.Err(), "the same session's later term is untouched")
	require.ErrorIs(t, s.Apply(soon(t), first.Guard(), coord.Put(key+"-x", nil, nil)), coord.ErrConflict)
	require.False(t, gone(soon(t), s, key))
}

func testElectionCancel(t *testing.T, h Harness) {
	s, key := open(t, h), root()+"/leader"
	_ = elect(t, s, session(t, s, 10*time.Second), key)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := coord.Elect(ctx, s, session(t, s, 10*time.Second), key, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = coord.Elect(t.Context(), s, session(t, s, 10*time.Second), "bad", nil)
	require.ErrorIs(t, err, coord.ErrInvalid)
}
