// Package mysqltest gives tests a real mysqld, in a container of its own, fresh from the image's template data directory and locked as it
// is in a guest: read-only and without clients.
//
// It owns the container; it must not know what is tested.
package mysqltest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ImageEnv names the image to test with: one that has mysqld, the mysql client and a template data directory. By default it is the newest MySQL
// image that Huker built here.
const ImageEnv = "HUKER_TEST_MYSQL_IMAGE"

// requireEnv turns a skip into a failure.
const requireEnv = "HUKER_REQUIRE_DOCKER"

// mysqld is started again as long as the file "on" is there, which goes after 20 minutes: so ends the container of a test that was killed.
const script = `cp -r /usr/share/huker/template /tmp/data && rm -f /tmp/data/auto.cnf
touch /tmp/on
(sleep 1200; rm /tmp/on; kill -9 $(cat /tmp/mysqld.pid)) &
while [ -e /tmp/on ]; do
  mysqld --no-defaults --secure-file-priv=NULL --datadir=/tmp/data --socket=/shared/mysqld.sock --pid-file=/tmp/pid --mysqlx=OFF \
    --super-read-only=ON --offline-mode=ON --gtid-mode=ON --enforce-gtid-consistency=ON --partial-revokes=ON --skip-name-resolve \
    --log-bin=/tmp/data/binlog --innodb-buffer-pool-size=64M --log-bin-trust-function-creators=1 --max-connections=60 \
    --log-error=/shared/error.log --general-log-file=/shared/general.log --slow-query-log-file=/shared/slow.log --port=3306 &
  echo $! > /tmp/mysqld.pid
  wait $!
done`

// Server is a running mysqld.
type Server struct {
	Dir  string // shared with the container: mysqld.sock, error.log, slow.log, general.log
	name string
}

// TB is what Start needs of a test, or of a TestMain.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(func())
}

var _ TB = (*testing.T)(nil)

// Image gives the image to test with; without one the test skips, or fails where everything must be there.
func Image(t TB) string {
	t.Helper()
	image := findImage()
	if image == "" {
		if os.Getenv(requireEnv) == "1" {
			t.Fatalf("this test must run here (%s=1), but there is no Docker with a MySQL image (%s)", requireEnv, ImageEnv)
		}
		t.Skipf("SKIPPED, NOT TESTED: no Docker with a MySQL image (%s)", ImageEnv)
	}
	return image
}

// Start starts a server; it does not wait until it answers.
func Start(t TB) *Server {
	t.Helper()
	image := Image(t)
	dir, err := os.MkdirTemp("", "huker-mysqltest-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // #nosec G302 -- mysqld in the container has another uid
		t.Fatalf("%v", err)
	}
	s := &Server{Dir: dir, name: "huker-mysqltest-" + strings.ToLower(rand.Text()[:10])}
	t.Cleanup(func() {
		_, _ = s.docker("rm", "-f", s.name)
		_ = os.RemoveAll(dir)
	})
	out, err := s.docker("run", "-d", "--rm", "--name", s.name, "--network", "none", "--user", "999:999", "--label", "huker.test=mysqltest",
		"-v", dir+":/shared", "--entrypoint", "bash", image, "-c", script)
	if err != nil {
		t.Fatalf("docker run: %v: %s", err, out)
	}
	return s
}

// Socket is mysqld's, on this side.
func (s *Server) Socket() string { return filepath.Join(s.Dir, "mysqld.sock") }

// Kill kills mysqld with SIGKILL; it is started again at once.
func (s *Server) Kill() error {
	out, err := s.Exec("bash", "-c", "kill -9 $(cat /tmp/mysqld.pid)")
	if err != nil {
		return fmt.Errorf("kill mysqld: %w: %s", err, out)
	}
	return nil
}

// Exec runs a program in the container.
func (s *Server) Exec(argv ...string) ([]byte, error) {
	return s.docker(append([]string{"exec", s.name}, argv...)...)
}

// SQL runs statements over TCP, the way of a client from elsewhere (root@localhost does not fit, since names are not resolved), and gives
// what was written, errors included.
func (s *Server) SQL(user, password, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "exec", "-i", "-e", "MYSQL_PWD", s.name, "mysql", "-N", "-B", "-h", "127.0.0.1", "-u"+user, "--default-character-set=utf8mb4") // #nosec G204 -- a test's own words
	cmd.Env = append(os.Environ(), "MYSQL_PWD="+password)
	cmd.Stdin = strings.NewReader(sql)
	// One after the other: in one pipe a row may come into the middle of an error.
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	return out.String() + errs.String(), err
}

func (s *Server) docker(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, "docker", args...).CombinedOutput() // #nosec G204 -- a test's own words
}

func findImage() string {
	if os.Getenv("HUKER_NO_DOCKER") == "1" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// By name: images that others derive have its labels too, the broken ones of tests among them.
	args := []string{"image", "ls", "--no-trunc", "-q", "--filter", "reference=huker/mysql", "--filter", "label=io.huker.kind=database"}
	if v := os.Getenv(ImageEnv); v != "" {
		args = []string{"image", "inspect", "-f", "{{.Id}}", v}
	}
	out, err := exec.CommandContext(ctx, "docker", args...).Output() // #nosec G204 -- a test's own words
	if err != nil {
		return ""
	}
	newest, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return newest
}
