package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
)

// ErrGuest means that guest.json is not what a supervisor can work with.
var ErrGuest = errors.New("supervisor: guest.json")

func readGuest(path string) (protocol.GuestConfig, error) {
	var g protocol.GuestConfig
	b, err := os.ReadFile(path) // #nosec G304 -- the guest's own configuration
	if err != nil {
		return g, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	if err := json.Unmarshal(b, &g); err != nil {
		return g, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	if g.Agent == "" || g.Agent != filepath.Base(g.Agent) || g.Agent[0] == '.' {
		return g, fmt.Errorf("%w: the agent %q is no name of a file", ErrGuest, g.Agent)
	}
	if _, err := mycnf.Generate(inputOf(g, paths.Default())); err != nil {
		return g, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	return g, nil
}

func inputOf(g protocol.GuestConfig, p paths.Paths) mycnf.Input {
	return mycnf.Input{Version: g.Version, MemoryMB: g.MemoryMB, CPUs: g.CPUs, VolumeGB: g.VolumeGB, ServerID: g.ServerID, Paths: p}
}

// current reads guest.json again; one that cannot be used is logged, and the last good one stays in effect.
func (s *Supervisor) current() protocol.GuestConfig {
	g, err := readGuest(s.cfg.Paths.Config())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.log.Error("the configuration cannot be used: the one before stays", "op", "configure", "error", err)
		return s.guest
	}
	s.guest = g
	return g
}
