package metastoretest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// table tests what all tables of named things have in common. a, b are two rows; changed is a with every other field changed;
// asB is a with the name of b; and a2, a3 are new rows with the id, and the name, of a.
type table[T any] struct {
	of                     func(metastore.Tx) metastore.Table[T]
	a, b                   T
	changed, asB, a2, a3   T
	idA, idB, nameA, nameB string // nameA sorts behind nameB
}

func (c table[T]) run(t *testing.T, s metastore.Store) {
	t.Helper()
	ctx := t.Context()
	all := func() []T {
		t.Helper()
		return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]T, error) { return c.of(tx).List(ctx) })
	}
	wants := func(want T, id, name string) {
		t.Helper()
		got := read(t, s, func(ctx context.Context, tx metastore.Tx) (T, error) { return c.of(tx).Get(ctx, id) })
		require.Equal(t, want, got)
		got = read(t, s, func(ctx context.Context, tx metastore.Tx) (T, error) { return c.of(tx).ByName(ctx, name) })
		require.Equal(t, want, got)
	}
	require.Empty(t, all())
	update(t, s, func(tx metastore.Tx) error { return errors.Join(c.of(tx).Create(ctx, c.a), c.of(tx).Create(ctx, c.b)) })
	wants(c.a, c.idA, c.nameA)
	wants(c.b, c.idB, c.nameB)
	require.Equal(t, []T{c.b, c.a}, all())

	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error { return c.of(tx).Create(ctx, c.a2) })
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error { return c.of(tx).Create(ctx, c.a3) })
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error { return c.of(tx).Update(ctx, c.asB) })
	require.Equal(t, []T{c.b, c.a}, all())

	for range 2 { // the second time nothing changes, which is no error either
		update(t, s, func(tx metastore.Tx) error { return c.of(tx).Update(ctx, c.changed) })
		wants(c.changed, c.idA, c.nameA)
	}
	wants(c.b, c.idB, c.nameB)

	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return c.of(tx).Delete(ctx, c.idA) })
		require.Equal(t, []T{c.b}, all())
	}
	for _, call := range []func(metastore.Table[T]) error{
		func(m metastore.Table[T]) error { _, err := m.Get(ctx, c.idA); return err },
		func(m metastore.Table[T]) error { _, err := m.ByName(ctx, c.nameA); return err },
		func(m metastore.Table[T]) error { return m.Update(ctx, c.a) },
	} {
		gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error { return call(c.of(tx)) })
	}
	update(t, s, func(tx metastore.Tx) error { return c.of(tx).Create(ctx, c.a3) }) // the name is free again
}

func projects(t *testing.T, s metastore.Store) {
	table[model.Project]{
		of:      func(tx metastore.Tx) metastore.Table[model.Project] { return tx.Identity().Projects() },
		a:       model.Project{ID: "a", Name: "z", Description: "d", Enabled: true, Created: at(1)},
		b:       model.Project{ID: "b", Name: "y"},
		changed: model.Project{ID: "a", Name: "z", Description: "other", Created: at(2)},
		asB:     model.Project{ID: "a", Name: "y"},
		a2:      model.Project{ID: "a", Name: "new"},
		a3:      model.Project{ID: "new", Name: "z"},
		idA:     "a", idB: "b", nameA: "z", nameB: "y",
	}.run(t, s)
}

func accounts(t *testing.T, s metastore.Store) {
	table[model.Account]{
		of: func(tx metastore.Tx) metastore.Table[model.Account] { return tx.Identity().Accounts() },
		a: model.Account{
			ID: "a", Name: "z", Email: "e", Description: "d", DefaultProjectID: "p", PasswordHash: "$argon2id$v=19$", Enabled: true, Created: at(1),
		},
		b: model.Account{ID: "b", Name: "y"},
		changed: model.Account{
			ID: "a", Name: "z", Email: "e2", Description: "d2", DefaultProjectID: "p2", PasswordHash: "h2", Created: at(2),
		},
		asB: model.Account{ID: "a", Name: "y"},
		a2:  model.Account{ID: "a", Name: "new"},
		a3:  model.Account{ID: "new", Name: "z"},
		idA: "a", idB: "b", nameA: "z", nameB: "y",
	}.run(t, s)
}

func roles(t *testing.T, s metastore.Store) {
	table[model.Role]{
		of:      func(tx metastore.Tx) metastore.Table[model.Role] { return tx.Identity().Roles() },
		a:       model.Role{ID: "a", Name: "z"},
		b:       model.Role{ID: "b", Name: "y"},
		changed: model.Role{ID: "a", Name: "z"},
		asB:     model.Role{ID: "a", Name: "y"},
		a2:      model.Role{ID: "a", Name: "new"},
		a3:      model.Role{ID: "new", Name: "z"},
		idA:     "a", idB: "b", nameA: "z", nameB: "y",
	}.run(t, s)
}

// people makes two projects, two accounts and two roles: p1 p2 a1 a2 r1 r2.
func people(t *testing.T, s metastore.Store) {
	t.Helper()
	ctx := t.Context()
	update(t, s, func(tx metastore.Tx) error {
		var err error
		for _, n := range []string{"1", "2"} {
			err = errors.Join(err, tx.Identity().Projects().Create(ctx, model.Project{ID: "p" + n, Name: "project " + n}),
				tx.Identity().Accounts().Create(ctx, model.Account{ID: "a" + n, Name: "account " + n}),
				tx.Identity().Roles().Create(ctx, model.Role{ID: "r" + n, Name: "role " + n}))
		}
		return err
	})
}

func assigned(t *testing.T, s metastore.Store, f model.Assignment) []model.Assignment {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Assignment, error) {
		return tx.Identity().Assignments(ctx, f)
	})
}

func assign(t *testing.T, s metastore.Store, as ...model.Assignment) {
	t.Helper()
	update(t, s, func(tx metastore.Tx) error {
		var err error
		for _, a := range as {
			err = errors.Join(err, tx.Identity().Assign(t.Context(), a))
		}
		return err
	})
}

func assignments(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	people(t, s)
	as := []model.Assignment{
		{AccountID: "a1", ProjectID: "p1", RoleID: "r1"},
		{AccountID: "a1", ProjectID: "p1", RoleID: "r2"},
		{AccountID: "a1", ProjectID: "p2", RoleID: "r1"},
		{AccountID: "a2", ProjectID: "p1", RoleID: "r1"},
	}
	for range 2 {
		assign(t, s, as...)
		require.ElementsMatch(t, as, assigned(t, s, model.Assignment{}))
	}
	require.ElementsMatch(t, as[:3], assigned(t, s, model.Assignment{AccountID: "a1"}))
	require.ElementsMatch(t, as[:2], assigned(t, s, model.Assignment{AccountID: "a1", ProjectID: "p1"}))
	require.ElementsMatch(t, []model.Assignment{as[0], as[1], as[3]}, assigned(t, s, model.Assignment{ProjectID: "p1"}))
	require.ElementsMatch(t, []model.Assignment{as[0], as[2], as[3]}, assigned(t, s, model.Assignment{RoleID: "r1"}))
	require.Empty(t, assigned(t, s, model.Assignment{AccountID: "a2", RoleID: "r2"}))
	require.Equal(t, []model.Role{{ID: "r1", Name: "role 1"}, {ID: "r2", Name: "role 2"}}, rolesOn(t, s, "a1", "p1"))
	require.Equal(t, []model.Role{{ID: "r1", Name: "role 1"}}, rolesOn(t, s, "a2", "p1"))
	require.Empty(t, rolesOn(t, s, "a2", "p2"))

	for _, a := range []model.Assignment{
		{AccountID: "a3", ProjectID: "p1", RoleID: "r1"},
		{AccountID: "a1", ProjectID: "p3", RoleID: "r1"},
		{AccountID: "a1", ProjectID: "p1", RoleID: "r3"},
	} {
		gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error { return tx.Identity().Assign(ctx, a) })
	}
	update(t, s, func(tx metastore.Tx) error { return tx.Identity().Unassign(ctx, as[1]) })
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error { return tx.Identity().Unassign(ctx, as[1]) })
	require.ElementsMatch(t, []model.Assignment{as[0], as[2], as[3]}, assigned(t, s, model.Assignment{}))
}

func rolesOn(t *testing.T, s metastore.Store, account, project string) []model.Role {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Role, error) {
		return tx.Identity().RolesOn(ctx, account, project)
	})
}

func token(hash, account, project string, expires time.Time) model.Token {
	return model.Token{
		Hash: hash, AccountID: account, ProjectID: project, Methods: []string{"password", "token"}, AuditID: "audit", IssuedAt: at(0), ExpiresAt: expires,
	}
}

func mint(t *testing.T, s metastore.Store, ts ...model.Token) {
	t.Helper()
	update(t, s, func(tx metastore.Tx) error {
		var err error
		for _, v := range ts {
			err = errors.Join(err, tx.Identity().Tokens().Create(t.Context(), v))
		}
		return err
	})
}

// valid wants exactly the tokens with these hashes, of those named h1 to h6.
func valid(t *testing.T, s metastore.Store, want ...string) {
	t.Helper()
	got := []string{}
	view(t, s, func(tx metastore.Tx) error {
		for _, h := range []string{"h1", "h2", "h3", "h4", "h5", "h6"} {
			switch _, err := tx.Identity().Tokens().Get(t.Context(), h); {
			case err == nil:
				got = append(got, h)
			case !errors.Is(err, metastore.ErrNotFound):
				return err
			}
		}
		return nil
	})
	require.Equal(t, want, got)
}

func identityCascades(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	people(t, s)
	r1 := model.Assignment{AccountID: "a1", ProjectID: "p1", RoleID: "r1"}
	r2 := model.Assignment{AccountID: "a2", ProjectID: "p2", RoleID: "r2"}
	cross := model.Assignment{AccountID: "a1", ProjectID: "p2", RoleID: "r2"}
	assign(t, s, r1, r2, cross)
	mint(t, s, token("h1", "a1", "p1", at(9)), token("h2", "a1", "", at(9)), token("h3", "a2", "p1", at(9)),
		token("h4", "a2", "p2", at(9)), token("h5", "a1", "p2", at(9)))

	update(t, s, func(tx metastore.Tx) error { return tx.Identity().Projects().Delete(ctx, "p1") })
	require.ElementsMatch(t, []model.Assignment{r2, cross}, assigned(t, s, model.Assignment{}))
	valid(t, s, "h2", "h4", "h5")

	update(t, s, func(tx metastore.Tx) error { return tx.Identity().Accounts().Delete(ctx, "a1") })
	require.Equal(t, []model.Assignment{r2}, assigned(t, s, model.Assignment{}))
	valid(t, s, "h4")

	update(t, s, func(tx metastore.Tx) error { return tx.Identity().Roles().Delete(ctx, "r2") })
	require.Empty(t, assigned(t, s, model.Assignment{}))
	valid(t, s, "h4")
}

func tokens(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	people(t, s)
	want := token("h1", "a1", "p1", at(10))
	unscoped := token("h2", "a1", "", at(20))
	unscoped.Methods = nil
	roleless := token("h3", "a2", "p2", at(30))
	mint(t, s, want, unscoped, roleless, token("h4", "a2", "", at(5)))
	assign(t, s, model.Assignment{AccountID: "a1", ProjectID: "p1", RoleID: "r2"}, model.Assignment{AccountID: "a1", ProjectID: "p1", RoleID: "r1"},
		model.Assignment{AccountID: "a1", ProjectID: "p2", RoleID: "r1"}, model.Assignment{AccountID: "a2", ProjectID: "p1", RoleID: "r1"})
	held := map[string][]model.Role{"h1": {{ID: "r1", Name: "role 1"}, {ID: "r2", Name: "role 2"}}}
	for _, w := range []model.Token{want, unscoped, roleless} {
		got := read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Token, error) {
			return tx.Identity().Tokens().Get(ctx, w.Hash)
		})
		require.Equal(t, w, got)
		bearer := read(t, s, func(ctx context.Context, tx metastore.Tx) (b metastore.Bearer, err error) {
			b, err = tx.Identity().Tokens().Bearer(ctx, w.Hash)
			if err == nil {
				var account model.Account
				account, err = tx.Identity().Accounts().Get(ctx, w.AccountID)
				require.Equal(t, account, b.Account)
			}
			if err == nil && w.ProjectID != "" {
				var project model.Project
				project, err = tx.Identity().Projects().Get(ctx, w.ProjectID)
				require.Equal(t, &project, b.Project)
			}
			return b, err
		})
		require.Equal(t, w, bearer.Token)
		require.Equal(t, held[w.Hash], bearer.Roles)
		require.Equal(t, w.ProjectID == "", bearer.Project == nil)
	}
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Identity().Tokens().Bearer(ctx, "h9")
		return err
	})
	gives(t, s, metastore.ErrExists, func(tx metastore.Tx) error {
		return tx.Identity().Tokens().Create(ctx, token("h1", "a2", "", at(99)))
	})
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		return tx.Identity().Tokens().Create(ctx, token("h5", "a3", "", at(99)))
	})
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		return tx.Identity().Tokens().Create(ctx, token("h5", "a1", "p3", at(99)))
	})

	expire := func(when time.Time, want int) {
		t.Helper()
		update(t, s, func(tx metastore.Tx) error {
			n, err := tx.Identity().Tokens().DeleteExpired(ctx, when)
			require.Equal(t, want, n)
			return err
		})
	}
	expire(at(5), 0) // not before
	expire(at(5).Add(time.Microsecond), 1)
	valid(t, s, "h1", "h2", "h3")
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return tx.Identity().Tokens().Delete(ctx, "h3") })
	}
	valid(t, s, "h1", "h2")
	mint(t, s, token("h6", "a2", "", at(30)))
	for range 2 {
		update(t, s, func(tx metastore.Tx) error { return tx.Identity().Tokens().DeleteByAccount(ctx, "a1") })
	}
	valid(t, s, "h6")
	expire(at(99), 1)
}
