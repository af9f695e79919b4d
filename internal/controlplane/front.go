package controlplane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/huker/huker/api"
	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/guestclient"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/protocol"
)

// guestCall bounds what a client of the API waits for a database to answer.
const guestCall = 30 * time.Second

// front is the HTTP server.
type front struct {
	server *http.Server
	listen string
}

// frontConfig is what an API server is made of.
type frontConfig struct {
	Name      string // of the deployment
	Listen    string
	TLS       *tls.Config // nil: plain HTTP
	PublicURL string
	Region    string

	Keystone      *identity.KeystoneConfig // nil: none
	StaticToken   string
	OperatorToken string
	NoAuth        bool

	Store    metastore.Store
	Bus      bus.Bus
	Identity *identity.Service // nil: Keystone is in its place
	Health   *health
	Log      *slog.Logger
}

func newFront(c frontConfig) (*front, error) {
	external, err := c.openKeystone()
	if err != nil {
		return nil, err
	}
	auth, err := identity.NewChain(identity.ChainConfig{
		Service: c.Identity, Keystone: external, StaticToken: c.StaticToken, OperatorToken: c.OperatorToken, None: c.NoAuth, Listen: c.Listen,
	})
	if err != nil {
		return nil, err
	}
	guests, err := guestclient.New(c.Bus, guestCall)
	if err != nil {
		return nil, err
	}
	trove, err := api.New(api.Config{
		Store: c.Store, Guests: guests, Kick: kicker(c.Bus), Auth: auth, Region: c.Region, PublicURL: c.PublicURL,
		NetworkID: DatastoreID("network/" + c.Name), Log: c.Log.With("part", "api"),
	})
	if err != nil {
		return nil, err
	}
	ident, err := c.identityHandler(auth)
	if err != nil {
		return nil, err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
		case "identity", "v3":
			ident.ServeHTTP(w, r)
		case "healthz", "readyz":
			c.Health.ServeHTTP(w, r)
		default:
			trove.ServeHTTP(w, r)
		}
	})
	return newServer(c.Listen, c.TLS, handler), nil
}

// openKeystone prepares the questions to an external Keystone, if there is one. That it answers is part of being ready, not of being alive: a
// restart would not help.
func (c *frontConfig) openKeystone() (*identity.Keystone, error) {
	if c.Keystone == nil {
		return nil, nil
	}
	k, err := identity.NewKeystone(*c.Keystone)
	if err != nil {
		return nil, err
	}
	needs := maps.Clone(c.Health.needs)
	if needs == nil {
		needs = map[string]check{}
	}
	needs["keystone"] = k.Ping
	c.Health.needs = needs
	return k, nil
}

// identityHandler serves Keystone's paths.
func (c *frontConfig) identityHandler(auth identity.Authenticator) (http.Handler, error) {
	log := c.Log.With("part", "keystone")
	if c.Identity == nil {
		if c.Keystone == nil {
			return nil, errors.New("neither accounts nor a Keystone")
		}
		return keystone.Elsewhere(c.Keystone.AuthURL(), log), nil
	}
	return keystone.New(keystone.Config{Service: c.Identity, Auth: auth, PublicURL: c.PublicURL, Region: c.Region, Log: log})
}

// newServer bounds what a client can hold up.
func newServer(listen string, t *tls.Config, handler http.Handler) *front {
	return &front{listen: listen, server: &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, TLSConfig: t,
	}}
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
	go func() {
		if f.server.TLSConfig != nil {
			done <- f.server.ServeTLS(l, "", "")
			return
		}
		done <- f.server.Serve(l)
	}()
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

// kicker tells nodekeeper that an instance is worth a look.
func kicker(b bus.Bus) func(context.Context, protocol.Kick) error {
	return func(ctx context.Context, k protocol.Kick) error {
		body, err := json.Marshal(k)
		if err != nil {
			return err
		}
		return b.Publish(ctx, protocol.KeeperQueue, bus.Message{Kind: protocol.KindKick, Body: body})
	}
}
