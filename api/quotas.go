package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// QuotasBody is a project's quota with what it uses.
type QuotasBody struct {
	Quotas []QuotaUsage `json:"quotas"`
}

// QuotaUsage is one resource of it; a limit of -1 is none.
type QuotaUsage struct {
	Resource string `json:"resource" enum:"instances,ram,volumes,backups"`
	InUse    int    `json:"in_use"`
	Reserved int    `json:"reserved"`
	Limit    int    `json:"limit"`
}

// QuotaChangeBody sets limits; what is left out stays.
type QuotaChangeBody struct {
	Quotas QuotaChange `json:"quotas"`
}

// QuotaChange names the resources: RAM in MiB, volumes in GB.
type QuotaChange struct {
	Instances *int `json:"instances,omitempty" minimum:"-1" nullable:"true"`
	RAM       *int `json:"ram,omitempty" minimum:"-1" nullable:"true"`
	Volumes   *int `json:"volumes,omitempty" minimum:"-1" nullable:"true"`
	Backups   *int `json:"backups,omitempty" minimum:"-1" nullable:"true"`
}

func (s *server) quotaRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "mgmt/quotas/{project}", id: "showQuota", tag: "quotas",
		summary: "Show a project's quota and usage", status: http.StatusOK}, s.showQuota)
	on(t, spec{method: http.MethodPut, path: "mgmt/quotas/{project}", id: "setQuota", tag: "quotas",
		summary: "Change a project's quota", status: http.StatusOK, admin: true}, s.setQuota)
}

func (s *server) showQuota(ctx context.Context, r *request, _ *none) (*QuotasBody, error) {
	project := r.path["project"]
	if project != r.project && !r.admin() {
		return nil, forbidden("You may see your own project's quota only.")
	}
	var q model.Quota
	var u model.Usage
	err := s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		if q, err = s.quota(ctx, tx, project); err != nil {
			return err
		}
		u, err = tx.Instances().Usage(ctx, project)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show the quota of project %s: %w", project, err)
	}
	return &QuotasBody{Quotas: []QuotaUsage{
		{Resource: "instances", InUse: u.Instances, Limit: q.Instances},
		{Resource: "ram", InUse: u.RAMMB, Limit: q.RAMMB},
		{Resource: "backups", InUse: u.Backups, Limit: q.Backups},
		{Resource: "volumes", InUse: u.VolumesGB, Limit: q.VolumesGB},
	}}, nil
}

func (s *server) setQuota(ctx context.Context, r *request, in *QuotaChangeBody) (*QuotaChangeBody, error) {
	project := r.path["project"]
	if !projectID.MatchString(project) {
		return nil, notFound("Project %s cannot be found.", project)
	}
	err := s.Store.Update(ctx, func(tx metastore.Tx) error {
		q, err := s.quota(ctx, tx, project)
		if err != nil {
			return err
		}
		for _, c := range []struct {
			to   *int
			from *int
		}{{&q.Instances, in.Quotas.Instances}, {&q.RAMMB, in.Quotas.RAM}, {&q.VolumesGB, in.Quotas.Volumes}, {&q.Backups, in.Quotas.Backups}} {
			if c.from != nil {
				*c.to = *c.from
			}
		}
		return tx.Quotas().Put(ctx, q)
	})
	if err != nil {
		return nil, fmt.Errorf("set the quota of project %s: %w", project, err)
	}
	return in, nil
}
