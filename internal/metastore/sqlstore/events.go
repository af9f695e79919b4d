package sqlstore

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/huker/huker/internal/model"
)

type events struct{ *tx }

func (t events) Append(ctx context.Context, e *model.Event) error {
	r, err := t.execResult(ctx, `INSERT INTO events (project_id, instance_id, occurred, kind, message, request_id)
		VALUES (?, ?, ?, ?, ?, ?)`, e.ProjectID, e.InstanceID, micros(e.Time), e.Kind, e.Message, e.RequestID)
	if err != nil {
		return fmt.Errorf("append event to instance %s: %w", e.InstanceID, err)
	}
	id, err := r.LastInsertId()
	if err != nil {
		return fmt.Errorf("append event to instance %s: %w", e.InstanceID, t.fail(err))
	}
	before := e.ID
	t.undo = append(t.undo, func() { e.ID = before })
	e.ID = id
	return nil
}

func (t events) List(ctx context.Context, instanceID string, limit int) ([]model.Event, error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	es, err := all(ctx, t.tx, scanEvent, `SELECT id, project_id, instance_id, occurred, kind, message, request_id
		FROM events WHERE instance_id = ? ORDER BY id DESC LIMIT ?`, instanceID, limit)
	slices.Reverse(es)
	return es, op(err, "list events of instance %s", instanceID)
}

func scanEvent(r scanner) (model.Event, error) {
	var e model.Event
	err := r.Scan(&e.ID, &e.ProjectID, &e.InstanceID, stamp{&e.Time}, &e.Kind, &e.Message, &e.RequestID)
	return e, err
}
