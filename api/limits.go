package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// LimitsBody says what a project may have.
type LimitsBody struct {
	Limits []AbsoluteLimits `json:"limits"`
}

// AbsoluteLimits are a project's; -1 is none. There are no limits per time.
type AbsoluteLimits struct {
	Verb         string `json:"verb" enum:"ABSOLUTE"`
	MaxInstances int    `json:"max_instances"`
	MaxBackups   int    `json:"max_backups"`
	MaxVolumes   int    `json:"max_volumes"`
	MaxRAM       int    `json:"max_ram"`
}

func (s *server) limitRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "limits", id: "listLimits", tag: "quotas", summary: "Show the project's limits",
		status: http.StatusOK}, s.listLimits)
}

func (s *server) listLimits(ctx context.Context, r *request, _ *none) (*LimitsBody, error) {
	var q model.Quota
	err := s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		q, err = s.quota(ctx, tx, r.project)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show the limits of project %s: %w", r.project, err)
	}
	return &LimitsBody{Limits: []AbsoluteLimits{{
		Verb: "ABSOLUTE", MaxInstances: q.Instances, MaxBackups: q.Backups, MaxVolumes: q.VolumesGB, MaxRAM: q.RAMMB,
	}}}, nil
}

// quota is a project's own, or the default.
func (s *server) quota(ctx context.Context, tx metastore.Tx, project string) (model.Quota, error) {
	q, err := tx.Quotas().Get(ctx, project)
	if errors.Is(err, metastore.ErrNotFound) {
		q, err = *s.DefaultQuota, nil
		q.ProjectID = project
	}
	return q, err
}

// demand is what a change takes of a quota beyond what the project has.
type demand struct{ instances, ramMB, volumesGB int }

// take refuses a change that goes over the project's quota. It runs in the transaction that makes the change, so that no two changes
// can use the same room.
func (s *server) take(ctx context.Context, tx metastore.Tx, project string, d demand) error {
	q, err := s.quota(ctx, tx, project)
	if err != nil {
		return err
	}
	used, err := tx.Instances().Usage(ctx, project)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		name              string
		limit, used, more int
	}{
		{"instances", q.Instances, used.Instances, d.instances},
		{"ram", q.RAMMB, used.RAMMB, d.ramMB},
		{"volumes", q.VolumesGB, used.VolumesGB, d.volumesGB},
	} {
		if c.more > 0 && c.limit >= 0 && c.used+c.more > c.limit {
			return faultf(http.StatusRequestEntityTooLarge,
				"Quota exceeded for resources: ['%s']. The limit is %d, in use are %d, requested are %d more.", c.name, c.limit, c.used, c.more)
		}
	}
	return nil
}
