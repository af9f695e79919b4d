// Package coord is the coordination that Huker's parts share: small values with compare-and-set, sessions whose
// loss others see, watches, and election.
//
// It owns the interface, its errors and what is built on it alone (Elect); an engine (etcd, ZooKeeper) lives in a package of its
// own and passes coordtest. It must not know what the values mean.
package coord

import (
	"context"
	"errors"
	"time"
)

// Errors that every engine returns, wrapped.
var (
	ErrNotFound = errors.New("coord: no such key")
	// ErrConflict means that an operation's condition did not hold; nothing was done.
	ErrConflict = errors.New("coord: changed meanwhile")
	// ErrSessionLost means that the session has expired, and its ephemeral keys with it.
	ErrSessionLost = errors.New("coord: session lost")
	// ErrUnavailable means that the engine could not be reached, so that it is not known whether a change was made.
	ErrUnavailable = errors.New("coord: unavailable")
	// ErrDenied means that the credentials do not allow it.
	ErrDenied = errors.New("coord: denied")
)

// Revision identifies one state of one key: compare it only for equality. 0 stands for "absent".
type Revision int64

// Entry is a key with its value.
type Entry struct {
	Key      string // "/a/b/c": absolute, no empty parts, no trailing slash
	Value    []byte // at most 512 KiB
	Revision Revision
	Created  int64  // rises with each creation in the store: the fencing token of an ephemeral key
	Session  string // the owner's session id; empty when the key is durable
}

// Event says that a key changed. Entry is nil when the key is gone.
type Event struct {
	Key    string
	Entry  *Entry
	Resync bool // events were lost: read everything under the prefix again (Key and Entry are empty)
}

// Op is one part of an atomic change; made by Create, Put, Update, Delete, Check.
type Op struct {
	Kind     OpKind
	Key      string
	Value    []byte
	Revision Revision
	Session  Session // for an ephemeral key
}

// OpKind says what an Op does.
type OpKind int

// Kinds of Op.
const (
	OpCreate OpKind = iota + 1 // fails when the key exists
	OpPut                      // writes in any case
	OpUpdate                   // fails unless the key is at Revision
	OpDelete                   // fails unless the key is at Revision; Revision 0 deletes in any case
	OpCheck                    // fails unless the key is at Revision (0: absent)
)

// Create makes a durable key that must not exist.
func Create(key string, value []byte) Op { return Op{Kind: OpCreate, Key: key, Value: value} }

// CreateEphemeral makes a key that lives as long as the session and must not exist.
func CreateEphemeral(key string, value []byte, s Session) Op {
	return Op{Kind: OpCreate, Key: key, Value: value, Session: s}
}

// Put writes a key in any case. An ephemeral key keeps its session only if the same session is given.
func Put(key string, value []byte, s Session) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Session: s}
}

// Update writes a key that must be at revision r; it keeps its session.
func Update(key string, value []byte, r Revision) Op {
	return Op{Kind: OpUpdate, Key: key, Value: value, Revision: r}
}

// Delete removes a key that must be at revision r (0: in any case, also when it is gone).
func Delete(key string, r Revision) Op { return Op{Kind: OpDelete, Key: key, Revision: r} }

// Check lets the whole change fail unless the key is at revision r (0: absent).
func Check(key string, r Revision) Op { return Op{Kind: OpCheck, Key: key, Revision: r} }

// Store is one client's connection.
type Store interface {
	Get(ctx context.Context, key string) (Entry, error)
	// List gives all entries strictly below prefix ("/a" gives "/a/b" and "/a/b/c", not "/a" or "/ab"), by key.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Apply makes all changes or none (ErrConflict).
	Apply(ctx context.Context, ops ...Op) error
	// Watch tells of each change below prefix (and of prefix itself) after it returned, in order, until ctx ends; then the channel is
	// closed. It survives a lost connection; after a gap it sends Resync.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)
	// NewSession opens a session that is kept alive until it is closed. When its holder dies, its keys go after ttl
	// (1 s and up).
	NewSession(ctx context.Context, ttl time.Duration) (Session, error)
	Close() error
}

// Session owns ephemeral keys.
type Session interface {
	ID() string
	// Done is closed as soon as the session may be lost: it expired, or it could not be renewed for so long that
	// others may see it as expired. Whoever acts in its name stops at once.
	Done() <-chan struct{}
	// Close ends the session and removes its keys now.
	Close(ctx context.Context) error
}

// Rights are what a principal may do with the keys at and below prefixes. A prefix may be in or below another one, of either kind, and then has what both
// give; and any number of principals may have the same one.
type Rights struct {
	Own []string // read, watch and write
	// Read is to read and to watch only: any change that writes there is denied as a whole. It may Check such a key at a revision, beside what it writes
	// to its own; whether it may Check that one is absent is the engine's affair.
	Read []string
}

// Gatekeeper makes and takes back the credentials with which one guest or host may use the engine.
type Gatekeeper interface {
	// Admit allows principal what rights says, and nothing else: rights of before that are not among them are gone, for open connections too. Idempotent.
	Admit(ctx context.Context, principal string, rights Rights) error
	// Expel takes everything back; open connections lose their rights too. No error when it is unknown.
	Expel(ctx context.Context, principal string) error
}
