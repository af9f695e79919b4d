package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// TokenHeader carries a token.
const TokenHeader = "X-Auth-Token" //nolint:gosec // a name, no secret

// Chain asks each authenticator in turn; the first whose kind of credentials the request carries decides.
type Chain []Authenticator

// Authenticate implements Authenticator.
func (c Chain) Authenticate(ctx context.Context, r *http.Request) (Caller, error) {
	for _, a := range c {
		caller, err := a.Authenticate(ctx, r)
		if !errors.Is(err, errNoCredentials) {
			return caller, err
		}
	}
	return Caller{}, errNoCredentials
}

// tokens takes this service's own tokens.
type tokens struct{ service *Service }

// Tokens takes the service's own tokens in X-Auth-Token.
func (s *Service) Tokens() Authenticator { return tokens{s} }

func (t tokens) Authenticate(ctx context.Context, r *http.Request) (Caller, error) {
	token := r.Header.Get(TokenHeader)
	if !OwnToken(token) {
		return Caller{}, errNoCredentials
	}
	session, err := t.service.Validate(ctx, token)
	if err != nil {
		return Caller{}, err
	}
	return session.Caller(), nil
}

const (
	basicCacheSize = 1000
	basicCacheTTL  = time.Minute
)

// basic takes the name and password of an account with each request.
type basic struct {
	service *Service
	key     []byte // of the cache's keys, so that no plain hash of a password lies in memory
	proved  *lru[struct{}]
}

// Basic takes accounts' names and passwords in Authorization: Basic. The project is the account's default one, or the one
// in the request's path (by id) when the account has a role there, or its only one.
func (s *Service) Basic() (Authenticator, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return &basic{service: s, key: key, proved: newLRU[struct{}](basicCacheSize)}, nil
}

func (b *basic) Authenticate(ctx context.Context, r *http.Request) (Caller, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return Caller{}, errNoCredentials
	}
	account, err := b.prove(ctx, PasswordProof{AccountName: name, Password: password}, ClientAddress(r))
	if err != nil {
		return Caller{}, err
	}
	var out Session
	err = b.service.store.View(ctx, func(tx metastore.Tx) error {
		project, err := projectFor(ctx, tx, account, ProjectInPath(r.URL.Path))
		if err != nil {
			return err
		}
		out, err = b.service.sessionOf(ctx, tx, model.Token{AccountID: account.ID, ProjectID: project})
		return err
	})
	if errors.Is(err, metastore.ErrNotFound) {
		err = fmt.Errorf("%w: the account or its project went", ErrUnauthorized)
	}
	if err != nil {
		return Caller{}, wrapStore("find the account's project", err)
	}
	return out.Caller(), nil
}

// prove checks the password, or remembers that it did: 50 ms for each request would be too much. A changed password has
// another hash, so nothing that is remembered fits it.
func (b *basic) prove(ctx context.Context, p PasswordProof, address string) (model.Account, error) {
	account, err := b.service.findAccount(ctx, p)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return model.Account{}, err
	}
	now := b.service.now()
	if _, ok := b.proved.get(b.cacheKey(account, p.Password), now); ok && err == nil && account.Enabled {
		return account, nil
	}
	account, err = b.service.checkPassword(ctx, p, address)
	if err != nil {
		return model.Account{}, err
	}
	b.proved.put(b.cacheKey(account, p.Password), struct{}{}, now.Add(basicCacheTTL))
	return account, nil
}

func (b *basic) cacheKey(account model.Account, password string) string {
	mac := hmac.New(sha256.New, b.key)
	for _, part := range []string{account.ID, account.PasswordHash, password} {
		sum := sha256.Sum256([]byte(part)) // of fixed length: the parts cannot run into each other
		mac.Write(sum[:])
	}
	return string(mac.Sum(nil))
}

// projectFor chooses the project of a request that names none but in its path.
func projectFor(ctx context.Context, tx metastore.Tx, account model.Account, inPath string) (string, error) {
	as, err := tx.Identity().Assignments(ctx, model.Assignment{AccountID: account.ID})
	if err != nil {
		return "", err
	}
	var only string
	candidates := map[string]bool{}
	for _, a := range as {
		candidates[a.ProjectID] = true
		only = a.ProjectID
	}
	switch {
	case candidates[inPath]:
		return inPath, nil
	case candidates[account.DefaultProjectID]:
		return account.DefaultProjectID, nil
	case len(candidates) == 1:
		return only, nil
	}
	return "", nil
}

// ProjectInPath gives the project of a path of the database API, /v1.0/{project}/…; else "".
func ProjectInPath(path string) string {
	rest, ok := strings.CutPrefix(path, "/v1.0/")
	if !ok {
		return ""
	}
	project, _, _ := strings.Cut(rest, "/")
	return project
}

// static takes one secret.
type static struct {
	hash   [sha256.Size]byte
	caller Caller
}

// MinStaticToken is the shortest static token, in bytes: guesses at it are not counted.
const MinStaticToken = 16

// StaticToken takes one configured secret in X-Auth-Token (clients call this admin_token). It acts as an administrator, for
// the project in the path.
func StaticToken(token string) (Authenticator, error) {
	if len(token) < MinStaticToken {
		return nil, fmt.Errorf("identity: the static token must have at least %d characters", MinStaticToken)
	}
	return static{hash: sha256.Sum256([]byte(token)), caller: Caller{AccountName: "admin_token", Roles: []string{model.RoleAdmin}}}, nil
}

func (s static) Authenticate(_ context.Context, r *http.Request) (Caller, error) {
	token := r.Header.Get(TokenHeader)
	sum := sha256.Sum256([]byte(token))
	if token == "" || subtle.ConstantTimeCompare(sum[:], s.hash[:]) != 1 {
		return Caller{}, errNoCredentials
	}
	return inPath(s.caller, r), nil
}

func inPath(c Caller, r *http.Request) Caller {
	c.ProjectID = ProjectInPath(r.URL.Path)
	c.ProjectName = c.ProjectID
	return c
}

type none struct{}

// noToken is what keystoneauth's "none" puts in the place of a token.
const noToken = "notused"

// None believes the project in the path of requests without credentials, as an administrator. Only for an API that listens on
// loopback; see NewChain. Requests that a browser sends for another page are refused: every page can reach loopback.
func None() Authenticator { return none{} }

func (none) Authenticate(_ context.Context, r *http.Request) (Caller, error) {
	token := r.Header.Get(TokenHeader)
	if token != "" && token != noToken || r.Header.Get("Authorization") != "" || ProjectInPath(r.URL.Path) == "" {
		return Caller{}, errNoCredentials
	}
	if !Loopback(r.RemoteAddr) || !Loopback(r.Host) || crossSite(r) {
		return Caller{}, fmt.Errorf("%w: requests without credentials are taken from this machine only", ErrUnauthorized)
	}
	return inPath(Caller{AccountName: "none", Roles: []string{model.RoleAdmin}}, r), nil
}

func crossSite(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}

// Loopback reports whether an address, with or without a port, is this machine's own.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ChainConfig says how requests may prove themselves. Own tokens and Basic are on unless there is no Service.
type ChainConfig struct {
	Service       *Service
	NoBasic       bool
	Keystone      *Keystone // an external one, besides or in place of Service
	StaticToken   string    // empty: off
	OperatorToken string    // empty: off
	None          bool      // needs Listen to be on loopback
	Listen        string    // address of the API: "127.0.0.1:8779"
}

// NewChain builds the authenticator that a configuration asks for.
func NewChain(c ChainConfig) (Authenticator, error) {
	var chain Chain
	// Fixed secrets first: to the others they are tokens they do not know.
	for _, fixed := range []struct {
		secret string
		taker  func(string) (Authenticator, error)
	}{{c.OperatorToken, OperatorToken}, {c.StaticToken, StaticToken}} {
		if fixed.secret == "" {
			continue
		}
		a, err := fixed.taker(fixed.secret)
		if err != nil {
			return nil, err
		}
		chain = append(chain, a)
	}
	if c.Service != nil {
		chain = append(chain, c.Service.Tokens())
		if !c.NoBasic {
			a, err := c.Service.Basic()
			if err != nil {
				return nil, err
			}
			chain = append(chain, a)
		}
	}
	if c.None { // before Keystone, which would refuse noToken
		if !Loopback(c.Listen) {
			return nil, fmt.Errorf("identity: requests without credentials are possible only when the API listens on loopback, not on %q", c.Listen)
		}
		chain = append(chain, None())
	}
	if c.Keystone != nil {
		chain = append(chain, c.Keystone)
	}
	if len(chain) == 0 {
		return nil, errors.New("identity: no way to sign in is configured")
	}
	return chain, nil
}
