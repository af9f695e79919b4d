package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// errOver means that a connection is not used any more.
var errOver = errors.New("the connection is over")

// meanings maps what ZooKeeper says to what every engine says. All else leaves open whether a change was made.
var meanings = []struct{ zk, coord error }{
	{gozk.ErrNoNode, coord.ErrNotFound},
	{gozk.ErrNoAuth, coord.ErrDenied},
	{gozk.ErrAuthFailed, coord.ErrDenied},
	{gozk.ErrInvalidPath, coord.ErrInvalid},
	{gozk.ErrShortBuffer, coord.ErrInvalid}, // of the client's own buffer for requests
	{gozk.ErrBadArguments, coord.ErrInvalid},
}

// ours are not mapped again.
var ours = []error{
	coord.ErrNotFound, coord.ErrConflict, coord.ErrSessionLost, coord.ErrUnavailable, coord.ErrDenied, coord.ErrInvalid,
}

// mapError gives err the meaning that package coord gives its errors; nil stays nil.
func mapError(what string, err error) error {
	if err == nil {
		return nil
	}
	if slices.ContainsFunc(ours, func(o error) bool { return errors.Is(err, o) }) {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, k := range meanings {
		if errors.Is(err, k.zk) {
			return fmt.Errorf("%s: %w: %w", what, k.coord, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", what, coord.ErrUnavailable, err)
}

// answers are the server's; with any other error none came.
var answers = []error{
	gozk.ErrNoNode, gozk.ErrNodeExists, gozk.ErrBadVersion, gozk.ErrNotEmpty, gozk.ErrNoChildrenForEphemerals, gozk.ErrNoAuth, gozk.ErrAuthFailed,
	gozk.ErrInvalidACL, gozk.ErrInvalidPath, gozk.ErrShortBuffer, gozk.ErrBadArguments,
}

// broken tells an answer of the server from the lack of one.
func broken(err error) bool {
	is := func(known error) bool { return errors.Is(err, known) }
	return err != nil && !slices.ContainsFunc(answers, is) && !slices.ContainsFunc(ours, is)
}

// overtaken says that the server refused a change because something is not as it was read.
func overtaken(err error) bool {
	refusals := []error{gozk.ErrNoNode, gozk.ErrNodeExists, gozk.ErrBadVersion, gozk.ErrNotEmpty, gozk.ErrNoChildrenForEphemerals}
	return slices.ContainsFunc(refusals, func(r error) bool { return errors.Is(err, r) })
}

// ended is why ctx is over, as an answer that never came.
func ended(ctx context.Context) error { return fmt.Errorf("%w: %w", coord.ErrUnavailable, ctx.Err()) }
