package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// AdminName is the name of the first account and of its project.
const AdminName = "admin"

// Seed says what the first start puts in.
type Seed struct {
	// Password of the account "admin". It is used only when there is no administrator yet, so the caller keeps it in a safe place
	// before: then a crash at any point leaves a password that is known.
	Password string
	// Reset sets Password in any case, and makes "admin" an enabled administrator again: for an operator who lost it.
	Reset bool
}

// Seeded is what Seed found or made.
type Seeded struct {
	Account model.Account // zero when somebody else is the administrator and there is no account "admin"
	Project model.Project
	Created bool // the password was set
}

// Seed makes the roles, and the project and account "admin" unless there is an administrator. One transaction; running it
// again changes nothing.
func (s *Service) Seed(ctx context.Context, in Seed) (Seeded, error) {
	if err := CheckPassword(in.Password); err != nil {
		return Seeded{}, err
	}
	var need bool
	err := s.store.View(ctx, func(tx metastore.Tx) error {
		n, err := countAdmins(ctx, tx)
		need = n == 0 || in.Reset
		return err
	})
	if err != nil {
		return Seeded{}, wrapStore("look for an administrator", err)
	}
	var hash string
	if need {
		if hash, err = s.hasher.hash(ctx, in.Password); err != nil {
			return Seeded{}, err
		}
	}
	var out Seeded
	err = s.store.Update(ctx, func(tx metastore.Tx) (err error) {
		out, err = s.seed(ctx, tx, in, hash)
		return err
	})
	return out, wrapStore("seed", err)
}

func (s *Service) seed(ctx context.Context, tx metastore.Tx, in Seed, hash string) (Seeded, error) {
	roles := map[string]model.Role{}
	for _, name := range []string{model.RoleAdmin, model.RoleMember, model.RoleReader} {
		r, err := ensure(ctx, tx.Identity().Roles(), name, func(id string) model.Role { return model.Role{ID: id, Name: name} })
		if err != nil {
			return Seeded{}, err
		}
		roles[name] = r
	}
	admins, err := countAdmins(ctx, tx)
	if err != nil {
		return Seeded{}, err
	}
	if admins > 0 && !in.Reset {
		return findSeeded(ctx, tx)
	}
	if hash == "" {
		return Seeded{}, fmt.Errorf("%w: the last administrator went meanwhile", ErrUnavailable)
	}
	now := s.now().UTC()
	project, err := ensure(ctx, tx.Identity().Projects(), AdminName, func(id string) model.Project {
		return model.Project{ID: id, Name: AdminName, Description: "The administrator's project", Enabled: true, Created: now}
	})
	if err != nil {
		return Seeded{}, err
	}
	account, err := ensure(ctx, tx.Identity().Accounts(), AdminName, func(id string) model.Account {
		return model.Account{ID: id, Name: AdminName, Description: "The administrator", Created: now}
	})
	if err != nil {
		return Seeded{}, err
	}
	project.Enabled = true
	account.Enabled, account.PasswordHash, account.DefaultProjectID = true, hash, project.ID
	err = errors.Join(
		tx.Identity().Projects().Update(ctx, project),
		tx.Identity().Accounts().Update(ctx, account),
		tx.Identity().Tokens().DeleteByAccount(ctx, account.ID),
		tx.Identity().Assign(ctx, model.Assignment{AccountID: account.ID, ProjectID: project.ID, RoleID: roles[model.RoleAdmin].ID}),
		tx.Identity().Assign(ctx, model.Assignment{AccountID: account.ID, ProjectID: project.ID, RoleID: roles[model.RoleMember].ID}),
	)
	return Seeded{Account: account, Project: project, Created: true}, err
}

// findSeeded gives what is there of the first account and project.
func findSeeded(ctx context.Context, tx metastore.Tx) (Seeded, error) {
	var out Seeded
	var err error
	if out.Project, err = tx.Identity().Projects().ByName(ctx, AdminName); err != nil && !errors.Is(err, metastore.ErrNotFound) {
		return Seeded{}, err
	}
	if out.Account, err = tx.Identity().Accounts().ByName(ctx, AdminName); err != nil && !errors.Is(err, metastore.ErrNotFound) {
		return Seeded{}, err
	}
	return out, nil
}

func ensure[T any](ctx context.Context, table metastore.Table[T], name string, fresh func(id string) T) (T, error) {
	v, err := table.ByName(ctx, name)
	if !errors.Is(err, metastore.ErrNotFound) {
		return v, err
	}
	id, err := newID()
	if err != nil {
		return v, err
	}
	v = fresh(id)
	return v, table.Create(ctx, v)
}
