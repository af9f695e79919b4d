// Package keystone serves Huker's identity service as Keystone v3 does, so that OpenStack's clients sign in and manage
// projects, users and roles with it.
//
// It owns paths, bodies, status codes and the error form. It must not know how passwords and tokens are kept, nor which
// engine keeps them. There is one domain, "default", and roles are given on projects only.
package keystone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/huker/huker/internal/identity"
)

// MaxBody is the largest request body, in bytes. Keystone's limit is 112 KiB.
const MaxBody = 112 << 10

// Prefixes under which the service answers.
const (
	PrefixIdentity = "/identity"
	PrefixV3       = "/v3"
)

// Config of a Handler.
type Config struct {
	Service *identity.Service
	// Auth finds out who calls; Service.Tokens() when nil.
	Auth identity.Authenticator
	// PublicURL is how clients reach the API ("https://db.example.org"), for links and the catalogue. When it is empty,
	// the host that the request named is used.
	PublicURL string
	Region    string // "RegionOne" when empty
	Log       *slog.Logger
}

// Handler serves /identity, /identity/v3 and /v3.
type Handler struct {
	service *identity.Service
	auth    identity.Authenticator
	public  string
	region  string
	log     *slog.Logger
	mux     *http.ServeMux
}

// New makes a Handler.
func New(c Config) (*Handler, error) {
	if c.Service == nil {
		return nil, errors.New("keystone: no identity service")
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("keystone: the public URL %q is not http(s)://host[:port]", c.PublicURL)
		}
	}
	if c.Auth == nil {
		c.Auth = c.Service.Tokens()
	}
	if c.Region == "" {
		c.Region = "RegionOne"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{
		service: c.Service, auth: c.Auth, public: strings.TrimRight(c.PublicURL, "/"), region: c.Region, log: c.Log,
		mux: http.NewServeMux(),
	}
	for pattern, rt := range h.routes() {
		h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, rt) })
	}
	return h, nil
}

// access says who may use a route.
type access int

const (
	accessPublic access = iota
	accessSignedIn
	accessAdmin
)

type route struct {
	access access
	serve  func(w http.ResponseWriter, r *http.Request, c identity.Caller) error
	call
}

// patternVersions is the path of the list of versions, below PrefixIdentity.
const patternVersions = "/{$}"

func (h *Handler) routes() map[string]route {
	all := map[string]route{
		"GET " + patternVersions: {accessPublic, h.versions, call{id: "listIdentityVersions", summary: "List the versions of the identity service",
			status: http.StatusMultipleChoices, out: versionsContent}},
		"GET /v3": {accessPublic, h.version, call{id: "showIdentityVersion", summary: "Show version 3", status: http.StatusOK, out: one[versionView]("version")}},
		"POST /v3/auth/tokens": {accessPublic, h.signIn, call{id: "signIn", summary: "Sign in: get a token", status: http.StatusCreated,
			in: signInContent, out: one[tokenView]("token"), query: []string{"nocatalog"}, subject: subjectAnswered,
			errs: []int{http.StatusUnauthorized, http.StatusTooManyRequests}}},
		"GET /v3/auth/tokens": {accessSignedIn, h.showToken, call{id: "showToken", summary: "Validate a token", status: http.StatusOK,
			out: one[tokenView]("token"), query: []string{"nocatalog"}, subject: subjectBoth}},
		"DELETE /v3/auth/tokens": {accessSignedIn, h.revokeToken, call{id: "revokeToken", summary: "Sign out: end a token",
			status: http.StatusNoContent, subject: subjectGiven}},
		"GET /v3/auth/catalog": {accessSignedIn, h.showCatalog, call{id: "showCatalog", summary: "Show where the services are", status: http.StatusOK,
			out: catalogContent}},
		"GET /v3/auth/projects": {accessSignedIn, h.myProjects, call{id: "listMyProjects", summary: "List the caller's projects", status: http.StatusOK,
			out: many[projectView]("projects"), query: projectFilters()}},
		"GET /v3/auth/domains": {accessSignedIn, h.listDomains, call{id: "listMyDomains", summary: "List the caller's domains", status: http.StatusOK,
			out: many[domainView]("domains"), query: []string{"name", "enabled"}}},
		"GET /v3/domains": {accessSignedIn, h.listDomains, call{id: "listDomains", summary: "List domains: there is one", status: http.StatusOK,
			out: many[domainView]("domains"), query: []string{"name", "enabled"}}},
		"GET /v3/domains/{id}": {accessSignedIn, h.showDomain, call{id: "showDomain", summary: "Show a domain", status: http.StatusOK,
			out: one[domainView]("domain")}},
	}
	for _, part := range []map[string]route{h.projectRoutes(), h.userRoutes(), h.roleRoutes(), h.fixedRoutes()} {
		for pattern, rt := range part {
			all[pattern] = rt
		}
	}
	return all
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := strings.TrimSuffix(r.URL.Path, "/")
	if clean := path.Clean("/" + p); clean != p && p != "" {
		h.fail(w, r, httpError{http.StatusNotFound, "The resource could not be found."})
		return
	}
	if rest, ok := strings.CutPrefix(p, PrefixIdentity); ok && (rest == "" || rest[0] == '/') {
		p = rest
	}
	inner := r.Clone(withBase(r.Context(), h.base(r)+strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, "/"), p)))
	inner.URL.Path, inner.URL.RawPath = p, ""
	if p == "" {
		inner.URL.Path = "/"
	}
	if _, pattern := h.mux.Handler(inner); pattern != "" {
		h.mux.ServeHTTP(w, inner)
		return
	}
	if allowed := h.allowed(inner); len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		h.fail(w, r, httpError{http.StatusMethodNotAllowed, "The method is not allowed for the requested URL."})
		return
	}
	h.fail(w, r, httpError{http.StatusNotFound, "The resource could not be found."})
}

// allowed lists the methods that a path knows.
func (h *Handler) allowed(r *http.Request) []string {
	var out []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := h.mux.Handler(probe); pattern != "" {
			out = append(out, m)
		}
	}
	return out
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, rt route) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	w.Header().Set("Vary", "X-Auth-Token")
	var caller identity.Caller
	if rt.access != accessPublic {
		var err error
		if caller, err = h.auth.Authenticate(r.Context(), r); err != nil {
			h.fail(w, r, err)
			return
		}
		if rt.access == accessAdmin && !caller.Admin() {
			h.fail(w, r, forbidden("Only an administrator may do this."))
			return
		}
	}
	if err := rt.serve(w, r, caller); err != nil {
		h.fail(w, r, err)
	}
}

type baseKey struct{}

func withBase(ctx context.Context, base string) context.Context {
	return context.WithValue(ctx, baseKey{}, base)
}

// base gives "http://host:port" as the client reaches it.
func (h *Handler) base(r *http.Request) string {
	if h.public != "" {
		return h.public
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// self gives the URL of something below v3, under the prefix that the client used.
func self(r *http.Request, parts ...string) string {
	base, _ := r.Context().Value(baseKey{}).(string)
	out := base + PrefixV3
	for _, p := range parts {
		out += "/" + url.PathEscape(p)
	}
	return out
}

// decode reads a JSON object of one key. Unknown fields are ignored, as Keystone does.
func decode[T any](r *http.Request, key string) (T, error) {
	var zero T
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return zero, httpError{http.StatusRequestEntityTooLarge, "The request body is too large."}
	}
	if err != nil {
		return zero, badRequest("The request body could not be read.")
	}
	return decodeBytes[T](body, key)
}

func decodeBytes[T any](body []byte, key string) (T, error) {
	var zero T
	var outer map[string]json.RawMessage
	if err := unmarshal(body, &outer); err != nil {
		return zero, err
	}
	inner, ok := outer[key]
	if !ok || len(inner) == 0 || inner[0] != '{' {
		return zero, badRequest("Expecting to find %s in the request body. The server could not comply with the request since it is either malformed or otherwise incorrect.", key)
	}
	var v T
	return v, unmarshal(inner, &v)
}

func unmarshal(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return badRequest("The request body is empty.")
	}
	err := json.Unmarshal(data, v)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return badRequest("Invalid input for field '%s': %s is not of the expected type.", wrongType.Field, wrongType.Value)
	default:
		return badRequest("Malformed JSON in the request body.")
	}
}

// writeJSON answers; an error of the connection is nobody's to handle.
func writeJSON(w http.ResponseWriter, code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
	return nil
}
