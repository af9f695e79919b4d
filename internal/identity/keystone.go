package identity

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/huker/huker/internal/model"
)

// KeystoneConfig is an external Keystone. Zero values are the defaults.
type KeystoneConfig struct {
	URL        string        // "https://keystone:5000/v3"; "/v3" is added when it is missing
	CAFile     string        // PEM; empty: the system's
	Timeout    time.Duration // of one question; 5 s
	CacheTTL   time.Duration // how long a token that was good is believed, revoked or not; 60 s, negative: not at all
	CacheSize  int           // 10,000 tokens
	AdminRoles []string      // names that make an administrator of Huker; "admin"
	Now        func() time.Time
}

const (
	maxForeignToken  = 16 << 10 // a PKI token with a large catalogue is below it
	maxKeystoneReply = 1 << 20
	maxKeystoneCalls = 32 // at a time: a flood of made-up tokens does not become one of Keystone
)

// Keystone takes the tokens of an external Keystone.
type Keystone struct {
	version string // URL that says which version it is
	url     string // of questions about tokens
	client  *http.Client
	conf    KeystoneConfig
	cache   *lru[Caller]
	flight  singleflight.Group
	calls   chan struct{}
}

var _ Authenticator = (*Keystone)(nil)

// NewKeystone makes the authenticator; it does not connect yet.
func NewKeystone(c KeystoneConfig) (*Keystone, error) {
	base, err := c.base()
	if err != nil {
		return nil, err
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.CacheTTL == 0 {
		c.CacheTTL = time.Minute
	}
	if c.CacheSize <= 0 {
		c.CacheSize = 10000
	}
	if len(c.AdminRoles) == 0 {
		c.AdminRoles = []string{model.RoleAdmin}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxKeystoneCalls
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("identity: Keystone's CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("identity: no certificate in %s", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Keystone{
		version: base.String(), url: base.String() + "/auth/tokens?nocatalog", conf: c, cache: newLRU[Caller](c.CacheSize), calls: make(chan struct{}, maxKeystoneCalls),
		client: &http.Client{
			Transport: transport, Timeout: c.Timeout,
			// A redirect would carry the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Authenticate implements Authenticator.
func (k *Keystone) Authenticate(ctx context.Context, r *http.Request) (Caller, error) {
	token := r.Header.Get(TokenHeader)
	if token == "" {
		return Caller{}, errNoCredentials
	}
	if len(token) > maxForeignToken {
		return Caller{}, fmt.Errorf("%w: the token is too long", ErrUnauthorized)
	}
	sum := sha256.Sum256([]byte(token))
	key := string(sum[:])
	if c, ok := k.cache.get(key, k.conf.Now()); ok {
		return c, nil
	}
	// The question is shared, so it must not end with the first asker's context.
	result := k.flight.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.conf.Timeout)
		defer cancel()
		return k.ask(ctx, token, key)
	})
	select {
	case res := <-result:
		if res.Err != nil {
			return Caller{}, res.Err
		}
		return res.Val.(Caller), nil
	case <-ctx.Done():
		return Caller{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// Ping reports whether Keystone answers.
func (k *Keystone) Ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.version, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxKeystoneReply)) // else the connection is not used again
	if resp.StatusCode != http.StatusOK {
		return answered(resp.StatusCode)
	}
	return nil
}

// unreachable is what is told when Keystone does not answer. The cause is for the log: it holds addresses.
func unreachable(err error) error {
	text := "The Keystone that Huker asks about tokens cannot be reached; try again later."
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		text = "The Keystone that Huker asks about tokens shows a certificate that Huker does not trust."
	}
	return fmt.Errorf("%w: ask Keystone: %w", &refusal{kind: ErrUnavailable, text: text}, err)
}

// answered is what is told when Keystone answers otherwise than it should.
func answered(code int) error {
	return refuse(ErrUnavailable, "The Keystone that Huker asks about tokens answers with HTTP %d; try again later.", code)
}

// tokenReply is what is read of Keystone's answer.
type tokenReply struct {
	Token struct {
		ExpiresAt time.Time `json:"expires_at"`
		User      named     `json:"user"`
		Project   *named    `json:"project"`
		Roles     []named   `json:"roles"`
	} `json:"token"`
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (k *Keystone) ask(ctx context.Context, token, key string) (Caller, error) {
	select {
	case k.calls <- struct{}{}:
		defer func() { <-k.calls }()
	case <-ctx.Done():
		return Caller{}, fmt.Errorf("%w: Keystone is busy", ErrUnavailable)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	req.Header.Set(TokenHeader, token)
	req.Header.Set("X-Subject-Token", token)
	resp, err := k.client.Do(req)
	if err != nil {
		return Caller{}, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest:
		return Caller{}, fmt.Errorf("%w: Keystone does not know the token", ErrUnauthorized)
	default:
		return Caller{}, answered(resp.StatusCode)
	}
	var reply tokenReply
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeystoneReply)).Decode(&reply); err != nil {
		return Caller{}, fmt.Errorf("%w: read Keystone's answer: %w", ErrUnavailable, err)
	}
	now := k.conf.Now()
	if reply.Token.User.ID == "" || reply.Token.ExpiresAt.IsZero() {
		return Caller{}, fmt.Errorf("%w: what Keystone answered is not a token", ErrUnavailable)
	}
	if !now.Before(reply.Token.ExpiresAt) {
		return Caller{}, fmt.Errorf("%w: the token has expired", ErrUnauthorized)
	}
	caller := k.caller(reply)
	if k.conf.CacheTTL > 0 {
		until := now.Add(k.conf.CacheTTL)
		if reply.Token.ExpiresAt.Before(until) {
			until = reply.Token.ExpiresAt
		}
		k.cache.put(key, caller, until)
	}
	return caller, nil
}

// caller takes Keystone's roles over; being an administrator of Huker depends on the configured names alone.
func (k *Keystone) caller(reply tokenReply) Caller {
	c := Caller{AccountID: reply.Token.User.ID, AccountName: reply.Token.User.Name}
	if reply.Token.Project == nil { // unscoped, or scoped to a domain or the system: no roles on any project
		return c
	}
	c.ProjectID, c.ProjectName = reply.Token.Project.ID, reply.Token.Project.Name
	var admin bool
	for _, r := range reply.Token.Roles {
		if slices.ContainsFunc(k.conf.AdminRoles, func(name string) bool { return strings.EqualFold(name, r.Name) }) {
			admin = true
		}
		if !strings.EqualFold(r.Name, model.RoleAdmin) {
			c.Roles = append(c.Roles, r.Name)
		}
	}
	if admin {
		c.Roles = append(c.Roles, model.RoleAdmin)
	}
	return c
}
