// Package fault gives names to the places where a process may die, so that tests can kill it at every one.
//
// It owns the registry of points and how one is struck. It must not know what happens at them.
package fault

import (
	"context"
	"strings"
	"syscall"
)

// Point is a named place. Its name is "component.action.step": "keeper.create.placed".
type Point string

// Striker is asked at each point that is passed. The real one kills the process with SIGKILL at the chosen point.
type Striker interface{ Strike(p Point) }

type key struct{}

// With gives ctx a striker.
func With(ctx context.Context, s Striker) context.Context { return context.WithValue(ctx, key{}, s) }

// Pass marks that the code has come to p. Without a striker in ctx it does nothing.
func Pass(ctx context.Context, p Point) {
	if s, ok := ctx.Value(key{}).(Striker); ok {
		s.Strike(p)
	}
}

// Kill gives a striker that ends the process at p as if it had been shot: no deferred call runs.
func Kill(p Point) Striker { return killer(p) }

type killer Point

func (k killer) Strike(p Point) {
	if p == Point(k) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // until the signal arrives
	}
}

// Stop gives a striker that suspends the process at p, as a long pause of its machine would: it goes on when it is sent SIGCONT.
func Stop(p Point) Striker { return stopper(p) }

type stopper Point

func (s stopper) Strike(p Point) {
	if p == Point(s) {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
	}
}

// Parse reads what tests hand to a program: the name of a point to die at, or "stop:" and the name of one to be suspended at.
func Parse(text string) Striker {
	if p, ok := strings.CutPrefix(text, "stop:"); ok {
		return Stop(Point(p))
	}
	return Kill(Point(text))
}
