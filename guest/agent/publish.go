package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// publishLoop keeps the status in coordination, in a session of the agent's, for ever.
//
// The session is not closed at the end: an agent that is replaced would make the guest look dead for a moment. The next one
// writes the same key in its own session; if there is none, the key goes by itself.
func (a *Agent) publishLoop(ctx context.Context) {
	var again retry
	for ctx.Err() == nil {
		if err := a.publishSession(ctx, &again); err != nil && ctx.Err() == nil {
			a.log.Debug("the status cannot be published", "op", "status.publish", "err", err)
		}
		again.wait(ctx)
	}
}

// publishSession opens a session and publishes every change in it, until it is lost.
func (a *Agent) publishSession(ctx context.Context, again *retry) error {
	session, err := a.cfg.Store.NewSession(ctx, sessionTTL)
	if err != nil {
		return err
	}
	key := protocol.GuestStatusKey(a.cfg.Guest.Instance)
	for {
		now, changed, err := a.status.tell(ctx)
		if err != nil {
			return err
		}
		value, err := json.Marshal(now)
		if err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
		err = a.cfg.Store.Apply(ctx, coord.Put(key, value, session))
		switch {
		case errors.Is(err, coord.ErrUnavailable):
			// The session may well outlive the outage: try in the same one, until it is lost.
			a.log.Debug("the status cannot be published now", "op", "status.publish", "err", err)
			if !a.waitIn(ctx, session, again) {
				return errors.New("the session is lost")
			}
			continue
		case err != nil:
			// Not of use any more, and nothing may hang on it.
			_ = session.Close(ctx)
			return err
		}
		again.reset()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-session.Done():
			return errors.New("the session is lost")
		case <-changed:
		}
	}
}

// waitIn waits before another attempt, and reports whether the session is still held.
func (a *Agent) waitIn(ctx context.Context, session coord.Session, again *retry) bool {
	if !again.wait(ctx) {
		return false
	}
	select {
	case <-session.Done():
		return false
	default:
		return true
	}
}
