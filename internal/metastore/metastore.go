// Package metastore is where Huker keeps what was asked for and what was last seen: its metadata.
//
// It owns the interface and its errors; an engine (SQLite, MySQL) lives in a package of its own and passes
// metastoretest. Nothing above this package knows which engine it runs on.
package metastore

import (
	"context"
	"errors"
	"time"

	"github.com/huker/huker/internal/model"
)

// Errors that every engine returns, wrapped.
var (
	ErrNotFound = errors.New("metastore: not found")
	ErrExists   = errors.New("metastore: already exists")
	// ErrConflict means that the row was changed by someone else since it was read: read it again.
	ErrConflict = errors.New("metastore: changed meanwhile")
	// ErrReadOnly means that fn tried to write in a View.
	ErrReadOnly = errors.New("metastore: read-only transaction")
	// ErrClosed means that the store has been closed.
	ErrClosed = errors.New("metastore: closed")
	// ErrTermOver means that somebody else acts in the role now.
	ErrTermOver = errors.New("metastore: the term is over")
	// ErrNewer means that the data was written by a newer version of the program, and is not touched.
	ErrNewer = errors.New("metastore: written by a newer version")
	// ErrUnavailable means that the server could not be reached, or would not write, for longer than is worth waiting. Nothing of
	// the transaction took place.
	ErrUnavailable = errors.New("metastore: unavailable")
	// ErrUnknown means that the server went away in the middle of a commit: the transaction took place as a whole or not at all, and
	// only a look at the rows can tell. The store does not run it again by itself: it might come out twice.
	ErrUnknown = errors.New("metastore: not known whether it was committed")
)

// Store is a transactional store. What Update has returned nil for survives a crash of the process and of the machine.
type Store interface {
	// Update runs fn in a serializable transaction that is committed when fn returns nil and rolled back otherwise.
	// fn may be run more than once and must have no other effects. It must not call Update of the same store: that may wait for ever.
	// A transaction that loses against another, or that a server's restart interrupts, is run again by the store; what is left for the caller is
	// ErrConflict (it lost all the time), ErrUnavailable and ErrUnknown. ctx ends any wait but that for a commit that was begun.
	Update(ctx context.Context, fn func(Tx) error) error
	// View runs fn on one consistent snapshot; writes in it give ErrReadOnly.
	View(ctx context.Context, fn func(Tx) error) error
	// Ping says whether the store can be read and written.
	Ping(ctx context.Context) error
	// Close waits for the transactions that are under way; whatever comes after it gets ErrClosed.
	Close() error
}

// Tx gives the tables, one small interface each. It is good only inside the fn it was given to, and for
// one goroutine at a time. Times are kept to the microsecond and come back in UTC. Texts are UTF-8: bytes that are not come back as U+FFFD. Ids, and
// names that must differ, have at most 255 characters (MySQL refuses longer ones). Deletes of what is not there are no error, except
// where it is said. An error of one call leaves the transaction usable, so that fn may go on after ErrNotFound or ErrExists.
type Tx interface {
	Instances() Instances
	Clusters() Clusters
	Events() Events
	Catalogue() Catalogue
	Quotas() Quotas
	Hosts() Hosts
	Terms() Terms
	Identity() Identity
	Secrets() Secrets
}

// InstanceFilter narrows a listing; zero values do not filter.
type InstanceFilter struct {
	ProjectID string
	HostID    string
	ClusterID string
	// ClusterIDs are of several clusters; nil does not filter.
	ClusterIDs []string
	// Unclustered leaves out the members of clusters that users see: those that are alone, or in an implicit cluster, remain.
	Unclustered bool
	Marker      string // the id of the last instance of the page before; unknown ones, and those outside the filter, give ErrNotFound
	Limit       int    // 0: all
}

// Instances are listed newest first (by creation, then id).
type Instances interface {
	Get(ctx context.Context, id string) (model.Instance, error)
	List(ctx context.Context, f InstanceFilter) ([]model.Instance, error)
	// Create gives ErrExists when the id or (if not empty) the address is taken. It sets Version to 1.
	Create(ctx context.Context, i *model.Instance) error
	// Update compares i.Version with the row's (ErrConflict), writes, and raises i.Version.
	Update(ctx context.Context, i *model.Instance) error
	// Delete removes the row, and the instance's events and secrets with it; no error when it is gone. Those of a cluster with the same id stay, until
	// that is deleted, too.
	Delete(ctx context.Context, id string) error
	Usage(ctx context.Context, projectID string) (model.Usage, error)
	// Addresses lists all addresses in use, those of clusters' endpoints included.
	Addresses(ctx context.Context) ([]string, error)
}

// Events are append-only.
type Events interface {
	Append(ctx context.Context, e *model.Event) error // sets ID
	// List gives an instance's events, oldest first, at most limit of the newest (0: all).
	List(ctx context.Context, instanceID string, limit int) ([]model.Event, error)
}

// Catalogue holds flavors, datastores and their versions.
type Catalogue interface {
	Flavors(ctx context.Context) ([]model.Flavor, error) // by RAM, then id (shorter ids first: 9 before 10)
	PutFlavor(ctx context.Context, f model.Flavor) error
	// Datastores gives the products by name, and their versions, of each the oldest first.
	Datastores(ctx context.Context) ([]model.Datastore, []model.DatastoreVersion, error)
	PutDatastore(ctx context.Context, d model.Datastore) error
	Versions(ctx context.Context) ([]model.DatastoreVersion, error) // those of all products, and of none
	PutVersion(ctx context.Context, v model.DatastoreVersion) error
	DeleteVersion(ctx context.Context, id string) error
}

// Quotas are per project.
type Quotas interface {
	// Get gives ErrNotFound when the project has none of its own (the defaults apply).
	Get(ctx context.Context, projectID string) (model.Quota, error)
	Put(ctx context.Context, q model.Quota) error
}

// Hosts are the machines that sysmgrs have registered.
type Hosts interface {
	Get(ctx context.Context, id string) (model.Host, error)
	List(ctx context.Context) ([]model.Host, error)
	Put(ctx context.Context, h model.Host) error
	Delete(ctx context.Context, id string) error
	// Usage is what the instances on each host take; hosts without any are not in it.
	Usage(ctx context.Context) (map[string]model.HostUsage, error)
}

// Terms number those who act in a role one after the other, so that one who acted before is refused, however late it wakes up.
type Terms interface {
	// Begin gives the role's next number; from the commit on the former ones are over.
	Begin(ctx context.Context, role string) (int64, error)
	// Check gives ErrTermOver unless term is the role's newest, and keeps it so until the transaction ends.
	Check(ctx context.Context, role string, term int64) error
}

// Identity holds projects, accounts, roles, assignments and tokens.
type Identity interface {
	Projects() Table[model.Project]
	Accounts() Table[model.Account]
	Roles() Table[model.Role]
	Assignments(ctx context.Context, f model.Assignment) ([]model.Assignment, error) // empty fields of f do not filter
	Assign(ctx context.Context, a model.Assignment) error                            // no error when it is there; ErrNotFound when one of the three is not
	Unassign(ctx context.Context, a model.Assignment) error                          // ErrNotFound when it is not
	RolesOn(ctx context.Context, accountID, projectID string) ([]model.Role, error)  // an account's, on a project, by id
	Tokens() Tokens
}

// Bearer is who comes with a token. Every request asks for it.
type Bearer struct {
	Token   model.Token
	Account model.Account
	Project *model.Project // nil: the token is for none
	Roles   []model.Role   // the account's on Project, by id
}

// Table is a small set of named things, listed by name. Deleting a project or account removes its assignments and tokens, and
// deleting a role its assignments.
type Table[T any] interface {
	Get(ctx context.Context, id string) (T, error)
	ByName(ctx context.Context, name string) (T, error)
	List(ctx context.Context) ([]T, error)
	Create(ctx context.Context, v T) error // ErrExists when the id or name is taken
	Update(ctx context.Context, v T) error // ErrNotFound when it is not there; ErrExists when the new name is taken
	Delete(ctx context.Context, id string) error
}

// Tokens are looked up by hash.
type Tokens interface {
	Get(ctx context.Context, hash string) (model.Token, error)
	Bearer(ctx context.Context, hash string) (Bearer, error)
	Create(ctx context.Context, t model.Token) error // ErrExists; ErrNotFound when its account or project is not there
	Delete(ctx context.Context, hash string) error
	DeleteByAccount(ctx context.Context, accountID string) error
	// DeleteExpired removes the tokens that expired before t and says how many.
	DeleteExpired(ctx context.Context, t time.Time) (int, error)
}

// Secrets keeps small private blobs by owner and name (an instance's CA, guest credentials). The store's file or
// server must be readable by Huker alone.
type Secrets interface {
	Get(ctx context.Context, owner, name string) ([]byte, error)
	Put(ctx context.Context, owner, name string, value []byte) error
	DeleteOwner(ctx context.Context, owner string) error
}
