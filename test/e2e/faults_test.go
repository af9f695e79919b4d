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
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			killedAt(t, point)
		})
	}
}

func killedAt(t *testing.T, point fault.Point) {
	t.Helper()
	p := newPlane(t)
	p.start("--fault", string(point))
	died := false
	// step asks for something; when the control plane dies meanwhile, it is started again and what was asked for must still come about.
	step := func(ask func() error, done func()) {
		if err := ask(); err != nil && !p.hasDied() {
			require.NoError(t, err)
		} else if err != nil { // the answer was lost with the control plane: ask again
			died = true
			p.cmd = nil
			p.start()
			if again := ask(); again != nil {
				t.Logf("asked again: %v", again) // refused: it was accepted the first time
			}
		}
		if !died && p.diesBusy() {
			died = true
			p.cmd = nil
			p.start()
		}
		done()
	}
	id := ""
	step(func() error {
		code, answer, err := p.try(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody("f", 1))
		if err == nil {
			require.Equal(t, http.StatusOK, code, "%v", answer)
			id = dig[string](answer, "instance", "id")
		}
		return err
	}, func() { p.awaitActive(id) })
	_, i := p.show(id)
	db := open(t, address(i), nil)
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	run(t, db, "INSERT INTO kept VALUES (41)")

	post := func(body map[string]any) func() error {
		return func() error {
			code, answer, err := p.try(http.MethodPost, p.path(id)+"/action", body)
			if err == nil {
				require.Equal(t, http.StatusAccepted, code, "%v", answer)
			}
			return err
		}
	}
	step(post(map[string]any{"resize": map[string]any{"flavorRef": 2}}), func() { p.awaitActive(id) })
	require.Equal(t, 1024, p.container(id).Limits.MemoryMB)
	step(post(map[string]any{"restart": map[string]any{}}), func() { p.awaitActive(id) })
	step(func() error {
		_, _, err := p.try(http.MethodPut, p.path(id), map[string]any{"instance": map[string]any{
			"access": map[string]any{"is_public": true, "allowed_cidrs": []string{"192.0.2.0/24"}}}})
		return err
	}, func() { p.awaitActive(id) })
	step(func() error {
		_, _, err := p.try(http.MethodPost, p.path(id)+"/root", nil)
		return err
	}, func() { p.awaitActive(id) })
	step(post(map[string]any{"reset_status": map[string]any{}}), func() { p.awaitActive(id) })
	require.Equal(t, 41, query[int](t, db, "SELECT v FROM kept"))
	step(func() error {
		_, _, err := p.try(http.MethodDelete, p.path(id), nil)
		return err
	}, func() { p.awaitGone(id) })
	require.Empty(t, p.leftovers())
	require.True(t, died, "the point was never passed: the walk proves nothing")
}

func (p *plane) hasDied() bool {
	select {
	case err := <-p.exited:
		p.exited <- err
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
		case err := <-p.exited:
			p.exited <- err
			return true
		case <-time.After(20 * time.Millisecond):
		}
		if p.idle() {
			return false
		}
	}
	return false
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
