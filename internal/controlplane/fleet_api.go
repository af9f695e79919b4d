package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
)

// APIConfig of huker-api.
type APIConfig struct {
	Fleet
	Metadata  Metadata
	Listen    string
	PublicURL string
	Region    string

	// TLSCert and TLSKey are what clients see, files; both empty: plain HTTP, for a proxy in front or loopback.
	TLSCert, TLSKey string

	AdminPasswordFile string                   // of the first administrator; empty: there is one already, or another identity service
	Provider          identity.Provider        // empty: Keystone where there is one
	Keystone          *identity.KeystoneConfig // nil: none
	StaticToken       string
	NoAuth            bool
}

// RunAPI is huker-api: any number of copies, none of which keeps anything.
func RunAPI(ctx context.Context, cfg APIConfig) (err error) {
	if err := cfg.Check(); err != nil {
		return err
	}
	front, err := tlsFiles(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	e, credentials, err := cfg.open(starting)
	if err != nil {
		return err
	}
	defer e.Close()
	store, err := cfg.Metadata.open(starting, credentials, cfg.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	accounts, err := cfg.openIdentity(starting, store)
	if err != nil {
		return err
	}
	h := &health{log: cfg.Log, needs: map[string]check{"metadata": store.Ping, "coordination": reads(e.Coord, healthKey), "bus": carries(e.Bus)}}
	server, err := newFront(frontConfig{
		Name: cfg.Name, Listen: cfg.Listen, TLS: front, PublicURL: cfg.PublicURL, Region: cfg.Region, Keystone: cfg.Keystone,
		StaticToken: cfg.StaticToken, NoAuth: cfg.NoAuth, Store: store, Bus: e.Bus, Identity: accounts, Health: h, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"api": server.Run}
	if accounts != nil {
		parts["identity"] = func(ctx context.Context) error { accounts.Run(ctx); return nil }
	}
	cfg.serveHealth(parts, h)
	cfg.Log.Info("started", "op", "start", "api", cfg.Listen)
	return group(ctx, parts)
}

// Check fills in the defaults, and says all that is wrong with the rest: ErrConfig, with a line for each.
func (c *APIConfig) Check() error {
	def := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	def(&c.Listen, DefaultListen)
	def(&c.Region, DefaultRegion)
	errs := []error{c.Fleet.check(ControlPrincipal), c.Metadata.check(), checkListen("listen", c.Listen), checkFile("admin-password-file", c.AdminPasswordFile)}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("tls-cert and tls-key go together"))
	} else if _, err := tlsFiles(c.TLSCert, c.TLSKey); err != nil {
		errs = append(errs, err)
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("public-url %q must be https://HOST or http://HOST", c.PublicURL))
		}
	}
	if c.NoAuth && !identity.Loopback(c.Listen) {
		errs = append(errs, fmt.Errorf("no-auth is possible only while the API listens on loopback, not on %q", c.Listen))
	}
	var err error
	if c.Provider, err = identity.ChooseProvider(c.Provider, c.Keystone, c.NoAuth); err != nil {
		errs = append(errs, err)
	}
	if !c.Provider.Builtin() && c.AdminPasswordFile != "" {
		errs = append(errs, errors.New("admin-password-file is for Huker's own accounts, but Keystone is in their place"))
	}
	if c.Keystone != nil {
		errs = append(errs, checkFile("keystone-ca", c.Keystone.CAFile))
	}
	return invalid(errs...)
}

// openIdentity opens Huker's own accounts; nil where Keystone is in their place.
func (c *APIConfig) openIdentity(ctx context.Context, store metastore.Store) (*identity.Service, error) {
	if !c.Provider.Builtin() {
		return nil, nil
	}
	accounts, err := identity.New(store, identity.Config{Log: c.Log.With("part", "identity")})
	if err != nil {
		return nil, err
	}
	return accounts, seedAdmin(ctx, accounts, c.AdminPasswordFile)
}

func tlsFiles(cert, key string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls-cert and tls-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// seedAdmin makes the first administrator, with the password in a file.
func seedAdmin(ctx context.Context, accounts *identity.Service, file string) error {
	if file == "" {
		return nil
	}
	password, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the administrator's password: %w", err)
	}
	_, err = accounts.Seed(ctx, identity.Seed{Password: strings.TrimSpace(string(password))})
	return err
}
