package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/huker/huker/internal/coord"
)

// known maps what etcd says to what every engine says. All else leaves open whether a change was made.
var known = []struct{ etcd, coord error }{
	{rpctypes.ErrPermissionDenied, coord.ErrDenied},
	{rpctypes.ErrUserNotFound, coord.ErrDenied},
	{rpctypes.ErrUserEmpty, coord.ErrDenied},
	{rpctypes.ErrAuthFailed, coord.ErrDenied},
	{rpctypes.ErrInvalidAuthToken, coord.ErrDenied},
	{rpctypes.ErrLeaseNotFound, coord.ErrSessionLost},
	{rpctypes.ErrRequestTooLarge, coord.ErrInvalid},
	{rpctypes.ErrTooManyOps, coord.ErrInvalid},
	{rpctypes.ErrDuplicateKey, coord.ErrInvalid},
}

// MapError gives err the meaning that package coord gives its errors; nil stays nil.
func MapError(what string, err error) error {
	if err == nil {
		return nil
	}
	plain := rpctypes.Error(err)
	for _, k := range known {
		if errors.Is(plain, k.etcd) {
			return fmt.Errorf("%s: %w: %w", what, k.coord, err)
		}
	}
	switch code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%s: %w: %w", what, coord.ErrDenied, err)
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %w: %w: %w", what, coord.ErrUnavailable, context.DeadlineExceeded, err)
	case codes.Canceled:
		return fmt.Errorf("%s: %w: %w: %w", what, coord.ErrUnavailable, context.Canceled, err)
	}
	return fmt.Errorf("%s: %w: %w", what, coord.ErrUnavailable, err)
}

// code is the gRPC code of err; etcd's own error type hides it from status.Code.
func code(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// stale says that the rights of someone changed while the request was under way; nothing was done, it is repeated.
func stale(err error) bool { return errors.Is(rpctypes.Error(err), rpctypes.ErrAuthOldRevision) }
