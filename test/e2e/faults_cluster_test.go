package e2e

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/keeper"
)

// What only the life of a cluster, or of replicas, passes, in the order in which it does for the first time. A walk dies at each of them.
var (
	clusterPoints = []fault.Point{
		"api.cluster.stored", keeper.PointFounded, keeper.PointRostered, keeper.PointOrdered, keeper.PointSwapped, keeper.PointEndpointed, keeper.PointClusterSeen,
		"api.switchover.stored", keeper.PointRestarts, keeper.PointDissolved,
	}
	replicaPoints = []fault.Point{"api.replicate.stored", "api.promote.stored", keeper.PointDetaching}
	// elsewhere are passed when a member is lost for minutes, which the simulated clusters of internal/keeper are, and while a primary is dead and not replaced
	// yet, which the API's own tests say of their guests.
	elsewhere = []fault.Point{keeper.PointReplaced, "api.eject.stored"}
)

// ofClusters says whether a database that is alone never comes to the point.
func ofClusters(point fault.Point) bool {
	return slices.Contains(slices.Concat(clusterPoints, replicaPoints, elsewhere), point)
}

// walk goes on with something while the control plane dies, now at one point and after that at the next.
type walk struct {
	*plane
	left  []fault.Point
	begun int
}

func newWalk(t *testing.T, points []fault.Point) *walk {
	t.Helper()
	p := newPlane(t)
	t.Cleanup(p.logGuests)
	return &walk{plane: p, left: points}
}

// begin starts the control plane, all of it anew, with the next point at which one of its processes dies. Some are passed before it answers.
func (w *walk) begin() {
	w.t.Helper()
	for {
		w.kill()
		var at []string
		if len(w.left) > 0 {
			at = []string{"--fault", string(w.left[0])}
		}
		w.launch(at...)
		if w.comes() {
			break
		}
		w.passed()
	}
	w.signIn()
	if w.begun = w.begun + 1; w.begun == 1 && len(w.hosts) > 0 {
		w.welcome()
	}
}

// comes waits until the control plane answers; false when it has died before.
func (w *walk) comes() bool {
	w.t.Helper()
	deadline := time.Now().Add(readyDeadline)
	for !w.healthy() {
		if w.isDead() && len(w.hosts) == 0 { // else another process may have died: the API is on its way
			return false
		}
		require.Less(w.t, time.Now(), deadline, "the control plane does not become healthy:\n%s", w.log.tail(4096))
		time.Sleep(20 * time.Millisecond)
	}
	return true
}

func (w *walk) isDead() bool {
	select {
	case err := <-w.Exited:
		w.Exited <- err
		return true
	default:
		return false
	}
}

func (w *walk) passed() {
	w.t.Helper()
	require.NotEmpty(w.t, w.left, "a process has died at no point: %s", w.log.tail(4096))
	w.t.Logf("died at %s", w.left[0])
	w.left = w.left[1:]
}

// revive starts the control plane again, if one of its processes is dead.
func (w *walk) revive() bool {
	w.t.Helper()
	if !w.isDead() {
		return false
	}
	w.passed()
	w.begin()
	return true
}

// ask asks for something, again if its answer died with the control plane: it is refused then, or was not heard before.
func (w *walk) ask(method, path string, body any) {
	w.t.Helper()
	if _, heard := w.once(method, path, body); heard {
		return
	}
	code, answer := w.call(method, path, body)
	require.Contains(w.t, []int{http.StatusOK, http.StatusAccepted, http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotFound}, code, "%v", answer)
}

// once asks for something. It is not heard when the control plane dies meanwhile.
func (w *walk) once(method, path string, body any) (answer map[string]any, heard bool) {
	w.t.Helper()
	code, answer, err := w.try(method, path, body)
	if err != nil {
		require.True(w.t, w.hasDied(), "%v", err)
		w.revive()
		return nil, false
	}
	require.Contains(w.t, []int{http.StatusOK, http.StatusAccepted}, code, "%v", answer)
	return answer, true
}

// made creates a thing of that kind, and gives its id. It is looked for by its name if the control plane died before it said so, and asked for again if it is not there.
func (w *walk) made(kind, name string, body any) string {
	w.t.Helper()
	path := "/v1.0/" + w.project + "/" + kind + "s"
	for {
		if answer, heard := w.once(http.MethodPost, path, body); heard {
			return dig[string](answer, kind, "id")
		}
		_, answer := w.call(http.MethodGet, path, nil)
		for _, one := range dig[[]any](answer, kind+"s") {
			if dig[string](one, "name") == name {
				return dig[string](one, "id")
			}
		}
	}
}

// until waits for something, and starts the control plane again as often as it dies meanwhile.
func (w *walk) until(what, path string, good func(code int, answer map[string]any) bool) map[string]any {
	w.t.Helper()
	deadline := time.Now().Add(readyDeadline)
	for {
		code, answer, err := w.try(http.MethodGet, path, nil)
		if err == nil && good(code, answer) {
			return answer
		}
		if w.revive() {
			deadline = time.Now().Add(readyDeadline)
		}
		require.Less(w.t, time.Now(), deadline, "not %s: %d %v %v", what, code, answer, err)
		time.Sleep(20 * time.Millisecond)
	}
}

// over says that nothing is left, and that every point was passed. The last one may be by a process that does not answer anybody.
func (w *walk) over() {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(w.left) > 0; time.Sleep(20 * time.Millisecond) {
		require.Less(w.t, time.Now(), deadline, "points that were never passed: the walk proves nothing about them: %v", w.left)
		w.revive()
	}
	require.Eventually(w.t, func() bool { return len(w.leftovers()) == 0 }, time.Minute, 100*time.Millisecond, "left: %v", w.leftovers())
}

// led waits for a cluster without work whose primary is another one than that.
func (w *walk) led(id, was string) (primary string, cluster map[string]any) {
	w.t.Helper()
	answer := w.until("whole", w.clusterPath(id), func(code int, answer map[string]any) bool {
		c := dig[map[string]any](answer, "cluster")
		return whole(code, c) && primaryOf(c) != was
	})
	c := dig[map[string]any](answer, "cluster")
	return primaryOf(c), c
}

func (w *walk) gone(path string) {
	w.t.Helper()
	w.until("gone", path, func(code int, _ map[string]any) bool { return code == http.StatusNotFound })
}

func clusterKilledAtEveryPoint(t *testing.T) {
	w := newWalk(t, clusterPoints)
	w.begin()
	id := w.made("cluster", "shop", clusterBody("shop", 2))
	primary, c := w.led(id, "")
	require.Len(t, w.apart(c), 2)
	db := open(t, dig[string](c, "endpoints", "read_write", "address"), nil)
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	run(t, db, "INSERT INTO kept VALUES (41)")
	w.ask(http.MethodPost, w.clusterPath(id)+"/action", map[string]any{"switchover": map[string]any{"timeout": 60}})
	primary, _ = w.led(id, primary)
	w.ask(http.MethodPost, w.clusterPath(id), map[string]any{"restart": map[string]any{}})
	w.led(id, primary) // it hands over, to be restarted
	require.Equal(t, 41, query[int](t, db, "SELECT v FROM kept"))
	w.ask(http.MethodDelete, w.clusterPath(id), nil)
	w.gone(w.clusterPath(id))
	w.over()
}

func replicaKilledAtEveryPoint(t *testing.T) {
	w := newWalk(t, replicaPoints)
	w.begin()
	source := w.create("store", 1)
	w.awaitActive(source)
	replica := w.made("instance", "copy", replicaBody("copy", source))
	w.led(source, "")
	run(t, open(t, w.addressOf(source), nil), "CREATE TABLE kept (v INT PRIMARY KEY)")
	promote := func(id, from string) {
		w.ask(http.MethodPost, w.path(id)+"/action", map[string]any{"promote_to_replica_source": map[string]any{}})
		primary, _ := w.led(source, from)
		require.Equal(t, id, primary)
	}
	promote(replica, source)
	run(t, open(t, w.addressOf(replica), nil), "INSERT INTO kept VALUES (41)")
	promote(source, replica) // the first source leads the cluster when the other leaves it
	w.ask(http.MethodPut, w.path(replica), map[string]any{"instance": map[string]any{"replica_of": ""}})
	w.until("detached", w.path(replica), func(_ int, answer map[string]any) bool {
		i := dig[map[string]any](answer, "instance")
		return i["status"] == "ACTIVE" && i["replica_of"] == nil
	})
	for _, id := range []string{source, replica} {
		db := open(t, w.addressOf(id), nil)
		require.Equal(t, 41, query[int](t, db, "SELECT v FROM kept"))
		run(t, db, "INSERT INTO kept VALUES (42)") // each is its own primary now
		w.ask(http.MethodDelete, w.path(id), nil)
		w.gone(w.path(id))
	}
	w.over()
}
