package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func instanceRoundTrip(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	full := instance(1)
	bare := model.Instance{ID: "bare"}
	empties := model.Instance{
		ID: "empties", Fault: &model.Fault{}, Bootstrap: &model.Bootstrap{}, Access: model.Access{AllowedCIDRs: []string{}},
	}
	for _, want := range []model.Instance{full, bare, empties} {
		want.Version = 42 // Create sets it
		update(t, s, func(tx metastore.Tx) error { return tx.Instances().Create(ctx, &want) })
		require.EqualValues(t, 1, want.Version)
		require.Equal(t, want, get(t, s, want.ID))
	}

	// Every field can be changed, to and from its zero value.
	for _, want := range []model.Instance{{ID: full.ID}, full} {
		want.Version = get(t, s, full.ID).Version
		before := want.Version
		update(t, s, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &want) })
		require.Equal(t, before+1, want.Version)
		require.Equal(t, want, get(t, s, want.ID))
	}

	// Writing the same once more is a write like any other.
	same := get(t, s, full.ID)
	update(t, s, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &same) })
	require.Equal(t, same, get(t, s, full.ID))
	require.EqualValues(t, 4, same.Version)
	require.Equal(t, model.Instance{ID: "bare", Version: 1}, get(t, s, "bare"), "another row was touched")
}

func instanceErrors(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	create(t, s, instance(1), instance(2))

	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Instances().Get(ctx, "none")
		return err
	})
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		none := instance(9)
		return tx.Instances().Update(ctx, &none)
	})
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
		again := instance(1)
		again.Address = ""
		return tx.Instances().Create(ctx, &again)
	})
	for _, version := range []int64{0, 2, 99} { // the rows are at 1
		stale := instance(1)
		stale.Version, stale.Name = version, "stale"
		gives(t, s, metastore.ErrConflict, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &stale) })
		require.Equal(t, version, stale.Version, "a refused update must not change the caller's value")
	}
	require.Equal(t, instance(1), get(t, s, instance(1).ID))
	for _, f := range []metastore.InstanceFilter{
		{Marker: "none"},
		{Marker: instance(1).ID, ProjectID: "p2"},
		{Marker: instance(1).ID, HostID: "h2"},
		{Marker: instance(1).ID, ClusterID: "c2"},
		{Marker: instance(1).ID, Unclustered: true},
	} {
		err := s.View(ctx, func(tx metastore.Tx) error {
			_, err := tx.Instances().List(ctx, f)
			return err
		})
		require.ErrorIs(t, err, metastore.ErrNotFound, "%+v", f)
	}
}

func instanceAddresses(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	a, b, c, d := instance(1), instance(2), instance(3), instance(4)
	a.Address, b.Address, c.Address, d.Address = "10.0.0.9", "10.0.0.1", "", ""
	create(t, s, a, b, c, d) // no address is no clash
	addresses := func() []string {
		return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]string, error) { return tx.Instances().Addresses(ctx) })
	}
	require.ElementsMatch(t, []string{"10.0.0.1", "10.0.0.9"}, addresses())

	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
		e := instance(5)
		e.Address = a.Address
		return tx.Instances().Create(ctx, &e)
	})
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
		e := c
		e.Address = a.Address
		return tx.Instances().Update(ctx, &e)
	})
	require.ElementsMatch(t, []string{"10.0.0.1", "10.0.0.9"}, addresses())

	// An address that was given back can be taken again, within one transaction too.
	update(t, s, func(tx metastore.Tx) error {
		if err := tx.Instances().Delete(ctx, a.ID); err != nil {
			return err
		}
		b := b
		b.Address = ""
		if err := tx.Instances().Update(ctx, &b); err != nil {
			return err
		}
		c, d := c, d
		c.Address, d.Address = "10.0.0.9", "10.0.0.1"
		return errors.Join(tx.Instances().Update(ctx, &c), tx.Instances().Update(ctx, &d))
	})
	require.Equal(t, "10.0.0.9", get(t, s, c.ID).Address)
	require.Equal(t, "10.0.0.1", get(t, s, d.ID).Address)
	require.Empty(t, get(t, s, b.ID).Address)
}

func instanceDelete(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	gone, stays := instance(1), instance(2)
	create(t, s, gone, stays)
	update(t, s, func(tx metastore.Tx) error {
		return errors.Join(
			tx.Events().Append(ctx, &model.Event{InstanceID: gone.ID, Kind: "k"}),
			tx.Events().Append(ctx, &model.Event{InstanceID: stays.ID, Kind: "k"}),
			tx.Secrets().Put(ctx, gone.ID, "ca", []byte("a")),
			tx.Secrets().Put(ctx, stays.ID, "ca", []byte("b")),
		)
	})
	for range 2 { // the second time there is nothing to delete
		update(t, s, func(tx metastore.Tx) error { return tx.Instances().Delete(ctx, gone.ID) })
	}
	view(t, s, func(tx metastore.Tx) error {
		_, err := tx.Instances().Get(ctx, gone.ID)
		require.ErrorIs(t, err, metastore.ErrNotFound)
		es, err := tx.Events().List(ctx, gone.ID, 0)
		require.NoError(t, err)
		require.Empty(t, es)
		_, err = tx.Secrets().Get(ctx, gone.ID, "ca")
		require.ErrorIs(t, err, metastore.ErrNotFound)

		_, err = tx.Instances().Get(ctx, stays.ID)
		require.NoError(t, err)
		es, err = tx.Events().List(ctx, stays.ID, 0)
		require.NoError(t, err)
		require.Len(t, es, 1)
		_, err = tx.Secrets().Get(ctx, stays.ID, "ca")
		require.NoError(t, err)
		return nil
	})
	create(t, s, gone) // the id is free again
}

func instanceUsage(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	usage := func(project string) model.Usage {
		return read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Usage, error) {
			return tx.Instances().Usage(ctx, project)
		})
	}
	require.Equal(t, model.Usage{}, usage("p1"))

	update(t, s, func(tx metastore.Tx) error {
		return errors.Join(
			tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "1", RAMMB: 512}),
			tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "2", RAMMB: 2048}),
		)
	})
	is := make([]model.Instance, 5)
	for n := range is {
		is[n] = instance(n)
		is[n].FlavorID, is[n].VolumeGB = "1", 1+n
	}
	is[1].FlavorID = "2"
	is[2].Desired = model.DesiredDeleted // still takes its place
	is[3].FlavorID = "no longer there"   // is counted, as far as one can
	is[4].ProjectID = "p2"
	create(t, s, is...)
	require.Equal(t, model.Usage{Instances: 4, RAMMB: 512 + 2048 + 512, VolumesGB: 1 + 2 + 3 + 4}, usage("p1"))
	require.Equal(t, model.Usage{Instances: 1, RAMMB: 512, VolumesGB: 5}, usage("p2"))
	require.Equal(t, model.Usage{}, usage("p3"))
}

func instanceFilters(t *testing.T, s metastore.Store) {
	is := make([]model.Instance, 8)
	for n := range is {
		is[n] = instance(n)
		is[n].ProjectID = []string{"p1", "p2"}[n%2]
		is[n].HostID = []string{"h1", "h2"}[n/2%2]
	}
	create(t, s, is...)
	id := func(ns ...int) []string {
		out := []string{}
		for _, n := range ns {
			out = append(out, is[n].ID)
		}
		return out
	}
	for name, c := range map[string]struct {
		filter metastore.InstanceFilter
		want   []string
	}{
		"all, newest first":   {metastore.InstanceFilter{}, id(7, 6, 5, 4, 3, 2, 1, 0)},
		"a project":           {metastore.InstanceFilter{ProjectID: "p2"}, id(7, 5, 3, 1)},
		"a host":              {metastore.InstanceFilter{HostID: "h1"}, id(5, 4, 1, 0)},
		"both":                {metastore.InstanceFilter{HostID: "h1", ProjectID: "p1"}, id(4, 0)},
		"limit":               {metastore.InstanceFilter{Limit: 3}, id(7, 6, 5)},
		"marker":              {metastore.InstanceFilter{Marker: is[3].ID}, id(2, 1, 0)},
		"marker, limit":       {metastore.InstanceFilter{Marker: is[6].ID, Limit: 2}, id(5, 4)},
		"marker of a project": {metastore.InstanceFilter{Marker: is[5].ID, Limit: 9, ProjectID: "p2"}, id(3, 1)},
		"marker of a host":    {metastore.InstanceFilter{Marker: is[5].ID, Limit: 2, HostID: "h1"}, id(4, 1)},
		"all four":            {metastore.InstanceFilter{Marker: is[5].ID, Limit: 2, HostID: "h1", ProjectID: "p2"}, id(1)},
		"after the last":      {metastore.InstanceFilter{Marker: is[0].ID}, id()},
		"of nobody":           {metastore.InstanceFilter{ProjectID: "p3"}, id()},
		"quoted":              {metastore.InstanceFilter{ProjectID: "p1' OR '1'='1"}, id()},
	} {
		require.Equal(t, c.want, list(t, s, c.filter), name)
	}
}

// instancePages walks over a thousand rows, many of them made in the same microsecond, while rows come and go between the pages.
func instancePages(t *testing.T, s metastore.Store) {
	const rows, page = 1000, 97
	ctx := t.Context()
	is := make([]model.Instance, rows)
	for n := range is {
		is[n] = instance((n*611 + 7) % rows) // not in the order of their ids
		is[n].Created = at(n / 40)           // forty at a time
	}
	create(t, s, is...)
	slices.SortFunc(is, func(a, b model.Instance) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return slices.Compare([]byte(b.ID), []byte(a.ID))
	})
	require.Equal(t, ids(is), list(t, s, metastore.InstanceFilter{}))

	var seen []string
	deleted := map[string]bool{}
	for pages, marker := 0, ""; ; pages++ {
		got := list(t, s, metastore.InstanceFilter{ProjectID: "p1", Limit: page, Marker: marker})
		seen = append(seen, got...)
		if len(got) < page {
			break
		}
		marker = got[page-1]
		update(t, s, func(tx metastore.Tx) error {
			// Deleted: some that were seen (not the marker), and some that are still to come.
			for _, i := range []int{pages * page, pages*page + 50, (pages+1)*page + 20} {
				if i < rows && is[i].ID != marker {
					deleted[is[i].ID] = true
					if err := tx.Instances().Delete(ctx, is[i].ID); err != nil {
						return err
					}
				}
			}
			newer := instance(rows + pages) // belongs on a page that is behind us
			newer.Created = at(rows)
			return tx.Instances().Create(ctx, &newer)
		})
	}
	require.NotEmpty(t, deleted)
	once := map[string]bool{}
	for _, id := range seen {
		require.False(t, once[id], "%s was listed twice", id)
		once[id] = true
	}
	for _, i := range is {
		require.True(t, once[i.ID] || deleted[i.ID], "%s was missed", i.ID)
	}
	require.LessOrEqual(t, len(seen), rows, "the newer rows are not on these pages")

	// The marker itself went: say so, rather than begin anew.
	update(t, s, func(tx metastore.Tx) error { return tx.Instances().Delete(ctx, seen[len(seen)-1]) })
	require.ErrorIs(t, s.View(ctx, func(tx metastore.Tx) error {
		_, err := tx.Instances().List(ctx, metastore.InstanceFilter{Marker: seen[len(seen)-1]})
		return err
	}), metastore.ErrNotFound)
}

// instanceRolledBackValue: the caller's value must not claim a version that was never written.
func instanceRolledBackValue(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	i, e := instance(1), model.Event{InstanceID: instance(1).ID}
	create(t, s, i)
	errStop := errors.New("stop")
	gives(t, s, errStop, func(tx metastore.Tx) error {
		for range 3 {
			if err := tx.Instances().Update(ctx, &i); err != nil {
				return err
			}
		}
		if i.Version != 4 {
			return fmt.Errorf("version %d inside the transaction", i.Version)
		}
		return errors.Join(tx.Events().Append(ctx, &e), errStop)
	})
	require.EqualValues(t, 1, i.Version)
	require.Zero(t, e.ID)
	update(t, s, func(tx metastore.Tx) error { return tx.Instances().Update(ctx, &i) })
	require.EqualValues(t, 2, i.Version)
}
