package metastore

import (
	"context"

	"github.com/huker/huker/internal/model"
)

// ClusterFilter narrows a listing; zero values do not filter.
type ClusterFilter struct {
	ProjectID string
	IDs       []string // nil does not filter
	Explicit  bool     // leaves implicit ones out
	Marker    string   // the id of the last cluster of the page before; unknown ones, and those outside the filter, give ErrNotFound
	Limit     int      // 0: all
}

// Clusters are rows of clusters. Listings are newest first, as Instances'.
type Clusters interface {
	Get(ctx context.Context, id string) (model.Cluster, error)
	List(ctx context.Context, f ClusterFilter) ([]model.Cluster, error)
	// Create gives ErrExists when the id or (if not empty) one of the endpoint's addresses is another cluster's. It sets Version to 1.
	Create(ctx context.Context, c *model.Cluster) error
	// Update compares c.Version with the row's (ErrConflict), writes, and raises c.Version.
	Update(ctx context.Context, c *model.Cluster) error
	// Delete removes the row, and the cluster's secrets, events and history with it; no error when it is gone. Secrets and events of an instance with
	// the same id stay, until that is deleted, too.
	Delete(ctx context.Context, id string) error
	// AppendTurn adds to the history; one of the same epoch is there already, and stays as it is.
	AppendTurn(ctx context.Context, t *model.Turn) error
	// Turns gives a cluster's history, newest first, at most limit (0: all).
	Turns(ctx context.Context, clusterID string, limit int) ([]model.Turn, error)
}
