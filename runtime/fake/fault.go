package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/huker/huker/runtime"
)

// Op is an operation of a driver.
type Op string

// All operations.
const (
	OpCreate        Op = "create"
	OpStart         Op = "start"
	OpStop          Op = "stop"
	OpRemove        Op = "remove"
	OpInspect       Op = "inspect"
	OpList          Op = "list"
	OpEvents        Op = "events"
	OpCreateVolume  Op = "create-volume"
	OpRemoveVolume  Op = "remove-volume"
	OpListVolumes   Op = "list-volumes"
	OpEnsureNetwork Op = "ensure-network"
	OpRemoveNetwork Op = "remove-network"
	OpListNetworks  Op = "list-networks"
	OpInspectImage  Op = "inspect-image"
	OpLoadImage     Op = "load-image"
	OpSaveImage     Op = "save-image"
	OpPullImage     Op = "pull-image"
	OpExec          Op = "exec"
	OpCopyTo        Op = "copy-to"
	OpCopyFrom      Op = "copy-from"
	OpUpdateLimits  Op = "update-limits"
	OpSignal        Op = "signal"
	OpPause         Op = "pause"
	OpUnpause       Op = "unpause"
	OpStats         Op = "stats"
)

// Fault is how an operation goes wrong. The zero Fault does nothing, to everything, for ever.
type Fault struct {
	Op    Op            // empty: any
	Name  string        // of the container, volume, network or image; empty: any
	Times int           // how many calls it strikes; 0: all until it is taken back
	Delay time.Duration // before anything else
	Err   error         // what the call returns
	After bool          // Err is returned although the thing was done: a lost answer
	Hang  bool          // nothing is done, and the call returns when its context ends
}

type injected struct {
	Fault
	left int
}

// Inject has f strike from now on. Faults strike in the order they were injected, one a call.
func (e *Engine) Inject(f Fault) (takeBack func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := &injected{Fault: f, left: f.Times}
	e.faults = append(e.faults, i)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.drop(i)
	}
}

// ClearFaults takes all faults back.
func (e *Engine) ClearFaults() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = nil
}

// Calls says how often an operation was called, failures included.
func (e *Engine) Calls(op Op) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[op]
}

func (e *Engine) drop(i *injected) {
	for n, f := range e.faults {
		if f == i {
			e.faults = append(e.faults[:n:n], e.faults[n+1:]...)
			return
		}
	}
}

// struck gives the fault that strikes this call. e.mu is not held.
func (e *Engine) struck(op Op, name string) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[op]++
	for _, i := range e.faults {
		if (i.Op != "" && i.Op != op) || (i.Name != "" && i.Name != name) {
			continue
		}
		if i.Times > 0 {
			if i.left--; i.left == 0 {
				e.drop(i)
			}
		}
		return i.Fault
	}
	return Fault{}
}

// call is every operation's way in: do runs with e.mu held unless a fault prevents it.
func (e *Engine) call(ctx context.Context, op Op, name string, do func() error) error {
	return e.callFree(ctx, op, name, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		return do()
	})
}

// callFree is call for what takes time: do locks by itself.
func (e *Engine) callFree(ctx context.Context, op Op, name string, do func() error) error {
	wrap := func(err error) error { return fmt.Errorf("fake: %s %s: %w", op, name, err) }
	f := e.struck(op, name)
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return wrap(ctx.Err())
		}
	}
	if f.Hang {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return wrap(ctx.Err())
	}
	e.mu.Lock()
	down := e.down
	e.mu.Unlock()
	switch {
	case down:
		return wrap(runtime.ErrUnavailable)
	case f.Err != nil && !f.After:
		return wrap(f.Err)
	}
	if err := do(); err != nil {
		return wrap(err)
	}
	if f.Err != nil {
		return wrap(f.Err)
	}
	return nil
}
