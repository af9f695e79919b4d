package images

import (
	"context"
	"log/slog"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"
)

// engine lists images, and names them; whatever else is asked of it panics.
type engine struct {
	client.APIClient
	images []image.Summary
}

func (e *engine) ImageList(context.Context, image.ListOptions) ([]image.Summary, error) {
	return e.images, nil
}

func (e *engine) ImageTag(_ context.Context, id, ref string) error {
	for i := range e.images {
		if e.images[i].ID == id {
			e.images[i].RepoTags = []string{ref}
		}
	}
	return nil
}

// TestNamesOfImages: an image that lost its name, as `docker rmi --force` does to one that containers are made of, gets it back,
// and is not offered without one.
func TestNamesOfImages(t *testing.T) {
	c, err := Load()
	require.NoError(t, err)
	entry := c.Built()[0]
	content, err := entry.Content()
	require.NoError(t, err)
	facts := Facts{Engine: entry.Engine, Series: entry.Version, Version: entry.Version + ".4", UID: UID, GID: GID, Content: content, Zones: 1}
	own := "huker/" + entry.Engine + ":" + facts.Version + "-" + content[:12]
	with := func(names ...string) *Builder {
		return NewBuilder(&engine{images: []image.Summary{{ID: "sha256:1", Labels: facts.labels(), RepoTags: names}}}, slog.New(slog.DiscardHandler))
	}
	for want, names := range map[string][]string{
		own:                         {"a/b:c", own, "x/y:z"},
		"registry.test/mysql:9.7.4": {noName, "registry.test/mysql:9.7.4"},
	} {
		built, err := with(names...).Resolve(t.Context(), entry)
		require.NoError(t, err)
		require.Equal(t, want, built.Ref)
	}
	derived := image.Summary{ID: "sha256:2", Labels: facts.labels(), RepoTags: []string{"somebody/elses:1"}, Created: 1}
	b := NewBuilder(&engine{images: []image.Summary{derived, {ID: "sha256:1", Labels: facts.labels(), RepoTags: []string{own}}}}, slog.New(slog.DiscardHandler))
	built, err := b.Resolve(t.Context(), entry)
	require.NoError(t, err)
	require.Equal(t, own, built.Ref, "what is made from it has its labels too")
	for _, names := range [][]string{nil, {noName}} {
		b := with(names...)
		_, err := b.Resolve(t.Context(), entry)
		require.ErrorIs(t, err, ErrNotBuilt)
		list, err := b.List(t.Context(), Catalogue{Images: []Entry{entry}})
		require.NoError(t, err)
		require.Equal(t, []string{"sha256:1", ""}, []string{list[0].Ref, list[1].Ref})
		require.False(t, list[0].Current)
		built, err := b.Build(t.Context(), entry, nil)
		require.NoError(t, err)
		require.Equal(t, own, built.Ref)
		require.True(t, built.Reused)
	}
}
