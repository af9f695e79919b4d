package admin

import (
	"context"
	"fmt"

	"github.com/huker/huker/internal/protocol"
)

// grants gives a user all rights on databases, whether these exist (yet) or not: as MySQL and Trove do.
func grants(name, host string, databases []string, partialRevokes bool) []statement {
	steps := make([]statement, 0, len(databases))
	for _, d := range databases {
		steps = append(steps, stmt("GRANT ALL PRIVILEGES ON "+ident(grantName(d, partialRevokes))+".* TO ?@?", name, host))
	}
	return steps
}

func checkGranted(databases []string) error {
	for _, d := range databases {
		if err := checkNewDatabase(d); err != nil {
			return err
		}
	}
	return nil
}

// Grant gives a user all rights on databases.
func (s *Server) Grant(ctx context.Context, r protocol.GrantRequest) error {
	u, err := s.User(ctx, protocol.UserRequest{Name: r.Name, Host: r.Host})
	if err != nil {
		return err
	}
	if err := checkGranted(r.Databases); err != nil {
		return err
	}
	partial, err := s.partialRevokes(ctx)
	if err != nil {
		return translate("grant", err, "")
	}
	return s.run(ctx, fmt.Sprintf("grant to %s@%s", u.Name, u.Host), grants(u.Name, u.Host, r.Databases, partial)...)
}

// Revoke takes the rights on databases back; ErrNotFound when a user has none on one of them, and then nothing is changed, unless again (the request
// came before, and may have been carried out).
func (s *Server) Revoke(ctx context.Context, r protocol.GrantRequest, again bool) error {
	u, err := s.User(ctx, protocol.UserRequest{Name: r.Name, Host: r.Host})
	if err != nil {
		return err
	}
	partial, err := s.partialRevokes(ctx)
	if err != nil {
		return translate("revoke", err, "")
	}
	has := map[string]bool{}
	for _, d := range u.Databases {
		has[d] = true
	}
	var steps []statement
	for _, d := range r.Databases {
		switch {
		case has[d]:
			// Also the right to grant, which somebody may have given by SQL and which would let the user take the rest back.
			on := ident(grantName(d, partial)) + ".* FROM ?@?"
			steps = append(steps, stmt("REVOKE ALL PRIVILEGES ON "+on, u.Name, u.Host), stmt("REVOKE IF EXISTS GRANT OPTION ON "+on, u.Name, u.Host))
		case !again:
			return failf(ErrNotFound, "user %s@%s has no rights on database %q", u.Name, u.Host, d)
		}
	}
	return s.run(ctx, fmt.Sprintf("revoke from %s@%s", u.Name, u.Host), steps...)
}
