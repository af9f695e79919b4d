package embedded

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"github.com/huker/huker/internal/coord/etcd"
)

const rootRole = "root" // etcd's name for the role that may do everything

// enableAuth turns on etcd's permissions, with the control plane as root. Users have no passwords: the certificate's
// CommonName says who one is, and no request costs a bcrypt. Each step may have been done by an earlier attempt.
func enableAuth(ctx context.Context, s *etcdserver.EtcdServer) error {
	if s.AuthStore().IsAuthEnabled() {
		return nil
	}
	steps := []func() error{
		func() error {
			_, err := s.UserAdd(ctx, &pb.AuthUserAddRequest{Name: etcd.RootPrincipal, Options: &authpb.UserAddOptions{NoPassword: true}})
			return err
		},
		func() error {
			_, err := s.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: rootRole})
			return err
		},
		func() error {
			_, err := s.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: etcd.RootPrincipal, Role: rootRole})
			return err
		},
		func() error {
			_, err := s.AuthEnable(ctx, &pb.AuthEnableRequest{})
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil && !errors.Is(err, auth.ErrUserAlreadyExist) && !errors.Is(err, auth.ErrRoleAlreadyExist) {
			return fmt.Errorf("enable permissions: %w", err)
		}
	}
	return nil
}
