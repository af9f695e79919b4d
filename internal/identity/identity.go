// Package identity says who calls: accounts, passwords, tokens, roles, and the ways in which a request proves itself.
//
// It owns sign-in, tokens, the rules of the accounts' management, and the authenticators (own tokens, basic, a
// static token, none, an external Keystone). It must not know Keystone's or Trove's paths and bodies on the serving side,
// nor which engine keeps the accounts.
package identity

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/huker/huker/internal/model"
)

// Caller is who sent a request, and for which project. Roles are names.
type Caller struct {
	AccountID   string
	AccountName string
	ProjectID   string
	ProjectName string
	Roles       []string
}

// Admin reports whether the caller may act on any project.
func (c Caller) Admin() bool { return c.Has(model.RoleAdmin) }

// Has reports whether the caller has a role; names are compared as Keystone does, without regard to case.
func (c Caller) Has(role string) bool {
	return slices.ContainsFunc(c.Roles, func(r string) bool { return strings.EqualFold(r, role) })
}

// Authenticator finds out who sent a request. Errors are ErrUnauthorized, ErrForbidden, ErrUnavailable or a
// *LimitedError, wrapped. It does not read the request's body.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request) (Caller, error)
}

type callerKey struct{}

// WithCaller gives ctx the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// FromContext gives the caller that WithCaller put in.
func FromContext(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}
