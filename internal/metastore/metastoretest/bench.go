package metastoretest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Bench measures what the API does most, with 10,000 instances there.
func Bench(b *testing.B, open Open) {
	const rows = 10000
	s := open(b)
	is := make([]model.Instance, rows)
	for n := range is {
		is[n] = instance(n)
		is[n].ProjectID = []string{"p1", "p2"}[n%2]
	}
	create(b, s, is...)
	next := rows

	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			i := instance(next)
			next++
			require.NoError(b, s.Update(context.Background(), func(tx metastore.Tx) error { return tx.Instances().Create(b.Context(), &i) }))
		}
	})
	b.Run("update", func(b *testing.B) {
		i := is[0]
		for b.Loop() {
			update(b, s, func(tx metastore.Tx) error { return tx.Instances().Update(b.Context(), &i) })
		}
		is[0] = i
	})
	b.Run("get", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n = (n + 7919) % rows
			get(b, s, is[n].ID)
		}
	})
	b.Run("get, parallel", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for n := 0; p.Next(); n = (n + 7919) % rows {
				get(b, s, is[n].ID)
			}
		})
	})
	for name, f := range map[string]metastore.InstanceFilter{
		"list a page of 100":              {Limit: 100, Marker: is[rows/2].ID},
		"list a page of 100 of a project": {Limit: 100, Marker: is[rows/2].ID, ProjectID: "p1"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				require.Len(b, list(b, s, f), 100)
			}
		})
	}
	b.Run("usage of 5,000", func(b *testing.B) {
		for b.Loop() {
			read(b, s, func(ctx context.Context, tx metastore.Tx) (model.Usage, error) {
				return tx.Instances().Usage(ctx, "p1")
			})
		}
	})
}
