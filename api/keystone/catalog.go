package keystone

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/huker/huker/internal/identity"
)

// Services of the catalogue.
const (
	TypeIdentity = "identity"
	TypeDatabase = "database"
)

type endpointEntry struct {
	ID        string `json:"id"`
	Interface string `json:"interface"`
	Region    string `json:"region"`
	RegionID  string `json:"region_id"`
	URL       string `json:"url"`
}

type serviceEntry struct {
	Type      string          `json:"type"`
	Name      string          `json:"name"`
	ID        string          `json:"id"`
	Endpoints []endpointEntry `json:"endpoints"`
}

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
		"catalog": h.catalog(r, c.ProjectID), "links": map[string]any{"self": self(r, "auth", "catalog")},
	})
}

// fixedRoutes are lists of what cannot be changed: one region, the catalogue's services and endpoints, no groups.
func (h *Handler) fixedRoutes() map[string]route {
	out := map[string]route{
		"GET /v3/users/{id}/groups": {accessSignedIn, func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
			return h.writeList(w, r, "groups", []any{}, "users", r.PathValue("id"), "groups")
		}},
	}
	lists := map[string]func(r *http.Request) []map[string]any{
		"services": h.serviceList, "endpoints": h.endpointList, "regions": h.regionList,
		"groups":   func(*http.Request) []map[string]any { return []map[string]any{} },
		"policies": func(*http.Request) []map[string]any { return []map[string]any{} },
	}
	for plural, list := range lists {
		singular := strings.TrimSuffix(plural, "s")
		if plural == "policies" {
			singular = "policy"
		}
		out["GET /v3/"+plural] = route{accessSignedIn, func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
			items := list(r)
			for _, key := range []string{"name", "type", "interface", "service_id", "region_id"} {
				if want := r.URL.Query().Get(key); want != "" {
					items = slices.DeleteFunc(items, func(i map[string]any) bool { return i[key] != want })
				}
			}
			return h.writeList(w, r, plural, items, plural)
		}}
		out["GET /v3/"+plural+"/{id}"] = route{accessSignedIn, func(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
			for _, item := range list(r) {
				if item["id"] == r.PathValue("id") {
					return writeJSON(w, http.StatusOK, map[string]any{singular: item})
				}
			}
			return notFound(singular, r.PathValue("id"))
		}}
		out["POST /v3/"+plural] = route{accessAdmin, func(http.ResponseWriter, *http.Request, identity.Caller) error {
			return httpError{http.StatusNotImplemented, "Huker's " + plural + " are fixed."}
		}}
	}
	return out
}

func (h *Handler) writeList(w http.ResponseWriter, r *http.Request, key string, items any, path ...string) error {
	return writeJSON(w, http.StatusOK, map[string]any{
		key: items, "links": map[string]any{"next": nil, "previous": nil, "self": self(r, path...)},
	})
}

func (h *Handler) serviceList(r *http.Request) []map[string]any {
	var out []map[string]any
	for _, s := range h.catalog(r, "") {
		out = append(out, map[string]any{
			"id": s.ID, "name": s.Name, "type": s.Type, "description": "", "enabled": true,
			"links": map[string]any{"self": self(r, "services", s.ID)},
		})
	}
	return out
}

func (h *Handler) endpointList(r *http.Request) []map[string]any {
	var out []map[string]any
	for _, s := range h.catalog(r, "") {
		for _, e := range s.Endpoints {
			out = append(out, map[string]any{
				"id": e.ID, "interface": e.Interface, "region": e.Region, "region_id": e.RegionID, "url": e.URL, "enabled": true,
				"service_id": s.ID, "links": map[string]any{"self": self(r, "endpoints", e.ID)},
			})
		}
	}
	return out
}

func (h *Handler) regionList(r *http.Request) []map[string]any {
	return []map[string]any{{
		"id": h.region, "description": "", "parent_region_id": nil, "links": map[string]any{"self": self(r, "regions", h.region)},
	}}
}
