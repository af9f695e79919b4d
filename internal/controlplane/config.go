// Package controlplane puts Huker's parts together in one process on embedded engines: what `huker up` runs.
//
// It owns the order in which things start and stop, and the layout of the data directory. It must hold no logic of its own.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// Defaults.
const (
	DefaultName      = "huker"
	DefaultDataDir   = "/var/lib/huker"
	DefaultListen    = "127.0.0.1:8779" // Trove's own port; loopback until the operator says otherwise
	DefaultRegion    = "RegionOne"
	DefaultCoordPort = 12379
	DefaultRange     = "10.88.0.0/16"
	DefaultDepotPort = 8782
	DefaultReserveMB = 512     // of a host's memory, for what is not a database
	HostID           = "local" // the only host there is
)

// ErrConfig is wrapped by what is wrong with a configuration.
var ErrConfig = errors.New("bad configuration")

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Config of a control plane.
type Config struct {
	Name       string // of the deployment: on everything it makes in Docker; [a-z][a-z0-9-]*, at most 32
	DataDir    string // absolute; the same path inside and outside of the control plane's container
	Listen     string // host:port of the API
	PublicURL  string // how clients reach the API; empty: as each request says
	Region     string
	Range      string // where the databases' addresses are taken from, a /24 of it; empty: runtime/docker's default
	CoordPort  int    // of etcd, on the databases' network only
	DockerHost string
	BinDir     string // where huker-supervisor and huker-guestagent are
	Version    string

	Provider    identity.Provider        // empty: Keystone where there is one
	Keystone    *identity.KeystoneConfig // nil: none
	StaticToken string
	NoAuth      bool // trust the project in the URL; on loopback only

	// Versions gives the datastore versions whose images are on this host.
	Versions func(ctx context.Context) ([]model.DatastoreVersion, error)
	Log      *slog.Logger
}

// Fill puts defaults in and says what cannot be right.
func (c *Config) Fill() error {
	def := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	def(&c.Name, DefaultName)
	def(&c.DataDir, DefaultDataDir)
	def(&c.Listen, DefaultListen)
	def(&c.Region, DefaultRegion)
	if c.CoordPort == 0 {
		c.CoordPort = DefaultCoordPort
	}
	var errs []error
	if !nameForm.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("name %q: lower-case letters, digits and '-', a letter first, at most 32", c.Name))
	}
	if !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("data directory %q must be absolute: containers mount parts of it", c.DataDir))
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		errs = append(errs, fmt.Errorf("listen address %q must be HOST:PORT", c.Listen))
	}
	if c.Range != "" {
		if p, err := netip.ParsePrefix(c.Range); err != nil || !p.Addr().Is4() || p.Bits() > 24 {
			errs = append(errs, fmt.Errorf("range %q must be an IPv4 network of at least /24", c.Range))
		}
	}
	if c.CoordPort < 1 || c.CoordPort > 65535 {
		errs = append(errs, fmt.Errorf("coordination port %d is not a port", c.CoordPort))
	}
	var err error
	if c.Provider, err = identity.ChooseProvider(c.Provider, c.Keystone, c.NoAuth); err != nil {
		errs = append(errs, err)
	}
	return invalid(errs...)
}

func (c *Config) path(parts ...string) string {
	return filepath.Join(append([]string{c.DataDir}, parts...)...)
}
