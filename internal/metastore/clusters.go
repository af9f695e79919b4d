package metastore

import (
	"context"

	"github.com/huker/huker/internal/model"
)

// ClusterFilter narrows a listing; zero values do not filter.
type ClusterFilter struct {
	ProjectID string
	Marker    string // lists what comes after the cluster with this id
	Limit     int
}

// Clusters are rows of clusters. Listings are newest first, as Instances'.
type Clusters interface {
	Get(ctx context.Context, id string) (model.Cluster, error)
	List(ctx context.Context, f ClusterFilter) ([]model.Cluster, error)
	// Create gives ErrExists when the id is taken. It sets Version to 1.
	Create(ctx context.Context, c *model.Cluster) error
	// Update compares c.Version with the row's (ErrConflict), writes, and raises c.Version.
	Update(ctx context.Context, c *model.Cluster) error
	// Delete removes the row, and the cluster's secrets and history with it; no error when it is gone.
	Delete(ctx context.Context, id string) error
	// AppendTurn adds to the history; one of the same epoch is there already, and stays as it is.
	AppendTurn(ctx context.Context, t *model.Turn) error
	// Turns gives a cluster's history, newest first, at most limit (0: all).
	Turns(ctx context.Context, clusterID string, limit int) ([]model.Turn, error)
}
