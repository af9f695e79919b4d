package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// HostsBody lists hosts.
type HostsBody struct {
	Hosts []HostView `json:"hosts"`
}

// HostBody is one of them.
type HostBody struct {
	Host HostView `json:"host"`
}

// HostView is a machine with databases as administrators see it.
type HostView struct {
	Name          string            `json:"name"`
	Up            bool              `json:"up" doc:"Its sysmgr is alive"`
	Since         *Time             `json:"since" doc:"Since when it is up or down; null while it was never seen"`
	Drained       bool              `json:"drained" doc:"It takes no new databases"`
	Removed       bool              `json:"removed" doc:"It is being removed: what was on it is given up, then its rights are taken back"`
	Address       string            `json:"address" doc:"At which other hosts reach it"`
	Subnet        string            `json:"subnet" doc:"Of its databases' addresses"`
	Labels        map[string]string `json:"labels"`
	Version       string            `json:"version"`
	Engine        string            `json:"engine"`
	Trouble       string            `json:"trouble,omitempty" doc:"Why it takes no databases, or cannot do all that it should; absent: all is well"`
	Capacity      HostAmount        `json:"capacity"`
	Used          HostAmount        `json:"used"`
	InstanceCount int               `json:"instanceCount"`
	Created       Time              `json:"created"`
}

// HostAmount is of what a host has: processors, memory in MiB, disk in GB.
type HostAmount struct {
	CPUs float64 `json:"cpus"`
	RAM  int     `json:"ram"`
	Disk int     `json:"disk"`
}

// NewHostBody adds a host.
type NewHostBody struct {
	Host NewHost `json:"host"`
}

// NewHost is a host that may come from now on.
type NewHost struct {
	Name string `json:"name" minLength:"1" maxLength:"57" doc:"As its sysmgr is told; lower-case letters, digits and '-'"`
}

// HostActionBody is one thing to do with a host.
type HostActionBody struct {
	Drain   *Empty `json:"drain,omitempty"`
	Undrain *Empty `json:"undrain,omitempty"`
}

// A certificate's name bounds it: 64 characters with "host." before it.
var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?$`)

func (s *server) hostRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "mgmt/hosts", id: "listHosts", tag: "hosts", summary: "List the hosts", status: http.StatusOK, admin: true},
		s.listHosts)
	on(t, spec{method: http.MethodPost, path: "mgmt/hosts", id: "addHost", tag: "hosts", summary: "Let a host come", status: http.StatusCreated, admin: true,
		errs: []int{http.StatusBadRequest}}, s.addHost)
	on(t, spec{method: http.MethodGet, path: "mgmt/hosts/{host}", id: "showHost", tag: "hosts", summary: "Show a host", status: http.StatusOK, admin: true},
		s.showHost)
	on(t, spec{method: http.MethodPost, path: "mgmt/hosts/{host}/action", id: "actOnHost", tag: "hosts", summary: "Drain a host, or undo that",
		status: http.StatusAccepted, admin: true, errs: []int{http.StatusBadRequest}}, s.actOnHost)
	on(t, spec{method: http.MethodDelete, path: "mgmt/hosts/{host}", id: "removeHost", tag: "hosts", summary: "Remove a host that is gone for good",
		status: http.StatusAccepted, admin: true, errs: []int{http.StatusBadRequest}}, s.removeHost)
}

func (s *server) listHosts(ctx context.Context, _ *request, _ *none) (*HostsBody, error) {
	body := &HostsBody{}
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		body.Hosts = []HostView{}
		hosts, err := tx.Hosts().List(ctx)
		if err != nil {
			return err
		}
		usage, err := tx.Hosts().Usage(ctx)
		for i := range hosts {
			body.Hosts = append(body.Hosts, hostView(hosts[i], usage[hosts[i].ID]))
		}
		return err
	})
	return body, err
}

func (s *server) showHost(ctx context.Context, r *request, _ *none) (*HostBody, error) {
	return s.host(ctx, r.path["host"])
}

func (s *server) host(ctx context.Context, id string) (*HostBody, error) {
	var body *HostBody
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		h, err := findHost(ctx, tx, id)
		if err != nil {
			return err
		}
		usage, err := tx.Hosts().Usage(ctx)
		body = &HostBody{Host: hostView(h, usage[id])}
		return err
	})
	return body, err
}

func findHost(ctx context.Context, tx metastore.Tx, id string) (model.Host, error) {
	h, err := tx.Hosts().Get(ctx, id)
	if errors.Is(err, metastore.ErrNotFound) {
		return h, notFound("Host %s cannot be found.", id)
	}
	return h, err
}

// addHost writes down that a host is expected: nodekeeper gives its certificate its rights then.
func (s *server) addHost(ctx context.Context, _ *request, in *NewHostBody) (*HostBody, error) {
	name := in.Host.Name
	if !hostName.MatchString(name) {
		return nil, badRequest("A host's name has lower-case letters, digits and '-', not at its ends, and at most 57 of them; not %q.", name)
	}
	err := s.Store.Update(ctx, func(tx metastore.Tx) error {
		was, err := tx.Hosts().Get(ctx, name)
		if err == nil && was.Removed {
			return badRequest("Host %s is being removed. Add it when it is not listed any more.", name)
		}
		if err == nil {
			return badRequest("There is a host %s already.", name)
		}
		if !errors.Is(err, metastore.ErrNotFound) {
			return err
		}
		return tx.Hosts().Put(ctx, model.Host{ID: name, Name: name, Created: s.now().UTC()})
	})
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", name, err)
	}
	return s.host(ctx, name)
}

func (s *server) actOnHost(ctx context.Context, r *request, in *HostActionBody) (*none, error) {
	if (in.Drain == nil) == (in.Undrain == nil) {
		return nil, badRequest("Exactly one action must be given: drain or undrain.")
	}
	err := s.Store.Update(ctx, func(tx metastore.Tx) error {
		h, err := findHost(ctx, tx, r.path["host"])
		if err != nil {
			return err
		}
		h.Drained = in.Drain != nil
		return tx.Hosts().Put(ctx, h)
	})
	return nil, err
}

// namesShown bounds how many databases a refusal names.
const namesShown = 3

// removeHost says that a host does not come back. nodekeeper forgets what is being deleted there, which nobody can clean up any more, takes back the host's rights,
// and forgets it. A database that is not to be deleted is never given up with its host.
func (s *server) removeHost(ctx context.Context, r *request, _ *none) (*none, error) {
	err := s.Store.Update(ctx, func(tx metastore.Tx) error {
		h, err := findHost(ctx, tx, r.path["host"])
		if err != nil {
			return err
		}
		if h.Up {
			return badRequest("Host %s is up. Stop its huker-sysmgr first; huker host drain keeps new databases away without that.", h.ID)
		}
		there, err := tx.Instances().List(ctx, metastore.InstanceFilter{HostID: h.ID})
		if err != nil {
			return err
		}
		var kept []string
		for i := range there {
			if there[i].Desired != model.DesiredDeleted {
				kept = append(kept, fmt.Sprintf("%q (%s)", there[i].Name, there[i].ID))
			}
		}
		if n := len(kept); n > 0 {
			more := ""
			if n > namesShown {
				kept, more = kept[:namesShown], fmt.Sprintf(" and %d more", n-namesShown)
			}
			return badRequest("Host %s has databases: %s%s. Delete them first, if they are lost (it need not be reached for that); a lost member of a cluster "+
				"is replaced elsewhere after five minutes, or deleted with huker cluster shrink.", h.ID, strings.Join(kept, ", "), more)
		}
		h.Removed = true
		return tx.Hosts().Put(ctx, h)
	})
	return nil, err
}

func hostView(h model.Host, used model.HostUsage) HostView {
	v := HostView{
		Name: h.ID, Up: h.Up, Drained: h.Drained, Removed: h.Removed, Address: h.Address, Subnet: h.Subnet, Labels: h.Labels, Version: h.Version, Engine: h.Engine, Trouble: h.Trouble,
		Capacity: HostAmount{CPUs: h.CPUs, RAM: h.RAMMB, Disk: h.DiskGB}, Used: HostAmount{CPUs: used.CPUs, RAM: used.RAMMB, Disk: used.DiskGB},
		InstanceCount: used.Instances, Created: Time{h.Created},
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if !h.Since.IsZero() {
		v.Since = &Time{h.Since}
	}
	return v
}

// TransformSchema says that Since may be null.
func (HostView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	if since := s.Properties["since"]; since != nil {
		since.Nullable = true
	}
	return s
}
