package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
)

// residentKB is a process's memory that is its own, in KiB; what it shares with its file is every container's together.
func residentKB(t *testing.T, pid string) (own, total int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch f[0] {
		case "RssAnon:":
			own, _ = strconv.Atoi(f[1])
		case "VmRSS:":
			total, _ = strconv.Atoi(f[1])
		}
	}
	return own, total
}

func TestRealLife(t *testing.T) {
	t.Parallel()
	c := newContainer(t, 1024)
	c.create("none")
	c.run("start", c.name)
	st := c.await("boot", runningWithAgent)
	if !st.Mysqld.Fresh || st.Mysqld.Crashes != 0 {
		t.Errorf("%+v", st.Mysqld)
	}
	began, err := time.Parse(time.RFC3339Nano, c.run("inspect", "-f", "{{.State.StartedAt}}", c.name))
	c.ok(err)
	own, total := residentKB(t, c.run("inspect", "-f", "{{.State.Pid}}", c.name))
	t.Logf("container start -> mysqld answers: %s, of which mysqld %s; supervisor: %d KiB resident, %d of its own",
		st.Mysqld.Since.Sub(began).Round(time.Millisecond), st.Mysqld.Since.Sub(st.Mysqld.Started).Round(time.Millisecond), total, own)
	if total > 16<<10 {
		t.Errorf("the supervisor takes %d KiB", total)
	}
	locks := "select @@offline_mode, @@super_read_only, @@skip_replica_start, @@server_id, @@gtid_mode, @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@relay_log_recovery, @@persisted_globals_load"
	if got, want := c.sql(locks), "1\t1\t1\t77\tON\t1\t1\t0\t0"; got != want {
		t.Errorf("locks %q, want %q", got, want)
	}
	if got := c.sql("select group_concat(plugin_name order by 1) from information_schema.plugins where plugin_status='ACTIVE' and plugin_name in ('clone','rpl_semi_sync_source','rpl_semi_sync_replica')"); got != "clone,rpl_semi_sync_replica,rpl_semi_sync_source" {
		t.Errorf("plugins %q", got)
	}
	c.sql("set global super_read_only=0; create database kept; create table kept.t(i int primary key); insert into kept.t values (1)")
	c.killed(st)
	c.agents(st)

	// A restart by SQL is known for what it is, and boots shut again.
	before, err := strconv.Atoi(fmt.Sprint(c.await("now", running).Mysqld.Starts))
	c.ok(err)
	c.sql("restart")
	after := c.await("restart", func(now control.Status) bool { return running(now) && now.Mysqld.Starts == before+1 })
	if after.Mysqld.Crashes != 1 || after.Mysqld.LastExit != "exit status 16" || c.sql("select @@super_read_only") != "1" {
		t.Errorf("%+v", after.Mysqld)
	}

	// Logs are put aside while mysqld runs.
	c.exec("sh", "-c", "head -c 9000000 /dev/zero >> /var/lib/mysql/log/error.log")
	deadline := time.Now().Add(30 * time.Second)
	for c.exec("sh", "-c", "cd /var/lib/mysql/log; ls error.log error.log.1 2>/dev/null | wc -l") != "2" {
		if time.Now().After(deadline) {
			t.Fatal("the error log is not put aside")
		}
		<-time.After(200 * time.Millisecond)
	}
	if now := c.await("after rotation", running); now.Mysqld.Starts != after.Mysqld.Starts {
		t.Errorf("mysqld died of the rotation: %+v", now.Mysqld)
	}

	// docker stop is a clean shutdown, and the next start has the data.
	uuid := c.sql("select @@server_uuid")
	c.run("stop", "-t", "60", c.name)
	if code := c.run("inspect", "-f", "{{.State.ExitCode}}", c.name); code != "0" {
		t.Errorf("exit code %s", code)
	}
	c.run("start", c.name)
	if again := c.await("boot", runningWithAgent); again.Mysqld.Fresh || again.Mysqld.Crashes != 0 {
		t.Errorf("%+v", again.Mysqld)
	}
	if got := c.sql("select i, @@server_uuid, @@super_read_only from kept.t"); got != "1\t"+uuid+"\t1" {
		t.Errorf("after a stop: %q", got)
	}
	if log := c.exec("cat", "/var/lib/mysql/log/error.log"); !strings.Contains(log, "Shutdown complete") || strings.Count(log, "Starting XA crash recovery") > 0 {
		t.Errorf("the shutdown was not clean:\n%s", log)
	}
	// And so has the start after the death of everything.
	c.run("kill", c.name)
	c.run("start", c.name)
	c.await("boot", runningWithAgent)
	if got := c.sql("select i from kept.t"); got != "1" {
		t.Errorf("after a kill: %q", got)
	}
}

// killed: mysqld is killed with SIGKILL, and comes back at once; the agent does not notice.
func (c *container) killed(st control.Status) {
	c.t.Helper()
	c.exec("sh", "-c", fmt.Sprintf("kill -9 %d", st.Mysqld.Pid))
	now := c.await("restart", func(now control.Status) bool { return running(now) && now.Mysqld.Pid != st.Mysqld.Pid })
	if now.Mysqld.Crashes != 1 || now.Mysqld.LastExit != "killed by signal 9 (SIGKILL)" || now.Agent.Pid != st.Agent.Pid {
		c.t.Errorf("%+v", now)
	}
	pause := now.Mysqld.Started.Sub(now.Mysqld.LastExitAt)
	c.t.Logf("mysqld killed -> started again: %s, answers: %s", pause, now.Mysqld.Since.Sub(now.Mysqld.LastExitAt).Round(time.Millisecond))
	if pause > time.Second {
		c.t.Errorf("started again after %s", pause)
	}
}

// agents: an agent is killed, replaced, and replaced by one that is no good; mysqld does not notice.
func (c *container) agents(_ control.Status) {
	c.t.Helper()
	st := c.await("now", runningWithAgent)
	c.exec("sh", "-c", fmt.Sprintf("kill -9 %d", st.Agent.Pid))
	c.await("agent", func(now control.Status) bool { return now.Agent.Ready && now.Agent.Pid != st.Agent.Pid })
	c.configure("good2")
	c.run("kill", "-s", "HUP", c.name)
	c.await("replacement", agentIs("good2"))
	c.configure("bad")
	c.exec("/huker/bin/huker-ctl", "replace")
	now := c.await("the old agent", func(now control.Status) bool { return now.Agent.Fault != "" && agentIs("good2")(now) })
	if now.Mysqld.Pid != st.Mysqld.Pid || now.Mysqld.Starts != st.Mysqld.Starts {
		c.t.Errorf("mysqld was disturbed: %+v", now.Mysqld)
	}
}

func TestRealTwoAreDifferent(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		c := newContainer(t, 512)
		c.create("none")
		c.run("start", c.name)
		c.await("boot", running)
		seen[c.sql("select @@server_uuid")] = true
		seen[c.exec("cat", "/var/lib/mysql/data/public_key.pem")] = true
		if keys := c.exec("sh", "-c", "ls /var/lib/mysql/data/*.pem"); strings.Count(keys, ".pem") != 2 {
			t.Errorf("keys of the template: %q", keys)
		}
		if log := c.exec("cat", "/var/lib/mysql/log/error.log"); strings.Contains(log, "[ERROR]") {
			t.Errorf("errors at the start:\n%s", log)
		}
	}
	if len(seen) != 4 {
		t.Errorf("two databases share something: %v", seen)
	}
}

func TestRealDiskTooSmall(t *testing.T) {
	t.Parallel()
	c := newContainer(t, 512)
	c.volume = "--tmpfs=/var/lib/mysql:uid=999,gid=999,mode=0700,size=40m"
	c.create("none")
	c.run("start", c.name)
	st := c.await("failure", func(st control.Status) bool { return st.Mysqld.Phase == control.Failed })
	if !strings.Contains(st.Mysqld.Reason, "the volume is full") || !st.Agent.Ready {
		t.Errorf("%+v", st)
	}
	// It goes on trying, each time after a longer pause: between two attempts there is nothing of either.
	deadline := time.Now().Add(20 * time.Second)
	for out := c.exec("ls", "/var/lib/mysql"); strings.Contains(out, "data.new"); out = c.exec("ls", "/var/lib/mysql") {
		if time.Now().After(deadline) {
			t.Fatalf("half of a data directory stays: %q", out)
		}
	}
}

func TestRealDiskFull(t *testing.T) {
	t.Parallel()
	c := newContainer(t, 1536) // the volume is memory here
	c.volume = "--tmpfs=/var/lib/mysql:uid=999,gid=999,mode=0700,size=600m"
	c.create("none")
	c.run("start", c.name)
	st := c.await("boot", runningWithAgent)
	if st.Mysqld.Phase != control.Running {
		t.Fatalf("%+v", st)
	}
	c.exec("/huker/bin/huker-ctl", "stop")
	// Whatever mysqld frees at its start (spare redo files, temporary tables) somebody else takes at once.
	c.run("exec", "-d", c.name, "sh", "-c", "touch /tmp/on; while [ -e /tmp/on ]; do cat /dev/zero >> /var/lib/mysql/filler; sleep 0.005; done 2>/dev/null")
	<-time.After(3 * time.Second)
	if out, err := c.docker("exec", c.name, "/huker/bin/huker-ctl", "start"); err == nil || !strings.Contains(err.Error(), "the volume is full") {
		t.Errorf("start on a full volume: %q, %v", out, err)
	}
	st = c.await("failure", func(st control.Status) bool { return st.Mysqld.Phase == control.Failed })
	if !strings.Contains(st.Mysqld.Reason, "the volume is full") {
		t.Errorf("%+v", st.Mysqld)
	}
	c.exec("sh", "-c", "rm /tmp/on; sleep 0.2; rm /var/lib/mysql/filler")
	c.await("recovery", running)
}

// TestRealInitialize: an image without a template, as stock ones are.
func TestRealInitialize(t *testing.T) {
	t.Parallel()
	c := newContainer(t, 512)
	c.extra = []string{"--tmpfs=/usr/share/huker"} // hides it
	c.create("none")
	c.run("start", c.name)
	if st := c.await("boot", runningWithAgent); !st.Mysqld.Fresh {
		t.Errorf("%+v", st.Mysqld)
	}
	if got := c.sql("select user, host from mysql.user where user='root'"); got != "root\tlocalhost" {
		t.Errorf("%q", got)
	}
}
