package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// DatastoresBody lists database products.
type DatastoresBody struct {
	Datastores []Datastore `json:"datastores"`
}

// DatastoreBody is one of them.
type DatastoreBody struct {
	Datastore Datastore `json:"datastore"`
}

// Datastore is a database product with its versions.
type Datastore struct {
	ID             string             `json:"id"`
	Name           string             `json:"name"`
	Links          []Link             `json:"links"`
	DefaultVersion string             `json:"default_version,omitempty" doc:"The id of the version that is taken when none is named"`
	Versions       []DatastoreVersion `json:"versions"`
}

// DatastoreVersionsBody lists versions of a product.
type DatastoreVersionsBody struct {
	Versions []DatastoreVersion `json:"versions"`
}

// DatastoreVersionBody is one of them.
type DatastoreVersionBody struct {
	Version DatastoreVersion `json:"version"`
}

// DatastoreVersion is what an instance can be made of. Its name is what the server says of itself. The last fields are for
// administrators.
type DatastoreVersion struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Version   string `json:"version"`
	Datastore string `json:"datastore,omitempty" doc:"The id of the datastore"`
	Links     []Link `json:"links"`
	*DatastoreVersionAdmin
}

// DatastoreVersionAdmin is what only administrators see of a version.
type DatastoreVersionAdmin struct {
	Active       bool     `json:"active" required:"false"`
	Packages     []string `json:"packages" required:"false"`
	Image        string   `json:"image" required:"false"`
	ImageTags    []string `json:"image_tags" required:"false"`
	RegistryExt  *string  `json:"registry_ext" required:"false"`
	ReplStrategy *string  `json:"repl_strategy" required:"false"`
}

// VolumeTypesBody lists kinds of volumes.
type VolumeTypesBody struct {
	VolumeTypes []VolumeType `json:"volume_types"`
}

// VolumeType is a kind of volume.
type VolumeType struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	IsPublic    bool   `json:"is_public"`
	Description string `json:"description"`
}

func (s *server) datastoreRoutes(t *table) {
	get := func(path, id, summary string) spec {
		return spec{method: http.MethodGet, path: path, id: id, tag: "datastores", summary: summary, status: http.StatusOK}
	}
	on(t, get("datastores", "listDatastores", "List the database products"), s.listDatastores)
	on(t, get("datastores/{datastore}", "showDatastore", "Show a database product, by id or name"), s.showDatastore)
	on(t, get("datastores/{datastore}/versions", "listVersionsOfDatastore", "List the versions of a product"), s.listVersions)
	on(t, get("datastores/{datastore}/versions/{version}", "showVersionOfDatastore", "Show a version, by id or name"), s.showVersion)
	on(t, get("datastores/versions/{version}", "showDatastoreVersion", "Show a version, by id"), s.showVersionByID)
	on(t, get("datastores/{datastore}/versions/{version}/flavors", "listFlavorsOfVersion", "List the sizes that a version can have"), s.listVersionFlavors)
	on(t, get("datastores/{datastore}/versions/{version}/volume-types", "listVolumeTypesOfVersion", "List the kinds of volumes that a version can have"), s.listVolumeTypes)
}

// catalogue is what can be asked for. Versions that are not active are there for administrators only.
type catalogue struct {
	datastores []model.Datastore
	versions   []model.DatastoreVersion
	kin        map[string]*kin // by cluster, of the instances that are shown
}

func readCatalogue(ctx context.Context, tx metastore.Tx) (c catalogue, err error) {
	c.datastores, c.versions, err = tx.Catalogue().Datastores(ctx)
	return c, err
}

func (s *server) catalogue(ctx context.Context, r *request) (c catalogue, err error) {
	err = s.Store.View(ctx, func(tx metastore.Tx) (err error) {
		c, err = readCatalogue(ctx, tx)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("read the catalogue: %w", err)
	}
	if !r.admin() {
		c.versions = activeOnly(c.versions)
	}
	return c, nil
}

func activeOnly(all []model.DatastoreVersion) []model.DatastoreVersion {
	var active []model.DatastoreVersion
	for i := range all {
		if all[i].Active {
			active = append(active, all[i])
		}
	}
	return active
}

// datastore finds a product by id or name.
func (c catalogue) datastore(ref string) (model.Datastore, error) {
	for i := range c.datastores {
		if d := c.datastores[i]; d.ID == ref || d.Name == ref {
			return d, nil
		}
	}
	return model.Datastore{}, notFound("Datastore '%s' cannot be found.", clip(ref))
}

// version finds a version of a product (any, when datastore is empty) by id or name.
func (c catalogue) version(datastore, ref string) (model.DatastoreVersion, error) {
	for i := range c.versions {
		v := c.versions[i]
		if v.ID == ref && (datastore == "" || v.DatastoreID == datastore) || v.Name == ref && v.DatastoreID == datastore {
			return v, nil
		}
	}
	return model.DatastoreVersion{}, notFound("Datastore version '%s' cannot be found.", clip(ref))
}

// names gives the names of an instance's product and version.
func (c catalogue) names(versionID string) (datastore, version string) {
	for i := range c.versions {
		if v := c.versions[i]; v.ID == versionID {
			for j := range c.datastores {
				if c.datastores[j].ID == v.DatastoreID {
					return c.datastores[j].Name, v.Name
				}
			}
			return v.Engine, v.Name
		}
	}
	return "", ""
}

func (s *server) listDatastores(ctx context.Context, r *request, _ *none) (*DatastoresBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	body := &DatastoresBody{Datastores: make([]Datastore, 0, len(c.datastores))}
	for i := range c.datastores {
		body.Datastores = append(body.Datastores, r.datastoreView(c, c.datastores[i]))
	}
	return body, nil
}

func (s *server) showDatastore(ctx context.Context, r *request, _ *none) (*DatastoreBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := c.datastore(r.path["datastore"])
	if err != nil {
		return nil, err
	}
	return &DatastoreBody{Datastore: r.datastoreView(c, d)}, nil
}

func (s *server) listVersions(ctx context.Context, r *request, _ *none) (*DatastoreVersionsBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := c.datastore(r.path["datastore"])
	if err != nil {
		return nil, err
	}
	return &DatastoreVersionsBody{Versions: r.versionViews(c, d.ID, true)}, nil
}

func (s *server) showVersion(ctx context.Context, r *request, _ *none) (*DatastoreVersionBody, error) {
	v, err := s.pathVersion(ctx, r)
	if err != nil {
		return nil, err
	}
	return &DatastoreVersionBody{Version: r.versionView(v, true)}, nil
}

func (s *server) showVersionByID(ctx context.Context, r *request, _ *none) (*DatastoreVersionBody, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return nil, err
	}
	v, err := c.version("", r.path["version"])
	if err != nil {
		return nil, err
	}
	return &DatastoreVersionBody{Version: r.versionView(v, true)}, nil
}

func (s *server) listVersionFlavors(ctx context.Context, r *request, _ *none) (*FlavorsBody, error) {
	if _, err := s.pathVersion(ctx, r); err != nil {
		return nil, err
	}
	all, err := s.flavors(ctx)
	if err != nil {
		return nil, err
	}
	return r.flavorsBody(all), nil
}

func (s *server) listVolumeTypes(ctx context.Context, r *request, _ *none) (*VolumeTypesBody, error) {
	if _, err := s.pathVersion(ctx, r); err != nil {
		return nil, err
	}
	return &VolumeTypesBody{VolumeTypes: []VolumeType{{
		ID: s.VolumeType, Name: s.VolumeType, IsPublic: true, Description: "A volume of the container runtime on the instance's host",
	}}}, nil
}

// pathVersion is the version that the path names.
func (s *server) pathVersion(ctx context.Context, r *request) (model.DatastoreVersion, error) {
	c, err := s.catalogue(ctx, r)
	if err != nil {
		return model.DatastoreVersion{}, err
	}
	d, err := c.datastore(r.path["datastore"])
	if err != nil {
		return model.DatastoreVersion{}, err
	}
	return c.version(d.ID, r.path["version"])
}

func (r *request) datastoreView(c catalogue, d model.Datastore) Datastore {
	return Datastore{
		ID: d.ID, Name: d.Name, DefaultVersion: d.DefaultVersionID, Links: r.links("datastores", d.ID), Versions: r.versionViews(c, d.ID, false),
	}
}

func (r *request) versionViews(c catalogue, datastore string, withDatastore bool) []DatastoreVersion {
	views := []DatastoreVersion{}
	for i := range c.versions {
		if c.versions[i].DatastoreID == datastore {
			views = append(views, r.versionView(c.versions[i], withDatastore))
		}
	}
	return views
}

func (r *request) versionView(v model.DatastoreVersion, withDatastore bool) DatastoreVersion {
	view := DatastoreVersion{ID: v.ID, Name: v.Name, Version: v.Name, Links: r.links("datastores/versions", v.ID)}
	if withDatastore {
		view.Datastore = v.DatastoreID
	}
	if r.admin() {
		view.DatastoreVersionAdmin = &DatastoreVersionAdmin{Active: v.Active, Packages: []string{}, Image: v.Image, ImageTags: []string{}}
	}
	return view
}
