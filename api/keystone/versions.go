package keystone

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// viewVersion describes v3. The number is that of Keystone 22, whose calls are served here as far as they are.
func viewVersion(href string) versionView {
	return versionView{
		ID: "v3.14", Status: "stable", Updated: "2020-04-07T00:00:00Z", Links: []versionLink{{Rel: "self", Href: href}},
		MediaTypes: []mediaType{{Base: "application/json", Type: "application/vnd.openstack.identity-v3+json"}},
	}
}

// versionsContent is the list's body.
func versionsContent(r huma.Registry) *huma.Schema {
	values := object(map[string]*huma.Schema{"values": {Type: huma.TypeArray, Items: schemaOf[versionView](r)}})
	return object(map[string]*huma.Schema{"versions": values})
}

func (h *Handler) version(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	return writeJSON(w, http.StatusOK, map[string]any{"version": viewVersion(self(r) + "/")})
}

// versions answers 300, as Keystone does; clients look for a version in it.
func (h *Handler) versions(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	href := strings.TrimSuffix(self(r), PrefixV3) + PrefixV3 + "/"
	return writeJSON(w, http.StatusMultipleChoices, map[string]any{"versions": map[string]any{"values": []versionView{viewVersion(href)}}})
}

func (h *Handler) domainBody(r *http.Request) domainView {
	return domainView{
		ID: model.DefaultDomainID, Name: model.DefaultDomainName, Description: "The only domain", Enabled: true,
		Tags: []string{}, Links: selfLink{self(r, "domains", model.DefaultDomainID)},
	}
}

func (h *Handler) listDomains(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	items := []domainView{}
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
