package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Defaults of Config.
const (
	DefaultTokenTTL = 12 * time.Hour // a working day: a person signs in once
	// DefaultHashConcurrency times the costs' memory (32 MiB) is what sign-ins can take at most.
	DefaultHashConcurrency = 2
	// DefaultHashQueue is how many sign-ins wait, at 50 ms each, before more are refused: 128 of them are done in 3 s.
	DefaultHashQueue = 128
	purgeEvery       = 10 * time.Minute
)

// Config of a Service. Zero values are the defaults.
type Config struct {
	TokenTTL        time.Duration
	Params          Params
	HashConcurrency int
	HashQueue       int
	Limits          SignInLimits
	Now             func() time.Time
	Log             *slog.Logger
}

// Service is Huker's own identity service on a metadata store.
type Service struct {
	store  metastore.Store
	hasher *hasher
	guess  *guessLimiter
	ttl    time.Duration
	now    func() time.Time
	log    *slog.Logger
}

// New makes a Service.
func New(store metastore.Store, c Config) (*Service, error) {
	if c.TokenTTL == 0 {
		c.TokenTTL = DefaultTokenTTL
	}
	if c.TokenTTL < time.Second {
		return nil, fmt.Errorf("identity: token lifetime %s is shorter than a second", c.TokenTTL)
	}
	if c.Params == (Params{}) {
		c.Params = defaultParams
	}
	if c.HashConcurrency <= 0 {
		c.HashConcurrency = DefaultHashConcurrency
	}
	if c.HashQueue <= 0 {
		c.HashQueue = DefaultHashQueue
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h, err := newHasher(c.Params, c.HashConcurrency, c.HashQueue)
	if err != nil {
		return nil, err
	}
	return &Service{store: store, hasher: h, guess: newGuessLimiter(c.Limits), ttl: c.TokenTTL, now: c.Now, log: c.Log}, nil
}

// Run removes expired tokens now and then, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		n, err := s.Purge(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("expired tokens were not removed", "op", "identity.purge", "err", err)
		case n > 0:
			s.log.Debug("expired tokens removed", "op", "identity.purge", "count", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Purge removes expired tokens and says how many.
func (s *Service) Purge(ctx context.Context) (int, error) {
	var n int
	err := s.store.Update(ctx, func(tx metastore.Tx) (err error) {
		n, err = tx.Identity().Tokens().DeleteExpired(ctx, s.now())
		return err
	})
	return n, wrapStore("remove expired tokens", err)
}

// Session is a valid token with all that it stands for.
type Session struct {
	Token   model.Token
	Account model.Account
	Project *model.Project // nil when unscoped
	Roles   []model.Role   // on Project
}

// Caller is the session's owner.
func (s Session) Caller() Caller {
	c := Caller{AccountID: s.Account.ID, AccountName: s.Account.Name}
	if s.Project != nil {
		c.ProjectID, c.ProjectName = s.Project.ID, s.Project.Name
	}
	for _, r := range s.Roles {
		c.Roles = append(c.Roles, r.Name)
	}
	return c
}

const tokenPrefix = "hk_" // never starts with "-", and scanners for leaked secrets can find it

func newToken() (token, hash string, err error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", "", err
	}
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
	return token, hashToken(token), nil
}

// hashToken needs no salt and no slowness: a token has 256 random bits.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// OwnToken reports whether a token can be one of this service's.
func OwnToken(token string) bool {
	return strings.HasPrefix(token, tokenPrefix) && len(token) == len(tokenPrefix)+43
}

// newID makes an id in Keystone's form, 32 hex digits: clients take such names for ids without asking.
func newID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// Validate gives the session of a token; ErrUnauthorized when it is unknown, expired or revoked, or when its account, project or
// roles are no longer there.
func (s *Service) Validate(ctx context.Context, token string) (Session, error) {
	if !OwnToken(token) {
		return Session{}, fmt.Errorf("%w: no such token", ErrUnauthorized)
	}
	var out Session
	err := s.store.View(ctx, func(tx metastore.Tx) error {
		b, err := tx.Identity().Tokens().Bearer(ctx, hashToken(token))
		if err != nil {
			return err
		}
		if !s.now().Before(b.Token.ExpiresAt) {
			return fmt.Errorf("%w: the token has expired", ErrUnauthorized)
		}
		out, err = session(b)
		return err
	})
	if errors.Is(err, metastore.ErrNotFound) {
		return Session{}, fmt.Errorf("%w: no such token", ErrUnauthorized)
	}
	if err != nil {
		return Session{}, wrapStore("validate a token", err)
	}
	return out, nil
}

// sessionOf is session for a token that is not stored, or not yet.
func (s *Service) sessionOf(ctx context.Context, tx metastore.Tx, t model.Token) (Session, error) {
	account, err := tx.Identity().Accounts().Get(ctx, t.AccountID)
	if err != nil {
		return Session{}, err
	}
	b := metastore.Bearer{Token: t, Account: account}
	if t.ProjectID != "" {
		project, err := tx.Identity().Projects().Get(ctx, t.ProjectID)
		if err != nil {
			return Session{}, err
		}
		b.Project = &project
		if b.Roles, err = tx.Identity().RolesOn(ctx, account.ID, project.ID); err != nil {
			return Session{}, err
		}
	}
	return session(b)
}

// session is what a bearer may do; ErrUnauthorized when that is nothing.
func session(b metastore.Bearer) (Session, error) {
	if !b.Account.Enabled {
		return Session{}, fmt.Errorf("%w: the account is disabled", ErrUnauthorized)
	}
	if b.Project != nil && (!b.Project.Enabled || len(b.Roles) == 0) {
		return Session{}, fmt.Errorf("%w: no role on the project, or the project is disabled", ErrUnauthorized)
	}
	return Session{Token: b.Token, Account: b.Account, Project: b.Project, Roles: b.Roles}, nil
}

// Revoke ends a token. No error when it is gone.
func (s *Service) Revoke(ctx context.Context, token string) error {
	err := s.store.Update(ctx, func(tx metastore.Tx) error {
		return tx.Identity().Tokens().Delete(ctx, hashToken(token))
	})
	if errors.Is(err, metastore.ErrNotFound) {
		return nil
	}
	return wrapStore("revoke a token", err)
}

// wrapStore turns the store's errors into this package's. An error that is this package's already stays.
func wrapStore(op string, err error) error {
	var limited *LimitedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrForbidden), errors.Is(err, ErrUnavailable), errors.Is(err, ErrNotFound),
		errors.Is(err, ErrExists), errors.Is(err, ErrInvalid), errors.Is(err, ErrInUse), errors.Is(err, ErrLastAdmin), errors.As(err, &limited):
		return err
	case errors.Is(err, metastore.ErrNotFound):
		return fmt.Errorf("%w: %s: %w", ErrNotFound, op, err)
	case errors.Is(err, metastore.ErrExists):
		return fmt.Errorf("%w: %s: %w", ErrExists, op, err)
	default:
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, op, err)
	}
}
