package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/etcd/embedded"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
)

// startDeadline bounds the start of the embedded engines.
const startDeadline = time.Minute

// plane is what has been started, to be closed in reverse.
type plane struct {
	cfg    Config
	closes []func()

	engine   *docker.Driver
	net      runtime.Network
	programs *guests
	etcd     *embedded.Server
	coord    *etcd.Store
	bus      *etcdbus.Bus
	store    metastore.Store
	ca       *pki.CA
	admin    Admin
	identity *identity.Service // nil: Keystone is in its place
}

// Run starts everything, works until ctx ends or a part fails, and stops everything but the databases.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := cfg.Fill(); err != nil {
		return err
	}
	p := &plane{cfg: cfg}
	defer p.close()
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"data directory", p.openDataDir}, {"container runtime", p.openRuntime}, {"coordination", p.openCoordination},
		{"metadata", p.openMetadata}, {"identity", p.openIdentity},
	} {
		if err := step.do(starting); err != nil {
			return fmt.Errorf("starting: %s: %w", step.name, err)
		}
	}
	return p.work(ctx)
}

func (p *plane) onClose(f func()) { p.closes = append(p.closes, f) }

func (p *plane) close() {
	for i := len(p.closes) - 1; i >= 0; i-- {
		p.closes[i]()
	}
}

func (p *plane) openDataDir(context.Context) error {
	if err := os.MkdirAll(p.cfg.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(p.cfg.DataDir, 0o700); err != nil { //nolint:gosec // a directory needs its x
		return err
	}
	unlock, err := lock(p.cfg.DataDir)
	if err != nil {
		return err
	}
	p.onClose(unlock)
	if p.ca, err = pki.OpenCA(p.cfg.path("pki")); err != nil {
		return err
	}
	programs, err := installGuests(p.cfg.BinDir, p.cfg.path("bin"))
	if err != nil {
		return err
	}
	if lacking := programs.Lacking(); len(lacking) > 0 { // there are no other hosts to have it from
		return fmt.Errorf("%s is not in %s: databases' containers need it", lacking[0].Name, p.cfg.BinDir)
	}
	p.programs = programs
	return nil
}

// openRuntime connects to Docker and has the databases' network there. Its address is written down first thing after it is known, and asked for
// again when the network has to be made anew.
func (p *plane) openRuntime(ctx context.Context) (err error) {
	if p.engine, err = docker.Open(ctx, docker.Config{Host: p.cfg.DockerHost, Owner: p.cfg.Name, Range: p.cfg.Range}); err != nil {
		return err
	}
	p.onClose(func() { _ = p.engine.Close() })
	known, err := readSubnet(&p.cfg)
	if err != nil {
		return err
	}
	if p.net, err = p.engine.EnsureNetwork(ctx, p.cfg.Name, known, nil); err != nil {
		return err
	}
	if known != "" && known != p.net.Subnet {
		return fmt.Errorf("network %s has subnet %s, but the databases' addresses are in %s: remove the network (docker network rm %s) and start again",
			p.net.Name, p.net.Subnet, known, p.net.Name)
	}
	if known == "" {
		return writeSubnet(&p.cfg, p.net.Subnet)
	}
	return nil
}

func (p *plane) openCoordination(ctx context.Context) (err error) {
	listen := fmt.Sprintf("https://%s", net.JoinHostPort(p.net.Gateway, fmt.Sprint(p.cfg.CoordPort)))
	p.etcd, err = embedded.Start(ctx, embedded.Config{
		DataDir: p.cfg.path("etcd"), ListenClient: []string{listen}, Name: "huker", CA: p.ca, Logger: p.cfg.Log.With("part", "etcd"),
	})
	if err != nil {
		return err
	}
	p.onClose(p.etcd.Close)
	client, err := p.etcd.ClientConfig(etcd.RootPrincipal)
	if err != nil {
		return err
	}
	if p.coord, err = etcd.Dial(ctx, client); err != nil {
		return err
	}
	p.onClose(func() { _ = p.coord.Close() }) //nolint:contextcheck // what is closed outlives the start
	p.bus = etcdbus.New(p.coord, etcdbus.Config{Logger: p.cfg.Log.With("part", "bus")})
	p.onClose(func() { _ = p.bus.Close() })
	return nil
}

func (p *plane) openMetadata(ctx context.Context) error {
	store, err := sqlite.Open(ctx, p.cfg.path("huker.db"))
	if err != nil {
		return err
	}
	p.store = store
	p.onClose(func() { _ = store.Close() })
	versions, err := p.cfg.Versions(ctx)
	if err != nil {
		return err
	}
	return seedCatalogue(ctx, store, versions)
}

func (p *plane) openIdentity(ctx context.Context) (err error) {
	if p.admin, err = adminFile(&p.cfg); err != nil || !p.cfg.Provider.Builtin() {
		return err
	}
	if p.identity, err = identity.New(p.store, identity.Config{Log: p.cfg.Log.With("part", "identity")}); err != nil {
		return err
	}
	_, err = p.identity.Seed(ctx, identity.Seed{Password: p.admin.Password})
	return err
}

// work runs the parts until ctx ends or one of them fails.
func (p *plane) work(ctx context.Context) error {
	host, err := p.newHost(ctx)
	if err != nil {
		return err
	}
	central, err := p.newKeeper()
	if err != nil {
		return err
	}
	front, err := p.newFront()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	part := func(name string, run func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := run(ctx)
			if ctx.Err() == nil {
				cancel(fmt.Errorf("%s ended: %w", name, errors.Join(err, errors.New("it should not"))))
			}
		}()
	}
	part("sysmgr", host.Run)
	part("nodekeeper", central.Run)
	part("api", front.Run)
	if p.identity != nil {
		part("identity", func(ctx context.Context) error { p.identity.Run(ctx); return nil })
	}
	part("coordination", func(ctx context.Context) error {
		select {
		case err := <-p.etcd.Failed():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	p.cfg.Log.Info("started", "op", "start", "api", p.cfg.Listen, "subnet", p.net.Subnet)
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (p *plane) newHost(ctx context.Context) (*sysmgr.Host, error) {
	capacity, err := capacityOf(ctx, p.engine, p.cfg.DataDir, DefaultReserveMB)
	if err != nil {
		return nil, err
	}
	wall, err := network.NewFirewall(p.cfg.Name, p.net.Bridge)
	if err != nil {
		return nil, err
	}
	balancer := network.NewBalancer(p.cfg.Name, p.net.Bridge)
	within, err := network.EndpointSubnet(p.net.Subnet)
	if err != nil {
		return nil, err
	}
	if err := balancer.Place(p.net.Subnet, p.net.Subnet, within); err != nil {
		return nil, err
	}
	return sysmgr.New(sysmgr.Config{
		Balancer: balancer,
		Host:     HostID, Deployment: p.cfg.Name, Version: p.cfg.Version, GuestsDir: p.cfg.path("guests"), BinDir: p.cfg.path("bin"), Programs: p.programs,
		Network: p.net.Name, Subnet: p.net.Subnet, UID: paths.UID, GID: paths.GID,
	}, p.engine, wall, p.coord, p.bus, capacity, p.cfg.Log.With("part", "sysmgr"))
}

// capacityOf measures what a host has for databases.
func capacityOf(ctx context.Context, engine *docker.Driver, dataDir string, reserveMB int) (sysmgr.Capacity, error) {
	cpus, ram, version, err := engine.Capacity(ctx)
	if err != nil {
		return sysmgr.Capacity{}, err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dataDir, &disk); err != nil {
		return sysmgr.Capacity{}, fmt.Errorf("measuring the disk: %w", err)
	}
	return sysmgr.Capacity{
		CPUs: cpus, RAMMB: max(ram-reserveMB, 0), DiskGB: int(disk.Blocks * uint64(disk.Bsize) >> 30), Engine: version, //nolint:gosec // a block size is positive, and gigabytes fit
	}, nil
}

func (p *plane) newKeeper() (*keeper.Keeper, error) {
	keys := etcd.NewGatekeeper(p.coord)
	return keeper.New(keeper.Config{Deployment: p.cfg.Name, Coordination: engines.Etcd(p.etcd.Endpoints()...), Range: p.net.Subnet}, keeper.Engines{
		Store: p.store, Coord: p.coord, Bus: p.bus, Keys: keys, Queues: etcdbus.NewGatekeeper(keys),
		Certs: certificates{p.ca}, Addresses: pool{},
	}, p.cfg.Log.With("part", "nodekeeper"))
}

func (p *plane) newFront() (*front, error) {
	runs := func(ctx context.Context) error {
		_, _, _, err := p.engine.Capacity(ctx)
		return err
	}
	var operator string
	if p.admin.Operator != nil {
		operator = p.admin.Operator.Token
	}
	return newFront(frontConfig{
		Name: p.cfg.Name, Listen: p.cfg.Listen, PublicURL: p.cfg.PublicURL, Region: p.cfg.Region, Keystone: p.cfg.Keystone,
		StaticToken: p.cfg.StaticToken, OperatorToken: operator, NoAuth: p.cfg.NoAuth, Store: p.store, Bus: p.bus, Identity: p.identity, Log: p.cfg.Log,
		Health: &health{log: p.cfg.Log, own: map[string]check{"metadata": p.store.Ping, "coordination": p.etcd.Health, "runtime": runs}},
	})
}

// GuestBinaries is where a program's neighbours are.
func GuestBinaries() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's directory: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("finding this program's directory: %w", err)
	}
	return filepath.Dir(self), nil
}
