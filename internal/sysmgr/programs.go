package sysmgr

import (
	"context"
	"strings"
	"time"

	"github.com/huker/huker/internal/protocol"
)

// programsPause is before programs that did not come are asked for again.
const programsPause = 2 * time.Second

// Programs are what guests run, in BinDir.
type Programs interface {
	// Agent is the file that every guest is to run; empty while it is not there.
	Agent() string
	// Here are those that can be handed to other hosts, Lacking those that have still to come.
	Here() []protocol.Program
	Lacking() []protocol.Program
	// Fetch gets what is lacking from other hosts.
	Fetch(ctx context.Context, sources []string) error
}

// Installed is an agent's file that is there, and nobody else's.
type Installed string

// Agent is the file.
func (i Installed) Agent() string { return string(i) }

// Here is nothing: nobody asks.
func (Installed) Here() []protocol.Program { return nil }

// Lacking is nothing.
func (Installed) Lacking() []protocol.Program { return nil }

// Fetch has nothing to do.
func (Installed) Fetch(context.Context, []string) error { return nil }

// equip has what is lacking be fetched, and does not wait for it.
func (h *Host) equip(r protocol.ProgramsRequest) error {
	if err := h.heed(r.Term); err != nil {
		return err
	}
	select {
	case h.sources <- r.Sources:
	default: // it is under way; nodekeeper asks again
	}
	return nil
}

// fetchPrograms fetches whenever it is told from where.
func (h *Host) fetchPrograms(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case sources := <-h.sources:
			h.fetchFrom(ctx, sources)
		}
	}
}

func (h *Host) fetchFrom(ctx context.Context, sources []string) {
	if len(h.cfg.Programs.Lacking()) == 0 {
		return
	}
	err := h.cfg.Programs.Fetch(ctx, sources)
	if ctx.Err() != nil {
		return
	}
	h.placeMu.Lock()
	h.wanting = ""
	if err != nil {
		h.wanting = err.Error()
	}
	h.placeMu.Unlock()
	h.reannounce()
	if err != nil {
		h.log.Warn("the guests' programs do not come", "op", "programs", "error", err)
		wait(ctx, programsPause)
	}
}

// lacks says what a host waits for; empty: it has all.
func (h *Host) lacks() string {
	var names []string
	for _, p := range h.cfg.Programs.Lacking() {
		names = append(names, p.Name+" (SHA-256 "+p.Sum+")")
	}
	if len(names) == 0 {
		return ""
	}
	h.placeMu.Lock()
	defer h.placeMu.Unlock()
	why := "it has no " + strings.Join(names, " and no ") + " yet, which come from another host of this version, or are put beside huker-sysmgr"
	if h.wanting != "" {
		why += ": " + h.wanting
	}
	return why
}
