package admin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// shown selects the accounts that users see: not the server's, not Huker's, not roles (which MySQL keeps as accounts that can never
// sign in).
const shown = `User <> '' AND LOWER(User) NOT IN ('root', 'os_admin', 'huker') AND LOWER(User) NOT LIKE 'huker|_%' ESCAPE '|'
	AND LOWER(User) NOT LIKE 'mysql.%'
	AND NOT (account_locked = 'Y' AND password_expired = 'Y' AND authentication_string = '')`

// Users lists users with the databases that they have rights on, by name and host (in bytes), after the marker "name@host"; a limit of 0
// means the most that one answer holds (1000).
func (s *Server) Users(ctx context.Context, r protocol.ListRequest) ([]model.User, error) {
	name, host := "", ""
	if r.Marker != "" {
		name, host = r.Marker, AnyHost
		if i := strings.LastIndexByte(r.Marker, '@'); i >= 0 { // a host has no @, a name may
			name, host = r.Marker[:i], r.Marker[i+1:]
		}
	}
	users, err := s.users(ctx, "(User > ? OR (User = ? AND Host > ?)) ORDER BY User, Host LIMIT ?", name, name, host, pageSize(r.Limit))
	if err != nil {
		return nil, translate("list users", err, "")
	}
	return users, nil
}

// User shows one user.
func (s *Server) User(ctx context.Context, r protocol.UserRequest) (model.User, error) {
	host, err := cleanHost(r.Host)
	if err != nil || isReservedUser(r.Name) {
		return model.User{}, noUser(r.Name, r.Host)
	}
	users, err := s.users(ctx, "User = ? AND Host = ?", r.Name, host)
	switch {
	case err != nil:
		return model.User{}, translate("show user", err, "")
	case len(users) == 0:
		return model.User{}, noUser(r.Name, host)
	}
	return users[0], nil
}

func noUser(name, host string) error {
	if host == "" {
		host = AnyHost
	}
	return failf(ErrNotFound, "there is no user %s@%s", name, host)
}

// users reads the shown accounts that fit where, and their rights on databases.
func (s *Server) users(ctx context.Context, where string, args ...any) ([]model.User, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT User, Host FROM mysql.user WHERE "+shown+" AND "+where, args...) //nolint:gosec // both are constants of this package; what a client sends is in args
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	users, at := []model.User{}, map[[2]string]int{}
	for rows.Next() {
		u := model.User{}
		if err := rows.Scan(&u.Name, &u.Host); err != nil {
			return nil, err
		}
		at[[2]string{u.Name, u.Host}] = len(users)
		users = append(users, u)
	}
	if err := rows.Err(); err != nil || len(users) == 0 {
		return users, err
	}
	partial, err := s.partialRevokes(ctx)
	if err != nil {
		return nil, err
	}
	grants, err := s.db.QueryContext(ctx, "SELECT User, Host, Db FROM mysql.db WHERE User BETWEEN ? AND ? ORDER BY User, Host, Db", users[0].Name, users[len(users)-1].Name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = grants.Close() }()
	for grants.Next() {
		var name, host, database string
		if err := grants.Scan(&name, &host, &database); err != nil {
			return nil, err
		}
		database = grantedDatabase(database, partial)
		if i, ok := at[[2]string{name, host}]; ok && !isSystemDatabase(database) {
			users[i].Databases = append(users[i].Databases, database)
		}
	}
	return users, grants.Err()
}

func (s *Server) partialRevokes(ctx context.Context) (bool, error) {
	var on bool
	err := s.db.QueryRowContext(ctx, "SELECT @@GLOBAL.partial_revokes").Scan(&on)
	return on, err
}

// CreateUsers makes users with all rights on their databases. If existing is allowed, one that exists gets the password and the rights;
// else one that exists has nothing made, and ErrExists.
func (s *Server) CreateUsers(ctx context.Context, wanted []model.User, existing bool) error {
	partial, err := s.partialRevokes(ctx)
	if err != nil {
		return translate("create users", err, "")
	}
	var steps []statement
	for _, u := range wanted {
		host, err := checkUser(u)
		if err != nil {
			return err
		}
		if !existing {
			if _, err := s.User(ctx, protocol.UserRequest{Name: u.Name, Host: host}); err == nil {
				return failf(ErrExists, "user %s@%s exists", u.Name, host)
			} else if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		create := "CREATE USER "
		if existing {
			create += "IF NOT EXISTS "
		}
		steps = append(steps, stmt(create+"?@? IDENTIFIED WITH caching_sha2_password BY ?", u.Name, host, u.Password).hiding(u.Password))
		if existing {
			steps = append(steps, stmt("ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY ?", u.Name, host, u.Password).hiding(u.Password))
		}
		steps = append(steps, grants(u.Name, host, u.Databases, partial)...)
	}
	return s.run(ctx, "create users", steps...)
}

// checkUser checks a new user and gives the host.
func checkUser(u model.User) (host string, err error) {
	if err := checkNewUser(u.Name); err != nil {
		return "", err
	}
	if err := checkPassword(u.Password); err != nil {
		return "", err
	}
	if err := checkGranted(u.Databases); err != nil {
		return "", err
	}
	return cleanHost(u.Host)
}

// UpdateUser changes a user's password, name and host. When again (the request came before, and may have been carried out) a user who has the
// new name already is no error.
func (s *Server) UpdateUser(ctx context.Context, r protocol.UserUpdate, again bool) error { //nolint:gocyclo // a list of fields, one after the other
	old, err := s.User(ctx, protocol.UserRequest{Name: r.Name, Host: r.Host})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	missing := err
	name, host := r.Name, r.Host
	if r.NewName != nil {
		name = *r.NewName
		if err := checkNewUser(name); err != nil {
			return err
		}
	}
	if r.NewHost != nil {
		host = *r.NewHost
	}
	if host, err = cleanHost(host); err != nil {
		return err
	}
	if r.NewPassword != nil {
		if err := checkPassword(*r.NewPassword); err != nil {
			return err
		}
	}
	renamed := missing == nil && (name != old.Name || host != old.Host)
	if renamed || missing != nil {
		_, err := s.User(ctx, protocol.UserRequest{Name: name, Host: host})
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case missing != nil && again && err == nil:
			return nil // renaming was the last step
		case missing != nil:
			return missing
		case err == nil:
			return failf(ErrExists, "user %s@%s exists", name, host)
		}
	}
	var steps []statement
	if r.NewPassword != nil {
		steps = append(steps, stmt("ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY ?", old.Name, old.Host, *r.NewPassword).hiding(*r.NewPassword))
	}
	if renamed { // last: until then a repetition of the request finds the user
		steps = append(steps, stmt("RENAME USER ?@? TO ?@?", old.Name, old.Host, name, host))
	}
	return s.run(ctx, fmt.Sprintf("update user %s@%s", old.Name, old.Host), steps...)
}

// DeleteUser drops a user. Its open connections end too: a deleted user must not go on.
func (s *Server) DeleteUser(ctx context.Context, r protocol.UserRequest) error {
	u, err := s.User(ctx, r)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("delete user %s@%s", u.Name, u.Host)
	if err := s.run(ctx, op, stmt("DROP USER ?@?", u.Name, u.Host)); err != nil {
		return err
	}
	return s.disconnect(ctx, op, u.Name)
}

// disconnect ends the connections of all accounts of a name. MySQL does not tell which account a session was let in as; one of another
// account of the same name just comes back.
func (s *Server) disconnect(ctx context.Context, op, name string) error {
	// Not performance_schema.processlist: the performance schema may be off.
	rows, err := s.db.QueryContext(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return translate(op, err, "")
	}
	defer func() { _ = rows.Close() }()
	var ids []int64
	for rows.Next() {
		var (
			id   int64
			user string
			rest [6]sql.RawBytes
		)
		if err := rows.Scan(&id, &user, &rest[0], &rest[1], &rest[2], &rest[3], &rest[4], &rest[5]); err != nil {
			return translate(op, err, "")
		}
		if user == name {
			ids = append(ids, id)
		}
	}
	if err := rows.Err(); err != nil {
		return translate(op, err, "")
	}
	for _, id := range ids {
		if _, err := s.db.ExecContext(ctx, "KILL CONNECTION ?", id); err != nil && !isNumber(err, erNoSuchThread) {
			return translate(op, err, "")
		}
	}
	return nil
}
