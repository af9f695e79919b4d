package identity_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestSignInScopes(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	shop, closed := f.project(t, "shop"), f.project(t, "closed")
	alice := f.account(t, "alice", "pa", map[string]string{shop.ID: "member", closed.ID: "member"})
	_, err := f.UpdateProject(ctx, closed.ID, identity.ProjectChange{Enabled: ptr(false)})
	require.NoError(t, err)

	for name, tc := range map[string]struct {
		password string
		scope    identity.Scope
		project  string
		err      error
	}{
		"no scope and no default": {password: "pa", project: ""},
		"by id":                   {password: "pa", scope: identity.Scope{ProjectID: shop.ID}, project: shop.ID},
		"by name":                 {password: "pa", scope: identity.Scope{ProjectName: "shop"}, project: shop.ID},
		"unscoped":                {password: "pa", scope: identity.Scope{Unscoped: true}, project: ""},
		"another's project":       {password: "pa", scope: identity.Scope{ProjectID: f.seeded.Project.ID}, err: identity.ErrUnauthorized},
		"disabled project":        {password: "pa", scope: identity.Scope{ProjectName: "closed"}, err: identity.ErrUnauthorized},
		"unknown project":         {password: "pa", scope: identity.Scope{ProjectName: "nil"}, err: identity.ErrUnauthorized},
		"wrong password":          {password: "PA", err: identity.ErrUnauthorized},
		"empty password":          {password: "", err: identity.ErrUnauthorized},
		"endless password":        {password: strings.Repeat("x", identity.MaxPassword+1), err: identity.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			token, s, err := f.signIn(ctx, "alice", tc.password, tc.scope)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				assert.Empty(t, token)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, alice.ID, s.Account.ID)
			got, err := f.Validate(ctx, token)
			require.NoError(t, err)
			assert.Equal(t, s, got, "what is read back is what was issued")
			c := got.Caller()
			assert.Equal(t, tc.project, c.ProjectID)
			assert.False(t, c.Admin())
			assert.Equal(t, tc.project != "", c.Has("member"))
		})
	}

	t.Run("default project", func(t *testing.T) {
		_, err := f.UpdateAccount(ctx, alice.ID, identity.AccountChange{DefaultProjectID: ptr(shop.ID)})
		require.NoError(t, err)
		_, s, err := f.signIn(ctx, "alice", "pa", identity.Scope{})
		require.NoError(t, err)
		assert.Equal(t, shop.ID, s.Caller().ProjectID)
		_, err = f.UpdateAccount(ctx, alice.ID, identity.AccountChange{DefaultProjectID: ptr(closed.ID)})
		require.NoError(t, err)
		_, s, err = f.signIn(ctx, "alice", "pa", identity.Scope{})
		require.NoError(t, err, "a default project that is disabled leaves the token unscoped")
		assert.Nil(t, s.Project)
		_, err = f.UpdateAccount(ctx, alice.ID, identity.AccountChange{DefaultProjectID: ptr("nowhere")})
		require.ErrorIs(t, err, identity.ErrInvalid)
	})
}

func TestSignInByToken(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	first, s1, err := f.signIn(ctx, "admin", adminPassword, identity.Scope{Unscoped: true})
	require.NoError(t, err)
	f.clock.Advance(time.Hour)
	second, s2, err := f.SignIn(ctx, identity.SignIn{Token: first, Scope: identity.Scope{ProjectName: "admin"}})
	require.NoError(t, err)
	assert.Equal(t, s1.Token.ExpiresAt, s2.Token.ExpiresAt, "a token does not outlive the one it came from")
	assert.Equal(t, []string{"token", "password"}, s2.Token.Methods)
	assert.True(t, s2.Caller().Admin())
	third, s3, err := f.SignIn(ctx, identity.SignIn{Token: second})
	require.NoError(t, err)
	assert.Equal(t, strings.Fields(s1.Token.AuditID)[0], strings.Fields(s3.Token.AuditID)[1], "the first of the chain")

	f.account(t, "eve", "pw", nil)
	_, _, err = f.SignIn(ctx, identity.SignIn{Token: third, Password: &identity.PasswordProof{AccountName: "eve", Password: "pw"}})
	require.ErrorIs(t, err, identity.ErrUnauthorized, "two proofs of two accounts")

	require.NoError(t, f.Revoke(ctx, second))
	require.NoError(t, f.Revoke(ctx, second), "twice is the same as once")
	for token, alive := range map[string]bool{first: true, second: false, third: true} {
		_, err := f.Validate(ctx, token)
		assert.Equal(t, alive, err == nil, "%v", err)
	}
	_, _, err = f.SignIn(ctx, identity.SignIn{Token: second})
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	_, _, err = f.SignIn(ctx, identity.SignIn{})
	require.ErrorIs(t, err, identity.ErrUnauthorized)
}

func TestTokensEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, f fixture, a model.Account, p model.Project){
		"time": func(_ *testing.T, f fixture, _ model.Account, _ model.Project) {
			f.clock.Advance(identity.DefaultTokenTTL)
		},
		"new password": func(t *testing.T, f fixture, a model.Account, _ model.Project) {
			require.NoError(t, f.ChangePassword(t.Context(), a.ID, "pw", "other", "192.0.2.1"))
		},
		"password set by an administrator": func(t *testing.T, f fixture, a model.Account, _ model.Project) {
			_, err := f.UpdateAccount(t.Context(), a.ID, identity.AccountChange{Password: ptr("pw")})
			require.NoError(t, err)
		},
		"account disabled": func(t *testing.T, f fixture, a model.Account, _ model.Project) {
			_, err := f.UpdateAccount(t.Context(), a.ID, identity.AccountChange{Enabled: ptr(false)})
			require.NoError(t, err)
		},
		"account disabled for a moment": func(t *testing.T, f fixture, a model.Account, _ model.Project) {
			for _, on := range []bool{false, true} {
				_, err := f.UpdateAccount(t.Context(), a.ID, identity.AccountChange{Enabled: ptr(on)})
				require.NoError(t, err)
			}
		},
		"account deleted": func(t *testing.T, f fixture, a model.Account, _ model.Project) {
			require.NoError(t, f.DeleteAccount(t.Context(), a.ID))
		},
		"project disabled": func(t *testing.T, f fixture, _ model.Account, p model.Project) {
			_, err := f.UpdateProject(t.Context(), p.ID, identity.ProjectChange{Enabled: ptr(false)})
			require.NoError(t, err)
		},
		"project deleted": func(t *testing.T, f fixture, _ model.Account, p model.Project) {
			require.NoError(t, f.DeleteProject(t.Context(), p.ID))
		},
		"role taken back": func(t *testing.T, f fixture, a model.Account, p model.Project) {
			require.NoError(t, f.Unassign(t.Context(), model.Assignment{AccountID: a.ID, ProjectID: p.ID, RoleID: f.role(t, "member").ID}))
		},
		"role deleted": func(t *testing.T, f fixture, _ model.Account, _ model.Project) {
			require.NoError(t, f.DeleteRole(t.Context(), f.role(t, "member").ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			p := f.project(t, "shop")
			a := f.account(t, "alice", "pw", map[string]string{p.ID: "member"})
			token, _, err := f.signIn(t.Context(), "alice", "pw", identity.Scope{ProjectID: p.ID})
			require.NoError(t, err)
			_, err = f.Validate(t.Context(), token)
			require.NoError(t, err)
			end(t, f, a, p)
			_, err = f.Validate(t.Context(), token)
			require.ErrorIs(t, err, identity.ErrUnauthorized)
		})
	}
}

func TestTokensAreStoredAsHashes(t *testing.T) {
	f := newFixture(t, func(c *identity.Config) { c.TokenTTL = time.Minute })
	ctx := t.Context()
	token, s, err := f.signIn(ctx, "admin", adminPassword, identity.Scope{})
	require.NoError(t, err)
	assert.True(t, identity.OwnToken(token))
	sum := sha256.Sum256([]byte(token))
	assert.Equal(t, hex.EncodeToString(sum[:]), s.Token.Hash)
	for _, bad := range []string{"", "x", s.Token.Hash, token + "x", token[:len(token)-1] + "-", strings.ToUpper(token)} {
		_, err := f.Validate(ctx, bad)
		require.ErrorIs(t, err, identity.ErrUnauthorized, bad)
	}
	n, err := f.Purge(ctx)
	require.NoError(t, err)
	assert.Zero(t, n)
	f.clock.Advance(time.Minute + time.Second)
	n, err = f.Purge(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}

func TestSeed(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	assert.Equal(t, "admin", f.seeded.Account.Name)
	_, s, err := f.signIn(ctx, "admin", adminPassword, identity.Scope{})
	require.NoError(t, err)
	assert.True(t, s.Caller().Admin())
	assert.Equal(t, f.seeded.Project.ID, s.Caller().ProjectID)

	again, err := f.Seed(ctx, identity.Seed{Password: "another"})
	require.NoError(t, err)
	assert.False(t, again.Created)
	assert.Equal(t, f.seeded.Account.ID, again.Account.ID)
	_, _, err = f.signIn(ctx, "admin", "another", identity.Scope{})
	require.ErrorIs(t, err, identity.ErrUnauthorized, "seeding again must not change the password")

	token, _, err := f.signIn(ctx, "admin", adminPassword, identity.Scope{})
	require.NoError(t, err)
	reset, err := f.Seed(ctx, identity.Seed{Password: "another", Reset: true})
	require.NoError(t, err)
	assert.True(t, reset.Created)
	assert.Equal(t, f.seeded.Account.ID, reset.Account.ID)
	_, err = f.Validate(ctx, token)
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	_, _, err = f.signIn(ctx, "admin", "another", identity.Scope{})
	require.NoError(t, err)

	root := f.account(t, "root", "pw", map[string]string{f.seeded.Project.ID: "admin"})
	require.NoError(t, f.DeleteAccount(ctx, f.seeded.Account.ID))
	other, err := f.Seed(ctx, identity.Seed{Password: "x"})
	require.NoError(t, err)
	assert.False(t, other.Created, "somebody else is the administrator: %s", root.Name)
	assert.Empty(t, other.Account.ID)
	_, err = f.Seed(ctx, identity.Seed{})
	require.ErrorIs(t, err, identity.ErrInvalid)
}

// failingStore fails an Update at the end of the transaction, as a crash does.
type failingStore struct {
	metastore.Store
	fail bool
}

var errCrash = errors.New("crash")

func (s *failingStore) Update(ctx context.Context, fn func(metastore.Tx) error) error {
	return s.Store.Update(ctx, func(tx metastore.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if s.fail {
			return errCrash
		}
		return nil
	})
}

func TestSeedSurvivesACrash(t *testing.T) {
	store := &failingStore{Store: openStore(t), fail: true}
	s, err := identity.New(store, identity.Config{Params: cheap})
	require.NoError(t, err)
	_, err = s.Seed(t.Context(), identity.Seed{Password: "one"})
	require.ErrorIs(t, err, errCrash)
	roles, err := s.Roles(t.Context())
	require.NoError(t, err)
	assert.Empty(t, roles, "all or nothing")
	store.fail = false
	out, err := s.Seed(t.Context(), identity.Seed{Password: "one"})
	require.NoError(t, err)
	assert.True(t, out.Created)
}

func TestLastAdminStays(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	admin, project, role := f.seeded.Account, f.seeded.Project, f.role(t, "admin")
	grant := model.Assignment{AccountID: admin.ID, ProjectID: project.ID, RoleID: role.ID}
	ways := map[string]func() error{
		"delete the account": func() error { return f.DeleteAccount(ctx, admin.ID) },
		"disable the account": func() error {
			_, err := f.UpdateAccount(ctx, admin.ID, identity.AccountChange{Enabled: ptr(false)})
			return err
		},
		"take the role":      func() error { return f.Unassign(ctx, grant) },
		"delete the role":    func() error { return f.DeleteRole(ctx, role.ID) },
		"rename the role":    func() error { _, err := f.RenameRole(ctx, role.ID, "boss"); return err },
		"delete the project": func() error { return f.DeleteProject(ctx, project.ID) },
		"disable the project": func() error {
			_, err := f.UpdateProject(ctx, project.ID, identity.ProjectChange{Enabled: ptr(false)})
			return err
		},
	}
	for name, way := range ways {
		require.ErrorIs(t, way(), identity.ErrLastAdmin, name)
		_, s, err := f.signIn(ctx, "admin", adminPassword, identity.Scope{})
		require.NoError(t, err, name)
		require.True(t, s.Caller().Admin(), name)
	}
	// A second one who is disabled does not count.
	second := f.account(t, "second", "pw", map[string]string{project.ID: "admin"})
	_, err := f.UpdateAccount(ctx, second.ID, identity.AccountChange{Enabled: ptr(false)})
	require.NoError(t, err)
	require.ErrorIs(t, ways["delete the account"](), identity.ErrLastAdmin)
	_, err = f.UpdateAccount(ctx, second.ID, identity.AccountChange{Enabled: ptr(true)})
	require.NoError(t, err)
	require.NoError(t, ways["delete the account"]())

	t.Run("two at once", func(t *testing.T) {
		third := f.account(t, "third", "pw", map[string]string{project.ID: "admin"})
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, id := range []string{second.ID, third.ID} {
			wg.Go(func() { errs[i] = f.DeleteAccount(ctx, id) })
		}
		wg.Wait()
		assert.True(t, (errs[0] == nil) != (errs[1] == nil), "exactly one goes: %v", errs)
	})
}

func TestNamesAndUniqueness(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	f.project(t, "shop")
	f.account(t, "alice", "pw", nil)
	for name, tc := range map[string]struct {
		run func() error
		err error
	}{
		"project twice":      {func() error { _, err := f.CreateProject(ctx, identity.ProjectChange{Name: ptr("shop")}); return err }, identity.ErrExists},
		"account twice":      {func() error { _, err := f.CreateAccount(ctx, identity.AccountChange{Name: ptr("alice")}); return err }, identity.ErrExists},
		"role twice":         {func() error { _, err := f.CreateRole(ctx, "member"); return err }, identity.ErrExists},
		"no project name":    {func() error { _, err := f.CreateProject(ctx, identity.ProjectChange{}); return err }, identity.ErrInvalid},
		"blank account name": {func() error { _, err := f.CreateAccount(ctx, identity.AccountChange{Name: ptr("  ")}); return err }, identity.ErrInvalid},
		"control character":  {func() error { _, err := f.CreateRole(ctx, "a\x00b"); return err }, identity.ErrInvalid},
		"not UTF-8":          {func() error { _, err := f.CreateRole(ctx, "a\xff"); return err }, identity.ErrInvalid},
		"endless": {func() error {
			_, err := f.CreateProject(ctx, identity.ProjectChange{Name: ptr(strings.Repeat("é", 65))})
			return err
		}, identity.ErrInvalid},
		"long enough": {func() error {
			_, err := f.CreateProject(ctx, identity.ProjectChange{Name: ptr(strings.Repeat("é", 64))})
			return err
		}, nil},
		"empty password": {func() error {
			_, err := f.CreateAccount(ctx, identity.AccountChange{Name: ptr("b"), Password: ptr("")})
			return err
		}, identity.ErrInvalid},
		"unknown account":    {func() error { return f.DeleteAccount(ctx, "nobody") }, identity.ErrNotFound},
		"unknown project":    {func() error { return f.DeleteProject(ctx, "nothing") }, identity.ErrNotFound},
		"unknown role":       {func() error { return f.DeleteRole(ctx, "nothing") }, identity.ErrNotFound},
		"assign nothing":     {func() error { return f.Assign(ctx, model.Assignment{AccountID: "a", ProjectID: "b", RoleID: "c"}) }, identity.ErrNotFound},
		"change nobody":      {func() error { _, err := f.UpdateAccount(ctx, "nobody", identity.AccountChange{}); return err }, identity.ErrNotFound},
		"password of nobody": {func() error { return f.ChangePassword(ctx, "nobody", "a", "b", "") }, identity.ErrUnauthorized},
	} {
		err := tc.run()
		if tc.err == nil {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, tc.err, name)
	}
}

func TestProjectWithInstancesStays(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	p := f.project(t, "shop")
	now := time.Now().UTC()
	require.NoError(t, f.store.Update(ctx, func(tx metastore.Tx) error {
		err := errors.Join(
			tx.Catalogue().PutFlavor(ctx, model.Flavor{ID: "1", Name: "small", RAMMB: 512, VCPUs: 1}),
			tx.Catalogue().PutDatastore(ctx, model.Datastore{ID: "mysql", Name: "mysql"}),
			tx.Catalogue().PutVersion(ctx, model.DatastoreVersion{ID: "v", DatastoreID: "mysql", Name: "9.7.4", Created: now}),
		)
		if err != nil {
			return err
		}
		return tx.Instances().Create(ctx, &model.Instance{
			ID: "i", ProjectID: p.ID, Name: "db", Desired: model.DesiredPresent, DatastoreVersionID: "v", FlavorID: "1", VolumeGB: 1,
			Status: model.StatusActive, Created: now, Updated: now,
		})
	}))
	err := f.DeleteProject(ctx, p.ID)
	require.ErrorIs(t, err, identity.ErrInUse)
	reason, ok := identity.Reason(err)
	assert.True(t, ok)
	assert.Contains(t, reason, "instances")
	require.NoError(t, f.store.Update(ctx, func(tx metastore.Tx) error { return tx.Instances().Delete(ctx, "i") }))
	require.NoError(t, f.DeleteProject(ctx, p.ID))
}
