package coordtest

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func needRights(t *testing.T, h Harness) (all coord.Store, gate coord.Gatekeeper, principal string) {
	t.Helper()
	if h.Gatekeeper == nil || h.OpenAs == nil {
		t.Skip("the engine has no rights here")
	}
	gate = h.Gatekeeper(t)
	principal = "guest." + strings.ToLower(rand.Text())
	t.Cleanup(func() { _ = gate.Expel(context.WithoutCancel(t.Context()), principal) })
	return open(t, h), gate, principal
}

func openAs(t *testing.T, h Harness, principal string) coord.Store {
	t.Helper()
	s := h.OpenAs(t, principal)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func testRights(t *testing.T, h Harness) {
	all, gate, principal := needRights(t, h)
	p := root()
	for _, k := range []string{"/own", "/own/a", "/own-not", "/ownnot", "/other/secret", "/also"} {
		put(t, all, p+k, k)
	}
	stranger := openAs(t, h, principal)
	_, err := stranger.Get(soon(t), p+"/own/a")
	require.ErrorIs(t, err, coord.ErrDenied, "before it is admitted")

	require.NoError(t, gate.Admit(soon(t), principal, coord.Rights{Own: []string{p + "/own", p + "/also"}}))
	require.NoError(t, gate.Admit(soon(t), principal, coord.Rights{Own: []string{p + "/own", p + "/also"}}), "twice is the same as once")
	s := openAs(t, h, principal)
	ctx := soon(t)
	require.Equal(t, "/own", string(get(t, s, p+"/own").Value))
	require.NoError(t, s.Apply(ctx, coord.Put(p+"/own", []byte("x"), nil), coord.Create(p+"/own/b/c", nil), coord.Delete(p+"/own/a", 0), coord.Put(p+"/also", nil, nil)))
	entries, err := s.List(ctx, p+"/own")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	sess, err := s.NewSession(ctx, 5*time.Second)
	require.NoError(t, err)
	require.NoError(t, s.Apply(ctx, coord.CreateEphemeral(p+"/own/e", nil, sess)))
	events, err := s.Watch(ctx, p+"/own")
	require.NoError(t, err)
	put(t, all, p+"/own/d", "x")
	require.Equal(t, p+"/own/d", nextEvent(t, events).Key)
	require.NoError(t, sess.Close(ctx))

	for _, key := range []string{p + "/own-not", p + "/ownnot", p + "/other/secret", p + "/none", p} {
		_, err := s.Get(ctx, key)
		require.ErrorIs(t, err, coord.ErrDenied, "get %s", key)
		_, err = s.List(ctx, key)
		require.ErrorIs(t, err, coord.ErrDenied, "list %s", key)
		_, err = s.Watch(ctx, key)
		require.ErrorIs(t, err, coord.ErrDenied, "watch %s", key)
		for _, op := range []coord.Op{coord.Put(key, nil, nil), coord.Create(key, nil), coord.Delete(key, 0), coord.Check(key, 0), coord.Update(key, nil, 1)} {
			require.ErrorIs(t, s.Apply(ctx, op), coord.ErrDenied, "%d on %s", op.Kind, key)
			require.ErrorIs(t, s.Apply(ctx, coord.Put(p+"/own", []byte("smuggled"), nil), op), coord.ErrDenied, "%d on %s beside a right one", op.Kind, key)
		}
	}
	require.Equal(t, "x", string(get(t, s, p+"/own").Value))
	require.Equal(t, "/other/secret", string(get(t, all, p+"/other/secret").Value))
	_, err = s.List(ctx, "/")
	require.ErrorIs(t, err, coord.ErrDenied)

	require.NoError(t, gate.Admit(ctx, principal, coord.Rights{Own: []string{p + "/own"}}))
	_, err = s.Get(ctx, p+"/also")
	require.ErrorIs(t, err, coord.ErrDenied, "what is not admitted any more")
	require.Equal(t, "x", string(get(t, s, p+"/own").Value))
	require.ErrorIs(t, gate.Admit(ctx, "", coord.Rights{Own: []string{p}}), coord.ErrInvalid)
	require.ErrorIs(t, gate.Admit(ctx, principal, coord.Rights{Own: []string{"bad"}}), coord.ErrInvalid)
}

// testExpel: a guest that was thrown out can do nothing more with what it had open.
func testExpel(t *testing.T, h Harness) {
	all, gate, principal := needRights(t, h)
	p := root()
	require.NoError(t, gate.Admit(soon(t), principal, coord.Rights{Own: []string{p + "/own"}}))
	s := openAs(t, h, principal)
	sess, err := s.NewSession(soon(t), 2*time.Second)
	require.NoError(t, err)
	require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(p+"/own/e", nil, sess)))
	events, err := s.Watch(t.Context(), p+"/own")
	require.NoError(t, err)

	require.NoError(t, gate.Expel(soon(t), principal))
	put(t, all, p+"/own/secret", "x")
	_, err = s.Get(soon(t), p+"/own/secret")
	require.ErrorIs(t, err, coord.ErrDenied)
	require.ErrorIs(t, s.Apply(soon(t), coord.Put(p+"/own/a", nil, nil)), coord.ErrDenied)
	_, err = s.NewSession(soon(t), 2*time.Second)
	require.ErrorIs(t, err, coord.ErrDenied)
	require.NoError(t, gate.Expel(soon(t), principal), "twice is the same as once")
	require.NoError(t, gate.Expel(soon(t), "guest.never-seen"))

	takesTime(t, "the rest is what a session and a watch do in the end")
	within(t, sess.Done(), patience, "its session cannot be renewed any more")
	eventually(t, "and its keys go", func() bool { return gone(t.Context(), all, p+"/own/e") })
	quiet := time.After(time.Second)
	for waiting := true; waiting; {
		select {
		case e := <-events:
			require.False(t, e.Key == p+"/own/secret", "an open watch tells nothing any more")
		case <-quiet:
			waiting = false
		}
	}

	require.NoError(t, gate.Admit(soon(t), principal, coord.Rights{Own: []string{p + "/own"}}))
	eventually(t, "admitted again", func() bool { _, err := s.Get(t.Context(), p+"/own/secret"); return err == nil })
	require.True(t, errors.Is(s.Apply(soon(t), coord.Put(p+"/x", nil, nil)), coord.ErrDenied))
}
