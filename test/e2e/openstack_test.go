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
	admin := newOSClient(t, "openstack", p.passwordEnv(a.Username, a.Password, a.Project)...).loaded()

	created := admin.object("database instance create one --flavor db.micro --size 1 --datastore mysql --datastore-version 9.7.4" +
		" --databases shop stock --users app:Secret-app-1 bob:Secret-bob-1 --is-public --allowed-cidr 10.0.0.0/8 --allowed-cidr 192.168.0.0/16")
	id := fmt.Sprint(created["id"])
	require.Equal(t, []any{"BUILD", "", "mysql", "9.7.4"},
		[]any{created["status"], created["operating_status"], created["datastore"], created["datastore_version"]})
	p.awaitActive(id)

	t.Run("modes", func(t *testing.T) { testOpenStackModes(t, p, id) })
	t.Run("catalogues", func(t *testing.T) { testOpenStackCatalogues(t, admin.in(t)) })
	t.Run("instance as it was asked for", func(t *testing.T) { testOpenStackShow(t, p, admin.in(t), id) })
	t.Run("databases and users", func(t *testing.T) { testOpenStackUsers(t, p, admin.in(t), id) })
	t.Run("root", func(t *testing.T) { testOpenStackRoot(t, p, admin.in(t), id) })
	t.Run("logs", func(t *testing.T) { testOpenStackLogs(t, p, admin.in(t), id) })
	t.Run("quotas", func(t *testing.T) { testOpenStackQuotas(t, admin.in(t)) })
	t.Run("later work", func(t *testing.T) { testOpenStackLater(t, admin.in(t)) })
	t.Run("replicas", func(t *testing.T) { testOpenStackReplicas(t, p, admin.in(t), id) })
	t.Run("another project", func(t *testing.T) { testOpenStackOther(t, p, admin.in(t), id) })
	t.Run("changes", func(t *testing.T) { testOpenStackChanges(t, p, admin.in(t), id) })
	t.Run("deleting", func(t *testing.T) { testOpenStackDelete(t, p, admin.in(t), id) })
}

func testOpenStackCatalogues(t *testing.T, c osClient) {
	flavors := c.list("database flavor list")
	require.Equal(t, []string{"db.micro", "db.small"}, column(flavors, "Name")[:2])
	require.EqualValues(t, 512, flavors[0]["RAM"])
	require.EqualValues(t, 1024, c.object("database flavor show db.small")["ram"], "by name")
	require.Equal(t, "db.small", c.object("database flavor show 2")["name"], "by id")
	c.refused("database flavor show db.none", "No flavor with a name or ID of 'db.none' exists.")

	stores := c.list("datastore list")
	require.Equal(t, []string{"mysql"}, column(stores, "Name"))
	require.Equal(t, stores[0]["ID"], c.object("datastore show mysql")["id"])
	versions := c.list("datastore version list mysql")
	require.Contains(t, column(versions, "Name"), "9.7.4")
	version := fmt.Sprint(versions[0]["ID"])
	require.Equal(t, version, c.object("datastore version show 9.7.4 --datastore mysql")["id"])
	require.Equal(t, "9.7.4", c.object("datastore version show " + version)["name"])
	require.Equal(t, column(flavors, "ID"), column(c.list("database flavor list --datastore-type mysql --datastore-version-id "+version), "ID"))
	require.Contains(t, c.do("database limit list"), "max_instances")
}

func testOpenStackShow(t *testing.T, p *plane, c osClient, id string) {
	rows := c.list("database instance list --limit 1")
	require.Len(t, rows, 1)
	row := rows[0]
	require.Equal(t, []any{id, "one", "mysql", "9.7.4", "ACTIVE", "HEALTHY", true, float64(1)},
		[]any{row["ID"], row["Name"], row["Datastore"], row["Datastore Version"], row["Status"], row["Operating Status"], row["Public"], row["Size"]})
	byName := c.object("database instance show one")
	require.Equal(t, id, byName["id"])
	require.Equal(t, []any{"10.0.0.0/8", "192.168.0.0/16"}, byName["allowed_cidrs"])
	_, i := p.show(id)
	require.Equal(t, address(i), byName["ip"])
	addresses := dig[[]any](byName, "addresses")
	require.Len(t, addresses, 2, "%v", byName)
	require.Equal(t, []string{address(i), address(i)}, []string{dig[string](addresses[0], "address"), dig[string](addresses[1], "address")})
	require.Equal(t, []string{id}, column(c.list("database instance list --all-projects"), "ID"))
	require.Equal(t, []string{p.project}, column(c.list("database instance list --project-id "+p.project), "Tenant ID"))
	c.refused("database instance show two", "No instance with a name or ID of 'two' exists.")
	c.refused("database instance create x --flavor 1 --size 1 --datastore oracle", "HTTP 404")
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

func testOpenStackUsers(t *testing.T, p *plane, c osClient, id string) {
	_, i := p.show(id)
	addr := address(i)
	c.do("database db create one crm --character_set latin1 --collate latin1_swedish_ci")
	require.ElementsMatch(t, []string{"crm", "shop", "stock"}, column(c.list("database db list one"), "Name"))
	require.NoError(t, signsIn(t, addr, "app", "Secret-app-1", "shop"))

	c.do("database user create one carol Secret-carol-1 --host 10.%.%.% --databases shop")
	users := c.list("database user list one")
	require.ElementsMatch(t, []string{"app", "bob", "carol"}, column(users, "Name"))
	require.ElementsMatch(t, []string{"%", "%", "10.%.%.%"}, column(users, "Host"))
	c.refused("database user show one carol", "HTTP 404")
	require.Equal(t, "10.%.%.%", c.object("database user show one carol --host 10.%.%.%")["host"])
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	c.do("database user grant access one carol crm stock --host 10.%.%.%")
	require.NoError(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	require.ElementsMatch(t, []string{"crm", "shop", "stock"}, column(c.list("database user show access one carol --host 10.%.%.%"), "Name"))
	c.do("database user revoke access one carol shop --host 10.%.%.%")
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "shop"))
	c.refused("database user revoke access one carol shop --host 10.%.%.%", "HTTP 404")

	c.do("database user update attributes one carol --host 10.%.%.% --new_name dave --new_password Secret-dave-1 --new_host %")
	require.NoError(t, signsIn(t, addr, "dave", "Secret-dave-1", "crm"))
	require.Error(t, signsIn(t, addr, "carol", "Secret-carol-1", "crm"))
	c.do("database user delete one dave")
	require.Error(t, signsIn(t, addr, "dave", "Secret-dave-1", "crm"))
	c.refused("database user delete one dave", "HTTP 404")
	c.refused("database user create one root Secret-root-1", "HTTP 400")
	c.refused("database db create one mysql", "HTTP 400")
	c.do("database db delete one crm")
	require.ElementsMatch(t, []string{"shop", "stock"}, column(c.list("database db list one"), "Name"))
}

func testOpenStackRoot(t *testing.T, p *plane, c osClient, id string) {
	_, i := p.show(id)
	addr := address(i)
	require.Equal(t, false, c.object("database root show one")["is_root_enabled"])
	root := c.object("database root enable one")
	require.Equal(t, "root", root["name"])
	require.NoError(t, signsIn(t, addr, "root", fmt.Sprint(root["password"]), ""))
	require.Equal(t, "Chosen-root-1", c.object("database root enable one --root_password Chosen-root-1")["password"])
	require.NoError(t, signsIn(t, addr, "root", "Chosen-root-1", ""))
	require.Equal(t, true, c.object("database root show one")["is_root_enabled"])
	c.do("database root disable one")
	require.Error(t, signsIn(t, addr, "root", "Chosen-root-1", ""))
}

func testOpenStackLogs(t *testing.T, p *plane, c osClient, id string) {
	require.Subset(t, column(c.list("database log list one"), "Name"), []string{"error", "general", "slow_query"})
	require.Equal(t, "Disabled", c.object("database log show one general")["status"])
	require.NotEqual(t, "Disabled", c.object("database log set one general --enable")["status"])
	_, i := p.show(id)
	require.NoError(t, signsIn(t, address(i), "app", "Secret-app-1", "shop"))
	log := c.object("database log show one general")
	require.Equal(t, "Ready", log["status"])
	require.Positive(t, log["pending"])
	require.Equal(t, "Disabled", c.object("database log set one general --disable")["status"])
	require.Less(t, c.object("database log set one general --discard")["pending"], log["pending"])
	c.refused("database log set one error --publish", "HTTP 501")
	c.refused("database log show one none", "HTTP 404")
}

func testOpenStackQuotas(t *testing.T, c osClient) {
	limits := func() map[string]string {
		out := map[string]string{}
		for _, r := range c.list("database quota show admin") {
			out[fmt.Sprint(r["Resource"])] = fmt.Sprintf("%v of %v", r["In Use"], r["Limit"])
		}
		return out
	}
	require.Equal(t, "1 of 20", limits()["instances"])
	require.EqualValues(t, 1, c.object("database quota update admin instances 1")["instances"])
	require.Equal(t, "1 of 1", limits()["instances"])
	c.refused("database instance create two --flavor 1 --size 1", "HTTP 413")
	c.do("database quota update admin instances 20")
}

// testOpenStackLater asks for what is not there yet: the client says so, in words.
func testOpenStackLater(t *testing.T, c osClient) {
	for line, why := range map[string]string{
		"database backup list":                                "Backups are not implemented yet. (HTTP 501)",
		"database backup create b --instance one":             "Backups are not implemented yet. (HTTP 501)",
		"database backup strategy list":                       "Backup strategies are not implemented yet. (HTTP 501)",
		"database configuration list":                         "Configuration groups are not implemented yet. (HTTP 501)",
		"database configuration default one":                  "Configuration groups are not implemented yet. (HTTP 501)",
		"datastore version create 9.9.9 mysql mysql an-image": "(HTTP 501)",
	} {
		c.refused(line, why)
	}
}

// testOpenStackReplicas: a second database follows the first, leads for a while, and stands alone.
func testOpenStackReplicas(t *testing.T, p *plane, c osClient, id string) {
	two := fmt.Sprint(c.object("database instance create two --replica-of one")["id"])
	p.awaitActive(two)
	follows := func(who, whom string) {
		t.Helper()
		p.await(who, "a replica of "+whom, func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] != nil })
		p.await(whom, "the source", func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] == nil })
		require.Equal(t, whom, c.object("database instance show " + who)["replica_of"])
		require.Contains(t, fmt.Sprint(c.object("database instance show " + whom)["replicas"]), who)
	}
	follows(two, id)
	c.refused("database instance delete one", "Unable to delete the specified database instance(s).")
	c.do("database instance promote two")
	follows(id, two)
	c.refused("database instance eject two", "HTTP 4")
	c.do("database instance promote one")
	follows(two, id)
	c.do("database instance detach two")
	p.await(two, "detached", func(_ int, i map[string]any) bool { return i["status"] == "ACTIVE" && i["replica_of"] == nil })
	require.NotContains(t, c.object("database instance show two"), "replica_of")
	require.NotContains(t, fmt.Sprint(c.object("database instance show one")["replicas"]), two)
	c.do("database db create two apart")
	require.NotContains(t, column(c.list("database db list one"), "Name"), "apart")
	require.Contains(t, column(c.list("database db list two"), "Name"), "shop")
	c.do("database instance delete two")
	p.awaitGone(two)
	p.awaitActive(id)
	require.Empty(t, c.list("database cluster list"))
}

// testOpenStackOther makes a user of another project, who sees nothing.
func testOpenStackOther(t *testing.T, p *plane, admin osClient, id string) {
	project := fmt.Sprint(admin.object("project create web --domain Default")["id"])
	admin.do("user create eve --password Secret-eve-1 --project web")
	admin.do("role add --user eve --project web member")
	eve := admin.as(p.passwordEnv("eve", "Secret-eve-1", "web")...)
	require.Empty(t, eve.list("database instance list"))
	require.NotEmpty(t, eve.list("database flavor list"))
	eve.refused("database instance show one", "No instance with a name or ID of 'one' exists.")
	eve.refused("database instance show "+id, "No instance with a name or ID of '"+id+"' exists.")
	eve.refused("database instance delete "+id, "Unable to delete the specified database instance(s).")
	eve.refused("database user list "+id, "No instance with a name or ID of '"+id+"' exists.")
	eve.refused("database instance list --all-projects", "(HTTP 403)")
	eve.refused("database quota show "+p.project, "(HTTP 403)")
	require.Len(t, eve.list("database quota show "+project), 4, "one's own")
	eve.refused("database quota update "+project+" instances 99", "(HTTP 403)")

	foreign := admin.as("OS_AUTH_TYPE=http_basic", "OS_ENDPOINT="+p.endpoint(), "OS_USERNAME=eve", "OS_PASSWORD=Secret-eve-1")
	out, errs, err := foreign.run("database", "instance", "list", "-f", "json")
	require.Error(t, err, "the administrator's project in the path: %s", out)
	require.Contains(t, errs, "(HTTP 40")
	require.NotContains(t, out+errs, id)
	require.Equal(t, []string{id}, column(admin.list("database instance list"), "ID"), "all is as it was")
}

func testOpenStackChanges(t *testing.T, p *plane, c osClient, id string) {
	c.do("database instance update one --name uno --allowed-cidr 10.0.0.0/8 --is-private")
	shown := c.object("database instance show uno")
	require.Equal(t, []any{"uno", []any{"10.0.0.0/8"}, false}, []any{shown["name"], shown["allowed_cidrs"], shown["public"]})
	require.NotContains(t, fmt.Sprint(shown["addresses"]), "public")
	p.awaitActive(id)

	c.do("database instance resize volume uno 2")
	p.awaitActive(id)
	c.refused("database instance resize volume uno 1", "(HTTP 400)")
	c.do("database instance resize flavor uno db.small")
	require.Equal(t, "2", dig[string](p.awaitActive(id), "flavor", "id"))
	require.Equal(t, 1024, p.container(id).Limits.MemoryMB)
	c.refused("database instance resize flavor uno db.none", "No flavor with a name or ID of 'db.none' exists.")
	c.do("database instance restart uno")
	i := p.awaitActive(id)
	require.NoError(t, signsIn(t, address(i), "app", "Secret-app-1", "shop"), "after all that")
	shown = c.object("database instance show " + id)
	require.EqualValues(t, 2, shown["volume"])
	require.Equal(t, "2", fmt.Sprint(shown["flavor"]))
	c.refused("database instance upgrade uno 9.7.4", "has datastore version 9.7.4 already")
	c.refused("database instance upgrade uno 1.2.3", "(HTTP 404)")
}

func testOpenStackDelete(t *testing.T, p *plane, c osClient, id string) {
	c.do("database instance reset status uno")
	shown := c.object("database instance show uno")
	require.Contains(t, []string{"ERROR", "ACTIVE"}, shown["status"], "a healthy one is found to be so")
	two, three := p.create("two", 1), p.create("three", 1)
	c.do("database instance delete --force two") // while it is being made
	p.awaitGone(two)
	p.awaitActive(three)
	c.do("database instance force delete three")
	p.awaitGone(three)
	c.do("database instance delete uno")
	p.awaitGone(id)
	require.Empty(t, strings.TrimSpace(c.do("database instance list -f value")))
	require.Empty(t, p.leftovers())
}
