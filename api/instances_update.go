package api

import (
	"context"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// UpdateInstanceBody changes an instance.
type UpdateInstanceBody struct {
	Instance UpdateInstance `json:"instance"`
}

// UpdateInstance holds exactly one change, and a new name besides. None at all is how some clients detach a configuration.
type UpdateInstance struct {
	Name             *string       `json:"name,omitempty" minLength:"1" maxLength:"255"`
	Configuration    Given         `json:"configuration,omitempty" doc:"A configuration group's id, or null to detach it"`
	ReplicaOf        Given         `json:"replica_of,omitempty" doc:"Any value detaches a replica"`
	SlaveOf          Given         `json:"slave_of,omitempty" doc:"The same as replica_of"`
	Access           *AccessChange `json:"access,omitempty"`
	DatastoreVersion *string       `json:"datastore_version,omitempty" minLength:"1" maxLength:"255" doc:"A version's id or name, to upgrade to"`
}

// changes counts what is asked for besides the name.
func (u *UpdateInstance) changes() int {
	n := 0
	for _, given := range []bool{u.Configuration.Is, u.ReplicaOf.Is, u.SlaveOf.Is, u.Access != nil, u.DatastoreVersion != nil} {
		if given {
			n++
		}
	}
	return n
}

func (s *server) updateInstance(ctx context.Context, r *request, in *UpdateInstanceBody) (*none, error) {
	u := &in.Instance
	if u.changes() > 1 {
		return nil, badRequest("Only one attribute (except 'name') is allowed to update.")
	}
	if u.Name != nil {
		if err := checkName(*u.Name); err != nil {
			return nil, err
		}
	}
	return nil, s.change(ctx, r, originUpdate, func(tx metastore.Tx, i *model.Instance) (note, error) {
		if i.Desired == model.DesiredDeleted {
			return note{}, notReady(i)
		}
		n, err := s.applyUpdate(ctx, tx, r, i, u)
		if err != nil {
			return note{}, err
		}
		if u.Name != nil && *u.Name != i.Name {
			if n.kind == "" {
				n = note{"instance.renamed", "Renamed from " + i.Name + " to " + *u.Name + "."}
			}
			i.Name = *u.Name
		}
		if n.kind == "" {
			return n, errUnchanged
		}
		return n, nil
	})
}

func (s *server) applyUpdate(ctx context.Context, tx metastore.Tx, r *request, i *model.Instance, u *UpdateInstance) (note, error) {
	switch {
	case u.Configuration.Is && lastOfHref(u.Configuration.Text) != "":
		return note{}, notImplemented("Configuration groups are not implemented yet.")
	case u.ReplicaOf.Is, u.SlaveOf.Is:
		k, err := kinOf(ctx, tx, i)
		if err != nil {
			return note{}, err
		}
		return detach(r, k, i)
	case u.Access != nil:
		return applyAccess(r, i, u.Access)
	case u.DatastoreVersion != nil:
		return note{}, refuseUpgrade(ctx, tx, i, *u.DatastoreVersion)
	}
	return note{}, nil // a configuration is detached that nobody attached
}

// applyAccess is in effect within moments; the status stays, as connections do.
func applyAccess(r *request, i *model.Instance, change *AccessChange) (note, error) {
	if err := change.apply(&i.Access); err != nil {
		return note{}, err
	}
	if err := idle(i); err != nil {
		return note{}, err
	}
	i.Generation++
	i.OperatingStatus = model.OperatingBusy
	return note{"instance.access.requested", "A change of access was asked for by " + r.who() + "."}, nil
}

// refuseUpgrade says why an instance cannot be moved to another version.
func refuseUpgrade(ctx context.Context, tx metastore.Tx, i *model.Instance, ref string) error {
	c, err := readCatalogue(ctx, tx)
	if err != nil {
		return err
	}
	_, current := c.names(i.DatastoreVersionID)
	var datastore string
	for k := range c.versions {
		if c.versions[k].ID == i.DatastoreVersionID {
			datastore = c.versions[k].DatastoreID
		}
	}
	v, err := c.version(datastore, ref)
	switch {
	case err != nil:
		return err
	case v.ID == i.DatastoreVersionID:
		return badRequest("Instance %s has datastore version %s already.", i.ID, v.Name)
	case !v.Active:
		return badRequest("Datastore version '%s' is not active.", v.Name)
	}
	if err := idle(i); err != nil {
		return err
	}
	return faultf(http.StatusNotImplemented, "The upgrade of instance %s from datastore version %s to %s is not supported yet.", i.ID, current, v.Name)
}
