package identity

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var tiny = Params{MemoryKiB: 64, Time: 1, Threads: 1}

func mustHasher(t *testing.T, p Params, concurrency, queue int) *hasher {
	t.Helper()
	h, err := newHasher(p, concurrency, queue)
	require.NoError(t, err)
	return h
}

// foreignHash was made by the reference implementation in C: the format is the one that others write and read.
const foreignHash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$ybEN4716GDXeL9vt6isrDRxvfOA2BoWMJMwc34k3rz0"

func TestHashAndVerify(t *testing.T) {
	h := mustHasher(t, tiny, 1, 1)
	one, err := h.hash(t.Context(), "pässword")
	require.NoError(t, err)
	two, err := h.hash(t.Context(), "pässword")
	require.NoError(t, err)
	assert.NotEqual(t, one, two, "salted")
	assert.True(t, strings.HasPrefix(one, "$argon2id$v=19$m=64,t=1,p=1$"), one)

	for name, tc := range map[string]struct {
		encoded, password string
		ok, rehash        bool
	}{
		"right":      {one, "pässword", true, false},
		"wrong":      {one, "passwörd", false, false},
		"foreign":    {foreignHash, "pässword", true, false},
		"empty":      {one, "", false, false},
		"no hash":    {"", "pässword", false, false},
		"bad hash":   {one + "A", "pässword", false, false},
		"no account": {"", "", false, false},
	} {
		ok, rehash := h.verifyNow(tc.encoded, tc.password)
		assert.Equal(t, tc.ok, ok, name)
		assert.Equal(t, tc.rehash, rehash, name)
	}
	stronger := mustHasher(t, Params{MemoryKiB: 128, Time: 2, Threads: 1}, 1, 1)
	ok, rehash := stronger.verifyNow(one, "pässword")
	assert.True(t, ok)
	assert.True(t, rehash)
	ok, rehash = stronger.verifyNow(one, "wrong")
	assert.False(t, ok)
	assert.False(t, rehash)
}

func TestParsePHC(t *testing.T) {
	h := mustHasher(t, tiny, 1, 1)
	good, err := h.hash(t.Context(), "x")
	require.NoError(t, err)
	_, err = parsePHC(good)
	require.NoError(t, err)
	replace := func(old, with string) string {
		out := strings.Replace(good, old, with, 1)
		require.NotEqual(t, good, out, old)
		return out
	}
	for name, bad := range map[string]string{
		"empty":          "",
		"argon2i":        replace("argon2id", "argon2i"),
		"other version":  replace("v=19", "v=16"),
		"zero passes":    replace("t=1", "t=0"),
		"zero lanes":     replace("p=1", "p=0"),
		"256 lanes":      replace("p=1", "p=257"),
		"too little":     replace("m=64", "m=7"),
		"all the memory": replace("m=64", "m=4294967295"),
		"overflow":       replace("m=64", "m=4294967360"),
		"for ever":       replace("t=1", "t=4000000000"),
		"leading zero":   replace("m=64", "m=064"),
		"plus":           replace("m=64", "m=+64"),
		"order":          replace("m=64,t=1", "t=1,m=64"),
		"padding":        good + "=",
		"line break":     good[:len(good)-2] + "\n" + good[len(good)-2:],
		"one part more":  good + "$",
		"short salt":     "$argon2id$v=19$m=64,t=1,p=1$AAAA$" + strings.Split(good, "$")[5],
		"short key":      "$argon2id$v=19$m=64,t=1,p=1$" + strings.Split(good, "$")[4] + "$AAAA",
		"no key":         foreignHash[:strings.LastIndex(foreignHash, "$")+1],
		"leading dollar": "x" + good,
	} {
		_, err := parsePHC(bad)
		assert.Error(t, err, name)
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add(foreignHash)
	f.Add("$argon2id$v=19$m=,t=,p=$$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.String() != s {
			t.Fatalf("%q was read as %q", s, h.String())
		}
		if !h.valid() || len(h.key) > maxKeyLen || len(h.salt) > maxSaltLen {
			t.Fatalf("%q is out of bounds", s)
		}
	})
}

func TestHasherIsBounded(t *testing.T) {
	h := mustHasher(t, tiny, 1, 1)
	require.NoError(t, h.enter(t.Context())) // the slot
	ctx, cancel := context.WithCancel(t.Context())
	queued := make(chan error, 1)
	go func() { queued <- h.enter(ctx) }()
	require.Eventually(t, func() bool { return len(h.waiting) == 2 }, 5*time.Second, time.Millisecond)
	_, err := h.hash(t.Context(), "x")
	require.ErrorIs(t, err, ErrUnavailable, "slot and queue are full")
	cancel()
	require.ErrorIs(t, <-queued, context.Canceled)
	h.leave()
	_, err = h.hash(t.Context(), "x")
	require.NoError(t, err, "all places are given back")
	_, err = newHasher(Params{MemoryKiB: 1, Time: 1, Threads: 1}, 1, 1)
	require.Error(t, err)
}

// The costs must be worth an attacker's while, and an unknown account must cost as much as a known one.
func TestDefaultCosts(t *testing.T) {
	h := mustHasher(t, defaultParams, 2, 2)
	encoded, err := h.hashNow("x")
	require.NoError(t, err)
	// In turns, so that what else the machine does at a time slows down both; the quickest of each is what it costs.
	known, unknown := time.Hour, time.Hour
	for range 15 {
		for of, quickest := range map[string]*time.Duration{encoded: &known, "": &unknown} {
			start := time.Now()
			h.verifyNow(of, "y")
			*quickest = min(*quickest, time.Since(start))
		}
	}
	t.Logf("known %s, unknown %s", known, unknown)
	assert.Greater(t, known, 5*time.Millisecond)
	assert.InDelta(t, 1, float64(unknown)/float64(known), 0.5)
}

func TestLRU(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLRU[int](2)
	l.put("a", 1, time.Time{})
	l.put("b", 2, now.Add(time.Second))
	_, ok := l.get("a", now) // a is used, so b goes
	require.True(t, ok)
	l.put("c", 3, time.Time{})
	_, ok = l.get("b", now)
	assert.False(t, ok)
	l.put("c", 4, now.Add(time.Second))
	v, ok := l.get("c", now)
	assert.True(t, ok)
	assert.Equal(t, 4, v)
	_, ok = l.get("c", now.Add(time.Second))
	assert.False(t, ok, "expired")
	assert.Equal(t, 1, l.len())
	assert.Equal(t, 1, l.getOrPut("a", func() int { return 9 }))
	assert.Equal(t, 9, l.getOrPut("d", func() int { return 9 }))

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				l.getOrPut(string(rune('a'+i%26)), func() int { return i })
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 2, l.len())
}
