package controlplane

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
)

// The administrator's file has the secrets that open something, and keeps them through restarts and changes of mind.
func TestAdminFile(t *testing.T) {
	dir := t.TempDir()
	file := func(provider identity.Provider) (Admin, string) {
		t.Helper()
		c := Config{DataDir: dir, Listen: "0.0.0.0:8779", PublicURL: "https://db.example.org", Region: "north", Provider: provider}
		if provider != identity.ProviderBuiltin {
			c.Keystone = &identity.KeystoneConfig{URL: "https://keystone:5000"}
		}
		a, err := adminFile(&c)
		require.NoError(t, err)
		stat, err := os.Stat(c.path(AdminFile))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), stat.Mode().Perm())
		text, err := os.ReadFile(c.path(AdminFile))
		require.NoError(t, err)
		return a, string(text)
	}
	first, text := file(identity.ProviderKeystone)
	assert.NotContains(t, text, "password", "nobody could use it")
	assert.NotContains(t, text, "username")
	token := first.Operator.Token
	assert.GreaterOrEqual(t, len(token), 43)
	assert.Equal(t, &Operator{Endpoint: "http://127.0.0.1:8779", Token: token, Project: "operator", AuthURL: "https://keystone:5000/v3"}, first.Operator,
		"the token does not leave the machine")
	again, same := file(identity.ProviderKeystone)
	assert.Equal(t, first, again)
	assert.Equal(t, text, same)

	own, text := file(identity.ProviderBuiltin)
	assert.NotContains(t, text, token, "it opens nothing any more")
	assert.Equal(t, Admin{Endpoint: "https://db.example.org", Region: "north", Username: "admin", Password: own.Password, Project: "admin"}, own)
	assert.Len(t, own.Password, 24)
	both, _ := file(identity.ProviderBoth)
	assert.Equal(t, own, both)

	back, _ := file(identity.ProviderKeystone)
	assert.Equal(t, own.Password, back.Password, "the account has it still, and is there again when Keystone goes")
	assert.NotEqual(t, token, back.Operator.Token)
	once, _ := file(identity.ProviderBuiltin)
	assert.Equal(t, own, once)
}

func TestConfigIsRefused(t *testing.T) {
	k := &identity.KeystoneConfig{URL: "https://keystone:5000"}
	for name, c := range map[string]Config{
		"no Keystone":           {Provider: identity.ProviderKeystone},
		"a Keystone not wanted": {Provider: identity.ProviderBuiltin, Keystone: k},
		"a way around":          {Keystone: k, NoAuth: true},
	} {
		require.ErrorIs(t, c.Fill(), ErrConfig, name)
	}
	c := Config{Keystone: k}
	require.NoError(t, c.Fill())
	assert.Equal(t, identity.ProviderKeystone, c.Provider)
	require.NoError(t, c.Fill(), "twice is once")

	fleet := APIConfig{Keystone: k, AdminPasswordFile: "/x"}
	require.ErrorContains(t, fleet.Check(), "admin-password-file is for Huker's own accounts")
}
