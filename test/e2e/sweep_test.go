package e2e

import (
	"context"
	"strings"
	"time"

	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dclient "github.com/docker/docker/client"
)

// staleAfter is how old a container of these tests must be to have been left by a run that crashed: no run takes so long.
const staleAfter = 2 * time.Hour

// sweepStale takes away what runs that crashed have left on this machine's engine.
func sweepStale(ctx context.Context) error {
	c, err := dclient.NewClientWithOpts(dclient.FromEnv, dclient.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	all, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", runtime.OwnerLabel))})
	if err != nil {
		return err
	}
	for _, s := range all {
		owner := s.Labels[runtime.OwnerLabel]
		if !strings.HasPrefix(owner, "e2e-") || time.Since(time.Unix(s.Created, 0)) < staleAfter {
			continue
		}
		engine, err := docker.Open(ctx, docker.Config{Owner: owner})
		if err != nil {
			return err
		}
		killAll(ctx, engine)
		err = deploy.Down(ctx, engine, owner, "/nonexistent", true, func(string) {})
		_ = engine.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
