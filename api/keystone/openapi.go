package keystone

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// call is what the OpenAPI document says of a route beside its path and who may use it.
type call struct {
	id, summary string  // id is unique among all that Huker serves
	status      int     // of success; 0 when it is never granted
	in, out     content // nil: no body
	query       []string
	errs        []int // besides those that follow from the rest
	subject     subjectUse
}

// subjectUse says what a call has to do with the header that names a token.
type subjectUse int

const (
	subjectNone subjectUse = iota
	subjectGiven
	subjectAnswered
	subjectBoth
)

// content makes a body's schema.
type content func(r huma.Registry) *huma.Schema

// one is a body of one key.
func one[T any](key string) content {
	return func(r huma.Registry) *huma.Schema { return object(map[string]*huma.Schema{key: schemaOf[T](r)}) }
}

// many is a list's body.
func many[T any](key string) content {
	return func(r huma.Registry) *huma.Schema {
		return object(map[string]*huma.Schema{key: {Type: huma.TypeArray, Items: schemaOf[T](r)}, "links": schemaOf[listLinks](r)})
	}
}

// none is the body of a list that has no entries.
func none(key string) content {
	return func(r huma.Registry) *huma.Schema {
		empty := 0
		return object(map[string]*huma.Schema{key: {Type: huma.TypeArray, Items: &huma.Schema{}, MaxItems: &empty}, "links": schemaOf[listLinks](r)})
	}
}

func schemaOf[T any](r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

// object has these properties, all of them, and no others.
func object(properties map[string]*huma.Schema) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Properties: properties, Required: slices.Sorted(maps.Keys(properties)), AdditionalProperties: false,
	}
}

// open lets a schema have properties that it does not name: Keystone ignores them, and so does Huker. None is demanded but those that are named.
func open(s *huma.Schema, required ...string) *huma.Schema {
	s.AdditionalProperties, s.Required = true, required
	return s
}

// taken is a request's body of one key, whose fields are T's.
func taken[T any](key string, required ...string) content {
	return func(r huma.Registry) *huma.Schema {
		inner := huma.SchemaFromType(r, reflect.TypeFor[T]())
		return open(object(map[string]*huma.Schema{key: open(inner, required...)}), key)
	}
}

// Schema implements huma.SchemaProvider: a field of a request may be null.
func (f *field[T]) Schema(r huma.Registry) *huma.Schema {
	s := r.Schema(reflect.TypeFor[T](), true, "")
	s.Nullable = true
	return s
}

// Operations describes all calls, as they are below the identity service's own address.
func (h *Handler) Operations(r huma.Registry) []*huma.Operation {
	routes := h.routes()
	var out []*huma.Operation
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		out = append(out, describe(r, pattern, routes[pattern]))
	}
	return out
}

// pathOf gives the method and path of a route. The versions are below the prefix alone: what is at the root is another's.
func pathOf(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	if path == patternVersions {
		path = PrefixIdentity
	}
	return method, path
}

func describe(r huma.Registry, pattern string, rt route) *huma.Operation {
	method, path := pathOf(pattern)
	o := &huma.Operation{
		Method: method, Path: path, OperationID: rt.id, Summary: rt.summary, Tags: []string{"identity"}, Responses: map[string]*huma.Response{},
	}
	codes := []int{http.StatusInternalServerError, http.StatusServiceUnavailable}
	switch rt.access {
	case accessPublic:
		o.Security = []map[string][]string{}
	case accessAdmin:
		o.Description = "Administrators only."
		fallthrough
	default:
		codes = append(codes, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	for _, segment := range strings.Split(path, "/") {
		if strings.HasPrefix(segment, "{") {
			o.Parameters = append(o.Parameters, parameter("path", strings.Trim(segment, "{}"), true))
			codes = append(codes, http.StatusNotFound)
		}
	}
	for _, name := range rt.query {
		o.Parameters = append(o.Parameters, parameter("query", name, false))
	}
	if rt.subject == subjectGiven || rt.subject == subjectBoth {
		o.Parameters = append(o.Parameters, parameter("header", subjectHeader, true))
		codes = append(codes, http.StatusBadRequest, http.StatusNotFound)
	}
	if rt.in != nil {
		o.RequestBody = &huma.RequestBody{Required: true, Content: jsonContent(rt.in(r))}
		codes = append(codes, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
	}
	for _, code := range slices.Concat(codes, rt.errs) {
		o.Responses[strconv.Itoa(code)] = &huma.Response{Description: http.StatusText(code), Content: jsonContent(one[failure]("error")(r))}
	}
	if rt.status != 0 {
		o.Responses[strconv.Itoa(rt.status)] = rt.success(r)
	}
	return o
}

// success describes what is answered when all is well.
func (c call) success(r huma.Registry) *huma.Response {
	ok := &huma.Response{Description: http.StatusText(c.status)}
	if c.out != nil {
		ok.Content = jsonContent(c.out(r))
	}
	if c.subject == subjectAnswered || c.subject == subjectBoth {
		ok.Headers = map[string]*huma.Param{subjectHeader: {Description: "The token.", Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	return ok
}

func parameter(in, name string, required bool) *huma.Param {
	return &huma.Param{Name: name, In: in, Required: required, Schema: &huma.Schema{Type: huma.TypeString}}
}

func jsonContent(s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: s}}
}

// signInContent is the body of a sign-in: by password, by a token, or by both.
func signInContent(huma.Registry) *huma.Schema {
	text := func() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }
	domain := func() *huma.Schema {
		return open(object(map[string]*huma.Schema{"id": {Type: huma.TypeString, Nullable: true}, "name": {Type: huma.TypeString, Nullable: true}}))
	}
	user := open(object(map[string]*huma.Schema{"id": text(), "name": text(), "domain": domain(), "password": text()}), "password")
	how := open(object(map[string]*huma.Schema{
		"methods":  {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString, Enum: []any{"password", "token"}}},
		"password": open(object(map[string]*huma.Schema{"user": user}), "user"),
		"token":    open(object(map[string]*huma.Schema{"id": text()}), "id"),
	}), "methods")
	scope := &huma.Schema{
		Description: "What the token is for: a project, or nothing. Without it: the account's default project.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeString, Enum: []any{"unscoped"}},
			open(object(map[string]*huma.Schema{"unscoped": {Type: huma.TypeObject, AdditionalProperties: true}}), "unscoped"),
			open(object(map[string]*huma.Schema{
				"project": open(object(map[string]*huma.Schema{"id": text(), "name": text(), "domain": domain()})),
			}), "project"),
		},
	}
	return open(object(map[string]*huma.Schema{"auth": open(object(map[string]*huma.Schema{"identity": how, "scope": scope}), "identity")}), "auth")
}
