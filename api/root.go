package api

import (
	"context"
	"net/http"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// RootEnabledBody says whether root can sign in.
type RootEnabledBody struct {
	RootEnabled bool `json:"rootEnabled"`
}

// EnableRootBody may bring a password.
type EnableRootBody struct {
	Password *string `json:"password,omitempty" maxLength:"255" nullable:"true" writeOnly:"true" doc:"One is made when it is left out"`
}

// RootBody is root with the password, which is shown this once.
type RootBody struct {
	User RootUser `json:"user"`
}

// RootUser is root.
type RootUser struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (s *server) rootRoutes(t *table) {
	const path = "instances/{id}/root"
	on(t, spec{method: http.MethodGet, path: path, id: "showRoot", tag: "root", summary: "Say whether root is enabled",
		status: http.StatusOK, errs: guestErrors}, s.showRoot)
	on(t, spec{method: http.MethodPost, path: path, id: "enableRoot", tag: "root", summary: "Enable root, or give it a new password",
		status: http.StatusOK, errs: guestErrors, optional: true}, s.enableRoot)
	on(t, spec{method: http.MethodDelete, path: path, id: "disableRoot", tag: "root", summary: "Disable root",
		status: http.StatusNoContent, errs: guestErrors}, s.disableRoot)
}

func (s *server) showRoot(ctx context.Context, r *request, _ *none) (*RootEnabledBody, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	root, err := s.Guests.Root(ctx, i.ID)
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	return &RootEnabledBody{RootEnabled: root.Enabled}, nil
}

func (s *server) enableRoot(ctx context.Context, r *request, in *EnableRootBody) (*RootBody, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	password := ""
	if in.Password != nil && *in.Password != "" {
		password = *in.Password
		if err := checkPassword(password); err != nil {
			return nil, err
		}
	}
	root, err := s.Guests.EnableRoot(ctx, i.ID, password)
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	s.noteRoot(ctx, r, &i, true)
	return &RootBody{User: RootUser{Name: "root", Password: orDefault(root.Password, password)}}, nil
}

func (s *server) disableRoot(ctx context.Context, r *request, _ *none) (*none, error) {
	i, err := s.writer(ctx, r)
	if err != nil {
		return nil, err
	}
	root, err := s.Guests.Root(ctx, i.ID)
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	if !root.Enabled {
		return nil, notFound("Root user has never been enabled on the instance.")
	}
	if err := s.Guests.DisableRoot(ctx, i.ID); err != nil {
		return nil, guestFault(i.ID, err)
	}
	s.noteRoot(ctx, r, &i, false)
	return nil, nil //nolint:nilnil // an answer without a body
}

// noteRoot writes the history; where there are several members, that of all: root is the same everywhere. When that fails the answer stays: it holds a
// password that is in effect and that nobody could learn otherwise.
func (s *server) noteRoot(ctx context.Context, r *request, i *model.Instance, enabled bool) {
	ctx = context.WithoutCancel(ctx)
	err := s.update(ctx, func(tx metastore.Tx) error {
		now, err := tx.Instances().Get(ctx, i.ID)
		if err != nil {
			return err
		}
		all := []model.Instance{now}
		if now.ClusterID != "" {
			if all, err = tx.Instances().List(ctx, metastore.InstanceFilter{ClusterID: now.ClusterID}); err != nil {
				return err
			}
		}
		for n := range all {
			if err := s.setRoot(ctx, tx, r, &all[n], enabled); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.Log.Error("root's history was not written", "op", "root", "instance", i.ID, "request", r.id, "error", err)
		return
	}
	passStored(ctx, originRoot)
	s.kick(ctx, r, originRoot, protocol.Kick{Instance: i.ID})
}

func (s *server) setRoot(ctx context.Context, tx metastore.Tx, r *request, i *model.Instance, enabled bool) error {
	i.RootEnabled, i.Updated = enabled, s.now()
	n := note{"root.disabled", "Root was disabled by " + r.who() + "."}
	if enabled {
		n = note{"root.enabled", "Root was enabled by " + r.who() + "."}
		if i.RootEnabledAt.IsZero() { // Trove keeps the first time only
			i.RootEnabledAt, i.RootEnabledBy = s.now(), r.who()
		}
	}
	if err := tx.Instances().Update(ctx, i); err != nil {
		return err
	}
	return s.record(ctx, tx, r, i, n)
}
