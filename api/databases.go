package api

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/huker/huker/internal/protocol"
)

// DatabasesBody lists an instance's databases.
type DatabasesBody struct {
	Databases      []DatabaseName `json:"databases"`
	Links          []Link         `json:"links,omitempty"`
	DatabasesLinks []Link         `json:"databases_links,omitempty"`
}

// DatabaseName names a database.
type DatabaseName struct {
	Name string `json:"name"`
}

// NewDatabasesBody asks for databases.
type NewDatabasesBody struct {
	Databases []Database `json:"databases" maxItems:"1000"`
}

// Database is one to make.
type Database struct {
	Name         string `json:"name" minLength:"1" maxLength:"255"`
	CharacterSet string `json:"character_set,omitempty" maxLength:"64"`
	Collate      string `json:"collate,omitempty" maxLength:"64"`
}

// Answers and errors of calls that a guest carries out.
var guestErrors = []int{http.StatusBadRequest, http.StatusUnprocessableEntity}

// maxGuestPage is less than what a guest gives at once, so that one more can be asked for to see whether there is more.
const maxGuestPage = 500

func (s *server) databaseRoutes(t *table) {
	on(t, spec{method: http.MethodPost, path: "instances/{id}/databases", id: "createDatabases", tag: "databases",
		summary: "Create databases", status: http.StatusAccepted, errs: guestErrors}, s.createDatabases)
	on(t, spec{method: http.MethodGet, path: "instances/{id}/databases", id: "listDatabases", tag: "databases",
		summary: "List databases by name", status: http.StatusOK, errs: guestErrors, query: pageParams}, s.listDatabases)
	on(t, spec{method: http.MethodDelete, path: "instances/{id}/databases/{database}", id: "deleteDatabase", tag: "databases",
		summary: "Delete a database with all that is in it", status: http.StatusAccepted, errs: guestErrors}, s.deleteDatabase)
}

func (s *server) createDatabases(ctx context.Context, r *request, in *NewDatabasesBody) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	ds, err := newDatabases(in.Databases)
	if err != nil || len(ds) == 0 {
		return nil, err
	}
	return nil, guestFault(i.ID, s.Guests.CreateDatabases(ctx, i.ID, ds))
}

func (s *server) listDatabases(ctx context.Context, r *request, _ *none) (*DatabasesBody, error) {
	limit, marker, err := r.guestPage(s.Limits.PageSize)
	if err != nil {
		return nil, err
	}
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	ds, err := s.Guests.Databases(ctx, i.ID, protocol.ListRequest{Limit: limit + 1, Marker: marker})
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	body := &DatabasesBody{}
	if len(ds) > limit {
		ds = ds[:limit]
		body.Links = r.next(ds[limit-1].Name)
		body.DatabasesLinks = body.Links
	}
	body.Databases = databaseNames(ds)
	return body, nil
}

func (s *server) deleteDatabase(ctx context.Context, r *request, _ *none) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	name := r.path["database"]
	if !storable(name) || utf8.RuneCountInString(name) > maxDatabaseName {
		return nil, notFound("There is no database %s.", clip(name))
	}
	return nil, guestFault(i.ID, s.Guests.DeleteDatabase(ctx, i.ID, name))
}
