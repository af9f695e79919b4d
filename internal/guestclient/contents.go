package guestclient

import (
	"context"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Databases lists a page of databases.
func (c *Client) Databases(ctx context.Context, instance string, r protocol.ListRequest) ([]model.Database, error) {
	var ds []model.Database
	err := c.call(ctx, instance, protocol.KindDatabaseList, r, &ds)
	return ds, err
}

// CreateDatabases makes databases.
func (c *Client) CreateDatabases(ctx context.Context, instance string, ds []model.Database) error {
	return c.call(ctx, instance, protocol.KindDatabaseCreate, ds, nil)
}

// DeleteDatabase drops a database.
func (c *Client) DeleteDatabase(ctx context.Context, instance, name string) error {
	return c.call(ctx, instance, protocol.KindDatabaseDelete, protocol.NameRequest{Name: name}, nil)
}

// Users lists a page of users.
func (c *Client) Users(ctx context.Context, instance string, r protocol.ListRequest) ([]model.User, error) {
	var us []model.User
	err := c.call(ctx, instance, protocol.KindUserList, r, &us)
	return us, err
}

// User shows a user.
func (c *Client) User(ctx context.Context, instance string, r protocol.UserRequest) (model.User, error) {
	var u model.User
	err := c.call(ctx, instance, protocol.KindUserShow, r, &u)
	return u, err
}

// CreateUsers makes users.
func (c *Client) CreateUsers(ctx context.Context, instance string, us []model.User) error {
	return c.call(ctx, instance, protocol.KindUserCreate, us, nil)
}

// UpdateUser changes a user.
func (c *Client) UpdateUser(ctx context.Context, instance string, u protocol.UserUpdate) error {
	return c.call(ctx, instance, protocol.KindUserUpdate, u, nil)
}

// DeleteUser drops a user.
func (c *Client) DeleteUser(ctx context.Context, instance string, r protocol.UserRequest) error {
	return c.call(ctx, instance, protocol.KindUserDelete, r, nil)
}

// Grant gives a user all rights on databases.
func (c *Client) Grant(ctx context.Context, instance string, r protocol.GrantRequest) error {
	return c.call(ctx, instance, protocol.KindGrant, r, nil)
}

// Revoke takes a user's rights on a database.
func (c *Client) Revoke(ctx context.Context, instance string, r protocol.GrantRequest) error {
	return c.call(ctx, instance, protocol.KindRevoke, r, nil)
}

// Root says whether root is enabled.
func (c *Client) Root(ctx context.Context, instance string) (protocol.RootReply, error) {
	var r protocol.RootReply
	err := c.call(ctx, instance, protocol.KindRootShow, nil, &r)
	return r, err
}

// EnableRoot enables root; with an empty password the guest makes one.
func (c *Client) EnableRoot(ctx context.Context, instance, password string) (protocol.RootReply, error) {
	var r protocol.RootReply
	err := c.call(ctx, instance, protocol.KindRootEnable, protocol.RootRequest{Password: password}, &r)
	return r, err
}

// DisableRoot disables root.
func (c *Client) DisableRoot(ctx context.Context, instance string) error {
	return c.call(ctx, instance, protocol.KindRootDisable, nil, nil)
}

// Logs lists mysqld's logs.
func (c *Client) Logs(ctx context.Context, instance string) ([]protocol.Log, error) {
	var ls []protocol.Log
	err := c.call(ctx, instance, protocol.KindLogList, nil, &ls)
	return ls, err
}

// SetLog switches or empties a log.
func (c *Client) SetLog(ctx context.Context, instance string, s protocol.LogSet) (protocol.Log, error) {
	var l protocol.Log
	err := c.call(ctx, instance, protocol.KindLogSet, s, &l)
	return l, err
}

// ReadLog reads a part of a log.
func (c *Client) ReadLog(ctx context.Context, instance string, r protocol.LogRead) (protocol.LogChunk, error) {
	var l protocol.LogChunk
	err := c.call(ctx, instance, protocol.KindLogRead, r, &l)
	return l, err
}
