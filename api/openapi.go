package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Codes with which any call below a project may be answered.
var commonErrors = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusServiceUnavailable,
}

// Codes of calls that carry a body.
var bodyErrors = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

// Neighbour is what somebody else serves at the API's address, and describes in its document.
type Neighbour struct {
	Name string // of the schemas, before their own: "Identity"
	// Below is a path below which all is served too, but what lies there already: "/identity"; empty: there is none.
	Below string
	// Operations describes the calls, with schemas of the registry.
	Operations func(r huma.Registry) []*huma.Operation
}

const schemaPrefix = "#/components/schemas/"

// schemas are the table's own and those of its neighbours.
type schemas struct {
	huma.Registry
	all map[string]*huma.Schema
}

// MarshalJSON implements json.Marshaler.
func (s schemas) MarshalJSON() ([]byte, error) { return json.Marshal(s.all) }

// document makes the OpenAPI document. What it says of bodies are the schemas that bodies are checked with. huma panics at what it cannot
// describe; here that is an error.
func (t *table) document(cfg *Config) (text []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("api: describe the calls: %v", p)
		}
	}()
	components := schemas{t.registry, map[string]*huma.Schema{}}
	token := &huma.SecurityScheme{Type: "apiKey", In: "header", Name: "X-Auth-Token", Description: "From POST " + cfg.authURL("") + "/auth/tokens."}
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Huker", Version: "1.0",
			Description: "OpenStack's database API, Trove v1.0, as Huker serves it, a few calls of Huker's own (tag extensions), and what else is " +
				"served at the same address. HEAD is answered wherever GET is.",
			License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		Servers:    []*huma.Server{{URL: orDefault(cfg.PublicURL, "/")}},
		Components: &huma.Components{Schemas: components, SecuritySchemes: map[string]*huma.SecurityScheme{"token": token}},
		Security:   []map[string][]string{{"token": {}}},
	}
	for _, op := range publicOperations(t.registry) {
		doc.AddOperation(op)
	}
	for _, op := range t.ops {
		doc.AddOperation(t.describe(op))
	}
	maps.Copy(components.all, t.registry.Map())
	for _, n := range cfg.Neighbours {
		n.describe(doc, components, cfg.PublicURL)
	}
	for _, s := range components.all {
		strictArrays(s)
	}
	text, err = json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("api: encode the OpenAPI document: %w", err)
	}
	return text, nil
}

// describe puts the neighbour's calls into the document.
func (n *Neighbour) describe(doc *huma.OpenAPI, to schemas, publicURL string) {
	registry := huma.NewMapRegistry(schemaPrefix, func(t reflect.Type, hint string) string { return n.Name + huma.DefaultSchemaNamer(t, hint) })
	for _, op := range n.Operations(registry) {
		doc.AddOperation(op)
		if n.Below != "" && !strings.HasPrefix(op.Path, n.Below) {
			doc.Paths[op.Path].Servers = []*huma.Server{{URL: publicURL + n.Below}, {URL: orDefault(publicURL, "/")}}
		}
	}
	maps.Copy(to.all, registry.Map())
}

func (t *table) describe(op *operation) *huma.Operation {
	o := &huma.Operation{
		Method: op.method, Path: "/" + prefix + "/{project_id}/" + op.path, OperationID: op.id, Summary: op.summary, Tags: []string{op.tag},
		Responses: map[string]*huma.Response{},
	}
	if op.admin {
		o.Description = "Administrators only."
	}
	o.Parameters = append(o.Parameters, pathParam("project_id"))
	for _, s := range op.segments {
		if isVariable(s) {
			o.Parameters = append(o.Parameters, pathParam(strings.Trim(s, "{}")))
		}
	}
	for _, p := range op.query {
		o.Parameters = append(o.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.doc, Schema: &huma.Schema{Type: p.kind}})
	}
	if op.in != nil {
		o.RequestBody = &huma.RequestBody{Required: !op.optional, Content: jsonContent(t.registry.Schema(op.in, true, ""))}
	}
	if op.status != 0 {
		r := &huma.Response{Description: http.StatusText(op.status)}
		if op.out != nil {
			r.Content = jsonContent(t.registry.Schema(op.out, true, ""))
		}
		o.Responses[strconv.Itoa(op.status)] = r
	}
	codes := slices.Concat(commonErrors, op.errs)
	if op.in != nil {
		codes = append(codes, bodyErrors...)
	}
	for _, code := range codes {
		o.Responses[strconv.Itoa(code)] = faultResponse(code)
	}
	return o
}

func pathParam(name string) *huma.Param {
	return &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}
}

func jsonContent(s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: s}}
}

// faultResponse is {"<fault>": {"code", "message"}}.
func faultResponse(code int) *huma.Response {
	key := faultKeys[code]
	return &huma.Response{Description: http.StatusText(code), Content: jsonContent(&huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{key},
		Properties: map[string]*huma.Schema{key: {
			Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"code", "message"},
			Properties: map[string]*huma.Schema{"code": {Type: huma.TypeInteger, Enum: []any{code}}, "message": {Type: huma.TypeString, MinLength: ptr(1)}},
		}},
	})}
}
