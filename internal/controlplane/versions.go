package controlplane

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

// BuiltVersions gives the datastore versions whose images an engine has; dockerHost "" is the environment's.
func BuiltVersions(ctx context.Context, dockerHost string) ([]model.DatastoreVersion, error) {
	options := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if dockerHost != "" {
		options = append(options, client.WithHost(dockerHost))
	}
	docker, err := client.NewClientWithOpts(options...)
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
