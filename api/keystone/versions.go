package keystone

import (
	"net/http"
	"strings"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// versionView describes v3. The number is that of Keystone 22, whose calls are served here as far as they are.
func versionView(href string) map[string]any {
	return map[string]any{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []map[string]any{{"rel": "self", "href": href}},
		"media-types": []map[string]any{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

func (h *Handler) version(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	return writeJSON(w, http.StatusOK, map[string]any{"version": versionView(self(r) + "/")})
}

// versions answers 300, as Keystone does; clients look for a version in it.
func (h *Handler) versions(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	href := strings.TrimSuffix(self(r), PrefixV3) + PrefixV3 + "/"
	return writeJSON(w, http.StatusMultipleChoices, map[string]any{"versions": map[string]any{"values": []any{versionView(href)}}})
}

func (h *Handler) domainBody(r *http.Request) map[string]any {
	return map[string]any{
		"id": model.DefaultDomainID, "name": model.DefaultDomainName, "description": "The only domain", "enabled": true,
		"tags": []string{}, "options": map[string]any{}, "links": map[string]any{"self": self(r, "domains", model.DefaultDomainID)},
	}
}

func (h *Handler) listDomains(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	items := []any{}
	q := r.URL.Query()
	if name := q.Get("name"); (name == "" || strings.EqualFold(name, model.DefaultDomainName)) && enabledMatches(q, true) {
		items = append(items, h.domainBody(r))
	}
	return h.writeList(w, r, "domains", items, "domains")
}

func (h *Handler) showDomain(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	if id := r.PathValue("id"); id != model.DefaultDomainID {
		return notFound("domain", id)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"domain": h.domainBody(r)})
}
