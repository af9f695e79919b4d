package identity_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
)

// cheap makes hashing fast enough for tests; what it costs in production is tested once, with the defaults.
var cheap = identity.Params{MemoryKiB: 64, Time: 1, Threads: 1}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func openStore(t *testing.T) metastore.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "huker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

type fixture struct {
	*identity.Service
	store  metastore.Store
	clock  *clock
	seeded identity.Seeded
}

const adminPassword = "correct horse battery staple"

func newFixture(t *testing.T, change ...func(*identity.Config)) fixture {
	t.Helper()
	f := fixture{store: openStore(t), clock: newClock()}
	c := identity.Config{Params: cheap, Now: f.clock.Now}
	for _, fn := range change {
		fn(&c)
	}
	var err error
	f.Service, err = identity.New(f.store, c)
	require.NoError(t, err)
	f.seeded, err = f.Seed(t.Context(), identity.Seed{Password: adminPassword})
	require.NoError(t, err)
	require.True(t, f.seeded.Created)
	return f
}

// account makes an account with a password and roles on projects: role names by project id.
func (f fixture) account(t *testing.T, name, password string, roles map[string]string) model.Account {
	t.Helper()
	a, err := f.CreateAccount(t.Context(), identity.AccountChange{Name: &name, Password: &password})
	require.NoError(t, err)
	for project, role := range roles {
		require.NoError(t, f.Assign(t.Context(), model.Assignment{AccountID: a.ID, ProjectID: project, RoleID: f.role(t, role).ID}))
	}
	return a
}

func (f fixture) project(t *testing.T, name string) model.Project {
	t.Helper()
	p, err := f.CreateProject(t.Context(), identity.ProjectChange{Name: &name})
	require.NoError(t, err)
	return p
}

func (f fixture) role(t *testing.T, name string) model.Role {
	t.Helper()
	roles, err := f.Roles(t.Context())
	require.NoError(t, err)
	for _, r := range roles {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no role %q", name)
	return model.Role{}
}

// signIn signs in by name and password.
func (f fixture) signIn(ctx context.Context, name, password string, scope identity.Scope) (string, identity.Session, error) {
	return f.SignIn(ctx, identity.SignIn{
		Address: "192.0.2.1", Password: &identity.PasswordProof{AccountName: name, Password: password}, Scope: scope,
	})
}

func ptr[T any](v T) *T { return &v }
