package zk

import (
	"cmp"
	"maps"
	"slices"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// reading is a directory as a watcher read it.
type reading struct {
	dir    string
	gone   bool
	born   int64  // zxid of its creation
	newest int64  // zxid of when something in it last came or went, or its rights changed
	value  *state // nil: it is no key
	subs   map[string]bool
}

func newReading(dir string, names []string, stat *gozk.Stat) reading {
	r := reading{dir: dir, born: stat.Czxid, newest: max(stat.Pzxid, stat.Mzxid, stat.Czxid), subs: map[string]bool{}}
	for _, name := range names {
		if !reserved(name) {
			r.subs[name] = true
		}
	}
	return r
}

func hasValue(names []string) bool { return slices.Contains(names, valueName) }

// picture is what a watcher knows of the tree, and what it has not told yet.
type picture struct {
	layout layout
	base   string
	dirs   map[string]*known
	news   []news
	newest int64 // the newest zxid that was seen
}

// known is a directory in the picture.
type known struct {
	born             int64 // 0: it was not read yet
	subs             map[string]bool
	created, changed int64 // of the value; 0: there is none
}

// news is an event with the zxid of its change; of a deletion that is known nearly.
type news struct {
	zxid  int64
	event coord.Event
}

func newPicture(l layout, base string) picture {
	return picture{layout: l, base: base, dirs: map[string]*known{base: {}}}
}

// among gives those directories that are in the picture, in order.
func (p *picture) among(dirs map[string]struct{}) (known []string) {
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if p.dirs[dir] != nil {
			known = append(known, dir)
		}
	}
	return known
}

// learn takes in a reading and gives the directories that must be read after it. Readings of one round are not of one moment, and what one
// says of a directory may be older than what another one says.
func (p *picture) learn(r reading) (next []string) {
	k := p.dirs[r.dir]
	if k == nil {
		return nil // went while it was read
	}
	if r.gone {
		if p.drop(r.dir); r.dir == p.base {
			return nil
		}
		// If it was made anew since, the directory above may have been read after that, and will not go off again.
		return []string{parent(r.dir)}
	}
	p.newest = max(p.newest, r.newest)
	k.born = r.born
	p.compare(r, k)
	for sub := range k.subs {
		dir := r.dir + "/" + sub
		if r.subs[sub] {
			continue
		}
		if p.dirs[dir].born > r.newest {
			r.subs[sub] = true // made after this reading: this directory has gone off again
			continue
		}
		p.drop(dir)
	}
	for sub := range r.subs {
		dir := r.dir + "/" + sub
		if !k.subs[sub] {
			p.dirs[dir] = &known{}
			next = append(next, dir)
		}
	}
	k.subs = r.subs
	slices.Sort(next)
	return next
}

// compare tells what became of a directory's own key.
func (p *picture) compare(r reading, k *known) {
	if r.value == nil {
		p.forget(r.dir, k, r.newest)
		return
	}
	stat := r.value.stat
	p.newest = max(p.newest, stat.Mzxid)
	if k.created != stat.Czxid {
		p.forget(r.dir, k, stat.Czxid) // deleted and made again since it was seen
	}
	if k.changed != stat.Mzxid {
		p.tell(r.dir, r.value, stat.Mzxid)
	}
	k.created, k.changed = stat.Czxid, stat.Mzxid
}

// forget tells that a key is gone, if it was there.
func (p *picture) forget(dir string, k *known, zxid int64) {
	if k.created != 0 {
		p.tell(dir, nil, zxid)
	}
	k.created, k.changed = 0, 0
}

func (p *picture) tell(dir string, st *state, zxid int64) {
	if dir == p.layout.keys() {
		return // not a key
	}
	e := coord.Event{Key: p.layout.key(dir)}
	if st != nil {
		entry := st.entry(e.Key)
		e.Entry = &entry
	}
	p.news = append(p.news, news{zxid, e})
}

// drop takes a directory that is gone out of the picture; the base stays, empty.
func (p *picture) drop(dir string) {
	k := p.dirs[dir]
	if k == nil {
		return
	}
	p.forget(dir, k, k.changed)
	for _, sub := range slices.Sorted(maps.Keys(k.subs)) {
		p.drop(dir + "/" + sub)
	}
	if dir == p.base {
		k.subs, k.born = nil, 0
		return
	}
	delete(p.dirs, dir)
	if above := p.dirs[parent(dir)]; above != nil {
		delete(above.subs, dir[len(parent(dir))+1:])
	}
}

// take gives the events up to horizon, or all, in order.
func (p *picture) take(horizon int64, all bool) []coord.Event {
	slices.SortStableFunc(p.news, func(a, b news) int { return cmp.Compare(a.zxid, b.zxid) })
	n := len(p.news)
	if !all {
		n = 0
		for n < len(p.news) && p.news[n].zxid <= horizon {
			n++
		}
	}
	events := make([]coord.Event, n)
	for i := range events {
		events[i] = p.news[i].event
	}
	p.news = slices.Clone(p.news[n:])
	return events
}
