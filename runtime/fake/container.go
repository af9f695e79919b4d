package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/huker/huker/runtime"
)

// Exit codes that kernels and engines give.
const (
	killed      = 137
	cannotStart = 128
)

type container struct {
	owner   string
	spec    runtime.Spec
	state   runtime.State
	stopped bool // by hand: Restart does not count
	ending  bool // by a signal: Restart does not count until the engine starts again
	removed bool
	run     *run // while it runs
	root    *tree
	memory  map[string]*tree // by target; empty at each start
}

func (c *container) exited() bool { return c.state.Phase == runtime.PhaseExited }

// own finds a container that must be the driver's. e.mu is held.
func (d *Driver) own(name string) (*container, error) {
	c := d.e.containers[name]
	switch {
	case c == nil:
		return nil, runtime.ErrNotFound
	case c.owner != d.owner:
		return nil, runtime.ErrForeign
	}
	return c, nil
}

func (d *Driver) running(name string) (*container, error) {
	c, err := d.own(name)
	if err == nil && c.run == nil {
		err = runtime.ErrNotRunning
	}
	return c, err
}

func (d *Driver) labels(extra map[string]string) map[string]string {
	all := make(map[string]string, len(extra)+2)
	maps.Copy(all, extra)
	all[runtime.OwnerLabel] = d.owner
	return all
}

func matches(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// Create implements runtime.Runtime.
func (d *Driver) Create(ctx context.Context, s runtime.Spec) error {
	if err := s.Validate(); err != nil {
		return err
	}
	hash := s.Hash()
	return d.e.call(ctx, OpCreate, s.Name, func() error {
		if _, ok := d.e.images[s.Image]; !ok {
			return fmt.Errorf("%w: %s", runtime.ErrNoImage, s.Image)
		}
		if c := d.e.containers[s.Name]; c != nil {
			if c.owner == d.owner && c.state.Labels[runtime.SpecLabel] == hash {
				return nil
			}
			return runtime.ErrExists
		}
		s = clone(s)
		labels := d.labels(s.Labels)
		labels[runtime.SpecLabel] = hash
		d.e.serial++
		d.e.containers[s.Name] = &container{
			owner: d.owner, spec: s, root: newTree(), memory: map[string]*tree{},
			state: runtime.State{
				Name: s.Name, Handle: fmt.Sprintf("%064x", d.e.serial), Image: s.Image, Labels: labels, Phase: runtime.PhaseCreated,
				Address: s.Address, Limits: s.Limits, Created: time.Now().UTC(),
			},
		}
		for _, m := range s.Mounts { // an engine makes what is missing
			if m.Kind == runtime.MountVolume && d.e.volumes[m.Source] == nil {
				d.e.volumes[m.Source] = d.newVolume(m.Source, nil)
			}
		}
		return nil
	})
}

// clone keeps the engine's copy apart from the caller's.
func clone(s runtime.Spec) runtime.Spec {
	s.Entrypoint, s.Args, s.Env = slices.Clone(s.Entrypoint), slices.Clone(s.Args), slices.Clone(s.Env)
	s.Mounts, s.Labels = slices.Clone(s.Mounts), maps.Clone(s.Labels)
	s.DropCaps, s.AddCaps = slices.Clone(s.DropCaps), slices.Clone(s.AddCaps)
	return s
}

// Start implements runtime.Runtime.
func (d *Driver) Start(ctx context.Context, name string) error {
	return d.e.call(ctx, OpStart, name, func() error { //nolint:contextcheck // a container outlives the call that starts it
		c, err := d.own(name)
		if err != nil {
			return err
		}
		if c.state.Phase == runtime.PhasePaused {
			d.e.unpause(c)
		}
		if c.run != nil {
			return nil
		}
		return d.e.start(c)
	})
}

// Stop implements runtime.Runtime.
func (d *Driver) Stop(ctx context.Context, name string, grace time.Duration) error {
	return d.e.callFree(ctx, OpStop, name, func() error {
		d.e.mu.Lock()
		defer d.e.mu.Unlock()
		c, err := d.own(name)
		if err != nil {
			return err
		}
		c.stopped = true
		r := c.run
		if r == nil {
			return nil
		}
		if c.state.Phase == runtime.PhasePaused {
			d.e.unpause(c)
		}
		r.signal("TERM")
		if !r.listens {
			d.e.ended(c, r, 0, false) //nolint:contextcheck // a container outlives the call that starts it
			return nil
		}
		d.e.mu.Unlock()
		err = r.await(ctx, grace)
		d.e.mu.Lock()
		if errors.Is(err, errGraceOver) {
			d.e.ended(c, r, killed, false) //nolint:contextcheck // a container outlives the call that starts it
			err = nil
		}
		return err
	})
}

// Remove implements runtime.Runtime.
func (d *Driver) Remove(ctx context.Context, name string) error {
	return d.e.call(ctx, OpRemove, name, func() error { //nolint:contextcheck // a container outlives the call that starts it
		c, err := d.own(name)
		if errors.Is(err, runtime.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		c.stopped, c.removed = true, true
		if c.run != nil {
			d.e.ended(c, c.run, killed, false)
		}
		delete(d.e.containers, name)
		delete(d.e.stats, name)
		d.e.emit(c, runtime.EventRemoved, 0)
		return nil
	})
}

// Inspect implements runtime.Runtime.
func (d *Driver) Inspect(ctx context.Context, name string) (s runtime.State, err error) {
	err = d.e.call(ctx, OpInspect, name, func() error {
		c, err := d.own(name)
		if err == nil {
			s = c.look()
		}
		return err
	})
	return s, err
}

func (c *container) look() runtime.State {
	s := c.state
	s.Labels = maps.Clone(s.Labels)
	return s
}

// List implements runtime.Runtime.
func (d *Driver) List(ctx context.Context, labels map[string]string) (all []runtime.State, err error) {
	err = d.e.call(ctx, OpList, "", func() error {
		all = make([]runtime.State, 0, len(d.e.containers))
		for _, c := range d.e.containers {
			if c.owner == d.owner && matches(c.state.Labels, labels) {
				all = append(all, c.look())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
