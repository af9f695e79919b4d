package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/huker/huker/guest/agent"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/coord/etcd"
)

// link is the agent's connection to coordination and the bus; both nil when there is none. It ends with the process and is not closed: that would
// take the guest's status away at once, also when a newer agent is about to go on with it.
type link struct {
	store *etcd.Store
	bus   *etcdbus.Bus
}

// dial prepares the connection; that it comes about, and comes about again, is the engine's client's work.
func dial(ctx context.Context, p paths.Paths, endpoints []string, log *slog.Logger) (link, error) {
	var pem [3][]byte
	for i, name := range []string{paths.FileCoordCA, paths.FileAgentCert, paths.FileAgentKey} {
		b, err := os.ReadFile(p.Secret(name))
		if err != nil {
			return link{}, fmt.Errorf("dial: %w", err)
		}
		pem[i] = b
	}
	store, err := etcd.Dial(ctx, etcd.ClientConfig{Endpoints: endpoints, CA: pem[0], Cert: pem[1], Key: pem[2]})
	if err != nil {
		return link{}, err
	}
	return link{store: store, bus: etcdbus.New(store, etcdbus.Config{Logger: log})}, nil
}

// into gives cfg the connection, if there is one: a nil pointer in an interface would not be nil.
func (l link) into(cfg agent.Config) agent.Config {
	if l.store != nil {
		cfg.Store, cfg.Bus = l.store, l.bus
	}
	return cfg
}
