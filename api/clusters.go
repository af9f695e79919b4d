package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func (s *server) clusterRoutes(t *table) {
	on(t, spec{method: http.MethodPost, path: "clusters", id: "createCluster", tag: "clusters", summary: "Create a cluster",
		status: http.StatusOK, errs: []int{http.StatusNotImplemented}}, s.createCluster)
	on(t, spec{method: http.MethodGet, path: "clusters", id: "listClusters", tag: "clusters", summary: "List the project's clusters, newest first",
		status: http.StatusOK, errs: []int{http.StatusBadRequest}, query: pageParams}, s.listClusters)
	on(t, spec{method: http.MethodGet, path: "clusters/{cluster}", id: "showCluster", tag: "clusters", summary: "Show a cluster", status: http.StatusOK}, s.showCluster)
	on(t, spec{method: http.MethodGet, path: "clusters/{cluster}/instances/{id}", id: "showClusterInstance", tag: "clusters", summary: "Show a member of a cluster",
		status: http.StatusOK}, s.showMember)
	on(t, spec{method: http.MethodPost, path: "clusters/{cluster}", id: "actOnCluster", tag: "clusters",
		summary: "Grow, shrink or restart a cluster, or give up what it does", status: http.StatusAccepted,
		errs: []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}}, s.actOnCluster)
	on(t, spec{method: http.MethodPatch, path: "clusters/{cluster}", id: "updateCluster", tag: "extensions",
		summary: "Change what a cluster promises, or its name (Huker's own)", status: http.StatusAccepted,
		errs: []int{http.StatusUnprocessableEntity}}, s.updateCluster)
	on(t, spec{method: http.MethodDelete, path: "clusters/{cluster}", id: "deleteCluster", tag: "clusters",
		summary: "Delete a cluster with all its members, in whatever state they are", status: http.StatusAccepted,
		errs: []int{http.StatusBadRequest}}, s.deleteCluster)
	on(t, spec{method: http.MethodGet, path: "clusters/{cluster}/events", id: "listClusterEvents", tag: "extensions",
		summary: "Show what became of a cluster (Huker's own)", status: http.StatusOK, errs: []int{http.StatusBadRequest},
		query: []param{{"limit", huma.TypeInteger, "Only so many of the newest; at most 1000."}}}, s.clusterEvents)

	mgmt := func(path, id, summary string) spec {
		return spec{method: http.MethodGet, path: "mgmt/clusters" + path, id: id, tag: "mgmt", summary: summary, status: http.StatusOK, admin: true}
	}
	listing := mgmt("", "mgmtListClusters", "List the clusters of all projects")
	listing.query = append(slices.Clone(pageParams), param{"project_id", huma.TypeString, "Only this project's."})
	listing.errs = []int{http.StatusBadRequest}
	on(t, listing, s.mgmtListClusters)
	on(t, mgmt("/{cluster}", "mgmtShowCluster", "Show a cluster of any project"), s.showCluster)
	reset := mgmt("/{cluster}/action", "mgmtActOnCluster", "Give up what a cluster does")
	reset.method, reset.status = http.MethodPost, http.StatusAccepted
	on(t, reset, s.mgmtActOnCluster)
}

// loadCluster gives the cluster of the path with its members, if the caller may know of it. Implicit ones are found by their id.
func (r *request) loadCluster(ctx context.Context, tx metastore.Tx) (*kin, error) {
	id := r.path["cluster"]
	missing := notFound("Cluster %s cannot be found.", clip(id))
	if !isID(id) {
		return nil, missing
	}
	id = strings.ToLower(id)
	all, err := readKinByID(ctx, tx, []string{id})
	k := all[id]
	switch {
	case err != nil:
		return nil, err
	case k == nil, k.cluster.ProjectID != r.project && !r.admin():
		return nil, missing
	}
	return k, nil
}

func (s *server) showCluster(ctx context.Context, r *request, _ *none) (*ClusterBody, error) {
	var body *ClusterBody
	err := s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		k, err := r.loadCluster(ctx, tx)
		if err != nil {
			return err
		}
		body, err = s.clusterBody(ctx, tx, r, k)
		return err
	})
	return body, err
}

func (s *server) clusterBody(ctx context.Context, tx metastore.Tx, r *request, k *kin) (*ClusterBody, error) {
	c, err := readCatalogue(ctx, tx)
	return &ClusterBody{Cluster: s.clusterView(r, c, k)}, err
}

func (s *server) showMember(ctx context.Context, r *request, _ *none) (*InstanceBody, error) {
	var body *InstanceBody
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		k, err := r.loadCluster(ctx, tx)
		if err != nil {
			return err
		}
		m := k.member(strings.ToLower(r.path["id"]))
		if m == nil {
			return notFound("Cluster %s has no instance %s.", k.cluster.ID, clip(r.path["id"]))
		}
		c, err := readCatalogue(ctx, tx)
		c.kin = map[string]*kin{k.cluster.ID: k}
		body = &InstanceBody{Instance: s.detailView(r, c, *m)}
		return err
	})
	return body, err
}

func (s *server) listClusters(ctx context.Context, r *request, _ *none) (*ClustersBody, error) {
	return s.clusterPage(ctx, r, r.project)
}

func (s *server) mgmtListClusters(ctx context.Context, r *request, _ *none) (*ClustersBody, error) {
	return s.clusterPage(ctx, r, r.query.Get("project_id"))
}

// clusterPage lists a project's clusters (all projects', when it is empty).
func (s *server) clusterPage(ctx context.Context, r *request, project string) (*ClustersBody, error) {
	limit, marker, err := r.page(s.Limits.PageSize)
	if err != nil {
		return nil, err
	}
	if marker != "" && !isID(marker) {
		return nil, badRequest("The marker must be a cluster's id.")
	}
	body := &ClustersBody{Clusters: []ClusterView{}}
	err = s.Store.View(ctx, func(tx metastore.Tx) error {
		f := metastore.ClusterFilter{ProjectID: project, Explicit: true, Marker: strings.ToLower(marker), Limit: limit + 1}
		page, err := clustersAfter(ctx, tx, f)
		if err != nil {
			return err
		}
		if len(page) > limit {
			page = page[:limit]
			body.Links = r.next(page[limit-1].ID)
			body.ClustersLinks = body.Links
		}
		ids := make([]string, 0, len(page))
		for i := range page {
			ids = append(ids, page[i].ID)
		}
		all, err := readKinByID(ctx, tx, ids)
		if err != nil {
			return err
		}
		c, err := readCatalogue(ctx, tx)
		for _, id := range ids {
			body.Clusters = append(body.Clusters, s.clusterView(r, c, all[id]))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	return body, nil
}

// clustersAfter is pageAfter of clusters.
func clustersAfter(ctx context.Context, tx metastore.Tx, f metastore.ClusterFilter) ([]model.Cluster, error) {
	marker, limit := f.Marker, f.Limit
	page, err := tx.Clusters().List(ctx, f)
	if marker == "" || !errors.Is(err, metastore.ErrNotFound) {
		return page, err
	}
	if id, err := uuid.Parse(marker); err != nil || id.Version() != 7 {
		return nil, notFound("The marker %s cannot be found.", marker)
	}
	f.Marker, f.Limit = "", 0
	if page, err = tx.Clusters().List(ctx, f); err != nil {
		return nil, err
	}
	page = slices.DeleteFunc(page, func(c model.Cluster) bool { return c.ID >= marker })
	return page[:min(len(page), limit)], nil
}

// changeCluster applies fn to a cluster and its members in one transaction with their histories, and has nodekeeper look. fn may run more than once; it
// changes the cluster's row in k, writes members by itself, and notes both there.
func (s *server) changeCluster(ctx context.Context, r *request, origin string, fn func(tx metastore.Tx, k *kin) error) (*ClusterBody, error) {
	var body *ClusterBody
	var kicks []protocol.Kick
	err := s.update(ctx, func(tx metastore.Tx) error {
		k, err := r.loadCluster(ctx, tx)
		if err != nil {
			return err
		}
		kicks = []protocol.Kick{{Cluster: k.cluster.ID}}
		err = fn(tx, k)
		for _, id := range k.changed {
			kicks = append(kicks, protocol.Kick{Instance: id})
		}
		if err != nil && !errors.Is(err, errUnchanged) {
			return err
		}
		if err == nil {
			if err := s.writeTurn(ctx, tx, r, k); err != nil {
				return err
			}
		}
		if k, err = r.loadCluster(ctx, tx); err != nil {
			return err
		}
		body, err = s.clusterBody(ctx, tx, r, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	passStored(ctx, origin)
	s.kick(ctx, r, origin, kicks...)
	return body, nil
}

// writeMember stores a member with its history, and has nodekeeper told.
func (s *server) writeMember(ctx context.Context, tx metastore.Tx, r *request, k *kin, m *model.Instance, n note) error {
	m.Updated = s.now()
	if err := tx.Instances().Update(ctx, m); err != nil {
		return err
	}
	k.changed = append(k.changed, m.ID)
	return s.record(ctx, tx, r, m, n)
}

// recordCluster writes a cluster's history.
func (s *server) recordCluster(ctx context.Context, tx metastore.Tx, r *request, c *model.Cluster, n note) error {
	return s.record(ctx, tx, r, &model.Instance{ID: c.ID, ProjectID: c.ProjectID}, n)
}

// there refuses what is asked of a cluster that is to go.
func (k *kin) there() error {
	if k.cluster.Desired == model.DesiredDeleted {
		return k.notReady()
	}
	return nil
}

// free refuses a change while another is under way.
func (k *kin) free() error {
	c := &k.cluster
	switch {
	case c.Desired == model.DesiredDeleted, c.Status == model.StatusBuild && c.PrimaryID == "", k.turning() != nil,
		c.RestartSerial > c.ObservedRestart && c.Status != model.StatusError:
		return k.notReady()
	}
	return nil
}

// explicit refuses what is done with the members of an implicit cluster one by one.
func (k *kin) explicit(hint string) error {
	if !k.cluster.Implicit {
		return nil
	}
	return badRequest("%s is an instance with replicas, not a cluster: %s.", k.cluster.ID, hint)
}

func (k *kin) notReady() error {
	return unprocessable("Cluster %s is not ready: %s", k.cluster.ID, k.task().Description)
}

func (s *server) deleteCluster(ctx context.Context, r *request, _ *none) (*none, error) {
	_, err := s.changeCluster(ctx, r, originDelete, func(tx metastore.Tx, k *kin) error {
		if err := k.explicit("delete the replicas, then the instance"); err != nil {
			return err
		}
		c := &k.cluster
		force := c.Status == model.StatusError // by itself, or by reset-status: there is nobody to wait for
		again := c.Desired == model.DesiredDeleted
		changed := !again
		for i := range k.members {
			m := &k.members[i]
			force := force || m.Status == model.StatusError
			if m.Desired == model.DesiredDeleted && (m.ForceDelete || !force) {
				continue
			}
			changed = true
			unwanted(m, force)
			if err := s.writeMember(ctx, tx, r, k, m, note{"instance.delete.requested", "Deletion of its cluster was asked for by " + r.who() + "."}); err != nil {
				return err
			}
		}
		if !changed {
			return errUnchanged
		}
		c.Desired, c.Status = model.DesiredDeleted, model.StatusShutdown
		c.Generation++
		k.note = note{"cluster.delete.requested", "Deletion was asked for by " + r.who() + "."}
		return nil
	})
	return nil, err
}

// unwanted marks that an instance is to go.
func unwanted(i *model.Instance, force bool) {
	i.Desired, i.ForceDelete = model.DesiredDeleted, i.ForceDelete || force
	i.Generation++
	i.Status, i.OperatingStatus = model.StatusShutdown, model.OperatingBusy
	i.Bootstrap = nil // its passwords serve nobody any more
}

func (s *server) clusterEvents(ctx context.Context, r *request, _ *none) (*EventsBody, error) {
	limit, _, err := r.page(maxEvents)
	if err != nil {
		return nil, err
	}
	body := &EventsBody{}
	err = s.Store.View(ctx, func(tx metastore.Tx) error {
		k, err := r.loadCluster(ctx, tx)
		if err != nil {
			return err
		}
		events, err := tx.Events().List(ctx, k.cluster.ID, limit)
		body.Events = eventViews(events)
		return err
	})
	return body, err
}
