package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/stretchr/testify/require"
)

// describedIn reads which operation a document has for each method and path.
func describedIn(t *testing.T, text []byte) map[string]string {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	out := map[string]string{}
	for path, item := range doc.Paths {
		for key, raw := range item {
			if key == "servers" {
				continue
			}
			var op struct{ OperationID string }
			require.NoError(t, json.Unmarshal(raw, &op))
			out[strings.ToUpper(key)+" "+path] = op.OperationID
		}
	}
	return out
}

// A call that is registered and not in the document, or the other way round, cannot be.
func TestEveryRouteIsInTheDocument(t *testing.T) {
	table := newTable()
	(&server{}).routes(table)
	require.NoError(t, table.build())
	text, err := table.document(&Config{})
	require.NoError(t, err)
	described := describedIn(t, text)
	registered := map[string]string{}
	for _, op := range table.ops {
		registered[op.method+" /v1.0/{project_id}/"+op.path] = op.id
	}
	require.Len(t, registered, len(table.ops), "no call hides another")
	for _, p := range publicRoutes() {
		registered[http.MethodGet+" "+p.path] = p.id
		require.Equal(t, p.id, findPublic(p.path, strings.Split(strings.Trim(p.path, "/"), "/")).id)
	}
	require.Equal(t, registered, described)
}

func TestNeighboursInTheDocument(t *testing.T) {
	type Version struct{ Other string } // the API has one of this name
	neighbour := func(id string) Neighbour {
		return Neighbour{Name: "Next", Below: "/next", Operations: func(r huma.Registry) []*huma.Operation {
			answer := map[string]*huma.Response{"200": {Description: "OK", Content: jsonContent(bodyOf[Version](r))}}
			return []*huma.Operation{
				{Method: http.MethodGet, Path: "/next", OperationID: id, Responses: answer},
				{Method: http.MethodGet, Path: "/v9/things", OperationID: "listThings", Responses: answer},
			}
		}}
	}
	document := func(c Config) ([]byte, error) {
		table := newTable()
		(&server{}).routes(table)
		require.NoError(t, table.build())
		return table.document(&c)
	}
	text, err := document(Config{PublicURL: "https://db.example.org", Neighbours: []Neighbour{neighbour("showNext")}})
	require.NoError(t, err)
	described := describedIn(t, text)
	require.Equal(t, "showNext", described["GET /next"])
	require.Equal(t, "listThings", described["GET /v9/things"])
	var doc struct {
		Paths      map[string]struct{ Servers []struct{ URL string } }
		Components struct{ Schemas map[string]any }
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	require.Empty(t, doc.Paths["/next"].Servers, "it is where it is")
	require.Equal(t, []struct{ URL string }{{"https://db.example.org/next"}, {"https://db.example.org"}}, doc.Paths["/v9/things"].Servers)
	require.Contains(t, doc.Components.Schemas, "Version")
	require.Contains(t, doc.Components.Schemas, "NextVersion")

	_, err = document(Config{Neighbours: []Neighbour{neighbour("listInstances")}})
	require.ErrorContains(t, err, "duplicate operation ID")
}
