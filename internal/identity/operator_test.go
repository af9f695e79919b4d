package identity_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
)

const operatorToken = "thirty-two characters, or nearly"

func TestOperatorToken(t *testing.T) {
	fake := &fakeKeystone{answer: func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusNotFound) }}
	k, _ := newExternal(t, fake, nil)
	chain, err := identity.NewChain(identity.ChainConfig{OperatorToken: operatorToken, StaticToken: staticToken, Keystone: k})
	require.NoError(t, err)
	tcp := func(address string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", address)
		require.NoError(t, err)
		return a
	}
	for name, tc := range map[string]struct {
		token, remote string
		local         net.Addr
		account       string
		asked         int64 // of Keystone
	}{
		"over loopback":                    {operatorToken, "127.0.0.1:40000", tcp("127.0.0.1:8779"), "operator", 0},
		"over loopback, IPv6":              {operatorToken, "[::1]:40000", tcp("[::1]:8779"), "operator", 0},
		"at the machine's own address":     {operatorToken, "192.0.2.1:40000", tcp("192.0.2.1:8779"), "operator", 0},
		"at it, as IPv6 writes it":         {operatorToken, "[::ffff:192.0.2.1]:40000", tcp("192.0.2.1:8779"), "operator", 0},
		"from another machine":             {operatorToken, "192.0.2.2:40000", tcp("192.0.2.1:8779"), "", 0},
		"from nobody knows where":          {operatorToken, "@", tcp("192.0.2.1:8779"), "", 0},
		"at nobody knows where":            {operatorToken, "192.0.2.1:40000", nil, "", 0},
		"another token":                    {operatorToken + "x", "127.0.0.1:40000", tcp("127.0.0.1:8779"), "", 1},
		"the static token, from elsewhere": {staticToken, "192.0.2.2:40000", tcp("192.0.2.1:8779"), "admin_token", 0},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if tc.local != nil {
				ctx = context.WithValue(ctx, http.LocalAddrContextKey, tc.local)
			}
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1.0/p1/instances", nil)
			r.RemoteAddr = tc.remote
			r.Header.Set("X-Auth-Token", tc.token)
			before := fake.calls.Load()
			c, err := chain.Authenticate(ctx, r)
			assert.Equal(t, tc.asked, fake.calls.Load()-before, "Keystone must not see the token")
			if tc.account == "" {
				require.ErrorIs(t, err, identity.ErrUnauthorized)
				return
			}
			require.NoError(t, err)
			assert.True(t, c.Admin())
			assert.Equal(t, tc.account, c.AccountName)
			assert.Equal(t, "p1", c.ProjectID)
		})
	}
}
