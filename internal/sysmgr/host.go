// Package sysmgr is the container runtime manager of one Docker host: it has each instance's container, volume,
// private files, limits and firewall rules be as nodekeeper told it, and keeps them so, also while nodekeeper is away.
//
// It owns everything of Huker's on its host. It must not know why an instance is wanted, nor touch metadata.
package sysmgr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// Engine is what a host needs of its container runtime.
type Engine interface {
	runtime.Runtime
	runtime.Volumes
	runtime.Limiter
}

// Firewall says who may reach the databases of this host. Set replaces everything, in one step.
type Firewall interface {
	Set(ctx context.Context, access []network.Access) error
}

// Images brings images to this host, from a registry or from hosts that have them.
type Images interface {
	Ensure(ctx context.Context, ref string, sources []string) error
}

// Config of a host's sysmgr.
type Config struct {
	Host       string // the host's id, [a-z0-9-]+
	Deployment string // the name that everything carries
	Version    string
	GuestsDir  string // on the host; one folder an instance, 0700
	BinDir     string // on the host; the guests' programs
	Network    string // the runtime's network for databases
	UID, GID   int    // of mysqld in the images
	Programs   Programs

	Labels  map[string]string
	Address string // where other hosts reach this one; empty: there are none
	Depot   string // where other hosts get images from this one; empty: they cannot
	Subnet  string // that the databases' network has already; empty: nodekeeper gives one
	// Place is how the host takes its place among others; nil: it is there.
	Place Place
	// Balancer leads clients to clusters; nil: there are none.
	Balancer Balancer
	// Images brings missing images; nil: they are here or nowhere.
	Images Images
	// Offers lists the databases' images that are here; nil: nobody asks.
	Offers func(ctx context.Context) ([]protocol.HostImage, error)

	// Resync is how often everything is compared even when nothing was heard. Default 10 s.
	Resync time.Duration
	// SessionTTL is after how long a dead sysmgr is noticed. Default 2 s.
	SessionTTL time.Duration
}

// Host is a running sysmgr.
type Host struct {
	cfg      Config
	engine   Engine
	firewall Firewall
	store    coord.Store
	bus      bus.Bus
	capacity Capacity
	log      *slog.Logger

	locks   locks
	since   time.Time
	changed chan struct{} // capacity 1: the host has something new to say of itself

	placeMu sync.Mutex
	place   place
	trouble string
	wanting string // why programs that are lacking did not come

	sources chan []string // capacity 1: where such programs may be

	work  sync.WaitGroup // what runs beside the parts of Run
	slots chan struct{}  // bounds how many instances a resync works on at once
	due   chan string    // instances whose pause is over

	endpoints endpoints

	wall sync.Mutex // one change of the firewall after the other

	mu        sync.Mutex
	published map[string]string // instance -> what its key in coordination was last set to
	effect    map[string]int64  // instance -> the newest generation that is known to be in effect
	restarts  map[string]*backoff
	asked     map[string]network.Access // who may reach each instance, as last asked for; nil: not read yet
	admitted  map[string]network.Access // as the firewall was last told
}

// Capacity is what the host has to give.
type Capacity struct {
	CPUs   float64
	RAMMB  int
	DiskGB int
	Engine string
}

// New checks the configuration. Nothing is touched before Run.
func New(cfg Config, e Engine, f Firewall, s coord.Store, b bus.Bus, c Capacity, log *slog.Logger) (*Host, error) {
	if cfg.Host == "" || cfg.Deployment == "" || cfg.GuestsDir == "" || cfg.BinDir == "" || cfg.Programs == nil || cfg.Network == "" {
		return nil, errors.New("sysmgr: host, deployment, guests directory, bin directory, programs and network must be set")
	}
	if !filepath.IsAbs(cfg.GuestsDir) || !filepath.IsAbs(cfg.BinDir) {
		return nil, fmt.Errorf("sysmgr: %q and %q must be absolute: containers mount them", cfg.GuestsDir, cfg.BinDir)
	}
	if cfg.Resync == 0 {
		cfg.Resync = 10 * time.Second
	}
	if cfg.SessionTTL == 0 {
		cfg.SessionTTL = 2 * time.Second
	}
	return &Host{
		cfg: cfg, engine: e, firewall: f, store: s, bus: b, capacity: c, log: log.With("host", cfg.Host),
		locks: locks{m: map[string]*turn{}}, changed: make(chan struct{}, 1), since: time.Now().UTC(),
		sources: make(chan []string, 1), slots: make(chan struct{}, serveConcurrency), due: make(chan string),
		published: map[string]string{}, effect: map[string]int64{}, restarts: map[string]*backoff{},
	}, nil
}

// Run works until ctx ends. Containers are left as they are.
func (h *Host) Run(ctx context.Context) error {
	if err := os.MkdirAll(h.cfg.GuestsDir, 0o700); err != nil {
		return fmt.Errorf("making the guests' directory: %w", err)
	}
	if err := h.recallPlace(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := run(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("sysmgr %s: %w", name, err))
			}
		}()
	}
	part("watching containers", h.watch)
	part("serving", h.serve)
	part("announcing", h.announce)
	part("leading clients", h.followEndpoints)
	part("fetching programs", h.fetchPrograms)
	wg.Wait()
	h.work.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// locks has steps on the same instance never overlap.
type locks struct {
	mu sync.Mutex
	m  map[string]*turn
}

// turn is one instance's lock.
type turn struct {
	held   chan struct{} // of capacity 1: full while it is held
	queued atomic.Bool   // a keep waits for it

	telling sync.Mutex                // what is told of the container is told one after the other, whoever holds the lock
	fallen  atomic.Pointer[time.Time] // when the container ended, where nobody was told yet
	deaths  atomic.Int64              // how often it has ended
}

func (l *locks) of(instance string) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.m[instance]
	if t == nil {
		t = &turn{held: make(chan struct{}, 1)}
		l.m[instance] = t
	}
	return t
}

// lock waits until ctx ends, for a step may take long, and whoever asked for the next one may be gone by then.
func (l *locks) lock(ctx context.Context, instance string) (unlock func(), err error) {
	t := l.of(instance)
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another step on instance %s: %w", instance, ctx.Err())
	}
}
