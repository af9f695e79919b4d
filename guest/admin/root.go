package admin

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/huker/huker/internal/protocol"
)

// rootName and AnyHost are the account that root.enable opens.
const rootName = "root"

// rootPrivileges are what an enabled root gets on everything. Trove's root gets ALL; Huker's gets what runs a database, without what runs a
// server, since with the rest root could break the promises that Huker makes for all of the data:
//
//   - SUPER, SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, PERSIST_RO_VARIABLES_ADMIN, GROUP_REPLICATION_*: would open a fenced server, write
//     through read_only, or relax durability;
//   - SESSION_VARIABLES_ADMIN, BINLOG_ADMIN, TRANSACTION_GTID_TAG, REPLICATION_APPLIER, REPLICATION_SLAVE_ADMIN: writes past
//     the binary log (sql_log_bin), which replicas and backups would lack;
//   - REPLICATION SLAVE: a foreign replica that acknowledges would count as one that holds the data;
//   - RELOAD: RESET BINARY LOGS AND GTIDS. Its harmless parts are the FLUSH_* privileges;
//   - INNODB_REDO_LOG_ENABLE, SHUTDOWN, CLONE_ADMIN, BACKUP_ADMIN, ENCRYPTION_KEY_ADMIN, FILE, CREATE TABLESPACE: the server's files and life;
//   - SYSTEM_USER: Huker's own accounts have it, which keeps everyone who does not from changing them, or from taking them as a role.
//
// It is a list of what is given, so that what a newer MySQL invents is not given unseen.
var rootPrivileges = []string{
	"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "PROCESS", "REFERENCES", "INDEX", "ALTER", "SHOW DATABASES",
	"CREATE TEMPORARY TABLES", "LOCK TABLES", "EXECUTE", "REPLICATION CLIENT", "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE",
	"ALTER ROUTINE", "CREATE USER", "EVENT", "TRIGGER", "CREATE ROLE", "DROP ROLE",
}

// rootDynamicPrivileges are given where the server knows them: they differ between versions. SET_USER_ID is what SET_ANY_DEFINER
// was called before 8.4; both, with ALLOW_NONEXISTENT_DEFINER, let dumps be loaded.
var rootDynamicPrivileges = []string{
	"APPLICATION_PASSWORD_ADMIN", "FLUSH_OPTIMIZER_COSTS", "FLUSH_PRIVILEGES", "FLUSH_STATUS", "FLUSH_TABLES",
	"FLUSH_USER_RESOURCES", "ROLE_ADMIN", "SET_USER_ID", "SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER", "SHOW_ROUTINE", "XA_RECOVER_ADMIN",
}

// rootSystemTables are what root may read in the mysql database. Not the tables of replication: they hold passwords.
var rootSystemTables = []string{
	"columns_priv", "component", "db", "default_roles", "func", "general_log", "global_grants", "gtid_executed", "help_category",
	"help_keyword", "help_relation", "help_topic", "innodb_index_stats", "innodb_table_stats", "plugin", "procs_priv", "proxies_priv",
	"role_edges", "slow_log", "tables_priv", "time_zone", "time_zone_leap_second", "time_zone_name", "time_zone_transition",
	"time_zone_transition_type", "user",
}

// RootShow says whether root is enabled.
func (s *Server) RootShow(ctx context.Context) (protocol.RootReply, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE User = ? AND Host = ? AND account_locked = 'N'", rootName, AnyHost).Scan(&n)
	if err != nil {
		return protocol.RootReply{}, translate("show root", err, "")
	}
	return protocol.RootReply{Enabled: n > 0}, nil
}

// RootEnable opens root@% with a password, made here when none is given. Repeating it sets the password anew.
func (s *Server) RootEnable(ctx context.Context, r protocol.RootRequest) (protocol.RootReply, error) {
	const op = "enable root"
	password := r.Password
	if password == "" {
		password = NewPassword()
	}
	if err := checkPassword(password); err != nil {
		return protocol.RootReply{}, err
	}
	known, err := s.privileges(ctx)
	if err != nil {
		return protocol.RootReply{}, translate(op, err, "")
	}
	var dynamic []string
	for _, p := range rootDynamicPrivileges {
		if known[p] {
			dynamic = append(dynamic, p)
		}
	}
	// Locked until what it may not have is taken away again: at no time is there a root who may do more.
	steps := []statement{
		stmt("SET GLOBAL partial_revokes = ON"),
		stmt("CREATE USER IF NOT EXISTS ?@? IDENTIFIED WITH caching_sha2_password BY ? ACCOUNT LOCK", rootName, AnyHost, password).hiding(password),
		stmt("ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY ? ACCOUNT LOCK", rootName, AnyHost, password).hiding(password),
		stmt("GRANT "+strings.Join(append(dynamic, rootPrivileges...), ", ")+" ON *.* TO ?@? WITH GRANT OPTION", rootName, AnyHost),
		// These restrictions go along with every right that root gives away.
		stmt("REVOKE ALL PRIVILEGES ON mysql.* FROM ?@?", rootName, AnyHost),
		stmt("REVOKE INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, CREATE VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER ON sys.* FROM ?@?", rootName, AnyHost),
		stmt("REVOKE ALL PRIVILEGES ON "+agentDatabase+".* FROM ?@?", rootName, AnyHost),
	}
	tables, err := s.systemTables(ctx)
	if err != nil {
		return protocol.RootReply{}, translate(op, err, "")
	}
	for _, t := range tables {
		steps = append(steps, stmt("GRANT SELECT ON mysql."+ident(t)+" TO ?@?", rootName, AnyHost))
	}
	steps = append(steps, stmt("ALTER USER ?@? ACCOUNT UNLOCK", rootName, AnyHost))
	if err := s.run(ctx, op, steps...); err != nil {
		return protocol.RootReply{}, err
	}
	return protocol.RootReply{Enabled: true, Password: password}, nil
}

// systemTables are those of rootSystemTables that this server has.
func (s *Server) systemTables(ctx context.Context) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'mysql'")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var tables []string
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		if slices.Contains(rootSystemTables, t) {
			tables = append(tables, t)
		}
	}
	return tables, rows.Err()
}

// privileges are the names of all privileges that the server knows.
func (s *Server) privileges(ctx context.Context) (map[string]bool, error) {
	rows, err := s.db.QueryContext(ctx, "SHOW PRIVILEGES")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	known := map[string]bool{}
	for rows.Next() {
		var name, where, comment string
		if err := rows.Scan(&name, &where, &comment); err != nil {
			return nil, err
		}
		known[strings.ToUpper(name)] = true
	}
	return known, rows.Err()
}

// RootDisable shuts every account named root, with a password that nobody knows, and ends its connections. It does not drop them: views and
// routines that root made run as their definer, also when that is locked.
func (s *Server) RootDisable(ctx context.Context) error {
	const op = "disable root"
	rows, err := s.db.QueryContext(ctx, "SELECT Host FROM mysql.user WHERE User = ?", rootName)
	if err != nil {
		return translate(op, err, "")
	}
	defer func() { _ = rows.Close() }()
	var steps []statement
	for rows.Next() {
		var host string
		if err := rows.Scan(&host); err != nil {
			return translate(op, err, "")
		}
		password := NewPassword()
		steps = append(steps, stmt("ALTER USER ?@? IDENTIFIED WITH caching_sha2_password BY ? ACCOUNT LOCK", rootName, host, password).hiding(password))
	}
	if err := rows.Err(); err != nil {
		return translate(op, err, "")
	}
	if err := s.run(ctx, op, steps...); err != nil {
		return err
	}
	return s.disconnect(ctx, op, rootName)
}

// NewPassword makes a random password of 130 bits or more, which satisfies the usual rules for passwords.
func NewPassword() string { return fmt.Sprintf("%s-a1A", rand.Text()) }
