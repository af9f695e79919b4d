package sqlstore

import (
	"context"
	"fmt"

	"github.com/huker/huker/internal/model"
)

type hosts struct{ *tx }

const selectHost = "SELECT name, labels, cpus, ram_mb, disk_gb, drained, created, id FROM hosts"

func scanHost(r scanner) (model.Host, error) {
	var h model.Host
	err := r.Scan(&h.Name, doc{&h.Labels}, &h.CPUs, &h.RAMMB, &h.DiskGB, &h.Drained, stamp{&h.Created}, &h.ID)
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
	err = t.put(ctx, `UPDATE hosts SET name = ?, labels = ?, cpus = ?, ram_mb = ?, disk_gb = ?, drained = ?, created = ?
		WHERE id = ?`, `INSERT INTO hosts (name, labels, cpus, ram_mb, disk_gb, drained, created, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, h.Name, labels, h.CPUs, h.RAMMB, h.DiskGB, h.Drained, micros(h.Created), h.ID)
	return op(err, "put host %s", h.ID)
}

func (t hosts) Delete(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "DELETE FROM hosts WHERE id = ?", id)
	return op(err, "delete host %s", id)
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
