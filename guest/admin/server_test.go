package admin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var c bus.Coder
	if !errors.As(err, &c) || c.ErrorCode() != code {
		t.Fatalf("got %v, want an error with code %q", err, code)
	}
}

func names(dbs []model.Database) []string {
	out := make([]string, 0, len(dbs))
	for _, d := range dbs {
		out = append(out, d.Name)
	}
	return out
}

func TestFreshServerHasOnlyTheAgentsAccount(t *testing.T) {
	s, ctx := server(t), within(t)
	var n int
	must(t, s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE account_locked = 'N' AND User NOT IN ('huker_agent', 'root') AND User NOT LIKE 'u%' AND User NOT LIKE 'f%'").Scan(&n))
	if n != 0 {
		t.Fatalf("%d accounts besides the agent's can be entered", n)
	}
	must(t, s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM mysql.user WHERE User = 'root' AND Host = 'localhost'").Scan(&n))
	if n != 0 {
		t.Fatal("root@localhost is still there")
	}
	out, err := shared.Exec("mysql", "-uroot", "-S", "/shared/mysqld.sock", "-e", "select 1")
	if err == nil {
		t.Fatalf("root came in without a password: %s", out)
	}
	for _, statement := range binlog(ctx, t, s) {
		// "AS" names who granted; every server has that account.
		if strings.Contains(strings.ReplaceAll(statement, "AS 'huker_agent'@'localhost'", ""), AgentUser) {
			t.Errorf("the agent's account went into the binary log: %s", statement)
		}
	}
}

// binlog gives what was written to the binary log since the server was made.
func binlog(ctx context.Context, t *testing.T, s *Server) []string {
	t.Helper()
	files, err := s.db.QueryContext(ctx, "SHOW BINARY LOGS")
	must(t, err)
	defer func() { _ = files.Close() }()
	var names, statements []string
	for files.Next() {
		var name, size, encrypted string
		must(t, files.Scan(&name, &size, &encrypted))
		names = append(names, name)
	}
	must(t, files.Err())
	for _, name := range names {
		events, err := s.db.QueryContext(ctx, "SHOW BINLOG EVENTS IN "+quote(name))
		must(t, err)
		for events.Next() {
			var file, at, kind, id, end, what string
			must(t, events.Scan(&file, &at, &kind, &id, &end, &what))
			statements = append(statements, what)
		}
		must(t, events.Err())
		must(t, events.Close()) //nolint:sqlclosecheck // closed in the cleanup or at once
	}
	return statements
}

func TestDatabases(t *testing.T) {
	s, ctx := server(t), within(t)
	wanted := []model.Database{
		{Name: "d_plain"}, {Name: "d%wild"}, {Name: "d_b`tick"}, {Name: "d_q'uote\""}, {Name: "d_ünï"},
		{Name: "d_latin", CharacterSet: "latin1", Collate: "latin1_swedish_ci"}, {Name: "d_old", CharacterSet: "utf8", Collate: "utf8_general_ci"},
		{Name: "d_set", CharacterSet: "ascii"}, {Name: "d_coll", Collate: "utf8mb4_bin"},
	}
	must(t, s.CreateDatabases(ctx, wanted, false))
	wantCode(t, s.CreateDatabases(ctx, []model.Database{{Name: "d_fresh"}, {Name: "d_plain"}}, false), protocol.CodeExists)
	must(t, s.CreateDatabases(ctx, wanted, true))

	all, err := s.Databases(ctx, protocol.ListRequest{})
	must(t, err)
	for _, d := range wanted {
		if !slices.Contains(names(all), d.Name) {
			t.Errorf("%q is not listed", d.Name)
		}
	}
	for _, d := range all {
		if isSystemDatabase(d.Name) {
			t.Errorf("%q is listed", d.Name)
		}
		if d.Name == "d_fresh" {
			t.Error("a request that was refused made a database")
		}
		if d.Name == "d_old" && (d.CharacterSet != "utf8mb3" || d.Collate != "utf8mb3_general_ci") {
			t.Errorf("d_old has %s, %s", d.CharacterSet, d.Collate)
		}
	}
	var paged []string
	for marker := ""; ; {
		page, err := s.Databases(ctx, protocol.ListRequest{Limit: 2, Marker: marker})
		must(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, names(page)...)
		marker = page[len(page)-1].Name
	}
	if !slices.Equal(paged, names(all)) {
		t.Errorf("pages give %q, all is %q", paged, names(all))
	}
	for _, bad := range []model.Database{{Name: "d_x", CharacterSet: "klingon"}, {Name: "d_x", Collate: "x; drop"}, {Name: "d_x", CharacterSet: "latin1", Collate: "utf8mb4_bin"}, {Name: "mysql"}} {
		wantCode(t, s.CreateDatabases(ctx, []model.Database{bad}, false), protocol.CodeInvalid)
	}
	for _, d := range wanted {
		must(t, s.DeleteDatabase(ctx, d.Name))
		wantCode(t, s.DeleteDatabase(ctx, d.Name), protocol.CodeNotFound)
	}
	for _, system := range []string{"mysql", "huker", "sys", "MYSQL", "", "#mysql50#mysql"} {
		wantCode(t, s.DeleteDatabase(ctx, system), protocol.CodeNotFound)
	}
}

func TestUsers(t *testing.T) {
	s, ctx := server(t), within(t)
	must(t, s.CreateDatabases(ctx, []model.Database{{Name: "ua_1"}, {Name: "uax1"}}, true))
	joe := model.User{Name: "u'joe`\\", Host: "10.%", Password: `p'a\"s;s`, Databases: []string{"ua_1"}}
	ann := model.User{Name: "uann", Password: "first"}
	must(t, s.CreateUsers(ctx, []model.User{joe, ann}, false))
	wantCode(t, s.CreateUsers(ctx, []model.User{{Name: "unew", Password: "x"}, ann}, false), protocol.CodeExists)
	_, err := s.User(ctx, protocol.UserRequest{Name: "unew"})
	wantCode(t, err, protocol.CodeNotFound)

	got, err := s.User(ctx, protocol.UserRequest{Name: joe.Name, Host: joe.Host})
	must(t, err)
	if got.Host != "10.%" || !slices.Equal(got.Databases, []string{"ua_1"}) || got.Password != "" {
		t.Fatalf("shown as %+v", got)
	}
	_, err = s.User(ctx, protocol.UserRequest{Name: joe.Name})
	wantCode(t, err, protocol.CodeNotFound)

	// What exists gets the password and the rights.
	ann.Password, ann.Databases = "second", []string{"ua_1"}
	must(t, s.CreateUsers(ctx, []model.User{ann}, true))
	if out, err := shared.SQL("uann", "second", "create table ua_1.t (a int); select 'in'"); err != nil || !strings.Contains(out, "in") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, _ := shared.SQL("uann", "second", "create table uax1.t (a int)"); !strings.Contains(out, "denied") {
		t.Fatalf("the _ in a granted name is a wildcard: %s", out)
	}

	pw, name, host := "third", "uanna", "127.0.0.1"
	must(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "uann", NewPassword: &pw, NewName: &name, NewHost: &host}, false))
	if out, err := shared.SQL("uanna", "third", "select * from ua_1.t"); err != nil {
		t.Fatalf("after it was renamed: %v: %s", err, out)
	}
	wantCode(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "uann", NewName: &name, NewHost: &host}, false), protocol.CodeNotFound)
	must(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "uann", NewName: &name, NewHost: &host}, true))
	must(t, s.CreateUsers(ctx, []model.User{{Name: "uother", Password: "x"}}, false))
	taken, anyHost := "uother", "%"
	wantCode(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "uanna", Host: host, NewName: &taken, NewHost: &anyHost}, false), protocol.CodeExists)
	reserved := "huker_agent"
	wantCode(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: "uanna", Host: host, NewName: &reserved}, false), protocol.CodeInvalid)

	for _, u := range []protocol.UserRequest{{Name: joe.Name, Host: "10.%"}, {Name: "uanna", Host: host}, {Name: "uother"}} {
		must(t, s.DeleteUser(ctx, u))
		wantCode(t, s.DeleteUser(ctx, u), protocol.CodeNotFound)
	}
}

func TestReservedUsersAreOutOfReach(t *testing.T) {
	s, ctx := server(t), within(t)
	x := "x"
	for _, u := range []protocol.UserRequest{{Name: AgentUser, Host: AgentHost}, {Name: "mysql.sys", Host: "localhost"}, {Name: "root"}, {Name: "", Host: "%"}} {
		_, err := s.User(ctx, u)
		wantCode(t, err, protocol.CodeNotFound)
		wantCode(t, s.DeleteUser(ctx, u), protocol.CodeNotFound)
		wantCode(t, s.UpdateUser(ctx, protocol.UserUpdate{Name: u.Name, Host: u.Host, NewPassword: &x}, true), protocol.CodeNotFound)
		wantCode(t, s.Grant(ctx, protocol.GrantRequest{Name: u.Name, Host: u.Host, Databases: []string{"d"}}), protocol.CodeNotFound)
		wantCode(t, s.CreateUsers(ctx, []model.User{{Name: u.Name, Host: u.Host, Password: "x"}}, true), protocol.CodeInvalid)
	}
	all, err := s.Users(ctx, protocol.ListRequest{})
	must(t, err)
	for _, u := range all {
		if isReservedUser(u.Name) {
			t.Errorf("%s is listed", u.Name)
		}
	}
}

func TestListOfUsersPages(t *testing.T) {
	s, ctx := server(t), within(t)
	var wanted []model.User
	for i := range 7 {
		wanted = append(wanted, model.User{Name: fmt.Sprintf("upage%d", i/2), Host: []string{"%", "10.0.0.1"}[i%2], Password: "x", Databases: []string{"d1", "d_2"}})
	}
	must(t, s.CreateUsers(ctx, wanted, false))
	var paged []string
	for marker := "upage"; ; {
		page, err := s.Users(ctx, protocol.ListRequest{Limit: 2, Marker: marker})
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			if strings.HasPrefix(u.Name, "upage") {
				paged = append(paged, u.Name+"@"+u.Host)
				if !slices.Equal(u.Databases, []string{"d1", "d_2"}) {
					t.Errorf("%s has %q", u.Name, u.Databases)
				}
			}
		}
		marker = page[len(page)-1].Name + "@" + page[len(page)-1].Host
	}
	var want []string
	for _, u := range wanted {
		want = append(want, u.Name+"@"+u.Host)
		must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: u.Name, Host: u.Host}))
	}
	if !slices.Equal(paged, want) {
		t.Errorf("pages give %q, want %q", paged, want)
	}
}

func TestGrants(t *testing.T) {
	s, ctx := server(t), within(t)
	must(t, s.CreateUsers(ctx, []model.User{{Name: "ugrant", Password: "x"}}, false))
	odd := []string{"g_1", "g%", "g`x", "g'x", "not-there-yet"}
	for range 2 {
		must(t, s.Grant(ctx, protocol.GrantRequest{Name: "ugrant", Databases: odd}))
	}
	u, err := s.User(ctx, protocol.UserRequest{Name: "ugrant"})
	must(t, err)
	slices.Sort(odd)
	slices.Sort(u.Databases)
	if !slices.Equal(u.Databases, odd) {
		t.Fatalf("has %q, want %q", u.Databases, odd)
	}
	for _, d := range odd {
		must(t, s.Revoke(ctx, protocol.GrantRequest{Name: "ugrant", Databases: []string{d}}, false))
		wantCode(t, s.Revoke(ctx, protocol.GrantRequest{Name: "ugrant", Databases: []string{d}}, false), protocol.CodeNotFound)
		must(t, s.Revoke(ctx, protocol.GrantRequest{Name: "ugrant", Databases: []string{d}}, true))
	}
	wantCode(t, s.Grant(ctx, protocol.GrantRequest{Name: "ugrant", Databases: []string{"mysql"}}), protocol.CodeInvalid)
	wantCode(t, s.Grant(ctx, protocol.GrantRequest{Name: "unobody", Databases: []string{"d"}}), protocol.CodeNotFound)
	must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: "ugrant"}))
}

// Names of any characters come back as they went in, and rights are on nothing else.
func TestRandomNames(t *testing.T) {
	s, ctx := server(t), within(t)
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	alphabet := []rune("aZ09_%`'\"\\;-# @?$*()\u00fc\u00e9\u4e2d\u0416.")
	word := func(most int) string {
		r := make([]rune, 1+rnd.IntN(most))
		for i := range r {
			r[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(r)
	}
	done := 0
	for done < 40 {
		d, u, pw := "f"+word(30), "f"+word(20), word(40)
		if checkNewDatabase(d) != nil || checkNewUser(u) != nil {
			continue
		}
		done++
		must(t, s.CreateDatabases(ctx, []model.Database{{Name: d}}, false))
		must(t, s.CreateUsers(ctx, []model.User{{Name: u, Password: pw, Databases: []string{d}}}, false))
		got, err := s.User(ctx, protocol.UserRequest{Name: u})
		must(t, err)
		if got.Name != u || !slices.Equal(got.Databases, []string{d}) {
			t.Fatalf("user %q with %q came back as %+v", u, d, got)
		}
		all, err := s.Databases(ctx, protocol.ListRequest{})
		must(t, err)
		if !slices.Contains(names(all), d) {
			t.Fatalf("database %q is not in %q", d, names(all))
		}
		must(t, s.Revoke(ctx, protocol.GrantRequest{Name: u, Databases: []string{d}}, false))
		must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: u}))
		must(t, s.DeleteDatabase(ctx, d))
	}
}

func TestLogs(t *testing.T) {
	s, ctx := server(t), within(t)
	l, err := s.LogSet(ctx, protocol.LogSet{Name: LogGeneral, Enable: true})
	must(t, err)
	if !l.Enabled || l.Type != "USER" {
		t.Fatalf("%+v", l)
	}
	_, err = s.db.ExecContext(ctx, "SELECT 'a line of the general log'")
	must(t, err)
	chunk, err := s.LogRead(protocol.LogRead{Name: LogGeneral, Offset: -1000})
	must(t, err)
	if !strings.Contains(string(chunk.Data), "a line of the general log") || chunk.Offset+int64(len(chunk.Data)) != chunk.Size {
		t.Fatalf("%+v", chunk)
	}
	again, err := s.LogRead(protocol.LogRead{Name: LogGeneral, Offset: chunk.Size + 5, Limit: 10})
	must(t, err)
	if len(again.Data) != 0 || again.Offset > again.Size {
		t.Fatalf("%+v", again)
	}
	l, err = s.LogSet(ctx, protocol.LogSet{Name: LogGeneral, Disable: true, Discard: true})
	must(t, err)
	if l.Enabled || l.Size != 0 {
		t.Fatalf("after it was emptied: %+v", l)
	}
	_, err = s.LogSet(ctx, protocol.LogSet{Name: LogError, Discard: true})
	wantCode(t, err, protocol.CodeInvalid)
	_, err = s.LogSet(ctx, protocol.LogSet{Name: "../../etc/passwd", Discard: true})
	wantCode(t, err, protocol.CodeNotFound)
	_, err = s.LogRead(protocol.LogRead{Name: "/etc/passwd"})
	wantCode(t, err, protocol.CodeNotFound)
	logs, err := s.LogList(ctx)
	must(t, err)
	if len(logs) != 3 || logs[0].Name != LogError || logs[0].Type != "SYS" || logs[0].Size == 0 {
		t.Fatalf("%+v", logs)
	}
}

func TestGate(t *testing.T) {
	s, ctx := server(t), within(t)
	must(t, s.CreateUsers(ctx, []model.User{{Name: "ugate", Password: "x"}}, true))
	for range 2 {
		must(t, s.Lock(ctx))
	}
	if out, err := shared.SQL("ugate", "x", "select 1"); err == nil {
		t.Fatalf("a client came in while it is locked: %s", out)
	}
	for range 2 {
		st, err := s.Open(ctx)
		must(t, err)
		if !st.Open() || !strings.HasPrefix(st.Version, "9.") || st.UUID == "" {
			t.Fatalf("%+v", st)
		}
	}
	if out, err := shared.SQL("ugate", "x", "select 1"); err != nil {
		t.Fatal(out)
	}
	must(t, s.DeleteUser(ctx, protocol.UserRequest{Name: "ugate"}))
}

func TestSettings(t *testing.T) {
	s, ctx := server(t), within(t)
	restart, err := s.Apply(ctx, map[string]string{"max_connections": "77", "innodb_log_file_size_x": "1"})
	if err == nil {
		t.Fatalf("an unknown variable was set: %q", restart)
	}
	restart, err = s.Apply(ctx, map[string]string{"max_connections": "78", "innodb_page_size": "16384", "general_log": "OFF"})
	must(t, err)
	if !slices.Equal(restart, []string{"innodb_page_size"}) {
		t.Fatalf("%q need a restart", restart)
	}
	var n int
	must(t, s.db.QueryRowContext(ctx, "SELECT @@GLOBAL.max_connections").Scan(&n))
	if n != 78 {
		t.Fatalf("max_connections is %d", n)
	}
}

func TestSessionsDoNotDependOnTheServersDefaults(t *testing.T) {
	s, ctx := server(t), within(t)
	for _, sql := range []string{"SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'", "SET GLOBAL sql_select_limit = 1", "SET GLOBAL transaction_read_only = ON"} {
		_, err := s.db.ExecContext(ctx, sql)
		must(t, err)
	}
	defer func() {
		for _, sql := range []string{"SET GLOBAL sql_mode = DEFAULT", "SET GLOBAL sql_select_limit = DEFAULT", "SET GLOBAL transaction_read_only = OFF"} {
			_, err := s.db.ExecContext(context.WithoutCancel(ctx), sql)
			must(t, err)
		}
	}()
	db, err := Dial(Login{Socket: shared.Socket(), User: AgentUser, Password: agentPassword}, 1)
	must(t, err)
	defer func() { _ = db.Close() }()
	fresh := New(db, Logs{})
	must(t, fresh.CreateDatabases(ctx, []model.Database{{Name: "f_1"}, {Name: "f_2"}}, true))
	must(t, fresh.CreateUsers(ctx, []model.User{{Name: `f\'"x`, Password: `\'"`}}, true))
	_, err = fresh.User(ctx, protocol.UserRequest{Name: `f\'"x`})
	must(t, err)
	all, err := fresh.Databases(ctx, protocol.ListRequest{})
	must(t, err)
	if len(all) < 2 {
		t.Fatalf("sql_select_limit cut the list: %q", names(all))
	}
	must(t, fresh.DeleteUser(ctx, protocol.UserRequest{Name: `f\'"x`}))
	must(t, fresh.DeleteDatabase(ctx, "f_1"))
	must(t, fresh.DeleteDatabase(ctx, "f_2"))
}

func TestErrorsHideSecretsAndKeepKinds(t *testing.T) {
	err := translate("op", fmt.Errorf("near 'hunter2' at line 1"), "hunter2")
	if strings.Contains(err.Error(), "hunter2") || !errors.Is(err, ErrInternal) {
		t.Fatalf("%v", err)
	}
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "hunter2") {
			t.Fatalf("a cause tells it: %v", e)
		}
	}
	if err := translate("op", context.DeadlineExceeded, ""); !errors.Is(err, ErrNotReady) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
}
