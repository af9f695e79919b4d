package api

import (
	"context"

	points "github.com/huker/huker/internal/fault" // fault is Trove's word for an error answer here
)

// What a change came from, in the log, for nodekeeper, and in the names of the points.
const (
	originCreate  = "create"
	originUpdate  = "update"
	originDelete  = "delete"
	originRestart = "restart"
	originResize  = "resize"
	originReset   = "reset-status"
	originRoot    = "root"

	originReplicate  = "replicate"
	originPromote    = "promote"
	originEject      = "eject"
	originCluster    = "cluster"
	originSwitchover = "switchover"
)

// stored is where a request is in the store, and neither nodekeeper nor the client knows.
func stored(origin string) points.Point { return points.Point("api." + origin + ".stored") }

// passStored marks that a request has come so far. For it to be struck the server's base context must carry the striker.
func passStored(ctx context.Context, origin string) { points.Pass(ctx, stored(origin)) }

// Points are the places where a process may die in the middle of a request.
func Points() []points.Point {
	var ps []points.Point
	for _, origin := range []string{originCreate, originUpdate, originDelete, originRestart, originResize, originReset, originRoot,
		originReplicate, originPromote, originEject, originCluster, originSwitchover} {
		ps = append(ps, stored(origin))
	}
	return ps
}
