package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// MgmtInstancesBody lists instances of all projects.
type MgmtInstancesBody struct {
	Instances      []MgmtInstance `json:"instances"`
	Links          []Link         `json:"links,omitempty"`
	InstancesLinks []Link         `json:"instances_links,omitempty"`
}

// MgmtInstance is an instance as administrators see it in lists.
type MgmtInstance struct {
	InstanceDetail
	Server          *ServerView `json:"server"`
	ServiceStatus   string      `json:"service_status"`
	Deleted         bool        `json:"deleted"`
	DeletedAt       *string     `json:"deleted_at"`
	TaskDescription string      `json:"task_description"`
}

// ServerView is the container of an instance.
type ServerView struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Status   string `json:"status"`
	TenantID string `json:"tenant_id"`
	Host     string `json:"host"`
}

// TransformSchema says that there may be none, before the instance is placed.
func (ServerView) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Nullable = true
	return s
}

// MgmtInstanceBody is one of them.
type MgmtInstanceBody struct {
	Instance MgmtInstanceDetail `json:"instance"`
}

// MgmtInstanceDetail is an instance with all that there is to know of it.
type MgmtInstanceDetail struct {
	MgmtInstance
	Volume        MgmtVolume   `json:"volume"`
	RootEnabled   *Time        `json:"root_enabled,omitempty" doc:"When root was enabled first"`
	RootEnabledBy string       `json:"root_enabled_by,omitempty"`
	GuestStatus   *GuestStatus `json:"guest_status"`
}

// MgmtVolume is an instance's volume; sizes in GB.
type MgmtVolume struct {
	ID    string  `json:"id"`
	Size  int     `json:"size"`
	Total float64 `json:"total"`
	Used  float64 `json:"used"`
}

// GuestStatus says what the database does.
type GuestStatus struct {
	StateDescription string `json:"state_description"`
}

// MgmtActionBody is one thing to do with an instance.
type MgmtActionBody struct {
	Reboot      *Empty `json:"reboot,omitempty"`
	Stop        *Empty `json:"stop,omitempty"`
	Migrate     *Empty `json:"migrate,omitempty"`
	Rebuild     *Empty `json:"rebuild,omitempty"`
	ResetStatus *Empty `json:"reset-task-status,omitempty"`
}

// RootHistoryBody says when root was enabled first, and by whom.
type RootHistoryBody struct {
	RootHistory RootHistory `json:"root_history"`
}

// RootHistory of an instance. Enabled is a time, or "Never".
type RootHistory struct {
	ID      string `json:"id"`
	Enabled string `json:"enabled"`
	User    string `json:"user"`
}

// HwInfoBody is what an instance runs on.
type HwInfoBody struct {
	HwInfo HwInfo `json:"hwinfo"`
}

// HwInfo is its memory in MiB and its share of processors.
type HwInfo struct {
	MemTotal int     `json:"mem_total"`
	NumCPUs  float64 `json:"num_cpus"`
}

// MgmtVersionsBody lists datastore versions of all kinds.
type MgmtVersionsBody struct {
	Versions []MgmtVersion `json:"versions"`
}

// MgmtVersionBody is one of them.
type MgmtVersionBody struct {
	Version MgmtVersion `json:"version"`
}

// MgmtVersion is a datastore version as administrators see it.
type MgmtVersion struct {
	ID               string   `json:"id"`
	Name             string   `json:"name"`
	Version          string   `json:"version"`
	DatastoreID      string   `json:"datastore_id"`
	DatastoreName    string   `json:"datastore_name"`
	DatastoreManager string   `json:"datastore_manager"`
	Image            string   `json:"image"`
	ImageTags        []string `json:"image_tags"`
	Packages         []string `json:"packages"`
	Active           bool     `json:"active"`
	Default          bool     `json:"default"`
	RegistryExt      *string  `json:"registry_ext"`
	ReplStrategy     *string  `json:"repl_strategy"`
}

func (s *server) mgmtRoutes(t *table) {
	get := func(path, id, summary string) spec {
		return spec{method: http.MethodGet, path: "mgmt/" + path, id: id, tag: "mgmt", summary: summary, status: http.StatusOK, admin: true}
	}
	listing := get("instances", "mgmtListInstances", "List the instances of all projects")
	listing.query = append(slices.Clone(pageParams), clusterParam, deletedParam, param{"project_id", huma.TypeString, "Only this project's."})
	listing.errs = []int{http.StatusBadRequest}
	on(t, listing, s.mgmtList)
	on(t, get("instances/{id}", "mgmtShowInstance", "Show an instance of any project"), s.mgmtShow)
	on(t, spec{method: http.MethodPost, path: "mgmt/instances/{id}/action", id: "mgmtActOnInstance", tag: "mgmt", admin: true,
		summary: "Restart an instance, or give up what it does", status: http.StatusAccepted,
		errs: []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}}, s.mgmtAct)
	on(t, get("instances/{id}/root", "mgmtShowRootHistory", "Say when root was enabled first"), s.mgmtRoot)
	on(t, get("instances/{id}/hwinfo", "mgmtShowHwInfo", "Say what an instance runs on"), s.mgmtHwInfo)
	ping := get("instances/{id}/rpc_ping", "mgmtPing", "Ask the guest agent for a sign of life")
	ping.status, ping.errs = http.StatusNoContent, guestErrors
	on(t, ping, s.mgmtPing)
	on(t, get("datastore-versions", "mgmtListVersions", "List the datastore versions, inactive ones too"), s.mgmtVersions)
	on(t, get("datastore-versions/{version}", "mgmtShowVersion", "Show a datastore version"), s.mgmtVersion)
}

func (s *server) mgmtList(ctx context.Context, r *request, _ *none) (*MgmtInstancesBody, error) {
	body := &MgmtInstancesBody{Instances: []MgmtInstance{}}
	next, err := s.list(ctx, r, r.query.Get("project_id"), func(c catalogue, i model.Instance) {
		body.Instances = append(body.Instances, s.mgmtView(r, c, i))
	})
	body.Links, body.InstancesLinks = next, next
	return body, err
}

func (s *server) mgmtView(r *request, c catalogue, i model.Instance) MgmtInstance {
	v := MgmtInstance{InstanceDetail: s.detailView(r, c, i), ServiceStatus: string(i.OperatingStatus), TaskDescription: "No tasks for the instance."}
	if idle(&i) != nil {
		v.TaskDescription = fmt.Sprintf("%s: generation %d is asked for, %d is in effect.", i.Status, i.Generation, i.ObservedGeneration)
	}
	if i.HostID != "" {
		v.Server = &ServerView{ID: i.ID, Name: i.Name, Status: string(i.Status), TenantID: i.ProjectID, Host: i.HostID}
	}
	return v
}

func (s *server) mgmtShow(ctx context.Context, r *request, _ *none) (*MgmtInstanceBody, error) {
	var body *MgmtInstanceBody
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		c, err := catalogueFor(ctx, tx, i)
		v := MgmtInstanceDetail{
			MgmtInstance: s.mgmtView(r, c, i), RootEnabledBy: i.RootEnabledBy,
			Volume:      MgmtVolume{ID: i.ID, Size: i.VolumeGB, Total: float64(i.VolumeGB), Used: gigabytes(i.VolumeUsedBytes)},
			GuestStatus: &GuestStatus{StateDescription: string(i.OperatingStatus)},
		}
		if !i.RootEnabledAt.IsZero() {
			v.RootEnabled = &Time{i.RootEnabledAt}
		}
		body = &MgmtInstanceBody{Instance: v}
		return err
	})
	return body, err
}

func (s *server) mgmtAct(ctx context.Context, r *request, in *MgmtActionBody) (*none, error) {
	given := 0
	for _, action := range []*Empty{in.Reboot, in.Stop, in.Migrate, in.Rebuild, in.ResetStatus} {
		if action != nil {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, badRequest("Exactly one action must be given.")
	case in.Reboot != nil:
		return nil, s.restart(ctx, r)
	case in.ResetStatus != nil:
		return nil, s.resetStatus(ctx, r)
	}
	if _, err := s.instance(ctx, r); err != nil {
		return nil, err
	}
	return nil, notImplemented("Instances cannot be stopped, migrated or rebuilt yet.")
}

func (s *server) mgmtRoot(ctx context.Context, r *request, _ *none) (*RootHistoryBody, error) {
	i, err := s.instance(ctx, r)
	if err != nil {
		return nil, err
	}
	h := RootHistory{ID: i.ID, Enabled: "Never", User: "Nobody"}
	if !i.RootEnabledAt.IsZero() {
		h.Enabled, h.User = i.RootEnabledAt.UTC().Format(timeLayout), i.RootEnabledBy
	}
	return &RootHistoryBody{RootHistory: h}, nil
}

func (s *server) mgmtHwInfo(ctx context.Context, r *request, _ *none) (*HwInfoBody, error) {
	var body *HwInfoBody
	err := s.Store.View(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		f, err := findFlavor(ctx, tx, i.FlavorID)
		body = &HwInfoBody{HwInfo: HwInfo{MemTotal: f.RAMMB, NumCPUs: f.VCPUs}}
		return err
	})
	return body, err
}

func (s *server) mgmtPing(ctx context.Context, r *request, _ *none) (*none, error) {
	i, err := s.instance(ctx, r)
	if err != nil {
		return nil, err
	}
	_, err = s.Guests.Status(ctx, i.ID)
	return nil, guestFault(i.ID, err)
}

func (s *server) mgmtVersions(ctx context.Context, r *request, _ *none) (*MgmtVersionsBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	body := &MgmtVersionsBody{Versions: make([]MgmtVersion, 0, len(c.versions))}
	for i := range c.versions {
		body.Versions = append(body.Versions, c.mgmtView(c.versions[i]))
	}
	return body, nil
}

func (s *server) mgmtVersion(ctx context.Context, r *request, _ *none) (*MgmtVersionBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	v, err := c.version("", r.path["version"])
	if err != nil {
		return nil, err
	}
	return &MgmtVersionBody{Version: c.mgmtView(v)}, nil
}

func (c catalogue) mgmtView(v model.DatastoreVersion) MgmtVersion {
	view := MgmtVersion{
		ID: v.ID, Name: v.Name, Version: v.Name, DatastoreID: v.DatastoreID, DatastoreManager: v.Engine, Image: v.Image,
		ImageTags: []string{""}, Packages: []string{""}, Active: v.Active, // one empty entry where there are none, as Trove has it
	}
	for i := range c.datastores {
		if d := c.datastores[i]; d.ID == v.DatastoreID {
			view.DatastoreName, view.Default = d.Name, d.DefaultVersionID == v.ID
		}
	}
	return view
}
