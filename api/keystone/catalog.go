package keystone

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/identity"
)

// Services of the catalogue.
const (
	TypeIdentity = "identity"
	TypeDatabase = "database"
)

// fixedID makes ids of things that are not stored: the same in every process and after every start.
func fixedID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// projectVariable stands for the project in an endpoint's template.
const projectVariable = "$(project_id)s"

// catalog lists what is served, where the client reaches it. An empty project leaves the template.
func (h *Handler) catalog(r *http.Request, project string) []serviceEntry {
	if project == "" {
		project = projectVariable
	}
	base := h.base(r)
	services := []struct{ kind, name, url string }{
		{TypeIdentity, "huker-identity", base + PrefixIdentity + PrefixV3},
		{TypeDatabase, "huker", base + "/v1.0/" + project},
	}
	out := make([]serviceEntry, 0, len(services))
	for _, s := range services {
		entry := serviceEntry{Type: s.kind, Name: s.name, ID: fixedID("service", s.kind)}
		for _, iface := range []string{"public", "internal", "admin"} {
			entry.Endpoints = append(entry.Endpoints, endpointEntry{
				ID: fixedID("endpoint", s.kind, iface, h.region), Interface: iface, Region: h.region, RegionID: h.region, URL: s.url,
			})
		}
		out = append(out, entry)
	}
	return out
}

func (h *Handler) showCatalog(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	if c.ProjectID == "" {
		return forbidden("An unscoped token has no catalog.")
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"catalog": h.catalog(r, c.ProjectID), "links": selfLink{self(r, "auth", "catalog")},
	})
}

// catalogContent is the catalogue's body.
func catalogContent(r huma.Registry) *huma.Schema {
	return object(map[string]*huma.Schema{"catalog": {Type: huma.TypeArray, Items: schemaOf[serviceEntry](r)}, "links": schemaOf[selfLink](r)})
}

// fixedItem is one of a list that cannot be changed.
type fixedItem struct {
	id   string
	keys map[string]string // what it can be filtered by
	view any
}

// fixedList is a list that cannot be changed.
type fixedList struct {
	plural, singular string
	name             string // of operations: "Service"
	all              func(r *http.Request) []fixedItem
	many, one        content // one is nil when there is none of it
	filters          []string
}

func (h *Handler) fixedLists() []fixedList {
	nothing := func(*http.Request) []fixedItem { return nil }
	return []fixedList{
		{"services", "service", "Service", h.serviceList, many[serviceView]("services"), one[serviceView]("service"), []string{"name", "type"}},
		{"endpoints", "endpoint", "Endpoint", h.endpointList, many[endpointView]("endpoints"), one[endpointView]("endpoint"),
			[]string{"interface", "service_id", "region_id"}},
		{"regions", "region", "Region", h.regionList, many[regionView]("regions"), one[regionView]("region"), nil},
		{"groups", "group", "Group", nothing, none("groups"), nil, nil},
		{"policies", "policy", "Policy", nothing, none("policies"), nil, nil},
	}
}

// fixedRoutes are lists of what cannot be changed: one region, the catalogue's services and endpoints, no groups.
func (h *Handler) fixedRoutes() map[string]route {
	out := map[string]route{
		"GET /v3/users/{id}/groups": {accessSignedIn, func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
			return h.writeList(w, r, "groups", []any{}, "users", r.PathValue("id"), "groups")
		}, call{id: "listAccountGroups", summary: "List a user's groups: there are none", status: http.StatusOK, out: none("groups")}},
	}
	for _, list := range h.fixedLists() {
		show := call{id: "show" + list.name, summary: "Show a " + list.singular, out: list.one}
		if list.one != nil {
			show.status = http.StatusOK
		}
		out["GET /v3/"+list.plural] = route{accessSignedIn, h.listFixed(list), call{id: "listFixed" + list.name, summary: "List " + list.plural,
			status: http.StatusOK, out: list.many, query: list.filters}}
		out["GET /v3/"+list.plural+"/{id}"] = route{accessSignedIn, h.showFixed(list), show}
		out["POST /v3/"+list.plural] = route{accessAdmin, func(http.ResponseWriter, *http.Request, identity.Caller) error {
			return httpError{http.StatusNotImplemented, "Huker's " + list.plural + " are fixed."}
		}, call{id: "create" + list.name, summary: "Not possible: Huker's " + list.plural + " are fixed", errs: []int{http.StatusNotImplemented}}}
	}
	return out
}

func (h *Handler) listFixed(list fixedList) func(http.ResponseWriter, *http.Request, identity.Caller) error {
	return func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
		views := []any{}
		for _, item := range list.all(r) {
			unwanted := func(key string) bool {
				want := r.URL.Query().Get(key)
				return want != "" && item.keys[key] != want
			}
			if !slices.ContainsFunc(list.filters, unwanted) {
				views = append(views, item.view)
			}
		}
		return h.writeList(w, r, list.plural, views, list.plural)
	}
}

func (h *Handler) showFixed(list fixedList) func(http.ResponseWriter, *http.Request, identity.Caller) error {
	return func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
		for _, item := range list.all(r) {
			if item.id == r.PathValue("id") {
				return writeJSON(w, http.StatusOK, map[string]any{list.singular: item.view})
			}
		}
		return notFound(list.singular, r.PathValue("id"))
	}
}

func (h *Handler) writeList(w http.ResponseWriter, r *http.Request, key string, items any, path ...string) error {
	return writeJSON(w, http.StatusOK, map[string]any{
		key: items, "links": listLinks{Self: self(r, path...)},
	})
}

func (h *Handler) serviceList(r *http.Request) []fixedItem {
	var out []fixedItem
	for _, s := range h.catalog(r, "") {
		out = append(out, fixedItem{s.ID, map[string]string{"name": s.Name, "type": s.Type}, serviceView{
			ID: s.ID, Name: s.Name, Type: s.Type, Enabled: true, Links: selfLink{self(r, "services", s.ID)},
		}})
	}
	return out
}

func (h *Handler) endpointList(r *http.Request) []fixedItem {
	var out []fixedItem
	for _, s := range h.catalog(r, "") {
		for _, e := range s.Endpoints {
			out = append(out, fixedItem{e.ID, map[string]string{"interface": e.Interface, "service_id": s.ID, "region_id": e.RegionID}, endpointView{
				ID: e.ID, Interface: e.Interface, Region: e.Region, RegionID: e.RegionID, URL: e.URL, Enabled: true, ServiceID: s.ID,
				Links: selfLink{self(r, "endpoints", e.ID)},
			}})
		}
	}
	return out
}

func (h *Handler) regionList(r *http.Request) []fixedItem {
	return []fixedItem{{h.region, nil, regionView{ID: h.region, Links: selfLink{self(r, "regions", h.region)}}}}
}
