package control

import "errors"

// Errors of a Supervisor; Client gives the same ones.
var (
	// ErrFailed means that mysqld does not start; the error's text has the reason.
	ErrFailed = errors.New("control: mysqld does not start")
	// ErrStopped means that a wish was overtaken by another: mysqld was told to stop.
	ErrStopped = errors.New("control: mysqld was told to stop")
	// ErrUnavailable means that the supervisor does not answer.
	ErrUnavailable = errors.New("control: the supervisor does not answer")
	// ErrUnknown means that a pid is not the agent's.
	ErrUnknown = errors.New("control: not the agent")
)
