package rabbitmq

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/huker/huker/internal/bus"
)

// GateConfig is how the control plane reaches RabbitMQ's management, as an administrator.
type GateConfig struct {
	Management         string      // "https://rabbit:15671"
	TLS                *tls.Config // with the authority that the server is known by
	Username, Password string
}

// Gatekeeper is bus.Gatekeeper by RabbitMQ's users and permissions.
type Gatekeeper struct {
	cfg    GateConfig
	bus    *Bus
	client *http.Client
}

var _ bus.Gatekeeper = (*Gatekeeper)(nil)

// NewGatekeeper gives the gatekeeper of b's virtual host; b makes the queues.
func NewGatekeeper(b *Bus, cfg GateConfig) *Gatekeeper {
	return &Gatekeeper{cfg: cfg, bus: b, client: &http.Client{
		Timeout: requestTimeout, Transport: &http.Transport{TLSClientConfig: cfg.TLS, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4},
	}}
}

// Admit implements bus.Gatekeeper. The user has no password: it comes with its certificate, or not at all.
func (g *Gatekeeper) Admit(ctx context.Context, principal string, queues []string) error {
	for _, q := range queues {
		if err := bus.CheckQueue(q); err != nil {
			return err
		}
	}
	// The queues first: their servers may not make them.
	for _, q := range queues {
		err := g.bus.onSession(ctx, "make queue "+q, func(ctx context.Context, s *session) error {
			s.forget(q)
			return s.ensure(ctx, q, true)
		})
		if err != nil {
			return err
		}
	}
	if err := g.put(ctx, path("users", principal), map[string]string{"password_hash": "", "tags": ""}); err != nil {
		return fmt.Errorf("admit %s: %w", principal, err)
	}
	rights := map[string]string{"configure": "^$", "write": exactly(replyExchange), "read": exactly(queues...)}
	if err := g.put(ctx, path("permissions", g.bus.cfg.VHost, principal), rights); err != nil {
		return fmt.Errorf("admit %s: %w", principal, err)
	}
	return nil
}

// exactly is a pattern that matches these names and no other.
func exactly(names ...string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// Expel implements bus.Gatekeeper. Without the user nobody can come again; then those who are there are thrown out.
func (g *Gatekeeper) Expel(ctx context.Context, principal string) error {
	err := g.do(ctx, http.MethodDelete, path("users", principal), nil)
	if err == nil || errors.Is(err, errNoSuch) {
		// The management fails when a connection that it is about to close ends by itself, as all do whose user is gone. Then it is asked about those that are left.
		for range maxClosings {
			err = g.do(ctx, http.MethodDelete, path("connections", "username", principal), nil)
			if !errors.Is(err, errFailed) {
				break
			}
		}
	}
	if err != nil && !errors.Is(err, errNoSuch) {
		return fmt.Errorf("expel %s: %w", principal, err)
	}
	return nil
}

func path(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/api/" + strings.Join(parts, "/")
}

// maxClosings is how often the management may fail at closing a user's connections, of which there are two or three.
const maxClosings = 10

var (
	errNoSuch = errors.New("no such thing")
	errFailed = errors.New("RabbitMQ's management failed")
)

func (g *Gatekeeper) put(ctx context.Context, path string, body any) error {
	return g.do(ctx, http.MethodPut, path, body)
}

func (g *Gatekeeper) do(ctx context.Context, method, path string, body any) error {
	var send io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(g.cfg.Management, "/")+path, send)
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrInvalid, err)
	}
	r.SetBasicAuth(g.cfg.Username, g.cfg.Password)
	r.Header.Set("Content-Type", "application/json")
	// To put or delete something twice is to do it once: where the management ended the connection just then, as it does with those that were idle, it is asked again
	// over another one. Without a value this is only for package http, and not sent.
	r.Header["Idempotency-Key"] = []string{}
	a, err := g.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", bus.ErrUnavailable, err)
	}
	defer func() { _ = a.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(a.Body, 4096))
	switch {
	case a.StatusCode < 300:
		return nil
	case a.StatusCode == http.StatusNotFound:
		return errNoSuch
	case a.StatusCode == http.StatusUnauthorized, a.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: RabbitMQ's management: %s", bus.ErrDenied, bytes.TrimSpace(text))
	case a.StatusCode == http.StatusInternalServerError:
		return fmt.Errorf("%w: %w: %s", bus.ErrUnavailable, errFailed, bytes.TrimSpace(text))
	default:
		return fmt.Errorf("%w: RabbitMQ's management: %s: %s", bus.ErrUnavailable, a.Status, bytes.TrimSpace(text))
	}
}
