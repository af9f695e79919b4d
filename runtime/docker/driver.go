// Package docker is the runtime on a Docker engine, through its API.
//
// It owns the translation between runtime's nouns and Docker's. It must not know what runs in a container. Docker's client library is not
// seen outside this package, so that its successor can take its place.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/containerd/errdefs"
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
	pool  string
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
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if cfg.Host != "" {
		opts = append(opts, client.WithHost(cfg.Host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	if _, err := c.Ping(ctx); err != nil {
		_ = c.Close()
		return nil, mapError("reaching the Docker engine", err)
	}
	return &Driver{c: c, owner: cfg.Owner, pool: cfg.Range}, nil
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

// labels are those asked for and the owner's.
func (d *Driver) labels(extra map[string]string) map[string]string {
	all := map[string]string{runtime.OwnerLabel: d.owner}
	for k, v := range extra {
		all[k] = v
	}
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

// mapError gives an engine's error its sentinel. Docker has no type for a full disk and for a volume in use while a container has it on
// all API versions, so these two are read from the text, here only.
func mapError(doing string, err error) error {
	var sentinel error
	var operation *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case client.IsErrConnectionFailed(err), errors.As(err, &operation):
		sentinel = runtime.ErrUnavailable
	case strings.Contains(err.Error(), "no space left on device"):
		sentinel = runtime.ErrNoSpace
	case errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "no such image"):
		sentinel = runtime.ErrNoImage
	case errdefs.IsNotFound(err):
		sentinel = runtime.ErrNotFound
	case strings.Contains(err.Error(), "is in use"), strings.Contains(err.Error(), "has active endpoints"):
		sentinel = runtime.ErrInUse
	case strings.Contains(err.Error(), "is not running"):
		sentinel = runtime.ErrNotRunning
	case errdefs.IsConflict(err):
		sentinel = runtime.ErrExists
	}
	if sentinel == nil || errors.Is(err, sentinel) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, sentinel, err)
}
