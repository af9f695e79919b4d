package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/huker/huker/internal/engines"
	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/pki"
)

// KeeperConfig of huker-nodekeeper.
type KeeperConfig struct {
	Fleet
	Metadata  Metadata
	Authority string // file: the deployment's authority makes databases' certificates
	Range     string // where hosts' subnets are taken from

	// GuestCoordination and GuestBus are the engines as databases reach them, when that is not as this process does.
	GuestCoordination, GuestBus string

	// Versions are offered besides those that hosts have images of.
	Versions []model.DatastoreVersion
}

// RunKeeper is huker-nodekeeper: any number of copies, of which one acts.
func RunKeeper(ctx context.Context, cfg KeeperConfig) (err error) {
	if err := cfg.Check(); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	e, credentials, err := cfg.open(starting)
	if err != nil {
		return err
	}
	defer e.Close()
	authority, err := os.ReadFile(cfg.Authority)
	if err != nil {
		return fmt.Errorf("reading the authority: %w", err)
	}
	ca, err := pki.ParseCA(authority, authority)
	if err != nil {
		return err
	}
	store, err := cfg.Metadata.open(starting, credentials, cfg.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := seedCatalogue(starting, store, cfg.Versions); err != nil {
		return err
	}
	egress, err := engines.Config{Coordination: cfg.GuestCoordination, Bus: cfg.GuestBus}.Targets()
	if err != nil {
		return err
	}
	k, err := keeper.New(keeper.Config{
		Deployment: cfg.Name, Coordination: cfg.GuestCoordination, Bus: cfg.GuestBus, Range: cfg.Range, Egress: egress, AdmitHosts: true,
		Offer: func(ctx context.Context, versions []model.DatastoreVersion) error {
			return offerVersions(ctx, store, versions)
		},
	}, keeper.Engines{
		Store: store, Coord: e.Coord, Bus: e.Bus, Keys: e.Keys, Queues: e.Queues, Certs: certificates{ca}, Addresses: pool{},
	}, cfg.Log.With("part", "nodekeeper"))
	if err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"nodekeeper": k.Run}
	cfg.serveHealth(parts, &health{log: cfg.Log, needs: map[string]check{
		"metadata": store.Ping, "coordination": reads(e.Coord, healthKey), "bus": carries(e.Bus),
	}})
	cfg.Log.Info("started", "op", "start")
	return group(ctx, parts)
}

// Check fills in the defaults, and says all that is wrong with the rest: ErrConfig, with a line for each.
func (c *KeeperConfig) Check() error {
	if c.Range == "" {
		c.Range = DefaultRange
	}
	if c.GuestCoordination == "" {
		c.GuestCoordination = c.Coordination
	}
	if c.GuestBus == "" {
		c.GuestBus = c.Bus
	}
	errs := []error{c.Fleet.check(ControlPrincipal), c.Metadata.check(), c.checkManagement(), checkAuthority(c.Authority, c.Identity)}
	if p, err := netip.ParsePrefix(c.Range); err != nil || !p.Addr().Is4() || p.Bits() > 24 {
		errs = append(errs, fmt.Errorf("address-range %q must be an IPv4 network of at least /24", c.Range))
	}
	if c.GuestCoordination != c.Coordination || c.GuestBus != c.Bus {
		if err := (engines.Config{Coordination: c.GuestCoordination, Bus: c.GuestBus}).Check(); err != nil {
			errs = append(errs, fmt.Errorf("for databases: %w", err))
		}
	}
	return invalid(errs...)
}

// offerVersions adds versions that are not in the catalogue. One that is there keeps its image: databases run on it.
func offerVersions(ctx context.Context, s metastore.Store, versions []model.DatastoreVersion) error {
	var missing []model.DatastoreVersion
	err := s.View(ctx, func(tx metastore.Tx) error {
		missing = nil
		have, err := tx.Catalogue().Versions(ctx)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, v := range have {
			known[v.ID] = true
		}
		for _, v := range versions {
			if id := VersionID(v.Engine, v.Name); !known[id] {
				known[id] = true
				missing = append(missing, v)
			}
		}
		return nil
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	return seedCatalogue(ctx, s, missing)
}
