package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

// prefix is where Trove's paths start.
const prefix = "v1.0"

// dispatch finds the call that a request is for, and carries it out. Nothing below a project is told to whom has not signed in.
func (s *server) dispatch(t *table) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		tr := traceOf(hr.Context())
		segments, err := splitPath(hr.URL.EscapedPath())
		open := findPublic(hr.URL.Path, segments)
		switch {
		case open != nil:
			s.public(w, hr, open.answer(s, hr))
		case err != nil:
			s.refuse(w, hr, notFound("The resource could not be found."))
		case len(segments) < 2 || segments[0] != prefix:
			s.refuse(w, hr, notFound("The resource could not be found."))
		default:
			r := &request{http: hr, project: segments[1], id: tr.id, base: s.baseURL(hr)}
			status, body, err := s.serve(hr.Context(), t, r, w, segments[2:])
			if err != nil {
				s.refuse(w, hr, err)
				return
			}
			s.answer(w, hr, status, body)
		}
	}
}

// serve is one call below a project.
func (s *server) serve(ctx context.Context, t *table, r *request, w http.ResponseWriter, segments []string) (int, any, error) {
	var err error
	if r.caller, err = s.Auth.Authenticate(ctx, r.http); err != nil {
		return 0, nil, err
	}
	traceOf(ctx).caller = r.caller
	if err := mayUse(r.caller, r.project); err != nil {
		return 0, nil, err
	}
	op, vars, allowed := t.find(r.http.Method, segments)
	switch {
	case op == nil && len(allowed) > 0:
		return 0, nil, &fault{status: http.StatusMethodNotAllowed, message: "The method " + r.http.Method + " is not allowed here.",
			header: http.Header{"Allow": {strings.Join(allowed, ", ")}}}
	case op == nil:
		return 0, nil, notFound("The resource could not be found.")
	case op.admin && !r.admin():
		// Upstream answers 401 here, which has clients sign in again and retry.
		return 0, nil, forbidden("This is for administrators.")
	case op.method != http.MethodGet && readOnly(r.caller):
		return 0, nil, forbidden("The role %q may look but not change.", model.RoleReader)
	}
	r.op, r.path = op, vars
	traceOf(ctx).op = op.id
	if r.query, err = url.ParseQuery(r.http.URL.RawQuery); err != nil {
		return 0, nil, badRequest("The query of the URL is malformed.")
	}
	if op.in != nil {
		if r.http.ContentLength > s.Limits.BodyBytes { // said at once, and not after a minute of waiting for it
			return 0, nil, &http.MaxBytesError{Limit: s.Limits.BodyBytes}
		}
		// A client that never ends its body must not hold a connection for ever. Not every writer has deadlines (tests' have none).
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.Limits.Request))
		if r.body, err = io.ReadAll(http.MaxBytesReader(w, r.http.Body, s.Limits.BodyBytes)); err != nil {
			return 0, nil, readFault(err)
		}
		if err := checkMediaType(r.http.Header.Get("Content-Type"), r.body); err != nil {
			return 0, nil, err
		}
	}
	body, err := op.run(identity.WithCaller(ctx, r.caller), r)
	return op.status, body, err
}

var projectID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// mayUse lets callers into their own project, and administrators into any.
func mayUse(c identity.Caller, project string) error {
	switch {
	case !projectID.MatchString(project):
		return notFound("The resource could not be found.")
	case c.Admin():
		return nil
	case c.ProjectID == "":
		return forbidden("The token is not for a project.")
	case c.ProjectID != project:
		return forbidden("You cannot access the resources of this project.")
	}
	return nil
}

// readOnly reports whether a caller may only look: the reader's role and no other.
func readOnly(c identity.Caller) bool {
	for _, role := range c.Roles {
		if !strings.EqualFold(role, model.RoleReader) {
			return false
		}
	}
	return len(c.Roles) > 0
}

func readFault(err error) error {
	f := asFault(err, "")
	if f.status == http.StatusInternalServerError {
		return &fault{status: http.StatusBadRequest, message: "The request's body could not be read.", cause: err}
	}
	return f
}

// checkMediaType refuses bodies that say they are not JSON. One that does not say is taken as JSON.
func checkMediaType(header string, body []byte) error {
	if len(body) == 0 || header == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return faultf(http.StatusUnsupportedMediaType, "The body must be application/json, not %q.", header)
	}
	return nil
}

// public answers what needs no sign-in.
func (s *server) public(w http.ResponseWriter, r *http.Request, body any) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.refuse(w, r, &fault{status: http.StatusMethodNotAllowed, message: "The method " + r.Method + " is not allowed here.",
			header: http.Header{"Allow": {http.MethodGet}}})
		return
	}
	s.answer(w, r, http.StatusOK, body)
}

// refuse answers an error.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	tr := traceOf(r.Context())
	f := asFault(err, tr.id)
	if f.cause != nil || f.status >= http.StatusInternalServerError {
		tr.err = f
	}
	for k, v := range f.header {
		w.Header()[k] = v
	}
	if f.status == http.StatusUnauthorized { // as Keystone's own middleware tells it
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri=%q", s.authURL(s.baseURL(r))))
	}
	s.answer(w, r, f.status, f.body())
}

// answer writes a body, or nothing but the status when there is none.
func (s *server) answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	if body == nil {
		w.Header().Set("Content-Length", "0")
		if status == http.StatusNoContent {
			w.Header().Del("Content-Length")
		}
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		tr := traceOf(r.Context())
		tr.err = err
		status, text = http.StatusInternalServerError, []byte(`{"instanceFault":{"code":500,"message":"Internal error."}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone needs no answer
}

// baseURL is what links start with.
func (s *server) baseURL(r *http.Request) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}
