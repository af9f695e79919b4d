package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

type instances struct{ *tx }

// The columns are in the order of instanceArgs and scanInstance.
const (
	instanceColumns = `project_id, name, desired, generation, datastore_version_id, flavor_id, volume_gb, volume_type,
		is_public, allowed_cidrs, restart_serial, bootstrap, force_delete, host_id, address, status, operating_status,
		observed_generation, observed_restart, fault_message, fault_details, fault_created, volume_used_bytes,
		root_enabled, root_enabled_at, root_enabled_by, cluster_id, priority, detaching, role, created, updated, service_status_updated, version, id`
	selectInstance = "SELECT " + instanceColumns + " FROM instances"
	insertInstance = "INSERT INTO instances (" + instanceColumns + `) VALUES
		(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateInstance = `UPDATE instances SET project_id = ?, name = ?, desired = ?, generation = ?, datastore_version_id = ?,
		flavor_id = ?, volume_gb = ?, volume_type = ?, is_public = ?, allowed_cidrs = ?, restart_serial = ?, bootstrap = ?,
		force_delete = ?, host_id = ?, address = ?, status = ?, operating_status = ?, observed_generation = ?,
		observed_restart = ?, fault_message = ?, fault_details = ?, fault_created = ?, volume_used_bytes = ?, root_enabled = ?,
		root_enabled_at = ?, root_enabled_by = ?, cluster_id = ?, priority = ?, detaching = ?, role = ?, created = ?, updated = ?, service_status_updated = ?, version = ?
		WHERE id = ? AND version = ?`
	unclustered = " AND (cluster_id = '' OR EXISTS (SELECT 1 FROM clusters c WHERE c.id = instances.cluster_id AND c.implicit = 1))"
)

func instanceArgs(i *model.Instance, version int64) ([]any, error) {
	cidrs, err := encode(i.Access.AllowedCIDRs)
	if err != nil {
		return nil, err
	}
	bootstrap := sql.NullString{Valid: i.Bootstrap != nil}
	if i.Bootstrap != nil {
		if bootstrap.String, err = encode(i.Bootstrap); err != nil {
			return nil, err
		}
	}
	var message, details sql.NullString
	var faulted sql.NullInt64
	if f := i.Fault; f != nil {
		message = sql.NullString{String: f.Message, Valid: true}
		details = sql.NullString{String: f.Details, Valid: true}
		faulted = sql.NullInt64{Int64: micros(f.Created), Valid: true}
	}
	return []any{
		i.ProjectID, i.Name, string(i.Desired), i.Generation, i.DatastoreVersionID, i.FlavorID, i.VolumeGB, i.VolumeType,
		i.Access.IsPublic, cidrs, i.RestartSerial, bootstrap, i.ForceDelete, i.HostID, orNull(i.Address), string(i.Status),
		string(i.OperatingStatus), i.ObservedGeneration, i.ObservedRestart, message, details, faulted, i.VolumeUsedBytes,
		i.RootEnabled, micros(i.RootEnabledAt), i.RootEnabledBy, i.ClusterID, i.Priority, i.Detaching, string(i.Role), micros(i.Created),
		micros(i.Updated), micros(i.ServiceStatusUpdated), version, i.ID,
	}, nil
}

func scanInstance(r scanner) (model.Instance, error) {
	var i model.Instance
	var message, details sql.NullString
	var faulted sql.NullInt64
	err := r.Scan(
		&i.ProjectID, &i.Name, &i.Desired, &i.Generation, &i.DatastoreVersionID, &i.FlavorID, &i.VolumeGB, &i.VolumeType,
		&i.Access.IsPublic, doc{&i.Access.AllowedCIDRs}, &i.RestartSerial, doc{&i.Bootstrap}, &i.ForceDelete, &i.HostID,
		text{&i.Address}, &i.Status, &i.OperatingStatus, &i.ObservedGeneration, &i.ObservedRestart, &message, &details,
		&faulted, &i.VolumeUsedBytes, &i.RootEnabled, stamp{&i.RootEnabledAt}, &i.RootEnabledBy,
		&i.ClusterID, &i.Priority, &i.Detaching, &i.Role, stamp{&i.Created}, stamp{&i.Updated}, stamp{&i.ServiceStatusUpdated}, &i.Version, &i.ID,
	)
	if err != nil {
		return model.Instance{}, err
	}
	if faulted.Valid {
		i.Fault = &model.Fault{Message: message.String, Details: details.String, Created: time.UnixMicro(faulted.Int64).UTC()}
	}
	return i, nil
}

func (t instances) Get(ctx context.Context, id string) (model.Instance, error) {
	i, err := one(ctx, t.tx, scanInstance, selectInstance+" WHERE id = ?", id)
	return i, op(err, "get instance %s", id)
}

func (t instances) List(ctx context.Context, f metastore.InstanceFilter) ([]model.Instance, error) {
	query, args := " WHERE 1 = 1", []any{}
	if f.ProjectID != "" {
		query, args = query+" AND project_id = ?", append(args, f.ProjectID)
	}
	if f.HostID != "" {
		query, args = query+" AND host_id = ?", append(args, f.HostID)
	}
	if f.ClusterID != "" {
		query, args = query+" AND cluster_id = ?", append(args, f.ClusterID)
	}
	if f.ClusterIDs != nil {
		query, args = query+" AND cluster_id "+among(len(f.ClusterIDs)), append(args, values(f.ClusterIDs)...)
	}
	if f.Unclustered {
		query += unclustered
	}
	const table = " FROM instances"
	from, limit, own := table, "", args
	if f.Marker != "" {
		// Spelled so that an index on (created, id) gives the start of the page in every engine. Another project's ids are as good as none.
		from += " JOIN (SELECT created AS marker_created, id AS marker_id" + table + query + " AND id = ?) m" +
			" ON created <= marker_created AND (created < marker_created OR id < marker_id)"
		args = slices.Concat(own, []any{f.Marker}, own)
	}
	if f.Limit > 0 {
		limit, args = " LIMIT ?", append(args, f.Limit)
	}
	is, err := all(ctx, t.tx, scanInstance, "SELECT "+instanceColumns+from+query+" ORDER BY created DESC, id DESC"+limit, args...)
	if err == nil && len(is) == 0 && f.Marker != "" { // either there are no more, or there is no such marker
		if _, err = one(ctx, t.tx, scanString, "SELECT id"+table+query+" AND id = ?", append(slices.Clone(own), f.Marker)...); err != nil {
			return nil, fmt.Errorf("list instances after marker %s: %w", f.Marker, err)
		}
	}
	return is, op(err, "list instances")
}

// among compares with n values.
func among(n int) string {
	if n == 0 {
		return "IN (NULL)"
	}
	return "IN (?" + strings.Repeat(", ?", n-1) + ")"
}

func values(texts []string) []any {
	vs := make([]any, len(texts))
	for n, text := range texts {
		vs[n] = text
	}
	return vs
}

func (t instances) Create(ctx context.Context, i *model.Instance) error {
	args, err := instanceArgs(i, 1)
	if err == nil {
		_, err = t.exec(ctx, insertInstance, args...)
	}
	if err != nil {
		return fmt.Errorf("create instance %s: %w", i.ID, err)
	}
	t.setVersion(&i.Version, 1)
	return nil
}

func (t instances) Update(ctx context.Context, i *model.Instance) error {
	args, err := instanceArgs(i, i.Version+1)
	if err != nil {
		return fmt.Errorf("update instance %s: %w", i.ID, err)
	}
	n, err := t.exec(ctx, updateInstance, append(args, i.Version)...)
	if err != nil {
		return fmt.Errorf("update instance %s: %w", i.ID, err)
	}
	if n == 0 {
		now, err := t.Get(ctx, i.ID)
		if err == nil {
			err = fmt.Errorf("it is at version %d, not %d: %w", now.Version, i.Version, metastore.ErrConflict)
		}
		return fmt.Errorf("update instance %s: %w", i.ID, err)
	}
	t.setVersion(&i.Version, i.Version+1)
	return nil
}

// setVersion gives the caller's value its new version, and takes it back if the attempt comes to nothing: a rerun
// must find the value as it was.
func (t *tx) setVersion(version *int64, v int64) {
	before := *version
	t.undo = append(t.undo, func() { *version = before })
	*version = v
}

func (t instances) Delete(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM instances WHERE id = ?", id)
	if err == nil {
		err = t.deleteOwned(ctx, id)
	}
	return op(err, "delete instance %s", id)
}

// deleteOwned removes what belongs to an id when nothing has that id any more: an implicit cluster has its first instance's, and either may outlive the other.
func (t *tx) deleteOwned(ctx context.Context, id string) error {
	const neither = " AND NOT EXISTS (SELECT 1 FROM instances i WHERE i.id = ?) AND NOT EXISTS (SELECT 1 FROM clusters c WHERE c.id = ?)"
	for _, query := range []string{"DELETE FROM events WHERE instance_id = ?" + neither, "DELETE FROM secrets WHERE owner = ?" + neither} {
		if _, err := t.exec(ctx, query, id, id, id); err != nil {
			return err
		}
	}
	return nil
}

func (t instances) Usage(ctx context.Context, projectID string) (model.Usage, error) {
	u, err := one(ctx, t.tx, func(r scanner) (u model.Usage, err error) {
		err = r.Scan(&u.Instances, &u.RAMMB, &u.VolumesGB)
		return u, err
	}, `SELECT COUNT(*), COALESCE(SUM(f.ram_mb), 0), COALESCE(SUM(i.volume_gb), 0)
		FROM instances i LEFT JOIN flavors f ON f.id = i.flavor_id WHERE i.project_id = ?`, projectID)
	return u, op(err, "usage of project %s", projectID)
}

func (t instances) Addresses(ctx context.Context) ([]string, error) {
	as, err := all(ctx, t.tx, scanString, `SELECT address FROM instances WHERE address IS NOT NULL
		UNION ALL SELECT rw_address FROM clusters WHERE rw_address IS NOT NULL UNION ALL SELECT ro_address FROM clusters WHERE ro_address IS NOT NULL`)
	return as, op(err, "list addresses")
}

func scanString(r scanner) (s string, err error) {
	err = r.Scan(&s) // before the return: the order in which a return evaluates a variable and a call is not fixed
	return s, err
}
