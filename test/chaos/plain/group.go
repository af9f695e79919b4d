package plain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/huker/huker/test/chaos/fault"
	"github.com/huker/huker/test/chaos/workload"
)

// found makes a group of the members.
func (c *Cluster) found(ctx context.Context) error {
	recovery := fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_USER='%s', SOURCE_PASSWORD='%s' FOR CHANNEL 'group_replication_recovery'", User, Password)
	for n, m := range c.Members {
		statements := []string{recovery, "RESET BINARY LOGS AND GTIDS", "START GROUP_REPLICATION"}
		if n == 0 {
			statements = []string{recovery, "SET GLOBAL group_replication_bootstrap_group=ON", "START GROUP_REPLICATION", "SET GLOBAL group_replication_bootstrap_group=OFF"}
		}
		if err := m.exec(ctx, statements...); err != nil {
			return err
		}
		if err := m.boot(ctx, "--group-replication-start-on-boot=ON"); err != nil {
			return err
		}
	}
	if err := c.AwaitWell(ctx); err != nil {
		return err
	}
	if c.Router == "" {
		return nil
	}
	return c.route(ctx)
}

// view is what a member says of the group.
func (m *Member) view(ctx context.Context) (online int, primary string, err error) {
	err = m.query(ctx, []any{&online, &primary}, `SELECT COALESCE(SUM(member_state = 'ONLINE'), 0),
		COALESCE(MAX(IF(member_role = 'PRIMARY' AND member_state = 'ONLINE', member_id, '')), '') FROM performance_schema.replication_group_members`)
	return online, primary, err
}

// ErrNoPrimary means that no member says that it is the primary, with a majority.
var ErrNoPrimary = errors.New("plain: no primary")

// Primary finds the member that says of itself that it is the primary, and can have a majority.
func (c *Cluster) Primary(ctx context.Context) (*Member, error) {
	if c.Kind == Async {
		return c.Members[0], nil
	}
	for _, m := range c.Members {
		if online, primary, err := m.view(ctx); err == nil && primary == m.uuid && 2*online > len(c.Members) {
			return m, nil
		}
	}
	return nil, ErrNoPrimary
}

// Problems says what keeps the cluster from being well.
func (c *Cluster) Problems(ctx context.Context) []string {
	var problems []string
	for _, m := range c.Members {
		switch online, primary, err := m.view(ctx); {
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", m.Name, err))
		case c.Kind == Group && (online != len(c.Members) || primary == ""):
			problems = append(problems, fmt.Sprintf("%s: %d are online, and the primary is %q", m.Name, online, primary))
		}
	}
	return problems
}

// AwaitWell waits until every member says that all are online. One that was expelled, and does not come back by itself, is told to after a while.
func (c *Cluster) AwaitWell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const patient = 15 * time.Second
	began := time.Now()
	for {
		problems := c.Problems(ctx)
		if len(problems) == 0 {
			return nil
		}
		if time.Since(began) > patient {
			began = time.Now()
			c.rejoin(ctx)
		}
		if workload.Wait(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("the cluster does not get well: %s", strings.Join(problems, "; "))
		}
	}
}

// rejoin has members that are not online come back.
func (c *Cluster) rejoin(ctx context.Context) {
	for _, m := range c.Members {
		var state string
		if err := m.query(ctx, []any{&state}, "SELECT COALESCE(MAX(member_state), '') FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid"); err != nil ||
			state == "ONLINE" || state == "RECOVERING" {
			continue
		}
		_ = m.exec(ctx, "SET GLOBAL offline_mode = OFF", "STOP GROUP_REPLICATION", "START GROUP_REPLICATION") // it is asked for again
	}
}

// Switchover makes another member the primary.
func (c *Cluster) Switchover() fault.Fault {
	return fault.Step{What: "planned switchover", Strike: func(ctx context.Context) error {
		primary, err := c.Primary(ctx)
		if err != nil {
			return err
		}
		next := c.Members[primary.number%len(c.Members)]
		return primary.call(ctx, fmt.Sprintf("SELECT group_replication_set_as_primary('%s')", next.uuid))
	}}
}

// call runs a function that says what it did.
func (m *Member) call(ctx context.Context, query string) error {
	var said string
	return m.query(ctx, []any{&said}, query)
}

// metadata is as much of the schema of InnoDB Cluster's metadata as the router asks for: MySQL's shell, which would make it, is not among Debian's packages.
const metadata = `CREATE DATABASE mysql_innodb_cluster_metadata;
USE mysql_innodb_cluster_metadata;
CREATE TABLE clusters (cluster_id CHAR(36) PRIMARY KEY, cluster_name VARCHAR(40), group_name VARCHAR(40), cluster_type VARCHAR(10), primary_mode VARCHAR(10), attributes JSON, router_options JSON);
CREATE TABLE instances (instance_id INT PRIMARY KEY, cluster_id CHAR(36), address VARCHAR(100), mysql_server_uuid CHAR(36), instance_name VARCHAR(100),
  endpoint VARCHAR(100), xendpoint VARCHAR(100), label VARCHAR(100), attributes JSON, instance_type VARCHAR(20));
CREATE TABLE routers (router_id INT PRIMARY KEY, cluster_id CHAR(36), clusterset_id CHAR(36), router_name VARCHAR(100), product_name VARCHAR(100), address VARCHAR(100), version VARCHAR(40),
  last_check_in TIMESTAMP NULL, attributes JSON, options JSON);
CREATE TABLE members (clusterset_id CHAR(36) PRIMARY KEY, cluster_id CHAR(36), member_role VARCHAR(10), invalidated TINYINT, view_id INT);
CREATE VIEW schema_version (major, minor, patch) AS SELECT 2, 2, 0;
CREATE VIEW v2_clusters AS SELECT * FROM clusters;
CREATE VIEW v2_gr_clusters AS SELECT * FROM clusters;
CREATE VIEW v2_instances AS SELECT * FROM instances;
CREATE VIEW v2_this_instance AS SELECT i.cluster_id, i.instance_id, c.cluster_name, c.cluster_type FROM instances i JOIN clusters c USING (cluster_id)
  WHERE CAST(i.mysql_server_uuid AS CHAR ASCII) =
    (SELECT CAST(variable_value AS CHAR ASCII) FROM performance_schema.global_variables WHERE variable_name = 'server_uuid');
CREATE VIEW v2_cs_members AS SELECT * FROM members;
CREATE VIEW v2_cs_clustersets AS SELECT clusterset_id, '' AS domain_name, NULL AS router_options FROM members;
CREATE VIEW v2_routers AS SELECT * FROM routers;
CREATE VIEW v2_cs_router_options AS SELECT router_id, clusterset_id, NULL AS router_options FROM routers;
CREATE VIEW v2_router_options AS SELECT router_id, cluster_id, NULL AS router_options FROM routers;
`

const routerNumber = 100

// routerConfig is what bootstrapping a router would write, with what makes it notice a failover early: it asks every half second, and is told by the group.
const routerConfig = `[DEFAULT]
logging_folder=
runtime_folder=/tmp
data_folder=/tmp
keyring_path=/tmp/keyring
master_key_path=/tmp/key
connect_timeout=1
read_timeout=5
dynamic_state=/tmp/state.json
client_ssl_mode=PASSTHROUGH
server_ssl_mode=AS_CLIENT
max_total_connections=1000
[logger]
level=INFO
[metadata_cache:bootstrap]
cluster_type=gr
router_id=1
user=%s
metadata_cluster=plain
ttl=0.5
auth_cache_ttl=-1
use_gr_notifications=1
[routing:rw]
bind_address=0.0.0.0
bind_port=%d
destinations=metadata-cache://plain/?role=PRIMARY
routing_strategy=first-available
protocol=classic
`

// route starts a router.
func (c *Cluster) route(ctx context.Context) error {
	primary, err := c.Primary(ctx)
	if err != nil {
		return err
	}
	var statements, servers []string
	for q := range strings.SplitSeq(strings.TrimSpace(metadata), ";\n") {
		statements = append(statements, strings.TrimSuffix(q, ";"))
	}
	statements = append(statements, fmt.Sprintf("INSERT INTO clusters VALUES ('%s', 'plain', '%[1]s', 'gr', 'pm', '{}', NULL)", c.group),
		fmt.Sprintf("INSERT INTO routers VALUES (1, '%s', NULL, 'plain', 'MySQL Router', 'plain', '9.7', NULL, '{}', NULL)", c.group))
	for _, m := range c.Members {
		endpoint := fmt.Sprintf("%s:%d", m.Address, mysqlPort)
		servers = append(servers, fmt.Sprintf("%q", "mysql://"+endpoint))
		statements = append(statements, fmt.Sprintf("INSERT INTO instances VALUES (%d, '%s', '%s', '%s', '%[3]s', '%[3]s', NULL, '%[3]s', '{}', 'group-member')",
			m.number, c.group, endpoint, m.uuid))
	}
	if err := primary.exec(ctx, statements...); err != nil {
		return err
	}
	state := fmt.Sprintf(`{"metadata-cache":{"group-replication-id":%q,"cluster-metadata-servers":[%s]},"version":"1.0.0"}`, c.group, strings.Join(servers, ","))
	const start = `printf '%s' "$CONFIG" > /tmp/router.conf; printf '%s' "$STATE" > /tmp/state.json; umask 077
head -c 20 /dev/urandom | base64 > /tmp/password
mysqlrouter_keyring init /tmp/keyring --master-key-file=/tmp/key
printf '%s' "$PASSWORD" | mysqlrouter_keyring set /tmp/keyring --master-key-file=/tmp/key "$ACCOUNT" password
exec mysqlrouter -c /tmp/router.conf`
	_, err = docker(ctx, "run", "--detach", "--name", c.name+"-router", "--label", label, "--network", c.name, "--ip", c.address(routerNumber), "--memory", "256m",
		"--env", "CONFIG="+fmt.Sprintf(routerConfig, User, routerPort), "--env", "STATE="+state, "--env", "PASSWORD="+Password, "--env", "ACCOUNT="+User,
		"--entrypoint", "bash", c.Router, "-c", start)
	if err != nil {
		return err
	}
	return c.awaitRouter(ctx)
}

func (c *Cluster) awaitRouter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	connector, err := c.Endpoint().Connector()
	if err != nil {
		return err
	}
	s := workload.NewSession(connector)
	defer s.Close()
	for {
		var one int
		err := s.Query(ctx, []any{&one}, "SELECT 1")
		if err == nil {
			return nil
		}
		if workload.Wait(ctx, 100*time.Millisecond) != nil {
			out, lerr := docker(context.WithoutCancel(ctx), "logs", "--tail", "30", c.name+"-router")
			return errors.Join(fmt.Errorf("the router does not answer: %w: %s", err, out), lerr)
		}
	}
}
