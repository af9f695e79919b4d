package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/test/site"
)

// The first user of every instance that tests make.
const (
	testUser     = "app"
	testPassword = "A quite-secret 1 password"
)

// readyDeadline bounds waiting for a database on a machine that is busy with other tests.
const readyDeadline = 3 * time.Minute

// create asks for an instance and gives its id.
func (p *plane) create(name string, flavor int) string {
	p.t.Helper()
	code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody(name, flavor))
	require.Equal(p.t, http.StatusOK, code, "%v", answer)
	id := dig[string](answer, "instance", "id")
	require.NotEmpty(p.t, id)
	return id
}

func createBody(name string, flavor int) map[string]any {
	return map[string]any{"instance": map[string]any{
		"name": name, "flavorRef": flavor, "volume": map[string]any{"size": 1},
		"databases": []map[string]any{{"name": "shop"}},
		"users":     []map[string]any{{"name": testUser, "password": testPassword, "databases": []map[string]any{{"name": "shop"}}}},
	}}
}

func (p *plane) path(id string) string { return "/v1.0/" + p.project + "/instances/" + id }

func (p *plane) show(id string) (int, map[string]any) {
	p.t.Helper()
	code, answer := p.call(http.MethodGet, p.path(id), nil)
	return code, dig[map[string]any](answer, "instance")
}

// await polls until the instance is as wanted.
func (p *plane) await(id, what string, good func(code int, i map[string]any) bool) map[string]any {
	p.t.Helper()
	deadline := time.Now().Add(readyDeadline)
	for {
		code, i := p.show(id)
		if good(code, i) {
			return i
		}
		require.Less(p.t, time.Now(), deadline, "instance %s does not become %s: %d %v", id, what, code, i)
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *plane) awaitActive(id string) map[string]any {
	p.t.Helper()
	return p.await(id, "ACTIVE", func(_ int, i map[string]any) bool {
		return i["status"] == "ACTIVE" && i["operating_status"] == "HEALTHY"
	})
}

func (p *plane) awaitGone(id string) {
	p.t.Helper()
	p.await(id, "gone", func(code int, _ map[string]any) bool { return code == http.StatusNotFound })
}

func address(i map[string]any) string {
	ips, _ := i["ip"].([]any)
	if len(ips) == 0 {
		return ""
	}
	a, _ := ips[0].(string)
	return a
}

// open gives a connection pool to the instance's database as its first user.
func open(t *testing.T, addr string, config *tls.Config) *sql.DB {
	t.Helper()
	c := login(addr + ":3306")
	if config != nil {
		c.TLS = config
	}
	return pool(t, c)
}

// login is what the first user of a database comes with.
func login(address string) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", address, testUser, testPassword, "shop"
	c.Timeout = 10 * time.Second
	c.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // tests that are not about TLS
	return c
}

func pool(t *testing.T, c *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := db.ExecContext(ctx, statement, args...)
	require.NoError(t, err, statement)
}

func query[T any](t *testing.T, db *sql.DB, statement string, args ...any) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var v T
	require.NoError(t, db.QueryRowContext(ctx, statement, args...).Scan(&v), statement)
	return v
}

// One database's life: made, used, restarted, resized, deleted; nothing is left.
func TestLifeOfADatabase(t *testing.T) {
	p := newPlane(t)
	p.start()
	id := p.create("life", 1)
	i := p.awaitActive(id)
	db := open(t, address(i), nil)
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	run(t, db, "INSERT INTO kept VALUES (41)")

	t.Run("reached with TLS that is verified", func(t *testing.T) {
		_, answer := p.call(http.MethodGet, p.path(id)+"/ssl?include_certificate=true", nil)
		pem := dig[string](answer, "ssl", "certificate", "payload")
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(pem)), "%v", answer)
		strict := open(t, address(i), &tls.Config{RootCAs: roots, ServerName: address(i), MinVersion: tls.VersionTLS12})
		require.Equal(t, 41, query[int](t, strict, "SELECT v FROM kept"))
	})
	t.Run("reached from a container on another bridge", func(t *testing.T) {
		require.Contains(t, p.fromOtherBridge(address(i)), "9.7")
	})
	t.Run("durable settings", func(t *testing.T) {
		require.Equal(t, 1, query[int](t, db, "SELECT @@GLOBAL.sync_binlog"))
		require.Equal(t, 1, query[int](t, db, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit"))
		require.Equal(t, 0, query[int](t, db, "SELECT @@GLOBAL.super_read_only"))
		require.Equal(t, "ON", query[string](t, db, "SELECT @@GLOBAL.gtid_mode"))
	})
	t.Run("restart", func(t *testing.T) {
		before := query[int](t, db, "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME='Uptime'")
		pid := p.container(id).Pid
		code, _ := p.call(http.MethodPost, p.path(id)+"/action", map[string]any{"restart": map[string]any{}})
		require.Equal(t, http.StatusAccepted, code)
		p.awaitActive(id)
		require.Equal(t, pid, p.container(id).Pid, "the container must go on")
		require.LessOrEqual(t, query[int](t, db, "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME='Uptime'"), before+30)
		require.Equal(t, 41, query[int](t, db, "SELECT v FROM kept"))
	})
	t.Run("resize without a restart, up and down", func(t *testing.T) {
		for _, size := range []struct{ flavor, mb int }{{3, 2048}, {2, 1024}} {
			started := query[string](t, db, "SELECT DATE_SUB(NOW(), INTERVAL VARIABLE_VALUE SECOND) FROM performance_schema.global_status WHERE VARIABLE_NAME='Uptime'")
			code, answer := p.call(http.MethodPost, p.path(id)+"/action", map[string]any{"resize": map[string]any{"flavorRef": fmt.Sprint(size.flavor)}})
			require.Equal(t, http.StatusAccepted, code, "%v", answer)
			p.awaitActive(id)
			require.Equal(t, size.mb, p.container(id).Limits.MemoryMB)
			again := query[string](t, db, "SELECT DATE_SUB(NOW(), INTERVAL VARIABLE_VALUE SECOND) FROM performance_schema.global_status WHERE VARIABLE_NAME='Uptime'")
			require.InDelta(t, seconds(t, started), seconds(t, again), 3, "mysqld must not have been restarted")
		}
	})
	t.Run("delete leaves nothing", func(t *testing.T) {
		code, _ := p.call(http.MethodDelete, p.path(id), nil)
		require.Equal(t, http.StatusAccepted, code)
		p.awaitGone(id)
		require.Empty(t, p.leftovers())
	})
}

func seconds(t *testing.T, moment string) float64 {
	t.Helper()
	when, err := time.Parse("2006-01-02 15:04:05", moment)
	if err != nil {
		when, err = time.Parse("2006-01-02 15:04:05.999999", moment)
	}
	require.NoError(t, err)
	return float64(when.Unix())
}

// fromOtherBridge reads MySQL's greeting from a container on Docker's default bridge.
func (p *plane) fromOtherBridge(addr string) string {
	p.t.Helper()
	docker := testenv.RequireBinary(p.t, "docker")
	out, err := command(p.t, docker, "run", "--rm", "--network", "bridge", "--entrypoint", "bash", site.Image(p.t),
		"-c", "exec 3<>/dev/tcp/"+addr+"/3306 && head -c 40 <&3 | tr -cd '[:print:]'")
	require.NoError(p.t, err, out)
	return out
}
