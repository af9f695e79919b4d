// Package openapitest holds answers of a server against the OpenAPI document that it serves.
//
// It owns how a request is found in the document, and what it means that an answer fits. It must not know what is served.
package openapitest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"
)

// Operation is one call of the document.
type Operation struct {
	ID, Method, Path string
	Prefixes         []string // below which Path is served; "" is the root
	Status           int      // of success; 0 when there is none
	Public           bool     // needs no sign-in
}

// Document is one that was loaded.
type Document struct {
	doc    *openapi3.T
	router routers.Router

	mu   sync.Mutex
	seen map[string]bool
}

// parsed is what does not change of documents that were read before, by their text: reading one takes longer than most tests.
var parsed sync.Map

type reading struct {
	doc    *openapi3.T
	router routers.Router
}

// Load reads a document, which must be a valid one.
func Load(t testing.TB, text []byte) *Document {
	t.Helper()
	if known, ok := parsed.Load(string(text)); ok {
		return &Document{doc: known.(reading).doc, router: known.(reading).router, seen: map[string]bool{}}
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	require.True(t, strings.HasPrefix(doc.OpenAPI, "3.1"))
	doc.Servers = nil // a test's server is elsewhere
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)
	parsed.Store(string(text), reading{doc, router})
	return &Document{doc: doc, router: router, seen: map[string]bool{}}
}

// Operations gives all calls by id.
func (d *Document) Operations() map[string]Operation {
	out := map[string]Operation{}
	for path, item := range d.doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := Operation{ID: op.OperationID, Method: method, Path: path, Prefixes: prefixes(item), Public: op.Security != nil && len(*op.Security) == 0}
			for code := range op.Responses.Map() {
				if code[0] == '2' || code[0] == '3' {
					o.Status, _ = strconv.Atoi(code)
				}
			}
			out[op.OperationID] = o
		}
	}
	return out
}

// prefixes are the paths of an item's own servers: below each of them it is served.
func prefixes(item *openapi3.PathItem) []string {
	if len(item.Servers) == 0 {
		return []string{""}
	}
	var out []string
	for _, s := range item.Servers {
		u, err := url.Parse(s.URL)
		if err == nil {
			out = append(out, strings.TrimRight(u.Path, "/"))
		}
	}
	return out
}

// find gives the operation that a request is for; nil when the document has none.
func (d *Document) find(r *http.Request) (*routers.Route, map[string]string) {
	route, vars, err := d.router.FindRoute(r)
	if err == nil && slices.Contains(prefixes(route.PathItem), "") {
		return route, vars
	}
	for path := r.URL.EscapedPath(); ; {
		// Each slash may be the end of a prefix.
		slash := strings.IndexByte(path[1:], '/')
		if slash < 0 {
			return nil, nil
		}
		path = path[1+slash:]
		below := r.Clone(r.Context())
		below.URL.Path, below.URL.RawPath = path, path
		if plain, err := url.PathUnescape(path); err == nil {
			below.URL.Path = plain
		}
		route, vars, err := d.router.FindRoute(below)
		if err == nil && slices.Contains(prefixes(route.PathItem), strings.TrimSuffix(r.URL.EscapedPath(), path)) {
			return route, vars
		}
	}
}

// refusals are answers to what the document does not have.
var refusals = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// Check holds an answer against the document: the operation is there, the code is named, the body fits its schema.
func (d *Document) Check(t testing.TB, r *http.Request, status int, header http.Header, body []byte) {
	t.Helper()
	escaped := r.URL.EscapedPath()
	if r.Method == http.MethodHead || status == http.StatusMethodNotAllowed || strings.Contains(escaped, "//") || strings.Contains(escaped, "/../") {
		return // what the document does not speak of; and kin-openapi cleans paths, which a server may not
	}
	route, vars := d.find(r)
	if route == nil {
		require.Contains(t, refusals, status, "%s %s is not in the document and answers: %s", r.Method, r.URL, body)
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: vars, Route: route},
		Status:                 status, Header: header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes(body)
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), in), "%s %s -> %d %s", r.Method, r.URL, status, body)
	if answer := route.Operation.Responses.Status(status); answer != nil && answer.Value.Content == nil {
		require.Empty(t, body, "%s %s has a body that the document does not know", r.Method, r.URL)
	}
	if status < http.StatusBadRequest {
		d.mu.Lock()
		d.seen[route.Operation.OperationID] = true
		d.mu.Unlock()
	}
}

// Seen reports whether an operation was answered with success.
func (d *Document) Seen(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen[id]
}
