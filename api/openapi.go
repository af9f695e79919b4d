package api

import (
	"encoding/json"
	"fmt"
	"net/http"
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

// document makes the OpenAPI document. What it says of bodies are the schemas that bodies are checked with.
func (t *table) document(publicURL string) ([]byte, error) {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Huker", Version: "1.0",
			Description: "OpenStack's database API, Trove v1.0, as Huker serves it, and a few calls of Huker's own (tag extensions).",
			License:     &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		Servers: []*huma.Server{{URL: orDefault(publicURL, "/")}},
		Components: &huma.Components{
			Schemas:         t.registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "apiKey", In: "header", Name: "X-Auth-Token"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	for _, op := range publicOperations(t.registry) {
		doc.AddOperation(op)
	}
	for _, op := range t.ops {
		doc.AddOperation(t.describe(op))
	}
	for _, s := range t.registry.Map() {
		strictArrays(s)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("api: encode the OpenAPI document: %w", err)
	}
	return text, nil
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
