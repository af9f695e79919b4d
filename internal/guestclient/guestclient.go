// Package guestclient calls guests: one typed method for each kind of call that a guest's agent answers.
//
// It owns the bodies' encoding and how long a call may take. It must not know which engine carries the calls, and it does not
// judge answers: what a guest refuses comes back as a *bus.CallError with one of protocol.Code*, what does not come back as
// bus.ErrTimeout or bus.ErrUnavailable, all wrapped.
package guestclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// DefaultTimeout is long for anything that a serving database does at once, and short enough for a person who waits.
const DefaultTimeout = 15 * time.Second

// Caller is what of the bus is needed.
type Caller interface {
	Call(ctx context.Context, queue string, m bus.Message) ([]byte, error)
}

// Client calls guests. It is safe for concurrent use.
type Client struct {
	bus     Caller
	timeout time.Duration
}

// New gives a client whose calls take at most timeout; 0 is DefaultTimeout. A caller's context may end a call earlier.
func New(b Caller, timeout time.Duration) (*Client, error) {
	if b == nil {
		return nil, errors.New("guestclient: a bus must be given")
	}
	if timeout < 0 {
		return nil, fmt.Errorf("guestclient: the timeout %s is negative", timeout)
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Client{bus: b, timeout: timeout}, nil
}

// call sends in (nil: no body) and decodes the reply into out (nil: none is expected).
func (c *Client) call(ctx context.Context, instance, kind string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode %s: %w", kind, err)
		}
	}
	if len(body) > bus.MaxBody {
		return fmt.Errorf("%s to guest %s: %w", kind, instance, bus.ErrTooLarge)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// The deadline travels with the message: a guest that comes back late must not do what nobody waits for any more.
	deadline, _ := ctx.Deadline()
	reply, err := c.bus.Call(ctx, protocol.GuestQueue(instance), bus.Message{Kind: kind, Body: body, Deadline: deadline})
	if err != nil {
		return fmt.Errorf("%s to guest %s: %w", kind, instance, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(reply, out); err != nil {
		return fmt.Errorf("decode the reply of guest %s to %s: %w", instance, kind, err)
	}
	return nil
}

// Status asks the agent itself how it and its database are.
func (c *Client) Status(ctx context.Context, instance string) (protocol.GuestStatus, error) {
	var s protocol.GuestStatus
	err := c.call(ctx, instance, protocol.KindGuestStatus, nil, &s)
	return s, err
}

// Prepare makes the first databases and users.
func (c *Client) Prepare(ctx context.Context, instance string, b model.Bootstrap) error {
	return c.call(ctx, instance, protocol.KindPrepare, b, nil)
}

// Configure gives mysqld a new size.
func (c *Client) Configure(ctx context.Context, instance string, r protocol.ConfigureRequest) (protocol.GuestStatus, error) {
	var s protocol.GuestStatus
	err := c.call(ctx, instance, protocol.KindConfigure, r, &s)
	return s, err
}

// Restart restarts mysqld, and returns when it serves again.
func (c *Client) Restart(ctx context.Context, instance string, serial int64) error {
	return c.call(ctx, instance, protocol.KindRestart, protocol.RestartRequest{Serial: serial}, nil)
}
