// Package docker is the runtime on a Docker engine, through its API.
//
// It owns the translation between runtime's nouns and Docker's. It must not know what runs in a container. Docker's client library is not
// seen outside this package, so that its successor can take its place.
package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/huker/huker/runtime"
)

// Config of a driver.
type Config struct {
	Host  string // "unix:///var/run/docker.sock"; empty: DOCKER_HOST or the default
	Owner string // the value of runtime.OwnerLabel on all that this driver makes
	// Range is where networks without a given subnet take theirs from. Default 10.88.0.0/16.
	Range string
}

// DefaultRange is where databases' networks take their subnets from.
const DefaultRange = "10.88.0.0/16"

// Driver implements all of runtime's interfaces.
type Driver struct {
	c     *client.Client
	owner string
	pool  netip.Prefix
}

var (
	_ runtime.Runtime     = (*Driver)(nil)
	_ runtime.Volumes     = (*Driver)(nil)
	_ runtime.Networks    = (*Driver)(nil)
	_ runtime.Images      = (*Driver)(nil)
	_ runtime.Execer      = (*Driver)(nil)
	_ runtime.Copier      = (*Driver)(nil)
	_ runtime.Limiter     = (*Driver)(nil)
	_ runtime.Signaler    = (*Driver)(nil)
	_ runtime.StatsReader = (*Driver)(nil)
)

// Open connects to an engine, which must answer.
func Open(ctx context.Context, cfg Config) (*Driver, error) {
	if cfg.Owner == "" {
		return nil, errors.New("docker: an owner must be given")
	}
	if cfg.Range == "" {
		cfg.Range = DefaultRange
	}
	pool, err := netip.ParsePrefix(cfg.Range)
	if err != nil || !pool.Addr().Is4() || pool.Bits() > subnetBits {
		return nil, fmt.Errorf("docker: the range of addresses %q must be IPv4 and /%d or larger", cfg.Range, subnetBits)
	}
	c, err := newClient(cfg.Host)
	if err != nil {
		return nil, err
	}
	pong, err := c.Ping(ctx)
	if err != nil {
		_ = c.Close()
		return nil, mapError("reaching the Docker engine", err)
	}
	// Now, and not by the first of several requests at once: the client writes the version down without a lock that its readers take.
	c.NegotiateAPIVersionPing(pong)
	return &Driver{c: c, owner: cfg.Owner, pool: pool.Masked()}, nil
}

// newClient makes a new connection for each request. An engine that is about to end closes its door first and serves connections that are open
// already: over one of these a container would be started that the engine then does not stop, and that it cannot start again when it is back.
func newClient(host string) (*client.Client, error) {
	if host == "" {
		host = os.Getenv(client.EnvOverrideHost)
	}
	if host == "" {
		host = client.DefaultDockerHost
	}
	c, err := client.NewClientWithOpts(
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}),
		client.WithTLSClientConfigFromEnv(), client.WithHost(host), client.WithVersionFromEnv(), client.WithAPIVersionNegotiation(),
	)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	return c, nil
}

// Close ends the connection; containers are left as they are.
func (d *Driver) Close() error { return d.c.Close() }

// Capacity says what the engine's machine has, and which engine it is.
func (d *Driver) Capacity(ctx context.Context) (cpus float64, ramMB int, engine string, err error) {
	i, err := d.c.Info(ctx)
	if err != nil {
		return 0, 0, "", mapError("asking the Docker engine", err)
	}
	return float64(i.NCPU), int(i.MemTotal >> 20), "docker " + i.ServerVersion, nil
}

// Version says which engine this is, and which version of its API is spoken with it.
func (d *Driver) Version(ctx context.Context) (engine, api string, err error) {
	v, err := d.c.ServerVersion(ctx)
	if err != nil {
		return "", "", mapError("asking the Docker engine", err)
	}
	return v.Version, d.c.ClientVersion(), nil
}

// labels are those asked for and the owner's.
func (d *Driver) labels(extra map[string]string) map[string]string {
	all := make(map[string]string, len(extra)+2)
	maps.Copy(all, extra)
	all[runtime.OwnerLabel] = d.owner
	return all
}

func (d *Driver) mine(labels map[string]string) bool { return labels[runtime.OwnerLabel] == d.owner }

func (d *Driver) filter(labels map[string]string) filters.Args {
	f := filters.NewArgs()
	for k, v := range d.labels(labels) {
		f.Add("label", k+"="+v)
	}
	return f
}
