package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDatabasesAndUsers(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop")
	s.ok("database", "create", "shop", "orders", "archive")
	golden(t, "databases", s.ok("database", "list", "shop"))
	assert.Contains(t, s.refused(1, "database", "create", "shop", "mysql"), "reserved")
	assert.Contains(t, s.refused(2, "database", "delete", "shop", "archive"), "--yes")
	s.ok("database", "delete", "shop", "archive", "--yes")
	assert.NotContains(t, s.ok("database", "list", "shop"), "archive")
	assert.Contains(t, s.refused(1, "database", "delete", "shop", "archive", "-y"), "HTTP 404")

	golden(t, "user-create", s.ok("user", "create", "shop", "app", "--database", "orders"))
	made := s.guests.passwordOf("app")
	assert.Regexp(t, anyMade, made)
	r := s.with(run{stdin: "mine\n"}, "user", "create", "shop", "report", "--host", "10.0.0.%", "--password-stdin")
	require.NoError(t, r.failure)
	assert.NotContains(t, r.out, "mine")
	assert.Equal(t, "mine", s.guests.passwordOf("report"))
	golden(t, "users", s.ok("user", "list", "shop"))
	golden(t, "users.json", s.ok("user", "list", "shop", "-o", "json"))
	s.ok("user", "grant", "shop", "report", "orders")
	golden(t, "user", s.ok("user", "show", "shop", "report"))
	s.ok("user", "revoke", "shop", "report", "orders")
	assert.NotContains(t, s.ok("user", "show", "shop", "report"), "orders")
	s.ok("user", "password", "shop", "app")
	assert.NotEqual(t, made, s.guests.passwordOf("app"))
	assert.Contains(t, s.refused(1, "user", "show", "shop", "nobody"), `there is no user "nobody"`)
	s.refused(2, "user", "delete", "shop", "app")
	s.ok("user", "delete", "shop", "app", "--yes")
	assert.NotContains(t, s.ok("user", "list", "shop"), "app ")
}

func TestRoot(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop")
	assert.Contains(t, s.ok("root", "show", "shop"), "false")
	assert.Contains(t, s.ok("root", "enable", "shop"), "made by the guest")
	r := s.with(run{stdin: "mine\n"}, "root", "enable", "shop", "--password-stdin")
	require.NoError(t, r.failure)
	assert.NotContains(t, r.out, "mine")
	assert.Equal(t, "mine", s.guests.root.Password)
	assert.JSONEq(t, `{"enabled":true}`, s.ok("root", "show", "shop", "-o", "json"))
	s.ok("root", "disable", "shop")
	assert.Contains(t, s.refused(1, "root", "disable", "shop"), "never been enabled")
}

func TestFlavorsAndQuotas(t *testing.T) {
	s := newService(t)
	golden(t, "flavors", s.ok("flavor", "list"))
	golden(t, "quota", s.ok("quota", "show"))
	assert.Contains(t, s.ok("quota", "set", "--instances", "1", "--ram", "-1"), "1")
	assert.Contains(t, s.ok("quota", "set", "admin", "--instances", "0"), "0")
	assert.Contains(t, s.refused(1, "quota", "show", "nothing"), `no project "nothing"`)
	assert.Contains(t, s.refused(1, "instance", "create", "shop"), "HTTP 413")
	s.refused(2, "quota", "set")
	assert.Contains(t, s.refused(1, "instance", "create", "shop", "--flavor", "huge"), "there are db.micro, db.small")
}

func TestUsageErrors(t *testing.T) {
	s := newService(t)
	for _, args := range [][]string{
		{"nothing"}, {"instance"}, {"instance", "nothing"}, {"instance", "create"}, {"instance", "create", "a", "b"}, {"instance", "list", "x"}, {"--nothing"},
		{"instance", "list", "-o", "xml"}, {"instance", "resize", "a"}, {"instance", "resize", "a", "--flavor", "x", "--volume", "2"}, {"instance", "create", "a", "--volume", "x"},
		{"instance", "connect"}, {"instance", "connect", "a", "b"}, {"user", "create", "a"}, {"instance", "create", "a", "--wait", "--no-wait"},
		{"user", "create", "a", "b", "--ask-password", "--password-stdin"}, {"instance", "events", "a", "--limit", "-1"},
	} {
		s.refused(2, args...)
	}
	assert.Empty(t, s.asked(), "nothing is asked of the service before the command line is right")
}

// Every command says what it does, by an example too, and takes no password on its command line.
func TestEveryCommandIsDocumented(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		assert.NotEmpty(t, cmd.Short, path)
		if !cmd.HasSubCommands() && cmd.Name() != "help" && !strings.Contains(path, "completion") {
			assert.Contains(t, cmd.Example, "huker ", path)
		}
		for _, name := range []string{"password", "os-password", "token"} {
			assert.Nil(t, cmd.Flags().Lookup(name), path)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(NewRoot("test"))
}

func TestEnv(t *testing.T) {
	s := newService(t)
	golden(t, "env", s.ok("env"))
	script := s.ok("env") + "\nprintf %s \"$OS_PASSWORD\""
	out, err := exec.Command("sh", "-c", script).Output()
	require.NoError(t, err)
	assert.Equal(t, adminPassword, string(out), "a shell reads it back as it was")

	nowhere := []string{"--data-dir", t.TempDir()}
	full := map[string]string{"OS_AUTH_URL": s.url, "OS_USERNAME": "admin", "OS_PASSWORD": adminPassword, "OS_PROJECT_NAME": "admin"}
	for name, tc := range map[string]struct {
		env  map[string]string
		args []string
		want string // of the error; "" for success
	}{
		"nothing":           {nil, nil, "no Huker is known here"},
		"environment":       {full, nil, ""},
		"flag wins":         {full, []string{"--os-project-name", "nil"}, "HTTP 401"},
		"wrong password":    {merge(full, "OS_PASSWORD", "wrong"), nil, "sign in as admin"},
		"no password":       {merge(full, "OS_PASSWORD", ""), nil, "set OS_PASSWORD"},
		"other region":      {merge(full, "OS_REGION_NAME", "north"), nil, `region "north"`},
		"no project":        {merge(full, "OS_PROJECT_NAME", ""), nil, ""}, // the account's default one
		"unreachable":       {merge(full, "OS_AUTH_URL", "http://127.0.0.1:1/identity/v3"), nil, "Is Huker running?"},
		"no URL":            {merge(full, "OS_AUTH_URL", "huker"), nil, "not an http or https URL"},
		"odd way":           {merge(full, "OS_AUTH_TYPE", "v3kerberos"), nil, "not known"},
		"v3password":        {merge(full, "OS_AUTH_TYPE", "v3password"), nil, ""},
		"basic needs place": {merge(full, "OS_AUTH_TYPE", "http_basic"), nil, "not an http or https URL"},
	} {
		r := execute(t, run{env: tc.env}, append(append(nowhere, tc.args...), "flavor", "list")...)
		if tc.want == "" {
			assert.NoError(t, r.failure, name)
			continue
		}
		if assert.Error(t, r.failure, name) {
			assert.Contains(t, r.failure.Error(), tc.want, name)
		}
	}
	r := execute(t, run{env: merge(full, "OS_PASSWORD", ""), terminal: true, stdin: adminPassword + "\n"}, append(nowhere, "flavor", "list")...)
	require.NoError(t, r.failure)
	assert.Contains(t, r.err, "Password of account admin: ")
}

func merge(env map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range env {
		if k != key {
			out[k] = v
		}
	}
	return out
}

func TestTokensAreKept(t *testing.T) {
	s := newService(t)
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	for range 3 {
		require.NoError(t, s.with(run{env: env}, "flavor", "list").failure)
	}
	signIns := func() (n int) {
		for _, r := range s.asked() {
			if r == "POST /identity/v3/auth/tokens" {
				n++
			}
		}
		return n
	}
	assert.Equal(t, 1, signIns())
	files, err := filepath.Glob(filepath.Join(home, ".cache/huker/token-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := os.Stat(files[0])
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
	dir, err := os.Stat(filepath.Dir(files[0]))
	require.NoError(t, err)
	assert.EqualValues(t, 0o700, dir.Mode().Perm())
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.NotContains(t, string(text), adminPassword)

	put := func(text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(files[0], []byte(text), mode))
		require.NoError(t, os.Chmod(files[0], mode))
	}
	for name, damage := range map[string]func(){
		"token that ended": func() {
			put(regexp.MustCompile(`hk_[^"]*`).ReplaceAllString(string(text), "hk_"+strings.Repeat("x", 43)), 0o600)
		},
		"damaged":           func() { put("{", 0o600) },
		"readable by all":   func() { put(string(text), 0o644) },
		"not to be written": func() { require.NoError(t, os.RemoveAll(files[0])); require.NoError(t, os.Mkdir(files[0], 0o700)) },
	} {
		damage()
		require.NoError(t, s.with(run{env: env}, "flavor", "list").failure, name)
		assert.Equal(t, 1, signIns(), name)
		_ = os.RemoveAll(files[0])
	}
}
