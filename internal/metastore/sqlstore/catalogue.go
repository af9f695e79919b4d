package sqlstore

import (
	"context"

	"github.com/huker/huker/internal/model"
)

type catalogue struct{ *tx }

func (t catalogue) Flavors(ctx context.Context) ([]model.Flavor, error) {
	fs, err := all(ctx, t.tx, func(r scanner) (model.Flavor, error) {
		var f model.Flavor
		err := r.Scan(&f.ID, &f.Name, &f.RAMMB, &f.VCPUs)
		return f, err
	}, "SELECT id, name, ram_mb, vcpus FROM flavors ORDER BY ram_mb, LENGTH(id), id")
	return fs, op(err, "list flavors")
}

func (t catalogue) PutFlavor(ctx context.Context, f model.Flavor) error {
	err := t.put(ctx, "UPDATE flavors SET name = ?, ram_mb = ?, vcpus = ? WHERE id = ?",
		"INSERT INTO flavors (name, ram_mb, vcpus, id) VALUES (?, ?, ?, ?)", f.Name, f.RAMMB, f.VCPUs, f.ID)
	return op(err, "put flavor %s", f.ID)
}

func (t catalogue) Datastores(ctx context.Context) ([]model.Datastore, []model.DatastoreVersion, error) {
	ds, vs := []model.Datastore{}, []model.DatastoreVersion{}
	_, err := all(ctx, t.tx, func(r scanner) (struct{}, error) { // a row for each version, and for each datastore without any
		var d model.Datastore
		var v model.DatastoreVersion
		err := r.Scan(&d.ID, &d.Name, &d.DefaultVersionID, &v.Name, &v.Engine, &v.Image, &v.Active, stamp{&v.Created}, &v.ID)
		if len(ds) == 0 || ds[len(ds)-1].ID != d.ID {
			ds = append(ds, d)
		}
		if v.ID != "" {
			v.DatastoreID = d.ID
			vs = append(vs, v)
		}
		return struct{}{}, err
	}, `SELECT d.id, d.name, d.default_version_id, COALESCE(v.name, ''), COALESCE(v.engine, ''), COALESCE(v.image, ''), COALESCE(v.active, 0),
		COALESCE(v.created, 0), COALESCE(v.id, '') FROM datastores d LEFT JOIN datastore_versions v ON v.datastore_id = d.id
		ORDER BY d.name, d.id, v.created, v.id`)
	return ds, vs, op(err, "list datastores")
}

func (t catalogue) PutDatastore(ctx context.Context, d model.Datastore) error {
	err := t.put(ctx, "UPDATE datastores SET name = ?, default_version_id = ? WHERE id = ?",
		"INSERT INTO datastores (name, default_version_id, id) VALUES (?, ?, ?)", d.Name, d.DefaultVersionID, d.ID)
	return op(err, "put datastore %s", d.ID)
}

func (t catalogue) Versions(ctx context.Context) ([]model.DatastoreVersion, error) {
	vs, err := all(ctx, t.tx, func(r scanner) (model.DatastoreVersion, error) {
		var v model.DatastoreVersion
		err := r.Scan(&v.DatastoreID, &v.Name, &v.Engine, &v.Image, &v.Active, stamp{&v.Created}, &v.ID)
		return v, err
	}, `SELECT datastore_id, name, engine, image, active, created, id FROM datastore_versions
		ORDER BY datastore_id, created, id`)
	return vs, op(err, "list datastore versions")
}

func (t catalogue) PutVersion(ctx context.Context, v model.DatastoreVersion) error {
	err := t.put(ctx, `UPDATE datastore_versions SET datastore_id = ?, name = ?, engine = ?, image = ?, active = ?, created = ?
		WHERE id = ?`, `INSERT INTO datastore_versions (datastore_id, name, engine, image, active, created, id)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, v.DatastoreID, v.Name, v.Engine, v.Image, v.Active, micros(v.Created), v.ID)
	return op(err, "put datastore version %s", v.ID)
}

func (t catalogue) DeleteVersion(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM datastore_versions WHERE id = ?", id)
	return op(err, "delete datastore version %s", id)
}

type quotas struct{ *tx }

func (t quotas) Get(ctx context.Context, projectID string) (model.Quota, error) {
	q, err := one(ctx, t.tx, func(r scanner) (model.Quota, error) {
		var q model.Quota
		err := r.Scan(&q.ProjectID, &q.Instances, &q.RAMMB, &q.VolumesGB, &q.Backups)
		return q, err
	}, "SELECT project_id, instances, ram_mb, volumes_gb, backups FROM quotas WHERE project_id = ?", projectID)
	return q, op(err, "get quota of project %s", projectID)
}

func (t quotas) Put(ctx context.Context, q model.Quota) error {
	err := t.put(ctx, "UPDATE quotas SET instances = ?, ram_mb = ?, volumes_gb = ?, backups = ? WHERE project_id = ?",
		"INSERT INTO quotas (instances, ram_mb, volumes_gb, backups, project_id) VALUES (?, ?, ?, ?, ?)",
		q.Instances, q.RAMMB, q.VolumesGB, q.Backups, q.ProjectID)
	return op(err, "put quota of project %s", q.ProjectID)
}
