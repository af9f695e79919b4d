package api

import (
	"context"
	"net/http"
	"strings"
)

// later is a call of Trove's that is known and not served yet. Clients get 501 with the reason, not a 404 that they would take for
// a missing resource.
type later struct {
	what    string // "Backups are"
	methods string
	path    string
	admin   bool
}

const (
	get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
)

func laterCalls() []later {
	const (
		backups, strategies, configs = "Backups are", "Backup strategies are", "Configuration groups are"
		modules, groups, params      = "Modules are", "Security groups are", "The catalogue of parameters is"
		versions                     = "Changes of datastores are (images are made with `huker image`)"
	)
	methods := func(ms ...string) string { return strings.Join(ms, " ") }
	return []later{
		{backups, methods(get, post), "backups", false},
		{backups, methods(get, del), "backups/{backup}", false},
		{backups, get, "instances/{id}/backups", false},
		{strategies, methods(get, post, del), "backup_strategies", false},
		{configs, methods(get, post), "configurations", false},
		{configs, methods(get, put, patch, del), "configurations/{configuration}", false},
		{configs, get, "configurations/{configuration}/instances", false},
		{configs, get, "instances/{id}/configuration", false},
		{params, get, "datastores/{datastore}/versions/{version}/parameters", false},
		{params, get, "datastores/{datastore}/versions/{version}/parameters/{parameter}", false},
		{params, get, "datastores/versions/{version}/parameters", false},
		{params, get, "datastores/versions/{version}/parameters/{parameter}", false},
		{params, methods(get, post), "mgmt/datastores/versions/{version}/parameters", true},
		{params, methods(get, put, del), "mgmt/datastores/versions/{version}/parameters/{parameter}", true},
		{versions, del, "datastores/{datastore}", true},
		{versions, post, "mgmt/datastore-versions", true},
		{versions, methods(patch, del), "mgmt/datastore-versions/{version}", true},
		{modules, methods(get, post), "modules", false},
		{modules, methods(get, put, del), "modules/{module}", false},
		{modules, methods(get, put), "modules/{module}/instances", false},
		{modules, methods(get, post), "instances/{id}/modules", false},
		{modules, del, "instances/{id}/modules/{module}", false},
		{groups, get, "security-groups", false},
		{groups, get, "security-groups/{group}", false},
		{groups, post, "security-group-rules", false},
		{groups, del, "security-group-rules/{rule}", false},
		{"Changes of certificates are", post, "instances/{id}/ssl", false},
		{"Diagnostics are", get, "mgmt/instances/{id}/diagnostics", true},
		{"Upgrades of the guest agent by hand are", post, "mgmt/instances/{id}/upgrade", true},
	}
}

func (s *server) laterRoutes(t *table) {
	for _, l := range laterCalls() {
		message := l.what + " not implemented yet."
		for _, method := range strings.Fields(l.methods) {
			on(t, spec{method: method, path: l.path, id: laterID(method, l.path), tag: "later", summary: message,
				errs: []int{http.StatusNotImplemented}, admin: l.admin},
				func(context.Context, *request, *none) (*none, error) { return nil, notImplemented("%s", message) })
		}
	}
}

// laterID makes an operation's id of its method and path: "getBackupsBackup".
func laterID(method, path string) string {
	id := strings.ToLower(method)
	for _, word := range strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("/{}_-", r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}
