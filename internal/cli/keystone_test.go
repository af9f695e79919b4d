package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/identity"
)

// underKeystone is the command line on the machine of a control plane whose accounts are all of another Keystone.
func underKeystone(t *testing.T, vars map[string]string) *app {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(controlplane.Admin{Endpoint: "https://db.example.org", Region: "north", Operator: &controlplane.Operator{
		Endpoint: "http://127.0.0.1:8779", Token: "operators-token", Project: "operator", AuthURL: "https://keystone:5000/v3",
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, adminFile), text, 0o600))
	return &app{dataDir: dir, getenv: func(name string) string { return vars[name] }}
}

func TestCredentialsUnderKeystone(t *testing.T) {
	for name, tc := range map[string]struct {
		vars   map[string]string
		flags  credentialFlags
		want   client.Config
		refuse string
	}{
		"root": {want: client.Config{AuthType: "admin_token", Token: "operators-token", Endpoint: "http://127.0.0.1:8779/v1.0/operator"}},
		"root, in a project": {vars: map[string]string{"OS_PROJECT_ID": "p1"},
			want: client.Config{AuthType: "admin_token", Token: "operators-token", Endpoint: "http://127.0.0.1:8779/v1.0/p1"}},
		"root, in a project by name": {flags: credentialFlags{project: "shop"}, refuse: "OS_PROJECT_ID, or sign in at https://keystone:5000/v3"},
		"root, in its own by name": {flags: credentialFlags{project: "operator"},
			want: client.Config{AuthType: "admin_token", Token: "operators-token", Endpoint: "http://127.0.0.1:8779/v1.0/operator"}},
		"an account": {flags: credentialFlags{username: "alice", project: "shop"}, vars: map[string]string{"OS_PASSWORD": "pa"},
			want: client.Config{AuthType: "password", AuthURL: "https://keystone:5000/v3", Username: "alice", Password: "pa", Project: "shop", Region: "north"}},
		"an account of a domain": {
			vars: map[string]string{"OS_USERNAME": "alice", "OS_PASSWORD": "pa", "OS_PROJECT_NAME": "shop", "OS_USER_DOMAIN_ID": "d1",
				"OS_PROJECT_DOMAIN_NAME": "Shops", "OS_REGION_NAME": "south", "OS_CACERT": "/ca.pem"},
			want: client.Config{AuthType: "password", AuthURL: "https://keystone:5000/v3", Username: "alice", Password: "pa", Project: "shop", Region: "south",
				DomainID: "d1", ProjectDomain: "Shops", CAFile: "/ca.pem"}},
		"a token": {vars: map[string]string{"OS_AUTH_TYPE": "token", "OS_TOKEN": "gAAAA", "OS_PROJECT_NAME": "shop"},
			want: client.Config{AuthType: "token", AuthURL: "https://keystone:5000/v3", Token: "gAAAA", Project: "shop", Region: "north"}},
		"another place": {vars: map[string]string{"OS_AUTH_URL": "https://other/v3", "OS_USERNAME": "bob"},
			want: client.Config{AuthType: "password", AuthURL: "https://other/v3", Username: "bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := underKeystone(t, tc.vars)
			a.flags = tc.flags
			got, err := a.credentials()
			if tc.refuse != "" {
				require.ErrorContains(t, err, tc.refuse)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestEnvUnderKeystone(t *testing.T) {
	show := func(vars map[string]string) string {
		t.Helper()
		cmd := underKeystone(t, vars).newEnvCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs(nil)
		require.NoError(t, cmd.Execute())
		return out.String()
	}
	assert.Equal(t, `# For root on this machine. Everybody else signs in at https://keystone:5000/v3
export OS_AUTH_TYPE=admin_token
export OS_ENDPOINT=http://127.0.0.1:8779/v1.0/operator
export OS_TOKEN=operators-token
export OS_IDENTITY_API_VERSION=3
`, show(nil))
	assert.Equal(t, `export OS_AUTH_TYPE=password
export OS_AUTH_URL=https://keystone:5000/v3
export OS_USERNAME=alice
export OS_PASSWORD=pa
export OS_PROJECT_NAME=shop
export OS_USER_DOMAIN_ID=d1
export OS_PROJECT_DOMAIN_ID=d1
export OS_REGION_NAME=north
export OS_CACERT=/ca.pem
export OS_IDENTITY_API_VERSION=3
`, show(map[string]string{"OS_USERNAME": "alice", "OS_PASSWORD": "pa", "OS_PROJECT_NAME": "shop", "OS_USER_DOMAIN_ID": "d1", "OS_CACERT": "/ca.pem"}))
}

// A container with other arguments is replaced, so the same flags give the same ones.
func TestServeArguments(t *testing.T) {
	f := planeFlags{name: "huker", dataDir: "/d", publicURL: "https://h", addressRange: "10.1.0.0/16", provider: "both", keystoneURL: "https://k/v3", keystoneCA: "/ca"}
	want := f.args()
	assert.Subset(t, want, []string{"--identity-provider=both", "--keystone-url=https://k/v3", "--keystone-ca=/ca"})
	for range 20 {
		require.Equal(t, want, f.args())
	}
	assert.Equal(t, &identity.KeystoneConfig{CAFile: "/ca"}, (&planeFlags{keystoneCA: "/ca"}).config("v").Keystone, "said, if wrong: it is refused later")
	assert.Nil(t, (&planeFlags{}).config("v").Keystone)
}

func TestAuthoritiesOfKeystone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	given := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(given, []byte(text), 0o600))
	}
	bring := func() string {
		t.Helper()
		f := planeFlags{dataDir: dir, keystoneURL: "https://keystone:5000", keystoneCA: given}
		require.NoError(t, f.bringCA())
		require.NoError(t, f.forgetCAs())
		return f.keystoneCA
	}
	write("one")
	one := bring()
	assert.Equal(t, dir, filepath.Dir(one))
	assert.Equal(t, one, bring(), "the same gives the same")
	write("two")
	two := bring()
	assert.NotEqual(t, one, two, "another makes another container")
	assert.NoFileExists(t, one)
	text, err := os.ReadFile(two)
	require.NoError(t, err)
	assert.Equal(t, "two", string(text))

	plain := planeFlags{dataDir: filepath.Join(dir, "none"), keystoneURL: "http://127.0.0.1:5000"}
	require.NoError(t, plain.bringCA())
	assert.Empty(t, plain.keystoneCA)
	assert.NoDirExists(t, plain.dataDir)
	require.Error(t, (&planeFlags{dataDir: dir, keystoneURL: "https://k", keystoneCA: "/nonexistent"}).bringCA())
	write("")
	require.Error(t, (&planeFlags{dataDir: dir, keystoneURL: "https://k", keystoneCA: given}).bringCA())
}
