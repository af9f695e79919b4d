package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

type clusters struct{ *tx }

// The columns are in the order of clusterArgs and scanCluster.
const (
	clusterColumns = `project_id, name, implicit, desired, generation, datastore_version_id, policy, acks, max_lag, switchover, restart_serial, spread,
		rw_address, ro_address, rw_port, ro_port, status, founded, primary_id, epoch, state, alarms, observed_generation,
		observed_switchover, observed_restart, fault, created, updated, version, id`
	selectCluster = "SELECT " + clusterColumns + " FROM clusters"
	insertCluster = "INSERT INTO clusters (" + clusterColumns + `) VALUES
		(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateCluster = `UPDATE clusters SET project_id = ?, name = ?, implicit = ?, desired = ?, generation = ?, datastore_version_id = ?, policy = ?, acks = ?,
		max_lag = ?, switchover = ?, restart_serial = ?, spread = ?, rw_address = ?, ro_address = ?, rw_port = ?, ro_port = ?, status = ?,
		founded = ?, primary_id = ?, epoch = ?, state = ?, alarms = ?, observed_generation = ?, observed_switchover = ?, observed_restart = ?, fault = ?,
		created = ?, updated = ?, version = ? WHERE id = ? AND version = ?`
)

func clusterArgs(c *model.Cluster, version int64) ([]any, error) {
	as := slices.Clone(c.Alarms)
	for n := range as {
		as[n].Since = kept(as[n].Since)
	}
	alarms, err := encode(as)
	if err != nil {
		return nil, err
	}
	var switchover, fault sql.NullString
	if c.Switchover != nil {
		w := *c.Switchover
		w.Asked = kept(w.Asked)
		if switchover, err = document(&w); err != nil {
			return nil, err
		}
	}
	if c.Fault != nil {
		f := *c.Fault
		f.Created = kept(f.Created)
		if fault, err = document(&f); err != nil {
			return nil, err
		}
	}
	return []any{
		c.ProjectID, c.Name, c.Implicit, string(c.Desired), c.Generation, c.DatastoreVersionID, c.Policy, c.Acks, c.MaxLag.Microseconds(), switchover,
		c.RestartSerial, c.Spread, orNull(c.ReadWrite), orNull(c.ReadOnly), c.ReadWritePort, c.ReadOnlyPort, string(c.Status), c.Founded, c.PrimaryID,
		c.Epoch, c.Condition, alarms, c.ObservedGeneration, c.ObservedSwitchover, c.ObservedRestart, fault, micros(c.Created), micros(c.Updated), version, c.ID,
	}, nil
}

// document encodes a nested value for a column that may be NULL.
func document[T nested](v T) (sql.NullString, error) {
	text, err := encode(v)
	return sql.NullString{String: text, Valid: true}, err
}

func scanCluster(r scanner) (model.Cluster, error) {
	var c model.Cluster
	var lag int64
	err := r.Scan(&c.ProjectID, &c.Name, &c.Implicit, &c.Desired, &c.Generation, &c.DatastoreVersionID, &c.Policy, &c.Acks, &lag, doc{&c.Switchover},
		&c.RestartSerial, &c.Spread, text{&c.ReadWrite}, text{&c.ReadOnly}, &c.ReadWritePort, &c.ReadOnlyPort, &c.Status, &c.Founded, &c.PrimaryID,
		&c.Epoch, &c.Condition, doc{&c.Alarms}, &c.ObservedGeneration, &c.ObservedSwitchover, &c.ObservedRestart, doc{&c.Fault}, stamp{&c.Created},
		stamp{&c.Updated}, &c.Version, &c.ID)
	c.MaxLag = time.Duration(lag) * time.Microsecond
	return c, err
}

func (t clusters) Get(ctx context.Context, id string) (model.Cluster, error) {
	c, err := one(ctx, t.tx, scanCluster, selectCluster+" WHERE id = ?", id)
	return c, op(err, "get cluster %s", id)
}

func (t clusters) List(ctx context.Context, f metastore.ClusterFilter) ([]model.Cluster, error) {
	query, args := selectCluster+" WHERE 1 = 1", []any{}
	if f.ProjectID != "" {
		query, args = query+" AND project_id = ?", append(args, f.ProjectID)
	}
	if f.IDs != nil {
		query, args = query+" AND id "+among(len(f.IDs)), append(args, values(f.IDs)...)
	}
	if f.Explicit {
		query += " AND implicit = 0"
	}
	if f.Marker != "" {
		m, err := one(ctx, t.tx, scanCluster, query+" AND id = ?", append(slices.Clone(args), f.Marker)...)
		if err != nil {
			return nil, fmt.Errorf("list clusters after marker %s: %w", f.Marker, err)
		}
		query += " AND created <= ? AND (created < ? OR id < ?)"
		args = append(args, micros(m.Created), micros(m.Created), m.ID)
	}
	query += " ORDER BY created DESC, id DESC"
	if f.Limit > 0 {
		query, args = query+" LIMIT ?", append(args, f.Limit)
	}
	cs, err := all(ctx, t.tx, scanCluster, query, args...)
	return cs, op(err, "list clusters")
}

func (t clusters) Create(ctx context.Context, c *model.Cluster) error {
	args, err := clusterArgs(c, 1)
	if err == nil {
		_, err = t.exec(ctx, insertCluster, args...)
	}
	if err != nil {
		return fmt.Errorf("create cluster %s: %w", c.ID, err)
	}
	t.setVersion(&c.Version, 1)
	return nil
}

func (t clusters) Update(ctx context.Context, c *model.Cluster) error {
	args, err := clusterArgs(c, c.Version+1)
	if err != nil {
		return fmt.Errorf("update cluster %s: %w", c.ID, err)
	}
	n, err := t.exec(ctx, updateCluster, append(args, c.Version)...)
	if err != nil {
		return fmt.Errorf("update cluster %s: %w", c.ID, err)
	}
	if n == 0 {
		now, err := t.Get(ctx, c.ID)
		if err == nil {
			err = fmt.Errorf("it is at version %d, not %d: %w", now.Version, c.Version, metastore.ErrConflict)
		}
		return fmt.Errorf("update cluster %s: %w", c.ID, err)
	}
	t.setVersion(&c.Version, c.Version+1)
	return nil
}

func (t clusters) Delete(ctx context.Context, id string) error {
	for _, query := range []string{"DELETE FROM turns WHERE cluster_id = ?", "DELETE FROM clusters WHERE id = ?"} {
		if _, err := t.exec(ctx, query, id); err != nil {
			return fmt.Errorf("delete cluster %s: %w", id, err)
		}
	}
	return op(t.deleteOwned(ctx, id), "delete cluster %s", id)
}

func (t clusters) AppendTurn(ctx context.Context, turn *model.Turn) error {
	line := *turn
	line.Began = kept(line.Began)
	text, err := encode(&line)
	if err == nil {
		// An ErrExists would do, too, but every engine has its own idea of what a failed statement does to a transaction.
		_, err = one(ctx, t.tx, scanString, "SELECT cluster_id FROM turns WHERE cluster_id = ? AND epoch = ?", turn.ClusterID, turn.Epoch)
		if errors.Is(err, metastore.ErrNotFound) {
			_, err = t.exec(ctx, "INSERT INTO turns (cluster_id, epoch, turn) VALUES (?, ?, ?)", turn.ClusterID, turn.Epoch, text)
		}
	}
	return op(err, "append epoch %d to the history of cluster %s", turn.Epoch, turn.ClusterID)
}

func (t clusters) Turns(ctx context.Context, clusterID string, limit int) ([]model.Turn, error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	turns, err := all(ctx, t.tx, func(r scanner) (turn model.Turn, err error) {
		err = r.Scan(&turn.ClusterID, doc{&turn})
		return turn, err
	}, "SELECT cluster_id, turn FROM turns WHERE cluster_id = ? ORDER BY epoch DESC LIMIT ?", clusterID, limit)
	return turns, op(err, "read the history of cluster %s", clusterID)
}
