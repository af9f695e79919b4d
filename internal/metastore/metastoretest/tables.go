package metastoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func eventLog(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	var want []model.Event
	for n := range 10 {
		// Times run backwards: the order is that of appending.
		e := model.Event{
			ProjectID: "p", InstanceID: "i", Time: at(-n), Kind: fmt.Sprintf("k%d", n), Message: "m", RequestID: "req-1",
		}
		other := e
		other.InstanceID = "other"
		update(t, s, func(tx metastore.Tx) error {
			return errors.Join(tx.Events().Append(ctx, &e), tx.Events().Append(ctx, &other))
		})
		require.Positive(t, e.ID)
		if n > 0 {
			require.Greater(t, e.ID, want[n-1].ID)
		}
		want = append(want, e)
	}
	for limit, from := range map[int]int{0: 0, 1: 9, 3: 7, 10: 0, 99: 0} {
		got := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Event, error) {
			return tx.Events().List(ctx, "i", limit)
		})
		require.Equal(t, want[from:], got, "limit %d", limit)
	}
	require.Empty(t, read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Event, error) {
		return tx.Events().List(ctx, "none", 0)
	}))
}

func catalogue(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	flavors := []model.Flavor{ // in the order wanted
		{ID: "9", Name: "tiny", RAMMB: 256, VCPUs: 0.25},
		{ID: "2", Name: "small", RAMMB: 512, VCPUs: 0.5},
		{ID: "10", Name: "small too", RAMMB: 512, VCPUs: 1},
		{ID: "1", Name: "big", RAMMB: 65536, VCPUs: 32},
	}
	stores := []model.Datastore{ // in the order wanted, too; the last one has no versions
		{ID: "d2", Name: "mariadb"}, {ID: "d1", Name: "mysql", DefaultVersionID: "v1"}, {ID: "d0", Name: "postgresql"},
	}
	versions := []model.DatastoreVersion{ // likewise
		{ID: "v0", DatastoreID: "d2", Name: "12", Engine: "mysql", Image: "x", Active: true},
		{ID: "v2", DatastoreID: "d1", Name: "8.4.6", Engine: "mysql", Image: "mysql:8.4", Created: at(0)},
		{ID: "v1", DatastoreID: "d1", Name: "9.7.4", Engine: "mysql", Image: "huker/mysql:9.7", Active: true, Created: at(1)},
	}
	lone := model.DatastoreVersion{ID: "v9", DatastoreID: "d9", Name: "9", Engine: "mysql", Image: "z", Created: at(1)} // its datastore is not there
	check := func() {
		t.Helper()
		view(t, s, func(tx metastore.Tx) error {
			c := tx.Catalogue()
			fs, err := c.Flavors(ctx)
			require.NoError(t, err)
			require.Equal(t, flavors, fs)
			ds, vs, err := c.Datastores(ctx)
			require.NoError(t, err)
			require.Equal(t, stores, ds)
			require.Equal(t, versions, vs)
			vs, err = c.Versions(ctx)
			require.NoError(t, err)
			require.ElementsMatch(t, append(slices.Clone(versions), lone), vs)
			return nil
		})
	}
	put := func() {
		t.Helper()
		update(t, s, func(tx metastore.Tx) error {
			var err error
			for n := range flavors { // backwards, to see that the order is not that of writing
				err = errors.Join(err, tx.Catalogue().PutFlavor(ctx, flavors[len(flavors)-1-n]))
			}
			for _, d := range slices.Backward(stores) {
				err = errors.Join(err, tx.Catalogue().PutDatastore(ctx, d))
			}
			for _, v := range slices.Backward(append(slices.Clone(versions), lone)) {
				err = errors.Join(err, tx.Catalogue().PutVersion(ctx, v))
			}
			return err
		})
	}
	put()
	check()
	put() // the same once more
	check()
	flavors[0].VCPUs, flavors[1].Name = 0.125, "changed"
	stores[1].DefaultVersionID = "v2"
	versions[1].Active, versions[2].Image, versions[0].Created = true, "y", at(9)
	put()
	check()
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return tx.Catalogue().DeleteVersion(ctx, "v1") })
	}
	versions = versions[:2]
	check()
}

func quotas(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Quotas().Get(ctx, "p")
		return err
	})
	for _, q := range []model.Quota{
		{ProjectID: "p", Instances: -1, RAMMB: 1 << 40, VolumesGB: 3, Backups: 4},
		{ProjectID: "q"},
		{ProjectID: "p", Instances: 5},
		{ProjectID: "p", Instances: 5},
	} {
		update(t, s, func(tx metastore.Tx) error { return tx.Quotas().Put(ctx, q) })
		got := read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Quota, error) {
			return tx.Quotas().Get(ctx, q.ProjectID)
		})
		require.Equal(t, q, got)
	}
}

func hosts(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Hosts().Get(ctx, "h")
		return err
	})
	all := func() []model.Host {
		return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Host, error) { return tx.Hosts().List(ctx) })
	}
	require.Empty(t, all())
	a := model.Host{
		ID: "a", Name: "zeta", Labels: map[string]string{"rack": "1", "päck": `"`}, CPUs: 1.5, RAMMB: 1, DiskGB: 2, Drained: true, Removed: true,
		Address: "192.0.2.1", Subnet: "10.88.1.0/24", Up: true, Since: at(2), Version: "1", Engine: "docker", Trouble: "no room: ü", Created: at(1),
	}
	b := model.Host{ID: "b", Name: "alpha"}
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return errors.Join(tx.Hosts().Put(ctx, a), tx.Hosts().Put(ctx, b)) })
		require.ElementsMatch(t, []model.Host{b, a}, all())
	}
	a.Labels, a.Drained, a.Removed = nil, false, false
	update(t, s, func(tx metastore.Tx) error { return tx.Hosts().Put(ctx, a) })
	got := read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Host, error) { return tx.Hosts().Get(ctx, "a") })
	require.Equal(t, a, got)
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return tx.Hosts().Delete(ctx, "a") })
	}
	require.Equal(t, []model.Host{b}, all())
}

func hostUsage(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	usage := func() map[string]model.HostUsage {
		return read(t, s, func(ctx context.Context, tx metastore.Tx) (map[string]model.HostUsage, error) {
			return tx.Hosts().Usage(ctx)
		})
	}
	require.Empty(t, usage())
	update(t, s, func(tx metastore.Tx) error {
		return errors.Join(tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "1", RAMMB: 512, VCPUs: 0.5}),
			tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "2", RAMMB: 1024, VCPUs: 2}))
	})
	for n, host := range []string{"a", "a", "b", "", "b"} {
		i := instance(n)
		i.HostID, i.FlavorID, i.VolumeGB = host, []string{"1", "2"}[n%2], 10+n
		if n == 4 {
			i.FlavorID = "gone"
		}
		create(t, s, i)
	}
	require.Equal(t, map[string]model.HostUsage{
		"a": {Instances: 2, CPUs: 2.5, RAMMB: 1536, DiskGB: 21}, "b": {Instances: 2, CPUs: 0.5, RAMMB: 512, DiskGB: 26},
	}, usage())
}

func terms(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	check := func(role string, term int64) func(tx metastore.Tx) error {
		return func(tx metastore.Tx) error { return tx.Terms().Check(ctx, role, term) }
	}
	begin := func(role string) (term int64) {
		update(t, s, func(tx metastore.Tx) (err error) {
			term, err = tx.Terms().Begin(ctx, role)
			return err
		})
		return term
	}
	gives(t, s, metastore.ErrNotFound, check("keeper", 1))
	first := begin("keeper")
	require.Positive(t, first)
	update(t, s, check("keeper", first))
	second := begin("keeper")
	require.Greater(t, second, first)
	gives(t, s, metastore.ErrTermOver, check("keeper", first))
	update(t, s, check("keeper", second))
	require.EqualValues(t, 1, begin("other"), "roles have numbers of their own")
	update(t, s, check("keeper", second))

	// Who checked its term in a transaction that is under way is not overtaken before that ends.
	checked, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		once := sync.OnceFunc(func() { close(checked) })
		done <- s.Update(ctx, func(tx metastore.Tx) error {
			if err := tx.Terms().Check(ctx, "keeper", second); err != nil {
				return err
			}
			once()
			<-goOn
			return tx.Hosts().Put(ctx, model.Host{ID: "written-in-the-second-term"})
		})
	}()
	<-checked
	third := make(chan int64, 1)
	go func() { third <- begin("keeper") }()
	select {
	case <-third:
		t.Error("a term began in the middle of a transaction of the one before")
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	require.NoError(t, <-done)
	require.Greater(t, <-third, second)
	gives(t, s, metastore.ErrTermOver, check("keeper", second))
}

func secrets(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	fetch := func(owner, name string) ([]byte, error) {
		var v []byte
		err := s.View(ctx, func(tx metastore.Tx) (err error) {
			v, err = tx.Secrets().Get(ctx, owner, name)
			return err
		})
		return v, err
	}
	_, err := fetch("o", "n")
	require.ErrorIs(t, err, metastore.ErrNotFound)
	every := make([]byte, 256)
	for n := range every {
		every[n] = byte(n)
	}
	for _, v := range [][]byte{nil, {}, {0}, every, bytes.Repeat(every, 4096), every, every} {
		update(t, s, func(tx metastore.Tx) error {
			return errors.Join(tx.Secrets().Put(ctx, "o", "n", v), tx.Secrets().Put(ctx, "o", "n2", []byte("2")),
				tx.Secrets().Put(ctx, "o2", "n", []byte("3")))
		})
		got, err := fetch("o", "n")
		require.NoError(t, err)
		require.True(t, bytes.Equal(v, got), "%d bytes came back as %d", len(v), len(got))
	}
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return tx.Secrets().DeleteOwner(ctx, "o") })
	}
	for _, name := range []string{"n", "n2"} {
		_, err = fetch("o", name)
		require.ErrorIs(t, err, metastore.ErrNotFound)
	}
	got, err := fetch("o2", "n")
	require.NoError(t, err)
	require.Equal(t, []byte("3"), got)
}
