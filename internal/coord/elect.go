package coord

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// electRetry is the pause before an engine that is away is asked again.
const electRetry = 200 * time.Millisecond

// Causes with which a leadership's context ends.
var (
	errSessionOver = fmt.Errorf("leadership lost: %w", ErrSessionLost)
	errKeyGone     = errors.New("coord: leadership lost: the key is another's")
	errResigned    = errors.New("coord: leadership resigned")
)

// Leadership is held by one session at a time.
//
// Context ends when it is lost, or may be: the session ran out or could not be renewed, the key went or became another's.
// A process that was paused may believe in it for a moment longer; so whatever must not be done by two is written with
// Guard, or carries Token to where older tokens are refused.
type Leadership struct {
	Context context.Context
	Token   int64 // rises with each leader of the same key

	store    Store
	key      string
	revision Revision
	cancel   context.CancelCauseFunc
	watching chan struct{} // closed when nothing watches any more
}

// Guard makes any Apply fail (ErrConflict) once this leadership is over.
func (l *Leadership) Guard() Op { return Check(l.key, l.revision) }

// Resign gives the leadership up, so that the next one need not wait for the session to end.
func (l *Leadership) Resign(ctx context.Context) error {
	l.cancel(errResigned)
	<-l.watching
	err := l.store.Apply(ctx, Delete(l.key, l.revision))
	if errors.Is(err, ErrConflict) {
		return nil // it was lost already
	}
	return err
}

// Elect waits until session holds key, which shows value to others. The leadership's context is a child of ctx.
//
// It returns ErrSessionLost when the session ends, ErrDenied and ErrInvalid when it can never succeed, and ctx's error. An
// engine that is away is waited for.
func Elect(ctx context.Context, store Store, session Session, key string, value []byte) (*Leadership, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	elected := false
	defer func() {
		if !elected {
			cancel(nil)
		}
	}()
	for {
		l, err := campaign(ctx, cancel, store, session, key, value)
		if err == nil {
			elected = true
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("elect on %s: %w", key, context.Cause(ctx))
		}
		if !errors.Is(err, ErrUnavailable) {
			return nil, fmt.Errorf("elect on %s: %w", key, err)
		}
		select {
		case <-ctx.Done():
		case <-session.Done():
			return nil, fmt.Errorf("elect on %s: %w", key, ErrSessionLost)
		case <-time.After(electRetry):
		}
	}
}

// campaign watches before it looks, so that no change falls between the two.
func campaign(ctx context.Context, cancel context.CancelCauseFunc, store Store, session Session, key string, value []byte) (*Leadership, error) {
	watchCtx, stop := context.WithCancel(ctx)
	events, err := store.Watch(watchCtx, key)
	if err != nil {
		stop()
		return nil, err
	}
	l, err := wait(ctx, store, session, key, value, events)
	if err != nil {
		stop()
		drain(events)
		return nil, err
	}
	l.Context, l.cancel, l.store, l.key = ctx, cancel, store, key
	l.watching = make(chan struct{})
	go func() {
		defer close(l.watching)
		defer drain(events)
		defer stop()
		cancel(l.guard(session, events))
	}()
	return l, nil
}

func drain(events <-chan Event) {
	for range events { //nolint:revive // the engine closes it once the context has ended
	}
}

// wait takes the key as soon as nobody has it.
func wait(ctx context.Context, store Store, session Session, key string, value []byte, events <-chan Event) (*Leadership, error) {
	for {
		err := store.Apply(ctx, CreateEphemeral(key, value, session))
		if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		// Read in any case: when the answer to the creation was lost, the key may be ours; and only the reading tells the
		// token. Whose session owns it is what counts, not who says so.
		held, err := store.Get(ctx, key)
		switch {
		case err == nil && held.Session == session.ID():
			return &Leadership{Token: held.Created, revision: held.Revision}, nil
		case errors.Is(err, ErrNotFound):
			if err := checkSession(session); err != nil {
				return nil, err
			}
			continue // went between the two
		case err != nil:
			return nil, err
		}
		if err := awaitGone(ctx, session, key, events); err != nil {
			return nil, err
		}
	}
}

func checkSession(session Session) error {
	select {
	case <-session.Done():
		return ErrSessionLost
	default:
		return nil
	}
}

// awaitGone returns when the key may be free.
func awaitGone(ctx context.Context, session Session, key string, events <-chan Event) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-session.Done():
			return ErrSessionLost
		case e, open := <-events:
			if !open {
				return fmt.Errorf("%w: the watch ended", ErrUnavailable)
			}
			if e.Resync || (e.Key == key && e.Entry == nil) {
				return nil
			}
		}
	}
}

// guard returns why the leadership is over. An event only says to look again: those from before the election are still in the
// channel, and a deletion does not tell what was deleted.
func (l *Leadership) guard(session Session, events <-chan Event) error {
	var again <-chan time.Time
	for {
		look := false
		select {
		case <-l.Context.Done():
			return context.Cause(l.Context)
		case <-session.Done():
			return errSessionOver
		case <-again:
			look = true
		case e, open := <-events:
			if !open {
				return fmt.Errorf("leadership lost: %w: the watch ended", ErrUnavailable)
			}
			look = e.Resync || e.Key == l.key && (e.Entry == nil || e.Entry.Created != l.Token)
		}
		if !look {
			continue
		}
		again = nil
		held, err := l.store.Get(l.Context, l.key)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && (held.Created != l.Token || held.Revision != l.revision):
			return errKeyGone
		case err != nil:
			again = time.After(electRetry) // the session's end bounds this
		}
	}
}
