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
		o.Flavor, err = flavorOf(ctx, tx, o.Instance.FlavorID)
		if err != nil {
			return err
		}
		o.Version, err = versionOf(ctx, tx, o.Instance.DatastoreVersionID)
		return err
	})
	if err != nil {
		return o, fmt.Errorf("reading the instance: %w", err)
	}
	k.view.fill(&o)
	return o, nil
}

func flavorOf(ctx context.Context, tx metastore.Tx, id string) (model.Flavor, error) {
	all, err := tx.Catalogue().Flavors(ctx)
	if err != nil {
		return model.Flavor{}, err
	}
	for _, f := range all {
		if f.ID == id {
			return f, nil
		}
	}
	return model.Flavor{}, fmt.Errorf("flavor %s is gone from the catalogue", id)
}

func versionOf(ctx context.Context, tx metastore.Tx, id string) (model.DatastoreVersion, error) {
	all, err := tx.Catalogue().Versions(ctx)
	if err != nil {
		return model.DatastoreVersion{}, err
	}
	for _, v := range all {
		if v.ID == id {
			return v, nil
		}
	}
	return model.DatastoreVersion{}, fmt.Errorf("datastore version %s is gone from the catalogue", id)
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
