package api

import (
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

// publicOperations describes what needs no sign-in.
func publicOperations(registry huma.Registry) []*huma.Operation {
	get := func(path, id, summary string, s *huma.Schema) *huma.Operation {
		return &huma.Operation{
			Method: http.MethodGet, Path: path, OperationID: id, Summary: summary, Tags: []string{"versions"}, Security: []map[string][]string{},
			Responses: map[string]*huma.Response{
				"200": {Description: "OK", Content: jsonContent(s)},
				"500": faultResponse(http.StatusInternalServerError),
			},
		}
	}
	return []*huma.Operation{
		get("/", "listVersions", "List the versions of the API", registry.Schema(reflect.TypeFor[VersionsBody](), true, "")),
		get("/"+prefix, "showVersion", "Show version 1.0", registry.Schema(reflect.TypeFor[VersionBody](), true, "")),
		get("/openapi.json", "showDocument", "This document", &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}),
	}
}
