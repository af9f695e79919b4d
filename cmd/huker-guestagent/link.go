package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/huker/huker/guest/agent"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/protocol"
)

// link is the agent's connection to coordination and the bus; nil when there is none. It ends with the process and is not closed: that would
// take the guest's status away at once, also when a newer agent is about to go on with it.
type link struct{ engines *engines.Engines }

// dial prepares the connection; that it comes about, and comes about again, is the engines' clients' work.
func dial(ctx context.Context, p paths.Paths, guest protocol.GuestConfig, log *slog.Logger) (link, error) {
	var pem [3][]byte
	for i, name := range []string{paths.FileCoordCA, paths.FileAgentCert, paths.FileAgentKey} {
		b, err := os.ReadFile(p.Secret(name))
		if err != nil {
			return link{}, fmt.Errorf("dial: %w", err)
		}
		pem[i] = b
	}
	e, err := engines.Open(ctx, engines.Config{
		Coordination: guest.Coordination, Bus: guest.Bus, Credentials: engines.Credentials{CA: pem[0], Cert: pem[1], Key: pem[2]},
	}, log)
	return link{e}, err
}

// into gives cfg the connection, if there is one: a nil pointer in an interface would not be nil.
func (l link) into(cfg agent.Config) agent.Config {
	if l.engines != nil {
		cfg.Store, cfg.Bus = l.engines.Coord, l.engines.Bus
	}
	return cfg
}
