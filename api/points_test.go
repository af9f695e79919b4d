package api_test

import (
	"net/http"
	"net/http/httptest"
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
		method, path, body string
		done               func(i model.Instance) bool
		again              int // what the same request gives next
	}
	asks := map[fault.Point]ask{
		"api.create.stored":       {"POST", "", `{"instance":{"name":"second","flavorRef":1,"volume":{"size":1}}}`, nil, 200},
		"api.update.stored":       {"PUT", "/{id}", `{"instance":{"access":{"is_public":true}}}`, func(i model.Instance) bool { return i.Access.IsPublic }, 422},
		"api.delete.stored":       {"DELETE", "/{id}", "", func(i model.Instance) bool { return i.Desired == model.DesiredDeleted }, 202},
		"api.restart.stored":      {"POST", "/{id}/action", `{"restart":{}}`, func(i model.Instance) bool { return i.RestartSerial == 1 }, 422},
		"api.resize.stored":       {"POST", "/{id}/action", `{"resize":{"flavorRef":"2"}}`, func(i model.Instance) bool { return i.FlavorID == "2" }, 422},
		"api.reset-status.stored": {"POST", "/{id}/action", `{"reset_status":{}}`, func(i model.Instance) bool { return i.Status == model.StatusError }, 202},
		"api.root.stored":         {"POST", "/{id}/root", "", func(i model.Instance) bool { return i.RootEnabled }, 200},
	}
	require.Len(t, asks, len(api.Points()))
	for _, point := range api.Points() {
		t.Run(string(point), func(t *testing.T) {
			w := newWorld(t)
			id := w.active(alice, mine, "n")
			w.kicks = nil
			a, ok := asks[point]
			require.True(t, ok)
			path := base
			if a.path != "" {
				path += "/" + id + a.path[len("/{id}"):]
			}
			healthy := w.server
			w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				w.handler.ServeHTTP(rw, r.WithContext(fault.With(r.Context(), dies{point})))
			}))
			defer w.server.Close()
			w.call(alice, a.method, path, a.body).fault(500, "instanceFault")
			require.Contains(t, w.logged(), "killed at "+string(point))
			require.Empty(t, w.kicks, "nobody was told")
			w.server.Close()
			w.server = healthy
			if a.done == nil {
				require.Len(t, w.call(alice, "GET", base, "").get("instances"), 2)
			} else {
				require.True(t, a.done(w.row(id)))
			}
			require.Equal(t, a.again, w.call(alice, a.method, path, a.body).status)
		})
	}
}
