package images

import (
	"cmp"
	"context"
	"time"

	"github.com/docker/docker/api/types/filters"
)

// Listed is an image of Huker's on the engine, or an entry that has none yet.
type Listed struct {
	Kind    string    `json:"kind"`  // KindBase, KindDatabase, KindService
	Entry   string    `json:"entry"` // "mysql:9.7"; empty for other kinds
	Version string    `json:"version,omitempty"`
	Ref     string    `json:"ref,omitempty"` // empty: not built
	Size    int64     `json:"size"`          // bytes
	Created time.Time `json:"created,omitzero"`
	Current bool      `json:"current"` // it is what the entry says now
}

// List gives Huker's images, newest first, and then the entries that are not built.
func (b *Builder) List(ctx context.Context, c Catalogue) ([]Listed, error) {
	current := map[string]string{}
	for _, e := range c.Images {
		content, err := e.Content()
		if err != nil {
			return nil, err
		}
		current[content] = e.String()
	}
	found, err := b.find(ctx, filters.Arg("label", LabelKind))
	if err != nil {
		return nil, err
	}
	var out []Listed
	for _, s := range found {
		l := Listed{Kind: s.Labels[LabelKind], Version: s.Labels[LabelVersion], Size: s.Size, Created: time.Unix(s.Created, 0).UTC(), Current: true}
		own := ""
		if facts, err := factsOf(s.Labels); err == nil {
			own = facts.ref()
		}
		named := refAmong(s.RepoTags, own)
		l.Ref = cmp.Or(named, s.ID)
		if l.Kind == KindDatabase {
			l.Entry = s.Labels[LabelEngine] + ":" + s.Labels[LabelSeries]
			_, l.Current = current[s.Labels[LabelContent]]
			l.Current = l.Current && named != "" // one without a name cannot be used before it is built, which names it
			if l.Current {
				delete(current, s.Labels[LabelContent]) // an older one of the same content is not current
			}
		}
		out = append(out, l)
	}
	for _, e := range c.Images {
		content, err := e.Content()
		if err != nil {
			return nil, err
		}
		if _, missing := current[content]; missing {
			out = append(out, Listed{Kind: KindDatabase, Entry: e.String(), Version: e.Version})
		}
	}
	return out, nil
}
