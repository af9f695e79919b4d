package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestInstanceLife(t *testing.T) {
	s := newService(t)
	t.Setenv("PATH", t.TempDir()) // what is advised to connect with depends on what is there
	r := s.run("instance", "create", "shop", "--database", "shop", "--user", "app", "--flavor", "db.small", "--allow", "10.0.0.0/8")
	require.NoError(t, r.failure, r.err)
	golden(t, "create", r.out)
	made := regexp.MustCompile(`shown this once: (\S+)`).FindStringSubmatch(r.err)
	require.Len(t, made, 2, r.err)
	assert.Equal(t, s.guests.passwordOf("app"), made[1])
	assert.NotContains(t, r.out, made[1])

	golden(t, "list", s.ok("instance", "list"))
	golden(t, "list.json", s.ok("instance", "list", "-o", "json"))
	golden(t, "show", s.ok("instance", "show", "shop"))
	golden(t, "show.json", s.ok("instance", "show", "shop", "--output", "json"))
	golden(t, "status", s.ok("status"))

	id := field(t, s.ok("instance", "show", "shop", "-o", "json"), "id")
	assert.Equal(t, id, field(t, s.ok("instance", "show", id, "-o", "json"), "id"), "by id")

	golden(t, "restart", s.ok("instance", "restart", "shop"))
	assert.Contains(t, s.ok("instance", "resize", "shop", "--flavor", "db.micro"), "db.micro")
	assert.Contains(t, s.ok("instance", "resize", "shop", "--volume", "7"), "7 GB")
	golden(t, "events", s.ok("instance", "events", "shop"))
	assert.Len(t, strings.Split(strings.TrimSpace(s.ok("instance", "events", "shop", "--limit", "2")), "\n"), 3)

	r = s.run("instance", "delete", "shop", "--yes")
	require.NoError(t, r.failure)
	assert.Contains(t, r.err, "Instance shop is deleted.")
	assert.Contains(t, s.refused(1, "instance", "show", "shop"), `there is no instance "shop"`)
	assert.Contains(t, s.refused(1, "instance", "show", id), "there is no instance")
	assert.Equal(t, "[]", strings.TrimSpace(s.ok("instance", "list", "-o", "json")))
}

func field(t *testing.T, text, name string) string {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	out, ok := v[name].(string)
	require.True(t, ok, text)
	return out
}

func TestCreateWithAGivenPassword(t *testing.T) {
	for name, r := range map[string]run{
		"--password-stdin": {stdin: "p w\"'\\\n"},
		"--ask-password":   {stdin: "p w\"'\\\n", terminal: true},
	} {
		s := newService(t)
		res := s.with(r, "instance", "create", "shop", "--user", "app", name)
		require.NoError(t, res.failure)
		assert.Equal(t, `p w"'\`, s.guests.passwordOf("app"))
		assert.NotContains(t, res.out+res.err, `p w`, name)
	}
	s := newService(t)
	made := field(t, s.ok("instance", "create", "other", "--user", "bob", "-o", "json"), "password")
	assert.Equal(t, s.guests.passwordOf("bob"), made, "programs read it from the result")
	s.asked()
	res := s.with(run{stdin: "\n"}, "instance", "create", "shop", "--user", "app", "--password-stdin")
	require.Error(t, res.failure)
	assert.Contains(t, s.refused(1, "instance", "create", "shop", "--user", "app", "--ask-password"), "no terminal")
	assert.Contains(t, s.refused(2, "instance", "create", "shop", "--password-stdin"), "are for --user")
	assert.NotContains(t, strings.Join(s.asked(), "\n"), "POST /v1.0", "nothing was made")
}

func TestWaiting(t *testing.T) {
	s := newService(t)
	s.set(true, "")
	out := s.ok("instance", "create", "slow", "--no-wait")
	assert.Contains(t, out, "BUILD")
	r := s.run("instance", "create", "slower", "--timeout", "2s")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.failure.Error(), "waited 2s for slower to be ready; it goes on")
	assert.Contains(t, r.err, "Waiting for slower to be ready (BUILD: Creation was asked for by admin")
	assert.Equal(t, 1, strings.Count(r.err, "Waiting for"), "a line only when something changes")

	s.set(false, "no space left on the host")
	why := s.refused(1, "instance", "create", "broken")
	assert.Contains(t, why, "instance broken is in ERROR: no space left on the host")
	golden(t, "show-error", s.ok("instance", "show", "broken"))
	s.set(false, "")
	s.ok("instance", "delete", "broken", "--yes")
}

func TestNamesThatFitTwice(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "twin")
	s.ok("instance", "create", "twin")
	why := s.refused(1, "instance", "show", "twin")
	assert.Contains(t, why, `"twin" is the name of 2 instances`)
	ids := anyID.FindAllString(why, -1)
	require.Len(t, ids, 2)
	s.ok("instance", "delete", ids[0], "--yes")
	assert.Equal(t, ids[1], field(t, s.ok("instance", "show", "twin", "-o", "json"), "id"))

	s.ok("user", "create", "twin", "app")
	s.ok("user", "create", "twin", "app", "--host", "10.0.0.1")
	why = s.refused(1, "user", "show", "twin", "app")
	assert.Contains(t, why, "app@%\n  app@10.0.0.1")
	assert.Contains(t, s.ok("user", "show", "twin", "app@10.0.0.1"), "10.0.0.1")
}

func TestDeleteAsks(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop")
	assert.Contains(t, s.refused(2, "instance", "delete", "shop"), "--yes")
	for _, answer := range []string{"n\n", "\n", "", "yess\n"} {
		r := s.with(run{stdin: answer, terminal: true}, "instance", "delete", "shop")
		assert.Equal(t, 1, r.code, "%q", answer)
		assert.Contains(t, r.err, "Delete instance shop (")
	}
	assert.Contains(t, s.refused(1, "instance", "delete", "shop", "nothing", "--yes"), "nothing")
	s.ok("instance", "show", "shop")
	r := s.with(run{stdin: "y\n", terminal: true}, "instance", "delete", "shop")
	require.NoError(t, r.failure)
	s.refused(1, "instance", "show", "shop")
}

func TestForceDelete(t *testing.T) {
	s := newService(t)
	s.set(true, "")
	s.ok("instance", "create", "stuck", "--no-wait")
	s.asked()
	s.set(false, "")
	s.ok("instance", "delete", "stuck", "--force", "--yes")
	assert.Contains(t, strings.Join(s.asked(), "\n"), "/action")
}

func TestPagesAreFollowed(t *testing.T) {
	s := newService(t)
	for _, name := range []string{"a", "b", "c"} {
		s.ok("instance", "create", name, "--no-wait")
	}
	for i := range 1203 { // more than a page holds
		s.guests.databases = append(s.guests.databases, model.Database{Name: "d" + strings.Repeat("0", 4-len(itoa(i))) + itoa(i)})
	}
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(s.ok("database", "list", "a", "-o", "json")), &list))
	assert.Len(t, list, 1203)
	assert.Equal(t, "d1202", list[1202]["name"])
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestUnprintableNames(t *testing.T) {
	s := newService(t)
	s.update(func(tx metastore.Tx) error {
		return tx.Instances().Create(t.Context(), &model.Instance{
			ID: "11111111-2222-4333-8444-555555555555", ProjectID: s.project, Name: "a\x1b[31mred\u202e\u2028\u200b", Desired: model.DesiredPresent, DatastoreVersionID: "dv",
			FlavorID: "1", VolumeGB: 1, Status: model.StatusActive,
		})
	})
	out := s.ok("instance", "list")
	assert.NotContains(t, out, "\x1b")
	assert.NotContains(t, out, "\u202e")
	assert.Contains(t, out, "a?[31mred???")
}

func TestLogs(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop")
	golden(t, "logs", s.ok("instance", "logs", "shop", "--list"))
	assert.Equal(t, "one\ntwo\nthree\n", s.ok("instance", "logs", "shop"))
	assert.Equal(t, "two\nthree\n", s.ok("instance", "logs", "shop", "-n", "2"))
	assert.Equal(t, "one\ntwo\nthree\n", s.ok("instance", "logs", "shop", "error", "-n", "20"))
	assert.Contains(t, s.ok("instance", "logs", "shop", "general", "--enable"), "Enabled")
	assert.Contains(t, s.ok("instance", "logs", "shop", "general", "--disable"), "Disabled")
	assert.Contains(t, s.refused(1, "instance", "logs", "shop", "nothing", "--enable"), "HTTP 404")
	s.refused(2, "instance", "logs", "shop", "--list", "--follow")
	s.refused(2, "instance", "logs", "shop", "-o", "json")
}

func TestDSN(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop")
	ca := t.TempDir() + "/shop-ca.pem"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"uri":       {[]string{"--dsn", "uri", "--database", "shop"}, "mysql://app:PASSWORD@10.88.0.7:3306/shop?ssl-mode=REQUIRED"},
		"uri, ca":   {[]string{"--dsn", "uri", "--ca", ca}, "mysql://app:PASSWORD@10.88.0.7:3306/?ssl-ca=" + strings.ReplaceAll(ca, "/", "%2F") + "&ssl-mode=VERIFY_CA"},
		"go":        {[]string{"--dsn", "go", "--database", "shop"}, "app:PASSWORD@tcp(10.88.0.7:3306)/shop?tls=skip-verify"},
		"go, ca":    {[]string{"--dsn", "go", "--ca", ca}, "app:PASSWORD@tcp(10.88.0.7:3306)/?tls=huker"},
		"jdbc":      {[]string{"--dsn", "jdbc", "--database", "shop"}, "jdbc:mysql://10.88.0.7:3306/shop?password=PASSWORD&sslMode=REQUIRED&user=app"},
		"mysql":     {[]string{"--dsn", "mysql", "--database", "sh op"}, "mysql --host=10.88.0.7 --port=3306 --user=app --password --ssl-mode=REQUIRED 'sh op'"},
		"mysql, ca": {[]string{"--dsn", "mysql", "--ca", ca}, "mysql --host=10.88.0.7 --port=3306 --user=app --password --ssl-ca=" + ca},
		"password":  {[]string{"--dsn", "uri", "--password-stdin"}, "mysql://app:a%40b%2F%3Ac%25@10.88.0.7:3306/?ssl-mode=REQUIRED"},
		"jdbc, password": {[]string{"--dsn", "jdbc", "--password-stdin"},
			"jdbc:mysql://10.88.0.7:3306/?password=a%40b%2F%3Ac%25&sslMode=REQUIRED&user=app"},
	} {
		r := s.with(run{stdin: "a@b/:c%\n"}, append([]string{"instance", "show", "shop", "--user", "app"}, tc.args...)...)
		require.NoError(t, r.failure, name)
		assert.Equal(t, tc.want+"\n", r.out, name)
	}
	assert.Contains(t, s.refused(2, "instance", "show", "shop", "--dsn", "odbc", "--user", "x"), "want uri, go, jdbc or mysql")
	s.refused(2, "instance", "show", "shop", "--user", "x")
	assert.Contains(t, s.refused(1, "instance", "show", "shop", "--dsn", "uri"), "has no user yet")
	s.ok("user", "create", "shop", "only")
	assert.Contains(t, s.ok("instance", "show", "shop", "--dsn", "uri"), "mysql://only:")
	s.ok("user", "create", "shop", "other")
	assert.Contains(t, s.refused(2, "instance", "show", "shop", "--dsn", "uri"), "there are only@%, other@%")
}
