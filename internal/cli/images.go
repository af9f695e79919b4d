package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/docker/docker/client"

	"github.com/huker/huker/images"
	"github.com/huker/huker/internal/model"
)

// builtVersions gives the datastore versions whose images are on this host.
func builtVersions(ctx context.Context) ([]model.DatastoreVersion, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("setting up the Docker client: %w", err)
	}
	defer func() { _ = docker.Close() }()
	c, err := images.Load()
	if err != nil {
		return nil, err
	}
	b := images.NewBuilder(docker, slog.New(slog.DiscardHandler))
	var versions []model.DatastoreVersion
	for _, e := range c.Images {
		built, err := b.Resolve(ctx, e)
		if errors.Is(err, images.ErrNotBuilt) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for images: %w", err)
		}
		versions = append(versions, model.DatastoreVersion{
			Engine: built.Facts.Engine, Name: built.Facts.Version, Image: built.Ref, Created: time.Now().UTC(),
		})
	}
	return versions, nil
}
