package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

var _ api.Guests = (*guests)(nil)

// testCA is the certificate of a made-up authority.
var testCA = func() string {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}()

// guests is one database that answers for all instances.
type guests struct {
	mu        sync.Mutex
	databases []model.Database
	users     []model.User
	root      protocol.RootReply
	general   bool
	log       []byte
	states    map[string]protocol.GuestStatus
	silent    string // an instance whose agent does not answer
}

func newGuests() *guests {
	return &guests{log: []byte("one\ntwo\nthree\n"), states: map[string]protocol.GuestStatus{}}
}

func (g *guests) bootstrap(b *model.Bootstrap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.databases = append(g.databases, b.Databases...)
	for _, u := range b.Users {
		g.users = append(g.users, withHost(u))
	}
}

func withHost(u model.User) model.User {
	if u.Host == "" {
		u.Host = "%"
	}
	return u
}

// passwordOf gives what the database knows.
func (g *guests) passwordOf(name string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.users {
		if u.Name == name {
			return u.Password
		}
	}
	return ""
}

func no(what string) error {
	return &bus.CallError{Code: protocol.CodeNotFound, Message: "there is no " + what}
}

func (g *guests) Status(_ context.Context, id string) (protocol.GuestStatus, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silent == id {
		return protocol.GuestStatus{}, bus.ErrTimeout
	}
	return g.states[id], nil
}

// describe has a member do its part in a cluster.
func (g *guests) describe(m *model.Instance, c model.Cluster) {
	part := &failover.Status{Mysqld: failover.MysqldUp, Writes: failover.WritesOn, Serving: failover.Serving{SemiSync: true, Acks: 1}}
	if m.ID != c.PrimaryID {
		part = &failover.Status{Mysqld: failover.MysqldUp, Writes: failover.WritesOff, Receiver: failover.Receiver{
			State: failover.ReceiverRunning, Source: c.PrimaryID, Acknowledges: true,
		}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.states[m.ID] = protocol.GuestStatus{Epoch: c.Epoch, Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing}, Part: part}
}

func after[T any](all []T, r protocol.ListRequest, name func(T) string) []T {
	var page []T
	for _, v := range all {
		if name(v) > r.Marker && (r.Limit == 0 || len(page) < r.Limit) {
			page = append(page, v)
		}
	}
	return page
}

func (g *guests) Databases(_ context.Context, _ string, r protocol.ListRequest) ([]model.Database, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return after(g.databases, r, func(d model.Database) string { return d.Name }), nil
}

func (g *guests) CreateDatabases(_ context.Context, _ string, ds []model.Database) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.databases = append(g.databases, ds...)
	slices.SortFunc(g.databases, func(a, b model.Database) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func (g *guests) DeleteDatabase(_ context.Context, _, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.databases)
	g.databases = slices.DeleteFunc(g.databases, func(d model.Database) bool { return d.Name == name })
	if len(g.databases) == n {
		return no("database " + name)
	}
	return nil
}

func (g *guests) find(name, host string) (*model.User, error) {
	for i := range g.users {
		if g.users[i].Name == name && g.users[i].Host == host {
			return &g.users[i], nil
		}
	}
	return nil, no("user " + name + "@" + host)
}

func (g *guests) Users(_ context.Context, _ string, r protocol.ListRequest) ([]model.User, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return after(g.users, r, func(u model.User) string { return u.Name + "@" + u.Host }), nil
}

func (g *guests) User(_ context.Context, _ string, r protocol.UserRequest) (model.User, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, err := g.find(r.Name, r.Host)
	if err != nil {
		return model.User{}, err
	}
	return *u, nil
}

func (g *guests) CreateUsers(_ context.Context, _ string, us []model.User) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range us {
		g.users = append(g.users, withHost(u))
	}
	slices.SortFunc(g.users, func(a, b model.User) int { return strings.Compare(a.Name+"@"+a.Host, b.Name+"@"+b.Host) })
	return nil
}

func (g *guests) UpdateUser(_ context.Context, _ string, r protocol.UserUpdate) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, err := g.find(r.Name, r.Host)
	if err == nil && r.NewPassword != nil {
		u.Password = *r.NewPassword
	}
	return err
}

func (g *guests) DeleteUser(_ context.Context, _ string, r protocol.UserRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users = slices.DeleteFunc(g.users, func(u model.User) bool { return u.Name == r.Name && u.Host == r.Host })
	return nil
}

func (g *guests) Grant(_ context.Context, _ string, r protocol.GrantRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, err := g.find(r.Name, r.Host)
	if err == nil {
		u.Databases = append(u.Databases, r.Databases...)
	}
	return err
}

func (g *guests) Revoke(_ context.Context, _ string, r protocol.GrantRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, err := g.find(r.Name, r.Host)
	if err == nil {
		u.Databases = slices.DeleteFunc(u.Databases, func(d string) bool { return slices.Contains(r.Databases, d) })
	}
	return err
}

func (g *guests) Root(context.Context, string) (protocol.RootReply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return protocol.RootReply{Enabled: g.root.Enabled}, nil
}

func (g *guests) EnableRoot(_ context.Context, _, password string) (protocol.RootReply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if password == "" {
		password = "made by the guest"
	}
	g.root = protocol.RootReply{Enabled: true, Password: password}
	return g.root, nil
}

func (g *guests) DisableRoot(context.Context, string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.root = protocol.RootReply{}
	return nil
}

func (g *guests) Logs(context.Context, string) ([]protocol.Log, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return []protocol.Log{
		{Name: "error", Type: "SYS", Enabled: true, Size: int64(len(g.log))}, {Name: "general", Type: "USER", Enabled: g.general},
	}, nil
}

func (g *guests) SetLog(_ context.Context, _ string, r protocol.LogSet) (protocol.Log, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Name != "general" {
		return protocol.Log{}, no("log " + r.Name)
	}
	g.general = r.Enable
	return protocol.Log{Name: "general", Type: "USER", Enabled: g.general}, nil
}

func (g *guests) ReadLog(_ context.Context, _ string, r protocol.LogRead) (protocol.LogChunk, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	size := int64(len(g.log))
	from := r.Offset
	if from < 0 {
		from = max(0, size+from)
	}
	from = min(from, size)
	return protocol.LogChunk{Data: g.log[from:min(from+5, size)], Offset: from, Size: size}, nil // small pieces: readers must go on
}
