package identity_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/model"
)

const staticToken = "a-static-token-of-32-characters."

func TestChain(t *testing.T) {
	f := newFixture(t)
	shop, other := f.project(t, "shop"), f.project(t, "other")
	alice := f.account(t, "alice", "pa:ss", map[string]string{shop.ID: "member"})
	token, _, err := f.signIn(t.Context(), "alice", "pa:ss", identity.Scope{ProjectID: shop.ID})
	require.NoError(t, err)
	full := identity.ChainConfig{Service: f.Service, StaticToken: staticToken, None: true, Listen: "127.0.0.1:8779"}

	for name, tc := range map[string]struct {
		chain   identity.ChainConfig
		path    string
		prepare func(r *http.Request)
		want    identity.Caller
		refused bool
	}{
		"own token": {full, "/v1.0/x", func(r *http.Request) { r.Header.Set("X-Auth-Token", token) },
			identity.Caller{AccountID: alice.ID, AccountName: "alice", ProjectID: shop.ID, ProjectName: "shop", Roles: []string{"member"}}, false},
		"unknown token": {full, "/v1.0/x", func(r *http.Request) { r.Header.Set("X-Auth-Token", "nope") }, identity.Caller{}, true},
		"an own token that is wrong falls through to nothing": {full, "/v1.0/x", func(r *http.Request) { r.Header.Set("X-Auth-Token", token[:len(token)-4]+"AAAA") }, identity.Caller{}, true},
		"static": {full, "/v1.0/p1/instances", func(r *http.Request) { r.Header.Set("X-Auth-Token", staticToken) },
			identity.Caller{AccountName: "admin_token", ProjectID: "p1", ProjectName: "p1", Roles: []string{"admin"}}, false},
		"static is off": {identity.ChainConfig{Service: f.Service}, "/v1.0/p1", func(r *http.Request) { r.Header.Set("X-Auth-Token", staticToken) }, identity.Caller{}, true},
		"basic": {full, "/v1.0/" + shop.ID, func(r *http.Request) { r.SetBasicAuth("alice", "pa:ss") },
			identity.Caller{AccountID: alice.ID, AccountName: "alice", ProjectID: shop.ID, ProjectName: "shop", Roles: []string{"member"}}, false},
		"basic and another's project": {full, "/v1.0/" + other.ID, func(r *http.Request) { r.SetBasicAuth("alice", "pa:ss") },
			identity.Caller{AccountID: alice.ID, AccountName: "alice", ProjectID: shop.ID, ProjectName: "shop", Roles: []string{"member"}}, false},
		"basic with a wrong password": {full, "/v1.0/x", func(r *http.Request) { r.SetBasicAuth("alice", "x") }, identity.Caller{}, true},
		"basic is off":                {identity.ChainConfig{Service: f.Service, NoBasic: true}, "/v1.0/x", func(r *http.Request) { r.SetBasicAuth("alice", "pa:ss") }, identity.Caller{}, true},
		"none": {full, "/v1.0/p2/instances", func(*http.Request) {},
			identity.Caller{AccountName: "none", ProjectID: "p2", ProjectName: "p2", Roles: []string{"admin"}}, false},
		"none with keystoneauth's token that is none": {full, "/v1.0/p2/instances", func(r *http.Request) { r.Header.Set("X-Auth-Token", "notused") },
			identity.Caller{AccountName: "none", ProjectID: "p2", ProjectName: "p2", Roles: []string{"admin"}}, false},
		"none is off, with keystoneauth's token": {identity.ChainConfig{Service: f.Service}, "/v1.0/p2",
			func(r *http.Request) { r.Header.Set("X-Auth-Token", "notused") }, identity.Caller{}, true},
		"none is off":              {identity.ChainConfig{Service: f.Service}, "/v1.0/p2", func(*http.Request) {}, identity.Caller{}, true},
		"none from elsewhere":      {full, "/v1.0/p2", func(r *http.Request) { r.RemoteAddr = "192.0.2.7:99" }, identity.Caller{}, true},
		"none for another name":    {full, "/v1.0/p2", func(r *http.Request) { r.Host = "evil.example" }, identity.Caller{}, true},
		"none from another page":   {full, "/v1.0/p2", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, identity.Caller{}, true},
		"none, a browser's word":   {full, "/v1.0/p2", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, identity.Caller{}, true},
		"none on identity's paths": {full, "/v3/users", func(*http.Request) {}, identity.Caller{}, true},
		"none beside a bad header": {full, "/v1.0/p2", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, identity.Caller{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := identity.NewChain(tc.chain)
			require.NoError(t, err)
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8779"+tc.path, nil)
			r.RemoteAddr = "127.0.0.1:40000"
			tc.prepare(r)
			got, err := chain.Authenticate(t.Context(), r)
			if tc.refused {
				require.ErrorIs(t, err, identity.ErrUnauthorized)
				assert.Equal(t, identity.Caller{}, got)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestBasicFollowsThePassword(t *testing.T) {
	f := newFixture(t)
	auth, err := f.Basic()
	require.NoError(t, err)
	request := func(password string) error {
		r := httptest.NewRequest(http.MethodGet, "/v1.0/x", nil)
		r.SetBasicAuth("admin", password)
		_, err := auth.Authenticate(t.Context(), r)
		return err
	}
	require.NoError(t, request(adminPassword))
	require.NoError(t, request(adminPassword), "remembered")
	require.NoError(t, f.ChangePassword(t.Context(), f.seeded.Account.ID, adminPassword, "new", ""))
	require.ErrorIs(t, request(adminPassword), identity.ErrUnauthorized, "what was remembered must not outlive the password")
	require.NoError(t, request("new"))
	second := f.account(t, "second", "pw", map[string]string{f.seeded.Project.ID: "admin"})
	_, err = f.UpdateAccount(t.Context(), f.seeded.Account.ID, identity.AccountChange{Enabled: ptr(false)})
	require.NoError(t, err, second.Name)
	require.ErrorIs(t, request("new"), identity.ErrUnauthorized)
}

func TestBasicRemembersInsteadOfHashing(t *testing.T) {
	f := newFixture(t, func(c *identity.Config) { c.Params = identity.Params{MemoryKiB: 8 << 10, Time: 4, Threads: 1} })
	auth, err := f.Basic()
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/v1.0/x", nil)
	r.SetBasicAuth("admin", adminPassword)
	measure := func() time.Duration {
		start := time.Now()
		_, err := auth.Authenticate(t.Context(), r)
		require.NoError(t, err)
		return time.Since(start)
	}
	first := measure()
	best := first
	for range 5 {
		best = min(best, measure())
	}
	assert.Less(t, best, first)
	f.clock.Advance(2 * time.Minute)
	require.NoError(t, f.Assign(t.Context(), model.Assignment{AccountID: f.seeded.Account.ID, ProjectID: f.seeded.Project.ID, RoleID: f.role(t, "reader").ID}))
	c, err := auth.Authenticate(t.Context(), r)
	require.NoError(t, err)
	assert.True(t, c.Has("reader"), "roles are never remembered")
}

func TestChainIsRefused(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]identity.ChainConfig{
		"nothing":               {},
		"none on all addresses": {Service: f.Service, None: true, Listen: ":8779"},
		"none on 0.0.0.0":       {Service: f.Service, None: true, Listen: "0.0.0.0:8779"},
		"none on a LAN":         {Service: f.Service, None: true, Listen: "192.0.2.1:8779"},
		"short static token":    {Service: f.Service, StaticToken: "short"},
		"short operator token":  {Service: f.Service, OperatorToken: "short"},
	} {
		_, err := identity.NewChain(c)
		assert.Error(t, err, name)
	}
	for name, c := range map[string]identity.KeystoneConfig{
		"no URL":      {URL: "keystone:5000"},
		"a password":  {URL: "https://me:secret@keystone:5000/v3"},
		"no CA there": {URL: "https://keystone:5000/v3", CAFile: "/nonexistent"},
	} {
		_, err := identity.NewKeystone(c)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "secret")
	}
	for _, listen := range []string{"127.0.0.1:8779", "[::1]:8779", "localhost:8779", "127.8.8.8:1"} {
		_, err := identity.NewChain(identity.ChainConfig{None: true, Listen: listen})
		assert.NoError(t, err, listen)
	}
}
