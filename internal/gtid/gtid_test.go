package gtid

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	u = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
	v = "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"
)

// forms are texts with what mysqld 9.7.4 makes of them; "!" is a refusal. TestServer asks a real one.
var forms = map[string]string{
	"": "", " ": "", ",": "", ",,": "", "\n": "", u: "", u + ":": "!",
	u + ":1": u + ":1", strings.ToUpper(u) + ":1": u + ":1", u + ":7:1-5": u + ":1-5:7", u + ":1:2:3": u + ":1-3", u + ":1-5:3-9": u + ":1-9",
	u + ":5-3": "", u + ":1:5-3": u + ":1", u + ":3-2," + v + ":1": v + ":1", u + ":0": "!", u + ":0-5": "!", u + ":5-0": "", u + ":0-0": "!", u + ":-1": "!", u + ":1-": "!",
	u + ": 1 - 5 : 7": u + ":1-5:7", " " + u + " :1 , " + v + ":2 ": u + ":1,\n" + v + ":2", u + ":1\t,\r\n" + v + ":1": u + ":1,\n" + v + ":1",
	v + ":1," + u + ":1": u + ":1,\n" + v + ":1", u + ":1 2": "!", u + ":1;": "!", u + ":1 x": "!", u + ":+1": "!", "+" + u + ":1": "!",
	u + ":9223372036854775806": u + ":9223372036854775806", u + ":9223372036854775807": "!", u + ":1-9223372036854775807": "!",
	u + ":99999999999999999999": "!", u + ":01-005": u + ":1-5", u + ":00000000000000000000000000000000005": u + ":5", u + ":0x1": "!", u + ":1e1": "!",
	u + ":1--5": "!", u + ":1-5-7": "!", u + "::1": "!", u + ":1::2": "!", u + ":1:": "!", u + ":1:," + v + ":1": "!",
	u + ":tag:1": u + ":tag:1", u + ":TAG:1-3": u + ":tag:1-3", u + ":tag": "", u + ":1:tag": u + ":1", u + ":tag:": "!", u + ":tag::1": "!",
	u + ":1:tag:2:tagb:3:4": u + ":1:tag:2:tagb:3-4", u + ":tag:2:1": u + ":tag:1-2", u + ":tag:1," + u + ":1": u + ":1:tag:1",
	u + ":1:2:tag:1:tag:3": u + ":1-2:tag:1:3", u + ":b:1:a:1," + u + ":1": u + ":1:a:1:b:1", u + ":tag1:tag2:1": u + ":tag2:1",
	u + ":TaG:1:tAg:2": u + ":tag:1-2", u + ": tag : 1": u + ":tag:1", u + ":t ag:1": "!", u + ":tag:3-2:1": u + ":tag:1",
	u + ":_a:1": u + ":_a:1", u + ":a1:1": u + ":a1:1", u + ":1a:1": "!", u + ":a-b:1": "!", u + ":$:1": "!", u + ":é:1": "!",
	u + ":" + strings.Repeat("a", 32) + ":1": u + ":" + strings.Repeat("a", 32) + ":1", u + ":" + strings.Repeat("a", 33) + ":1": "!",
	strings.ReplaceAll(u, "-", "") + ":1": u + ":1", "{" + u + "}:1": u + ":1", "{" + strings.ReplaceAll(u, "-", "") + "}:1": "!",
	u[1:] + ":1": "!", u + "a:1": "!", "aaaaaaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaa:1": "!", "1": "!", "x": "!", u + ":1\x00": "!", u + ":1\v,\f": u + ":1",
}

func parse(t testing.TB, text string) Set {
	t.Helper()
	s, err := Parse(text)
	require.NoError(t, err, "%q", text)
	return s
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range forms {
		got, err := Parse(text)
		if want == "!" {
			require.ErrorIs(t, err, ErrMalformed, "%q", text)
			continue
		}
		require.NoError(t, err, "%q", text)
		require.Equal(t, want, got.String(), "%q", text)
		require.Equal(t, want == "", got.Empty(), "%q", text)
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	require.EqualValues(t, 0, Set{}.Count())
	require.EqualValues(t, 9, parse(t, u+":1-5:7:tag:2-3,"+v+":9").Count())
	require.Equal(t, uint64(math.MaxUint64), parse(t, u+":1-9223372036854775806:a:1-9223372036854775806:b:1-9223372036854775806").Count())
}

func TestOf(t *testing.T) {
	t.Parallel()
	id, err := ParseUUID(u)
	require.NoError(t, err)
	require.Equal(t, u+":2-4", Of(id, 2, 4).String())
	require.Equal(t, u+":1-9223372036854775806", Of(id, math.MinInt64, math.MaxInt64).String())
	require.True(t, Of(id, 5, 4).Empty())
	require.True(t, Of(id, math.MaxInt64, math.MaxInt64).Empty())
}

func TestJSON(t *testing.T) {
	t.Parallel()
	type box struct{ Set Set }
	var back box
	data, err := json.Marshal(box{parse(t, u+":1-5:tag:7")})
	require.NoError(t, err)
	require.JSONEq(t, `{"Set":"`+u+`:1-5:tag:7"}`, string(data))
	require.NoError(t, json.Unmarshal(data, &back))
	require.True(t, back.Set.Equal(parse(t, u+":1-5:tag:7")))
	require.Error(t, json.Unmarshal([]byte(`{"Set":"x"}`), &back))
}

// elements is a set as the plainest thing there is, to check the algebra by.
func elements(s Set) map[string]bool {
	out := map[string]bool{}
	for _, src := range s.sources {
		for _, r := range src.runs {
			for n := r.First; n <= r.Last; n++ {
				out[fmt.Sprintf("%s:%s:%d", src.uuid, src.tag, n)] = true
			}
		}
	}
	return out
}

// random is a text of a set over few sources and numbers, so that pairs have much in common.
func random(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(4) {
		fmt.Fprintf(&b, "%s%s", []string{"", " ", ",", "\n"}[r.IntN(4)], []string{u, v, strings.ToUpper(u)}[r.IntN(3)])
		for range r.IntN(4) {
			b.WriteString([]string{"", "", ":tag", ":TAG", ":b"}[r.IntN(5)])
			for range 1 + r.IntN(3) {
				if first := 1 + r.IntN(20); r.IntN(2) == 0 {
					fmt.Fprintf(&b, ":%d", first)
				} else {
					fmt.Fprintf(&b, ":%d-%d", first, max(1, first+r.IntN(8)-1))
				}
			}
		}
		b.WriteString(",")
	}
	return b.String()
}

func TestAlgebra(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	for range 5000 {
		a, b := parse(t, random(r)), parse(t, random(r))
		ea, eb := elements(a), elements(b)
		union, less, both := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for e := range ea {
			union[e] = true
			if eb[e] {
				both[e] = true
			} else {
				less[e] = true
			}
		}
		for e := range eb {
			union[e] = true
		}
		for what, ok := range map[string]bool{
			"union":      maps.Equal(union, elements(a.Union(b))),
			"difference": maps.Equal(less, elements(a.Subtract(b))),
			"common":     maps.Equal(both, elements(a.Intersect(b))),
			"contains":   (len(both) == len(eb)) == a.Contains(b),
			"equal":      (len(both) == len(eb) && len(ea) == len(eb)) == a.Equal(b),
			"count":      uint64(len(ea)) == a.Count(),
			"unchanged":  maps.Equal(ea, elements(a)),
		} {
			if !ok {
				t.Fatalf("%s of %q and %q", what, a, b)
			}
		}
		for _, s := range []Set{a.Union(b), a.Subtract(b), a.Intersect(b)} { // the form is canonical, whatever it came from
			if !parse(t, s.String()).Equal(s) || s.Empty() != (len(elements(s)) == 0) {
				t.Fatalf("%q is not canonical", s)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for text := range forms {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			require.True(t, s.Empty())
			return
		}
		again, err := Parse(s.String())
		require.NoError(t, err)
		require.True(t, again.Equal(s))
		require.Equal(t, s.String(), again.String())
		require.True(t, s.Contains(s))
		require.True(t, s.Subtract(s).Empty())
		require.True(t, s.Union(Set{}).Equal(s))
	})
}
