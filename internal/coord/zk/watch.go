package zk

import (
	"context"
	"errors"
	"sync"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// Pauses before a watch that broke is made again.
const (
	watchRetry = 100 * time.Millisecond
	// deniedRetry is longer: rights rarely come back.
	deniedRetry = 2 * time.Second
)

// watcher follows the keys at and below a prefix.
//
// go-zookeeper knows only watches that go off once and tell no more than that something changed. So the watcher keeps a picture of
// the tree: each directory and value in it is either watched or marked to be read again. What a reading shows to be different from
// the picture is told. The watches go with their link; after that the picture is made anew and Resync is sent.
type watcher struct {
	store *Store
	base  string // the prefix's directory
	out   chan coord.Event

	mu    sync.Mutex
	dirty map[string]struct{} // directories to be read again
	kick  chan struct{}       // holds one when dirty may not be empty

	picture picture // the running goroutine's alone
}

// Watch implements coord.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan coord.Event, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	w := &watcher{store: s, base: s.layout.dir(prefix), out: make(chan coord.Event, 16), kick: make(chan struct{}, 1)}
	var l *link
	for {
		var err error
		if l, err = s.linkSoon(ctx); err == nil {
			err = w.begin(ctx, l)
		}
		if err == nil {
			break
		}
		if !broken(err) || !l.gone(ctx) {
			return nil, mapError("watch "+prefix, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.arms.unlisten(w)
		return nil, mapError("watch "+prefix, errOver)
	}
	running, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel) //nolint:contextcheck // ends with the store as well as with ctx
	s.wg.Go(func() {
		defer close(w.out)
		defer cancel()
		defer stop()
		w.run(running, l)
	})
	return w.out, nil
}

func (w *watcher) run(ctx context.Context, l *link) {
	for {
		err := w.follow(ctx, l)
		l.arms.unlisten(w)
		if l = w.bridge(ctx, l, err); l == nil {
			return
		}
		w.send(ctx, coord.Event{Resync: true})
	}
}

// begin makes the picture; from then on nothing is missed while the link lasts.
func (w *watcher) begin(ctx context.Context, l *link) error {
	w.mu.Lock()
	w.dirty = map[string]struct{}{w.base: {}}
	w.mu.Unlock()
	w.picture = newPicture(w.store.layout, w.base)
	l.arms.listen(w)
	_, err := timed(ctx, w.store, l, func(conn *gozk.Conn) (any, error) {
		if err := w.store.sync(conn); err != nil {
			return nil, err
		}
		return nil, w.store.locate(conn, &state{dir: w.base})
	})
	if err == nil {
		err = w.round(ctx, l)
	}
	if err != nil {
		l.arms.unlisten(w)
	}
	w.picture.news = nil
	return err
}

// bridge begins again on the next link, or when the right to read is given back; nil means that ctx ended.
func (w *watcher) bridge(ctx context.Context, l *link, err error) *link {
	for ctx.Err() == nil {
		switch {
		case errors.Is(err, gozk.ErrNoAuth):
			pause(ctx, deniedRetry)
		case broken(err):
			l.gone(ctx)
		default:
			pause(ctx, watchRetry)
		}
		next, linkErr := w.store.link(ctx)
		if linkErr != nil {
			return nil
		}
		l = next
		if err = w.begin(ctx, l); err == nil {
			return l
		}
	}
	return nil
}

// follow tells what changes until the link breaks, or the right to read is taken.
func (w *watcher) follow(ctx context.Context, l *link) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.down:
			return errOver
		case <-w.kick:
		}
		// A watch goes off before the link shows anything newer. So what was changed up to the newest thing that was seen before this round,
		// is in this round at the latest, and may be told in order after it; and everything, if nothing has gone off meanwhile.
		horizon := w.picture.newest
		if err := w.round(ctx, l); err != nil {
			return err
		}
		for _, e := range w.picture.take(horizon, w.clean()) {
			w.send(ctx, e)
		}
	}
}

// round reads what is marked, and what is found below that for the first time.
func (w *watcher) round(ctx context.Context, l *link) error {
	w.mu.Lock()
	marked := w.dirty
	w.dirty = nil
	w.mu.Unlock()
	// Another watcher may have set watches on what is not in this picture yet: the directory above it has gone off as well.
	level := w.picture.among(marked)
	for len(level) > 0 {
		readings := make([]reading, len(level))
		err := parallel(ctx, len(level), func(ctx context.Context, i int) (err error) {
			readings[i], err = timed(ctx, w.store, l, func(conn *gozk.Conn) (reading, error) { return w.read(conn, l, level[i]) })
			return err
		})
		if err != nil {
			return err
		}
		next := map[string]struct{}{}
		for _, r := range readings {
			for _, dir := range w.picture.learn(r) {
				next[dir] = struct{}{}
			}
		}
		level = w.picture.among(next)
	}
	return nil
}

// read reads a directory and sets watches on it.
func (w *watcher) read(conn *gozk.Conn, l *link, dir string) (reading, error) {
	type kids struct {
		names []string
		stat  *gozk.Stat
	}
	for {
		k, err := watched(l, arm{dir, children},
			func() (kids, error) { n, st, _, err := conn.ChildrenW(dir); return kids{n, st}, err },
			func() (kids, error) { n, st, err := conn.Children(dir); return kids{n, st}, err })
		if err == nil {
			r := newReading(dir, k.names, k.stat)
			return r, w.readValue(conn, l, &r, k.names)
		}
		if !errors.Is(err, gozk.ErrNoNode) {
			return reading{}, err
		}
		if dir != w.base {
			return reading{dir: dir, gone: true}, nil // and the one above it has gone off
		}
		there, err := watched(l, arm{dir, existence},
			func() (bool, error) { there, _, _, err := conn.ExistsW(dir); return there, err },
			func() (bool, error) { there, _, err := conn.Exists(dir); return there, err })
		if err != nil || !there {
			return reading{dir: dir, gone: true}, err
		}
	}
}

func (w *watcher) readValue(conn *gozk.Conn, l *link, r *reading, names []string) error {
	if !hasValue(names) {
		return nil
	}
	path := valuePath(r.dir)
	st, err := watched(l, arm{path, content},
		func() (*state, error) {
			data, stat, _, err := conn.GetW(path)
			return stateOf(r.dir, data, stat, err)
		},
		func() (*state, error) {
			data, stat, err := conn.Get(path)
			return stateOf(r.dir, data, stat, err)
		})
	if errors.Is(err, gozk.ErrNoNode) {
		return nil // and the directory has gone off
	}
	r.value = st
	return err
}

func stateOf(dir string, data []byte, stat *gozk.Stat, err error) (*state, error) {
	if err != nil {
		return nil, err
	}
	return newState(dir, data, stat), nil
}

// mark is called when a watch went off, and must not block.
func (w *watcher) mark(path string) {
	if !within(path, w.base) {
		return
	}
	if reserved(path[len(parent(path))+1:]) {
		path = parent(path)
	}
	w.mu.Lock()
	if w.dirty == nil {
		w.dirty = map[string]struct{}{}
	}
	w.dirty[path] = struct{}{}
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// clean tells whether nothing is marked.
func (w *watcher) clean() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.dirty) == 0
}

func (w *watcher) send(ctx context.Context, e coord.Event) {
	select {
	case w.out <- e:
	case <-ctx.Done():
	}
}
