package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// poll is how long one request of Watch stays open at the most; then the client asks again, so that a lost connection shows.
const poll = 30 * time.Second

// maxBody bounds what either side reads.
const maxBody = 1 << 20

// Client talks to the supervisor. It is safe for concurrent use.
type Client struct{ http *http.Client }

var _ Supervisor = (*Client)(nil)

// Dial makes a client of the supervisor that listens at socket (paths.SupervisorSocket); it connects only when it is used.
func Dial(socket string) *Client {
	d := &net.Dialer{}
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status is the status as it is.
func (c *Client) Status(ctx context.Context) (Status, error) { return c.Watch(ctx, 0) }

// Watch waits until Status.Serial > after. Unlike a Supervisor it answers the end of ctx with its error.
func (c *Client) Watch(ctx context.Context, after uint64) (Status, error) {
	for {
		var s Status
		q := url.Values{"after": {strconv.FormatUint(after, 10)}, "wait": {poll.String()}}
		if err := c.call(ctx, http.MethodGet, routeStatus+"?"+q.Encode(), nil, &s); err != nil {
			return Status{}, err
		}
		if s.Serial > after {
			return s, nil
		}
		// A serial below the one asked for is a supervisor that was started anew.
		if s.Serial < after {
			return s, nil
		}
	}
}

// StartMysqld implements Supervisor.
func (c *Client) StartMysqld(ctx context.Context) error { return c.post(ctx, routeStart) }

// StopMysqld implements Supervisor.
func (c *Client) StopMysqld(ctx context.Context) error { return c.post(ctx, routeStop) }

// RestartMysqld implements Supervisor.
func (c *Client) RestartMysqld(ctx context.Context) error { return c.post(ctx, routeRestart) }

// KillMysqld implements Supervisor.
func (c *Client) KillMysqld(ctx context.Context) error { return c.post(ctx, routeKill) }

// ReplaceAgent implements Supervisor.
func (c *Client) ReplaceAgent(ctx context.Context) error { return c.post(ctx, routeReplace) }

// AgentReady implements Supervisor; Ready is the usual way.
func (c *Client) AgentReady(ctx context.Context, pid int) error {
	return c.call(ctx, http.MethodPost, routeReady, readyRequest{Pid: pid}, nil)
}

// Ready says that this process, the agent, works.
func (c *Client) Ready(ctx context.Context) error { return c.AgentReady(ctx, os.Getpid()) }

func (c *Client) post(ctx context.Context, route string) error {
	return c.call(ctx, http.MethodPost, route, nil, nil)
}

func (c *Client) call(ctx context.Context, method, route string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("control: %s: %w", route, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+route, body)
	if err != nil {
		return fmt.Errorf("control: %s: %w", route, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("control: %s: %w", route, ctx.Err())
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("control: %s: %w", route, ctx.Err())
		}
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, route, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e errorReply
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("control: %s: HTTP %d: %w", route, resp.StatusCode, err)
		}
		return e.error()
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("control: %s: %w", route, err)
	}
	return nil
}
