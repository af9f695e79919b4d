package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// UsersBody lists an instance's users.
type UsersBody struct {
	Users      []User `json:"users"`
	Links      []Link `json:"links,omitempty"`
	UsersLinks []Link `json:"users_links,omitempty"`
}

// UserBody is one of them.
type UserBody struct {
	User User `json:"user"`
}

// User is an account of an instance with the databases that it has all rights on.
type User struct {
	Name      string         `json:"name"`
	Host      string         `json:"host"`
	Databases []DatabaseName `json:"databases"`
}

// NewUsersBody asks for users.
type NewUsersBody struct {
	Users []NewUser `json:"users" maxItems:"1000"`
}

// NewUser is one to make.
type NewUser struct {
	Name      string     `json:"name" minLength:"1" maxLength:"255"`
	Password  string     `json:"password" minLength:"1" maxLength:"255" writeOnly:"true"`
	Host      string     `json:"host,omitempty" maxLength:"255" doc:"% when left out: from everywhere"`
	Databases []Database `json:"databases,omitempty" maxItems:"1000"`
}

// PasswordsBody changes passwords.
type PasswordsBody struct {
	Users []Password `json:"users" maxItems:"100"`
}

// Password is a user's new one.
type Password struct {
	Name      string     `json:"name" minLength:"1" maxLength:"255"`
	Password  string     `json:"password" minLength:"1" maxLength:"255" writeOnly:"true"`
	Host      string     `json:"host,omitempty" maxLength:"255"`
	Databases []Database `json:"databases,omitempty" doc:"Accepted as Trove does, and not looked at"`
}

// UserChangeBody changes a user.
type UserChangeBody struct {
	User UserChange `json:"user"`
}

// UserChange holds what is to be different.
type UserChange struct {
	Name     *string `json:"name,omitempty" minLength:"1" maxLength:"255"`
	Password *string `json:"password,omitempty" minLength:"1" maxLength:"255" writeOnly:"true"`
	Host     *string `json:"host,omitempty" minLength:"1" maxLength:"255"`
}

func (s *server) userRoutes(t *table) {
	const all, one = "instances/{id}/users", "instances/{id}/users/{user}"
	on(t, spec{method: http.MethodPost, path: all, id: "createUsers", tag: "users", summary: "Create users",
		status: http.StatusAccepted, errs: guestErrors}, s.createUsers)
	on(t, spec{method: http.MethodGet, path: all, id: "listUsers", tag: "users", summary: "List users by name and host",
		status: http.StatusOK, errs: guestErrors, query: pageParams}, s.listUsers)
	on(t, spec{method: http.MethodPut, path: all, id: "setPasswords", tag: "users", summary: "Change passwords",
		status: http.StatusAccepted, errs: guestErrors}, s.setPasswords)
	on(t, spec{method: http.MethodGet, path: one, id: "showUser", tag: "users", summary: "Show a user: name or name@host",
		status: http.StatusOK, errs: guestErrors}, s.showUser)
	on(t, spec{method: http.MethodPut, path: one, id: "updateUser", tag: "users", summary: "Change a user's name, password or host",
		status: http.StatusAccepted, errs: guestErrors}, s.updateUser)
	on(t, spec{method: http.MethodDelete, path: one, id: "deleteUser", tag: "users", summary: "Delete a user",
		status: http.StatusAccepted, errs: guestErrors}, s.deleteUser)
}

func (s *server) createUsers(ctx context.Context, r *request, in *NewUsersBody) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	us, err := newUsers(in.Users)
	if err != nil || len(us) == 0 {
		return nil, err
	}
	return nil, guestFault(i.ID, s.Guests.CreateUsers(ctx, i.ID, us))
}

func (s *server) listUsers(ctx context.Context, r *request, _ *none) (*UsersBody, error) {
	limit, marker, err := r.guestPage(s.Limits.PageSize)
	if err != nil {
		return nil, err
	}
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	us, err := s.Guests.Users(ctx, i.ID, protocol.ListRequest{Limit: limit + 1, Marker: marker})
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	body := &UsersBody{Users: make([]User, 0, len(us))}
	if len(us) > limit {
		us = us[:limit]
		body.Links = r.next(us[limit-1].Name + "@" + us[limit-1].Host)
		body.UsersLinks = body.Links
	}
	for k := range us {
		body.Users = append(body.Users, userView(us[k]))
	}
	return body, nil
}

func userView(u model.User) User {
	return User{Name: u.Name, Host: orDefault(u.Host, anyHost), Databases: names(u.Databases)}
}

// setPasswords changes nothing when one of the users is not there.
func (s *server) setPasswords(ctx context.Context, r *request, in *PasswordsBody) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	for k := range in.Users {
		if err := checkPassword(in.Users[k].Password); err != nil {
			return nil, err
		}
		u, err := existing(in.Users[k].Name, orDefault(in.Users[k].Host, anyHost))
		if err != nil {
			return nil, err
		}
		if _, err := s.Guests.User(ctx, i.ID, u); err != nil {
			return nil, guestFault(i.ID, err)
		}
	}
	for k := range in.Users {
		u := &in.Users[k]
		err := s.Guests.UpdateUser(ctx, i.ID, protocol.UserUpdate{Name: u.Name, Host: orDefault(u.Host, anyHost), NewPassword: &u.Password})
		if err != nil {
			return nil, guestFault(i.ID, err)
		}
	}
	return nil, nil //nolint:nilnil // an answer without a body
}

func (s *server) showUser(ctx context.Context, r *request, _ *none) (*UserBody, error) {
	_, u, err := s.user(ctx, r)
	if err != nil {
		return nil, err
	}
	return &UserBody{User: userView(u)}, nil
}

// user is the one that the path names.
func (s *server) user(ctx context.Context, r *request) (model.Instance, model.User, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return i, model.User{}, err
	}
	wanted, err := existing(userOf(r.path["user"]))
	if err != nil {
		return i, model.User{}, err
	}
	u, err := s.Guests.User(ctx, i.ID, wanted)
	return i, u, guestFault(i.ID, err)
}

func (s *server) updateUser(ctx context.Context, r *request, in *UserChangeBody) (*none, error) {
	c := in.User
	if c.Name == nil && c.Password == nil && c.Host == nil {
		return nil, badRequest("Validation error: user needs a name, a password or a host.")
	}
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	if c.Name != nil {
		if err := checkUserName(*c.Name); err != nil {
			return nil, err
		}
	}
	if c.Host != nil {
		if err := checkHost(*c.Host); err != nil {
			return nil, err
		}
		host := strings.ToLower(*c.Host)
		c.Host = &host
	}
	if c.Password != nil {
		if err := checkPassword(*c.Password); err != nil {
			return nil, err
		}
	}
	u, err := existing(userOf(r.path["user"]))
	if err != nil {
		return nil, err
	}
	return nil, guestFault(i.ID, s.Guests.UpdateUser(ctx, i.ID, protocol.UserUpdate{
		Name: u.Name, Host: u.Host, NewName: c.Name, NewHost: c.Host, NewPassword: c.Password,
	}))
}

func (s *server) deleteUser(ctx context.Context, r *request, _ *none) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	u, err := existing(userOf(r.path["user"]))
	if err != nil {
		return nil, err
	}
	return nil, guestFault(i.ID, s.Guests.DeleteUser(ctx, i.ID, u))
}
