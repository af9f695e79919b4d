// Package runtime is what Huker asks of a container runtime: containers that outlive Huker, volumes, images, limits.
//
// It owns the interfaces, their nouns and errors; a driver (docker, fake) lives in a package of its own and passes
// runtimetest. It imports nothing of Huker's, and must not know what runs in a container.
//
// Optional powers are small interfaces found by type assertion.
package runtime

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that every driver returns, wrapped.
var (
	ErrNotFound = errors.New("runtime: not found")
	// ErrExists means that the name is taken by something that was made from another Spec, or by something foreign.
	ErrExists = errors.New("runtime: already exists")
	// ErrForeign means that the thing does not carry the labels of this runtime's owner: it is not touched.
	ErrForeign     = errors.New("runtime: not Huker's")
	ErrUnavailable = errors.New("runtime: the engine does not answer")
	ErrNoImage     = errors.New("runtime: no such image")
	ErrNoSpace     = errors.New("runtime: no space left on device")
	ErrNotRunning  = errors.New("runtime: not running")
	ErrInUse       = errors.New("runtime: in use")
	// ErrInvalid means that what was asked for can never be.
	ErrInvalid = errors.New("runtime: invalid")
)

// OwnerLabel is on everything that a driver makes; its value is the owner the driver was opened with. A driver lists, changes
// and removes only what carries it.
const OwnerLabel = "io.huker.owner"

// SpecLabel is on every container: Spec.Hash().
const SpecLabel = "io.huker.spec"

// Spec is a container to be made. All of it but Limits is fixed for the container's life.
type Spec struct {
	Name       string
	Image      string
	Entrypoint []string
	Args       []string
	Env        []string
	User       string // "uid:gid"; empty: the image's
	Labels     map[string]string
	Hostname   string
	Network    string // the name of a network; empty: none; "host"
	Address    string // fixed IPv4 address in Network; empty: the engine chooses
	Mounts     []Mount
	ReadOnly   bool     // root file system
	DropCaps   []string // "ALL"
	AddCaps    []string // "NET_ADMIN"; for Huker's own parts, never for databases
	NoNewPrivs bool
	Restart    bool // started again by the engine when it ends and when the engine starts, unless it was stopped
	StopGrace  time.Duration
	Limits     Limits
	LogMaxMB   int // bound of the engine's own log of the container; 0: 10
}

// Mount is a volume, a host directory or memory in a container.
type Mount struct {
	Kind     MountKind
	Source   string // volume name or host path; unused for memory
	Target   string
	ReadOnly bool
	SizeMB   int // memory only; 0: 64
	UID, GID int // memory only: the owner
	Mode     int // memory only: permissions, 0: 0700
}

// MountKind says what a Mount is.
type MountKind string

// Kinds of Mount.
const (
	MountVolume MountKind = "volume"
	MountBind   MountKind = "bind"
	MountMemory MountKind = "tmpfs"
)

// Limits can be changed while the container runs. Zero values are no limit.
type Limits struct {
	CPUs     float64
	MemoryMB int
	Pids     int
}

// State is a container as it is.
type State struct {
	Name     string
	Handle   string // the engine's own id
	Image    string
	Labels   map[string]string
	Phase    Phase
	Pid      int // on the host, while running
	ExitCode int // when exited
	OOM      bool
	Error    string
	Address  string
	Limits   Limits
	Created  time.Time
	Started  time.Time
	Finished time.Time
}

// Phase of a container's life.
type Phase string

// Phases.
const (
	PhaseCreated Phase = "created"
	PhaseRunning Phase = "running"
	PhasePaused  Phase = "paused"
	PhaseExited  Phase = "exited"
)

// Event is a change of a container.
type Event struct {
	Name     string
	Labels   map[string]string
	Kind     EventKind
	ExitCode int // EventDied only
	Time     time.Time
}

// EventKind says what happened.
type EventKind string

// Kinds of Event. EventResync: events were lost, list again.
const (
	EventStarted EventKind = "started"
	EventDied    EventKind = "died"
	EventOOM     EventKind = "oom"
	EventRemoved EventKind = "removed"
	EventResync  EventKind = "resync"
)

// Runtime runs containers. All methods are safe to repeat.
type Runtime interface {
	// Create makes a stopped container. One of the same name, owner and Spec hash is left as it is and no error; any other gives ErrExists.
	Create(ctx context.Context, s Spec) error
	// Start starts it, or resumes it when it is paused; no error when it runs. ErrInUse when its fixed address is taken.
	Start(ctx context.Context, name string) error
	// Stop asks it to end (SIGTERM) and kills it after grace; no error when it does not run. It stays stopped, also when the engine starts again.
	Stop(ctx context.Context, name string, grace time.Duration) error
	// Remove kills and removes it; no error when it is gone, ErrForeign when it is not ours.
	Remove(ctx context.Context, name string) error
	Inspect(ctx context.Context, name string) (State, error)
	// List gives the owner's containers with all of the labels. Also how containers are found again after a restart.
	List(ctx context.Context, labels map[string]string) ([]State, error)
	// Events tells of changes of the owner's containers after it returned, until ctx ends; then the channel is closed. It
	// reconnects by itself, and sends EventResync then, and also when the reader was so slow that events were dropped.
	Events(ctx context.Context) (<-chan Event, error)
}

// Volumes keep data longer than containers.
type Volumes interface {
	// CreateVolume is idempotent; ErrForeign when the name is taken by something that is not ours.
	CreateVolume(ctx context.Context, name string, labels map[string]string) error
	// RemoveVolume gives ErrInUse while a container has it, and no error when it is gone.
	RemoveVolume(ctx context.Context, name string) error
	ListVolumes(ctx context.Context, labels map[string]string) ([]Volume, error)
}

// Volume is a named volume.
type Volume struct {
	Name    string
	Labels  map[string]string
	Path    string // on the host; empty when the engine does not tell
	Created time.Time
}

// Networks are bridges with a range of addresses.
type Networks interface {
	// EnsureNetwork makes the network or finds it as it is. subnet "" lets the engine choose a free one.
	EnsureNetwork(ctx context.Context, name, subnet string, labels map[string]string) (Network, error)
	RemoveNetwork(ctx context.Context, name string) error
	ListNetworks(ctx context.Context, labels map[string]string) ([]Network, error)
}

// Network as it is.
type Network struct {
	Name    string
	Labels  map[string]string
	Subnet  string // CIDR
	Gateway string // the host's own address in it
	Bridge  string // the host's interface
}

// Images are what containers are made from.
type Images interface {
	// InspectImage gives ErrNoImage when the engine has none.
	InspectImage(ctx context.Context, ref string) (Image, error)
	LoadImage(ctx context.Context, tar io.Reader) error
	SaveImage(ctx context.Context, ref string, w io.Writer) error
	PullImage(ctx context.Context, ref string) error
}

// Image as it is.
type Image struct {
	Ref    string
	ID     string
	User   string // as in the image's configuration
	Labels map[string]string
	Env    []string
	SizeMB int
}

// Execer runs a program in a running container.
type Execer interface {
	// Exec waits for the program. When ctx ends first the program may go on. A program that cannot be started has exit code 126 or 127.
	Exec(ctx context.Context, name string, cmd []string, stdin io.Reader) (ExecResult, error)
}

// ExecResult is what a program left.
type ExecResult struct {
	ExitCode int
	Stdout   []byte // at most 1 MiB each
	Stderr   []byte
}

// Copier moves files in and out, as tar streams.
type Copier interface {
	// CopyTo works on a stopped container too. It fails where the container itself may not write.
	CopyTo(ctx context.Context, name, dir string, tar io.Reader) error
	CopyFrom(ctx context.Context, name, path string) (io.ReadCloser, error)
}

// Limiter changes limits of a container without disturbing it.
type Limiter interface {
	UpdateLimits(ctx context.Context, name string, l Limits) error
}

// Signaler sends signals and freezes.
type Signaler interface {
	// Signal takes "HUP" and "SIGHUP". A container that TERM or KILL ends stays ended until Start, or until the engine starts again.
	Signal(ctx context.Context, name, signal string) error
	Pause(ctx context.Context, name string) error
	Unpause(ctx context.Context, name string) error
}

// StatsReader measures.
type StatsReader interface {
	Stats(ctx context.Context, name string) (Stats, error)
}

// Stats of a running container.
type Stats struct {
	CPUSeconds   float64 // since its start
	MemoryBytes  int64   // without reclaimable page cache
	MemoryLimit  int64
	Pids         int
	ReadBytes    int64
	WrittenBytes int64
	NetRxBytes   int64
	NetTxBytes   int64
}
