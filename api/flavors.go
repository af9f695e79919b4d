package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// FlavorsBody lists sizes of instances.
type FlavorsBody struct {
	Flavors []Flavor `json:"flavors"`
}

// FlavorBody is one of them.
type FlavorBody struct {
	Flavor Flavor `json:"flavor"`
}

// Flavor is a size of instance. RAM is in MiB.
type Flavor struct {
	ID        *int    `json:"id" doc:"null when the id is not an integer; see str_id"`
	StrID     string  `json:"str_id"`
	Name      string  `json:"name"`
	RAM       int     `json:"ram"`
	VCPUs     float64 `json:"vcpus"`
	Disk      int     `json:"disk"`
	Ephemeral int     `json:"ephemeral"`
	Links     []Link  `json:"links"`
}

func (s *server) flavorRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "flavors", id: "listFlavors", tag: "flavors", summary: "List the sizes of instances",
		status: http.StatusOK}, s.listFlavors)
	on(t, spec{method: http.MethodGet, path: "flavors/{flavor}", id: "showFlavor", tag: "flavors", summary: "Show a size of instances",
		status: http.StatusOK}, s.showFlavor)
}

func (s *server) listFlavors(ctx context.Context, r *request, _ *none) (*FlavorsBody, error) {
	all, err := s.flavors(ctx)
	if err != nil {
		return nil, err
	}
	return r.flavorsBody(all), nil
}

func (s *server) showFlavor(ctx context.Context, r *request, _ *none) (*FlavorBody, error) {
	all, err := s.flavors(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == r.path["flavor"] {
			return &FlavorBody{Flavor: r.flavorView(all[i])}, nil
		}
	}
	return nil, notFound("Flavor %s cannot be found.", r.path["flavor"])
}

func (s *server) flavors(ctx context.Context) (all []model.Flavor, err error) {
	err = s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		all, err = tx.Catalogue().Flavors(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list flavors: %w", err)
	}
	return all, nil
}

// findFlavor gives the flavor that a client names by its id or, where no id fits, its name.
func findFlavor(ctx context.Context, tx metastore.Tx, ref string) (model.Flavor, error) {
	all, err := tx.Catalogue().Flavors(ctx)
	if err != nil {
		return model.Flavor{}, err
	}
	for _, key := range []func(model.Flavor) string{
		func(f model.Flavor) string { return f.ID }, func(f model.Flavor) string { return f.Name },
	} {
		for i := range all {
			if key(all[i]) == ref {
				return all[i], nil
			}
		}
	}
	return model.Flavor{}, notFound("Flavor %s cannot be found.", clip(ref))
}

func (r *request) flavorsBody(all []model.Flavor) *FlavorsBody {
	body := &FlavorsBody{Flavors: make([]Flavor, 0, len(all))}
	for i := range all {
		body.Flavors = append(body.Flavors, r.flavorView(all[i]))
	}
	return body
}

func (r *request) flavorView(f model.Flavor) Flavor {
	v := Flavor{StrID: f.ID, Name: f.Name, RAM: f.RAMMB, VCPUs: f.VCPUs, Links: r.links("flavors", f.ID)}
	// gophercloud reads the id as an integer, and takes null for one that is none.
	if n, err := strconv.Atoi(f.ID); err == nil && !strings.HasPrefix(f.ID, "0") {
		v.ID = &n
	}
	return v
}
