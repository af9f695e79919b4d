package identity_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/huker/huker/internal/identity"
)

func guess(f fixture, t *testing.T, user, password, address string) error {
	t.Helper()
	_, _, err := f.SignIn(t.Context(), identity.SignIn{
		Address: address, Password: &identity.PasswordProof{AccountName: user, Password: password}, Scope: identity.Scope{Unscoped: true},
	})
	return err
}

func limited(err error) *identity.LimitedError {
	var l *identity.LimitedError
	errors.As(err, &l)
	return l
}

func TestGuessesAreLimited(t *testing.T) {
	f := newFixture(t, func(c *identity.Config) {
		c.Limits = identity.SignInLimits{PerUserBurst: 3, PerUser: rate.Every(10 * time.Second), PerAddressBurst: 5, PerAddress: rate.Every(time.Second)}
	})
	f.account(t, "alice", "pw", nil)
	for range 20 {
		require.NoError(t, guess(f, t, "alice", "pw", "a"), "right passwords do not count")
	}
	for range 3 {
		require.ErrorIs(t, guess(f, t, "alice", "bad", "a"), identity.ErrUnauthorized)
	}
	err := guess(f, t, "alice", "bad", "a")
	require.NotNil(t, limited(err))
	assert.Equal(t, 10, limited(err).Seconds())
	require.NotNil(t, limited(guess(f, t, "alice", "pw", "a")), "now not even the right one")
	require.NoError(t, guess(f, t, "alice", "pw", "b"), "from elsewhere it still works: nobody is locked out by others")
	require.NoError(t, guess(f, t, "admin", adminPassword, "a"), "and others from there")

	require.ErrorIs(t, guess(f, t, "nobody", "x", "a"), identity.ErrUnauthorized)
	require.ErrorIs(t, guess(f, t, "nobody2", "x", "a"), identity.ErrUnauthorized)
	err = guess(f, t, "nobody3", "x", "a")
	require.NotNil(t, limited(err), "five failures from one address")
	assert.Equal(t, 1, limited(err).Seconds())
	f.clock.Advance(time.Second)
	require.ErrorIs(t, guess(f, t, "nobody3", "x", "a"), identity.ErrUnauthorized)
	f.clock.Advance(10 * time.Second)
	require.NoError(t, guess(f, t, "alice", "pw", "a"))

	t.Run("own password", func(t *testing.T) {
		for range 3 {
			require.ErrorIs(t, f.ChangePassword(t.Context(), f.seeded.Account.ID, "bad", "new", "c"), identity.ErrUnauthorized)
		}
		require.NotNil(t, limited(f.ChangePassword(t.Context(), f.seeded.Account.ID, adminPassword, "new", "c")))
	})
}

// Guesses in parallel must not get around the limit by all passing the check before the first has failed.
func TestParallelGuessesAreLimited(t *testing.T) {
	f := newFixture(t, func(c *identity.Config) {
		c.Limits = identity.SignInLimits{PerUserBurst: 5, PerUser: 0.001}
		c.HashConcurrency, c.HashQueue = 2, 1000
	})
	var tried, refused atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			switch err := guess(f, t, "admin", "bad", "a"); {
			case limited(err) != nil:
				refused.Add(1)
			case errors.Is(err, identity.ErrUnauthorized):
				tried.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 200, tried.Load()+refused.Load())
	assert.GreaterOrEqual(t, tried.Load(), int64(5))
	assert.LessOrEqual(t, tried.Load(), int64(5+1), "one more than the burst for the second slot")
}

func TestRehash(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	before, err := f.Account(ctx, f.seeded.Account.ID)
	require.NoError(t, err)
	stronger, err := identity.New(f.store, identity.Config{Params: identity.Params{MemoryKiB: 128, Time: 1, Threads: 1}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs { // at once: whoever comes second must not be refused
		wg.Go(func() {
			_, _, errs[i] = stronger.SignIn(ctx, identity.SignIn{Password: &identity.PasswordProof{AccountName: "admin", Password: adminPassword}})
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	after, err := f.Account(ctx, f.seeded.Account.ID)
	require.NoError(t, err)
	assert.NotEqual(t, before.PasswordHash, after.PasswordHash)
	assert.Contains(t, after.PasswordHash, "m=128,")
	_, _, err = stronger.SignIn(ctx, identity.SignIn{Password: &identity.PasswordProof{AccountName: "admin", Password: adminPassword}})
	require.NoError(t, err)
	again, err := f.Account(ctx, f.seeded.Account.ID)
	require.NoError(t, err)
	assert.Equal(t, after.PasswordHash, again.PasswordHash, "once is enough")
}

func TestClientAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1234":           "192.0.2.1",
		"[2001:db8:1:2:3::4]:1":    "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::9]:1": "2001:db8:1:2::/64",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"@":                        "@",
	} {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {"203.0.113.9"}}}
		assert.Equal(t, want, identity.ClientAddress(r), fmt.Sprintf("%q", remote))
	}
}
