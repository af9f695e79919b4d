package identity_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
)

func TestChooseProvider(t *testing.T) {
	there := &identity.KeystoneConfig{URL: "https://keystone:5000"}
	for name, tc := range map[string]struct {
		given  identity.Provider
		k      *identity.KeystoneConfig
		noAuth bool
		want   identity.Provider
		refuse string
	}{
		"nothing said":                      {"", nil, false, identity.ProviderBuiltin, ""},
		"nothing said, and no sign-in":      {"", nil, true, identity.ProviderBuiltin, ""},
		"builtin":                           {identity.ProviderBuiltin, nil, false, identity.ProviderBuiltin, ""},
		"a Keystone takes the place":        {"", there, false, identity.ProviderKeystone, ""},
		"keystone":                          {identity.ProviderKeystone, there, false, identity.ProviderKeystone, ""},
		"both":                              {identity.ProviderBoth, there, false, identity.ProviderBoth, ""},
		"both, and no sign-in":              {identity.ProviderBoth, there, true, identity.ProviderBoth, ""},
		"what is that":                      {"ldap", there, false, "", `"ldap"`},
		"keystone without one":              {identity.ProviderKeystone, nil, false, "", "needs keystone-url"},
		"both without one":                  {identity.ProviderBoth, nil, false, "", "needs keystone-url"},
		"builtin with one":                  {identity.ProviderBuiltin, there, false, "", "does not ask it"},
		"an authority for nothing":          {"", &identity.KeystoneConfig{CAFile: "ca.pem"}, false, "", "keystone-ca"},
		"not a URL":                         {"", &identity.KeystoneConfig{URL: "keystone:5000"}, false, "", "not http(s)"},
		"a URL with a password":             {identity.ProviderBoth, &identity.KeystoneConfig{URL: "https://me:secret@k/v3"}, false, "", "password"},
		"a Keystone, and a way around it":   {"", there, true, "", "no-auth"},
		"a Keystone, and all wrong with it": {identity.ProviderKeystone, nil, true, "", "no-auth"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := identity.ChooseProvider(tc.given, tc.k, tc.noAuth)
			if tc.refuse != "" {
				require.ErrorContains(t, err, tc.refuse)
				assert.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			again, err := identity.ChooseProvider(got, tc.k, tc.noAuth)
			require.NoError(t, err, "what was chosen may be chosen again")
			assert.Equal(t, got, again)
		})
	}
}

func TestAuthURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://keystone:5000":         "https://keystone:5000/v3",
		"https://keystone:5000/v3/":     "https://keystone:5000/v3",
		"http://c/identity":             "http://c/identity/v3",
		"http://c/identity/v3?x=1#frag": "http://c/identity/v3",
		"keystone":                      "",
	} {
		assert.Equal(t, want, identity.KeystoneConfig{URL: given}.AuthURL(), given)
	}
}
