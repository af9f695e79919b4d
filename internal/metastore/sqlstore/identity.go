package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

type identity struct{ *tx }

func (t identity) Projects() metastore.Table[model.Project] {
	return named[model.Project]{t.tx, projects}
}

func (t identity) Accounts() metastore.Table[model.Account] {
	return named[model.Account]{t.tx, accounts}
}

func (t identity) Roles() metastore.Table[model.Role] { return named[model.Role]{t.tx, roles} }
func (t identity) Tokens() metastore.Tokens           { return tokens(t) }

// kind is what sets one table of named things apart from another. It is read-only.
type kind[T any] struct {
	noun, selects, insert, update string
	deletes                       []string // all take the id
	args                          func(T) []any
	scan                          func(scanner) (T, error)
}

var projects = kind[model.Project]{
	noun:    "project",
	selects: "SELECT name, description, enabled, created, id FROM projects",
	insert:  "INSERT INTO projects (name, description, enabled, created, id) VALUES (?, ?, ?, ?, ?)",
	update:  "UPDATE projects SET name = ?, description = ?, enabled = ?, created = ? WHERE id = ?",
	deletes: []string{
		"DELETE FROM tokens WHERE project_id = ?",
		"DELETE FROM assignments WHERE project_id = ?",
		"DELETE FROM projects WHERE id = ?",
	},
	args: func(p model.Project) []any { return []any{p.Name, p.Description, p.Enabled, micros(p.Created), p.ID} },
	scan: func(r scanner) (model.Project, error) {
		var p model.Project
		err := r.Scan(&p.Name, &p.Description, &p.Enabled, stamp{&p.Created}, &p.ID)
		return p, err
	},
}

var accounts = kind[model.Account]{
	noun: "account",
	selects: `SELECT name, email, description, default_project_id, password_hash, enabled, created, id
		FROM accounts`,
	insert: `INSERT INTO accounts (name, email, description, default_project_id, password_hash, enabled, created, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
	update: `UPDATE accounts SET name = ?, email = ?, description = ?, default_project_id = ?, password_hash = ?,
		enabled = ?, created = ? WHERE id = ?`,
	deletes: []string{
		"DELETE FROM tokens WHERE account_id = ?",
		"DELETE FROM assignments WHERE account_id = ?",
		"DELETE FROM accounts WHERE id = ?",
	},
	args: func(a model.Account) []any {
		return []any{
			a.Name, a.Email, a.Description, a.DefaultProjectID, a.PasswordHash, a.Enabled, micros(a.Created), a.ID,
		}
	},
	scan: func(r scanner) (model.Account, error) {
		var a model.Account
		err := r.Scan(&a.Name, &a.Email, &a.Description, &a.DefaultProjectID, &a.PasswordHash, &a.Enabled,
			stamp{&a.Created}, &a.ID)
		return a, err
	},
}

var roles = kind[model.Role]{
	noun:    "role",
	selects: "SELECT name, id FROM roles",
	insert:  "INSERT INTO roles (name, id) VALUES (?, ?)",
	update:  "UPDATE roles SET name = ? WHERE id = ?",
	deletes: []string{"DELETE FROM assignments WHERE role_id = ?", "DELETE FROM roles WHERE id = ?"},
	args:    func(r model.Role) []any { return []any{r.Name, r.ID} },
	scan: func(r scanner) (model.Role, error) {
		var v model.Role
		err := r.Scan(&v.Name, &v.ID)
		return v, err
	},
}

// named is a table of named things. The id is always the last of the arguments.
type named[T any] struct {
	*tx
	kind[T]
}

func (t named[T]) Get(ctx context.Context, id string) (T, error) {
	v, err := one(ctx, t.tx, t.scan, t.selects+" WHERE id = ?", id)
	return v, op(err, "get %s %s", t.noun, id)
}

func (t named[T]) ByName(ctx context.Context, name string) (T, error) {
	v, err := one(ctx, t.tx, t.scan, t.selects+" WHERE name = ?", name)
	return v, op(err, "get %s named %q", t.noun, name)
}

func (t named[T]) List(ctx context.Context) ([]T, error) {
	vs, err := all(ctx, t.tx, t.scan, t.selects+" ORDER BY name")
	return vs, op(err, "list of every %s", t.noun)
}

func (t named[T]) Create(ctx context.Context, v T) error {
	_, err := t.exec(ctx, t.insert, t.args(v)...)
	return op(err, "create %s", t.noun)
}

func (t named[T]) Update(ctx context.Context, v T) error {
	n, err := t.exec(ctx, t.update, t.args(v)...)
	if err == nil && n == 0 {
		err = metastore.ErrNotFound
	}
	return op(err, "update %s", t.noun)
}

func (t named[T]) Delete(ctx context.Context, id string) error {
	for _, query := range t.deletes {
		if _, err := t.exec(ctx, query, id); err != nil {
			return fmt.Errorf("delete %s %s: %w", t.noun, id, err)
		}
	}
	return nil
}

func (t identity) Assignments(ctx context.Context, f model.Assignment) ([]model.Assignment, error) {
	query, args := "SELECT account_id, project_id, role_id FROM assignments WHERE 1 = 1", []any{}
	if f.AccountID != "" {
		query, args = query+" AND account_id = ?", append(args, f.AccountID)
	}
	if f.ProjectID != "" {
		query, args = query+" AND project_id = ?", append(args, f.ProjectID)
	}
	if f.RoleID != "" {
		query, args = query+" AND role_id = ?", append(args, f.RoleID)
	}
	as, err := all(ctx, t.tx, func(r scanner) (model.Assignment, error) {
		var a model.Assignment
		err := r.Scan(&a.AccountID, &a.ProjectID, &a.RoleID)
		return a, err
	}, query+" ORDER BY account_id, project_id, role_id", args...)
	return as, op(err, "list assignments")
}

func (t identity) Assign(ctx context.Context, a model.Assignment) error {
	_, err := t.exec(ctx, "INSERT INTO assignments (account_id, project_id, role_id) VALUES (?, ?, ?)",
		a.AccountID, a.ProjectID, a.RoleID)
	if errors.Is(err, metastore.ErrExists) {
		err = nil
	}
	return op(err, "assign role %s to account %s on project %s", a.RoleID, a.AccountID, a.ProjectID)
}

func (t identity) Unassign(ctx context.Context, a model.Assignment) error {
	n, err := t.exec(ctx, "DELETE FROM assignments WHERE account_id = ? AND project_id = ? AND role_id = ?",
		a.AccountID, a.ProjectID, a.RoleID)
	if err == nil && n == 0 {
		err = metastore.ErrNotFound
	}
	return op(err, "unassign role %s from account %s on project %s", a.RoleID, a.AccountID, a.ProjectID)
}

func (t identity) RolesOn(ctx context.Context, accountID, projectID string) ([]model.Role, error) {
	rs, err := all(ctx, t.tx, roles.scan, roles.selects+` WHERE id IN (SELECT role_id FROM assignments WHERE account_id = ? AND project_id = ?)
		ORDER BY id`, accountID, projectID)
	return rs, op(err, "list the roles of account %s on project %s", accountID, projectID)
}

type tokens struct{ *tx }

// The hash of a token is not put into errors: they are logged.

func (t tokens) Get(ctx context.Context, hash string) (model.Token, error) {
	v, err := one(ctx, t.tx, func(r scanner) (model.Token, error) {
		var v model.Token
		err := r.Scan(&v.Hash, &v.AccountID, text{&v.ProjectID}, doc{&v.Methods}, &v.AuditID, stamp{&v.IssuedAt},
			stamp{&v.ExpiresAt})
		return v, err
	}, "SELECT hash, account_id, project_id, methods, audit_id, issued, expires FROM tokens WHERE hash = ?", hash)
	return v, op(err, "get token")
}

func (t tokens) Bearer(ctx context.Context, hash string) (metastore.Bearer, error) {
	held, err := all(ctx, t.tx, scanBearer, `SELECT t.hash, t.project_id, t.methods, t.audit_id, t.issued, t.expires,
		a.id, a.name, a.email, a.description, a.default_project_id, a.password_hash, a.enabled, a.created,
		COALESCE(p.id, ''), COALESCE(p.name, ''), COALESCE(p.description, ''), COALESCE(p.enabled, 0), COALESCE(p.created, 0),
		COALESCE(r.name, ''), COALESCE(r.id, '')
		FROM tokens t JOIN accounts a ON a.id = t.account_id LEFT JOIN projects p ON p.id = t.project_id
		LEFT JOIN assignments s ON s.account_id = t.account_id AND s.project_id = t.project_id LEFT JOIN roles r ON r.id = s.role_id
		WHERE t.hash = ? ORDER BY r.id`, hash)
	if err == nil && len(held) == 0 {
		err = metastore.ErrNotFound
	}
	if err != nil {
		return metastore.Bearer{}, op(err, "get who bears a token")
	}
	b := held[0]
	for _, another := range held[1:] {
		b.Roles = append(b.Roles, another.Roles...)
	}
	return b, nil
}

// scanBearer reads a bearer with one of the roles, or without any.
func scanBearer(r scanner) (metastore.Bearer, error) {
	var b metastore.Bearer
	var p model.Project
	var role model.Role
	err := r.Scan(&b.Token.Hash, text{&b.Token.ProjectID}, doc{&b.Token.Methods}, &b.Token.AuditID, stamp{&b.Token.IssuedAt}, stamp{&b.Token.ExpiresAt},
		&b.Account.ID, &b.Account.Name, &b.Account.Email, &b.Account.Description, &b.Account.DefaultProjectID, &b.Account.PasswordHash, &b.Account.Enabled,
		stamp{&b.Account.Created}, &p.ID, &p.Name, &p.Description, &p.Enabled, stamp{&p.Created}, &role.Name, &role.ID)
	b.Token.AccountID = b.Account.ID
	if role.ID != "" {
		b.Roles = []model.Role{role}
	}
	switch {
	case p.ID != "":
		b.Project = &p
	case err == nil && b.Token.ProjectID != "":
		err = sql.ErrNoRows // a token of a project that is gone is none, and not one for no project
	}
	return b, err
}

func (t tokens) Create(ctx context.Context, v model.Token) error {
	methods, err := encode(v.Methods)
	if err != nil {
		return fmt.Errorf("create token: %w", err)
	}
	_, err = t.exec(ctx, `INSERT INTO tokens (hash, account_id, project_id, methods, audit_id, issued, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, v.Hash, v.AccountID, orNull(v.ProjectID), methods, v.AuditID, micros(v.IssuedAt),
		micros(v.ExpiresAt))
	return op(err, "create token of account %s", v.AccountID)
}

func (t tokens) Delete(ctx context.Context, hash string) error {
	_, err := t.exec(ctx, "DELETE FROM tokens WHERE hash = ?", hash)
	return op(err, "delete token")
}

func (t tokens) DeleteByAccount(ctx context.Context, accountID string) error {
	_, err := t.exec(ctx, "DELETE FROM tokens WHERE account_id = ?", accountID)
	return op(err, "delete tokens of account %s", accountID)
}

func (t tokens) DeleteExpired(ctx context.Context, at time.Time) (int, error) {
	n, err := t.exec(ctx, "DELETE FROM tokens WHERE expires < ?", micros(at))
	return int(n), op(err, "delete expired tokens")
}
