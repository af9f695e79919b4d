// Package fake is a container engine in memory, for tests of what stands on runtime: it does as a real one does, at once, for ten
// thousand containers, and it fails in the ways that a test asks for.
//
// An Engine is the machine: it outlives drivers, as a real engine does, and tests act on it from behind (Exit, OOM, Restart, SetDown,
// Inject). A Driver is what the tested code is given. It must not know what runs in a container: that is the test's Program.
package fake

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/huker/huker/runtime"
)

// Engine is a machine with containers, volumes, networks and images, of one or several owners.
type Engine struct {
	mu         sync.Mutex
	serial     int
	down       bool
	containers map[string]*container
	volumes    map[string]*volume
	networks   map[string]*network
	images     map[string]runtime.Image
	remote     map[string]runtime.Image
	binds      map[string]*tree // host directories
	stats      map[string]runtime.Stats
	listeners  map[*listener]struct{}
	faults     []*injected
	calls      map[Op]int
	program    Program
	onStart    []StartHook

	// RestartPause is how long a container that ended by itself waits for its restart. Set it before the engine is used; default 5 ms.
	RestartPause time.Duration
}

// New gives an engine with nothing in it but the image "fake".
func New() *Engine {
	e := &Engine{
		containers: map[string]*container{}, volumes: map[string]*volume{}, networks: map[string]*network{},
		images: map[string]runtime.Image{}, remote: map[string]runtime.Image{}, binds: map[string]*tree{},
		stats: map[string]runtime.Stats{}, listeners: map[*listener]struct{}{}, calls: map[Op]int{},
		RestartPause: 5 * time.Millisecond,
	}
	e.AddImage(runtime.Image{Ref: "fake"})
	return e
}

// Open gives a driver. Any number may be open at once, also of the same owner.
func (e *Engine) Open(owner string) *Driver { return &Driver{e: e, owner: owner} }

// Driver implements all of runtime's interfaces on an Engine.
type Driver struct {
	e     *Engine
	owner string
}

var (
	_ runtime.Runtime     = (*Driver)(nil)
	_ runtime.Volumes     = (*Driver)(nil)
	_ runtime.Networks    = (*Driver)(nil)
	_ runtime.Images      = (*Driver)(nil)
	_ runtime.Execer      = (*Driver)(nil)
	_ runtime.Copier      = (*Driver)(nil)
	_ runtime.Limiter     = (*Driver)(nil)
	_ runtime.Signaler    = (*Driver)(nil)
	_ runtime.StatsReader = (*Driver)(nil)
)

// AddImage has the engine hold an image. An empty ID is filled in.
func (e *Engine) AddImage(i runtime.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addImage(i)
}

func (e *Engine) addImage(i runtime.Image) {
	if i.ID == "" {
		i.ID = "sha256:fake-" + i.Ref
	}
	e.images[i.Ref] = i
}

// RemoveImage takes one away, as an operator would.
func (e *Engine) RemoveImage(ref string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.images, ref)
}

// Publish has PullImage find an image.
func (e *Engine) Publish(i runtime.Image) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remote[i.Ref] = i
}

// SetProgram says what every container and every Exec runs from now on. Without one a container runs until it is stopped, and every
// Exec succeeds without output.
func (e *Engine) SetProgram(p Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.program = p
}

// OnStart has f called, in a goroutine of its own, each time a container starts: the place for a pretend guest.
func (e *Engine) OnStart(f StartHook) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onStart = append(e.onStart, f)
}

// SetStats says what Stats answers for a container.
func (e *Engine) SetStats(name string, s runtime.Stats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats[name] = s
}

// Exit ends a running container's program from within: with Restart it comes back.
func (e *Engine) Exit(name string, code int) error { return e.die(name, code, false) }

// OOM ends it as the kernel does when memory is out.
func (e *Engine) OOM(name string) error { return e.die(name, killed, true) }

func (e *Engine) die(name string, code int, oom bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[name]
	switch {
	case c == nil:
		return fmt.Errorf("fake: container %s: %w", name, runtime.ErrNotFound)
	case c.run == nil:
		return fmt.Errorf("fake: container %s: %w", name, runtime.ErrNotRunning)
	}
	if oom {
		e.emit(c, runtime.EventOOM, 0)
	}
	e.ended(c, c.run, code, oom)
	return nil
}

// Restart is what a restart of the engine, or of the machine, does: every container ends, those with Restart that were not stopped
// come back, and listeners hear of nothing but a resync.
func (e *Engine) Restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deafen()
	for _, name := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[name]
		ran := c.run != nil
		if ran {
			restart := c.spec.Restart
			c.spec.Restart = false // it is done here, at once
			e.ended(c, c.run, killed, false)
			c.spec.Restart = restart
		}
		if c.spec.Restart && !c.stopped && (ran || c.exited()) {
			_ = e.start(c) // what cannot start now is seen by its state
		}
	}
	e.undeafen()
}

// SetDown has the engine not answer (ErrUnavailable) while its containers go on, until it is set up again.
func (e *Engine) SetDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down == down {
		return
	}
	e.down = down
	if down {
		e.deafen()
	} else {
		e.undeafen()
	}
}

// LoseEvents has all listeners miss what happens during f, as when the connection to the engine breaks.
func (e *Engine) LoseEvents(f func()) {
	e.mu.Lock()
	e.deafen()
	e.mu.Unlock()
	f()
	e.mu.Lock()
	e.undeafen()
	e.mu.Unlock()
}
