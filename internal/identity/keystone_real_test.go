package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/testenv"
)

const keystoneConf = `
[database]
connection = sqlite:///%[1]s/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = %[1]s/fernet
[credential]
key_repository = %[1]s/credential
[identity]
password_hash_rounds = 4
`

// realKeystone is Debian's Keystone on SQLite, made for one test.
type realKeystone struct {
	t   *testing.T
	url string
}

func startKeystone(t *testing.T) realKeystone {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: Keystone takes 20 s to start (-short)")
	}
	manage := testenv.RequireBinary(t, "keystone-manage")
	uwsgi := testenv.RequireBinary(t, "uwsgi")
	wsgi := testenv.RequireBinary(t, "keystone-wsgi-public")
	dir := t.TempDir()
	conf := filepath.Join(dir, "keystone.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, keystoneConf, dir), 0o600))
	me, err := user.Current()
	require.NoError(t, err)
	group, err := user.LookupGroupId(me.Gid)
	require.NoError(t, err)

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	k := realKeystone{t: t, url: "http://" + address + "/v3"}

	run := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, manage, append([]string{"--config-file", conf}, args...)...).CombinedOutput()
		require.NoError(t, err, "keystone-manage %v: %s", args, out)
	}
	owner := []string{"--keystone-user", me.Username, "--keystone-group", group.Name}
	run("db_sync")
	run(append([]string{"fernet_setup"}, owner...)...)
	run(append([]string{"credential_setup"}, owner...)...)
	run("bootstrap", "--bootstrap-password", "secret", "--bootstrap-public-url", k.url, "--bootstrap-region-id", "RegionOne")

	var log bytes.Buffer
	server := exec.Command(uwsgi, "--http-socket", address, "--plugin", "python3", "--wsgi-file", wsgi, "--processes", "1", "--threads", "1", "--die-on-term")
	server.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_FILES="+conf)
	server.Stdout, server.Stderr = &log, &log
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // none is left behind by a test that crashes
	runtime.LockOSThread()                                                // the signal comes when the thread that started the server ends
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		runtime.UnlockOSThread()
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("Keystone said:\n%s", log.String())
		}
	})
	require.Eventually(t, func() bool { code, _, _ := k.try("GET", "", "", nil); return code == http.StatusOK }, time.Minute, 200*time.Millisecond,
		"Keystone does not answer")
	return k
}

func (k realKeystone) try(method, path, token string, body any) (int, http.Header, map[string]any) {
	k.t.Helper()
	var content io.Reader // not "null": Keystone refuses that even with GET
	if body != nil {
		raw, err := json.Marshal(body)
		require.NoError(k.t, err)
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(k.t.Context(), method, k.url+path, content)
	require.NoError(k.t, err)
	req.Close = true // uwsgi closes connections without saying so
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("X-Subject-Token", token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, map[string]any{"no answer": err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	out := map[string]any{}
	text, err := io.ReadAll(resp.Body)
	require.NoError(k.t, err)
	if len(text) > 0 {
		require.NoError(k.t, json.Unmarshal(text, &out), string(text))
	}
	return resp.StatusCode, resp.Header, out
}

func (k realKeystone) do(method, path, token string, body any, want int) map[string]any {
	k.t.Helper()
	code, _, out := k.try(method, path, token, body)
	require.Equal(k.t, want, code, "%s %s: %v", method, path, out)
	return out
}

type object = map[string]any

func (k realKeystone) token(name, password, project string) string {
	k.t.Helper()
	auth := object{"identity": object{"methods": []string{"password"}, "password": object{"user": object{
		"name": name, "password": password, "domain": object{"id": "default"}}}}}
	if project != "" {
		auth["scope"] = object{"project": object{"name": project, "domain": object{"id": "default"}}}
	}
	code, header, out := k.try("POST", "/auth/tokens", "", object{"auth": auth})
	require.Equal(k.t, 201, code, "%v", out)
	return header.Get("X-Subject-Token")
}

func id(o object, key string) string { return o[key].(object)["id"].(string) }

func TestRealKeystone(t *testing.T) {
	k := startKeystone(t)
	admin := k.token("admin", "secret", "admin")
	project := id(k.do("POST", "/projects", admin, object{"project": object{"name": "shop"}}, 201), "project")
	alice := id(k.do("POST", "/users", admin, object{"user": object{"name": "alice", "password": "pa"}}, 201), "user")
	member := ""
	for _, r := range k.do("GET", "/roles?name=member", admin, nil, 200)["roles"].([]any) {
		member = r.(object)["id"].(string)
	}
	k.do("PUT", "/projects/"+project+"/users/"+alice+"/roles/"+member, admin, nil, 204)

	external, err := identity.NewKeystone(identity.KeystoneConfig{URL: k.url, CacheTTL: -1})
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

	token := k.token("alice", "pa", "shop")
	c, err = request(token)
	require.NoError(t, err, "a member may have their own token validated")
	assert.Equal(t, identity.Caller{AccountID: alice, AccountName: "alice", ProjectID: project, ProjectName: "shop", Roles: c.Roles}, c)
	assert.True(t, c.Has("member"))
	assert.False(t, c.Admin())

	c, err = request(k.token("alice", "pa", ""))
	require.NoError(t, err)
	assert.Empty(t, c.ProjectID, "unscoped")
	_, err = request("gAAAAABmade-up")
	require.ErrorIs(t, err, identity.ErrUnauthorized)
	k.do("DELETE", "/auth/tokens", token, nil, 204)
	_, err = request(token)
	require.ErrorIs(t, err, identity.ErrUnauthorized, "revoked")
}
