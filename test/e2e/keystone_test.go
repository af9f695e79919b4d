package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/identity/keystonetest"
	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/osclient"
)

const (
	alicePassword = "alice's secret 1"
	bobPassword   = "bob's secret 1"
)

// A real Keystone in the place of Huker's own accounts: people of two projects, real clients, and what becomes of root on the machine.
func TestKeystoneInPlace(t *testing.T) {
	testenv.RequireBinary(t, "openstack")
	testenv.RequireDocker(t)
	k := keystonetest.Start(t)
	admin := k.Admin()
	shop, store := k.Project(admin, "shop"), k.Project(admin, "store")
	k.User(admin, "alice", alicePassword, "member", shop)
	k.User(admin, "bob", bobPassword, "member", store)

	t.Run("up", func(t *testing.T) { testUpUnderKeystone(t, k.In(t), admin) })

	p := newPlane(t, "--keystone-url", strings.TrimSuffix(k.URL, "/v3"))
	p.startUnknown()
	k.Endpoint(admin, "database", "huker", keystonetest.Region, "http://"+p.listen+"/v1.0/$(project_id)s")
	p.project = shop
	p.token, _ = k.SignIn("alice", alicePassword, "shop")

	t.Run("no accounts of its own", func(t *testing.T) { testNoOwnAccounts(t, p, k) })
	alice := osclient.New(t, "openstack", keystoneEnv(k, "alice", alicePassword, "shop")...)
	id := fmt.Sprint(alice.Object("database instance create one --flavor db.micro --size 1 --datastore mysql --datastore-version 9.7.4" +
		" --databases shop --users app:Secret-app-1")["id"])
	i := p.awaitActive(id)
	require.NoError(t, signsIn(t, address(i), "app", "Secret-app-1", "shop"))

	t.Run("the huker program", func(t *testing.T) {
		out := p.huker(t, "", keystoneEnv(k, "alice", alicePassword, "shop"), "instance", "create", "two", "--flavor", "db.micro", "--database", "stock", "--user", "app", "-o", "json")
		require.Contains(t, out, "two")
		require.ElementsMatch(t, []string{"one", "two"}, p.names(t, keystoneEnv(k, "alice", alicePassword, "shop")))
		p.huker(t, "", keystoneEnv(k, "alice", alicePassword, "shop"), "instance", "delete", "two", "--yes")
	})
	t.Run("projects are apart", func(t *testing.T) { testKeystoneProjects(t, p, k.In(t), id) })
	t.Run("who is nobody", func(t *testing.T) { testKeystoneRefuses(t, p, k.In(t)) })
	t.Run("root on the machine", func(t *testing.T) { testOperator(t, p, k, shop) })
	t.Run("Keystone is away", func(t *testing.T) { testKeystoneAway(t, p, k) })
}

// keystoneEnv is how somebody signs in at Keystone.
func keystoneEnv(k keystonetest.Keystone, user, password, project string) []string {
	return []string{
		"OS_AUTH_TYPE=password", "OS_AUTH_URL=" + k.URL, "OS_USERNAME=" + user, "OS_PASSWORD=" + password, "OS_PROJECT_NAME=" + project,
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_ID=default", "OS_REGION_NAME=" + keystonetest.Region,
	}
}

// huker runs the huker program on the control plane's machine, in nobody's home directory.
func (p *plane) huker(t *testing.T, stdin string, env []string, args ...string) string {
	t.Helper()
	out, errs, err := p.tryHuker(t, stdin, env, args...)
	require.NoError(t, err, "huker %v: %s%s", args, out, errs)
	return out
}

func (p *plane) tryHuker(t *testing.T, stdin string, env []string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	bin, err := binaries()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "huker"), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "HUKER_DATA_DIR=" + p.dir}, env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// names lists somebody's databases.
func (p *plane) names(t *testing.T, env []string) []string {
	t.Helper()
	var all []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(p.huker(t, "", env, "instance", "list", "-o", "json")), &all))
	names := []string{}
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func testNoOwnAccounts(t *testing.T, p *plane, k keystonetest.Keystone) {
	for _, where := range []string{"/v3/auth/tokens", "/identity/v3/auth/tokens", "/identity", "/v3"} {
		code, answer := p.call(http.MethodPost, where, map[string]any{"auth": map[string]any{}})
		require.Equal(t, http.StatusNotFound, code, where)
		require.Equal(t, float64(404), dig[float64](answer, "error", "code"))
		require.Contains(t, dig[string](answer, "error", "message"), "sign in at "+k.URL)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, "admin.json"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "password")
	stat, err := os.Stat(filepath.Join(p.dir, "admin.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), stat.Mode().Perm())
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.listen+"/v1.0/"+p.project+"/instances", nil)
	require.NoError(t, err)
	r.SetBasicAuth(keystonetest.AdminName, keystonetest.AdminPassword)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusUnauthorized, answer.StatusCode, "a password is Keystone's to see, and nobody else's")
}

func testKeystoneProjects(t *testing.T, p *plane, k keystonetest.Keystone, id string) {
	asBob := keystoneEnv(k, "bob", bobPassword, "store")
	bob := osclient.New(t, "openstack", asBob...)
	require.Empty(t, bob.List("database instance list"))
	bob.Refused("database instance show "+id, "No instance with a name or ID of")
	require.Empty(t, p.names(t, asBob))
	_, errs, err := p.tryHuker(t, "", asBob, "instance", "show", id)
	require.Error(t, err)
	require.Contains(t, errs, id)
	osclient.New(t, "openstack", keystoneEnv(k, "bob", bobPassword, "shop")...).Refused("database instance list", "HTTP 401")

	mine := p.token
	defer func() { p.token = mine }()
	p.token, _ = k.SignIn("bob", bobPassword, "store")
	code, _ := p.call(http.MethodGet, p.path(id), nil)
	require.Equal(t, http.StatusForbidden, code, "another project's path")
	code, _ = p.call(http.MethodDelete, "/v1.0/"+p.project+"/instances/"+id, nil)
	require.Equal(t, http.StatusForbidden, code)
	p.token, _ = k.SignIn("bob", bobPassword, "")
	code, _ = p.call(http.MethodGet, p.path(id), nil)
	require.Equal(t, http.StatusForbidden, code, "a token for no project")
	administrator := osclient.New(t, "openstack", keystoneEnv(k, keystonetest.AdminName, keystonetest.AdminPassword, keystonetest.AdminProject)...)
	require.Contains(t, osclient.Column(administrator.List("database instance list --all-projects"), "ID"), id)
}

func testKeystoneRefuses(t *testing.T, p *plane, k keystonetest.Keystone) {
	wrong := keystoneEnv(k, "alice", "wrong", "shop")
	osclient.New(t, "openstack", wrong...).Refused("database instance list", "HTTP 401")
	_, errs, err := p.tryHuker(t, "", wrong, "instance", "list")
	require.Error(t, err)
	require.Contains(t, errs, "HTTP 401")

	list := "/v1.0/" + p.project + "/instances"
	mine := p.token
	defer func() { p.token = mine }()
	for _, token := range []string{"", "made-up", "gAAAAABmade-up", "hk_" + strings.Repeat("a", 43), mine + "x"} {
		p.token = token
		code, answer := p.call(http.MethodGet, list, nil)
		require.Equal(t, http.StatusUnauthorized, code, "%q: %v", token, answer)
	}
	p.token = mine
	code, _ := p.call(http.MethodGet, list, nil)
	require.Equal(t, http.StatusOK, code)

	var ends time.Time
	p.token, ends = k.ShortLived(5*time.Second).SignIn("alice", alicePassword, "shop")
	code, _ = p.call(http.MethodGet, list, nil)
	require.Equal(t, http.StatusOK, code, "before its end; Huker remembers the token now")
	time.Sleep(time.Until(ends))
	code, _ = p.call(http.MethodGet, list, nil)
	require.Equal(t, http.StatusUnauthorized, code, "after its end")
}

func testOperator(t *testing.T, p *plane, k keystonetest.Keystone, project string) {
	require.Empty(t, p.names(t, nil))
	require.Contains(t, p.names(t, []string{"OS_PROJECT_ID=" + project}), "one")
	require.Contains(t, p.huker(t, "", nil, "quota", "set", project, "--instances", "7"), "7")
	env := p.huker(t, "", nil, "env")
	require.Contains(t, env, "# For root on this machine. Everybody else signs in at "+k.URL+"\n")
	var vars []string
	for _, line := range strings.Split(env, "\n") {
		if v, ok := strings.CutPrefix(line, "export "); ok {
			vars = append(vars, v)
		}
	}
	root := osclient.New(t, "openstack", vars...)
	require.Contains(t, osclient.Column(root.List("database instance list --all-projects"), "Name"), "one")
	require.Contains(t, p.huker(t, "", []string{"OS_USERNAME=alice", "OS_PASSWORD=" + alicePassword, "OS_PROJECT_NAME=shop"}, "instance", "list"), "one",
		"an account needs no OS_AUTH_URL here")
}

func testKeystoneAway(t *testing.T, p *plane, k keystonetest.Keystone) {
	k.Stop()
	mine := p.token
	defer func() { p.token = mine }()
	p.token = "gAAAAABnever-seen"
	code, answer := p.call(http.MethodGet, "/v1.0/"+p.project+"/instances", nil)
	require.Equal(t, http.StatusServiceUnavailable, code, "it is not known whether the token is good")
	require.Contains(t, dig[string](answer, "serviceUnavailable", "message"), "Keystone")
	code, answer = p.call(http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "does not answer", answer["keystone"])
	require.True(t, p.healthy(), "a restart would not help")
	require.Contains(t, p.names(t, []string{"OS_PROJECT_ID=" + p.project}), "one", "root does not need Keystone")
}

// testUpUnderKeystone is `huker up` under a Keystone that has a certificate of somebody's own.
func testUpUnderKeystone(t *testing.T, k keystonetest.Keystone, admin string) {
	target, err := url.Parse(k.URL)
	require.NoError(t, err)
	target.Path = ""
	server := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))

	p := newPlane(t)
	const region = "Up"
	k.Endpoint(admin, "database", "huker-up", region, "http://"+p.listen+"/v1.0/$(project_id)s")
	up := func() string {
		t.Helper()
		args := []string{"up", "--quiet", "--project-dir", project(t), "--name", p.name, "--data-dir", p.dir, "--listen", p.listen, "--region", region,
			"--keystone-url", server.URL, "--keystone-ca", ca}
		return p.huker(t, "", nil, args...)
	}
	first := up()
	require.Regexp(t, `mysql -h 10\.\d+\.\d+\.\d+ -u app -p'\S+' app`, first)
	require.Contains(t, first, "People sign in at "+server.URL+"/v3.")
	require.Contains(t, first, "openstack endpoint create --region Up database public 'http://"+p.listen+"/v1.0/%(project_id)s'")
	before, err := p.engine.Inspect(t.Context(), p.name+"-control")
	require.NoError(t, err)
	require.Equal(t, first, up(), "again is the same as once")
	after, err := p.engine.Inspect(t.Context(), p.name+"-control")
	require.NoError(t, err)
	require.Equal(t, before.Pid, after.Pid, "the control plane goes on")

	require.Equal(t, []string{"first"}, p.names(t, nil), "root's")
	password := regexp.MustCompile(`password +(\S+)`).FindStringSubmatch(first)[1]
	require.Contains(t, p.huker(t, password+"\nSELECT 40 + 2", nil, "instance", "connect", "first", "--user", "app", "--password-stdin", "--database", "app"), "42")
	alice := []string{"OS_USERNAME=alice", "OS_PASSWORD=" + alicePassword, "OS_PROJECT_NAME=shop", "OS_CACERT=" + ca}
	require.Empty(t, p.names(t, alice), "not alice's, who is known over TLS")
}
