package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/depot"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
)

// HostConfig of huker-sysmgr.
type HostConfig struct {
	Fleet
	Host       string // the host's id
	Labels     map[string]string
	DataDir    string
	BinDir     string // where huker-supervisor and huker-guestagent are; they come from another host where they are not
	DockerHost string
	Address    string // where other hosts reach this one, IPv4
	Listen     string // host:port on which other hosts get images; empty: Address with DefaultDepotPort
	Subnet     string // of its databases, where that is not nodekeeper's to choose
	ReserveMB  int    // memory that is not for databases

	// Versions gives the datastore versions whose images are on this host.
	Versions func(ctx context.Context) ([]model.DatastoreVersion, error)
}

var hostForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// RunHost is huker-sysmgr: one on each host.
func RunHost(ctx context.Context, cfg HostConfig) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	unlock, err := lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	programs, err := installGuests(cfg.BinDir, filepath.Join(cfg.DataDir, "bin"))
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	e, credentials, err := cfg.open(starting)
	if err != nil {
		return err
	}
	defer e.Close()
	engine, err := docker.Open(starting, docker.Config{Host: cfg.DockerHost, Owner: cfg.Name})
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	host, err := cfg.newHost(starting, e, credentials, engine, programs)
	if err != nil {
		return err
	}
	share, err := cfg.newDepot(credentials, engine, programs)
	if err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"sysmgr": host.Run, "depot": share.Run}
	cfg.serveHealth(parts, &health{log: cfg.Log,
		own:   map[string]check{},
		needs: map[string]check{"coordination": reads(e.Coord, protocol.HostAliveKey(cfg.Host)), "bus": carries(e.Bus), "runtime": answers(engine)},
	})
	cfg.Log.Info("started", "op", "start", "host", cfg.Host, "depot", cfg.Listen)
	return group(ctx, parts)
}

func answers(engine *docker.Driver) check {
	return func(ctx context.Context) error {
		_, _, _, err := engine.Capacity(ctx)
		return err
	}
}

func (c *HostConfig) newHost(ctx context.Context, e *engines.Engines, credentials engines.Credentials, engine *docker.Driver, programs *guests) (*sysmgr.Host, error) {
	capacity, err := capacityOf(ctx, engine, c.DataDir, c.ReserveMB)
	if err != nil {
		return nil, err
	}
	wall, err := network.NewFirewall(c.Name, docker.BridgeName(c.Name))
	if err != nil {
		return nil, err
	}
	balancer := network.NewBalancer(c.Name, docker.BridgeName(c.Name))
	dial, err := credentials.TLS()
	if err != nil {
		return nil, err
	}
	fetcher := depot.New(engine, dial, c.Log.With("part", "depot"))
	programs.fetch = fetcher.FetchProgram
	return sysmgr.New(sysmgr.Config{
		Host: c.Host, Deployment: c.Name, Version: c.Version, GuestsDir: filepath.Join(c.DataDir, "guests"), BinDir: filepath.Join(c.DataDir, "bin"),
		Programs: programs, Network: c.Name, UID: paths.UID, GID: paths.GID, Subnet: c.Subnet, Labels: c.Labels, Address: c.Address, Depot: "https://" + c.Listen,
		Place: sysmgr.Ground{Networks: engine, Network: c.Name, Firewall: wall, Endpoints: balancer}, Balancer: balancer,
		Images: fetcher,
		Offers: c.offers,
	}, engine, wall, e.Coord, e.Bus, capacity, c.Log.With("part", "sysmgr"))
}

func (c *HostConfig) offers(ctx context.Context) ([]protocol.HostImage, error) {
	versions, err := c.Versions(ctx)
	images := make([]protocol.HostImage, 0, len(versions))
	for _, v := range versions {
		images = append(images, protocol.HostImage{Engine: v.Engine, Version: v.Name, Ref: v.Image})
	}
	return images, err
}

// newDepot serves this host's images, and what guests run, to the other hosts.
func (c *HostConfig) newDepot(credentials engines.Credentials, images runtime.Images, programs *guests) (*front, error) {
	secure, err := serverTLS(credentials, tls.RequireAndVerifyClientCert)
	if err != nil {
		return nil, err
	}
	log := c.Log.With("part", "depot")
	share := depot.Handler(images, isHost, offered, log)
	shareProgram := depot.ProgramHandler(programs.find, isHost, log)
	f := newServer(c.Listen, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, depot.ProgramPath) {
			shareProgram.ServeHTTP(w, r)
			return
		}
		share.ServeHTTP(w, r)
	}))
	f.server.WriteTimeout = time.Hour // an image is large, and another host's disk may be slow
	return f, nil
}

func isHost(principal string) bool { return strings.HasPrefix(principal, protocol.HostPrincipal("")) }

// offered lets out only what Huker built: other images on this host are somebody else's.
func offered(i runtime.Image) bool { return strings.HasPrefix(i.Ref, "huker/") }

// Check fills in the defaults, and says all that is wrong with the rest: ErrConfig, with a line for each.
func (c *HostConfig) Check() error {
	if c.DataDir == "" {
		c.DataDir = DefaultDataDir
	}
	if c.Listen == "" && c.Address != "" {
		c.Listen = net.JoinHostPort(c.Address, fmt.Sprint(DefaultDepotPort))
	}
	errs := []error{c.Fleet.check(protocol.HostPrincipal(c.Host))}
	if c.Listen != "" {
		errs = append(errs, checkListen("listen", c.Listen))
	}
	for _, program := range []string{supervisorProgram, agentProgram} {
		if _, err := os.Stat(filepath.Join(c.BinDir, program)); err != nil && (guestSums == "" || !errors.Is(err, fs.ErrNotExist)) {
			errs = append(errs, fmt.Errorf("bin-dir: %w: databases' containers need it", err))
		}
	}
	if !hostForm.MatchString(c.Host) {
		errs = append(errs, fmt.Errorf("host %q: lower-case letters, digits and '-', at most 63", c.Host))
	}
	if !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("data-dir %q must be absolute: containers mount parts of it", c.DataDir))
	}
	if ip := net.ParseIP(c.Address); ip == nil || ip.To4() == nil || ip.IsLoopback() || ip.IsUnspecified() {
		errs = append(errs, fmt.Errorf("address %q must be the IPv4 address at which the other hosts reach this one", c.Address))
	}
	if c.Subnet != "" {
		if p, err := netip.ParsePrefix(c.Subnet); err != nil || !p.Addr().Is4() || p.Bits() > 28 {
			errs = append(errs, fmt.Errorf("subnet %q must be an IPv4 network of at least /28", c.Subnet))
		}
	}
	if c.ReserveMB < 0 {
		errs = append(errs, errors.New("reserve-memory must not be negative"))
	}
	return invalid(errs...)
}
