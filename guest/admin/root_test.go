package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func TestRoot(t *testing.T) {
	s, ctx := server(t), within(t)
	must(t, s.RootDisable(ctx))
	made, err := s.RootEnable(ctx, protocol.RootRequest{})
	must(t, err)
	if !made.Enabled || len(made.Password) < 20 {
		t.Fatalf("%+v", made)
	}
	given, err := s.RootEnable(ctx, protocol.RootRequest{Password: "Root'pw\\1"})
	must(t, err)
	if out, err := shared.SQL("root", made.Password, "select 1"); err == nil {
		t.Fatalf("the former password still works: %s", out)
	}
	show, err := s.RootShow(ctx)
	must(t, err)
	if !show.Enabled || show.Password != "" {
		t.Fatalf("%+v", show)
	}
	allowed := []string{
		"create database rdb", "create table rdb.t (a int)", "insert into rdb.t values (1)", "create user urooted identified by 'x'",
		"grant all on rdb.* to urooted", "grant select, insert on *.* to urooted", "select count(*) from mysql.user", "show processlist",
		"create trigger rdb.tr before insert on rdb.t for each row set @a = 1", "create role urole", "grant urole to urooted", "select count(*) from sys.version",
		"create definer = urooted procedure rdb.p() select 1", "flush tables", "set session sql_mode = ''", "drop user urooted", "drop role urole", "drop database rdb",
	}
	for _, sql := range allowed {
		if out, err := shared.SQL("root", given.Password, sql); err != nil {
			t.Errorf("%s: %s", sql, out)
		}
	}
	refused := []string{
		"drop user huker_agent@localhost", "alter user huker_agent@localhost identified by 'x'", "rename user huker_agent@localhost to x",
		"revoke all privileges, grant option from huker_agent@localhost", "grant huker_agent@localhost to root", "grant proxy on huker_agent@localhost to root",
		"insert into mysql.user select * from mysql.user", "update mysql.user set account_locked='N'", "delete from mysql.global_grants",
		"select * from mysql.slave_master_info", "grant select on mysql.* to root", "drop database mysql", "drop database sys", "grant super on *.* to root",
		"set global super_read_only = off", "set global offline_mode = off", "set global partial_revokes = off", "set session sql_log_bin = 0",
		"reset binary logs and gtids", "purge binary logs before now()", "stop replica", "shutdown", "alter instance disable innodb redo_log",
		"create definer = huker_agent@localhost procedure test.p() select 1", "install plugin x soname 'x.so'", "lock instance for backup",
		"select load_file('/etc/passwd') into @a; select 1 into outfile '/tmp/x'", "clone local data directory '/tmp/x'", "grant system_user on *.* to root",
		"set persist max_connections = 10", "set global mandatory_roles = 'x'", "set default role all to huker_agent@localhost",
		"grant `mysql.session`@localhost to root", "grant `mysql.sys`@localhost to root",
	}
	for _, sql := range refused {
		if out, err := shared.SQL("root", given.Password, sql); err == nil || !strings.Contains(out, "ERROR") {
			t.Errorf("root may %s: %s", sql, out)
		}
	}
	// Whom root makes is no more than root.
	if out, err := shared.SQL("root", given.Password, "create user uroot2 identified by 'x'; grant create user, update, select on *.* to uroot2 with grant option"); err != nil {
		t.Fatal(out)
	}
	for _, sql := range []string{"update mysql.user set account_locked='N'", "drop user huker_agent@localhost", "select * from mysql.slave_master_info"} {
		if out, err := shared.SQL("uroot2", "x", sql); err == nil {
			t.Errorf("an account that root made may %s: %s", sql, out)
		}
	}
	must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: "uroot2"}))
	for range 2 {
		must(t, s.RootDisable(ctx))
	}
	if out, err := shared.SQL("root", given.Password, "select 1"); err == nil {
		t.Fatalf("root still comes in: %s", out)
	}
	if show, err := s.RootShow(ctx); err != nil || show.Enabled {
		t.Fatalf("%+v, %v", show, err)
	}
}

func TestNoPasswordIsWrittenDown(t *testing.T) {
	s, ctx := server(t), within(t)
	const secret = "SeCrEt-4711-pass"
	for _, l := range []string{LogGeneral, LogSlowQuery} {
		_, err := s.LogSet(ctx, protocol.LogSet{Name: l, Enable: true})
		must(t, err)
	}
	_, err := s.db.ExecContext(ctx, "SET GLOBAL long_query_time = 0")
	must(t, err)
	must(t, s.CreateUsers(ctx, []model.User{{Name: "usecret", Password: secret}}, true))
	pw := secret + "2"
	must(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "usecret", NewPassword: &pw}, false))
	_, err = s.RootEnable(ctx, protocol.RootRequest{Password: secret + "3"})
	must(t, err)
	must(t, s.RootDisable(ctx))
	must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: "usecret"}))
	for _, l := range []string{LogGeneral, LogSlowQuery} {
		_, err := s.LogSet(ctx, protocol.LogSet{Name: l, Disable: true})
		must(t, err)
	}
	for _, f := range []string{"general.log", "slow.log", "error.log"} {
		text, err := os.ReadFile(filepath.Join(shared.Dir, f))
		must(t, err)
		if strings.Contains(string(text), secret) {
			t.Errorf("a password is in %s", f)
		}
		if f == "general.log" && !strings.Contains(string(text), "usecret") {
			t.Error("the general log did not see the statements")
		}
	}
	logged := strings.Join(binlog(ctx, t, s), "\n")
	if strings.Contains(logged, secret) || !strings.Contains(logged, "usecret") {
		t.Error("a password is in the binary log, or the statements are not")
	}
	var n int
	must(t, s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.events_statements_history_long WHERE SQL_TEXT LIKE CONCAT('%SeCrEt', '-4711%')").Scan(&n))
	var m int
	must(t, s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM performance_schema.events_statements_history WHERE SQL_TEXT LIKE CONCAT('%SeCrEt', '-4711%')").Scan(&m))
	if n+m != 0 {
		t.Errorf("%d statements with a password are in the performance schema", n+m)
	}
}
