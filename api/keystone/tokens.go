package keystone

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// subjectHeader carries the token that a request is about, and a new one in the answer.
const subjectHeader = "X-Subject-Token"

// timeForm is how Keystone writes a token's times.
const timeForm = "2006-01-02T15:04:05.000000Z"

type givenDomain struct {
	ID   *string `json:"id"`
	Name *string `json:"name"`
}

// known reports whether a domain is the one there is. None at all is taken for it: users of a service with one
// domain should not have to name it.
func (d *givenDomain) known() bool {
	if d == nil {
		return true
	}
	return (d.ID == nil || *d.ID == model.DefaultDomainID) && (d.Name == nil || strings.EqualFold(*d.Name, model.DefaultDomainName))
}

type authBody struct {
	Identity *struct {
		Methods  []string `json:"methods"`
		Password *struct {
			User *struct {
				ID       string       `json:"id"`
				Name     string       `json:"name"`
				Domain   *givenDomain `json:"domain"`
				Password *string      `json:"password"`
			} `json:"user"`
		} `json:"password"`
		Token *struct {
			ID string `json:"id"`
		} `json:"token"`
	} `json:"identity"`
	Scope json.RawMessage `json:"scope"`
}

type scopeBody struct {
	Project *struct {
		ID     string       `json:"id"`
		Name   string       `json:"name"`
		Domain *givenDomain `json:"domain"`
	} `json:"project"`
	Unscoped json.RawMessage `json:"unscoped"`
	Domain   json.RawMessage `json:"domain"`
	System   json.RawMessage `json:"system"`
	Trust    json.RawMessage `json:"OS-TRUST:trust"`
}

func unauthorized(message string) error { return httpError{http.StatusUnauthorized, message} }

// signInOf turns a body into a request for a token.
func signInOf(b authBody) (identity.SignIn, error) {
	var out identity.SignIn
	if b.Identity == nil {
		return out, badRequest("Expecting to find identity in auth.")
	}
	if len(b.Identity.Methods) == 0 {
		return out, badRequest("Expecting to find methods in identity.")
	}
	for _, method := range b.Identity.Methods {
		var err error
		switch method {
		case identity.MethodPassword:
			out.Password, err = passwordOf(b)
		case identity.MethodToken:
			if b.Identity.Token == nil || b.Identity.Token.ID == "" {
				err = badRequest("Expecting to find id in token.")
			} else {
				out.Token = b.Identity.Token.ID
			}
		default:
			err = unauthorized("Attempted to authenticate with an unsupported method.")
		}
		if err != nil {
			return identity.SignIn{}, err
		}
	}
	var err error
	out.Scope, err = scopeOf(b.Scope)
	return out, err
}

func passwordOf(b authBody) (*identity.PasswordProof, error) {
	p := b.Identity.Password
	if p == nil || p.User == nil {
		return nil, badRequest("Expecting to find user in password.")
	}
	u := p.User
	if u.ID == "" && u.Name == "" {
		return nil, badRequest("Expecting to find id or name in user.")
	}
	if u.Password == nil {
		return nil, badRequest("Expecting to find password in user.")
	}
	if u.ID != "" {
		return &identity.PasswordProof{AccountID: u.ID, Password: *u.Password}, nil
	}
	if !u.Domain.known() {
		return nil, unauthorized(messageUnauthorized)
	}
	return &identity.PasswordProof{AccountName: u.Name, Password: *u.Password}, nil
}

func scopeOf(raw json.RawMessage) (identity.Scope, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return identity.Scope{}, nil
	}
	if raw[0] == '"' {
		var word string
		if err := json.Unmarshal(raw, &word); err != nil || word != "unscoped" {
			return identity.Scope{}, badRequest("Invalid scope.")
		}
		return identity.Scope{Unscoped: true}, nil
	}
	var s scopeBody
	if err := unmarshal(raw, &s); err != nil {
		return identity.Scope{}, err
	}
	switch {
	case s.Domain != nil || s.System != nil || s.Trust != nil:
		return identity.Scope{}, unauthorized("Tokens can be scoped to a project only.")
	case s.Project != nil && s.Unscoped != nil:
		return identity.Scope{}, badRequest("A token cannot be scoped and unscoped.")
	case s.Unscoped != nil:
		return identity.Scope{Unscoped: true}, nil
	case s.Project == nil:
		return identity.Scope{}, badRequest("Expecting to find project in scope.")
	case s.Project.ID != "":
		return identity.Scope{ProjectID: s.Project.ID}, nil
	case s.Project.Name == "":
		return identity.Scope{}, badRequest("Expecting to find id or name in project.")
	case !s.Project.Domain.known():
		return identity.Scope{}, unauthorized(messageUnauthorized)
	}
	return identity.Scope{ProjectName: s.Project.Name}, nil
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request, _ identity.Caller) error {
	body, err := decode[authBody](r, "auth")
	if err != nil {
		return err
	}
	in, err := signInOf(body)
	if err != nil {
		return err
	}
	in.Address = identity.ClientAddress(r)
	token, session, err := h.service.SignIn(r.Context(), in)
	if err != nil {
		return err
	}
	w.Header().Set(subjectHeader, token)
	return h.writeToken(w, r, http.StatusCreated, session)
}

// subject gives the session that X-Subject-Token stands for, if the caller may see it: its own account's, or any for
// an administrator.
func (h *Handler) subject(r *http.Request, c identity.Caller) (string, identity.Session, error) {
	token := r.Header.Get(subjectHeader)
	if token == "" {
		return "", identity.Session{}, badRequest("The header %s is missing.", subjectHeader)
	}
	session, err := h.service.Validate(r.Context(), token)
	switch {
	case errors.Is(err, identity.ErrUnauthorized):
		return "", identity.Session{}, httpError{http.StatusNotFound, "Could not find token."}
	case err != nil:
		return "", identity.Session{}, err
	case session.Account.ID != c.AccountID && !c.Admin():
		return "", identity.Session{}, forbidden("You are not authorized to perform the requested action: identity:validate_token.")
	}
	return token, session, nil
}

func (h *Handler) showToken(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	token, session, err := h.subject(r, c)
	if err != nil {
		return err
	}
	w.Header().Set(subjectHeader, token)
	return h.writeToken(w, r, http.StatusOK, session)
}

func (h *Handler) revokeToken(w http.ResponseWriter, r *http.Request, c identity.Caller) error {
	token, _, err := h.subject(r, c)
	if err != nil {
		return err
	}
	if err := h.service.Revoke(r.Context(), token); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func theDomain() *domainRef {
	return &domainRef{ID: model.DefaultDomainID, Name: model.DefaultDomainName}
}

func (h *Handler) writeToken(w http.ResponseWriter, r *http.Request, code int, s identity.Session) error {
	v := tokenView{
		Methods:   slices.Clone(s.Token.Methods),
		User:      tokenUser{ID: s.Account.ID, Name: s.Account.Name, Domain: theDomain()},
		AuditIDs:  strings.Fields(s.Token.AuditID),
		ExpiresAt: formatTime(s.Token.ExpiresAt),
		IssuedAt:  formatTime(s.Token.IssuedAt),
	}
	if s.Project != nil {
		v.Project = &ref{ID: s.Project.ID, Name: s.Project.Name, Domain: theDomain()}
		v.IsDomain = new(bool)
		for _, role := range s.Roles {
			v.Roles = append(v.Roles, ref{ID: role.ID, Name: role.Name})
		}
		if _, without := r.URL.Query()["nocatalog"]; !without {
			v.Catalog = h.catalog(r, s.Project.ID)
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, code, map[string]any{"token": v})
}

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }
