package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
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
		summary: "Restart or resize an instance, promote or eject it, or give up what it does", status: http.StatusAccepted,
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
	if in.Promote != nil {
		return nil, s.promote(ctx, r)
	}
	return nil, s.eject(ctx, r)
}

func (s *server) restart(ctx context.Context, r *request) error {
	return s.change(ctx, r, originRestart, func(tx metastore.Tx, i *model.Instance) (note, error) {
		k, err := kinOf(ctx, tx, i)
		if err == nil {
			err = errors.Join(k.quiet(i), idle(i))
		}
		if err != nil {
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
		if _, err := resizable(ctx, tx, i); err != nil {
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

// resizable refuses to resize what is busy, and members of clusters, which are all alike.
func resizable(ctx context.Context, tx metastore.Tx, i *model.Instance) (*kin, error) {
	k, err := kinOf(ctx, tx, i)
	if err != nil {
		return nil, err
	}
	if err := k.belongs(i, "all its members have one size, which cannot be changed yet"); err != nil {
		return nil, err
	}
	if err := k.quiet(i); err != nil {
		return nil, err
	}
	return k, idle(i)
}

// resizeVolume reaches a primary's replicas, too: they hold the same.
func (s *server) resizeVolume(ctx context.Context, r *request, size int) error {
	var more []protocol.Kick
	err := s.change(ctx, r, originResize, func(tx metastore.Tx, i *model.Instance) (note, error) {
		switch {
		case size <= i.VolumeGB:
			return note{}, badRequest("The new volume 'size' must be larger than the current volume size of '%d'.", i.VolumeGB)
		case size > s.Limits.MaxVolumeGB:
			return note{}, badRequest("Validation error: resize.volume.size must be at most %d.", s.Limits.MaxVolumeGB)
		}
		k, err := resizable(ctx, tx, i)
		if err != nil {
			return note{}, err
		}
		grow := size - i.VolumeGB
		var replicas []*model.Instance
		if k != nil && k.cluster.PrimaryID == i.ID {
			for _, m := range k.staying() {
				if m.ID == i.ID || m.VolumeGB >= size {
					continue
				}
				if err := idle(m); err != nil {
					return note{}, err
				}
				replicas = append(replicas, m)
				grow += size - m.VolumeGB
			}
		}
		if err := s.take(ctx, tx, i.ProjectID, demand{volumesGB: grow}); err != nil {
			return note{}, err
		}
		more = nil
		for _, m := range replicas {
			n := enlarge(r, m, size)
			m.Updated = s.now()
			if err := errors.Join(tx.Instances().Update(ctx, m), s.record(ctx, tx, r, m, n)); err != nil {
				return note{}, err
			}
			more = append(more, protocol.Kick{Instance: m.ID})
		}
		return enlarge(r, i, size), nil
	})
	if err == nil {
		s.kick(ctx, r, originResize, more...)
	}
	return err
}

func enlarge(r *request, i *model.Instance, size int) note {
	text := fmt.Sprintf("A larger volume, of %d GB instead of %d GB, was asked for by %s.", size, i.VolumeGB, r.who())
	i.VolumeGB = size
	begin(i, model.StatusResize)
	return note{"instance.resize.requested", text}
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
