package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Lengths, in characters. Keystone's are 64 for projects and 255 for the others.
const (
	maxProjectName = 64
	maxName        = 255
	maxDescription = 4096
)

func checkName(what, name string, longest int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return refuse(ErrInvalid, "the %s's name must not be empty", what)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return refuse(ErrInvalid, "the %s's name must be printable UTF-8", what)
	case utf8.RuneCountInString(name) > longest:
		return refuse(ErrInvalid, "the %s's name must not be longer than %d characters", what, longest)
	}
	return nil
}

func checkText(what, text string) error {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > maxDescription || strings.ContainsRune(text, 0) {
		return refuse(ErrInvalid, "the %s must be UTF-8 of at most %d characters", what, maxDescription)
	}
	return nil
}

// update runs a change of accounts, projects, roles or assignments, and rolls it back when it would leave nobody
// who can manage them.
func (s *Service) update(ctx context.Context, op string, fn func(metastore.Tx) error) error {
	err := s.store.Update(ctx, func(tx metastore.Tx) error {
		before, err := countAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		after, err := countAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if before > 0 && after == 0 {
			return ErrLastAdmin
		}
		return nil
	})
	return wrapStore(op, err)
}

// countAdmins counts the enabled accounts with the role admin on an enabled project.
func countAdmins(ctx context.Context, tx metastore.Tx) (int, error) {
	role, err := tx.Identity().Roles().ByName(ctx, model.RoleAdmin)
	if errors.Is(err, metastore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	as, err := tx.Identity().Assignments(ctx, model.Assignment{RoleID: role.ID})
	if err != nil {
		return 0, err
	}
	admins := map[string]bool{}
	for _, a := range as {
		account, err := tx.Identity().Accounts().Get(ctx, a.AccountID)
		if err != nil {
			return 0, err
		}
		project, err := tx.Identity().Projects().Get(ctx, a.ProjectID)
		if err != nil {
			return 0, err
		}
		if account.Enabled && project.Enabled {
			admins[account.ID] = true
		}
	}
	return len(admins), nil
}

// ProjectChange is a new project or a change of one; nil leaves as it is.
type ProjectChange struct {
	Name        *string
	Description *string
	Enabled     *bool
}

func (c ProjectChange) apply(p *model.Project) error {
	set(&p.Name, c.Name)
	set(&p.Description, c.Description)
	set(&p.Enabled, c.Enabled)
	if err := checkName("project", p.Name, maxProjectName); err != nil {
		return err
	}
	return checkText("description", p.Description)
}

func set[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}

// Projects lists all projects by name.
func (s *Service) Projects(ctx context.Context) ([]model.Project, error) {
	var out []model.Project
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Projects().List(ctx)
		return err
	})
	return out, wrapStore("list projects", err)
}

// Project gives one by id.
func (s *Service) Project(ctx context.Context, id string) (model.Project, error) {
	var out model.Project
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Projects().Get(ctx, id)
		return err
	})
	return out, wrapStore("find the project", err)
}

// ProjectsOf lists the enabled projects on which an account has a role.
func (s *Service) ProjectsOf(ctx context.Context, accountID string) ([]model.Project, error) {
	if accountID == "" { // a caller without an account; to the store it would mean all of them
		return nil, nil
	}
	var out []model.Project
	err := s.store.View(ctx, func(tx metastore.Tx) error {
		as, err := tx.Identity().Assignments(ctx, model.Assignment{AccountID: accountID})
		if err != nil {
			return err
		}
		mine := map[string]bool{}
		for _, a := range as {
			mine[a.ProjectID] = true
		}
		all, err := tx.Identity().Projects().List(ctx)
		if err != nil {
			return err
		}
		out = nil
		for _, p := range all {
			if p.Enabled && mine[p.ID] {
				out = append(out, p)
			}
		}
		return nil
	})
	return out, wrapStore("list the account's projects", err)
}

// CreateProject makes a project, enabled unless told otherwise.
func (s *Service) CreateProject(ctx context.Context, c ProjectChange) (model.Project, error) {
	id, err := newID()
	if err != nil {
		return model.Project{}, err
	}
	p := model.Project{ID: id, Enabled: true, Created: s.now().UTC()}
	if err := c.apply(&p); err != nil {
		return model.Project{}, err
	}
	err = s.update(ctx, "create the project", func(tx metastore.Tx) error { return tx.Identity().Projects().Create(ctx, p) })
	return p, err
}

// UpdateProject changes a project. Tokens of a disabled project are refused until it is enabled again.
func (s *Service) UpdateProject(ctx context.Context, id string, c ProjectChange) (model.Project, error) {
	var p model.Project
	err := s.update(ctx, "change the project", func(tx metastore.Tx) (err error) {
		if p, err = tx.Identity().Projects().Get(ctx, id); err != nil {
			return err
		}
		if err := c.apply(&p); err != nil {
			return err
		}
		return tx.Identity().Projects().Update(ctx, p)
	})
	return p, err
}

// DeleteProject removes a project that owns nothing any more, with its assignments and tokens.
func (s *Service) DeleteProject(ctx context.Context, id string) error {
	return s.update(ctx, "delete the project", func(tx metastore.Tx) error {
		if _, err := tx.Identity().Projects().Get(ctx, id); err != nil {
			return err
		}
		owned, err := tx.Instances().List(ctx, metastore.InstanceFilter{ProjectID: id, Limit: 1})
		if err != nil {
			return err
		}
		if len(owned) > 0 {
			return refuse(ErrInUse, "the project still has database instances; delete them first")
		}
		return tx.Identity().Projects().Delete(ctx, id)
	})
}

// Roles lists all roles by name.
func (s *Service) Roles(ctx context.Context) ([]model.Role, error) {
	var out []model.Role
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Roles().List(ctx)
		return err
	})
	return out, wrapStore("list roles", err)
}

// Role gives one by id.
func (s *Service) Role(ctx context.Context, id string) (model.Role, error) {
	var out model.Role
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Roles().Get(ctx, id)
		return err
	})
	return out, wrapStore("find the role", err)
}

// CreateRole makes a role.
func (s *Service) CreateRole(ctx context.Context, name string) (model.Role, error) {
	if err := checkName("role", name, maxName); err != nil {
		return model.Role{}, err
	}
	id, err := newID()
	if err != nil {
		return model.Role{}, err
	}
	r := model.Role{ID: id, Name: name}
	err = s.update(ctx, "create the role", func(tx metastore.Tx) error { return tx.Identity().Roles().Create(ctx, r) })
	return r, err
}

// RenameRole changes a role's name.
func (s *Service) RenameRole(ctx context.Context, id, name string) (model.Role, error) {
	if err := checkName("role", name, maxName); err != nil {
		return model.Role{}, err
	}
	r := model.Role{ID: id, Name: name}
	err := s.update(ctx, "rename the role", func(tx metastore.Tx) error { return tx.Identity().Roles().Update(ctx, r) })
	return r, err
}

// DeleteRole removes a role and its assignments.
func (s *Service) DeleteRole(ctx context.Context, id string) error {
	return s.update(ctx, "delete the role", func(tx metastore.Tx) error {
		if _, err := tx.Identity().Roles().Get(ctx, id); err != nil {
			return err
		}
		return tx.Identity().Roles().Delete(ctx, id)
	})
}

// Assignments lists assignments; empty fields of f do not filter.
func (s *Service) Assignments(ctx context.Context, f model.Assignment) ([]model.Assignment, error) {
	var out []model.Assignment
	err := s.store.View(ctx, func(tx metastore.Tx) (err error) {
		out, err = tx.Identity().Assignments(ctx, f)
		return err
	})
	return out, wrapStore("list role assignments", err)
}

// Assign gives an account a role on a project; ErrNotFound when one of the three does not exist.
func (s *Service) Assign(ctx context.Context, a model.Assignment) error {
	return s.update(ctx, "assign the role", func(tx metastore.Tx) error {
		if err := findAssignment(ctx, tx, a); err != nil {
			return err
		}
		return tx.Identity().Assign(ctx, a)
	})
}

// Unassign takes a role back; ErrNotFound when it was not given.
func (s *Service) Unassign(ctx context.Context, a model.Assignment) error {
	return s.update(ctx, "take the role back", func(tx metastore.Tx) error { return tx.Identity().Unassign(ctx, a) })
}

func findAssignment(ctx context.Context, tx metastore.Tx, a model.Assignment) error {
	if _, err := tx.Identity().Accounts().Get(ctx, a.AccountID); err != nil {
		return fmt.Errorf("user %s: %w", a.AccountID, err)
	}
	if _, err := tx.Identity().Projects().Get(ctx, a.ProjectID); err != nil {
		return fmt.Errorf("project %s: %w", a.ProjectID, err)
	}
	if _, err := tx.Identity().Roles().Get(ctx, a.RoleID); err != nil {
		return fmt.Errorf("role %s: %w", a.RoleID, err)
	}
	return nil
}
