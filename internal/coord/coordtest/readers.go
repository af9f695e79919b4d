package coordtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

// another is a principal besides that of needRights.
func another(t *testing.T, gate coord.Gatekeeper) string {
	t.Helper()
	principal := "guest." + strings.ToLower(rand.Text())
	t.Cleanup(func() { _ = gate.Expel(context.WithoutCancel(t.Context()), principal) })
	return principal
}

// changes are all ways to write a key that is as now says (the zero Entry: absent), some of which would fail for other reasons too.
func changes(key string, now coord.Entry, sess coord.Session) map[string]coord.Op {
	return map[string]coord.Op{
		"put":                     coord.Put(key, []byte("forged"), nil),
		"put for a session":       coord.Put(key, []byte("forged"), sess),
		"create":                  coord.Create(key, []byte("forged")),
		"create for a session":    coord.CreateEphemeral(key, []byte("forged"), sess),
		"delete":                  coord.Delete(key, 0),
		"delete as it is":         coord.Delete(key, now.Revision),
		"delete as it never was":  coord.Delete(key, now.Revision+1),
		"update as it never was":  coord.Update(key, []byte("forged"), now.Revision+1),
		"update as it is, if any": coord.Update(key, []byte("forged"), max(now.Revision, 1)),
	}
}

// readsOnly requires that none of a principal's changes to a key is made, alone or beside one to its own.
func readsOnly(t *testing.T, s, all coord.Store, sess coord.Session, key, own string) {
	t.Helper()
	now, err := all.Get(soon(t), key)
	if err != nil {
		require.ErrorIs(t, err, coord.ErrNotFound)
		now = coord.Entry{}
	}
	before := get(t, s, own)
	for name, op := range changes(key, now, sess) {
		require.ErrorIs(t, s.Apply(soon(t), op), coord.ErrDenied, "%s %s", name, key)
		require.ErrorIs(t, s.Apply(soon(t), coord.Put(own, []byte("smuggled"), nil), op), coord.ErrDenied, "%s %s beside its own", name, key)
	}
	require.Equal(t, before, get(t, s, own))
	after, err := all.Get(soon(t), key)
	if err != nil {
		require.ErrorIs(t, err, coord.ErrNotFound)
		after = coord.Entry{}
	}
	require.Equal(t, now, after)
}

// testReaders: what a principal may read it sees and hears of, and nothing that it does there is done.
func testReaders(t *testing.T, h Harness) {
	all, gate, principal := needRights(t, h)
	p := root()
	for _, k := range []string{"/own/x", "/seen", "/seen/a", "/seen/deep/b", "/seen-not", "/seennot"} {
		put(t, all, p+k, k)
	}
	rights := coord.Rights{Own: []string{p + "/own"}, Read: []string{p + "/seen", p + "/later"}}
	require.NoError(t, gate.Admit(soon(t), principal, rights))
	require.NoError(t, gate.Admit(soon(t), principal, rights), "twice is the same as once")
	s := openAs(t, h, principal)
	require.Equal(t, "/seen", string(get(t, s, p+"/seen").Value))
	require.Equal(t, get(t, all, p+"/seen/deep/b"), get(t, s, p+"/seen/deep/b"))
	require.Equal(t, []string{p + "/seen/a", p + "/seen/deep/b"}, keysOf(t, s, p+"/seen"))
	require.Empty(t, keysOf(t, s, p+"/later"), "a prefix that has no keys yet")
	_, err := s.Get(soon(t), p+"/seen/none/x")
	require.ErrorIs(t, err, coord.ErrNotFound)
	for _, key := range []string{p, p + "/seen-not", p + "/seennot", p + "/late"} {
		_, err := s.Get(soon(t), key)
		require.ErrorIs(t, err, coord.ErrDenied, "get %s", key)
		_, err = s.Watch(soon(t), key)
		require.ErrorIs(t, err, coord.ErrDenied, "watch %s", key)
	}

	// It hears of what the control plane does, and can read that.
	seen, err := s.Watch(t.Context(), p+"/seen")
	require.NoError(t, err)
	later, err := s.Watch(t.Context(), p+"/later")
	require.NoError(t, err)
	put(t, all, p+"/seen/a", "new")
	hears(t, seen, p+"/seen/a", "new")
	put(t, all, p+"/seen/new/key", "1")
	hears(t, seen, p+"/seen/new/key", "1")
	put(t, all, p+"/later/x/y", "2")
	hears(t, later, p+"/later/x/y", "2")
	held := session(t, all, 20*time.Second)
	require.NoError(t, all.Apply(soon(t), coord.CreateEphemeral(p+"/later/held", []byte("3"), held)))
	hears(t, later, p+"/later/held", "3")
	require.Equal(t, held.ID(), get(t, s, p+"/later/held").Session)
	require.Equal(t, []string{p + "/later/held", p + "/later/x/y"}, keysOf(t, s, p+"/later"))
	require.NoError(t, all.Apply(soon(t), coord.Delete(p+"/seen/new/key", 0)))
	e := nextEvent(t, seen)
	require.Equal(t, p+"/seen/new/key", e.Key)
	require.Nil(t, e.Entry)

	sess := session(t, s, 20*time.Second)
	for _, key := range []string{"/seen", "/seen/a", "/seen/deep/b", "/seen/deep", "/seen/none", "/seen/none/deep", "/later", "/later/held"} {
		readsOnly(t, s, all, sess, p+key, p+"/own/x")
	}

	// To look is allowed, also as a condition.
	now := get(t, s, p+"/seen/a")
	require.NoError(t, s.Apply(soon(t), coord.Check(now.Key, now.Revision), coord.Put(p+"/own/x", []byte("checked"), nil)))
	put(t, all, now.Key, "newer")
	require.ErrorIs(t, s.Apply(soon(t), coord.Check(now.Key, now.Revision), coord.Put(p+"/own/x", []byte("stale"), nil)), coord.ErrConflict)
	require.ErrorIs(t, s.Apply(soon(t), coord.Check(now.Key, 0), coord.Put(p+"/own/x", []byte("stale"), nil)), coord.ErrConflict)
	require.Equal(t, "checked", string(get(t, s, p+"/own/x").Value))
	require.ErrorIs(t, gate.Admit(soon(t), principal, coord.Rights{Read: []string{"bad"}}), coord.ErrInvalid)
	require.ErrorIs(t, gate.Admit(soon(t), principal, coord.Rights{Read: []string{"/"}}), coord.ErrInvalid)
}

func keysOf(t *testing.T, s coord.Store, prefix string) (keys []string) {
	t.Helper()
	entries, err := s.List(soon(t), prefix)
	require.NoError(t, err)
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

// hears requires that the next event is of a key's value.
func hears(t *testing.T, events <-chan coord.Event, key, value string) {
	t.Helper()
	e := nextEvent(t, events)
	require.Equal(t, key, e.Key)
	require.NotNil(t, e.Entry, key)
	require.Equal(t, value, string(e.Entry.Value))
}

// testRightsReplaced: a later Admit is all that counts, for what was open before it too.
func testRightsReplaced(t *testing.T, h Harness) {
	all, gate, principal := needRights(t, h)
	p := root()
	for _, k := range []string{"/a/x", "/a/in/x", "/b/x", "/own"} {
		put(t, all, p+k, k)
	}
	a, b, own := p+"/a", p+"/b", p+"/own"
	admit := func(r coord.Rights) {
		t.Helper()
		r.Own = append(r.Own, own)
		require.NoError(t, gate.Admit(soon(t), principal, r))
	}
	admit(coord.Rights{Own: []string{a}, Read: []string{b}})
	s := openAs(t, h, principal)
	sess := session(t, s, 20*time.Second)
	can := func(key string, read, write bool) {
		t.Helper()
		_, err := s.Get(soon(t), key)
		if read {
			require.NoError(t, err, "read %s", key)
		} else {
			require.ErrorIs(t, err, coord.ErrDenied, "read %s", key)
		}
		if write {
			require.NoError(t, s.Apply(soon(t), coord.Put(key, []byte("its"), nil)), "write %s", key)
			made := key + "/" + strings.ToLower(rand.Text())
			require.NoError(t, s.Apply(soon(t), coord.CreateEphemeral(made, nil, sess)))
			require.NoError(t, s.Apply(soon(t), coord.Delete(made, 0)))
		} else {
			readsOnly(t, s, all, sess, key, own)
			readsOnly(t, s, all, sess, key+"/new", own)
		}
	}
	can(a+"/x", true, true)
	can(b+"/x", true, false)

	admit(coord.Rights{Own: []string{b}, Read: []string{a}})
	can(a+"/x", true, false)
	can(b+"/x", true, true)

	admit(coord.Rights{Own: []string{a}, Read: []string{a, a + "/in", b}})
	can(a+"/x", true, true)
	can(a+"/in/x", true, true)
	can(b+"/x", true, false)

	// One in the other: it writes in what it owns there, as long as it does.
	admit(coord.Rights{Own: []string{a + "/in"}, Read: []string{a}})
	can(a+"/x", true, false)
	can(a+"/in/x", true, true)
	require.NoError(t, s.Apply(soon(t), coord.Put(a+"/in/made/itself", []byte("x"), nil)))
	admit(coord.Rights{Read: []string{a}})
	can(a+"/in/x", true, false)
	can(a+"/in/made/itself", true, false)
	can(b+"/x", false, false)
	admit(coord.Rights{Read: []string{a + "/in"}})
	can(a+"/x", false, false)
	can(a+"/in/made/itself", true, false)

	events, err := s.Watch(t.Context(), a+"/in")
	require.NoError(t, err)
	admit(coord.Rights{})
	can(a+"/in/x", false, false)
	put(t, all, a+"/in/x", "secret")
	require.NoError(t, s.Apply(soon(t), coord.Put(own, []byte("its own is left"), nil)))
	quiet := time.After(time.Second)
	for waiting := true; waiting; {
		select {
		case e := <-events:
			require.Nil(t, e.Entry, "an open watch tells nothing any more")
		case <-quiet:
			waiting = false
		}
	}
}

// testRightsShared: several read one prefix, and one owns it; what one loses, the others keep.
func testRightsShared(t *testing.T, h Harness) {
	all, gate, owner := needRights(t, h)
	p := root()
	shared := p + "/shared"
	put(t, all, shared+"/record", "1")
	require.NoError(t, gate.Admit(soon(t), owner, coord.Rights{Own: []string{shared}}))
	type reader struct {
		principal string
		store     coord.Store
		events    <-chan coord.Event
	}
	var readers []reader
	for i := range 3 {
		r := reader{principal: another(t, gate)}
		require.NoError(t, gate.Admit(soon(t), r.principal, coord.Rights{Own: []string{fmt.Sprintf("%s/%d", p, i)}, Read: []string{shared}}))
		r.store = openAs(t, h, r.principal)
		put(t, r.store, fmt.Sprintf("%s/%d/own", p, i), "mine")
		var err error
		r.events, err = r.store.Watch(t.Context(), shared)
		require.NoError(t, err)
		readers = append(readers, r)
	}
	owning := openAs(t, h, owner)
	put(t, owning, shared+"/made/by-owner", "2")
	for _, r := range readers {
		hears(t, r.events, shared+"/made/by-owner", "2")
		require.Equal(t, []string{shared + "/made/by-owner", shared + "/record"}, keysOf(t, r.store, shared))
	}

	refused := func(s coord.Store) {
		t.Helper()
		_, err := s.Get(soon(t), shared+"/record")
		require.ErrorIs(t, err, coord.ErrDenied)
		_, err = s.List(soon(t), shared)
		require.ErrorIs(t, err, coord.ErrDenied)
	}
	require.NoError(t, gate.Expel(soon(t), readers[0].principal))
	refused(readers[0].store)
	require.NoError(t, gate.Admit(soon(t), readers[1].principal, coord.Rights{Own: []string{p + "/1"}}))
	refused(readers[1].store)
	require.Equal(t, "mine", string(get(t, readers[1].store, p+"/1/own").Value))
	put(t, all, shared+"/later/x", "3")
	put(t, owning, shared+"/record", "4")
	hears(t, readers[2].events, shared+"/later/x", "3")
	hears(t, readers[2].events, shared+"/record", "4")

	require.NoError(t, gate.Expel(soon(t), owner))
	refused(owning)
	put(t, all, shared+"/record", "5")
	hears(t, readers[2].events, shared+"/record", "5")
	require.Equal(t, "2", string(get(t, readers[2].store, shared+"/made/by-owner").Value), "what was made by who is gone")
	require.ErrorIs(t, readers[2].store.Apply(soon(t), coord.Put(shared+"/record", nil, nil)), coord.ErrDenied)

	late := another(t, gate)
	require.NoError(t, gate.Admit(soon(t), late, coord.Rights{Read: []string{shared}}))
	s := openAs(t, h, late)
	require.Equal(t, []string{shared + "/later/x", shared + "/made/by-owner", shared + "/record"}, keysOf(t, s, shared))
	_, err := s.Get(soon(t), p+"/1/own")
	require.ErrorIs(t, err, coord.ErrDenied)
}

// testRightsAtOnce: readers of one prefix come and go at the same time, while keys are made in it.
func testRightsAtOnce(t *testing.T, h Harness) {
	all, gate, _ := needRights(t, h)
	p := root()
	shared := p + "/shared"
	principals := make([]string, 8)
	for i := range principals {
		principals[i] = another(t, gate)
	}
	rights := coord.Rights{Read: []string{shared}}
	stay, leave := principals[:4], principals[4:]
	for _, who := range leave {
		require.NoError(t, gate.Admit(soon(t), who, rights))
	}
	ctx, errs := soon(t), make(chan error, 32)
	var wg sync.WaitGroup
	at := func(do func() error) {
		wg.Go(func() {
			if err := do(); err != nil {
				errs <- err
			}
		})
	}
	for i := range 4 {
		at(func() error { return gate.Admit(ctx, stay[i], rights) })
		at(func() error { return gate.Expel(ctx, leave[i]) })
		at(func() error {
			for n := range 10 {
				if err := all.Apply(ctx, coord.Put(fmt.Sprintf("%s/%d/%d", shared, n, i), nil, nil)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for _, who := range stay {
		require.Len(t, keysOf(t, openAs(t, h, who), shared), 40)
	}
	for _, who := range leave {
		_, err := openAs(t, h, who).Get(soon(t), shared+"/0/0")
		require.ErrorIs(t, err, coord.ErrDenied)
	}
}
