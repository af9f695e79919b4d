package keystone

import (
	"net/http"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

func (h *Handler) projectRoutes() map[string]route {
	return map[string]route{
		"GET /v3/projects": {accessAdmin, h.listProjects, call{id: "listProjects", summary: "List projects", status: http.StatusOK,
			out: many[projectView]("projects"), query: append(projectFilters(), "is_domain")}},
		"POST /v3/projects": {accessAdmin, h.createProject, call{id: "createProject", summary: "Create a project", status: http.StatusCreated,
			in: taken[projectBody]("project", "name"), out: one[projectView]("project"), errs: []int{http.StatusNotFound, http.StatusConflict}}},
		"GET /v3/projects/{id}": {accessSignedIn, h.showProject, call{id: "showProject", summary: "Show a project", status: http.StatusOK,
			out: one[projectView]("project")}},
		"PATCH /v3/projects/{id}": {accessAdmin, h.updateProject, call{id: "updateProject", summary: "Change a project", status: http.StatusOK,
			in: taken[projectBody]("project"), out: one[projectView]("project"), errs: []int{http.StatusConflict}}},
		"DELETE /v3/projects/{id}": {accessAdmin, h.deleteProject, call{id: "deleteProject", summary: "Delete a project",
			status: http.StatusNoContent, errs: []int{http.StatusConflict}}},
	}
}

// projectFilters are the query's parameters that lists of projects know.
func projectFilters() []string { return []string{"name", "enabled", "domain_id", "parent_id"} }

type projectBody struct {
	Name        field[string] `json:"name"`
	Description field[string] `json:"description"`
	Enabled     field[bool]   `json:"enabled"`
	DomainID    field[string] `json:"domain_id"`
	ParentID    field[string] `json:"parent_id"`
	IsDomain    field[bool]   `json:"is_domain"`
}

func (b projectBody) change() (identity.ProjectChange, error) {
	if b.IsDomain.value {
		return identity.ProjectChange{}, badRequest("There is one domain, and no other can be made.")
	}
	if err := checkDomain(b.DomainID); err != nil {
		return identity.ProjectChange{}, err
	}
	if b.ParentID.present && !b.ParentID.null && b.ParentID.value != model.DefaultDomainID {
		return identity.ProjectChange{}, badRequest("Projects cannot be nested.")
	}
	if b.Enabled.null {
		return identity.ProjectChange{}, badRequest("Invalid input for field 'enabled': None is not of type 'boolean'.")
	}
	return identity.ProjectChange{Name: b.Name.ptr(), Description: b.Description.ptr(), Enabled: b.Enabled.ptr()}, nil
}

func viewProject(r *http.Request, p model.Project) projectView {
	return projectView{
		ID: p.ID, Name: p.Name, Description: p.Description, Enabled: p.Enabled, DomainID: model.DefaultDomainID, ParentID: model.DefaultDomainID,
		Tags: []string{}, Links: selfLink{self(r, "projects", p.ID)},
	}
}

func (h *Handler) writeProjects(w http.ResponseWriter, r *http.Request, all []model.Project, path ...string) error {
	q := r.URL.Query()
	items := []projectView{}
	for _, p := range all {
		parent := q.Get("parent_id")
		if nameMatches(q, p.Name) && domainMatches(q) && enabledMatches(q, p.Enabled) && (parent == "" || parent == model.DefaultDomainID) {
			items = append(items, viewProject(r, p))
		}
	}
	return h.writeList(w, r, "projects", items, path...)
}

func (h *Handler) listProjects(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	all, err := h.service.Projects(r.Context())
	if err != nil {
		return err
	}
	if v := r.URL.Query().Get("is_domain"); v != "" && v != "0" && v != "false" && v != "False" {
		all = nil
	}
	return h.writeProjects(w, r, all, "projects")
}

func (h *Handler) myProjects(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	mine, err := h.service.ProjectsOf(r.Context(), c.AccountID)
	if err != nil {
		return err
	}
	return h.writeProjects(w, r, mine, "auth", "projects")
}

func (h *Handler) createProject(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	body, err := decode[projectBody](r, "project")
	if err != nil {
		return err
	}
	change, err := body.change()
	if err != nil {
		return err
	}
	p, err := h.service.CreateProject(r.Context(), change)
	if err != nil {
		return naming(err, "project", body.Name.value)
	}
	return writeJSON(w, http.StatusCreated, map[string]any{"project": viewProject(r, p)})
}

// showProject is for administrators, and for those who have a role on the project. Others cannot tell whether it exists.
func (h *Handler) showProject(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	id := r.PathValue("id")
	if !c.Admin() {
		mine, err := h.service.ProjectsOf(r.Context(), c.AccountID)
		if err != nil {
			return err
		}
		for _, p := range mine {
			if p.ID == id {
				return writeJSON(w, http.StatusOK, map[string]any{"project": viewProject(r, p)})
			}
		}
		return forbidden("You are not authorized to perform the requested action: identity:get_project.")
	}
	p, err := h.service.Project(r.Context(), id)
	if err != nil {
		return naming(err, "project", id)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"project": viewProject(r, p)})
}

func (h *Handler) updateProject(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	body, err := decode[projectBody](r, "project")
	if err != nil {
		return err
	}
	change, err := body.change()
	if err != nil {
		return err
	}
	p, err := h.service.UpdateProject(r.Context(), id, change)
	if err != nil {
		return namingChange(err, "project", id, body.Name.value)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"project": viewProject(r, p)})
}

func (h *Handler) deleteProject(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	if err := h.service.DeleteProject(r.Context(), id); err != nil {
		return naming(err, "project", id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
