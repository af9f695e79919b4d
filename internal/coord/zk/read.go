package zk

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// inFlight bounds how many requests one call has on their way at once.
const inFlight = 32

// state is a key as it was read.
type state struct {
	dir     string
	present bool
	nonce   string // of its creation; empty when others than this package wrote it
	value   []byte
	stat    gozk.Stat

	// Of a key that is absent: the nearest directory that exists, that one's version, and those that lack, the topmost first. Its
	// version rises when the rights on it change.
	near    string
	version int32
	missing []string
}

func (st *state) entry(key string) coord.Entry {
	e := coord.Entry{Key: key, Value: st.value, Revision: coord.Revision(st.stat.Mzxid), Created: st.stat.Czxid}
	if st.stat.EphemeralOwner != 0 {
		e.Session = sessionID(st.stat.EphemeralOwner)
	}
	return e
}

func newState(dir string, data []byte, stat *gozk.Stat) *state {
	st := &state{dir: dir, present: true, stat: *stat}
	st.nonce, st.value = decodeValue(data)
	return st
}

// look reads a key. Absence is only told to who may read the nearest directory that there is: ZooKeeper says of a node that is not
// there that it is not there, to everybody.
func (s *Store) look(conn *gozk.Conn, key string) (*state, error) {
	dir := s.layout.dir(key)
	data, stat, err := conn.Get(valuePath(dir))
	if err == nil {
		return newState(dir, data, stat), nil
	}
	if !errors.Is(err, gozk.ErrNoNode) {
		return nil, err
	}
	st := &state{dir: dir}
	return st, s.locate(conn, st)
}

// locate finds the nearest directory.
func (s *Store) locate(conn *gozk.Conn, st *state) error {
	st.missing = nil
	for near := st.dir; within(near, s.layout.keys()); near = parent(near) {
		_, stat, err := conn.Get(near)
		if err == nil {
			st.near, st.version = near, stat.Version
			return nil
		}
		if !errors.Is(err, gozk.ErrNoNode) {
			return err
		}
		st.missing = slices.Insert(st.missing, 0, near)
	}
	if !s.who.mighty() {
		return gozk.ErrNoAuth // nobody was ever admitted
	}
	return nil // near is empty: nothing is there yet
}

// sync has the server that conn leads to catch up with all that was answered before.
func (s *Store) sync(conn *gozk.Conn) error {
	_, err := conn.Sync(s.layout.root)
	return err
}

// Get implements coord.Store.
func (s *Store) Get(ctx context.Context, key string) (coord.Entry, error) {
	if err := coord.CheckKey(key); err != nil {
		return coord.Entry{}, err
	}
	return read(ctx, s, "get "+key, func(ctx context.Context, l *link) (coord.Entry, error) {
		return call(ctx, l.conn, func(conn *gozk.Conn) (coord.Entry, error) {
			if err := s.sync(conn); err != nil {
				return coord.Entry{}, err
			}
			st, err := s.look(conn, key)
			if err != nil {
				return coord.Entry{}, err
			}
			if !st.present {
				return coord.Entry{}, coord.ErrNotFound
			}
			return st.entry(key), nil
		})
	})
}

// List implements coord.Store. The entries need not be of one moment; none is older than the call.
func (s *Store) List(ctx context.Context, prefix string) ([]coord.Entry, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	// A long list takes its time: only each request in it is bounded.
	for {
		l, err := s.linkSoon(ctx)
		if err != nil {
			return nil, mapError("list "+prefix, err)
		}
		entries, err := s.list(ctx, l, prefix)
		if !broken(err) || !l.gone(ctx) {
			return entries, mapError("list "+prefix, err)
		}
	}
}

func (s *Store) list(ctx context.Context, l *link, prefix string) ([]coord.Entry, error) {
	base := s.layout.dir(prefix)
	if _, err := timed(ctx, s, l, func(conn *gozk.Conn) (any, error) {
		if err := s.sync(conn); err != nil {
			return nil, err
		}
		return nil, s.locate(conn, &state{dir: base})
	}); err != nil {
		return nil, err
	}
	var entries []coord.Entry
	for level := []string{base}; len(level) > 0; {
		found := make([]listing, len(level))
		err := parallel(ctx, len(level), func(ctx context.Context, i int) (err error) {
			found[i], err = timed(ctx, s, l, func(conn *gozk.Conn) (listing, error) { return listDir(conn, level[i]) })
			return err
		})
		if err != nil {
			return nil, err
		}
		level = level[:0:0]
		for _, f := range found {
			if f.value != nil && f.dir != base {
				entries = append(entries, f.value.entry(s.layout.key(f.dir)))
			}
			for _, sub := range f.subs {
				level = append(level, f.dir+"/"+sub)
			}
		}
	}
	slices.SortFunc(entries, func(a, b coord.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, nil
}

// listing is what a directory holds.
type listing struct {
	dir   string
	value *state // nil: it is no key
	subs  []string
}

// listDir reads a directory; one that went meanwhile is empty.
func listDir(conn *gozk.Conn, dir string) (listing, error) {
	f := listing{dir: dir}
	children, _, err := conn.Children(dir)
	if errors.Is(err, gozk.ErrNoNode) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	for _, c := range children {
		if !reserved(c) {
			f.subs = append(f.subs, c)
		}
	}
	if !slices.Contains(children, valueName) {
		return f, nil
	}
	data, stat, err := conn.Get(valuePath(dir))
	if errors.Is(err, gozk.ErrNoNode) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	f.value = newState(dir, data, stat)
	return f, nil
}

// timed is call with the store's timeout.
func timed[T any](ctx context.Context, s *Store, l *link, request func(*gozk.Conn) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return call(ctx, l.conn, request)
}

// parallel does n things, some at a time, until one fails; it returns when all that were begun are done.
func parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, inFlight)
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
