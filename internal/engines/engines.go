// Package engines opens coordination and the bus by their addresses: the one place that knows which engines there are.
//
// It owns addresses and the choice of a driver. Guests link it, so it must not bring a server or the metadata's drivers along.
package engines

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/bus/etcdbus"
	"github.com/huker/huker/internal/bus/rabbitmq"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/etcd"
	"github.com/huker/huker/internal/coord/zk"
)

// Config says where the engines are, and as whom to come.
type Config struct {
	Coordination string // etcd://… or zookeeper://…
	Bus          string // rabbitmq://…; empty: on coordination's etcd
	Management   string // https://…: RabbitMQ's management, for who makes and takes rights; empty: nobody here does
	// ManagementPassword is that of the credentials' principal there.
	ManagementPassword string
	Credentials
}

// Credentials are a principal's, PEM: the certificate's CommonName says who comes.
type Credentials struct {
	CA, Cert, Key []byte
}

// Engines are open connections.
type Engines struct {
	Coord  coord.Store
	Bus    bus.Bus
	Keys   coord.Gatekeeper
	Queues bus.Gatekeeper
}

// Check says what is wrong with the addresses, all of it.
func (c Config) Check() error {
	coordination, err := ParseAddress(c.Coordination, SchemeEtcd, SchemeZooKeeper)
	if err != nil {
		err = fmt.Errorf("coordination: %w", err)
	}
	if c.Bus == "" {
		if err == nil && coordination.Scheme != SchemeEtcd {
			err = fmt.Errorf("bus: %w: only etcd carries the bus as well: give a rabbitmq:// address", ErrAddress)
		}
		return err
	}
	_, berr := ParseAddress(c.Bus, SchemeRabbitMQ)
	if berr != nil {
		berr = fmt.Errorf("bus: %w", berr)
	}
	return errors.Join(err, berr)
}

// Targets lists what a client of the engines connects to, HOST:PORT each.
func (c Config) Targets() ([]string, error) {
	coordination, err := ParseAddress(c.Coordination, SchemeEtcd, SchemeZooKeeper)
	if err != nil || c.Bus == "" {
		return coordination.Hosts, err
	}
	carrier, err := ParseAddress(c.Bus, SchemeRabbitMQ)
	return append(coordination.Hosts, carrier.Hosts...), err
}

// Open prepares the connections, which are made, and made again, in the background: the engines need not be up yet.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Engines, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	e := &Engines{}
	address, err := ParseAddress(cfg.Coordination, SchemeEtcd, SchemeZooKeeper)
	if err != nil {
		return nil, err
	}
	switch address.Scheme {
	case SchemeEtcd:
		err = e.openEtcd(ctx, address, cfg, log)
	case SchemeZooKeeper:
		err = e.openZooKeeper(ctx, address, cfg, log)
	}
	if err == nil && cfg.Bus != "" {
		err = e.openRabbitMQ(ctx, cfg, log)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Close ends the connections, and the sessions that were opened on them.
func (e *Engines) Close() {
	if e.Bus != nil {
		_ = e.Bus.Close()
	}
	if e.Coord != nil {
		_ = e.Coord.Close()
	}
}

func (e *Engines) openEtcd(ctx context.Context, a Address, cfg Config, log *slog.Logger) error {
	endpoints := make([]string, len(a.Hosts))
	for i, h := range a.Hosts {
		endpoints[i] = "https://" + h
	}
	store, err := etcd.Dial(ctx, etcd.ClientConfig{Endpoints: endpoints, CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key})
	if err != nil {
		return fmt.Errorf("coordination: %w", err)
	}
	keys := etcd.NewGatekeeper(store)
	e.Coord, e.Keys = store, keys
	if cfg.Bus == "" {
		e.Bus = etcdbus.New(store, etcdbus.Config{Logger: log.With("part", "bus")})
		e.Queues = etcdbus.NewGatekeeper(keys)
	}
	return nil
}

func (e *Engines) openZooKeeper(ctx context.Context, a Address, cfg Config, log *slog.Logger) error {
	c := zk.Config{Servers: a.Hosts, Log: log.With("part", "coordination")}
	if a.Path != "" {
		c.Root = "/" + a.Path
	}
	if !a.Plain {
		var err error
		if c.TLS, err = cfg.TLS(); err != nil {
			return err
		}
	}
	store, err := zk.Open(ctx, c)
	if err != nil {
		return fmt.Errorf("coordination: %w", err)
	}
	e.Coord, e.Keys = store, zk.NewGatekeeper(store)
	return nil
}

func (e *Engines) openRabbitMQ(ctx context.Context, cfg Config, log *slog.Logger) error {
	a, err := ParseAddress(cfg.Bus, SchemeRabbitMQ)
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	c := rabbitmq.Config{Servers: a.Hosts, VHost: a.Path, Log: log.With("part", "bus")}
	gate := rabbitmq.GateConfig{Management: cfg.Management, Username: ControlPrincipal, Password: cfg.ManagementPassword}
	if !a.Plain {
		if c.TLS, err = cfg.TLS(); err != nil {
			return err
		}
		gate.TLS = c.TLS
	}
	b, err := rabbitmq.Open(ctx, c)
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	e.Bus = b
	if cfg.Management != "" {
		e.Queues = rabbitmq.NewGatekeeper(b, gate)
	}
	return nil
}

// ControlPrincipal is who the control plane comes as: it may do everything.
const ControlPrincipal = etcd.RootPrincipal

// TLS is what a client with these credentials dials with.
func (c Credentials) TLS() (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("credentials: no certificate authority")
	}
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
