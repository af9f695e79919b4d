package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/identity"
)

// none is the type of a body that is not there.
type none struct{}

// spec describes a call. Path is below /v1.0/{project_id}/.
type spec struct {
	method, path string
	id           string // operationId, unique
	tag          string
	summary      string
	status       int // of success; 0: there is none
	errs         []int
	query        []param
	admin        bool // administrators only
	optional     bool // the request's body may be left out
}

// param is a query parameter. Others are ignored, as Trove does: clients send some that mean nothing here.
type param struct{ name, kind, doc string }

// Query parameters of many listings.
var (
	pageParams = []param{
		{"limit", huma.TypeInteger, "The most entries to give; at least 1."},
		{"marker", huma.TypeString, "The id or name of the last entry of the page before."},
	}
	clusterParam = param{"include_clustered", huma.TypeString, "true lists members of clusters, too."}
	deletedParam = param{"deleted", huma.TypeString, "true lists deleted instances: there are none, their rows are not kept."}
)

// operation is a call with its types and handler.
type operation struct {
	spec
	segments []string
	in, out  reflect.Type // nil: no body
	check    *validator
	run      func(ctx context.Context, r *request) (any, error)
}

// request is what a handler works on.
type request struct {
	http    *http.Request
	op      *operation
	caller  identity.Caller
	project string // of the URL
	path    map[string]string
	query   url.Values
	base    string // of links: "http://host:port"
	id      string // X-Openstack-Request-Id
	body    []byte
}

// admin reports whether the caller may act on any project.
func (r *request) admin() bool { return r.caller.Admin() }

// who names the caller for histories.
func (r *request) who() string {
	if r.caller.AccountName != "" {
		return r.caller.AccountName
	}
	return orDefault(r.caller.AccountID, "unknown")
}

// on adds a call to the table. None is the type of bodies that are not there.
func on[In, Out any](t *table, s spec, handle func(ctx context.Context, r *request, in *In) (*Out, error)) {
	op := &operation{spec: s, segments: strings.Split(s.path, "/")}
	if in := reflect.TypeFor[In](); in != reflect.TypeFor[none]() {
		op.in = in
	}
	if out := reflect.TypeFor[Out](); out != reflect.TypeFor[none]() {
		op.out = out
	}
	op.run = func(ctx context.Context, r *request) (any, error) {
		in := new(In)
		if op.in != nil {
			if err := op.check.decode(r.body, op.optional, in); err != nil {
				return nil, err
			}
		}
		out, err := handle(ctx, r, in)
		if err != nil || op.out == nil {
			return nil, err
		}
		return out, nil
	}
	t.ops = append(t.ops, op)
}

// table is all calls. It is not changed after build.
type table struct {
	ops      []*operation
	byLength map[int][]*operation
	registry huma.Registry
}

func newTable() *table {
	return &table{byLength: map[int][]*operation{}, registry: huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)}
}

// build makes the schemas and the index. huma panics on types that it cannot describe; here that is an error.
func (t *table) build() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("api: describe the types: %v", p)
		}
	}()
	ids := map[string]bool{}
	for _, op := range t.ops {
		if ids[op.id] {
			return fmt.Errorf("api: operation %q is there twice", op.id)
		}
		ids[op.id] = true
		t.byLength[len(op.segments)] = append(t.byLength[len(op.segments)], op)
		if op.out != nil {
			t.registry.Schema(op.out, true, op.out.Name())
		}
		if op.in != nil {
			op.check = &validator{registry: t.registry, schema: t.registry.Schema(op.in, true, op.in.Name())}
		}
	}
	for _, s := range t.registry.Map() {
		strictArrays(s)
	}
	for _, op := range t.ops {
		if op.check != nil {
			if err := op.check.compile(); err != nil {
				return fmt.Errorf("api: operation %q: %w", op.id, err)
			}
		}
	}
	for _, ops := range t.byLength {
		slices.SortStableFunc(ops, staticFirst)
	}
	return nil
}

// strictArrays takes back that arrays may be null, which huma assumes of Go's slices.
func strictArrays(s *huma.Schema) {
	if s.Type == huma.TypeArray {
		s.Nullable = false
		strictArrays(s.Items)
	}
	for _, p := range s.Properties {
		strictArrays(p)
	}
}

// staticFirst orders patterns so that the first that matches is the most exact one.
func staticFirst(a, b *operation) int {
	for i := range a.segments {
		av, bv := isVariable(a.segments[i]), isVariable(b.segments[i])
		switch {
		case av && !bv:
			return 1
		case bv && !av:
			return -1
		}
	}
	return 0
}

func isVariable(segment string) bool { return strings.HasPrefix(segment, "{") }

// find gives the call of a method and the path's segments. When only the method does not fit, allowed says which would.
func (t *table) find(method string, segments []string) (op *operation, vars map[string]string, allowed []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, o := range t.byLength[len(segments)] {
		v, ok := o.match(segments)
		if !ok {
			continue
		}
		if o.method == method {
			return o, v, nil
		}
		if !slices.Contains(allowed, o.method) {
			allowed = append(allowed, o.method)
		}
	}
	return nil, nil, allowed
}

func (op *operation) match(segments []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, want := range op.segments {
		if isVariable(want) {
			vars[strings.Trim(want, "{}")] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return vars, true
}

var errPath = errors.New("bad path")

// splitPath gives the decoded segments of a path. A slash or a dot that is written as %2f or %2e belongs to its segment, as in the
// names of users; empty segments, and characters that no name has, are refused. One slash at the end is ignored.
func splitPath(escaped string) ([]string, error) {
	escaped = strings.TrimSuffix(strings.TrimPrefix(escaped, "/"), "/")
	segments := strings.Split(escaped, "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "" || strings.ContainsFunc(plain, isControl) || strings.ToValidUTF8(plain, "") != plain {
			return nil, errPath
		}
		segments[i] = plain
	}
	return segments, nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
