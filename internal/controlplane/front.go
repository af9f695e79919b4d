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
	ident, authURL, err := c.identityMount(auth)
	if err != nil {
		return nil, err
	}
	mounts := []mount{ident, healthMount(c.Health)}
	trove := api.Config{
		Store: c.Store, Guests: guests, Kick: kicker(c.Bus), Auth: auth, Region: c.Region, PublicURL: c.PublicURL, AuthURL: authURL,
		NetworkID: DatastoreID("network/" + c.Name), Log: c.Log.With("part", "api"),
	}
	for _, m := range mounts {
		if m.described != nil {
			trove.Neighbours = append(trove.Neighbours, *m.described)
		}
	}
	rest, err := api.New(trove)
	if err != nil {
		return nil, err
	}
	return newServer(c.Listen, c.TLS, route(mounts, rest)), nil
}

// mount is what is served beside the database API.
type mount struct {
	takes     func(path string) bool
	handler   http.Handler
	described *api.Neighbour // nil: there is nothing to call
}

// route gives a request to the first mount that takes its path, and to the database API else.
func route(mounts []mount, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, m := range mounts {
			if m.takes(r.URL.Path) {
				m.handler.ServeHTTP(w, r)
				return
			}
		}
		rest.ServeHTTP(w, r)
	})
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

// identityMount serves Keystone's paths. authURL is where people sign in, when that is not there.
func (c *frontConfig) identityMount(auth identity.Authenticator) (m mount, authURL string, err error) {
	log := c.Log.With("part", "keystone")
	m.takes = func(path string) bool {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		return "/"+first == keystone.PrefixIdentity || "/"+first == keystone.PrefixV3
	}
	if c.Identity == nil {
		if c.Keystone == nil {
			return m, "", errors.New("neither accounts nor a Keystone")
		}
		authURL = c.Keystone.AuthURL()
		m.handler = keystone.Elsewhere(authURL, log)
		return m, authURL, nil
	}
	h, err := keystone.New(keystone.Config{Service: c.Identity, Auth: auth, PublicURL: c.PublicURL, Region: c.Region, Log: log})
	if err != nil {
		return m, "", err
	}
	m.handler, m.described = h, &api.Neighbour{Name: "Identity", Below: keystone.PrefixIdentity, Operations: h.Operations}
	return m, "", nil
}

// healthMount serves the health of the process and of what it needs.
func healthMount(h *health) mount {
	return mount{
		takes:   func(path string) bool { return path == healthzPath || path == readyzPath },
		handler: h.handler(), described: &api.Neighbour{Name: "Health", Operations: healthOperations},
	}
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
