package e2e

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/osclient"
)

// Debian's `openstack database` (python3-openstackclient, python3-troveclient) does with Huker what it does with Trove. Loading the
// client takes a second or more: it is loaded once for all but the ways to sign in, and one control plane and few instances serve all.
func TestOpenStackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	testenv.RequireBinary(t, "openstack")
	testenv.RequireBinary(t, "trove") // python3-troveclient's, whose other part is the plug-in of openstack
	t.Setenv("HUKER_ADMIN_TOKEN", staticToken)
	p := newPlane(t, "--no-auth")
	p.start()
	a := p.admin()
	admin := osclient.New(t, "openstack", p.passwordEnv(a.Username, a.Password, a.Project)...).Loaded()

	created := admin.Object("database instance create one --flavor db.micro --size 1 --datastore mysql --datastore-version 9.7.4" +
		" --databases shop stock --users app:Secret-app-1 bob:Secret-bob-1 --is-public --allowed-cidr 10.0.0.0/8 --allowed-cidr 192.168.0.0/16")
	id := fmt.Sprint(created["id"])
	require.Equal(t, []any{"BUILD", "", "mysql", "9.7.4"},
		[]any{created["status"], created["operating_status"], created["datastore"], created["datastore_version"]})
	p.awaitActive(id)

	t.Run("modes", func(t *testing.T) { testOpenStackModes(t, p, id) })
	t.Run("catalogues", func(t *testing.T) { testOpenStackCatalogues(t, admin.In(t)) })
	t.Run("instance as it was asked for", func(t *testing.T) { testOpenStackShow(t, p, admin.In(t), id) })
	t.Run("databases and users", func(t *testing.T) { testOpenStackUsers(t, p, admin.In(t), id) })
	t.Run("root", func(t *testing.T) { testOpenStackRoot(t, p, admin.In(t), id) })
	t.Run("logs", func(t *testing.T) { testOpenStackLogs(t, p, admin.In(t), id) })
	t.Run("quotas", func(t *testing.T) { testOpenStackQuotas(t, admin.In(t)) })
	t.Run("later work", func(t *testing.T) { testOpenStackLater(t, admin.In(t)) })
	t.Run("replicas", func(t *testing.T) { testOpenStackReplicas(t, p, admin.In(t), id) })
	t.Run("another project", func(t *testing.T) { testOpenStackOther(t, p, admin.In(t), id) })
	t.Run("changes", func(t *testing.T) { testOpenStackChanges(t, p, admin.In(t), id) })
	t.Run("deleting", func(t *testing.T) { testOpenStackDelete(t, p, admin.In(t), id) })
}

func testOpenStackCatalogues(t *testing.T, c osclient.Client) {
	flavors := c.List("database flavor list")
	require.Equal(t, []string{"db.micro", "db.small"}, osclient.Column(flavors, "Name")[:2])
	require.EqualValues(t, 512, flavors[0]["RAM"])
	require.EqualValues(t, 1024, c.Object("database flavor show db.small")["ram"], "by name")
	require.Equal(t, "db.small", c.Object("database flavor show 2")["name"], "by id")
	c.Refused("database flavor show db.none", "No flavor with a name or ID of 'db.none' exists.")

	stores := c.List("datastore list")
	require.Equal(t, []string{"mysql"}, osclient.Column(stores, "Name"))
	require.Equal(t, stores[0]["ID"], c.Object("datastore show mysql")["id"])
	versions := c.List("datastore version list mysql")
	require.Contains(t, osclient.Column(versions, "Name"), "9.7.4")
	version := fmt.Sprint(versions[0]["ID"])
	require.Equal(t, version, c.Object("datastore version show 9.7.4 --datastore mysql")["id"])
	require.Equal(t, "9.7.4", c.Object("datastore version show " + version)["name"])
	require.Equal(t, osclient.Column(flavors, "ID"), osclient.Column(c.List("database flavor list --datastore-type mysql --datastore-version-id "+version), "ID"))
	require.Contains(t, c.Do("database limit list"), "max_instances")
}

func testOpenStackShow(t *testing.T, p *plane, c osclient.Client, id string) {
	rows := c.List("database instance list --limit 1")
	require.Len(t, rows, 1)
	row := rows[0]
	require.Equal(t, []any{id, "one", "mysql", "9.7.4", "ACTIVE", "HEALTHY", true, float64(1)},
		[]any{row["ID"], row["Name"], row["Datastore"], row["Datastore Version"], row["Status"], row["Operating Status"], row["Public"], row["Size"]})
	byName := c.Object("database instance show one")
	require.Equal(t, id, byName["id"])
	require.Equal(t, []any{"10.0.0.0/8", "192.168.0.0/16"}, byName["allowed_cidrs"])
	_, i := p.show(id)
	require.Equal(t, address(i), byName["ip"])
	addresses := dig[[]any](byName, "addresses")
	require.Len(t, addresses, 2, "%v", byName)
	require.Equal(t, []string{address(i), address(i)}, []string{dig[string](addresses[0], "address"), dig[string](addresses[1], "address")})
	require.Equal(t, []string{id}, osclient.Column(c.List("database instance list --all-projects"), "ID"))
	require.Equal(t, []string{p.project}, osclient.Column(c.List("database instance list --project-id "+p.project), "Tenant ID"))
	c.Refused("database instance show two", "No instance with a name or ID of 'two' exists.")
	c.Refused("database instance create x --flavor 1 --size 1 --datastore oracle", "HTTP 404")
}

// signsIn tries a user of a database; what goes wrong is returned.
func signsIn(t *testing.T, addr, user, password, database string) error {
	t.Helper()
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.DBName = "tcp", addr+":3306", user, password, database
	config.TLSConfig, config.Timeout = "skip-verify", 10*time.Second
	db, err := sql.Open("mysql", config.FormatDSN())
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	return db.PingContext(t.Context())
}

func testOpenStackUsers(t *testing.T, p *plane, c osclient.Client, id string) {
	_, i := p.show(id)
	addr := address(i)
	c.Do("database db create one crm --character_set latin1 --collate latin1_swedish_ci")
	require.ElementsMatch(t, []string{"crm", "shop", "stock"}, osclient.Column(c.List("database db list one"), "Name"))
	require.NoError(t, signsIn(t, addr, "app", "Secret-app-1", "shop"))

	c.Do("database user create one carol Secret-carol-1 --host 10.%.%.% --databases shop")
	users := c.List("database user list one")
	require.ElementsMatch(t, []string{"app", "bob", "carol"}, osclient.Column(users, "Name"))
	require.ElementsMatch(t, []string{"%", "%", "10.%.%.%"}, osclient.Column(users, "Host"))
	c.Refused("database user show one carol", "HTTP 404")
	require.Equal(t, "10.%.%.%", c.Object("database user show one carol --host 10.%.%.%")["host"])
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	c.Do("database user grant access one carol crm stock --host 10.%.%.%")
	require.NoError(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	require.ElementsMatch(t, []string{"crm", "shop", "stock"}, osclient.Column(c.List("database user show access one carol --host 10.%.%.%"), "Name"))
	c.Do("database user revoke access one carol shop --host 10.%.%.%")
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "shop"))
	c.Refused("database user revoke access one carol shop --host 10.%.%.%", "HTTP 404")

	c.Do("database user update attributes one carol --host 10.%.%.% --new_name dave --new_password Secret-dave-1 --new_host %")
	require.NoError(t, signsIn(t, addr, "dave", "Secret-dave-1", "crm"))
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	c.Do("database user delete one dave")
	require.Error(t, signsIn(t, addr, "dave", "Secret-dave-1", "crm"))
	c.Refused("database user delete one dave", "HTTP 404")
	c.Refused("database user create one root Secret-root-1", "HTTP 400")
	c.Refused("database db create one mysql", "HTTP 400")
	c.Do("database db delete one crm")
	require.ElementsMatch(t, []string{"shop", "stock"}, osclient.Column(c.List("database db list one"), "Name"))
}

func testOpenStackRoot(t *testing.T, p *plane, c osclient.Client, id string) {
	_, i := p.show(id)
	addr := address(i)
	require.Equal(t, false, c.Object("database root show one")["is_root_enabled"])
	root := c.Object("database root enable one")
	require.Equal(t, "root", root["name"])
	require.NoError(t, signsIn(t, addr, "root", fmt.Sprint(root["password"]), ""))
	require.Equal(t, "Chosen-root-1", c.Object("database root enable one --root_password Chosen-root-1")["password"])
	require.NoError(t, signsIn(t, addr, "root", "Chosen-root-1", ""))
	require.Equal(t, true, c.Object("database root show one")["is_root_enabled"])
	c.Do("database root disable one")
	require.Error(t, signsIn(t, addr, "root", "Chosen-root-1", ""))
}

func testOpenStackLogs(t *testing.T, p *plane, c osclient.Client, id string) {
	require.Subset(t, osclient.Column(c.List("database log list one"), "Name"), []string{"error", "general", "slow_query"})
	require.Equal(t, "Disabled", c.Object("database log show one general")["status"])
	require.NotEqual(t, "Disabled", c.Object("database log set one general --enable")["status"])
	_, i := p.show(id)
	require.NoError(t, signsIn(t, address(i), "app", "Secret-app-1", "shop"))
	log := c.Object("database log show one general")
	require.Equal(t, "Ready", log["status"])
	require.Positive(t, log["pending"])
	require.Equal(t, "Disabled", c.Object("database log set one general --disable")["status"])
	require.Less(t, c.Object("database log set one general --discard")["pending"], log["pending"])
	c.Refused("database log set one error --publish", "HTTP 501")
	c.Refused("database log show one none", "HTTP 404")
}

func testOpenStackQuotas(t *testing.T, c osclient.Client) {
	limits := func() map[string]string {
		out := map[string]string{}
		for _, r := range c.List("database quota show admin") {
			out[fmt.Sprint(r["Resource"])] = fmt.Sprintf("%v of %v", r["In Use"], r["Limit"])
		}
		return out
	}
	require.Equal(t, "1 of 20", limits()["instances"])
	require.EqualValues(t, 1, c.Object("database quota update admin instances 1")["instances"])
	require.Equal(t, "1 of 1", limits()["instances"])
	c.Refused("database instance create two --flavor 1 --size 1", "HTTP 413")
	c.Do("database quota update admin instances 20")
}

// testOpenStackLater asks for what is not there yet: the client says so, in words.
func testOpenStackLater(t *testing.T, c osclient.Client) {
	for line, why := range map[string]string{
		"database backup list":                                "Backups are not implemented yet. (HTTP 501)",
		"database backup create b --instance one":             "Backups are not implemented yet. (HTTP 501)",
		"database backup strategy list":                       "Backup strategies are not implemented yet. (HTTP 501)",
		"database configuration list":                         "Configuration groups are not implemented yet. (HTTP 501)",
		"database configuration default one":                  "Configuration groups are not implemented yet. (HTTP 501)",
		"datastore version create 9.9.9 mysql mysql an-image": "(HTTP 501)",
	} {
		c.Refused(line, why)
	}
}

// testOpenStackReplicas: a second database follows the first, leads for a while, and stands alone.
func testOpenStackReplicas(t *testing.T, p *plane, c osclient.Client, id string) {
	two := fmt.Sprint(c.Object("database instance create two --replica-of one")["id"])
	p.awaitActive(two)
	follows := func(who, whom string) {
		t.Helper()
		p.await(who, "a replica of "+whom, func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] != nil })
		p.await(whom, "the source", func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] == nil })
		require.Equal(t, whom, c.Object("database instance show " + who)["replica_of"])
		require.Contains(t, fmt.Sprint(c.Object("database instance show " + whom)["replicas"]), who)
	}
	follows(two, id)
	c.Refused("database instance delete one", "Unable to delete the specified database instance(s).")
	c.Do("database instance promote two")
	follows(id, two)
	c.Refused("database instance eject two", "HTTP 4")
	c.Do("database instance promote one")
	follows(two, id)
	c.Do("database instance detach two")
	p.await(two, "detached", func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] == nil })
	require.NotContains(t, c.Object("database instance show two"), "replica_of")
	require.NotContains(t, fmt.Sprint(c.Object("database instance show one")["replicas"]), two)
	c.Do("database db create two apart")
	require.NotContains(t, osclient.Column(c.List("database db list one"), "Name"), "apart")
	require.Contains(t, osclient.Column(c.List("database db list two"), "Name"), "shop")
	c.Do("database instance delete two")
	p.awaitGone(two)
	p.awaitActive(id)
	require.Empty(t, c.List("database cluster list"))
}

// testOpenStackOther makes a user of another project, who sees nothing.
func testOpenStackOther(t *testing.T, p *plane, admin osclient.Client, id string) {
	project := fmt.Sprint(admin.Object("project create web --domain Default")["id"])
	admin.Do("user create eve --password Secret-eve-1 --project web")
	admin.Do("role add --user eve --project web member")
	eve := admin.As(p.passwordEnv("eve", "Secret-eve-1", "web")...)
	require.Empty(t, eve.List("database instance list"))
	require.NotEmpty(t, eve.List("database flavor list"))
	eve.Refused("database instance show one", "No instance with a name or ID of 'one' exists.")
	eve.Refused("database instance show "+id, "No instance with a name or ID of '"+id+"' exists.")
	eve.Refused("database instance delete "+id, "Unable to delete the specified database instance(s).")
	eve.Refused("database user list "+id, "No instance with a name or ID of '"+id+"' exists.")
	eve.Refused("database instance list --all-projects", "(HTTP 403)")
	eve.Refused("database quota show "+p.project, "(HTTP 403)")
	require.Len(t, eve.List("database quota show "+project), 4, "one's own")
	eve.Refused("database quota update "+project+" instances 99", "(HTTP 403)")

	foreign := admin.As("OS_AUTH_TYPE=http_basic", "OS_ENDPOINT="+p.endpoint(), "OS_USERNAME=eve", "OS_PASSWORD=Secret-eve-1")
	out, errs, err := foreign.Run("database", "instance", "list", "-f", "json")
	require.Error(t, err, "the administrator's project in the path: %s", out)
	require.Contains(t, errs, "(HTTP 40")
	require.NotContains(t, out+errs, id)
	require.Equal(t, []string{id}, osclient.Column(admin.List("database instance list"), "ID"), "all is as it was")
}

func testOpenStackChanges(t *testing.T, p *plane, c osclient.Client, id string) {
	c.Do("database instance update one --name uno --allowed-cidr 10.0.0.0/8 --is-private")
	shown := c.Object("database instance show uno")
	require.Equal(t, []any{"uno", []any{"10.0.0.0/8"}, false}, []any{shown["name"], shown["allowed_cidrs"], shown["public"]})
	require.NotContains(t, fmt.Sprint(shown["addresses"]), "public")
	p.awaitActive(id)

	c.Do("database instance resize volume uno 2")
	p.awaitActive(id)
	c.Refused("database instance resize volume uno 1", "(HTTP 400)")
	c.Do("database instance resize flavor uno db.small")
	require.Equal(t, "2", dig[string](p.awaitActive(id), "flavor", "id"))
	require.Equal(t, 1024, p.container(id).Limits.MemoryMB)
	c.Refused("database instance resize flavor uno db.none", "No flavor with a name or ID of 'db.none' exists.")
	c.Do("database instance restart uno")
	i := p.awaitActive(id)
	require.NoError(t, signsIn(t, address(i), "app", "Secret-app-1", "shop"), "after all that")
	shown = c.Object("database instance show " + id)
	require.EqualValues(t, 2, shown["volume"])
	require.Equal(t, "2", fmt.Sprint(shown["flavor"]))
	c.Refused("database instance upgrade uno 9.7.4", "has datastore version 9.7.4 already")
	c.Refused("database instance upgrade uno 1.2.3", "(HTTP 404)")
}

func testOpenStackDelete(t *testing.T, p *plane, c osclient.Client, id string) {
	c.Do("database instance reset status uno")
	shown := c.Object("database instance show uno")
	require.Contains(t, []string{"ERROR", "ACTIVE"}, shown["status"], "a healthy one is found to be so")
	two, three := p.create("two", 1), p.create("three", 1)
	c.Do("database instance delete --force two") // while it is being made
	p.awaitGone(two)
	p.awaitActive(three)
	c.Do("database instance force delete three")
	p.awaitGone(three)
	c.Do("database instance delete uno")
	p.awaitGone(id)
	require.Empty(t, strings.TrimSpace(c.Do("database instance list -f value")))
	require.Empty(t, p.leftovers())
}
