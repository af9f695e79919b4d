package client_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
)

// signsInWith gives what a client sends to sign in.
func signsInWith(t *testing.T, c client.Config) string {
	t.Helper()
	var sent []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	c.AuthURL = server.URL
	api, err := client.New(c)
	require.NoError(t, err)
	_, err = api.Endpoint(t.Context())
	require.Error(t, err)
	return string(sent)
}

func TestDomains(t *testing.T) {
	for name, tc := range map[string]struct {
		conf          client.Config
		user, project string
	}{
		"default":            {client.Config{}, `{"name":"Default"}`, `{"name":"Default"}`},
		"one name":           {client.Config{Domain: "Shops"}, `{"name":"Shops"}`, `{"name":"Shops"}`},
		"one id":             {client.Config{DomainID: "d1"}, `{"id":"d1"}`, `{"id":"d1"}`},
		"a name and its id":  {client.Config{Domain: "Shops", DomainID: "d1"}, `{"id":"d1"}`, `{"id":"d1"}`},
		"two names":          {client.Config{Domain: "People", ProjectDomain: "Shops"}, `{"name":"People"}`, `{"name":"Shops"}`},
		"an id, and a name":  {client.Config{DomainID: "d1", ProjectDomain: "Shops"}, `{"id":"d1"}`, `{"name":"Shops"}`},
		"a name, and an id":  {client.Config{Domain: "People", ProjectDomainID: "d2"}, `{"name":"People"}`, `{"id":"d2"}`},
		"only the project's": {client.Config{ProjectDomainID: "d2"}, `{"name":"Default"}`, `{"id":"d2"}`},
		"two ids":            {client.Config{DomainID: "d1", ProjectDomainID: "d2"}, `{"id":"d1"}`, `{"id":"d2"}`},
	} {
		t.Run(name, func(t *testing.T) {
			tc.conf.Username, tc.conf.Password, tc.conf.Project = "alice", "pa", "shop"
			want := `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"alice","password":"pa","domain":` + tc.user +
				`}}},"scope":{"project":{"name":"shop","domain":` + tc.project + `}}}}`
			assert.JSONEq(t, want, signsInWith(t, tc.conf))
		})
	}
}

func TestAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"flavors": []any{}})
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(server.Close)
	conf := client.Config{AuthType: client.AuthAdmin, Token: "t", Endpoint: server.URL + "/v1.0/p"}
	api, err := client.New(conf)
	require.NoError(t, err)
	ctx := t.Context()
	err = api.Restart(ctx, "x") // which is not tried again
	var lost *client.Unreachable
	require.ErrorAs(t, err, &lost)

	conf.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	_, err = client.New(conf)
	require.ErrorContains(t, err, "authorities")
	require.NoError(t, os.WriteFile(conf.CAFile, []byte("nothing"), 0o600))
	_, err = client.New(conf)
	require.ErrorContains(t, err, "no certificate")
	require.NoError(t, os.WriteFile(conf.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	api, err = client.New(conf)
	require.NoError(t, err)
	_, err = api.Flavors(ctx)
	require.NoError(t, err)
}

// Who holds a secret of the API itself can name projects by id, though it cannot look them up where accounts are kept.
func TestProjectsElsewhere(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Contains(t, []string{"/identity/v3/projects", "/identity/v3/auth/projects"}, r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":{"code":404,"title":"Not Found","message":"sign in at https://keystone:5000/v3"}}`))
	}))
	defer server.Close()
	api, err := client.New(client.Config{AuthType: client.AuthAdmin, Token: "t", Endpoint: server.URL + "/v1.0/operator"})
	require.NoError(t, err)
	p, err := api.FindProject(t.Context(), "0123")
	require.NoError(t, err)
	assert.Equal(t, "0123", p.ID)
}
