package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/huker/huker/internal/protocol"
)

// errConfig is what guest.json lacks without which there is nothing to do. What only keeps the agent from coordination and the bus is none: its
// database is given its role all the same.
var errConfig = errors.New("guest.json")

func readGuest(path string) (protocol.GuestConfig, error) {
	var g protocol.GuestConfig
	b, err := os.ReadFile(path)
	if err != nil {
		return g, fmt.Errorf("%w: %w: the host's huker-sysmgr writes it", errConfig, err)
	}
	if err := json.Unmarshal(b, &g); err != nil {
		return g, fmt.Errorf("%w: %s: %w", errConfig, path, err)
	}
	if g.Instance == "" {
		return g, fmt.Errorf("%w: %s names no instance", errConfig, path)
	}
	return g, nil
}
