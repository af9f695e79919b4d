package identity

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Errors of this package, wrapped.
var (
	// ErrUnauthorized means that the request does not prove who sent it. It never says which part was wrong.
	ErrUnauthorized = errors.New("identity: unauthorized")
	// ErrForbidden means that the caller is known and may not do this.
	ErrForbidden = errors.New("identity: forbidden")
	// ErrUnavailable means that it cannot be found out now who the caller is.
	ErrUnavailable = errors.New("identity: unavailable")
	ErrNotFound    = errors.New("identity: not found")
	ErrExists      = errors.New("identity: already exists")
	ErrInvalid     = errors.New("identity: invalid")
	// ErrInUse means that something still belongs to it.
	ErrInUse = errors.New("identity: in use")
	// ErrLastAdmin means that after the change nobody could manage accounts any more.
	ErrLastAdmin error = &refusal{kind: errLastAdmin, text: "this would leave no enabled user with the role admin; make another one first"}
	errLastAdmin       = errors.New("identity: the last administrator must stay")
	// errNoCredentials is how an authenticator says that the request does not use its way; the chain asks the next.
	errNoCredentials = fmt.Errorf("%w: no credentials", ErrUnauthorized)
)

// LimitedError means that there were too many attempts; RetryAfter says when the next one may be made.
type LimitedError struct{ RetryAfter time.Duration }

func (e *LimitedError) Error() string {
	return fmt.Sprintf("identity: too many sign-in attempts, try again in %d s", e.Seconds())
}

// Seconds is the value for a Retry-After header, at least 1.
func (e *LimitedError) Seconds() int { return max(1, int(math.Ceil(e.RetryAfter.Seconds()))) }

// refusal is an error whose text is meant for the user.
type refusal struct {
	kind error
	text string
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

// Reason gives the words for the user that an error carries, if any.
func Reason(err error) (string, bool) {
	var r *refusal
	if errors.As(err, &r) {
		return r.text, true
	}
	return "", false
}
