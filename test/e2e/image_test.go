package e2e

import (
	"log/slog"
	"testing"

	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/images"
)

// databaseImage is the image that databases are made from; make images has made it.
func databaseImage(t *testing.T) string {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	defer func() { _ = docker.Close() }()
	c, err := images.Load()
	require.NoError(t, err)
	require.NotEmpty(t, c.Built())
	built, err := images.NewBuilder(docker, slog.New(slog.DiscardHandler)).Resolve(t.Context(), c.Built()[0])
	require.NoError(t, err, "make images")
	return built.Ref
}
