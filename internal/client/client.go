// Package client speaks to Huker's API for programs and for the CLI.
//
// It owns signing in (as OpenStack's clients do), the cache of tokens, retries, and the shapes of requests and answers. It must not know
// terminals, nor anything of the server's insides: it imports nothing of Huker's.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Bounds.
const (
	requestTimeout = 2 * time.Minute
	maxReply       = 16 << 20
	attempts       = 4 // of calls that may be repeated
	firstPause     = 200 * time.Millisecond
	maxPause       = 10 * time.Second // a server that asks for a longer one is not waited for
)

// Error is an answer that is not a success.
type Error struct {
	Status    int
	Message   string // the server's own words
	RequestID string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (HTTP %d)", e.Message, e.Status) }

// NotFound reports whether an error says that something does not exist.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Unreachable means that no answer came. Whether the request was carried out is not known.
type Unreachable struct {
	URL string
	Err error
}

func (e *Unreachable) Error() string {
	cause := e.Err
	var ue *url.Error // it repeats the URL, and nothing else that is of use
	if errors.As(cause, &ue) {
		cause = ue.Err
	}
	return fmt.Sprintf("no answer from %s: %v", e.URL, cause)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// Client is for one account and project. Safe for concurrent use.
type Client struct {
	conf Config
	http *http.Client
	auth *session
	log  *slog.Logger
}

// New makes a client; it does not connect yet.
func New(c Config) (*Client, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	h := c.HTTP
	if h == nil {
		transport, err := c.transport()
		if err != nil {
			return nil, err
		}
		h = &http.Client{
			Transport: transport, Timeout: requestTimeout,
			// A redirect would carry the token, or a password, elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{conf: c, http: h, auth: &session{conf: c, http: h}, log: c.Log}, nil
}

// transport trusts who CAFile says.
func (c *Config) transport() (http.RoundTripper, error) {
	if c.CAFile == "" {
		return http.DefaultTransport, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("client: the authorities to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client: no certificate in %s", c.CAFile)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

// Endpoint gives the URL of the database API with the project, signing in when it is needed.
func (c *Client) Endpoint(ctx context.Context) (string, error) {
	g, err := c.auth.grant(ctx)
	return g.Endpoint, err
}

// ProjectID gives the id of the project that is worked in.
func (c *Client) ProjectID(ctx context.Context) (string, error) {
	endpoint, err := c.Endpoint(ctx)
	return endpoint[strings.LastIndexByte(endpoint, '/')+1:], err
}

// call sends one request below the project. in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("client: encode the request: %w", err)
		}
	}
	return c.signed(ctx, func(g grant) error { return c.attempt(ctx, method, path, body, out, g) })
}

// signed does something with the right to call, and once more with a fresh one when a token of before is refused: it may have ended early,
// with a new password for example. What is refused so was not carried out, so any call may be repeated.
func (c *Client) signed(ctx context.Context, do func(g grant) error) error {
	g, err := c.auth.grant(ctx)
	if err != nil {
		return err
	}
	err = do(g)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusUnauthorized && g.cached {
		if g, err = c.auth.renew(ctx); err != nil {
			return err
		}
		err = do(g)
	}
	return err
}

// attempt sends a request, and once more when that may help and cannot harm: only calls that change nothing are repeated.
func (c *Client) attempt(ctx context.Context, method, path string, body []byte, out any, g grant) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := c.once(ctx, method, path, body, out, g)
		again, asked := repeatable(err)
		if err == nil || !again || method != http.MethodGet || n == attempts || asked > maxPause {
			return err
		}
		c.log.Debug("asking again", "path", path, "error", err)
		if err := rest(ctx, max(pause, asked)); err != nil {
			return err
		}
		pause *= 2
	}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busyError is an answer that says to come back.
type busyError struct {
	answer *Error
	after  time.Duration
}

func (e *busyError) Error() string { return e.answer.Error() }
func (e *busyError) Unwrap() error { return e.answer }

// repeatable reports whether another attempt may fare better, and how long the server wants to be left alone.
func repeatable(err error) (bool, time.Duration) {
	var busy *busyError
	if errors.As(err, &busy) {
		return true, busy.after
	}
	var lost *Unreachable
	return errors.As(err, &lost) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded), 0
}

func (c *Client) once(ctx context.Context, method, path string, body []byte, out any, g grant) error {
	req, err := http.NewRequestWithContext(ctx, method, g.Endpoint+"/"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	g.sign(req)
	return send(c.http, req, len(body) > 0, out)
}

// send does a request and reads its answer.
func send(h *http.Client, req *http.Request, hasBody bool, out any) error {
	req.Header.Set("Accept", "application/json")
	if hasBody {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := h.Do(req)
	if err != nil {
		return &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return &Unreachable{URL: req.URL.Scheme + "://" + req.URL.Host, Err: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answered(resp, text)
	}
	if token, ok := out.(*tokenReply); ok {
		token.ID = resp.Header.Get("X-Subject-Token")
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("client: what %s answered is not what was expected (is it Huker's API?): %w", req.URL.Host, err)
	}
	return nil
}

// answered makes an error of an answer: {"anyFault": {"code": 404, "message": "..."}}.
func answered(resp *http.Response, text []byte) error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Openstack-Request-Id")}
	var faults map[string]struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &faults) == nil {
		for _, f := range faults {
			e.Message = f.Message
		}
	}
	if e.Message == "" {
		e.Message = strings.TrimSpace(resp.Request.URL.Host + " answered " + resp.Status)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return &busyError{answer: e, after: time.Duration(seconds) * time.Second}
	}
	return e
}

// path joins segments, each of them whatever it holds.
func path(segments ...string) string {
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.PathEscape(s), ".", "%2e") // "." and ".." would be taken for directories
	}
	return strings.Join(segments, "/")
}
