package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Guests is what the API asks of databases; *guestclient.Client is one. Errors are *bus.CallError with one of
// protocol.Code*, bus.ErrTimeout or bus.ErrUnavailable, wrapped.
type Guests interface {
	GuestDatabases
	GuestUsers
	GuestRoot
	GuestLogs
	Status(ctx context.Context, instance string) (protocol.GuestStatus, error)
}

// GuestDatabases are an instance's schemas.
type GuestDatabases interface {
	Databases(ctx context.Context, instance string, r protocol.ListRequest) ([]model.Database, error)
	CreateDatabases(ctx context.Context, instance string, ds []model.Database) error
	DeleteDatabase(ctx context.Context, instance, name string) error
}

// GuestUsers are an instance's accounts and their rights.
type GuestUsers interface {
	Users(ctx context.Context, instance string, r protocol.ListRequest) ([]model.User, error)
	User(ctx context.Context, instance string, r protocol.UserRequest) (model.User, error)
	CreateUsers(ctx context.Context, instance string, us []model.User) error
	UpdateUser(ctx context.Context, instance string, u protocol.UserUpdate) error
	DeleteUser(ctx context.Context, instance string, r protocol.UserRequest) error
	Grant(ctx context.Context, instance string, r protocol.GrantRequest) error
	Revoke(ctx context.Context, instance string, r protocol.GrantRequest) error
}

// GuestRoot is an instance's superuser.
type GuestRoot interface {
	Root(ctx context.Context, instance string) (protocol.RootReply, error)
	EnableRoot(ctx context.Context, instance, password string) (protocol.RootReply, error)
	DisableRoot(ctx context.Context, instance string) error
}

// GuestLogs are an instance's logs.
type GuestLogs interface {
	Logs(ctx context.Context, instance string) ([]protocol.Log, error)
	SetLog(ctx context.Context, instance string, s protocol.LogSet) (protocol.Log, error)
	ReadLog(ctx context.Context, instance string, r protocol.LogRead) (protocol.LogChunk, error)
}

// Limits bound what one request may cost. Zero values are the defaults.
type Limits struct {
	BodyBytes   int64         // 1 MiB
	Request     time.Duration // 60 s
	MaxVolumeGB int           // 65536
	PageSize    int           // 1000: what a listing without limit gives, and the most that one with a limit gets
}

// Defaults of Limits.
const (
	defaultBodyBytes   = 1 << 20
	defaultRequest     = 60 * time.Second
	defaultMaxVolumeGB = 64 << 10 // ext4's and xfs's practical end is far above, a typing error's far below
	defaultPageSize    = 1000     // Trove's own instances_page_size; its CLI does not follow pages
)

// defaultQuota is for projects without a quota of their own, where the configuration says nothing.
var defaultQuota = model.Quota{Instances: 20, RAMMB: -1, VolumesGB: 1000, Backups: 50}

// Config of the API. Store, Guests, Kick and Auth must be set.
type Config struct {
	Store  metastore.Store
	Guests Guests
	// Kick asks nodekeeper to look at an instance now. Its failure is only logged: nodekeeper looks anyway, later.
	Kick func(ctx context.Context, k protocol.Kick) error
	Auth identity.Authenticator
	// Region is the only region there is. Default "RegionOne", OpenStack's own.
	Region string
	// PublicURL is how clients reach the API: "http://127.0.0.1:8779". Empty: as each request says.
	PublicURL string
	// AuthURL is where clients sign in: "https://keystone:5000/v3". Empty: at /identity/v3 of this address.
	AuthURL string
	// Neighbours are served at the same address by others, and described in the document.
	Neighbours []Neighbour
	// NetworkID names the only network there is, for clients that must name one. Empty: none is accepted.
	NetworkID string
	// VolumeType names the only kind of volume there is. Default "local".
	VolumeType   string
	DefaultQuota *model.Quota // nil: 20 instances, 1000 GB, 50 backups, any RAM
	Limits       Limits
	Clock        func() time.Time // default time.Now
	Log          *slog.Logger     // default slog.Default
}

func (c *Config) fill() error {
	if c.Store == nil || c.Guests == nil || c.Kick == nil || c.Auth == nil {
		return errors.New("api: store, guests, kick and auth must be set")
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("api: %q is not an http or https URL", c.PublicURL)
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	c.Region = orDefault(c.Region, "RegionOne")
	c.VolumeType = orDefault(c.VolumeType, "local")
	c.Limits.BodyBytes = orDefault(c.Limits.BodyBytes, defaultBodyBytes)
	c.Limits.Request = orDefault(c.Limits.Request, defaultRequest)
	c.Limits.MaxVolumeGB = orDefault(c.Limits.MaxVolumeGB, defaultMaxVolumeGB)
	c.Limits.PageSize = orDefault(c.Limits.PageSize, defaultPageSize)
	if c.Limits.BodyBytes < 0 || c.Limits.Request < 0 || c.Limits.MaxVolumeGB < 0 || c.Limits.PageSize < 0 {
		return errors.New("api: limits must not be negative")
	}
	if c.DefaultQuota == nil {
		q := defaultQuota
		c.DefaultQuota = &q
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// authURL is where clients sign in; base is how a request, if there is one, has reached this address.
func (c *Config) authURL(base string) string {
	return orDefault(c.AuthURL, orDefault(c.PublicURL, base)+"/identity/v3")
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// server carries the configuration to the handlers.
type server struct {
	Config
	document []byte // /openapi.json
	recent   recent
}

// New gives the handler of /, /v1.0 and all below it, and /openapi.json. It takes paths as they come: do not put it behind an
// http.ServeMux of wider patterns than "/", which would redirect paths that hold // or .. instead of refusing them.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &server{Config: cfg}
	t := newTable()
	s.routes(t)
	if err := t.build(); err != nil {
		return nil, err
	}
	var err error
	if s.document, err = t.document(&cfg); err != nil {
		return nil, err
	}
	return s.middleware(s.dispatch(t)), nil
}

// routes lists all resources, one file each.
func (s *server) routes(t *table) {
	s.limitRoutes(t)
	s.flavorRoutes(t)
	s.datastoreRoutes(t)
	s.instanceRoutes(t)
	s.actionRoutes(t)
	s.databaseRoutes(t)
	s.userRoutes(t)
	s.grantRoutes(t)
	s.rootRoutes(t)
	s.logRoutes(t)
	s.sslRoutes(t)
	s.eventRoutes(t)
	s.quotaRoutes(t)
	s.mgmtRoutes(t)
	s.hostRoutes(t)
	s.clusterRoutes(t)
	s.clusterRootRoutes(t)
	s.switchoverRoutes(t)
	s.memberRoutes(t)
	s.laterRoutes(t)
}
