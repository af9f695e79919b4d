package api

import (
	"context"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func (s *server) clusterRootRoutes(t *table) {
	const path = "clusters/{cluster}/root"
	on(t, spec{method: http.MethodGet, path: path, id: "showClusterRoot", tag: "root", summary: "Say whether root is enabled in a cluster",
		status: http.StatusOK, errs: guestErrors}, s.showRoot)
	on(t, spec{method: http.MethodPost, path: path, id: "enableClusterRoot", tag: "root", summary: "Enable root in a cluster, or give it a new password",
		status: http.StatusOK, errs: guestErrors, optional: true}, s.enableRoot)
}

// writer gives the instance that holds what the path's instance or cluster holds, and can be written to: the primary, where there are several.
func (s *server) writer(ctx context.Context, r *request) (model.Instance, error) {
	var k *kin
	var i model.Instance
	err := s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		if r.path["cluster"] != "" {
			k, err = r.loadCluster(ctx, tx)
			return err
		}
		if i, err = r.load(ctx, tx, r.path["id"]); err == nil {
			k, err = kinOf(ctx, tx, &i)
		}
		return err
	})
	if err != nil {
		return i, err
	}
	if k == nil {
		return i, serving(&i)
	}
	if err := k.there(); err != nil {
		return i, err
	}
	p := k.primary()
	if p == nil {
		return i, unprocessable("Cluster %s is not ready: it has no primary now.", k.cluster.ID)
	}
	return *p, serving(p)
}
