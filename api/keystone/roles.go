package keystone

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

func (h *Handler) roleRoutes() map[string]route {
	const grant = " /v3/projects/{project}/users/{user}/roles/{role}"
	return map[string]route{
		"GET /v3/roles": {accessAdmin, h.listRoles, call{id: "listRoles", summary: "List roles", status: http.StatusOK,
			out: many[roleView]("roles"), query: []string{"name", "domain_id"}}},
		"POST /v3/roles": {accessAdmin, h.createRole, call{id: "createRole", summary: "Create a role", status: http.StatusCreated,
			in: taken[roleBody]("role", "name"), out: one[roleView]("role"), errs: []int{http.StatusConflict}}},
		"GET /v3/roles/{id}": {accessAdmin, h.showRole, call{id: "showRole", summary: "Show a role", status: http.StatusOK, out: one[roleView]("role")}},
		"PATCH /v3/roles/{id}": {accessAdmin, h.updateRole, call{id: "updateRole", summary: "Rename a role", status: http.StatusOK,
			in: taken[roleBody]("role"), out: one[roleView]("role"), errs: []int{http.StatusConflict}}},
		"DELETE /v3/roles/{id}": {accessAdmin, h.deleteRole, call{id: "deleteRole", summary: "Delete a role", status: http.StatusNoContent,
			errs: []int{http.StatusConflict}}},

		"GET /v3/role_assignments": {accessSignedIn, h.listAssignments, call{id: "listRoleAssignments", summary: "List who has which role where",
			status: http.StatusOK, out: many[assignmentView]("role_assignments"), query: []string{"user.id", "group.id", "role.id", "scope.project.id",
				"scope.domain.id", "scope.system", "scope.OS-INHERIT:inherited_to", "include_names", "effective"}}},

		"GET /v3/projects/{project}/users/{user}/roles": {accessAdmin, h.listGrants, call{id: "listProjectRoles", summary: "List a user's roles on a project",
			status: http.StatusOK, out: many[roleView]("roles")}},
		"PUT" + grant: {accessAdmin, h.grant, call{id: "giveRole", summary: "Give a user a role on a project", status: http.StatusNoContent}},
		"GET" + grant: {accessAdmin, h.checkGrant, call{id: "checkRole", summary: "Ask whether a user has a role on a project", status: http.StatusNoContent}},
		"DELETE" + grant: {accessAdmin, h.revokeGrant, call{id: "takeRole", summary: "Take a user's role on a project away",
			status: http.StatusNoContent}},

		"GET /v3/domains/{domain}/users/{user}/roles": {accessAdmin, h.noDomainRoles, call{id: "listDomainRoles",
			summary: "List a user's roles on a domain: there are none", status: http.StatusOK, out: none("roles")}},
		"PUT /v3/domains/{domain}/users/{user}/roles/{role}": {accessAdmin, h.projectsOnly, call{id: "giveDomainRole",
			summary: "Not possible: roles are given on projects", errs: []int{http.StatusNotImplemented}}},
		"GET /v3/system/users/{user}/roles": {accessAdmin, h.noDomainRoles, call{id: "listSystemRoles",
			summary: "List a user's roles on the system: there are none", status: http.StatusOK, out: none("roles")}},
		"PUT /v3/system/users/{user}/roles/{role}": {accessAdmin, h.projectsOnly, call{id: "giveSystemRole",
			summary: "Not possible: roles are given on projects", errs: []int{http.StatusNotImplemented}}},
	}
}

func viewRole(r *http.Request, role model.Role) roleView {
	return roleView{ID: role.ID, Name: role.Name, Links: selfLink{self(r, "roles", role.ID)}}
}

func (h *Handler) listRoles(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	all, err := h.service.Roles(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	items := []roleView{}
	for _, role := range all {
		if nameMatches(q, role.Name) && q.Get("domain_id") == "" { // roles belong to no domain
			items = append(items, viewRole(r, role))
		}
	}
	return h.writeList(w, r, "roles", items, "roles")
}

type roleBody struct {
	Name     field[string] `json:"name"`
	DomainID field[string] `json:"domain_id"`
}

func (h *Handler) createRole(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	body, err := decode[roleBody](r, "role")
	if err != nil {
		return err
	}
	if body.DomainID.present && !body.DomainID.null {
		return badRequest("Roles of a domain are not supported.")
	}
	role, err := h.service.CreateRole(r.Context(), body.Name.value)
	if err != nil {
		return naming(err, "role", body.Name.value)
	}
	return writeJSON(w, http.StatusCreated, map[string]any{"role": viewRole(r, role)})
}

func (h *Handler) showRole(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	role, err := h.service.Role(r.Context(), id)
	if err != nil {
		return naming(err, "role", id)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"role": viewRole(r, role)})
}

func (h *Handler) updateRole(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	body, err := decode[roleBody](r, "role")
	if err != nil {
		return err
	}
	var role model.Role
	if body.Name.present {
		role, err = h.service.RenameRole(r.Context(), id, body.Name.value)
	} else {
		role, err = h.service.Role(r.Context(), id)
	}
	if err != nil {
		return namingChange(err, "role", id, body.Name.value)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"role": viewRole(r, role)})
}

func (h *Handler) deleteRole(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	if err := h.service.DeleteRole(r.Context(), id); err != nil {
		return naming(err, "role", id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func grantOf(r *http.Request) model.Assignment {
	return model.Assignment{ProjectID: r.PathValue("project"), AccountID: r.PathValue("user"), RoleID: r.PathValue("role")}
}

func (h *Handler) grant(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	if err := h.service.Assign(r.Context(), grantOf(r)); err != nil {
		return h.namingGrant(r, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) checkGrant(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	found, err := h.service.Assignments(r.Context(), grantOf(r))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return notFound("role assignment with role", r.PathValue("role"))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) revokeGrant(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	if err := h.service.Unassign(r.Context(), grantOf(r)); err != nil {
		return h.namingGrant(r, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// namingGrant says which of the three does not exist.
func (h *Handler) namingGrant(r *http.Request, err error) error {
	if !errors.Is(err, identity.ErrNotFound) {
		return err
	}
	ctx, a := r.Context(), grantOf(r)
	if _, e := h.service.Project(ctx, a.ProjectID); errors.Is(e, identity.ErrNotFound) {
		return notFound("project", a.ProjectID)
	}
	if _, e := h.service.Account(ctx, a.AccountID); errors.Is(e, identity.ErrNotFound) {
		return notFound("user", a.AccountID)
	}
	if _, e := h.service.Role(ctx, a.RoleID); errors.Is(e, identity.ErrNotFound) {
		return notFound("role", a.RoleID)
	}
	return notFound("role assignment with role", a.RoleID)
}

func (h *Handler) listGrants(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	a := grantOf(r)
	found, err := h.service.Assignments(r.Context(), a)
	if err != nil {
		return err
	}
	if len(found) == 0 { // then a wrong id is the likelier reason
		if _, err := h.service.Project(r.Context(), a.ProjectID); err != nil {
			return naming(err, "project", a.ProjectID)
		}
		if _, err := h.service.Account(r.Context(), a.AccountID); err != nil {
			return naming(err, "user", a.AccountID)
		}
	}
	items := []roleView{}
	for _, f := range found {
		role, err := h.service.Role(r.Context(), f.RoleID)
		if err != nil {
			return err
		}
		items = append(items, viewRole(r, role))
	}
	return h.writeList(w, r, "roles", items, "projects", a.ProjectID, "users", a.AccountID, "roles")
}

func (h *Handler) noDomainRoles(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	return h.writeList(w, r, "roles", []any{}, "roles")
}

func (h *Handler) projectsOnly(http.ResponseWriter, *http.Request, identity.Caller) error {
	return httpError{http.StatusNotImplemented, "Roles can be given on projects only."}
}

// flag reads a query's switch: "?effective" and "?effective=1" are on, "?effective=0" and "=false" off.
func flag(q url.Values, key string) bool {
	return q.Has(key) && q.Get(key) != "0" && q.Get(key) != "false" && q.Get(key) != "False"
}

func (h *Handler) listAssignments(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	q := r.URL.Query()
	if !c.Admin() && q.Get("user.id") != c.AccountID {
		return forbidden("You are not authorized to perform the requested action: identity:list_role_assignments.")
	}
	items := []assignmentView{}
	// Groups, domains and the system have no roles here.
	if q.Get("group.id") == "" && q.Get("scope.domain.id") == "" && q.Get("scope.system") == "" && q.Get("scope.OS-INHERIT:inherited_to") == "" {
		found, err := h.service.Assignments(r.Context(), model.Assignment{
			AccountID: q.Get("user.id"), ProjectID: q.Get("scope.project.id"), RoleID: q.Get("role.id"),
		})
		if err != nil {
			return err
		}
		names := names{}
		if flag(q, "include_names") {
			if names, err = h.names(r); err != nil {
				return err
			}
		}
		for _, a := range found {
			items = append(items, names.view(r, a))
		}
	}
	return h.writeList(w, r, "role_assignments", items, "role_assignments")
}

// names are by id; without them, views have ids only.
type names struct{ users, projects, roles map[string]string }

func (h *Handler) names(r *http.Request) (names, error) {
	n := names{users: map[string]string{}, projects: map[string]string{}, roles: map[string]string{}}
	users, err1 := h.service.Accounts(r.Context())
	projects, err2 := h.service.Projects(r.Context())
	roles, err3 := h.service.Roles(r.Context())
	for _, v := range users {
		n.users[v.ID] = v.Name
	}
	for _, v := range projects {
		n.projects[v.ID] = v.Name
	}
	for _, v := range roles {
		n.roles[v.ID] = v.Name
	}
	return n, errors.Join(err1, err2, err3)
}

func (n names) view(r *http.Request, a model.Assignment) assignmentView {
	user, project, role := ref{ID: a.AccountID}, ref{ID: a.ProjectID}, ref{ID: a.RoleID}
	if n.users != nil {
		user.Name, user.Domain = n.users[a.AccountID], theDomain()
		project.Name, project.Domain = n.projects[a.ProjectID], theDomain()
		role.Name = n.roles[a.RoleID]
	}
	v := assignmentView{User: user, Role: role}
	v.Scope.Project = project
	v.Links.Assignment = self(r, "projects", a.ProjectID, "users", a.AccountID, "roles", a.RoleID)
	return v
}
