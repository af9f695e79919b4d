package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/huker/huker/internal/protocol"
)

// GrantsBody lists the databases that a user has all rights on.
type GrantsBody struct {
	Databases []DatabaseName `json:"databases"`
}

// NewGrantsBody gives a user all rights on databases.
type NewGrantsBody struct {
	Databases []GrantedDatabase `json:"databases" maxItems:"1000"`
}

// GrantedDatabase is one of them.
type GrantedDatabase struct {
	Name string `json:"name" minLength:"1" maxLength:"255"`
}

func (s *server) grantRoutes(t *table) {
	const path = "instances/{id}/users/{user}/databases"
	on(t, spec{method: http.MethodGet, path: path, id: "listGrants", tag: "users", summary: "List the databases that a user has rights on",
		status: http.StatusOK, errs: guestErrors}, s.listGrants)
	on(t, spec{method: http.MethodPut, path: path, id: "grant", tag: "users", summary: "Give a user all rights on databases",
		status: http.StatusAccepted, errs: guestErrors}, s.grant)
	on(t, spec{method: http.MethodDelete, path: path + "/{database}", id: "revoke", tag: "users", summary: "Take a user's rights on a database",
		status: http.StatusAccepted, errs: guestErrors}, s.revoke)
}

func (s *server) listGrants(ctx context.Context, r *request, _ *none) (*GrantsBody, error) {
	_, u, err := s.user(ctx, r)
	if err != nil {
		return nil, err
	}
	return &GrantsBody{Databases: names(u.Databases)}, nil
}

func (s *server) grant(ctx context.Context, r *request, in *NewGrantsBody) (*none, error) {
	i, u, err := s.user(ctx, r)
	if err != nil {
		return nil, err
	}
	req := protocol.GrantRequest{Name: u.Name, Host: u.Host}
	for _, d := range in.Databases {
		if err := checkDatabaseName(d.Name); err != nil {
			return nil, err
		}
		if !slices.Contains(req.Databases, d.Name) {
			req.Databases = append(req.Databases, d.Name)
		}
	}
	if len(req.Databases) == 0 {
		return nil, nil //nolint:nilnil // an answer without a body
	}
	return nil, guestFault(i.ID, s.Guests.Grant(ctx, i.ID, req))
}

func (s *server) revoke(ctx context.Context, r *request, _ *none) (*none, error) {
	i, u, err := s.user(ctx, r)
	if err != nil {
		return nil, err
	}
	name := r.path["database"]
	if !slices.Contains(u.Databases, name) {
		return nil, notFound("Database %s cannot be found among the rights of user %s.", clip(name), clip(u.Name))
	}
	return nil, guestFault(i.ID, s.Guests.Revoke(ctx, i.ID, protocol.GrantRequest{Name: u.Name, Host: u.Host, Databases: []string{name}}))
}
