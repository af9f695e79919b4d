package identity_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/identity/keystonetest"
)

func TestRealKeystone(t *testing.T) {
	k := keystonetest.Start(t)
	admin := k.Admin()
	project := k.Project(admin, "shop")
	alice := k.User(admin, "alice", "pa", "member", project)

	external, err := identity.NewKeystone(identity.KeystoneConfig{URL: k.URL, CacheTTL: -1})
	require.NoError(t, err)
	require.NoError(t, external.Ping(t.Context()))
	auth, err := identity.NewChain(identity.ChainConfig{Keystone: external})
	require.NoError(t, err)
	request := func(token string) (identity.Caller, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://huker/v1.0/"+project+"/instances", nil)
		require.NoError(t, err)
		r.Header.Set("X-Auth-Token", token)
		return auth.Authenticate(t.Context(), r)
	}
	c, err := request(admin)
	require.NoError(t, err)
	assert.True(t, c.Admin())
	assert.Equal(t, "admin", c.ProjectName)

	token, _ := k.SignIn("alice", "pa", "shop")
	c, err = request(token)
	require.NoError(t, err, "a member may have their own token validated")
	assert.Equal(t, identity.Caller{AccountID: alice, AccountName: "alice", ProjectID: project, ProjectName: "shop", Roles: c.Roles}, c)
	assert.True(t, c.Has("member"))
	assert.False(t, c.Admin())

	unscoped, _ := k.SignIn("alice", "pa", "")
	c, err = request(unscoped)
	require.NoError(t, err)
	assert.Empty(t, c.ProjectID, "unscoped")
	_, err = request("gAAAAABmade-up")
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	k.Do("DELETE", "/auth/tokens", token, nil, 204)
	_, err = request(token)
	require.ErrorIs(t, err, identity.ErrUnauthorized, "revoked")
}
