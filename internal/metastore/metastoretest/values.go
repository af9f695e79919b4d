package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func times(t *testing.T, s metastore.Store) {
	east := time.FixedZone("east", 5*3600+1800)
	for n, c := range []struct{ in, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 0), time.Unix(0, 0).UTC()},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC)},
		{time.Date(2026, 7, 1, 3, 4, 5, 678901000, east), time.Date(2026, 6, 30, 21, 34, 5, 678901000, time.UTC)},
		{time.Date(2026, 1, 1, 0, 0, 0, 999, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, // below a microsecond
		{time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)},
	} {
		i := instance(n)
		i.Created, i.Updated, i.RootEnabledAt, i.Fault.Created = c.in, c.in, c.in, c.in
		create(t, s, i)
		got := get(t, s, i.ID)
		for _, v := range []time.Time{got.Created, got.Updated, got.RootEnabledAt, got.Fault.Created} {
			require.Equal(t, c.want, v) // the location too
		}
	}
}

func texts(t *testing.T, s metastore.Store) {
	for n, name := range []string{
		"", " ", " leading and trailing ", "NULL", "'; DROP TABLE instances; --", `back\slash "quoted" %_`, "line\nline\ttab\r",
		"Größe, 数据库, база", "🐬🗄️ \U0010FFFF", "a\u0301 is not á", "nul\x00nul", strings.Repeat("n", 255), strings.Repeat("🐬", 255),
	} {
		i := instance(n)
		i.Name = name
		i.Fault.Message = name
		i.Fault.Details = strings.Repeat(name+"🐬", 65536/(len(name)+4)) // long enough for a server's last words
		i.Bootstrap.Users[0].Password = name
		i.Access.AllowedCIDRs = []string{name, name}
		create(t, s, i)
		require.Equal(t, i, get(t, s, i.ID))
		e := model.Event{InstanceID: i.ID, Message: i.Fault.Details, Kind: "k", Time: at(0)}
		update(t, s, func(tx metastore.Tx) error { return tx.Events().Append(t.Context(), &e) })
		es := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Event, error) {
			return tx.Events().List(ctx, i.ID, 0)
		})
		require.Equal(t, []model.Event{e}, es)
	}
}

// namesDiffer: two names are the same only when they are the same bytes, whatever an engine's collation thinks.
func namesDiffer(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	names := []string{"name", "Name", "NAME", "name ", " name", "námé", "na\u0301me\u0301", "straße", "strasse"}
	update(t, s, func(tx metastore.Tx) error {
		for n, name := range names {
			if err := tx.Identity().Projects().Create(ctx, model.Project{ID: fmt.Sprint("p", n), Name: name}); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		return nil
	})
	for n, name := range names {
		p := read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Project, error) {
			return tx.Identity().Projects().ByName(ctx, name)
		})
		require.Equal(t, fmt.Sprint("p", n), p.ID)
	}
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Identity().Projects().ByName(ctx, "naMe")
		return err
	})
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Identity().Projects().Get(ctx, "P0")
		return err
	})
}

// notUTF8: words of other programs end up in faults and events, and those are not always what they should be. They must not stop a write.
func notUTF8(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	const bad, good = "bad \xff\xfe\xc3", "bad \uFFFD"
	i := instance(1)
	i.Name, i.Fault.Message, i.Fault.Details, i.Address = bad, bad, bad, bad
	i.Access.AllowedCIDRs = nil
	create(t, s, i)
	got := get(t, s, i.ID)
	for _, v := range []string{got.Name, got.Fault.Message, got.Fault.Details, got.Address} {
		require.Equal(t, good, v)
	}
	update(t, s, func(tx metastore.Tx) error {
		return errors.Join(tx.Events().Append(ctx, &model.Event{InstanceID: i.ID, Message: bad}), tx.Secrets().Put(ctx, bad, bad, []byte(bad)))
	})
	es := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Event, error) {
		return tx.Events().List(ctx, i.ID, 0)
	})
	require.Equal(t, good, es[0].Message)
	v := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]byte, error) { return tx.Secrets().Get(ctx, good, good) })
	require.Equal(t, bad, string(v), "a value is bytes, and stays what it is")
	gives(t, s, metastore.ErrNotFound, func(tx metastore.Tx) error {
		_, err := tx.Instances().Get(ctx, "\xff")
		return err
	})
}

// noSecretsInErrors: errors are logged.
func noSecretsInErrors(t *testing.T, s metastore.Store) {
	ctx := t.Context()
	people(t, s)
	for _, hash := range []string{"5ec7e7ha5h", "it's 5ec7e7ha5h for key 'x'"} {
		mint(t, s, token(hash, "a1", "", at(9)))
		err := s.Update(ctx, func(tx metastore.Tx) error { return tx.Identity().Tokens().Create(ctx, token(hash, "a1", "", at(9))) })
		require.ErrorIs(t, err, metastore.ErrExists)
		require.NotContains(t, err.Error(), "5ec7e7")
		require.ErrorContains(t, err, "tokens", "but what it was about")
	}
}
