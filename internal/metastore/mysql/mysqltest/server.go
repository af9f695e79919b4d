// Package mysqltest gives tests of the metadata store a real mysqld in a container of its own, from Huker's image, that can be killed, held
// down and started again; and a proxy before it that loses connections where a test wants them lost.
//
// It owns the container; it must not know what is tested.
package mysqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	guest "github.com/huker/huker/guest/mysqltest"
)

const (
	prefix = "huker-metastore-mysql-" // of names of containers and folders
	label  = "huker.test=metastore-mysql"
	// ready bounds the wait for a server that starts: a second, on a machine that has nothing else to do.
	ready = 2 * time.Minute
)

// usual is how long a server lives at most.
const usual = 30 * time.Minute

// mysqld is started again as long as the file "on" is there, which goes after so many seconds: so ends the container of a test that was killed.
const script = `cp -r /usr/share/huker/template /tmp/data && rm -f /tmp/data/auto.cnf
touch /tmp/on
(sleep $LIFE; rm /tmp/on; kill -9 $(cat /tmp/mysqld.pid)) &
while [ -e /tmp/on ]; do
  while [ -e /tmp/down ]; do sleep 0.1; done
  mysqld --no-defaults --secure-file-priv=NULL --datadir=/tmp/data --socket=/shared/mysqld.sock --pid-file=/tmp/pid --mysqlx=OFF \
    --skip-networking --skip-name-resolve --max-connections=400 --innodb-buffer-pool-size=128M \
    --ssl-ca=/shared/ca.pem --ssl-cert=/shared/cert.pem --ssl-key=/shared/key.pem \
    --auto-generate-certs=OFF --caching-sha2-password-auto-generate-rsa-keys=OFF --log-error=/shared/error.log &
  echo $! > /tmp/mysqld.pid
  wait $!
done`

// TB is what Start needs of a test, or of a TestMain.
type TB = guest.TB

// Server is a running mysqld, on a socket only. Its data is on a disk, with MySQL's own settings of durability.
type Server struct {
	Dir  string // shared with the container: mysqld.sock, error.log
	Root *sql.DB
	name string
	ca   []byte
	made atomic.Int64 // databases
}

// Start starts a server, and ends it when the test is over, or after half an hour.
func Start(t TB) *Server {
	t.Helper()
	return StartFor(t, usual)
}

// StartFor is Start for a test that may take longer.
func StartFor(t TB, life time.Duration) *Server {
	t.Helper()
	image := guest.Image(t)
	sweep()
	s := &Server{name: prefix + strings.ToLower(rand.Text()[:10])}
	if err := s.start(t, image, life); err != nil {
		t.Fatalf("start a MySQL server: %v", err)
	}
	return s
}

func (s *Server) start(t TB, image string, life time.Duration) error {
	s.Dir = filepath.Join(os.TempDir(), s.name)
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.Dir) })
	held, err := hold(s.Dir)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = held.Close() })
	if err := os.Chmod(s.Dir, 0o777); err != nil { // mysqld in the container has another uid
		return err
	}
	if s.ca, err = certificates(s.Dir); err != nil {
		return err
	}
	t.Cleanup(func() { _, _ = docker("rm", "-f", "-v", s.name) })
	out, err := docker("run", "-d", "--rm", "--name", s.name, "--network", "none", "--user", "999:999", "--label", label,
		"-v", s.Dir+":/shared", "-e", fmt.Sprintf("LIFE=%d", int(life.Seconds())), "--entrypoint", "bash", image, "-c", script)
	if err != nil {
		return fmt.Errorf("docker run: %w: %s", err, out)
	}
	root := mysql.NewConfig()
	root.User, root.Net, root.Addr, root.InterpolateParams = "root", "unix", s.Socket(), true
	root.Timeout, root.ReadTimeout = 5*time.Second, time.Minute
	root.Logger = &mysql.NopLogger{} // its connections break whenever a test breaks the server
	c, err := mysql.NewConnector(root)
	if err != nil {
		return err
	}
	s.Root = sql.OpenDB(c)
	t.Cleanup(func() { _ = s.Root.Close() })
	return s.Wait()
}

// Socket is mysqld's.
func (s *Server) Socket() string { return filepath.Join(s.Dir, "mysqld.sock") }

// Wait waits until the server answers.
func (s *Server) Wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := s.Root.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.Dir, "error.log"))
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}

// Kill kills mysqld with SIGKILL; it is started again at once.
func (s *Server) Kill() error { return s.exec("kill -9 $(cat /tmp/mysqld.pid)") }

// Down kills mysqld with SIGKILL, and leaves it so until Up.
func (s *Server) Down() error { return s.exec("touch /tmp/down; kill -9 $(cat /tmp/mysqld.pid)") }

// Up ends Down, and waits until the server answers.
func (s *Server) Up() error { return errors.Join(s.exec("rm -f /tmp/down"), s.Wait()) }

// Pause stops mysqld from doing anything, with its connections open, until Resume.
func (s *Server) Pause() error { return s.exec("kill -STOP $(cat /tmp/mysqld.pid)") }

// Resume ends Pause.
func (s *Server) Resume() error { return s.exec("kill -CONT $(cat /tmp/mysqld.pid)") }

func (s *Server) exec(script string) error {
	if out, err := docker("exec", s.name, "bash", "-c", script); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}

// Login is an account with all rights on one database, and no others.
type Login struct {
	Database, User, Password string
}

// Database makes an empty database with an account of its own, and drops both when the test is over.
func (s *Server) Database(t TB) Login {
	t.Helper()
	name := fmt.Sprintf("huker_%d", s.made.Add(1))
	l := Login{Database: name, User: name, Password: "p " + rand.Text()}
	ctx, cancel := context.WithTimeout(context.Background(), ready)
	defer cancel()
	for _, statement := range []string{
		"CREATE DATABASE " + name + " CHARACTER SET latin1", // the tables say what they need, whatever the database's defaults
		"CREATE USER " + name + "@localhost IDENTIFIED BY '" + l.Password + "'",
		"GRANT ALL ON " + name + ".* TO " + name + "@localhost",
	} {
		if _, err := s.Root.ExecContext(ctx, statement); err != nil {
			t.Fatalf("make a database: %v", err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ready)
		defer cancel()
		for _, statement := range []string{"DROP DATABASE " + name, "DROP USER " + name + "@localhost"} {
			if _, err := s.Root.ExecContext(ctx, statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	})
	return l
}

// hold locks a folder for as long as this process lives.
func hold(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes what runs that were killed have left: folders that nobody holds, and their containers.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range dirs {
		i, err := os.Stat(dir)
		if err != nil || time.Since(i.ModTime()) < 10*time.Second { // which somebody may just be making
			continue
		}
		if held, err := hold(dir); err == nil {
			_, _ = docker("rm", "-f", "-v", filepath.Base(dir))
			_ = os.RemoveAll(dir)
			_ = held.Close()
		}
	}
}

func docker(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return exec.CommandContext(ctx, "docker", args...).CombinedOutput()
}
