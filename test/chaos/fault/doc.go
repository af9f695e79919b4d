// Package fault ill-treats machines, containers and processes, and puts right what it did.
//
// Nothing here knows what a cluster is: who is struck is said by whoever makes the fault.
package fault

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Fault is something that can be done to a cluster and undone.
type Fault interface {
	// Name says what is done, and to whom.
	Name() string
	// Do does it; it returns when it is done.
	Do(ctx context.Context) error
	// Heal undoes it, as far as it was done, and may be called more than once. What the cluster has to mend by itself is left to it.
	Heal(ctx context.Context) error
}

// Machine runs programs: this one, or a host of a fleet. Docker's command line works on it.
type Machine interface {
	// Exec gives what a program wrote to its standard output.
	Exec(ctx context.Context, args ...string) (string, error)
}

// Here is the machine that the test runs on.
type Here struct{}

// Exec implements Machine.
func (Here) Exec(ctx context.Context, args ...string) (string, error) {
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// Step is a fault made of two functions.
type Step struct {
	What   string
	Strike func(context.Context) error
	Undo   func(context.Context) error // nil: there is nothing to be undone
}

// Name implements Fault.
func (s Step) Name() string { return s.What }

// Do implements Fault.
func (s Step) Do(ctx context.Context) error { return s.Strike(ctx) }

// Heal implements Fault.
func (s Step) Heal(ctx context.Context) error {
	if s.Undo == nil {
		return nil
	}
	return s.Undo(ctx)
}
