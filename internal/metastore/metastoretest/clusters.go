package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func createClusters(t testing.TB, s metastore.Store, cs ...model.Cluster) {
	t.Helper()
	update(t, s, func(tx metastore.Tx) error {
		for _, c := range cs {
			if err := tx.Clusters().Create(t.Context(), &c); err != nil {
				return err
			}
		}
		return nil
	})
}

func getCluster(t testing.TB, s metastore.Store, id string) model.Cluster {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Cluster, error) { return tx.Clusters().Get(ctx, id) })
}

func clusterRoundTrip(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	full := cluster(1)
	for _, want := range []model.Cluster{
		full, {ID: "bare"}, {ID: "empties", Switchover: &model.Switchover{}, Fault: &model.Fault{}, Alarms: []model.Alarm{}},
	} {
		want.Version = 42 // Create sets it
		update(t, s, func(tx metastore.Tx) error { return tx.Clusters().Create(ctx, &want) })
		require.EqualValues(t, 1, want.Version)
		require.Equal(t, want, getCluster(t, s, want.ID))
	}
	for _, want := range []model.Cluster{{ID: full.ID}, full} {
		want.Version = getCluster(t, s, full.ID).Version
		before := want.Version
		update(t, s, func(tx metastore.Tx) error { return tx.Clusters().Update(ctx, &want) })
		require.Equal(t, before+1, want.Version)
		require.Equal(t, want, getCluster(t, s, want.ID))
	}
	require.Equal(t, model.Cluster{ID: "bare", Version: 1}, getCluster(t, s, "bare"), "another row was touched")

	// A version that was never written is not claimed.
	c := getCluster(t, s, full.ID)
	errStop := errors.New("stop")
	gives(t, s, errStop, func(tx metastore.Tx) error { return errors.Join(tx.Clusters().Update(ctx, &c), errStop) })
	require.Equal(t, getCluster(t, s, full.ID), c)
}

func clusterErrors(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	createClusters(t, s, cluster(1), cluster(2))
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Clusters().Get(ctx, "none")
		return err
	})
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		none := cluster(9)
		return tx.Clusters().Update(ctx, &none)
	})
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
		again := cluster(1)
		again.ReadWrite, again.ReadOnly = "", ""
		return tx.Clusters().Create(ctx, &again)
	})
	for _, version := range []int64{0, 2, 99} { // the rows are at 1
		stale := cluster(1)
		stale.Version, stale.Name = version, "stale"
		gives(t, s, metastore.ErrConflict, func(tx metastore.Tx) error { return tx.Clusters().Update(ctx, &stale) })
		require.Equal(t, version, stale.Version, "a refused update must not change the caller's value")
	}
	require.Equal(t, cluster(1), getCluster(t, s, cluster(1).ID))
	for _, f := range []metastore.ClusterFilter{{Marker: "none"}, {Marker: cluster(1).ID, ProjectID: "p2"}, {Marker: cluster(1).ID, Explicit: true}} {
		require.ErrorIs(t, s.View(ctx, func(tx metastore.Tx) error {
			_, err := tx.Clusters().List(ctx, f)
			return err
		}), metastore.ErrNotFound, "%+v", f)
	}
}

func clusterLists(t *testing.T, s metastore.Store) {
	cs := make([]model.Cluster, 8)
	for n := range cs {
		cs[n] = cluster(n)
		cs[n].ProjectID = []string{"p1", "p2"}[n%2]
		cs[n].Implicit = n/2%2 == 0
		cs[n].Created = at(n / 3) // some at the same moment: then by id
	}
	createClusters(t, s, cs...)
	for name, c := range map[string]struct {
		filter metastore.ClusterFilter
		want   []int
	}{
		"all, newest first": {metastore.ClusterFilter{}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		"a project":         {metastore.ClusterFilter{ProjectID: "p2"}, []int{7, 5, 3, 1}},
		"explicit":          {metastore.ClusterFilter{Explicit: true}, []int{7, 6, 3, 2}},
		"both":              {metastore.ClusterFilter{Explicit: true, ProjectID: "p1"}, []int{6, 2}},
		"some":              {metastore.ClusterFilter{IDs: []string{cs[4].ID, "none", cs[6].ID}}, []int{6, 4}},
		"some of a project": {metastore.ClusterFilter{IDs: []string{cs[4].ID, cs[5].ID}, ProjectID: "p2"}, []int{5}},
		"none of all":       {metastore.ClusterFilter{IDs: []string{}}, []int{}},
		"limit":             {metastore.ClusterFilter{Limit: 3}, []int{7, 6, 5}},
		"marker":            {metastore.ClusterFilter{Marker: cs[3].ID}, []int{2, 1, 0}},
		"all four":          {metastore.ClusterFilter{Explicit: true, ProjectID: "p2", Marker: cs[7].ID, Limit: 2}, []int{3}},
		"after the last":    {metastore.ClusterFilter{Marker: cs[0].ID}, []int{}},
		"of nobody":         {metastore.ClusterFilter{ProjectID: "p3"}, []int{}},
	} {
		got := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Cluster, error) {
			return tx.Clusters().List(ctx, c.filter)
		})
		want := []model.Cluster{}
		for _, n := range c.want {
			want = append(want, cs[n])
		}
		require.Equal(t, want, got, name)
	}
}

func clusterMembers(t *testing.T, s metastore.Store) {
	seen, hidden := cluster(1), cluster(2)
	hidden.Implicit = false
	createClusters(t, s, seen, hidden)
	is := make([]model.Instance, 7)
	for n := range is {
		is[n] = instance(n)
		is[n].ProjectID = []string{"p1", "p2"}[n%2]
		is[n].ClusterID = []string{seen.ID, hidden.ID, ""}[n%3]
	}
	is[6].ClusterID = "a row that is gone"
	create(t, s, is...)
	for name, c := range map[string]struct {
		filter metastore.InstanceFilter
		want   []int
	}{
		"of a cluster":                 {metastore.InstanceFilter{ClusterID: hidden.ID}, []int{4, 1}},
		"of an implicit one":           {metastore.InstanceFilter{ClusterID: seen.ID}, []int{3, 0}},
		"of none":                      {metastore.InstanceFilter{ClusterID: "none"}, []int{}},
		"of a cluster, after":          {metastore.InstanceFilter{ClusterID: hidden.ID, Marker: is[4].ID, Limit: 5}, []int{1}},
		"of a cluster, a project's":    {metastore.InstanceFilter{ClusterID: hidden.ID, ProjectID: "p2"}, []int{1}},
		"alone or implicit":            {metastore.InstanceFilter{Unclustered: true}, []int{5, 3, 2, 0}},
		"alone or implicit, a page":    {metastore.InstanceFilter{Unclustered: true, Marker: is[5].ID, Limit: 2}, []int{3, 2}},
		"alone or implicit, a project": {metastore.InstanceFilter{Unclustered: true, ProjectID: "p1"}, []int{2, 0}},
	} {
		want := []string{}
		for _, n := range c.want {
			want = append(want, is[n].ID)
		}
		require.Equal(t, want, list(t, s, c.filter), name)
	}
}

func clusterAddresses(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	a, b, c := cluster(1), cluster(2), cluster(3)
	c.ReadWrite, c.ReadOnly = "", ""
	d := cluster(4)
	d.ReadWrite, d.ReadOnly = "", "" // no address is no clash
	createClusters(t, s, a, b, c, d)
	create(t, s, instance(1))
	addresses := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]string, error) { return tx.Instances().Addresses(ctx) })
	require.ElementsMatch(t, []string{a.ReadWrite, a.ReadOnly, b.ReadWrite, b.ReadOnly, instance(1).Address}, addresses)
	for _, set := range []func(*model.Cluster){
		func(c *model.Cluster) { c.ReadWrite = a.ReadWrite }, func(c *model.Cluster) { c.ReadOnly = b.ReadOnly },
	} {
		gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
			c := c
			set(&c)
			return tx.Clusters().Update(ctx, &c)
		})
	}
	require.Equal(t, c, getCluster(t, s, c.ID))
}

// clusterOneID: an implicit cluster has the id of the instance that it was made of. Either may outlive the other, and then keeps what belongs to the id.
func clusterOneID(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	remains := func(id string) (is bool) {
		view(t, s, func(tx metastore.Tx) error {
			es, err := tx.Events().List(ctx, id, 0)
			require.NoError(t, err)
			ca, err := tx.Secrets().Get(ctx, id, "ca")
			is = err == nil
			if !is {
				require.ErrorIs(t, err, metastore.ErrNotFound)
			}
			require.Equal(t, is, len(es) == 1)
			require.Equal(t, is, string(ca) == "a")
			return nil
		})
		return is
	}
	instanceFirst := func(tx metastore.Tx, id string) error { return tx.Instances().Delete(ctx, id) }
	clusterFirst := func(tx metastore.Tx, id string) error { return tx.Clusters().Delete(ctx, id) }
	for n, order := range [][]func(metastore.Tx, string) error{{instanceFirst, clusterFirst}, {clusterFirst, instanceFirst}} {
		i, c, other := instance(n), cluster(n), instance(n+10)
		c.ID = i.ID
		create(t, s, i, other)
		createClusters(t, s, c)
		update(t, s, func(tx metastore.Tx) error {
			var errs []error
			for _, id := range []string{i.ID, other.ID} {
				errs = append(errs, tx.Events().Append(ctx, &model.Event{InstanceID: id}), tx.Secrets().Put(ctx, id, "ca", []byte("a")))
			}
			return errors.Join(append(errs, tx.Clusters().AppendTurn(ctx, &model.Turn{ClusterID: c.ID, Epoch: 7}))...)
		})
		for range 2 { // the second time there is nothing to delete
			update(t, s, func(tx metastore.Tx) error { return order[0](tx, i.ID) })
			require.True(t, remains(i.ID))
		}
		update(t, s, func(tx metastore.Tx) error { return order[1](tx, i.ID) })
		require.False(t, remains(i.ID))
		require.True(t, remains(other.ID), "another's was taken")
		require.Empty(t, turns(t, s, c.ID, 0))
	}
}

func turns(t testing.TB, s metastore.Store, cluster string, limit int) []model.Turn {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Turn, error) {
		return tx.Clusters().Turns(ctx, cluster, limit)
	})
}

func clusterHistory(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	require.Empty(t, turns(t, s, "c", 0))
	turn := func(cluster string, epoch int64) model.Turn {
		return model.Turn{
			ClusterID: cluster, Epoch: epoch, Kind: "failover", From: "a", To: "b", Reason: "mysqld exited", Seen: []string{"a: silent", "b: well"},
			Began: at(int(epoch % 100)), Phases: []model.Phase{{Name: "stopping", Took: 3 * time.Millisecond, Note: "n"}, {Name: "opening", Took: time.Hour}}, Gap: 417 * time.Millisecond,
		}
	}
	appendTurn := func(turn model.Turn) {
		update(t, s, func(tx metastore.Tx) error { return tx.Clusters().AppendTurn(ctx, &turn) })
	}
	for _, epoch := range []int64{9, 1 << 40, 3, 12} {
		appendTurn(turn("c", epoch))
	}
	appendTurn(model.Turn{ClusterID: "other", Epoch: 9})
	again := turn("c", 9)
	again.Reason = "something else"
	appendTurn(again)
	require.Equal(t, []model.Turn{turn("c", 1<<40), turn("c", 12), turn("c", 9), turn("c", 3)}, turns(t, s, "c", 0))
	require.Equal(t, []model.Turn{turn("c", 1<<40), turn("c", 12)}, turns(t, s, "c", 2))
	require.Equal(t, []model.Turn{{ClusterID: "other", Epoch: 9}}, turns(t, s, "other", 5))
	update(t, s, func(tx metastore.Tx) error { return tx.Clusters().Delete(ctx, "c") })
	require.Empty(t, turns(t, s, "c", 0))
	require.Len(t, turns(t, s, "other", 0), 1)
}

func clusterValues(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	east := time.FixedZone("east", 5*3600+1800)
	in := time.Date(2026, 7, 1, 3, 4, 5, 678901234, east)
	want := time.Date(2026, 6, 30, 21, 34, 5, 678901000, time.UTC)
	for n, text := range []string{"", "'; DROP TABLE clusters; --", "数据库 🐬 nul\x00nul", strings.Repeat("🐬", 255), "bad \xff"} {
		good := strings.ToValidUTF8(text, "\uFFFD")
		c := cluster(n)
		c.Name, c.Condition, c.Fault.Message, c.Alarms[0].Text, c.Switchover.Fault = text, text, text, text, text
		c.Created, c.Fault.Created, c.Alarms[0].Since, c.Switchover.Asked = in, in, in, in
		createClusters(t, s, c)
		require.Equal(t, in, c.Fault.Created, "the caller's value is its own")
		got := getCluster(t, s, c.ID)
		for _, v := range []string{got.Name, got.Condition, got.Fault.Message, got.Alarms[0].Text, got.Switchover.Fault} {
			require.Equal(t, good, v)
		}
		turn := model.Turn{ClusterID: c.ID, Epoch: 1, Reason: text, Began: in}
		update(t, s, func(tx metastore.Tx) error { return tx.Clusters().AppendTurn(ctx, &turn) })
		line := turns(t, s, c.ID, 0)[0]
		require.Equal(t, good, line.Reason)
		for _, v := range []time.Time{got.Created, got.Fault.Created, got.Alarms[0].Since, got.Switchover.Asked, line.Began} {
			require.Equal(t, want, v, fmt.Sprint(n))
		}
	}
}
