package api_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// follow reads all pages of a listing by the links of one kind, and calls between after each.
func follow(t *testing.T, w *world, start, list, links string, between func()) (ids []string) {
	t.Helper()
	path := start
	for range 100 {
		r := w.call(alice, "GET", path, "")
		require.Equal(t, 200, r.status, r.text)
		for i := range r.get(list).([]any) {
			key := "id"
			if list != "instances" {
				key = "name"
			}
			ids = append(ids, r.get(list, i, key).(string))
		}
		next, more := r.get().(map[string]any)[links]
		if !more {
			return ids
		}
		require.Equal(t, r.get("links"), next, "both kinds of links")
		href := r.get("links", 0, "href").(string)
		require.Equal(t, "next", r.get("links", 0, "rel"))
		require.True(t, strings.HasPrefix(href, "http://huker.test:8779/"), href)
		path = strings.TrimPrefix(href, "http://huker.test:8779")
		between()
	}
	t.Fatal("there is no last page")
	return nil
}

func TestInstancePages(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.DefaultQuota = &model.Quota{Instances: -1, RAMMB: -1, VolumesGB: -1} })
	var want []string
	for k := range 7 {
		want = append([]string{w.create(alice, mine, fmt.Sprintf("n%d", k))}, want...)
		w.create(bob, theirs, "other")
	}
	for _, limit := range []int{1, 2, 3, 6, 7, 8, 100000} {
		for _, path := range []string{base, base + "/detail"} {
			require.Equal(t, want, follow(t, w, fmt.Sprintf("%s?limit=%d&include_clustered=False", path, limit), "instances", "instances_links", func() {}))
		}
	}
	require.Equal(t, want, follow(t, w, base, "instances", "instances_links", func() {}))
	require.Equal(t, want[3:], follow(t, w, base+"?marker="+strings.ToUpper(want[2]), "instances", "instances_links", func() {}))

	for query, status := range map[string]int{
		"limit=0": 400, "limit=-1": 400, "limit=x": 400, "limit=1.5": 400, "limit=99999999999999999999": 400, "marker=x": 400, "marker=..": 400,
		"marker=" + unknownID: 404, "limit=": 200, "marker=": 200, "deleted=true": 200, "deleted=false": 200,
	} {
		require.Equal(t, status, w.call(alice, "GET", base+"?"+query, "").status, query)
	}
	require.Empty(t, w.call(alice, "GET", base+"?deleted=true", "").get("instances"))
}

// TestPagesOverDeletes: what is deleted between pages, the marker included, hides nothing else and shows nothing twice.
func TestPagesOverDeletes(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.DefaultQuota = &model.Quota{Instances: -1, RAMMB: -1, VolumesGB: -1} })
	var all []string
	for range 8 {
		all = append([]string{w.create(alice, mine, "n")}, all...)
	}
	remove := func(ids ...string) {
		w.update(func(tx metastore.Tx) error {
			for _, id := range ids {
				require.NoError(t, tx.Instances().Delete(t.Context(), id))
			}
			return nil
		})
	}
	page := 0
	got := follow(t, w, base+"?limit=2", "instances", "instances_links", func() {
		page++
		if page == 1 {
			remove(all[1], all[2]) // the marker, and one that was not read yet
		}
		if page == 2 {
			w.create(alice, mine, "newer") // newer than all pages to come
		}
	})
	require.Equal(t, []string{all[0], all[1], all[3], all[4], all[5], all[6], all[7]}, got)
}

// TestIDs: ids sort as creation does, also within a millisecond, which the pages rely on.
func TestIDs(t *testing.T) {
	w := newWorld(t)
	var last string
	for range 5 {
		id := w.create(alice, mine, "n")
		u, err := uuid.Parse(id)
		require.NoError(t, err)
		require.EqualValues(t, 7, u.Version())
		require.Equal(t, uuid.RFC4122, u.Variant())
		require.Greater(t, id, last)
		sec, nsec := u.Time().UnixTime()
		require.Equal(t, w.row(id).Created.Unix(), sec)
		require.Zero(t, nsec)
		last = id
	}
}

func TestDatabaseAndUserPages(t *testing.T) {
	w := newWorld(t)
	id := w.active(alice, mine, "n")
	var dbs, users []string
	for k := range 5 {
		dbs = append(dbs, fmt.Sprintf("db %d&x", k))
		users = append(users, fmt.Sprintf("u@%d+x", k))
		w.guests.databases = append(w.guests.databases, model.Database{Name: dbs[k]})
		w.guests.users = append(w.guests.users, model.User{Name: users[k], Host: "%"})
	}
	for _, limit := range []string{"", "?limit=1", "?limit=2", "?limit=5", "?limit=6"} {
		require.Equal(t, dbs, follow(t, w, base+"/"+id+"/databases"+limit, "databases", "databases_links", func() {}))
		require.Equal(t, users, follow(t, w, base+"/"+id+"/users"+limit, "users", "users_links", func() {}))
	}
	r := w.call(alice, "GET", base+"/"+id+"/databases?limit=2", "")
	u, err := url.Parse(r.get("links", 0, "href").(string))
	require.NoError(t, err)
	require.Equal(t, "db 1&x", u.Query().Get("marker"))
	w.call(alice, "GET", base+"/"+id+"/databases?limit=0", "").fault(400, "badRequest")
	w.call(alice, "GET", base+"/"+id+"/users?limit=x", "").fault(400, "badRequest")
}
