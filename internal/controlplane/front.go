package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/huker/huker/api"
	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/guestclient"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/protocol"
)

// guestCall bounds what a client of the API waits for a database to answer.
const guestCall = 30 * time.Second

// front is the HTTP server.
type front struct {
	server *http.Server
	listen string
}

func (p *plane) newFront() (*front, error) {
	auth, err := identity.NewChain(identity.ChainConfig{
		Service: p.identity, Keystone: p.cfg.Keystone, StaticToken: p.cfg.StaticToken, None: p.cfg.NoAuth, Listen: p.cfg.Listen,
	})
	if err != nil {
		return nil, err
	}
	guests, err := guestclient.New(p.bus, guestCall)
	if err != nil {
		return nil, err
	}
	trove, err := api.New(api.Config{
		Store: p.store, Guests: guests, Kick: p.kick, Auth: auth, Region: p.cfg.Region, PublicURL: p.cfg.PublicURL,
		NetworkID: DatastoreID("network/" + p.cfg.Name), Log: p.cfg.Log.With("part", "api"),
	})
	if err != nil {
		return nil, err
	}
	ident, err := keystone.New(keystone.Config{
		Service: p.identity, Auth: auth, PublicURL: p.cfg.PublicURL, Region: p.cfg.Region, Log: p.cfg.Log.With("part", "keystone"),
	})
	if err != nil {
		return nil, err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
		case "identity", "v3":
			ident.ServeHTTP(w, r)
		case "healthz":
			p.healthz(w, r)
		default:
			trove.ServeHTTP(w, r)
		}
	})
	return &front{listen: p.cfg.Listen, server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}}, nil
}

// Run serves until ctx ends, and lets requests under way finish.
func (f *front) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	// Requests outlive the order to stop by a moment: they finish.
	base := context.WithoutCancel(ctx)
	f.server.BaseContext = func(net.Listener) context.Context { return base }
	done := make(chan error, 1)
	go func() { done <- f.server.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := f.server.Shutdown(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}

func (p *plane) kick(ctx context.Context, k protocol.Kick) error {
	body, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return p.bus.Publish(ctx, protocol.KeeperQueue, bus.Message{Kind: protocol.KindKick, Body: body})
}

// healthz says whether the engines answer: 200, or 503 and which does not.
func (p *plane) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	state := map[string]string{}
	code := http.StatusOK
	check := func(name string, err error) {
		state[name] = "ok"
		if err != nil {
			state[name] = "does not answer"
			code = http.StatusServiceUnavailable
			p.cfg.Log.Warn("unhealthy", "op", "health", "part", name, "error", err)
		}
	}
	check("metadata", p.store.Ping(ctx))
	check("coordination", p.etcd.Health(ctx))
	_, _, _, err := p.engine.Capacity(ctx)
	check("runtime", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(state)
}
