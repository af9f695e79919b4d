package supervisor_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/internal/testenv"
)

// TestRealMemory: the smallest server, with all connections that it allows at work at once, stays below its limit. The kernel would kill it.
func TestRealMemory(t *testing.T) {
	t.Parallel()
	const memoryMB = 512
	c := newContainer(t, memoryMB)
	made, err := testenv.HostRules(false)
	if err != nil {
		t.Fatal(err)
	}
	c.run("network", "create", "--label", "huker.test=supervisor", c.name)
	made()
	c.create(c.name)
	c.run("start", c.name)
	before := c.await("boot", runningWithAgent)
	pid := c.run("inspect", "-f", "{{.State.Pid}}", c.name)
	c.sql("set global read_only=0, global offline_mode=0; create database d; create user worker@'%' identified by 'w'; grant all on d.* to worker@'%'")
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", c.run("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.name)+":3306"
	cfg.User, cfg.Passwd, cfg.DBName = "worker", "w", "d"
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	c.ok(err)
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	n, err := strconv.Atoi(mycnf.Settings(memoryMB, 1)["max_connections"])
	c.ok(err)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	ctx := t.Context()
	for _, q := range []string{
		"create table t(id int auto_increment primary key, k int, pad varchar(400), key(k))",
		"insert into t(k, pad) with recursive r as (select 1 i union all select i+1 from r where i<1000) select i % 97, repeat(sha2(i, 256), 6) from r",
		"insert into t(k, pad) select a.k, a.pad from t a join (select 1 union all select 2 union all select 3 union all select 4 union all select 5 union all select 6 union all select 7 union all select 8) b",
		"analyze table t", // without statistics the join below is a hash join that goes to disk: see perConnMB of package mycnf
	} {
		_, err := db.ExecContext(ctx, q)
		c.ok(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, peak := 0, 0
	for i := range n {
		wg.Go(func() {
			conn, err := db.Conn(ctx)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			for ctx.Err() == nil {
				for _, q := range []string{
					fmt.Sprintf("select count(*) from (select pad, k, count(*) c from t where id %% 8 = %d group by pad, k, id %% 7 order by c desc, pad limit 3000) x", i%8),
					fmt.Sprintf("select sum(length(x)) from (select a.pad x from t a join t b on a.k = b.k where a.id between %d and %d order by b.pad limit 5000) y", 20*i, 20*i+20),
					fmt.Sprintf("insert into t(k, pad) select k, pad from t where k = %d limit 200", i),
				} {
					if _, err := conn.ExecContext(ctx, q); err == nil {
						mu.Lock()
						done++
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if own := containerMB(pid); own > peak {
				peak = own
			}
			<-tick.C
		}
	})
	wg.Wait()
	st := c.await("after the load", running)
	t.Logf("%d connections, %d statements: at the most %d MB of the container's own, of %d", n, done, peak, memoryMB)
	if st.Mysqld.Crashes != 0 || st.Mysqld.Pid != before.Mysqld.Pid {
		t.Errorf("%+v", st.Mysqld)
	}
	if done < n || peak == 0 || peak > memoryMB-20 {
		t.Errorf("%d statements, %d MB", done, peak)
	}
}

// containerMB is the memory that processes of the container with that first process hold for themselves.
func containerMB(pid string) int {
	sum := 0
	first, _ := strconv.Atoi(pid)
	for _, p := range append(children(first), first) {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); f[0] == "RssAnon:" {
				kb, _ := strconv.Atoi(f[1])
				sum += kb >> 10
			}
		}
	}
	return sum
}
