package fault

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/test/fleet"
)

// onHost is something done to a host. All that was done to it is undone at once.
func onHost(h *fleet.Host, what string, strike func(context.Context) error) Fault {
	return Step{What: h.Name + " " + what, Strike: strike, Undo: h.Heal}
}

// CutHost has a host exchange no packets with some others, or with nobody; nobody is told.
func CutHost(h *fleet.Host, from string, c fleet.Cut) Fault {
	what := "is cut from " + from
	if c.Way != fleet.Both {
		what += fmt.Sprintf(" (%sbound)", c.Way)
	}
	return onHost(h, what, func(ctx context.Context) error { return h.CutFrom(ctx, c) })
}

// SlowHost limits what comes to a host and what goes from it.
func SlowHost(h *fleet.Host, bitsPerSecond int) Fault {
	return onHost(h, fmt.Sprintf("has %.1f Mbit/s", float64(bitsPerSecond)/1e6), func(context.Context) error { return h.Slow(bitsPerSecond) })
}

// PauseHost stops all processes of a host at one moment; its kernel goes on.
func PauseHost(h *fleet.Host) Fault {
	return onHost(h, "hangs", func(ctx context.Context) error { return h.Pause(ctx) })
}

// LoseHost ends a host as a power failure does. It is started again.
func LoseHost(h *fleet.Host) Fault { return onHost(h, "loses its power", h.Lose) }

// KillDocker kills the engine of a host. Containers go on, until there is another one.
func KillDocker(h *fleet.Host) Fault {
	return onHost(h, "has its dockerd killed", func(ctx context.Context) error { return h.StopDocker(ctx, unix.SIGKILL) })
}

// FillDisk leaves so many bytes on the disk that a host has its databases on.
func FillDisk(h *fleet.Host, room int64) Fault {
	return onHost(h, fmt.Sprintf("has %d MiB of room left", room>>20), func(context.Context) error { return h.FillDisk(room) })
}
