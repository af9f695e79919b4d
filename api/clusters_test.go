package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// clusters of the test's own project.
const clusters = "/v1.0/" + mine + "/clusters"

// group is a cluster of a test's.
type group struct {
	id      string
	members []string // oldest first
}

// members asks for n of them.
func members(n int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`{"flavorRef":"1","volume":{"size":1}},`, n), ",") + "]"
}

func (w *world) createCluster(token, project, name string, n int, more string) (reply, group) {
	w.t.Helper()
	r := w.call(token, "POST", "/v1.0/"+project+"/clusters", `{"cluster":{"name":"`+name+`","instances":`+members(n)+more+`}}`)
	require.Equal(w.t, 200, r.status, r.text)
	g := group{id: r.get("cluster", "id").(string)}
	for i := range n {
		g.members = append(g.members, r.get("cluster", "instances", i, "id").(string))
	}
	return r, g
}

// cluster makes one that serves. Its primary is the first member.
func (w *world) cluster(token, project, name string, n int) group {
	w.t.Helper()
	_, g := w.createCluster(token, project, name, n, "")
	w.settle(g.id)
	return g
}

func (w *world) clusterRow(id string) (c model.Cluster) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(tx metastore.Tx) (err error) {
		c, err = tx.Clusters().Get(w.t.Context(), id)
		return err
	}))
	return c
}

func (w *world) editCluster(id string, fn func(*model.Cluster)) {
	w.t.Helper()
	w.update(func(tx metastore.Tx) error {
		c, err := tx.Clusters().Get(w.t.Context(), id)
		if err != nil {
			return err
		}
		fn(&c)
		return tx.Clusters().Update(w.t.Context(), &c)
	})
}

// settle does what nodekeeper does about a cluster: places and opens members, removes those that are to go, and has the primary that is asked for.
func (w *world) settle(id string) {
	w.t.Helper()
	ctx := w.t.Context()
	w.update(func(tx metastore.Tx) error {
		c, err := tx.Clusters().Get(ctx, id)
		if err != nil {
			return err
		}
		all, err := tx.Instances().List(ctx, metastore.InstanceFilter{ClusterID: id})
		if err != nil {
			return err
		}
		used, err := tx.Instances().Addresses(ctx)
		if err != nil {
			return err
		}
		next := func() string {
			used = append(used, "")
			return fmt.Sprintf("10.9.%d.%d", len(used), w.clock().Second()+1)
		}
		if c.PrimaryID == "" {
			c.PrimaryID, c.ReadWrite, c.ReadOnly, c.ReadWritePort, c.ReadOnlyPort = all[len(all)-1].ID, next(), next(), 13306, 13307
		}
		if s := c.Switchover; s != nil && !s.Finished {
			done := *s
			done.Finished = true
			c.Switchover, c.ObservedSwitchover = &done, s.Serial
			for _, m := range all {
				if m.ID == s.To || s.To == "" && m.ID != c.PrimaryID {
					c.PrimaryID = m.ID
					break
				}
			}
		}
		c.Founded, c.Epoch, c.Status, c.Fault = true, c.Epoch+1, model.StatusActive, nil
		c.ObservedGeneration, c.ObservedRestart = c.Generation, c.RestartSerial
		for i := range all {
			m := &all[i]
			if m.Desired == model.DesiredDeleted {
				if err := tx.Instances().Delete(ctx, m.ID); err != nil {
					return err
				}
				continue
			}
			m.HostID, m.Address = "host-"+m.Name, orText(m.Address, next())
			m.Status, m.OperatingStatus, m.Bootstrap, m.Role, m.Fault = model.StatusActive, model.OperatingHealthy, nil, model.RoleReplica, nil
			if m.ID == c.PrimaryID {
				m.Role = model.RolePrimary
			}
			m.ObservedGeneration, m.ObservedRestart = m.Generation, m.RestartSerial
			if m.Detaching {
				m.Detaching, m.ClusterID, m.Role = false, "", ""
			}
			if err := tx.Instances().Update(ctx, m); err != nil {
				return err
			}
		}
		if c.Desired == model.DesiredDeleted {
			return tx.Clusters().Delete(ctx, id)
		}
		return tx.Clusters().Update(ctx, &c)
	})
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kicks = nil
}

// told says of whom nodekeeper was told.
func (w *world) told() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.kicks {
		ids = append(ids, k.Cluster+k.Instance)
	}
	return ids
}

func TestCreateCluster(t *testing.T) {
	w := newWorld(t)
	r, g := w.createCluster(alice, mine, "shop", 3, `,"datastore":{"type":"mysql","version":"9.7.4"},"locality":"anti-affinity","extended_properties":{
		"policy":"available","min_acks":"2","max_lag":30,"databases":[{"name":"orders"}],"users":[{"name":"app","password":"secret-1","databases":[{"name":"orders"}]}]}`)
	require.NotContains(t, r.text, "secret-1")
	require.Equal(t, "BUILDING", r.get("cluster", "task", "name"))
	require.InDelta(t, 2, r.get("cluster", "task", "id"), 0)
	require.Equal(t, "BUILD", r.get("cluster", "status"))
	require.Equal(t, "available", r.get("cluster", "policy"))
	require.InDelta(t, 2, r.get("cluster", "min_acks"), 0)
	require.InDelta(t, 30, r.get("cluster", "max_lag"), 0)
	require.Equal(t, "anti-affinity", r.get("cluster", "locality"))
	require.Equal(t, map[string]any{"type": "mysql", "version": "9.7.4"}, r.get("cluster", "datastore"))
	require.Equal(t, map[string]any{}, r.get("cluster", "endpoints"))
	require.Equal(t, append([]string{g.id}, g.members...), w.told())
	for _, absent := range []string{"ip", "primary", "condition", "fault", "tenant_id", "switchover", "implicit"} {
		require.NotContains(t, r.get("cluster"), absent)
	}

	c := w.clusterRow(g.id)
	require.Equal(t, model.Cluster{
		ID: g.id, ProjectID: mine, Name: "shop", Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: versionID, Policy: "available", Acks: 2,
		MaxLag: 30 * time.Second, Spread: "anti-affinity", Status: model.StatusBuild, Created: c.Created, Updated: c.Updated, Version: 1,
	}, c)
	var before model.Instance
	for n, id := range g.members {
		i := w.row(id)
		require.Equal(t, fmt.Sprintf("shop-member-%d", n+1), i.Name)
		require.Equal(t, g.id, i.ClusterID)
		require.Equal(t, n == 0, i.Bootstrap != nil, "the first one has the databases and users, the others get them from it")
		require.Equal(t, "1 1 BUILD", fmt.Sprint(i.FlavorID, " ", i.VolumeGB, " ", i.Status))
		require.True(t, i.Created.After(before.Created), "there is a first one")
		require.Greater(t, i.ID, before.ID)
		before = i
	}
	require.Equal(t, "secret-1", w.row(g.members[0]).Bootstrap.Users[0].Password)

	w.settle(g.id)
	r = w.call(alice, "GET", clusters+"/"+g.id, "")
	c = w.clusterRow(g.id)
	require.Equal(t, []any{c.ReadWrite}, r.get("cluster", "ip"))
	require.Equal(t, map[string]any{
		"read_write": map[string]any{"address": c.ReadWrite, "port": 3306.0, "host_port": 13306.0},
		"read_only":  map[string]any{"address": c.ReadOnly, "port": 3306.0, "host_port": 13307.0},
	}, r.get("cluster", "endpoints"))
	require.Equal(t, "NONE", r.get("cluster", "task", "name"))
	require.Equal(t, "ACTIVE", r.get("cluster", "status"))
	require.Equal(t, g.members[0], r.get("cluster", "primary"))
	require.Equal(t, "primary", r.get("cluster", "instances", 0, "role"))
	require.Equal(t, "replica", r.get("cluster", "instances", 1, "role"))
	require.Equal(t, "1", r.get("cluster", "instances", 2, "flavor", "id"))
	require.InDelta(t, 1, r.get("cluster", "instances", 2, "volume", "size"), 0)

	// What nodekeeper has to say of it.
	w.editCluster(g.id, func(c *model.Cluster) {
		c.Condition = "4.1: no spare"
		c.Alarms = []model.Alarm{{Name: "no-spare", Text: "one left", Since: c.Created}}
		c.Fault = &model.Fault{Message: "m", Created: c.Created}
	})
	r = w.call(admin, "GET", "/v1.0/"+ops+"/clusters/"+g.id, "")
	require.Equal(t, "4.1: no spare", r.get("cluster", "condition"))
	require.Equal(t, "no-spare", r.get("cluster", "alarms", 0, "name"))
	require.Equal(t, "m", r.get("cluster", "fault", "message"))
	require.Equal(t, mine, r.get("cluster", "tenant_id"))

	r = w.call(alice, "GET", clusters+"/"+g.id+"/events", "")
	require.Contains(t, r.get("events", 0, "message"), "3 members of 9.7.4, flavor small, volumes of 1 GB, policy available")

	// By default.
	_, g = w.createCluster(alice, mine, "two", 2, "")
	require.Equal(t, "strict", w.clusterRow(g.id).Policy)
	require.Equal(t, 10*time.Second, w.clusterRow(g.id).MaxLag)
	require.Equal(t, "soft-anti-affinity", w.clusterRow(g.id).Spread)
	require.InDelta(t, 1, w.call(alice, "GET", clusters+"/"+g.id, "").get("cluster", "min_acks"), 0)
}

func TestClusterOfOne(t *testing.T) {
	w := newWorld(t)
	_, g := w.createCluster(alice, mine, "one", 1, "")
	require.Equal(t, "available", w.clusterRow(g.id).Policy, "strict would let nobody write")
}

func TestCreateClusterRefused(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.DefaultQuota = &model.Quota{Instances: 3, RAMMB: -1, VolumesGB: 10, Backups: 1} })
	with := func(more string) string { return `{"name":"n","instances":` + members(2) + "," + more + `}` }
	extended := func(more string) string { return with(`"extended_properties":{` + more + `}`) }
	for name, tc := range map[string]struct {
		body   string
		status int
		key    string
		says   string
	}{
		"no name":        {`{"instances":` + members(2) + `}`, 400, "badRequest", `"name"`},
		"blank name":     {`{"name":" ","instances":` + members(2) + `}`, 400, "badRequest", "cluster.name"},
		"no instances":   {`{"name":"n"}`, 400, "badRequest", `"instances"`},
		"none":           {`{"name":"n","instances":[]}`, 400, "badRequest", "at least 1"},
		"ten":            {`{"name":"n","instances":` + members(10) + `}`, 400, "badRequest", "at most 9"},
		"flavorless":     {`{"name":"n","instances":[{"volume":{"size":1}}]}`, 400, "badRequest", "instances[0] needs a flavorRef"},
		"volumeless":     {`{"name":"n","instances":[{"flavorRef":1}]}`, 400, "badRequest", "instances[0] needs a volume"},
		"flavors":        {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1}},{"flavorRef":2,"volume":{"size":1}}]}`, 400, "badRequest", "same flavor: cluster.instances[1] has medium"},
		"volumes":        {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1}},{"flavorRef":"small","volume":{"size":2}}]}`, 400, "badRequest", "same size: cluster.instances[1] has 2 GB"},
		"flavor":         {`{"name":"n","instances":[{"flavorRef":"99","volume":{"size":1}}]}`, 404, "itemNotFound", "99"},
		"too large":      {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":70000}}]}`, 400, "badRequest", "at most 65536"},
		"volume type":    {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1,"type":"ssd"}}]}`, 404, "itemNotFound", "ssd"},
		"member's type":  {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1},"type":"arbiter"}]}`, 400, "badRequest", "no type"},
		"region":         {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1},"region":"Mars"}]}`, 400, "badRequest", "Mars"},
		"zone":           {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":1},"availability_zone":"z9"}]}`, 400, "badRequest", "z9"},
		"names alike":    {`{"name":"n","instances":[{"name":"a","flavorRef":1,"volume":{"size":1}},{"name":"a","flavorRef":1,"volume":{"size":1}}]}`, 400, "badRequest", "already"},
		"datastore":      {with(`"datastore":{"type":"pg"}`), 404, "itemNotFound", "'pg'"},
		"configuration":  {with(`"configuration":"x"`), 501, "notImplemented", "Configuration"},
		"locality":       {with(`"locality":"moon"`), 400, "badRequest", "cluster.locality must be one of"},
		"unknown":        {extended(`"num_configsvr":"1"`), 400, "badRequest", `unknown field "num_configsvr" in cluster.extended_properties (known are databases, max_lag, min_acks, policy, users)`},
		"policy":         {extended(`"policy":"lax"`), 400, "badRequest", "policy must be one of"},
		"acks":           {extended(`"min_acks":2`), 400, "badRequest", "1 replicas only"},
		"negative acks":  {extended(`"min_acks":-1`), 400, "badRequest", "min_acks"},
		"no lag":         {extended(`"max_lag":0`), 400, "badRequest", "1 to 86400"},
		"lag":            {extended(`"max_lag":"86401"`), 400, "badRequest", "1 to 86400"},
		"lag in words":   {extended(`"max_lag":"long"`), 400, "badRequest", "max_lag"},
		"user":           {extended(`"users":[{"name":"root","password":"x"}]`), 400, "badRequest", "reserved"},
		"strict one":     {`{"name":"n","instances":` + members(1) + `,"extended_properties":{"policy":"strict"}}`, 400, "badRequest", "never acknowledge a write"},
		"instance quota": {`{"name":"n","instances":` + members(4) + `}`, 413, "overLimit", "instances"},
		"volume quota":   {`{"name":"n","instances":[{"flavorRef":1,"volume":{"size":6}},{"flavorRef":1,"volume":{"size":6}}]}`, 413, "overLimit", "volumes"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, w.call(alice, "POST", clusters, `{"cluster":`+tc.body+`}`).fault(tc.status, tc.key), tc.says)
		})
	}
	require.Empty(t, w.call(alice, "GET", clusters, "").get("clusters"))
	require.Empty(t, w.call(alice, "GET", base+"?include_clustered=true", "").get("instances"), "nothing is left of them")
	require.Empty(t, w.kicks)
	w.call(reader, "POST", clusters, `{"cluster":{"name":"n","instances":`+members(1)+`}}`).fault(403, "forbidden")
	_, _ = w.createCluster(alice, mine, "fits", 3, "")
}

func TestClustersOfOthers(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(bob, theirs, "theirs", 2)
	require.Empty(t, w.call(alice, "GET", clusters, "").get("clusters"))
	for _, id := range []string{g.id, unknownID, "a name", "..", g.members[0]} {
		path := clusters + "/" + strings.ReplaceAll(id, " ", "%20")
		for _, c := range []string{"GET", "DELETE", "GET /events", "GET /members", "GET /history", "GET /root", "POST /root", "GET /instances/" + g.members[0]} {
			method, rest, _ := strings.Cut(c, " ")
			require.Contains(t, w.call(alice, method, path+rest, "").fault(404, "itemNotFound"), "cannot be found")
		}
		w.call(alice, "POST", path, `{"restart":{}}`).fault(404, "itemNotFound")
		w.call(alice, "POST", path+"/action", `{"failover":{}}`).fault(404, "itemNotFound")
		w.call(alice, "PATCH", path, `{"cluster":{"policy":"fast"}}`).fault(404, "itemNotFound")
	}
	w.call(alice, "GET", "/v1.0/"+mine+"/mgmt/clusters", "").fault(403, "forbidden")
	mgmt := "/v1.0/" + ops + "/mgmt/clusters"
	require.Len(t, w.call(admin, "GET", mgmt, "").get("clusters"), 1)
	require.Empty(t, w.call(admin, "GET", mgmt+"?project_id="+mine, "").get("clusters"))
	require.Equal(t, theirs, w.call(admin, "GET", mgmt+"/"+g.id, "").get("cluster", "tenant_id"))
	require.Equal(t, 202, w.call(admin, "DELETE", "/v1.0/"+ops+"/clusters/"+g.id, "").status)
	w.call(admin, "GET", clusters+"/"+unknownID, "").fault(404, "itemNotFound")
	g = w.cluster(alice, mine, "mine", 2)
	w.call(alice, "GET", clusters+"/"+g.id+"/instances/"+unknownID, "").fault(404, "itemNotFound")
	require.Equal(t, g.members[1], w.call(alice, "GET", clusters+"/"+g.id+"/instances/"+g.members[1], "").get("instance", "id"))
}

func TestClusterPages(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.DefaultQuota = &model.Quota{Instances: -1, RAMMB: -1, VolumesGB: -1} })
	var want, ids []string // newest first
	for n := range 5 {
		_, g := w.createCluster(alice, mine, fmt.Sprint("c", n), 1, "")
		want, ids = append([]string{fmt.Sprint("c", n)}, want...), append([]string{g.id}, ids...)
	}
	_, other := w.createCluster(bob, theirs, "other", 1, "")
	for _, limit := range []int{1, 2, 5, 9} {
		require.Equal(t, want, follow(t, w, fmt.Sprintf("%s?limit=%d", clusters, limit), "clusters", "clusters_links", func() {}))
	}
	for _, marker := range []string{"x", unknownID} {
		require.GreaterOrEqual(t, w.call(alice, "GET", clusters+"?marker="+marker, "").status, 400)
	}
	require.Len(t, w.call(alice, "GET", clusters+"?marker="+other.id, "").get("clusters"), 5, "another's id is a moment")
	w.call(alice, "GET", clusters+"?limit=0", "").fault(400, "badRequest")
	// The cluster that a page ended with is gone before the next page is asked for.
	w.update(func(tx metastore.Tx) error { return tx.Clusters().Delete(t.Context(), ids[1]) })
	require.Equal(t, ids[2], w.call(alice, "GET", clusters+"?marker="+ids[1], "").get("clusters", 0, "id"))
}

// TestMembersOfClusters: what is done with a member by itself, and what with its cluster only.
func TestMembersOfClusters(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 2)
	alone := w.active(alice, mine, "alone")
	ids := func(query string) (ids []any) {
		r := w.call(alice, "GET", base+query, "")
		for n := range r.get("instances").([]any) {
			ids = append(ids, r.get("instances", n, "id"))
		}
		return ids
	}
	require.Equal(t, []any{alone}, ids(""))
	require.Equal(t, []any{alone}, ids("/detail?include_clustered=false"))
	require.Equal(t, []any{alone, g.members[1], g.members[0]}, ids("?include_clustered=True"))
	require.Equal(t, []any{alone}, ids("?limit=1"))
	require.Nil(t, ids("?marker="+alone))

	r := w.call(alice, "GET", base+"/"+g.members[1], "")
	require.Equal(t, g.id, r.get("instance", "cluster_id"))
	require.Equal(t, "replica", r.get("instance", "role"))
	require.NotContains(t, r.get("instance"), "replica_of", "that is of replicas without a cluster that users see")
	require.NotContains(t, w.call(alice, "GET", base+"/"+g.members[0], "").get("instance"), "replicas")
	require.NotContains(t, w.call(alice, "GET", base+"/"+alone, "").get("instance"), "cluster_id")

	for _, id := range g.members {
		one := base + "/" + id
		require.Contains(t, w.call(alice, "DELETE", one, "").fault(403, "forbidden"), "shrink the cluster")
		require.Contains(t, w.call(alice, "POST", one+"/action", `{"resize":{"flavorRef":"2"}}`).fault(403, "forbidden"), "one size")
		require.Contains(t, w.call(alice, "POST", one+"/action", `{"resize":{"volume":{"size":2}}}`).fault(403, "forbidden"), "one size")
		require.Contains(t, w.call(alice, "PUT", one, `{"instance":{"replica_of":""}}`).fault(403, "forbidden"), "shrinking")
		require.Contains(t, w.call(alice, "POST", base, `{"instance":{"name":"r","replica_of":"`+id+`"}}`).fault(400, "badRequest"), "grow the cluster")
		require.Equal(t, 202, w.call(alice, "PUT", one, `{"instance":{"name":"other-`+id+`"}}`).status)
	}
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+g.members[1]+"/action", `{"restart":{}}`).status)
	require.Equal(t, "REBOOT", w.call(alice, "GET", clusters+"/"+g.id, "").get("cluster", "instances", 1, "status"))
}

// TestContentsOfClusters: whichever member is asked, the primary has the databases and users.
func TestContentsOfClusters(t *testing.T) {
	w := newWorld(t)
	g := w.cluster(alice, mine, "c", 2)
	first, second := g.members[0], g.members[1]
	asked := func() string {
		w.guests.mu.Lock()
		defer w.guests.mu.Unlock()
		return w.guests.asked[len(w.guests.asked)-1]
	}
	require.Equal(t, 202, w.call(alice, "POST", base+"/"+second+"/databases", `{"databases":[{"name":"d"}]}`).status)
	require.Contains(t, asked(), first)
	require.Equal(t, 200, w.call(alice, "GET", base+"/"+second+"/users", "").status)
	require.Contains(t, asked(), first)
	require.Equal(t, 200, w.call(alice, "GET", base+"/"+second+"/log", "").status)
	require.Contains(t, asked(), second, "logs are each member's own")
	require.Equal(t, false, w.call(alice, "GET", clusters+"/"+g.id+"/root", "").get("rootEnabled"))
	require.Equal(t, 200, w.call(alice, "POST", clusters+"/"+g.id+"/root", `{"password":"secret-9"}`).status)
	require.Contains(t, asked(), first)
	for _, id := range g.members {
		require.True(t, w.row(id).RootEnabled, "it is the same root everywhere")
		require.Equal(t, "alice", w.row(id).RootEnabledBy)
	}
	w.settle(g.id)
	w.editCluster(g.id, func(c *model.Cluster) { c.PrimaryID = second })
	require.Equal(t, 202, w.call(alice, "DELETE", base+"/"+first+"/databases/d", "").status)
	require.Contains(t, asked(), second)
	w.edit(second, func(i *model.Instance) { i.Status = model.StatusError })
	require.Contains(t, w.call(alice, "GET", base+"/"+first+"/databases", "").fault(422, "unprocessableEntity"), second)
	w.editCluster(g.id, func(c *model.Cluster) { c.PrimaryID = "" })
	require.Contains(t, w.call(alice, "GET", base+"/"+first+"/databases", "").fault(422, "unprocessableEntity"), "no primary")
	w.call(alice, "GET", clusters+"/"+g.id+"/root", "").fault(422, "unprocessableEntity")
}
