package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func (s *server) instanceRoutes(t *table) {
	on(t, spec{method: http.MethodPost, path: "instances", id: "createInstance", tag: "instances", summary: "Create an instance",
		status: http.StatusOK, errs: []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}}, s.createInstance)
	listing := append(slices.Clone(pageParams), clusterParam, deletedParam)
	on(t, spec{method: http.MethodGet, path: "instances", id: "listInstances", tag: "instances", summary: "List the project's instances, newest first",
		status: http.StatusOK, errs: []int{http.StatusBadRequest}, query: listing}, s.listInstances)
	on(t, spec{method: http.MethodGet, path: "instances/detail", id: "listInstanceDetails", tag: "instances",
		summary: "List the project's instances with all details, newest first", status: http.StatusOK,
		errs: []int{http.StatusBadRequest}, query: listing}, s.listInstanceDetails)
	on(t, spec{method: http.MethodGet, path: "instances/{id}", id: "showInstance", tag: "instances", summary: "Show an instance",
		status: http.StatusOK}, s.showInstance)
	for method, id := range map[string]string{http.MethodPut: "updateInstance", http.MethodPatch: "patchInstance"} {
		on(t, spec{method: method, path: "instances/{id}", id: id, tag: "instances",
			summary: "Change one thing of an instance, its name besides", status: http.StatusAccepted,
			errs: []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}}, s.updateInstance)
	}
	on(t, spec{method: http.MethodDelete, path: "instances/{id}", id: "deleteInstance", tag: "instances",
		summary: "Delete an instance, in whatever state it is", status: http.StatusAccepted}, s.deleteInstance)
}

func (s *server) showInstance(ctx context.Context, r *request, _ *none) (*InstanceBody, error) {
	var body *InstanceBody
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		c, err := catalogueFor(ctx, tx, i)
		body = &InstanceBody{Instance: s.detailView(r, c, i)}
		return err
	})
	return body, err
}

func (s *server) listInstances(ctx context.Context, r *request, _ *none) (*InstancesBody, error) {
	body := &InstancesBody{Instances: []InstanceView{}}
	next, err := s.list(ctx, r, r.project, func(c catalogue, i model.Instance) {
		body.Instances = append(body.Instances, s.instanceView(r, c, i))
	})
	body.Links, body.InstancesLinks = next, next
	return body, err
}

func (s *server) listInstanceDetails(ctx context.Context, r *request, _ *none) (*InstanceDetailsBody, error) {
	body := &InstanceDetailsBody{Instances: []InstanceDetail{}}
	next, err := s.list(ctx, r, r.project, func(c catalogue, i model.Instance) {
		body.Instances = append(body.Instances, s.detailView(r, c, i))
	})
	body.Links, body.InstancesLinks = next, next
	return body, err
}

// list gives a page of a project's instances (all projects', when project is empty) to show, and the link to the next page.
func (s *server) list(ctx context.Context, r *request, project string, show func(catalogue, model.Instance)) ([]Link, error) {
	limit, marker, err := r.page(s.Limits.PageSize)
	if err != nil {
		return nil, err
	}
	if marker != "" && !isID(marker) {
		return nil, badRequest("The marker must be an instance's id.")
	}
	if strings.EqualFold(r.query.Get("deleted"), "true") {
		return nil, nil
	}
	var page []model.Instance
	var c catalogue
	err = s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		f := metastore.InstanceFilter{
			ProjectID: project, Unclustered: !strings.EqualFold(r.query.Get("include_clustered"), "true"), Marker: strings.ToLower(marker), Limit: limit + 1,
		}
		if page, err = pageAfter(ctx, tx, f); err != nil {
			return err
		}
		c, err = s.recent.catalogueFor(ctx, tx, page)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list instances: %w", err)
	}
	var next []Link
	if len(page) > limit {
		page = page[:limit]
		next = r.next(page[limit-1].ID)
	}
	for i := range page {
		show(c, page[i])
	}
	return next, nil
}

// pageAfter lists what comes after marker. The instance that it names may have been deleted since the page before was read;
// its id still says where it stood, as ids begin with the time of creation (see newID).
func pageAfter(ctx context.Context, tx metastore.Tx, f metastore.InstanceFilter) ([]model.Instance, error) {
	marker, limit := f.Marker, f.Limit
	page, err := tx.Instances().List(ctx, f)
	if marker == "" || !errors.Is(err, metastore.ErrNotFound) {
		return page, err
	}
	if id, err := uuid.Parse(marker); err != nil || id.Version() != 7 {
		return nil, notFound("The marker %s cannot be found.", marker)
	}
	f.Marker, f.Limit = "", 0
	if page, err = tx.Instances().List(ctx, f); err != nil {
		return nil, err
	}
	page = slices.DeleteFunc(page, func(i model.Instance) bool { return i.ID >= marker })
	return page[:min(len(page), limit)], nil
}

// catalogueFor reads what it takes to show instances.
func catalogueFor(ctx context.Context, tx metastore.Tx, is ...model.Instance) (catalogue, error) {
	c, err := readCatalogue(ctx, tx)
	if err == nil {
		c.kin, err = readKin(ctx, tx, is...)
	}
	return c, err
}

// recentFor is how long the names of products and versions on pages may be out of date.
const recentFor = time.Second

// recent is the catalogue as it was read last. Pages are asked for often, and it hardly ever changes: each statement that a page need not wait for counts where the database
// is busy.
type recent struct {
	mu   sync.Mutex
	last catalogue
	read time.Time
}

// catalogueFor reads what it takes to show a page. What is made of a version that was not known is not shown without it.
func (r *recent) catalogueFor(ctx context.Context, tx metastore.Tx, page []model.Instance) (catalogue, error) {
	r.mu.Lock()
	c, age := r.last, time.Since(r.read)
	r.mu.Unlock()
	unknown := slices.ContainsFunc(page, func(i model.Instance) bool { _, version := c.names(i.DatastoreVersionID); return version == "" })
	if unknown || age >= recentFor {
		now := time.Now()
		var err error
		if c, err = readCatalogue(ctx, tx); err != nil {
			return c, err
		}
		r.mu.Lock()
		r.last, r.read = c, now
		r.mu.Unlock()
	}
	var err error
	c.kin, err = readKin(ctx, tx, page...)
	return c, err
}

// newID makes the id of an instance that is created at t: a UUID of version 7, which sorts as the times do. t is to the
// millisecond, so that order by time and id is order by id.
func newID(t time.Time) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(t.UnixMilli())<<16|rand.Uint64()&0x0fff|0x7000) //nolint:gosec // an id is no secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()&^(3<<62)|2<<62)                          //nolint:gosec // as above
	return id.String()
}

var idPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func isID(s string) bool { return idPattern.MatchString(s) }

// load gives an instance that the caller may know of. Anything else is not there: names too, which clients try as ids.
func (r *request) load(ctx context.Context, tx metastore.Tx, id string) (model.Instance, error) {
	missing := notFound("Instance %s cannot be found.", clip(id))
	if !isID(id) {
		return model.Instance{}, missing
	}
	i, err := tx.Instances().Get(ctx, strings.ToLower(id))
	switch {
	case errors.Is(err, metastore.ErrNotFound):
		return i, missing
	case err != nil:
		return i, err
	case i.ProjectID != r.project && !r.admin():
		return model.Instance{}, missing
	}
	return i, nil
}

// instance loads outside of a transaction of the caller's.
func (s *server) instance(ctx context.Context, r *request) (i model.Instance, err error) {
	err = s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		i, err = r.load(ctx, tx, r.path["id"])
		return err
	})
	return i, err
}

// note is what a change leaves in an instance's history. A zero note leaves nothing.
type note struct{ kind, message string }

// errUnchanged tells change that there is nothing to write.
var errUnchanged = errors.New("unchanged")

// change applies fn to an instance in one transaction with its history, and has nodekeeper look. fn may run more than once.
func (s *server) change(ctx context.Context, r *request, origin string, fn func(tx metastore.Tx, i *model.Instance) (note, error)) error {
	var kicks []protocol.Kick
	err := s.update(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		kicks = []protocol.Kick{{Instance: i.ID}}
		if i.ClusterID != "" {
			kicks = append(kicks, protocol.Kick{Cluster: i.ClusterID})
		}
		n, err := fn(tx, &i)
		if err != nil {
			return err
		}
		i.Updated = s.now()
		if err := tx.Instances().Update(ctx, &i); err != nil {
			return err
		}
		return s.record(ctx, tx, r, &i, n)
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return err
	}
	passStored(ctx, origin)
	s.kick(ctx, r, origin, kicks...)
	return nil
}

// retries of an update that met another's. Updates are serializable, so this is rare.
const maxRetries = 5

func (s *server) update(ctx context.Context, fn func(metastore.Tx) error) (err error) {
	for range maxRetries {
		if err = s.Store.Update(ctx, fn); !errors.Is(err, metastore.ErrConflict) {
			return err
		}
	}
	return err
}

func (s *server) record(ctx context.Context, tx metastore.Tx, r *request, i *model.Instance, n note) error {
	if n.kind == "" {
		return nil
	}
	return tx.Events().Append(ctx, &model.Event{
		ProjectID: i.ProjectID, InstanceID: i.ID, Time: s.now(), Kind: n.kind, Message: n.message, RequestID: r.id,
	})
}

// kick is a hint only: what was asked for is in the store, and nodekeeper looks there anyway.
func (s *server) kick(ctx context.Context, r *request, origin string, kicks ...protocol.Kick) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kickTimeout)
	defer cancel()
	for _, k := range kicks {
		k.Origin = "api." + origin
		if err := s.Kick(ctx, k); err != nil {
			s.Log.Warn("nodekeeper was not told; it will find out by itself", "op", origin, "instance", k.Instance, "cluster", k.Cluster,
				"request", r.id, "error", err)
			return // the others would not come through either
		}
	}
}

// kickTimeout bounds what a slow bus adds to an answer that does not depend on it.
const kickTimeout = 2 * time.Second

// now is to the millisecond, as ids are.
func (s *server) now() time.Time { return s.Clock().UTC().Truncate(time.Millisecond) }

// idle refuses an action while another is under way.
func idle(i *model.Instance) error {
	switch i.Status {
	case model.StatusBuild, model.StatusReboot, model.StatusResize, model.StatusShutdown, model.StatusUpgrade:
		return notReady(i)
	}
	if i.Busy() {
		return notReady(i)
	}
	return nil
}

// serving refuses what needs the database itself when it cannot be asked.
func serving(i *model.Instance) error {
	if err := idle(i); err != nil {
		return err
	}
	if i.Status != model.StatusActive && i.Status != model.StatusRestartRequired {
		return notReady(i)
	}
	return nil
}

func notReady(i *model.Instance) error {
	return unprocessable("Instance %s is not ready: it is not currently available for an action to be performed (status was %s).", i.ID, i.Status)
}

// guest gives the instance of the path when its database can be asked.
func (s *server) guest(ctx context.Context, r *request) (model.Instance, error) {
	i, err := s.instance(ctx, r)
	if err != nil {
		return i, err
	}
	return i, serving(&i)
}

func (s *server) deleteInstance(ctx context.Context, r *request, _ *none) (*none, error) {
	return nil, s.change(ctx, r, originDelete, func(tx metastore.Tx, i *model.Instance) (note, error) {
		// An instance in ERROR (by itself, or by reset_status) has no guest to wait for.
		force := i.Status == model.StatusError
		if i.Desired == model.DesiredDeleted && (i.ForceDelete || !force) {
			return note{}, errUnchanged
		}
		k, err := kinOf(ctx, tx, i)
		if err == nil {
			err = k.mayGo(i)
		}
		if err == nil && k != nil && len(k.staying()) <= 1 && i.Desired == model.DesiredPresent {
			// The last one: what is left of the set goes with it.
			k.cluster.Desired, k.cluster.Status, k.cluster.Updated = model.DesiredDeleted, model.StatusShutdown, s.now()
			k.cluster.Generation++
			err = tx.Clusters().Update(ctx, &k.cluster)
		}
		if err != nil {
			return note{}, err
		}
		unwanted(i, force)
		return note{"instance.delete.requested", "Deletion was asked for by " + r.who() + "."}, nil
	})
}

// mayGo refuses to delete a member of a cluster, or whom others depend on.
func (k *kin) mayGo(i *model.Instance) error {
	if k == nil || i.Desired == model.DesiredDeleted {
		return nil
	}
	if err := k.belongs(i, "shrink the cluster to remove it, or delete the cluster"); err != nil {
		return err
	}
	if k.cluster.PrimaryID == i.ID && len(k.staying()) > 1 {
		return forbidden("The replica source %s cannot be deleted without detaching or deleting its replicas, or promoting one of them.", i.ID)
	}
	return nil
}
