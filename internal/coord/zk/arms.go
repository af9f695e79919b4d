package zk

import (
	"sync"

	gozk "github.com/go-zookeeper/zk"
)

// aspect is what a watch of ZooKeeper's looks at.
type aspect int

const (
	existence aspect = iota
	content
	children
)

type arm struct {
	path   string
	aspect aspect
}

// arms are the watches that are set on a link. Each goes off once. go-zookeeper keeps a channel for every request that set one, and
// can take none back; so none is set while one is there, by whomever, and what goes off is told to all who listen.
type arms struct {
	mu        sync.Mutex
	set       map[arm]bool
	setting   map[arm][]*bool // requests under way; true: it went off before its answer was looked at
	listeners map[*watcher]struct{}
}

func (a *arms) listen(w *watcher) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listeners == nil {
		a.listeners = map[*watcher]struct{}{}
	}
	a.listeners[w] = struct{}{}
}

func (a *arms) unlisten(w *watcher) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.listeners, w)
}

// begin tells whether a watch must be set; then finish is called after the request that sets it.
func (a *arms) begin(on arm) (finish func(ok bool), needed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set[on] {
		return nil, false
	}
	if a.setting == nil {
		a.set, a.setting = map[arm]bool{}, map[arm][]*bool{}
	}
	wentOff := new(bool)
	a.setting[on] = append(a.setting[on], wentOff)
	return func(ok bool) { a.finish(on, wentOff, ok) }, true
}

func (a *arms) finish(on arm, wentOff *bool, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var left []*bool
	for _, other := range a.setting[on] {
		if other != wentOff {
			left = append(left, other)
		}
	}
	if a.setting[on] = left; len(left) == 0 {
		delete(a.setting, on)
	}
	if ok && !*wentOff {
		a.set[on] = true
	}
}

// fire is called for each event, before any answer that is newer than it.
func (a *arms) fire(e gozk.Event) {
	var aspects []aspect
	switch e.Type {
	case gozk.EventNodeCreated:
		aspects = []aspect{existence}
	case gozk.EventNodeDataChanged:
		aspects = []aspect{existence, content}
	case gozk.EventNodeChildrenChanged:
		aspects = []aspect{children}
	case gozk.EventNodeDeleted:
		aspects = []aspect{existence, content, children}
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, as := range aspects {
		on := arm{e.Path, as}
		delete(a.set, on)
		for _, wentOff := range a.setting[on] {
			*wentOff = true
		}
	}
	for w := range a.listeners {
		w.mark(e.Path)
	}
}

// watched runs one of two requests: one that sets a watch, or a plain one when that is set already.
func watched[T any](l *link, on arm, setting, plain func() (T, error)) (T, error) {
	finish, needed := l.arms.begin(on)
	if !needed {
		return plain()
	}
	v, err := setting()
	finish(err == nil)
	return v, err
}
