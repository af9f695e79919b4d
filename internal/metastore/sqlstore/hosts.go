package sqlstore

import (
	"context"
	"fmt"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

type hosts struct{ *tx }

const selectHost = "SELECT name, labels, cpus, ram_mb, disk_gb, drained, removed, address, subnet, up, since, version, engine, trouble, created, id FROM hosts"

func scanHost(r scanner) (model.Host, error) {
	var h model.Host
	err := r.Scan(&h.Name, doc{&h.Labels}, &h.CPUs, &h.RAMMB, &h.DiskGB, &h.Drained, &h.Removed, &h.Address, &h.Subnet, &h.Up, stamp{&h.Since}, &h.Version,
		&h.Engine, &h.Trouble, stamp{&h.Created}, &h.ID)
	return h, err
}

func (t hosts) Get(ctx context.Context, id string) (model.Host, error) {
	h, err := one(ctx, t.tx, scanHost, selectHost+" WHERE id = ?", id)
	return h, op(err, "get host %s", id)
}

func (t hosts) List(ctx context.Context) ([]model.Host, error) {
	hs, err := all(ctx, t.tx, scanHost, selectHost+" ORDER BY name, id")
	return hs, op(err, "list hosts")
}

func (t hosts) Put(ctx context.Context, h model.Host) error {
	labels, err := encode(h.Labels)
	if err != nil {
		return fmt.Errorf("put host %s: %w", h.ID, err)
	}
	err = t.put(ctx, `UPDATE hosts SET name = ?, labels = ?, cpus = ?, ram_mb = ?, disk_gb = ?, drained = ?, removed = ?, address = ?, subnet = ?, up = ?, since = ?,
		version = ?, engine = ?, trouble = ?, created = ? WHERE id = ?`, `INSERT INTO hosts (name, labels, cpus, ram_mb, disk_gb, drained, removed, address, subnet, up, since,
		version, engine, trouble, created, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, h.Name, labels, h.CPUs, h.RAMMB, h.DiskGB, h.Drained, h.Removed,
		h.Address, h.Subnet, h.Up, micros(h.Since), h.Version, h.Engine, h.Trouble, micros(h.Created), h.ID)
	return op(err, "put host %s", h.ID)
}

func (t hosts) Delete(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM hosts WHERE id = ?", id)
	return op(err, "delete host %s", id)
}

func (t hosts) Usage(ctx context.Context) (map[string]model.HostUsage, error) {
	type used struct {
		host string
		model.HostUsage
	}
	rows, err := all(ctx, t.tx, func(r scanner) (u used, err error) {
		err = r.Scan(&u.host, &u.Instances, &u.CPUs, &u.RAMMB, &u.DiskGB)
		return u, err
	}, `SELECT i.host_id, COUNT(*), COALESCE(SUM(f.vcpus), 0), COALESCE(SUM(f.ram_mb), 0), COALESCE(SUM(i.volume_gb), 0)
		FROM instances i LEFT JOIN flavors f ON f.id = i.flavor_id WHERE i.host_id <> '' GROUP BY i.host_id`)
	usage := make(map[string]model.HostUsage, len(rows))
	for _, u := range rows {
		usage[u.host] = u.HostUsage
	}
	return usage, op(err, "usage of hosts")
}

type terms struct{ *tx }

func (t terms) Begin(ctx context.Context, role string) (int64, error) {
	err := t.put(ctx, "UPDATE terms SET term = term + 1 WHERE role = ?", "INSERT INTO terms (term, role) VALUES (1, ?)", role)
	if err != nil {
		return 0, op(err, "begin a term as %s", role)
	}
	n, err := t.newest(ctx, role)
	return n, op(err, "begin a term as %s", role)
}

func (t terms) Check(ctx context.Context, role string, term int64) error {
	newest, err := t.newest(ctx, role)
	if err != nil {
		return op(err, "check term %d as %s", term, role)
	}
	if newest != term {
		return fmt.Errorf("term %d as %s: %w: the newest is %d", term, role, metastore.ErrTermOver, newest)
	}
	return nil
}

func (t terms) newest(ctx context.Context, role string) (int64, error) {
	return one(ctx, t.tx, func(r scanner) (n int64, err error) {
		err = r.Scan(&n)
		return n, err
	}, "SELECT term FROM terms WHERE role = ?", role)
}

type secrets struct{ *tx }

func (t secrets) Get(ctx context.Context, owner, name string) ([]byte, error) {
	b, err := one(ctx, t.tx, func(r scanner) ([]byte, error) {
		b := []byte{}
		err := r.Scan(&b)
		return b, err
	}, "SELECT value FROM secrets WHERE owner = ? AND name = ?", owner, name)
	return b, op(err, "get secret %s of %s", name, owner)
}

func (t secrets) Put(ctx context.Context, owner, name string, value []byte) error {
	if value == nil {
		value = []byte{} // NULL is no value
	}
	err := t.put(ctx, "UPDATE secrets SET value = ? WHERE owner = ? AND name = ?",
		"INSERT INTO secrets (value, owner, name) VALUES (?, ?, ?)", value, owner, name)
	return op(err, "put secret %s of %s", name, owner)
}

func (t secrets) DeleteOwner(ctx context.Context, owner string) error {
	_, err := t.exec(ctx, "DELETE FROM secrets WHERE owner = ?", owner)
	return op(err, "delete secrets of %s", owner)
}
