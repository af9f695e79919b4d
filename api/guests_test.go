package api_test

import (
	"context"
	"slices"
	"sync"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/guestclient"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

var (
	_ api.Guests = (*guestclient.Client)(nil)
	_ api.Guests = (*guests)(nil)
)

// guests is one database that answers for all, by the rules of a guest.
type guests struct {
	mu        sync.Mutex
	err       error // of every call, when set
	databases []model.Database
	users     []model.User
	root      protocol.RootReply
	logs      []protocol.Log
	content   []byte
	asked     []string // kinds of calls with the instance
	states    map[string]protocol.GuestStatus
	silent    map[string]error // of whom no status is to be had
}

func newGuests() *guests {
	return &guests{
		logs:    []protocol.Log{{Name: "error", Type: "SYS", Enabled: true, Size: 12}, {Name: "general", Type: "USER"}},
		content: []byte("hello, world"), states: map[string]protocol.GuestStatus{}, silent: map[string]error{},
	}
}

func (g *guests) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// begin takes the lock, which the caller gives back by calling done.
func (g *guests) begin(kind, instance string) (done func(), err error) {
	g.mu.Lock()
	g.asked = append(g.asked, kind+" "+instance)
	return g.mu.Unlock, g.err
}

// says has an instance's agent answer with a status, or with an error.
func (g *guests) says(id string, s protocol.GuestStatus, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.states[id] = s
	delete(g.silent, id)
	if err != nil {
		g.silent[id] = err
	}
}

func refused(code, message string) error { return &bus.CallError{Code: code, Message: message} }

func (g *guests) Status(_ context.Context, id string) (protocol.GuestStatus, error) {
	done, err := g.begin("status", id)
	defer done()
	if silent := g.silent[id]; silent != nil {
		return protocol.GuestStatus{}, silent
	}
	return g.states[id], err
}

func (g *guests) Databases(_ context.Context, id string, r protocol.ListRequest) ([]model.Database, error) {
	done, err := g.begin("databases", id)
	defer done()
	var page []model.Database
	for _, d := range g.databases {
		if d.Name > r.Marker && (r.Limit == 0 || len(page) < r.Limit) {
			page = append(page, d)
		}
	}
	return page, err
}

func (g *guests) CreateDatabases(_ context.Context, id string, ds []model.Database) error {
	done, err := g.begin("create databases", id)
	defer done()
	if err != nil {
		return err
	}
	for _, d := range ds {
		if slices.ContainsFunc(g.databases, func(h model.Database) bool { return h.Name == d.Name }) {
			return refused(protocol.CodeExists, "database \""+d.Name+"\" exists")
		}
	}
	g.databases = append(g.databases, ds...)
	slices.SortFunc(g.databases, func(a, b model.Database) int { return cmp(a.Name, b.Name) })
	return nil
}

func cmp(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (g *guests) DeleteDatabase(_ context.Context, id, name string) error {
	done, err := g.begin("delete database", id)
	defer done()
	if err != nil {
		return err
	}
	n := len(g.databases)
	g.databases = slices.DeleteFunc(g.databases, func(d model.Database) bool { return d.Name == name })
	if len(g.databases) == n {
		return refused(protocol.CodeNotFound, "there is no database "+name)
	}
	return nil
}

func (g *guests) find(name, host string) *model.User {
	for i := range g.users {
		if g.users[i].Name == name && g.users[i].Host == host {
			return &g.users[i]
		}
	}
	return nil
}

func (g *guests) Users(_ context.Context, id string, r protocol.ListRequest) ([]model.User, error) {
	done, err := g.begin("users", id)
	defer done()
	var page []model.User
	for _, u := range g.users {
		if u.Name+"@"+u.Host > r.Marker && (r.Limit == 0 || len(page) < r.Limit) {
			u.Password = "" // never read back
			page = append(page, u)
		}
	}
	return page, err
}

func (g *guests) User(_ context.Context, id string, r protocol.UserRequest) (model.User, error) {
	done, err := g.begin("user", id)
	defer done()
	if err != nil {
		return model.User{}, err
	}
	u := g.find(r.Name, r.Host)
	if u == nil {
		return model.User{}, refused(protocol.CodeNotFound, "there is no user "+r.Name+"@"+r.Host)
	}
	return *u, nil
}

func (g *guests) CreateUsers(_ context.Context, id string, us []model.User) error {
	done, err := g.begin("create users", id)
	defer done()
	if err != nil {
		return err
	}
	for _, u := range us {
		if u.Host == "" {
			u.Host = "%"
		}
		if g.find(u.Name, u.Host) != nil {
			return refused(protocol.CodeExists, "user "+u.Name+" exists")
		}
		g.users = append(g.users, u)
	}
	slices.SortFunc(g.users, func(a, b model.User) int { return cmp(a.Name+"@"+a.Host, b.Name+"@"+b.Host) })
	return nil
}

func (g *guests) UpdateUser(_ context.Context, id string, u protocol.UserUpdate) error {
	done, err := g.begin("update user", id)
	defer done()
	if err != nil {
		return err
	}
	have := g.find(u.Name, u.Host)
	if have == nil {
		return refused(protocol.CodeNotFound, "there is no user "+u.Name+"@"+u.Host)
	}
	if u.NewName != nil {
		have.Name = *u.NewName
	}
	if u.NewHost != nil {
		have.Host = *u.NewHost
	}
	if u.NewPassword != nil {
		have.Password = *u.NewPassword
	}
	return nil
}

func (g *guests) DeleteUser(_ context.Context, id string, r protocol.UserRequest) error {
	done, err := g.begin("delete user", id)
	defer done()
	if err != nil {
		return err
	}
	n := len(g.users)
	g.users = slices.DeleteFunc(g.users, func(u model.User) bool { return u.Name == r.Name && u.Host == r.Host })
	if len(g.users) == n {
		return refused(protocol.CodeNotFound, "there is no user "+r.Name+"@"+r.Host)
	}
	return nil
}

func (g *guests) Grant(_ context.Context, id string, r protocol.GrantRequest) error {
	done, err := g.begin("grant", id)
	defer done()
	if err != nil {
		return err
	}
	u := g.find(r.Name, r.Host)
	u.Databases = append(u.Databases, r.Databases...)
	return nil
}

func (g *guests) Revoke(_ context.Context, id string, r protocol.GrantRequest) error {
	done, err := g.begin("revoke", id)
	defer done()
	if err != nil {
		return err
	}
	u := g.find(r.Name, r.Host)
	u.Databases = slices.DeleteFunc(u.Databases, func(d string) bool { return slices.Contains(r.Databases, d) })
	return nil
}

func (g *guests) Root(_ context.Context, id string) (protocol.RootReply, error) {
	done, err := g.begin("root", id)
	defer done()
	return protocol.RootReply{Enabled: g.root.Enabled}, err
}

func (g *guests) EnableRoot(_ context.Context, id, password string) (protocol.RootReply, error) {
	done, err := g.begin("enable root", id)
	defer done()
	if err != nil {
		return protocol.RootReply{}, err
	}
	g.root = protocol.RootReply{Enabled: true, Password: orText(password, "made-by-the-guest")}
	return g.root, nil
}

func (g *guests) DisableRoot(_ context.Context, id string) error {
	done, err := g.begin("disable root", id)
	defer done()
	g.root = protocol.RootReply{}
	return err
}

func (g *guests) Logs(_ context.Context, id string) ([]protocol.Log, error) {
	done, err := g.begin("logs", id)
	defer done()
	return slices.Clone(g.logs), err
}

func (g *guests) SetLog(_ context.Context, id string, s protocol.LogSet) (protocol.Log, error) {
	done, err := g.begin("set log", id)
	defer done()
	if err != nil {
		return protocol.Log{}, err
	}
	for i := range g.logs {
		if l := &g.logs[i]; l.Name == s.Name {
			if l.Type == "SYS" && s.Disable {
				return protocol.Log{}, refused(protocol.CodeInvalid, "the log error is always on")
			}
			l.Enabled = (l.Enabled || s.Enable) && !s.Disable
			if s.Discard {
				l.Size = 0
			}
			return *l, nil
		}
	}
	return protocol.Log{}, refused(protocol.CodeNotFound, "there is no log "+s.Name)
}

func (g *guests) ReadLog(_ context.Context, id string, r protocol.LogRead) (protocol.LogChunk, error) {
	done, err := g.begin("read log", id)
	defer done()
	if err != nil {
		return protocol.LogChunk{}, err
	}
	if r.Name != "error" {
		return protocol.LogChunk{}, refused(protocol.CodeNotFound, "there is no log "+r.Name)
	}
	size := int64(len(g.content))
	if r.Offset < 0 {
		r.Offset = max(0, size+r.Offset)
	}
	from := min(r.Offset, size)
	to := min(from+int64(r.Limit), size)
	return protocol.LogChunk{Data: g.content[from:to], Offset: from, Size: size}, nil
}
