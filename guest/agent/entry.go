package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/fault"
)

// Files of the entry, in the state directory.
const (
	passwordFile = "agent.password" // the password of the agent's account
	accountsFile = "accounts.json"  // says that the accounts are prepared
)

// accountsVersion is raised when preparing accounts comes to mean more; an older mark has it done again.
const accountsVersion = 2

// Fault points on the way in.
const (
	pointPassword fault.Point = "agent.entry.password" // the password is on the volume, and not in MySQL yet
	pointWritable fault.Point = "agent.entry.writable"
	pointAccount  fault.Point = "agent.entry.account" // the agent's account is made, and root can still come in
	pointDropped  fault.Point = "agent.entry.dropped"
	pointClosed   fault.Point = "agent.entry.closed"
	pointMarked   fault.Point = "agent.entry.marked"
)

// errShut means that MySQL accepts neither the agent's account nor the root of a fresh data directory.
var errShut = errors.New("the agent cannot sign in to MySQL: the data directory's accounts are not those of this volume")

// entry is the way into mysqld. A fresh data directory has root@localhost without a password, reachable only by the socket, which lies in a
// directory of the agent's user alone. That root is used once, to make the agent's own account, and removed.
type entry struct {
	socket string
	dir    string
	logs   admin.Logs
}

type accountsMark struct {
	Version int `json:"version"`
}

// come signs in, and has the accounts prepared if they are not. Clients are out all the while. Safe to repeat after a crash at any line.
//
// The order is what makes it so: the password is durable before MySQL learns it; the agent's account cannot sign in before it is whole; root
// goes only after the agent has signed in; the mark is written last.
func (e entry) come(ctx context.Context) (*sql.DB, *admin.Server, error) {
	password, err := e.password()
	if err != nil {
		return nil, nil, err
	}
	fault.Pass(ctx, pointPassword)
	db, err := e.dial(ctx, admin.Login{Socket: e.socket, User: admin.AgentUser, Password: password}, 4)
	if admin.Denied(err) {
		if err := e.makeAccount(ctx, password); err != nil {
			return nil, nil, err
		}
		db, err = e.dial(ctx, admin.Login{Socket: e.socket, User: admin.AgentUser, Password: password}, 4)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := e.clean(ctx, password); err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return db, admin.New(db, e.logs), nil
}

// sessions are n more of the agent's, once it has come in.
func (e entry) sessions(ctx context.Context, n int) (*sql.DB, error) {
	password, err := e.password()
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, admin.Login{Socket: e.socket, User: admin.AgentUser, Password: password}, n)
}

func (e entry) dial(ctx context.Context, l admin.Login, n int) (*sql.DB, error) {
	db, err := admin.Dial(l, n)
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// makeAccount makes the agent's account as the fresh directory's root.
func (e entry) makeAccount(ctx context.Context, password string) error {
	db, err := e.dial(ctx, admin.Login{Socket: e.socket, User: "root", Local: true}, 1)
	if admin.Denied(err) {
		return errShut
	}
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	// Root came in, so this directory is fresh, and a mark is of another one: made anew after a crash that came before the first was on disk.
	if err := removeFile(filepath.Join(e.dir, accountsFile)); err != nil {
		return err
	}
	accounts := admin.NewAccounts(admin.New(db, e.logs))
	if err := accounts.AllowWrites(ctx); err != nil {
		return err
	}
	fault.Pass(ctx, pointWritable)
	if err := accounts.MakeAgent(ctx, password); err != nil {
		return err
	}
	fault.Pass(ctx, pointAccount)
	return nil
}

// clean removes the accounts that anyone could enter, unless the mark says that this was done.
func (e entry) clean(ctx context.Context, password string) error {
	var mark accountsMark
	if found, err := readJSON(filepath.Join(e.dir, accountsFile), &mark); err == nil && found && mark.Version >= accountsVersion {
		return nil
	}
	db, err := e.dial(ctx, admin.Login{Socket: e.socket, User: admin.AgentUser, Password: password, Local: true}, 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	accounts := admin.NewAccounts(admin.New(db, e.logs))
	if err := accounts.AllowWrites(ctx); err != nil {
		return err
	}
	if err := accounts.DropDefaults(ctx); err != nil {
		return err
	}
	fault.Pass(ctx, pointDropped)
	// Later it could not be made on a replica, and a cluster is cloned from replicas.
	if err := replication.PrepareDonor(ctx, db); err != nil {
		return err
	}
	if err := accounts.Close(ctx); err != nil {
		return err
	}
	fault.Pass(ctx, pointClosed)
	if err := writeJSON(filepath.Join(e.dir, accountsFile), accountsMark{Version: accountsVersion}); err != nil {
		return err
	}
	fault.Pass(ctx, pointMarked)
	return nil
}

// password reads the account's password, or makes it, durably, before anyone else knows it.
func (e entry) password() (string, error) {
	path := filepath.Join(e.dir, passwordFile)
	b, err := os.ReadFile(path) // #nosec G304 -- the agent's own file
	switch {
	case err == nil && len(b) > 0:
		return string(b), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the agent's password: %w", err)
	}
	password := admin.NewPassword()
	if err := writeFile(path, []byte(password)); err != nil {
		return "", err
	}
	return password, nil
}
