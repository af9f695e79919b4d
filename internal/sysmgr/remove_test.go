package sysmgr_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/sysmgr"
	"github.com/huker/huker/runtime"
)

// nothingLeft asks that of an instance there is only the mark.
func (r *rig) nothingLeft(q protocol.EnsureRequest) {
	r.t.Helper()
	_, err := r.driver.Inspect(r.t.Context(), r.container(q))
	require.ErrorIs(r.t, err, runtime.ErrNotFound)
	volumes, err := r.driver.ListVolumes(r.t.Context(), map[string]string{"io.huker.instance": q.Instance})
	require.NoError(r.t, err)
	require.Empty(r.t, volumes)
	entries, err := os.ReadDir(r.file(q))
	require.NoError(r.t, err)
	require.Len(r.t, entries, 1)
	require.Equal(r.t, "removed", entries[0].Name())
	require.NotContains(r.t, addresses(r.wall.rules()), q.Address)
	_, ok := r.published(q)
	require.False(r.t, ok)
}

func testRemove(t *testing.T, r *rig) {
	r.start()
	stays, q := r.request(), r.request()
	r.ensured(stays)
	r.ensured(q)
	other := r.inspect(stays)
	r.journal.take()
	gone := protocol.RemoveRequest{Instance: q.Instance, Purge: true, Grace: time.Minute}
	require.NoError(t, r.remove(gone))
	require.Equal(t, []string{"stop", "remove container", "firewall " + stays.Address, "remove volume"}, r.journal.take())
	r.nothingLeft(q)
	require.NoError(t, r.remove(gone), "twice is the same as once")
	r.nothingLeft(q)
	require.Equal(t, other, r.inspect(stays))

	q = r.request()
	r.ensured(q)
	r.journal.take()
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	require.NotContains(t, r.journal.take(), "stop", "without grace it is killed")
	r.nothingLeft(q)
}

func testRemoveKeepsData(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance}))
	volumes, err := r.driver.ListVolumes(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	require.NoFileExists(t, r.file(q, "etc", "agent-key.pem"))
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	r.nothingLeft(q)
}

func testRemoveUnknown(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	r.nothingLeft(q)
	_, err := r.ensure(q)
	r.refused(err, protocol.CodeRemoved)

	q = r.request()
	stranger := r.engine.Open("stranger")
	require.NoError(t, stranger.Create(t.Context(), runtime.Spec{Name: r.container(q), Image: image}))
	require.Error(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	_, err = stranger.Inspect(t.Context(), r.container(q))
	require.NoError(t, err, "what is not ours is not touched")
}

func testRemoveLateEnsure(t *testing.T, r *rig) {
	r.cfg.Resync = shortResync
	r.start()
	q := r.request()
	r.ensured(q)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	q.Generation = 99
	for range 2 {
		_, err := r.ensure(q)
		r.refused(err, protocol.CodeRemoved)
		r.awaitResync()
		r.nothingLeft(q)
		r.stop()
		r.start()
	}
	// A day later no request can be under way any more.
	yesterday := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(r.file(q, "removed"), yesterday, yesterday))
	r.eventually("the mark goes", func() bool { _, err := os.Stat(r.file(q)); return errors.Is(err, os.ErrNotExist) })
}

// testRemoveNotForgotten: a removal is done when nodekeeper's view of it is, too; else the key would stay for ever.
func testRemoveNotForgotten(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	r.store.set(func(op coord.Op) error {
		if op.Kind == coord.OpDelete {
			return coord.ErrUnavailable
		}
		return nil
	})
	require.Error(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	r.store.set(nil)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	r.nothingLeft(q)
}

func testRemoveEngineAway(t *testing.T, r *rig) {
	r.start()
	q := r.request()
	r.ensured(q)
	r.engine.SetDown(true)
	r.refused(r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}), protocol.CodeUnavailable)
	r.engine.SetDown(false)
	require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
	r.nothingLeft(q)
}

// killer stops a request dead at a point, once: what comes after it does not happen.
type killer struct {
	point fault.Point
	once  sync.Once
}

func (k *killer) Strike(p fault.Point) {
	if p == k.point {
		k.once.Do(func() { panic("killed at " + p) })
	}
}

// testKilled ends each request at each point, and has another sysmgr find what is there.
func testKilled(t *testing.T, r *rig) {
	for _, point := range sysmgr.Points() {
		t.Run(string(point), func(t *testing.T) {
			r := newRig(t, r.etcd)
			r.startIn(fault.With(context.WithoutCancel(t.Context()), &killer{point: point}))
			q := r.request()
			if strings.HasPrefix(string(point), "sysmgr.ensure.") {
				killedEnsure(t, r, q)
			} else {
				r.ensured(q)
				r.wantKilled(r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
				r.restart()
				require.NotContains(t, addresses(r.wall.rules()), q.Address)
			}
			require.NoError(t, r.remove(protocol.RemoveRequest{Instance: q.Instance, Purge: true}))
			r.nothingLeft(q)
		})
	}
}

func killedEnsure(t *testing.T, r *rig, q protocol.EnsureRequest) {
	t.Helper()
	_, err := r.ensure(q)
	r.wantKilled(err)
	r.restart()
	r.awaitPublished(q, "it comes about with nobody's help", func(s protocol.ContainerStatus) bool {
		return running(s) && s.Generation == 1 && s.Error == ""
	})
	r.ensured(q)
	made := r.journal.take()
	require.Equal(t, 1, count(made, "container"))
	require.Equal(t, 1, count(made, "start"))
	require.Less(t, slices.Index(made, "firewall "+q.Address), slices.Index(made, "start"))
	require.Contains(t, addresses(r.wall.rules()), q.Address)
}

func (r *rig) wantKilled(err error) {
	r.t.Helper()
	require.ErrorContains(r.t, err, "the handler panicked")
}

func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
	r.idle()
}

func count(lines []string, what string) int {
	n := 0
	for _, l := range lines {
		if l == what {
			n++
		}
	}
	return n
}
