package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// ActionBody is one thing to do with an instance.
type ActionBody struct {
	Restart     *Empty  `json:"restart,omitempty"`
	Resize      *Resize `json:"resize,omitempty"`
	ResetStatus *Empty  `json:"reset_status,omitempty"`
	Promote     *Empty  `json:"promote_to_replica_source,omitempty"`
	Eject       *Empty  `json:"eject_replica_source,omitempty"`
}

// Resize gives an instance another flavor or a larger volume.
type Resize struct {
	FlavorRef FlavorRef   `json:"flavorRef,omitempty"`
	Volume    *VolumeWish `json:"volume,omitempty"`
}

// VolumeWish is a volume's new size in GB.
type VolumeWish struct {
	Size SizeGB `json:"size"`
}

func (s *server) actionRoutes(t *table) {
	on(t, spec{method: http.MethodPost, path: "instances/{id}/action", id: "actOnInstance", tag: "instances",
		summary: "Restart or resize an instance, or give up what it does", status: http.StatusAccepted,
		errs: []int{http.StatusUnprocessableEntity, http.StatusNotImplemented}}, s.act)
}

func (s *server) act(ctx context.Context, r *request, in *ActionBody) (*none, error) {
	given := 0
	for _, is := range []bool{in.Restart != nil, in.Resize != nil, in.ResetStatus != nil, in.Promote != nil, in.Eject != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, badRequest("Exactly one action must be given.")
	}
	switch {
	case in.Restart != nil:
		return nil, s.restart(ctx, r)
	case in.ResetStatus != nil:
		return nil, s.resetStatus(ctx, r)
	case in.Resize != nil:
		return nil, s.resize(ctx, r, in.Resize)
	}
	if _, err := s.instance(ctx, r); err != nil {
		return nil, err
	}
	return nil, notImplemented("Replicas are not implemented yet.")
}

func (s *server) restart(ctx context.Context, r *request) error {
	return s.change(ctx, r, originRestart, func(_ metastore.Tx, i *model.Instance) (note, error) {
		if err := idle(i); err != nil {
			return note{}, err
		}
		i.RestartSerial++
		begin(i, model.StatusReboot)
		return note{"instance.restart.requested", "A restart was asked for by " + r.who() + "."}, nil
	})
}

// begin marks that something was asked for: clients see the instance busy before they have their answer.
func begin(i *model.Instance, status model.Status) {
	i.Generation++
	i.Status, i.OperatingStatus, i.Fault = status, model.OperatingBusy, nil
}

func (s *server) resize(ctx context.Context, r *request, in *Resize) error {
	switch {
	case in.FlavorRef != "" && in.Volume != nil:
		return badRequest("Resize either the flavor or the volume, not both at once.")
	case in.FlavorRef != "":
		return s.resizeFlavor(ctx, r, string(in.FlavorRef))
	case in.Volume != nil:
		return s.resizeVolume(ctx, r, int(in.Volume.Size))
	}
	return badRequest("Validation error: resize needs flavorRef or volume.")
}

func (s *server) resizeFlavor(ctx context.Context, r *request, ref string) error {
	return s.change(ctx, r, originResize, func(tx metastore.Tx, i *model.Instance) (note, error) {
		if err := idle(i); err != nil {
			return note{}, err
		}
		to, err := findFlavor(ctx, tx, ref)
		if err != nil {
			return note{}, err
		}
		if to.ID == i.FlavorID {
			return note{}, badRequest("The new flavor id must be different than the current flavor id of '%s'.", i.FlavorID)
		}
		from := model.Flavor{ID: i.FlavorID, Name: i.FlavorID}
		all, err := tx.Catalogue().Flavors(ctx)
		if err != nil {
			return note{}, err
		}
		for k := range all {
			if all[k].ID == i.FlavorID {
				from = all[k]
			}
		}
		if err := s.take(ctx, tx, i.ProjectID, demand{ramMB: to.RAMMB - from.RAMMB}); err != nil {
			return note{}, err
		}
		i.FlavorID = to.ID
		begin(i, model.StatusResize)
		return note{"instance.resize.requested", fmt.Sprintf("A change from flavor %s to %s was asked for by %s.", from.Name, to.Name, r.who())}, nil
	})
}

func (s *server) resizeVolume(ctx context.Context, r *request, size int) error {
	return s.change(ctx, r, originResize, func(tx metastore.Tx, i *model.Instance) (note, error) {
		switch {
		case size <= i.VolumeGB:
			return note{}, badRequest("The new volume 'size' must be larger than the current volume size of '%d'.", i.VolumeGB)
		case size > s.Limits.MaxVolumeGB:
			return note{}, badRequest("Validation error: resize.volume.size must be at most %d.", s.Limits.MaxVolumeGB)
		}
		if err := idle(i); err != nil {
			return note{}, err
		}
		if err := s.take(ctx, tx, i.ProjectID, demand{volumesGB: size - i.VolumeGB}); err != nil {
			return note{}, err
		}
		text := fmt.Sprintf("A larger volume, of %d GB instead of %d GB, was asked for by %s.", size, i.VolumeGB, r.who())
		i.VolumeGB = size
		begin(i, model.StatusResize)
		return note{"instance.resize.requested", text}, nil
	})
}

// resetStatus gives up whatever the instance is doing, so that it can be deleted, or asked for something again. nodekeeper makes it
// ACTIVE once more if its database is well.
func (s *server) resetStatus(ctx context.Context, r *request) error {
	return s.change(ctx, r, originReset, func(_ metastore.Tx, i *model.Instance) (note, error) {
		i.Status, i.OperatingStatus = model.StatusError, model.OperatingError
		i.Fault = &model.Fault{Message: "reset by " + r.who(), Created: s.now()}
		return note{"instance.status.reset", "The status was reset by " + r.who() + "."}, nil
	})
}
