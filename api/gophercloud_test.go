package api_test

import (
	"fmt"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/db/v1/databases"
	"github.com/gophercloud/gophercloud/v2/openstack/db/v1/datastores"
	"github.com/gophercloud/gophercloud/v2/openstack/db/v1/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/db/v1/instances"
	"github.com/gophercloud/gophercloud/v2/openstack/db/v1/users"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/model"
)

// TestGophercloud goes through all that gophercloud, and so Terraform, can ask of a database service, but configurations.
func TestGophercloud(t *testing.T) {
	w := newWorld(t, func(c *api.Config) {
		c.PublicURL = "" // links lead back here
		c.Limits.PageSize = 2
	})
	c := &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{TokenID: alice}, Endpoint: w.server.URL + "/v1.0/" + mine + "/"}
	ctx := t.Context()
	all := func(p pagination.Pager) pagination.Page {
		t.Helper()
		page, err := p.AllPages(ctx)
		require.NoError(t, err)
		return page
	}

	fs, err := flavors.ExtractFlavors(all(flavors.List(c)))
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 0}, []int{fs[0].ID, fs[1].ID, fs[2].ID}, "one without an integer is null, which reads as 0")
	f, err := flavors.Get(ctx, c, "2").Extract()
	require.NoError(t, err)
	require.Equal(t, 1024, f.RAM)
	ds, err := datastores.ExtractDatastores(all(datastores.List(c)))
	require.NoError(t, err)
	require.Equal(t, versionID, ds[0].DefaultVersion)
	v, err := datastores.GetVersion(ctx, c, "mysql", "9.7.4").Extract()
	require.NoError(t, err)
	require.Equal(t, versionID, v.ID)

	i, err := instances.Create(ctx, c, instances.CreateOpts{
		FlavorRef: "1", Size: 1, Name: "n", Datastore: &instances.DatastoreOpts{Type: "mysql", Version: "9.7.4"},
		Databases: databases.BatchCreateOpts{{Name: "d", CharSet: "utf8", Collate: "utf8_general_ci"}},
		Users:     users.BatchCreateOpts{{Name: "u", Password: "p", Databases: databases.BatchCreateOpts{{Name: "d"}}}},
	}).Extract()
	require.NoError(t, err)
	require.Equal(t, "BUILD", i.Status)
	w.activate(i.ID)
	for k := range 3 {
		w.create(alice, mine, fmt.Sprintf("more%d", k))
	}
	is, err := instances.ExtractInstances(all(instances.List(c)))
	require.NoError(t, err)
	require.Len(t, is, 4, "over pages")
	i, err = instances.Get(ctx, c, i.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "ACTIVE", i.Status)
	require.Equal(t, "private", i.Addresses[0].Type)
	require.False(t, i.Created.IsZero())

	for k := range 3 {
		require.NoError(t, databases.Create(ctx, c, i.ID, databases.BatchCreateOpts{{Name: fmt.Sprintf("db%d", k)}}).ExtractErr())
		require.NoError(t, users.Create(ctx, c, i.ID, users.BatchCreateOpts{{Name: fmt.Sprintf("u%d", k), Password: "p"}}).ExtractErr())
	}
	dbs, err := databases.ExtractDBs(all(databases.List(c, i.ID)))
	require.NoError(t, err)
	require.Len(t, dbs, 3)
	us, err := users.ExtractUsers(all(users.List(c, i.ID)))
	require.NoError(t, err)
	require.Len(t, us, 3)
	require.NoError(t, databases.Delete(ctx, c, i.ID, "db0").ExtractErr())
	require.NoError(t, users.Delete(ctx, c, i.ID, "u0").ExtractErr())

	root, err := instances.EnableRootUser(ctx, c, i.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "made-by-the-guest", root.Password)
	on, err := instances.IsRootEnabled(ctx, c, i.ID).Extract()
	require.NoError(t, err)
	require.True(t, on)
	require.NoError(t, instances.DetachConfigurationGroup(ctx, c, i.ID).ExtractErr(), "nothing to detach is no error")
	for _, act := range []func() error{
		func() error { return instances.Restart(ctx, c, i.ID).ExtractErr() },
		func() error { return instances.Resize(ctx, c, i.ID, "2").ExtractErr() },
		func() error { return instances.ResizeVolume(ctx, c, i.ID, 3).ExtractErr() },
	} {
		require.NoError(t, act())
		w.activate(i.ID)
	}
	require.Equal(t, 3, w.row(i.ID).VolumeGB)
	w.edit(i.ID, func(row *model.Instance) {
		row.Status, row.Fault = model.StatusError, &model.Fault{Message: "m", Created: row.Created}
	})
	i, err = instances.Get(ctx, c, i.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "m", i.Fault.Message)
	require.NoError(t, instances.Delete(ctx, c, i.ID).ExtractErr())
	_, err = instances.Get(ctx, c, unknownID).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 404))
}
