package coordtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func testValues(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	ctx := soon(t)
	_, err := s.Get(ctx, p+"/a")
	require.ErrorIs(t, err, coord.ErrNotFound)

	require.NoError(t, s.Apply(ctx, coord.Create(p+"/a", []byte("one"))))
	first := get(t, s, p+"/a")
	require.Equal(t, p+"/a", first.Key)
	require.Equal(t, "one", string(first.Value))
	require.Empty(t, first.Session)
	require.NotZero(t, first.Revision)
	require.Equal(t, first, get(t, s, p+"/a"), "reading changes nothing")

	require.NoError(t, s.Apply(ctx, coord.Update(p+"/a", []byte("two"), first.Revision)))
	second := get(t, s, p+"/a")
	require.Equal(t, "two", string(second.Value))
	require.NotEqual(t, first.Revision, second.Revision)
	require.Equal(t, first.Created, second.Created, "an update is no creation")

	put(t, s, p+"/a", "three")
	require.Equal(t, "three", string(get(t, s, p+"/a").Value))
	put(t, s, p+"/new", "")
	require.Empty(t, get(t, s, p+"/new").Value)

	require.NoError(t, s.Apply(ctx, coord.Delete(p+"/a", get(t, s, p+"/a").Revision)))
	_, err = s.Get(ctx, p+"/a")
	require.ErrorIs(t, err, coord.ErrNotFound)
	require.NoError(t, s.Apply(ctx, coord.Delete(p+"/a", 0)), "deleting what is gone, in any case")

	require.NoError(t, s.Apply(ctx, coord.Create(p+"/a", nil)))
	require.Greater(t, get(t, s, p+"/a").Created, second.Created, "created again is a new creation")
}

func testConditions(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	put(t, s, p+"/a", "1")
	old := get(t, s, p+"/a").Revision
	put(t, s, p+"/a", "2")
	now := get(t, s, p+"/a").Revision
	for _, c := range []struct {
		name string
		op   coord.Op
	}{
		{"create of what exists", coord.Create(p+"/a", nil)},
		{"update at an old revision", coord.Update(p+"/a", nil, old)},
		{"update of what is absent", coord.Update(p+"/none", nil, now)},
		{"update at revision 0", coord.Update(p+"/none", nil, 0)},
		{"delete at an old revision", coord.Delete(p+"/a", old)},
		{"delete of what is absent, at a revision", coord.Delete(p+"/none", now)},
		{"check of an old revision", coord.Check(p+"/a", old)},
		{"check of absence", coord.Check(p+"/a", 0)},
		{"check of presence", coord.Check(p+"/none", now)},
	} {
		require.ErrorIs(t, s.Apply(soon(t), c.op), coord.ErrConflict, c.name)
		require.Equal(t, now, get(t, s, p+"/a").Revision, c.name)
		require.True(t, gone(soon(t), s, p+"/none"), c.name)
	}
	require.NoError(t, s.Apply(soon(t), coord.Check(p+"/a", now)))
	require.NoError(t, s.Apply(soon(t), coord.Check(p+"/none", 0)))
}

func testBadRequests(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	ctx := soon(t)
	for _, key := range []string{"", "/", "a", "a/b", "/a/", "//a", "/a//b", "/a b", "/a\x00", "/a\n", "/é", "/./a", "/a/..", "/" + strings.Repeat("x", coord.MaxKey)} {
		_, err := s.Get(ctx, key)
		require.ErrorIs(t, err, coord.ErrInvalid, "get %q", key)
		require.ErrorIs(t, s.Apply(ctx, coord.Put(key, nil, nil)), coord.ErrInvalid, "put %q", key)
	}
	_, err := s.List(ctx, p+"/")
	require.ErrorIs(t, err, coord.ErrInvalid)
	_, err = s.Watch(ctx, p+"/")
	require.ErrorIs(t, err, coord.ErrInvalid)
	require.ErrorIs(t, s.Apply(ctx), coord.ErrInvalid, "nothing to do")
	require.ErrorIs(t, s.Apply(ctx, coord.Put(p+"/a", nil, nil), coord.Put(p+"/a", nil, nil)), coord.ErrInvalid, "written twice")
	require.ErrorIs(t, s.Apply(ctx, coord.Op{Key: p + "/a"}), coord.ErrInvalid, "no kind")
	_, err = s.NewSession(ctx, coord.MinTTL/2)
	require.ErrorIs(t, err, coord.ErrInvalid)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Get(ended, p+"/a")
	require.ErrorIs(t, err, coord.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

func testBigValues(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	big := bytes.Repeat([]byte("0123456789abcdef"), coord.MaxValue/16)
	require.NoError(t, s.Apply(soon(t), coord.Create(p+"/a", big), coord.Create(p+"/b", big)))
	require.True(t, bytes.Equal(big, get(t, s, p+"/a").Value))
	require.ErrorIs(t, s.Apply(soon(t), coord.Create(p+"/c", append(big, 'x'))), coord.ErrInvalid)
	for i := range 20 {
		require.NoError(t, s.Apply(soon(t), coord.Create(fmt.Sprintf("%s/many/%d", p, i), big)))
	}
	all, err := s.List(soon(t), p+"/many")
	require.NoError(t, err)
	require.Len(t, all, 20)
}

func testLists(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	for _, k := range []string{"/a", "/a/b", "/a/b/c", "/a/z", "/ab", "/a-b", "/a.b", "/a!", "/a~", "/a0", "/b"} {
		put(t, s, p+k, k)
	}
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"/a", []string{"/a/b", "/a/b/c", "/a/z"}},
		{"/a/b", []string{"/a/b/c"}},
		{"/a/b/c", nil},
		{"/none", nil},
		{"", []string{"/a", "/a!", "/a-b", "/a.b", "/a/b", "/a/b/c", "/a/z", "/a0", "/ab", "/a~", "/b"}},
	} {
		entries, err := s.List(soon(t), p+c.prefix)
		require.NoError(t, err)
		var got []string
		for _, e := range entries {
			got = append(got, strings.TrimPrefix(e.Key, p))
			require.Equal(t, strings.TrimPrefix(e.Key, p), string(e.Value))
		}
		require.Equal(t, c.want, got, "list of %q", c.prefix)
	}
	const many = 1300 // more than any engine's page
	for i := 0; i < many; i += 50 {
		var ops []coord.Op
		for j := i; j < i+50; j++ {
			ops = append(ops, coord.Create(fmt.Sprintf("%s/many/%05d", p, j), []byte("x")))
		}
		require.NoError(t, s.Apply(soon(t), ops...))
	}
	entries, err := s.List(soon(t), p+"/many")
	require.NoError(t, err)
	require.Len(t, entries, many)
	for i, e := range entries {
		require.Equal(t, fmt.Sprintf("%s/many/%05d", p, i), e.Key)
	}
}

func testAtomicity(t *testing.T, h Harness) {
	s, p := open(t, h), root()
	put(t, s, p+"/a", "1")
	put(t, s, p+"/b", "1")
	a := get(t, s, p+"/a").Revision
	err := s.Apply(soon(t), coord.Update(p+"/a", []byte("2"), a), coord.Put(p+"/b", []byte("2"), nil), coord.Delete(p+"/a-none", a), coord.Create(p+"/c", nil))
	require.ErrorIs(t, err, coord.ErrConflict)
	require.Equal(t, "1", string(get(t, s, p+"/a").Value))
	require.Equal(t, "1", string(get(t, s, p+"/b").Value))
	require.True(t, gone(soon(t), s, p+"/c"))

	require.NoError(t, s.Apply(soon(t), coord.Update(p+"/a", []byte("2"), a), coord.Delete(p+"/b", 0), coord.Create(p+"/c", nil), coord.Check(p+"/d", 0)))
	require.Equal(t, "2", string(get(t, s, p+"/a").Value))
	require.True(t, gone(soon(t), s, p+"/b"))
	require.False(t, gone(soon(t), s, p+"/c"))
}

// testIncrements has many clients raise one counter by compare-and-set: none may be lost, none made twice.
func testIncrements(t *testing.T, h Harness) {
	p := root()
	const clients, each = 6, 25
	first := open(t, h)
	put(t, first, p+"/n", "0")
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for range clients {
		s := open(t, h)
		wg.Go(func() { errs <- increment(t.Context(), s, p+"/n", each) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, strconv.Itoa(clients*each), string(get(t, first, p+"/n").Value))
}

func increment(ctx context.Context, s coord.Store, key string, times int) error {
	for done := 0; done < times; {
		e, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(e.Value))
		if err != nil {
			return err
		}
		switch err := s.Apply(ctx, coord.Update(key, []byte(strconv.Itoa(n+1)), e.Revision)); {
		case err == nil:
			done++
		case !errors.Is(err, coord.ErrConflict):
			return err
		}
	}
	return nil
}
