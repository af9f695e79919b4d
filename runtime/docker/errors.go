package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"github.com/huker/huker/runtime"
)

// errOverlap means that a subnet is taken: another one may be free.
var errOverlap = errors.New("docker: the subnet overlaps with another")

// mapError gives an engine's error its sentinel, by its type where the API has one.
func mapError(doing string, err error) error {
	if err == nil {
		return nil
	}
	sentinel := sentinelOf(err)
	if sentinel == nil || errors.Is(err, sentinel) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, sentinel, err)
}

func sentinelOf(err error) error {
	var operation *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil
	case client.IsErrConnectionFailed(err), errors.As(err, &operation), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errdefs.IsUnavailable(err):
		return runtime.ErrUnavailable
	}
	if s := byText(err); s != nil {
		return s
	}
	switch {
	case errdefs.IsNotFound(err):
		return runtime.ErrNotFound
	case errdefs.IsInvalidArgument(err):
		return runtime.ErrInvalid
	}
	return nil
}

// byText reads what the API has no type for: these come as 500, 403 or 409 with other meanings too. Nothing else in this package
// looks at an error's text.
func byText(err error) error {
	text := strings.ToLower(err.Error())
	for _, known := range []struct {
		part     string
		sentinel error
	}{
		{"no space left on device", runtime.ErrNoSpace},
		{"disk quota exceeded", runtime.ErrNoSpace},
		{"no such image", runtime.ErrNoImage},
		{"manifest unknown", runtime.ErrNoImage},
		{"address already in use", runtime.ErrInUse},
		{"has active endpoints", runtime.ErrInUse},
		{"volume is in use", runtime.ErrInUse},
		{"is not running", runtime.ErrNotRunning},
		{"pool overlaps with other one", errOverlap},
		{"networks have overlapping", errOverlap}, // "conflicts with network ...: networks have overlapping IPv4"
	} {
		if strings.Contains(text, known.part) {
			return known.sentinel
		}
	}
	return nil
}
