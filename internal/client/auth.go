package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Ways to sign in, by OpenStack's names.
const (
	AuthPassword = "password"
	AuthToken    = "token"
	AuthNone     = "none"
	AuthAdmin    = "admin_token"
	AuthBasic    = "http_basic"
)

// Config says where the API is, and who asks. The fields are those of OpenStack's OS_* variables.
type Config struct {
	AuthType  string // AuthPassword when empty
	AuthURL   string // of the identity service; for AuthPassword and AuthToken
	Endpoint  string // of the database API with the project: "http://host/v1.0/<project>"; for the other ways
	Username  string
	Password  string
	Token     string
	ProjectID string
	Project   string // name
	Region    string // empty: the first in the catalogue
	Interface string // "public" when empty

	Domain          string // name of the user's; "Default" when empty, unless DomainID is given
	DomainID        string
	ProjectDomain   string // name of the project's; the user's when empty, unless ProjectDomainID is given
	ProjectDomainID string

	CacheDir string       // for tokens; empty: they are not kept
	CAFile   string       // PEM with the authorities to trust; empty: the system's
	HTTP     *http.Client // in place of one of the client's own, which knows CAFile
	Log      *slog.Logger
	Now      func() time.Time
}

func (c *Config) fill() error {
	def := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	def(&c.AuthType, AuthPassword)
	c.AuthType = strings.TrimPrefix(c.AuthType, "v3")
	c.FillDomains()
	def(&c.Interface, "public")
	c.Interface = strings.TrimSuffix(c.Interface, "URL")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var where *string
	switch c.AuthType {
	case AuthPassword, AuthToken:
		where = &c.AuthURL
	case AuthNone, AuthAdmin, AuthBasic:
		where = &c.Endpoint
	default:
		return fmt.Errorf("client: the way to sign in %q is not known", c.AuthType)
	}
	u, err := url.Parse(*where)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("client: %q is not an http or https URL", *where)
	}
	*where = strings.TrimRight(*where, "/")
	if where == &c.AuthURL && !strings.HasSuffix(c.AuthURL, "/v3") {
		c.AuthURL += "/v3"
	}
	if c.AuthType == AuthPassword && (c.Username == "" || c.Password == "") {
		return errors.New("client: no user name or password")
	}
	if (c.AuthType == AuthToken || c.AuthType == AuthAdmin) && c.Token == "" {
		return errors.New("client: no token")
	}
	return nil
}

// FillDomains puts the defaults of the four domain fields in.
func (c *Config) FillDomains() {
	if c.Domain == "" && c.DomainID == "" {
		c.Domain = "Default"
	}
	if c.ProjectDomain == "" && c.ProjectDomainID == "" {
		c.ProjectDomain, c.ProjectDomainID = c.Domain, c.DomainID
	}
}

// grant is the right to call the API.
type grant struct {
	Endpoint string    `json:"endpoint"`
	Token    string    `json:"token"`
	Expires  time.Time `json:"expires"`

	user, password string // of http_basic
	cached         bool   // not fresh: it may have ended since
}

func (g grant) sign(r *http.Request) {
	if g.Token != "" {
		r.Header.Set("X-Auth-Token", g.Token)
	}
	if g.user != "" {
		r.SetBasicAuth(g.user, g.password)
	}
}

// session signs in once, and again when a token has ended.
type session struct {
	conf Config
	http *http.Client

	mu      sync.Mutex
	current *grant
}

// margin is how long before its end a token is not used any more: the call must reach the server in time.
const margin = time.Minute

func (s *session) grant(ctx context.Context) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && (s.current.Expires.IsZero() || s.conf.Now().Add(margin).Before(s.current.Expires)) {
		s.current.cached = true
		return *s.current, nil
	}
	switch s.conf.AuthType {
	case AuthNone, AuthAdmin, AuthBasic:
		g := grant{Endpoint: s.conf.Endpoint}
		if s.conf.AuthType == AuthAdmin {
			g.Token = s.conf.Token
		}
		if s.conf.AuthType == AuthBasic {
			g.user, g.password = s.conf.Username, s.conf.Password
		}
		s.current = &g
		return g, nil
	}
	if g, ok := s.load(); ok {
		g.cached = true
		s.current = &g
		return g, nil
	}
	return s.signIn(ctx)
}

// renew signs in although there is a token.
func (s *session) renew(ctx context.Context) (grant, error) {
	if s.conf.AuthType != AuthPassword && s.conf.AuthType != AuthToken {
		return grant{}, &Error{Status: http.StatusUnauthorized, Message: "The credentials are not accepted."}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signIn(ctx)
}

type object = map[string]any

// tokenReply is what is read of a new token.
type tokenReply struct {
	ID    string `json:"-"` // in a header
	Token struct {
		ExpiresAt time.Time `json:"expires_at"`
		Catalog   []struct {
			Type      string `json:"type"`
			Endpoints []struct {
				Interface string `json:"interface"`
				RegionID  string `json:"region_id"`
				URL       string `json:"url"`
			} `json:"endpoints"`
		} `json:"catalog"`
	} `json:"token"`
}

func (s *session) signIn(ctx context.Context) (grant, error) {
	var how object
	if s.conf.AuthType == AuthToken {
		how = object{"methods": []string{"token"}, "token": object{"id": s.conf.Token}}
	} else {
		how = object{"methods": []string{"password"}, "password": object{"user": object{
			"name": s.conf.Username, "password": s.conf.Password, "domain": domain(s.conf.Domain, s.conf.DomainID)}}}
	}
	auth := object{"identity": how}
	switch {
	case s.conf.ProjectID != "":
		auth["scope"] = object{"project": object{"id": s.conf.ProjectID}}
	case s.conf.Project != "":
		auth["scope"] = object{"project": object{"name": s.conf.Project, "domain": domain(s.conf.ProjectDomain, s.conf.ProjectDomainID)}}
	}
	body, err := json.Marshal(object{"auth": auth})
	if err != nil {
		return grant{}, fmt.Errorf("client: encode the sign-in: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.conf.AuthURL+"/auth/tokens", bytes.NewReader(body))
	if err != nil {
		return grant{}, fmt.Errorf("client: %w", err)
	}
	var reply tokenReply
	if err := send(s.http, req, true, &reply); err != nil {
		return grant{}, fmt.Errorf("sign in as %s: %w", s.who(), err)
	}
	if reply.ID == "" {
		return grant{}, fmt.Errorf("client: %s gave no token (is it an identity service?)", s.conf.AuthURL)
	}
	g := grant{Token: reply.ID, Expires: reply.Token.ExpiresAt}
	if g.Endpoint, err = s.find(reply); err != nil {
		return grant{}, err
	}
	s.current = &g
	s.save(g)
	return g, nil
}

// domain names a domain: by id when it is known, as names may change.
func domain(name, id string) object {
	if id != "" {
		return object{"id": id}
	}
	return object{"name": name}
}

func (s *session) who() string {
	if s.conf.AuthType == AuthToken {
		return "the token's owner"
	}
	return s.conf.Username
}

// find gives the database API's address from the catalogue.
func (s *session) find(reply tokenReply) (string, error) {
	if s.conf.Endpoint != "" {
		return s.conf.Endpoint, nil
	}
	if len(reply.Token.Catalog) == 0 {
		return "", errors.New("client: the token is for no project: name one of yours")
	}
	for _, entry := range reply.Token.Catalog {
		if entry.Type != "database" {
			continue
		}
		for _, e := range entry.Endpoints {
			if e.Interface == s.conf.Interface && (s.conf.Region == "" || s.conf.Region == e.RegionID) {
				return strings.TrimRight(e.URL, "/"), nil
			}
		}
	}
	return "", fmt.Errorf("client: the catalogue has no database service with interface %q in region %q", s.conf.Interface, s.conf.Region)
}
