package keystone

import (
	"net/http"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

func (h *Handler) userRoutes() map[string]route {
	return map[string]route{
		"GET /v3/users": {accessAdmin, h.listUsers, call{id: "listAccounts", summary: "List users", status: http.StatusOK,
			out: many[userView]("users"), query: []string{"name", "enabled", "domain_id"}}},
		"POST /v3/users": {accessAdmin, h.createUser, call{id: "createAccount", summary: "Create a user", status: http.StatusCreated,
			in: taken[userBody]("user", "name"), out: one[userView]("user"), errs: []int{http.StatusNotFound, http.StatusConflict}}},
		"GET /v3/users/{id}": {accessSignedIn, h.showUser, call{id: "showAccount", summary: "Show a user", status: http.StatusOK, out: one[userView]("user")}},
		"PATCH /v3/users/{id}": {accessAdmin, h.updateUser, call{id: "updateAccount", summary: "Change a user", status: http.StatusOK,
			in: taken[userBody]("user"), out: one[userView]("user"), errs: []int{http.StatusConflict}}},
		"DELETE /v3/users/{id}": {accessAdmin, h.deleteUser, call{id: "deleteAccount", summary: "Delete a user", status: http.StatusNoContent}},
		"POST /v3/users/{id}/password": {accessSignedIn, h.changePassword, call{id: "changePassword", summary: "Change one's password",
			status: http.StatusNoContent, in: taken[passwordBody]("user", "original_password", "password")}},
		"GET /v3/users/{id}/projects": {accessSignedIn, h.userProjects, call{id: "listAccountProjects", summary: "List a user's projects",
			status: http.StatusOK, out: many[projectView]("projects"), query: projectFilters()}},
	}
}

type userBody struct {
	Name             field[string] `json:"name"`
	Password         field[string] `json:"password"`
	Email            field[string] `json:"email"`
	Description      field[string] `json:"description"`
	Enabled          field[bool]   `json:"enabled"`
	DomainID         field[string] `json:"domain_id"`
	DefaultProjectID field[string] `json:"default_project_id"`
}

func (b userBody) change() (identity.AccountChange, error) {
	if err := checkDomain(b.DomainID); err != nil {
		return identity.AccountChange{}, err
	}
	if b.Enabled.null {
		return identity.AccountChange{}, badRequest("Invalid input for field 'enabled': None is not of type 'boolean'.")
	}
	c := identity.AccountChange{
		Name: b.Name.ptr(), Email: b.Email.ptr(), Description: b.Description.ptr(), Enabled: b.Enabled.ptr(),
		DefaultProjectID: b.DefaultProjectID.ptr(),
	}
	if !b.Password.null { // clients send null for "none given"
		c.Password = b.Password.ptr()
	}
	return c, nil
}

func viewUser(r *http.Request, a model.Account) userView {
	return userView{
		ID: a.ID, Name: a.Name, Enabled: a.Enabled, DomainID: model.DefaultDomainID, Links: selfLink{self(r, "users", a.ID)},
		Email: a.Email, Description: a.Description, DefaultProjectID: a.DefaultProjectID,
	}
}

func (h *Handler) listUsers(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	all, err := h.service.Accounts(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	items := []userView{}
	for _, a := range all {
		if nameMatches(q, a.Name) && domainMatches(q) && enabledMatches(q, a.Enabled) {
			items = append(items, viewUser(r, a))
		}
	}
	return h.writeList(w, r, "users", items, "users")
}

func (h *Handler) createUser(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	body, err := decode[userBody](r, "user")
	if err != nil {
		return err
	}
	change, err := body.change()
	if err != nil {
		return err
	}
	a, err := h.service.CreateAccount(r.Context(), change)
	if err != nil {
		return naming(err, "user", body.Name.value)
	}
	return writeJSON(w, http.StatusCreated, map[string]any{"user": viewUser(r, a)})
}

// own refuses callers who ask about another account and are no administrators.
func own(r *http.Request, c identity.Caller, action string) (string, error) {
	id := r.PathValue("id")
	if id != c.AccountID && !c.Admin() {
		return "", forbidden("You are not authorized to perform the requested action: identity:" + action + ".")
	}
	return id, nil
}

func (h *Handler) showUser(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	id, err := own(r, c, "get_user")
	if err != nil {
		return err
	}
	a, err := h.service.Account(r.Context(), id)
	if err != nil {
		return naming(err, "user", id)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"user": viewUser(r, a)})
}

func (h *Handler) updateUser(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	body, err := decode[userBody](r, "user")
	if err != nil {
		return err
	}
	change, err := body.change()
	if err != nil {
		return err
	}
	a, err := h.service.UpdateAccount(r.Context(), id, change)
	if err != nil {
		return namingChange(err, "user", id, body.Name.value)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"user": viewUser(r, a)})
}

func (h *Handler) deleteUser(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	id := r.PathValue("id")
	if err := h.service.DeleteAccount(r.Context(), id); err != nil {
		return naming(err, "user", id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type passwordBody struct {
	Password         *string `json:"password"`
	OriginalPassword *string `json:"original_password"`
}

func (h *Handler) changePassword(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	id, err := own(r, c, "change_password")
	if err != nil {
		return err
	}
	body, err := decode[passwordBody](r, "user")
	if err != nil {
		return err
	}
	if body.Password == nil || body.OriginalPassword == nil {
		return badRequest("Expecting to find password and original_password in user.")
	}
	err = h.service.ChangePassword(r.Context(), id, *body.OriginalPassword, *body.Password, identity.ClientAddress(r))
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) userProjects(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	id, err := own(r, c, "list_user_projects")
	if err != nil {
		return err
	}
	if _, err := h.service.Account(r.Context(), id); err != nil {
		return naming(err, "user", id)
	}
	projects, err := h.service.ProjectsOf(r.Context(), id)
	if err != nil {
		return err
	}
	return h.writeProjects(w, r, projects, "users", id, "projects")
}
