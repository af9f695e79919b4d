package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/internal/sysmgr"
)

// The control plane is killed at each of its fault points, in the middle of a life, and started again: what was asked for comes about, the
// database keeps what it was given, and at the end nothing is left.
func TestKilledAtEveryPoint(t *testing.T) {
	for _, point := range slices.Concat(api.Points(), keeper.Points(), sysmgr.Points()) {
		if ofClusters(point) {
			continue
		}
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			killedAt(t, point)
		})
	}
	for name, walk := range map[string]func(*testing.T){"clusters": clusterKilledAtEveryPoint, "replicas": replicaKilledAtEveryPoint} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(t)
		})
	}
}

func killedAt(t *testing.T, point fault.Point) {
	t.Helper()
	p := newPlane(t)
	p.start("--fault", string(point))
	died := false
	// step asks for something; when the control plane dies meanwhile, it is started again and what was asked for must still come about. lost is
	// for an answer that died with it: the request was stored by then, or not, and its client finds out.
	step := func(ask func() (int, error), lost, done func()) {
		code, err := ask()
		switch {
		case err == nil:
			require.Contains(t, []int{http.StatusOK, http.StatusAccepted}, code)
		case p.hasDied():
			died = true
			p.Bury()
			p.start()
			lost()
		default:
			require.NoError(t, err)
		}
		if !died && p.diesBusy() {
			died = true
			p.Bury()
			p.start()
		}
		done()
	}
	again := func(ask func() (int, error)) func() {
		return func() {
			code, err := ask() // refused while the first is carried out, or carried out again
			require.NoError(t, err)
			require.Contains(t, []int{http.StatusOK, http.StatusAccepted, http.StatusUnprocessableEntity, http.StatusNotFound, http.StatusBadRequest}, code)
		}
	}
	id := ""
	create := func() (int, error) {
		code, answer, err := p.try(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody("f", 1))
		id = dig[string](answer, "instance", "id")
		return code, err
	}
	step(create, func() {
		if id = p.only(); id == "" {
			_, err := create()
			require.NoError(t, err)
		}
	}, func() { p.awaitActive(id) })
	_, i := p.show(id)
	db := open(t, address(i), nil)
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	run(t, db, "INSERT INTO kept VALUES (41)")

	change := func(method, path string, body any, done func()) {
		ask := func() (int, error) {
			code, _, err := p.try(method, path, body)
			return code, err
		}
		step(ask, again(ask), done)
	}
	active := func() { p.awaitActive(id) }
	type m = map[string]any
	change(http.MethodPost, p.path(id)+"/action", m{"resize": m{"flavorRef": 2}}, active)
	require.Equal(t, 1024, p.container(id).Limits.MemoryMB)
	change(http.MethodPost, p.path(id)+"/action", m{"restart": m{}}, active)
	change(http.MethodPut, p.path(id), m{"instance": m{"access": m{"is_public": true, "allowed_cidrs": clients()}}}, active)
	change(http.MethodPost, p.path(id)+"/root", nil, active)
	change(http.MethodPost, p.path(id)+"/action", m{"reset_status": m{}}, active)
	require.Equal(t, 41, query[int](t, db, "SELECT v FROM kept"))
	change(http.MethodDelete, p.path(id), nil, func() { p.awaitGone(id) })
	require.Empty(t, p.leftovers())
	require.True(t, died, "the point was never passed: the walk proves nothing")
}

// clients are the networks that a database is opened to: on a fleet this test's own has to be among them; on one machine the host always may.
func clients() []string {
	if onSite != nil {
		return []string{"192.0.2.0/24", onSite.Fleet.Controller.Address + "/32"}
	}
	return []string{"192.0.2.0/24"}
}

func (p *plane) hasDied() bool {
	select {
	case err := <-p.Exited:
		p.Exited <- err
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

// diesBusy says whether the control plane dies before it has nothing left to do.
func (p *plane) diesBusy() bool {
	deadline := time.Now().Add(readyDeadline)
	for time.Now().Before(deadline) {
		select {
		case err := <-p.Exited:
			p.Exited <- err
			return true
		case <-time.After(20 * time.Millisecond):
		}
		if p.idle() {
			return false
		}
	}
	return false
}

// only gives the id of the only instance; "" when there is none.
func (p *plane) only() string {
	p.t.Helper()
	_, answer := p.call(http.MethodGet, "/v1.0/"+p.project+"/instances", nil)
	all, _ := answer["instances"].([]any)
	require.LessOrEqual(p.t, len(all), 1)
	for _, i := range all {
		return dig[string](i, "id")
	}
	return ""
}

// idle says whether nothing is under way: no instance, or all of them ACTIVE.
func (p *plane) idle() bool {
	code, answer, err := p.try(http.MethodGet, "/v1.0/"+p.project+"/instances", nil)
	if err != nil || code != http.StatusOK {
		return false
	}
	all, _ := answer["instances"].([]any)
	for _, i := range all {
		if dig[string](i, "status") != "ACTIVE" || dig[string](i, "operating_status") != "HEALTHY" {
			return false
		}
	}
	return true
}
