package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// observe reads what was asked for and what is.
func (k *Keeper) observe(ctx context.Context, id string) (Observation, error) {
	o := Observation{Now: k.now()}
	err := k.e.Store.View(ctx, func(tx metastore.Tx) error {
		var err error
		if o.Instance, err = tx.Instances().Get(ctx, id); err != nil {
			return err
		}
		c, err := readCatalogue(ctx, tx)
		if err != nil {
			return err
		}
		var ok bool
		if o.Flavor, ok = c.flavors[o.Instance.FlavorID]; !ok {
			return fmt.Errorf("flavor %s is gone from the catalogue", o.Instance.FlavorID)
		}
		if o.Version, ok = c.versions[o.Instance.DatastoreVersionID]; !ok {
			return fmt.Errorf("datastore version %s is gone from the catalogue", o.Instance.DatastoreVersionID)
		}
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("reading the instance: %w", err)
	}
	k.view.fill(&o)
	o.Held = k.held(&o.Instance)
	return o, nil
}

// observeAll reads all that was asked for. An instance whose flavor or version is gone is left to observe, which says so.
func (k *Keeper) observeAll(ctx context.Context) ([]Observation, error) {
	var all []model.Instance
	var c catalogue
	err := k.e.Store.View(ctx, func(tx metastore.Tx) (err error) {
		if c, err = readCatalogue(ctx, tx); err != nil {
			return err
		}
		all, err = tx.Instances().List(ctx, metastore.InstanceFilter{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading all instances: %w", err)
	}
	observations := make([]Observation, 0, len(all))
	for i := range all {
		f, known := c.flavors[all[i].FlavorID]
		v, offered := c.versions[all[i].DatastoreVersionID]
		if !known || !offered {
			k.queue.add(all[i].ID)
			continue
		}
		observations = append(observations, Observation{Instance: all[i], Flavor: f, Version: v, Now: k.now()})
	}
	return observations, nil
}

// held says why an instance's cluster cannot do without it yet. A cluster that is deleted as a whole needs nobody.
func (k *Keeper) held(i *model.Instance) string {
	if i.ClusterID == "" {
		return ""
	}
	row, _, _ := k.clusters.get(i.ClusterID).rows()
	r, known := k.view.record(i.ClusterID)
	switch {
	case row.Desired == model.DesiredDeleted || !known:
		return ""
	case r.Primary == i.ID || r.Source() == i.ID:
		return "it is the primary of its cluster"
	case partOf(r.Record, i.ID):
		return "its cluster goes on without it first"
	}
	return ""
}

// catalogue is flavors and datastore versions by id.
type catalogue struct {
	flavors  map[string]model.Flavor
	versions map[string]model.DatastoreVersion
}

func readCatalogue(ctx context.Context, tx metastore.Tx) (catalogue, error) {
	c := catalogue{flavors: map[string]model.Flavor{}, versions: map[string]model.DatastoreVersion{}}
	flavors, err := tx.Catalogue().Flavors(ctx)
	if err != nil {
		return c, err
	}
	for _, f := range flavors {
		c.flavors[f.ID] = f
	}
	versions, err := tx.Catalogue().Versions(ctx)
	for _, v := range versions {
		c.versions[v.ID] = v
	}
	return c, err
}

// change edits an instance's row. edit sees the newest row; it must change only the seen half.
func (k *Keeper) change(ctx context.Context, id string, edit func(i *model.Instance) (kind, message string)) error {
	return k.update(ctx, func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(ctx, id)
		if errors.Is(err, metastore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		kind, message := edit(&i)
		i.Updated = k.now().UTC()
		if err := tx.Instances().Update(ctx, &i); err != nil {
			return err
		}
		if kind == "" {
			return nil
		}
		return tx.Events().Append(ctx, &model.Event{ProjectID: i.ProjectID, InstanceID: i.ID, Time: i.Updated, Kind: kind, Message: message})
	})
}
