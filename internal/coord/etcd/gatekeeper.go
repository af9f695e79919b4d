package etcd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord"
)

// RootPrincipal is the control plane's name in etcd; it may do everything.
const RootPrincipal = "root"

// Gatekeeper gives rights in etcd. A principal is a user without a password (it comes in by its certificate's CommonName) with a
// role of its own, which holds its keys (Admit) and its queues (AdmitQueues) side by side.
type Gatekeeper struct{ store *Store }

var _ coord.Gatekeeper = (*Gatekeeper)(nil)

// NewGatekeeper needs the store of RootPrincipal.
func NewGatekeeper(s *Store) *Gatekeeper { return &Gatekeeper{store: s} }

// Admit implements coord.Gatekeeper. Rights to queues stay as they are.
func (g *Gatekeeper) Admit(ctx context.Context, principal string, rights coord.Rights) error {
	if err := coord.CheckRights(rights); err != nil {
		return err
	}
	want := permissions{}
	for _, p := range rights.Read {
		want[tree(encode(p))] = authpb.READ
	}
	for _, p := range rights.Own {
		want[tree(encode(p))] = authpb.READWRITE
	}
	return g.admit(ctx, principal, coordSpace, want)
}

// AdmitQueues allows principal to serve queues. Rights to other queues, given before, are taken back; those to keys stay.
func (g *Gatekeeper) AdmitQueues(ctx context.Context, principal string, queues []string) error {
	want := permissions{}
	for _, q := range queues {
		want[tree(QueueKey(q))] = authpb.READWRITE
	}
	return g.admit(ctx, principal, busSpace, want)
}

// permissions are what a role may do with ranges. Of ranges that overlap etcd gives what any of them gives.
type permissions map[Range]authpb.Permission_Type

var principalName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (g *Gatekeeper) admit(ctx context.Context, principal, space string, want permissions) error {
	if !principalName.MatchString(principal) || principal == RootPrincipal {
		return fmt.Errorf("admit: %w: principal %q", coord.ErrInvalid, principal)
	}
	role := roleOf(principal)
	have, err := g.permissions(ctx, role)
	if errors.Is(err, rpctypes.ErrRoleNotFound) {
		err = g.do(ctx, "admit "+principal, rpctypes.ErrRoleAlreadyExist, func(ctx context.Context) error {
			_, err := g.store.client.RoleAdd(ctx, role)
			return err
		})
	}
	if err != nil {
		return err
	}
	// First narrow, then widen. What is right already is left alone: each write here costs every principal's cached rights.
	for r := range have {
		if _, wanted := want[r]; strings.HasPrefix(r.From, space+" ") && !wanted {
			if err := g.revoke(ctx, role, r); err != nil {
				return err
			}
		}
	}
	for _, kind := range []authpb.Permission_Type{authpb.READ, authpb.READWRITE} {
		for r, wanted := range want {
			if has, granted := have[r]; wanted != kind || granted && has == kind {
				continue
			}
			if err := g.grant(ctx, role, r, kind); err != nil {
				return err
			}
		}
	}
	return g.enrol(ctx, principal, role)
}

// permissions are those that a role has.
func (g *Gatekeeper) permissions(ctx context.Context, role string) (permissions, error) {
	var resp *clientv3.AuthRoleGetResponse
	err := g.do(ctx, "look up "+role, nil, func(ctx context.Context) (err error) {
		resp, err = g.store.client.RoleGet(ctx, role)
		return err
	})
	if err != nil {
		return nil, err
	}
	have := permissions{}
	for _, p := range resp.Perm {
		have[Range{From: string(p.Key), To: string(p.RangeEnd)}] = p.PermType
	}
	return have, nil
}

// grant lets a role have a range in one way, and no longer in another one.
func (g *Gatekeeper) grant(ctx context.Context, role string, r Range, kind authpb.Permission_Type) error {
	return g.do(ctx, "widen "+role, nil, func(ctx context.Context) error {
		_, err := g.store.client.RoleGrantPermission(ctx, role, r.From, r.To, clientv3.PermissionType(kind))
		return err
	})
}

func (g *Gatekeeper) revoke(ctx context.Context, role string, r Range) error {
	return g.do(ctx, "narrow "+role, rpctypes.ErrPermissionNotGranted, func(ctx context.Context) error {
		_, err := g.store.client.RoleRevokePermission(ctx, role, r.From, r.To)
		return err
	})
}

// enrol makes sure that the principal exists and has its role.
func (g *Gatekeeper) enrol(ctx context.Context, principal, role string) error {
	var user *clientv3.AuthUserGetResponse
	err := g.do(ctx, "look up "+principal, nil, func(ctx context.Context) (err error) {
		user, err = g.store.client.UserGet(ctx, principal)
		return err
	})
	if err == nil {
		for _, r := range user.Roles {
			if r == role {
				return nil
			}
		}
	} else if !errors.Is(err, rpctypes.ErrUserNotFound) {
		return err
	}
	err = g.do(ctx, "admit "+principal, rpctypes.ErrUserAlreadyExist, func(ctx context.Context) error {
		_, err := g.store.client.UserAddWithOptions(ctx, principal, "", &clientv3.UserAddOptions{NoPassword: true})
		return err
	})
	if err != nil {
		return err
	}
	return g.do(ctx, "admit "+principal, nil, func(ctx context.Context) error {
		_, err := g.store.client.UserGrantRole(ctx, principal, role)
		return err
	})
}

// Expel implements coord.Gatekeeper: rights to keys and to queues.
func (g *Gatekeeper) Expel(ctx context.Context, principal string) error {
	if principal == RootPrincipal {
		return fmt.Errorf("expel: %w: principal %q", coord.ErrInvalid, principal)
	}
	err := g.do(ctx, "expel "+principal, rpctypes.ErrUserNotFound, func(ctx context.Context) error {
		_, err := g.store.client.UserDelete(ctx, principal)
		return err
	})
	if err != nil {
		return err
	}
	return g.do(ctx, "expel "+principal, rpctypes.ErrRoleNotFound, func(ctx context.Context) error {
		_, err := g.store.client.RoleDelete(ctx, roleOf(principal))
		return err
	})
}

// do runs a request that is as good as done when it fails with fine.
func (g *Gatekeeper) do(ctx context.Context, what string, fine error, request func(ctx context.Context) error) error {
	return g.store.Do(ctx, what, func(ctx context.Context) error {
		err := request(ctx)
		if fine != nil && errors.Is(rpctypes.Error(err), fine) {
			return nil
		}
		return err
	})
}

// roleOf keeps principals' roles apart from etcd's own "root".
func roleOf(principal string) string { return "principal:" + principal }
