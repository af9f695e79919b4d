package api

import (
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// VersionsBody lists the versions of the API.
type VersionsBody struct {
	Versions []Version `json:"versions"`
}

// VersionBody is one of them.
type VersionBody struct {
	Version Version `json:"version"`
}

// Version of the API.
type Version struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Updated string `json:"updated"`
	Links   []Link `json:"links"`
}

// updated is Trove's own; clients show it and nothing else.
const versionUpdated = "2012-08-01T00:00:00Z"

func (s *server) versions(r *http.Request) VersionsBody {
	return VersionsBody{Versions: []Version{s.version(r).Version}}
}

func (s *server) version(r *http.Request) VersionBody {
	return VersionBody{Version: Version{
		ID: prefix, Status: "CURRENT", Updated: versionUpdated, Links: []Link{{Rel: "self", Href: s.baseURL(r) + "/" + prefix + "/"}},
	}}
}

// publicRoute is a call that needs no sign-in.
type publicRoute struct {
	path, id, summary string
	schema            func(huma.Registry) *huma.Schema
	answer            func(s *server, r *http.Request) any
}

// publicRoutes are all of them. Each is found by one slash, or one segment.
func publicRoutes() []publicRoute {
	return []publicRoute{
		{"/", "listVersions", "List the versions of the API", bodyOf[VersionsBody], func(s *server, r *http.Request) any { return s.versions(r) }},
		{"/" + prefix, "showVersion", "Show version 1.0", bodyOf[VersionBody], func(s *server, r *http.Request) any { return s.version(r) }},
		{"/openapi.json", "showDocument", "This document", anyObject, func(s *server, _ *http.Request) any { return json.RawMessage(s.document) }},
	}
}

func bodyOf[T any](r huma.Registry) *huma.Schema { return r.Schema(reflect.TypeFor[T](), true, "") }

func anyObject(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// findPublic gives the call that a path is of, whose segments are those when it is well-formed.
func findPublic(path string, segments []string) *publicRoute {
	for _, p := range publicRoutes() {
		if p.path == path || len(segments) == 1 && p.path == "/"+segments[0] {
			return &p
		}
	}
	return nil
}

// publicOperations describes what needs no sign-in.
func publicOperations(registry huma.Registry) []*huma.Operation {
	var out []*huma.Operation
	for _, p := range publicRoutes() {
		out = append(out, &huma.Operation{
			Method: http.MethodGet, Path: p.path, OperationID: p.id, Summary: p.summary, Tags: []string{"versions"}, Security: []map[string][]string{},
			Responses: map[string]*huma.Response{
				"200": {Description: "OK", Content: jsonContent(p.schema(registry))},
				"500": faultResponse(http.StatusInternalServerError),
			},
		})
	}
	return out
}
