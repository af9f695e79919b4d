package controlplane

import (
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// healthOperations describes the calls about health.
func healthOperations(huma.Registry) []*huma.Operation {
	state := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{
		Type: huma.TypeObject, Description: "How each part is, by name: \"ok\", or what is wrong.", Required: []string{"process"},
		AdditionalProperties: &huma.Schema{Type: huma.TypeString},
	}}}
	var out []*huma.Operation
	for _, c := range []struct{ path, id, summary string }{
		{healthzPath, "showHealth", "Say whether the process lives: when it does not, a restart may help"},
		{readyzPath, "showReadiness", "Say whether all that it needs of others answers too"},
	} {
		o := &huma.Operation{
			Method: http.MethodGet, Path: c.path, OperationID: c.id, Summary: c.summary, Tags: []string{"health"}, Security: []map[string][]string{},
			Responses: map[string]*huma.Response{},
		}
		for _, code := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			o.Responses[strconv.Itoa(code)] = &huma.Response{Description: http.StatusText(code), Content: state}
		}
		out = append(out, o)
	}
	return out
}
