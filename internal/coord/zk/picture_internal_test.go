package zk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

func kids(zxid int64, dir string, names ...string) reading {
	return newReading(dir, names, &gozk.Stat{Pzxid: zxid})
}

func holding(r reading, created, changed int64, value string) reading {
	r.value = &state{dir: r.dir, present: true, value: []byte(value), stat: gozk.Stat{Czxid: created, Mzxid: changed}}
	return r
}

// told writes events shortly: "/a=x", "-/a".
func told(events []coord.Event) (s []string) {
	for _, e := range events {
		if e.Entry == nil {
			s = append(s, "-"+e.Key)
			continue
		}
		s = append(s, e.Key+"="+string(e.Entry.Value))
	}
	return s
}

func TestPicture(t *testing.T) {
	l := newLayout("")
	root := l.keys()
	p := newPicture(l, root)
	require.Equal(t, []string{root + "/a", root + "/b"}, p.learn(kids(10, root, "a", "b", " kept")))
	require.Empty(t, p.learn(holding(kids(11, root+"/b", valueName), 11, 14, "b")))
	require.Empty(t, p.learn(holding(kids(12, root+"/a", valueName), 12, 13, "a")))
	require.Equal(t, []string{"/a=a"}, told(p.take(13, false)), "what is newer may have rivals that were not read yet")
	require.Equal(t, []string{"/b=b"}, told(p.take(0, true)))

	p.learn(holding(kids(12, root+"/a", valueName), 12, 13, "a"))
	require.Empty(t, p.take(0, true), "nothing new")
	p.learn(holding(kids(21, root+"/a", valueName), 20, 20, "again"))
	require.Equal(t, []string{"-/a", "/a=again"}, told(p.take(0, true)), "deleted and made again")
	p.learn(kids(31, root+"/b"))
	p.learn(kids(30, root+"/a"))
	require.Equal(t, []string{"-/a", "-/b"}, told(p.take(0, true)), "in the order in which they went")

	require.Equal(t, []string{root + "/a/c"}, p.learn(kids(40, root+"/a", "c")))
	p.learn(holding(kids(41, root+"/a/c", valueName), 41, 41, "c"))
	require.Equal(t, []string{"/a/c=c"}, told(p.take(41, false)))
	p.learn(kids(50, root, "b"))
	require.Equal(t, []string{"-/a/c"}, told(p.take(0, true)), "with all that is in it")
	require.Nil(t, p.dirs[root+"/a/c"])
	require.Empty(t, p.learn(holding(kids(51, root+"/a/c", valueName), 41, 41, "c")), "read before it went")
	p.learn(reading{dir: root, gone: true})
	require.NotNil(t, p.dirs[root], "the base stays")
	require.Equal(t, []string{root + "/z"}, p.learn(kids(60, root, "z")))
}

// TestReadingsOfDifferentMoments: a directory is removed and made again while it and the one above it are read side by side.
func TestReadingsOfDifferentMoments(t *testing.T) {
	root := newLayout("").keys()
	born := func(r reading, zxid int64) reading { r.born = zxid; return r }
	start := func() *picture {
		p := newPicture(newLayout(""), root)
		p.learn(kids(10, root, "a"))
		p.learn(born(holding(kids(12, root+"/a", valueName), 11, 11, "old"), 10))
		require.Equal(t, []string{"/a=old"}, told(p.take(0, true)))
		return &p
	}
	again := born(holding(kids(22, root+"/a", valueName), 22, 22, "new"), 21)
	for name, order := range map[string][2]reading{
		"gone, then there in the one above": {{dir: root + "/a", gone: true}, kids(21, root, "a")},
		"there in the one above, then gone": {kids(21, root, "a"), {dir: root + "/a", gone: true}},
	} {
		p := start()
		next := append(p.learn(order[0]), p.learn(order[1])...)
		require.NotEmpty(t, next, name)
		if p.dirs[root+"/a"] == nil {
			require.Contains(t, next, root, name)
			require.Equal(t, []string{root + "/a"}, p.learn(kids(21, root, "a")), name)
		} else {
			require.Contains(t, next, root+"/a", name)
		}
		p.learn(again)
		require.Equal(t, []string{"-/a", "/a=new"}, told(p.take(0, true)), name)
	}
	// The one above was read while it was away: it was made after that, and the one above goes off again.
	for _, order := range [][2]reading{{again, kids(20, root)}, {kids(20, root), again}} {
		p := start()
		p.learn(order[0])
		p.learn(order[1])
		for _, dir := range p.learn(kids(21, root, "a")) {
			require.Equal(t, root+"/a", dir)
			p.learn(again)
		}
		require.Equal(t, []string{"-/a", "/a=new"}, told(p.take(0, true)))
	}
}

// TestPictureKeepsUp: whatever a tree goes through between readings, who follows the events ends with what is there.
func TestPictureKeepsUp(t *testing.T) {
	l := newLayout("")
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable
		p := newPicture(l, l.keys())
		have, follower, zxid := map[string][2]int64{}, map[string]int64{}, int64(0)
		for range 60 {
			for range rng.IntN(4) {
				zxid++
				key := fmt.Sprintf("k%d", rng.IntN(4))
				switch at, there := have[key]; {
				case there && rng.IntN(3) == 0:
					delete(have, key)
				case there:
					have[key] = [2]int64{at[0], zxid}
				default:
					have[key] = [2]int64{zxid, zxid}
				}
			}
			// A directory goes with its key, or stays.
			names := slices.Collect(maps.Keys(have))
			for k := range p.dirs[l.keys()].subs {
				if _, there := have[k]; !there && rng.IntN(2) == 0 {
					names = append(names, k)
				}
			}
			p.learn(kids(zxid, l.keys(), names...))
			for _, name := range names {
				if r := kids(zxid, l.dir("/"+name), valueName); have[name][0] != 0 {
					p.learn(holding(r, have[name][0], have[name][1], ""))
				} else {
					p.learn(r)
				}
			}
			for _, e := range p.take(zxid-2, rng.IntN(2) == 0) {
				if e.Entry == nil {
					delete(follower, e.Key[1:])
					continue
				}
				require.Greater(t, int64(e.Entry.Revision), follower[e.Key[1:]], "never back")
				follower[e.Key[1:]] = int64(e.Entry.Revision)
			}
		}
		for _, e := range p.take(0, true) {
			if delete(follower, e.Key[1:]); e.Entry != nil {
				follower[e.Key[1:]] = int64(e.Entry.Revision)
			}
		}
		want := map[string]int64{}
		for key, at := range have {
			want[key] = at[1]
		}
		require.Equal(t, want, follower, "seed %d", seed)
	}
}

func TestArms(t *testing.T) {
	var a arms
	w := &watcher{base: "/r/keys/a", kick: make(chan struct{}, 1)}
	a.listen(w)
	on := arm{"/r/keys/a", children}
	finish, needed := a.begin(on)
	require.True(t, needed)
	finish(true)
	_, needed = a.begin(on)
	require.False(t, needed, "one is enough")
	a.fire(gozk.Event{Type: gozk.EventNodeDataChanged, Path: "/r/keys/a"})
	_, needed = a.begin(on)
	require.False(t, needed, "of another aspect")
	a.fire(gozk.Event{Type: gozk.EventNodeDeleted, Path: "/r/keys/a"})
	finish, needed = a.begin(on)
	require.True(t, needed)
	// It goes off before the answer that set it was looked at.
	a.fire(gozk.Event{Type: gozk.EventNodeChildrenChanged, Path: "/r/keys/a"})
	finish(true)
	finish, needed = a.begin(on)
	require.True(t, needed)
	finish(false)
	_, needed = a.begin(on)
	require.True(t, needed, "the request failed")

	require.Len(t, w.dirty, 1)
	for _, path := range []string{"/r/keys/ab", "/r/keys", "/r/keys/a/x/ value"} {
		a.fire(gozk.Event{Type: gozk.EventNodeDataChanged, Path: path})
	}
	require.Equal(t, []string{"/r/keys/a", "/r/keys/a/x"}, slices.Sorted(maps.Keys(w.dirty)))
	a.unlisten(w)
	a.fire(gozk.Event{Type: gozk.EventNodeDeleted, Path: "/r/keys/a/y"})
	require.Len(t, w.dirty, 2)
}
