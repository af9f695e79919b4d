package controlplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// flavors are the sizes that a fresh deployment offers. Below 512 MB MySQL 9.7 does not run well: it takes about 350 MB idle.
func flavors() []model.Flavor {
	return []model.Flavor{
		{ID: "1", Name: "db.micro", RAMMB: 512, VCPUs: 1},
		{ID: "2", Name: "db.small", RAMMB: 1024, VCPUs: 1},
		{ID: "3", Name: "db.medium", RAMMB: 2048, VCPUs: 2},
		{ID: "4", Name: "db.large", RAMMB: 4096, VCPUs: 2},
		{ID: "5", Name: "db.xlarge", RAMMB: 8192, VCPUs: 4},
		{ID: "6", Name: "db.2xlarge", RAMMB: 16384, VCPUs: 8},
		{ID: "7", Name: "db.4xlarge", RAMMB: 32768, VCPUs: 16},
	}
}

// idSpace makes ids of the catalogue that are the same in every deployment.
var idSpace = uuid.MustParse("6f1f3a5e-4f0c-5b0e-9d7b-0b7c3a5d9a11")

// DatastoreID and VersionID are stable names.
func DatastoreID(name string) string {
	return uuid.NewSHA1(idSpace, []byte("datastore/"+name)).String()
}

// VersionID is the id of a version of a datastore.
func VersionID(datastore, version string) string {
	return uuid.NewSHA1(idSpace, []byte("datastore/"+datastore+"/"+version)).String()
}

// seedCatalogue puts in the flavors that are missing, and the versions whose images are here. What is there already is not taken away: instances
// may use it.
func seedCatalogue(ctx context.Context, s metastore.Store, versions []model.DatastoreVersion) error {
	err := s.Update(ctx, func(tx metastore.Tx) error {
		have, err := tx.Catalogue().Flavors(ctx)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, f := range have {
			known[f.ID] = true
		}
		for _, f := range flavors() {
			if !known[f.ID] {
				if err := tx.Catalogue().PutFlavor(ctx, f); err != nil {
					return err
				}
			}
		}
		for _, v := range versions {
			if err := putVersion(ctx, tx, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("seeding the catalogue: %w", err)
	}
	return nil
}

// putVersion adds a version, with its datastore when it is the first. The newest one seeded becomes the default.
func putVersion(ctx context.Context, tx metastore.Tx, v model.DatastoreVersion) error {
	if v.Name == "" || v.Engine == "" || v.Image == "" {
		return errors.New("a datastore version needs a name, an engine and an image")
	}
	d := model.Datastore{ID: DatastoreID(v.Engine), Name: v.Engine}
	v.ID, v.DatastoreID, v.Active = VersionID(v.Engine, v.Name), d.ID, true
	d.DefaultVersionID = v.ID
	if err := tx.Catalogue().PutDatastore(ctx, d); err != nil {
		return err
	}
	return tx.Catalogue().PutVersion(ctx, v)
}
