package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options of a fleet.
type Options struct {
	Hosts int // 1 to 64; 0: 3
	// Name tells fleets on a machine apart: up to 11 of a-z, 0-9 and "-". Empty: one that nobody has.
	Name string
	// Subnet is the /16 that all addresses are in. Empty: one of 10.120.0.0/16 to 10.199.0.0/16 that is free.
	Subnet string
	// Images of the machine's engine are there on every host from the start. The first time takes as long as LoadImage, later times 0.1 s.
	Images []string
	// NoRoutes leaves it to what runs on the hosts to know the way to the other hosts' subnets. The controller knows it anyhow.
	NoRoutes bool
	// Disk is the size of a file system, in bytes, that each host's volumes are on, which FillDisk fills. 0: they are on the machine's.
	Disk int64
	// Keep has the fleet stay when its maker ends without Close. Else it ends with its maker, by the kernel's doing, and the next New clears up.
	Keep bool
}

const defaultHosts = 3

// Fleet is some hosts on one switch. Its methods may be called by several goroutines.
type Fleet struct {
	Name       string
	Dir        string
	Hosts      []*Host
	Controller Controller
	Range      string // all hosts' subnets are in it

	plan   plan
	hub    int // the process that holds the switch
	own    *os.File
	parent *thread // of the first processes
	keep   bool    // they do not end with it

	mu    sync.Mutex
	state state
	over  bool // closed or released: its name may be somebody else's
}

// New makes a fleet and starts its hosts, beside each other. What fleets whose makers have crashed left is removed first.
func New(ctx context.Context, o Options) (*Fleet, error) {
	if _, err := Sweep(ctx); err != nil {
		return nil, fmt.Errorf("removing what crashed runs have left: %w", err)
	}
	base, err := base(ctx, o.Images)
	if err != nil {
		return nil, err
	}
	f, err := register(o)
	if err != nil {
		return nil, err
	}
	err = f.start(ctx, base, o.Disk)
	if err == nil && o.Keep { // not before: what is half made is not kept
		f.state.Keep = true
		err = f.save()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting fleet %s: %w", f.Name, err), f.Close(context.WithoutCancel(ctx)))
	}
	return f, nil
}

// register takes a name and addresses for a fleet that is not there yet.
func register(o Options) (*Fleet, error) {
	if o.Hosts == 0 {
		o.Hosts = defaultHosts
	}
	if o.Hosts < 1 || o.Hosts > maxHosts {
		return nil, fmt.Errorf("%w: %d hosts", ErrInvalid, o.Hosts)
	}
	if o.Name == "" {
		o.Name = "t" + suffix()
	}
	if !names.MatchString(o.Name) {
		return nil, fmt.Errorf("%w: name %q", ErrInvalid, o.Name)
	}
	held, err := registry()
	if err != nil {
		return nil, err
	}
	defer held.Close()
	p, err := freePlan()
	if o.Subnet != "" {
		p, err = newPlan(o.Subnet)
	}
	if err != nil {
		return nil, err
	}
	dir, own, err := claim(o.Name)
	if err != nil {
		return nil, err
	}
	s := state{Name: o.Name, Subnet: p.subnet(), NoRoute: o.NoRoutes}
	for n := range o.Hosts {
		s.Hosts = append(s.Hosts, hostState{Name: fmt.Sprintf("h%d", n+1), Subnet: p.hostSubnet(n)})
	}
	f := build(dir, own, s, p)
	f.keep = o.Keep
	return f, f.save()
}

func build(dir string, own *os.File, s state, p plan) *Fleet {
	f := &Fleet{
		Name: s.Name, Dir: dir, Controller: Controller{Address: p.controller().String()}, Range: p.databases(),
		plan: p, own: own, parent: newThread(), state: s,
	}
	for n, h := range s.Hosts {
		hostDir := filepath.Join(dir, h.Name)
		f.Hosts = append(f.Hosts, &Host{
			Name: h.Name, Address: p.host(n).String(), Dir: hostDir, DockerSocket: filepath.Join(hostDir, "run", "docker.sock"),
			fleet: f, number: n, programs: map[string]*Process{},
		})
	}
	return f
}

func suffix() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// start makes the switch, and the hosts from a base of engine data ("": none), with disks of their own (0: none).
func (f *Fleet) start(ctx context.Context, base string, disk int64) error {
	if err := os.WriteFile(switchScript(f.Dir), switchSource, 0o600); err != nil {
		return fmt.Errorf("preparing the switch: %w", err)
	}
	hub, err := f.hold(switchScript(f.Dir), unix.CLONE_NEWNET, f.Dir)
	if err != nil {
		return err
	}
	f.hub = hub.pid
	if err := f.wire(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range f.Hosts {
		g.Go(func() error {
			if err := h.prepare(); err != nil {
				return err
			}
			if err := cloneBase(ctx, base, h.path("data")); err != nil {
				return err
			}
			if err := h.makeDisk(ctx, disk); err != nil {
				return err
			}
			return h.Boot(ctx)
		})
	}
	return g.Wait()
}

// Open takes over a fleet that was kept. It is to be given back with Release.
func Open(ctx context.Context, name string) (*Fleet, error) {
	held, err := registry()
	if err != nil {
		return nil, err
	}
	defer held.Close()
	own, err := take(name)
	if err != nil {
		return nil, err
	}
	dir := fleetDir(name)
	s, err := readState(dir)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	p, err := newPlan(s.Subnet)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	f := build(dir, own, s, p)
	f.keep = true
	run := holding(dir)
	f.hub = run[switchScript(dir)]
	for _, h := range f.Hosts {
		h.pid.Store(int64(run[h.path("init.sh")]))
	}
	if f.hub == 0 {
		return nil, errors.Join(fmt.Errorf("fleet %s does not run any more: %w", name, ErrNotFound), f.Release())
	}
	return f, ctx.Err()
}

// Release lets go of a fleet that is kept, for others to Open or Remove it.
func (f *Fleet) Release() error {
	if f.isOver() {
		return nil
	}
	f.parent.end()
	return f.own.Close()
}

// isOver says whether somebody was here before.
func (f *Fleet) isOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.over
	f.over = true
	return was
}

// Close ends the fleet and removes all of it; nothing is done the second time.
func (f *Fleet) Close(ctx context.Context) error {
	if f.isOver() {
		return nil
	}
	for _, h := range f.Hosts {
		h.power.Lock() // whoever starts one now would leave it behind
		defer h.power.Unlock()
	}
	err := f.clear(ctx)
	for _, h := range f.Hosts {
		h.pid.Store(0)
	}
	f.parent.end()
	return errors.Join(err, f.own.Close())
}

func (f *Fleet) clear(ctx context.Context) error {
	if err := end(ctx, f.Name); err != nil {
		return err
	}
	held, err := registry()
	if err != nil {
		return err
	}
	defer held.Close()
	return erase(f.Name)
}

// Heal heals all hosts, beside each other.
func (f *Fleet) Heal(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range f.Hosts {
		g.Go(func() error { return h.Heal(ctx) })
	}
	return g.Wait()
}

// Host gives a host by its name.
func (f *Fleet) Host(name string) (*Host, error) {
	for _, h := range f.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("host %q: %w", name, ErrNotFound)
}

func (f *Fleet) hostNames() []string {
	var all []string
	for _, h := range f.Hosts {
		all = append(all, h.Name)
	}
	return all
}

// save writes the state down. mu must be held, or nobody else know the fleet yet.
func (f *Fleet) save() error { return writeState(f.Dir, f.state) }
