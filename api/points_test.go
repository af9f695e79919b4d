package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/model"
)

// dies ends the request where it is struck.
type dies struct{ at fault.Point }

func (d dies) Strike(p fault.Point) {
	if p == d.at {
		panic("killed at " + string(p))
	}
}

// TestKilledWhenStored: what was stored is not lost when the process dies before it answers, and asking again does no harm.
func TestKilledWhenStored(t *testing.T) {
	type ask struct {
		method, path, body string // {id} is an instance that is alone, {source} one with the {replica}, {cluster} one of three
		done               func(w *world, name func(string) string) bool
		again              int // what the same request gives next
	}
	row := func(is func(i model.Instance) bool) func(*world, func(string) string) bool {
		return func(w *world, name func(string) string) bool { return is(w.row(name("{id}"))) }
	}
	cluster := func(of string, is func(c model.Cluster) bool) func(*world, func(string) string) bool {
		return func(w *world, name func(string) string) bool { return is(w.clusterRow(name(of))) }
	}
	turning := func(c model.Cluster) bool { return c.Switchover != nil && !c.Switchover.Finished }
	asks := map[fault.Point]ask{
		"api.create.stored": {"POST", "instances", `{"instance":{"name":"second","flavorRef":1,"volume":{"size":1}}}`, func(w *world, _ func(string) string) bool {
			return len(w.call(alice, "GET", base, "").get("instances").([]any)) == 4
		}, 200},
		"api.update.stored": {"PUT", "instances/{id}", `{"instance":{"access":{"is_public":true}}}`,
			row(func(i model.Instance) bool { return i.Access.IsPublic }), 422},
		"api.delete.stored":  {"DELETE", "instances/{id}", "", row(func(i model.Instance) bool { return i.Desired == model.DesiredDeleted }), 202},
		"api.restart.stored": {"POST", "instances/{id}/action", `{"restart":{}}`, row(func(i model.Instance) bool { return i.RestartSerial == 1 }), 422},
		"api.resize.stored":  {"POST", "instances/{id}/action", `{"resize":{"flavorRef":"2"}}`, row(func(i model.Instance) bool { return i.FlavorID == "2" }), 422},
		"api.reset-status.stored": {"POST", "instances/{id}/action", `{"reset_status":{}}`,
			row(func(i model.Instance) bool { return i.Status == model.StatusError }), 202},
		"api.root.stored":       {"POST", "instances/{id}/root", "", row(func(i model.Instance) bool { return i.RootEnabled }), 200},
		"api.replicate.stored":  {"POST", "instances", `{"instance":{"name":"copy","replica_of":"{id}"}}`, row(func(i model.Instance) bool { return i.ClusterID == i.ID }), 200},
		"api.promote.stored":    {"POST", "instances/{replica}/action", `{"promote_to_replica_source":{}}`, cluster("{source}", turning), 422},
		"api.eject.stored":      {"POST", "instances/{source}/action", `{"eject_replica_source":{}}`, cluster("{source}", turning), 422},
		"api.switchover.stored": {"POST", "clusters/{cluster}/action", `{"switchover":{}}`, cluster("{cluster}", turning), 422},
		"api.cluster.stored":    {"POST", "clusters/{cluster}", `{"restart":{}}`, cluster("{cluster}", func(c model.Cluster) bool { return c.RestartSerial == 1 }), 422},
	}
	require.Len(t, asks, len(api.Points()))
	for _, point := range api.Points() {
		t.Run(string(point), func(t *testing.T) {
			w := newWorld(t, func(c *api.Config) { c.DefaultQuota = &model.Quota{Instances: -1, RAMMB: -1, VolumesGB: -1} })
			source := w.active(alice, mine, "of two")
			replica := w.replicate(source, "r", 1).get("instance", "id").(string)
			w.settle(source)
			g := w.cluster(alice, mine, "group", 3)
			name := strings.NewReplacer("{id}", w.active(alice, mine, "n"), "{source}", source, "{replica}", replica, "{cluster}", g.id).Replace
			w.forget()
			a, ok := asks[point]
			require.True(t, ok)
			path, body := name("/v1.0/"+mine+"/"+a.path), name(a.body)
			healthy := w.server
			w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.handler.ServeHTTP(rw, r.WithContext(fault.With(r.Context(), dies{point})))
			}))
			defer w.server.Close()
			w.call(alice, a.method, path, body).fault(500, "instanceFault")
			require.Contains(t, w.logged(), "killed at "+string(point))
			require.Empty(t, w.told(), "nobody was told")
			w.server.Close()
			w.server = healthy
			require.True(t, a.done(w, name))
			require.Equal(t, a.again, w.call(alice, a.method, path, body).status)
		})
	}
}
