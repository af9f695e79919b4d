package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
)

// TestMistakesAreToldHowToMend: a wrong command line is answered with how it should be.
func TestMistakesAreToldHowToMend(t *testing.T) {
	s := newService(t)
	for want, args := range map[string][]string{
		`unknown command "creat" for "huker instance"; did you mean "create"?`:               {"instance", "creat"},
		`unknown command "zzz" for "huker quota"; there are: set, show`:                      {"quota", "zzz"},
		"accepts 1 arg(s), received 0\nUsage: huker instance create NAME [flags]":            {"instance", "create"},
		`invalid argument "x" for "--volume" flag: invalid syntax`:                           {"instance", "create", "a", "--volume", "x"},
		`"huker instance create --help" tells which flags there are`:                         {"instance", "create", "a", "--colour"},
		`invalid argument "1x" for "--timeout" flag: unknown unit "x" in duration "1x"`:      {"instance", "create", "a", "--timeout", "1x"},
		"--timeout must be more than nothing":                                                {"instance", "create", "a", "--timeout", "-1s"},
		"--tail must not be negative":                                                        {"instance", "logs", "a", "--tail", "-1"},
		`--dsn "odbc": want uri, go, jdbc or mysql`:                                          {"instance", "show", "a", "--dsn", "odbc"},
		"at least one of the flags in the group [private public allow] is required":          {"instance", "access", "a"},
		"if any flags in the group [private public] are set none of the others can be":       {"instance", "access", "a", "--private", "--public"},
		"if any flags in the group [allow public] are set none of the others can be":         {"instance", "create", "a", "--allow", "10.0.0.0/8", "--public"},
		`--output "xml": want table or json`:                                                 {"instance", "list", "-o", "xml"},
		"a log is no JSON":                                                                   {"instance", "logs", "a", "-o", "json"},
		"--timeout must be more than nothing; --no-wait does not wait at all":                {"instance", "restart", "a", "--timeout", "0s"},
		`unknown command "b" for "huker instance list"` + "\nUsage: huker instance list [":   {"instance", "list", "b"},
		`"huker user" needs one of: create, delete, grant, list, password, revoke, show`:     {"user"},
		"accepts 2 arg(s), received 1\nUsage: huker user create INSTANCE USER [flags]":       {"user", "create", "a"},
		"requires at least 3 arg(s), only received 2\nUsage: huker user grant INSTANCE USER": {"user", "grant", "a", "b"},
	} {
		assert.Contains(t, s.refused(2, args...), want, "%v", args)
	}
	assert.Empty(t, s.asked(), "nothing is asked of the service before the command line is right")
}

func TestComplaints(t *testing.T) {
	s := newService(t)
	root := newRoot(&app{getenv: func(string) string { return "" }})
	root.SetArgs([]string{"--data-dir", s.dataDir, "instance", "show", "nothing", "-o", "json"})
	cmd, err := root.ExecuteContextC(t.Context())
	require.Error(t, err)
	var b bytes.Buffer
	Complain(&b, cmd, err)
	assert.JSONEq(t, `{"error":{"message":"there is no instance \"nothing\" in this project (\"huker instance list\" shows them)","exit_code":1}}`, b.String())

	b.Reset()
	Complain(&b, cmd, fmt.Errorf("delete it: %w", &runError{&client.Error{Status: 404, Message: "Gone & <lost>."}}))
	assert.JSONEq(t, `{"error":{"message":"delete it: Gone & <lost>. (HTTP 404)","http_status":404,"exit_code":1}}`, b.String())
	assert.Contains(t, b.String(), "& <lost>", "as it is")

	require.NoError(t, cmd.Flags().Set("output", "table"))
	b.Reset()
	Complain(&b, cmd, usagef("no such thing"))
	assert.Equal(t, "huker: no such thing\n", b.String())
}

func TestExplanations(t *testing.T) {
	s := newService(t)
	r := s.with(run{env: map[string]string{"OS_AUTH_URL": s.url + "/identity/v3", "OS_USERNAME": "admin", "OS_PASSWORD": "wrong", "OS_PROJECT_NAME": "admin"}}, "instance", "list")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.failure.Error(), "(HTTP 401)\nAccount, password, project or token are not right.")
	var answer *client.Error
	assert.ErrorAs(t, r.failure, &answer)
	plain := errors.New("plain")
	assert.Equal(t, plain, explain(plain))
}

func TestCalledAs(t *testing.T) {
	here, elsewhere := t.TempDir(), t.TempDir()
	install(t, here, "huker", "")
	install(t, elsewhere, "huker", "")
	linked := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(here, "huker"), filepath.Join(linked, "huker")))
	mine := filepath.Join(here, "huker")
	for path, want := range map[string]string{here: "huker", linked: "huker", elsewhere: mine, t.TempDir(): mine} {
		t.Setenv("PATH", path)
		assert.Equal(t, want, calledAs(mine), path)
	}
	assert.Equal(t, "huker", calledAs("huker"), "by its name, so a shell found it")
	assert.Equal(t, "huker", calledAs("/tmp/x/cli.test"))
}

func TestVersion(t *testing.T) {
	s := newService(t)
	assert.Equal(t, "test\n", s.ok("version"))
	assert.Equal(t, "huker version test\n", s.ok("--version"))
}

func TestAccess(t *testing.T) {
	s := newService(t)
	access := func() (v struct {
		Access client.Access `json:"access"`
	},
	) {
		require.NoError(t, json.Unmarshal([]byte(s.ok("instance", "show", "shop", "-o", "json")), &v))
		return v
	}
	assert.Contains(t, s.ok("instance", "create", "shop"), "allowed from   private addresses\n")
	assert.Equal(t, client.Access{AllowedCIDRs: []string{}}, access().Access, "nobody else, unless it is said")
	for _, step := range []struct {
		args []string
		says string
		want client.Access
	}{
		{[]string{"--public"}, "everybody", client.Access{IsPublic: true, AllowedCIDRs: []string{}}},
		{[]string{"--allow", "203.0.113.0/24,10.0.0.0/8"}, "203.0.113.0/24, 10.0.0.0/8", client.Access{IsPublic: true, AllowedCIDRs: []string{"203.0.113.0/24", "10.0.0.0/8"}}},
		{[]string{"--private"}, "private addresses", client.Access{AllowedCIDRs: []string{}}},
	} {
		assert.Contains(t, s.ok(append([]string{"instance", "access", "shop"}, step.args...)...), "allowed from   "+step.says+"\n")
		assert.Equal(t, step.want, access().Access, "%v", step.args)
	}
	assert.Contains(t, s.refused(1, "instance", "access", "shop", "--allow", "10.0.0.0/33"), "HTTP 400")
	assert.Contains(t, s.ok("instance", "create", "open", "--public"), "allowed from   everybody\n")
	assert.Equal(t, "10.0.0.0/8, where these are private", allowed(client.Access{AllowedCIDRs: []string{"10.0.0.0/8"}}))
}

func TestCompletion(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop", "--database", "orders", "--user", "app")
	s.ok("instance", "create", "test")
	s.ok("database", "create", "shop", "stock")
	s.ok("user", "create", "shop", "bob")
	s.ok("user", "create", "shop", "bob", "--host", "10.0.0.1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"instance", "show", ""}, "test\tACTIVE\nshop\tACTIVE\n:4\n"},
		{[]string{"instance", "show", "shop", ""}, ":4\n"},
		{[]string{"instance", "delete", "shop", ""}, "test\tACTIVE\n:4\n"},
		{[]string{"instance", "create", "x", "--flavor", ""}, "db.micro\t512 MB, 1 CPU\ndb.small\t1024 MB, 0.5 CPUs\n:4\n"},
		{[]string{"user", "delete", "shop", ""}, "app\nbob@%\nbob@10.0.0.1\n:4\n"},
		{[]string{"user", "delete", "shop", "app", ""}, ":4\n"},
		{[]string{"user", "grant", "shop", "app", ""}, "orders\nstock\n:4\n"},
		{[]string{"user", "grant", "shop", "app", "orders", ""}, "stock\n:4\n"},
		{[]string{"database", "delete", "shop", ""}, "orders\nstock\n:4\n"},
		{[]string{"database", "delete", "shop", "orders", "stock", ""}, ":4\n"},
		{[]string{"instance", "logs", "shop", ""}, "error\ngeneral\n:4\n"},
		{[]string{"instance", "logs", "shop", "error", ""}, ":4\n"},
		{[]string{"user", "delete", "nothing", ""}, ":1\n"},
	} {
		// Its own words come first: flags before them would be completed as the root's.
		r := execute(t, run{}, append([]string{"__complete", "--data-dir", s.dataDir}, c.args...)...)
		require.NoError(t, r.failure)
		assert.Equal(t, c.want, r.out, "%v", c.args)
	}
	assert.Contains(t, s.ok("completion", "bash"), "huker")
}

// TestAskedOnTheTerminal: SQL comes from a file, and the password from whoever sits there.
func TestAskedOnTheTerminal(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop", "--user", "app")
	bin := t.TempDir()
	install(t, bin, "mysql", fakeMysql)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	r := s.with(run{stdin: "SELECT 1;\n", typed: secret + "\n"}, "instance", "connect", "shop")
	require.NoError(t, r.failure)
	assert.Contains(t, r.err, "Password of user app on shop: ")
	assert.Equal(t, "SELECT 1;\n", left(t, bin, "stdin"))
	assert.Contains(t, left(t, bin, "options"), `password="s\"e#c\\r et"`)
}

func TestConnectHint(t *testing.T) {
	i := client.Instance{Name: "my shop", IP: []string{"10.88.0.7"}}
	f := createFlags{user: "app", databases: []string{"a", "b"}}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	assert.Equal(t, "huker instance connect 'my shop' --user app --database a", connectHint(i, f))
	install(t, bin, "mysql", "")
	assert.Equal(t, "mysql -h 10.88.0.7 -u app -p a", connectHint(i, f))
	assert.Nil(t, connectHint(i, createFlags{}))
	assert.Nil(t, connectHint(client.Instance{}, f))
}
