package fleet

import "errors"

var (
	// ErrDown means that a host is lost, or was never started.
	ErrDown = errors.New("fleet: the host is down")
	// ErrTaken means that there is a fleet of this name, which somebody uses.
	ErrTaken = errors.New("fleet: the name is taken")
	// ErrNotFound means that there is no such fleet, or host.
	ErrNotFound = errors.New("fleet: not found")
	// ErrInvalid means that what was asked for cannot be.
	ErrInvalid = errors.New("fleet: invalid")
)
