package supervisor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/internal/testenv"
)

// imageEnv names the image to test with; requireEnv turns a skip into a failure.
const (
	imageEnv   = "HUKER_TEST_MYSQL_IMAGE"
	requireEnv = "HUKER_REQUIRE_DOCKER"
)

// image finds an image with mysqld and a template.
var image = sync.OnceValue(func() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if named := os.Getenv(imageEnv); named != "" {
		return named
	}
	for _, repository := range []string{"huker/mysql", "huker-dev/mysql"} {
		out, err := exec.CommandContext(ctx, "docker", "images", "--format", "{{.Repository}}:{{.Tag}}", repository).Output() // newest first; #nosec G204 -- fixed words
		if newest, _, _ := strings.Cut(string(out), "\n"); err == nil && newest != "" {
			return newest
		}
	}
	return ""
})

// supervisorBinary is built once, as it is shipped.
var supervisorBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hs")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "huker-supervisor")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "github.com/huker/huker/cmd/huker-supervisor") // #nosec G204 -- fixed words
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	return os.ReadFile(file) // #nosec G304 -- just built
})

// container is a guest in a real container, hardened as Huker's are.
type container struct {
	t        *testing.T
	name     string
	dir      string
	memoryMB int
	volume   string   // argument of docker run that gives /var/lib/mysql
	extra    []string // more of them
}

func newContainer(t *testing.T, memoryMB int) *container {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: -short")
	}
	testenv.RequireDocker(t)
	if image() == "" {
		if os.Getenv(requireEnv) == "1" {
			t.Fatalf("no MySQL image: set %s", imageEnv)
		}
		t.Skipf("SKIPPED, NOT TESTED: needs a MySQL image (%s)", imageEnv)
	}
	dir, err := os.MkdirTemp("", "hs")
	c := &container{t: t, name: "huker-suptest-" + strings.ToLower(rand.Text()[:10]), dir: dir, memoryMB: memoryMB}
	c.ok(err)
	c.volume = "--volume=" + c.name + ":/var/lib/mysql"
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the supervisor said:\n%s", c.run("logs", c.name))
		}
		_, _ = c.docker("rm", "-f", "-v", c.name)
		_, _ = c.docker("volume", "rm", "-f", c.name)
		_, _ = c.docker("network", "rm", c.name)
		_ = os.RemoveAll(dir)
	})
	for _, d := range []string{dir, filepath.Join(dir, "bin"), filepath.Join(dir, "etc")} {
		c.ok(os.MkdirAll(d, 0o755)) // #nosec G301 -- read by the container's user
		c.ok(os.Chmod(d, 0o755))    // #nosec G302 -- as above
	}
	c.configure("good")
	super, err := supervisorBinary()
	c.ok(err)
	c.ok(os.WriteFile(filepath.Join(dir, "bin/huker-supervisor"), super, 0o755)) // #nosec G306 -- a program
	self, err := os.Executable()
	c.ok(err)
	for _, name := range []string{"huker-ctl", "huker-guestagent-good", "huker-guestagent-good2", "huker-guestagent-bad"} {
		c.copy(self, filepath.Join(dir, "bin", name))
	}
	return c
}

func (c *container) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) copy(from, to string) {
	c.t.Helper()
	if os.Link(from, to) == nil {
		c.ok(os.Chmod(to, 0o755)) // #nosec G302 -- a program
		return
	}
	in, err := os.Open(from) // #nosec G304 -- this test's binary
	c.ok(err)
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755) // #nosec G302 G304 -- a program
	c.ok(err)
	_, err = io.Copy(out, in)
	c.ok(err)
	c.ok(out.Close())
}

func (c *container) configure(agent string) {
	c.t.Helper()
	b, err := json.Marshal(protocol.GuestConfig{
		Instance: c.name, Engine: "mysql", Version: "9.7.4", MemoryMB: c.memoryMB, CPUs: 1, VolumeGB: 2, ServerID: 77, Agent: "huker-guestagent-" + agent,
	})
	c.ok(err)
	c.ok(os.WriteFile(filepath.Join(c.dir, "etc/guest.json"), b, 0o644)) // #nosec G306 -- read by the container's user
}

// create makes the container; with a network it has an address on the default bridge.
func (c *container) create(network string) {
	c.t.Helper()
	memory := fmt.Sprintf("%dm", c.memoryMB)
	tmpfs := func(dir string) string {
		return fmt.Sprintf("--tmpfs=%s:uid=%d,gid=%d,mode=0700,size=64m", dir, paths.UID, paths.GID)
	}
	args := []string{"create", "--name", c.name, "--label", "huker.test=supervisor", "--network", network, "--user", fmt.Sprintf("%d:%d", paths.UID, paths.GID),
		"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "1000", "--memory", memory, "--memory-swap", memory,
		tmpfs("/tmp"), tmpfs("/huker/run"), c.volume, "-v", c.dir + "/bin:/huker/bin:ro", "-v", c.dir + "/etc:/huker/etc:ro",
		"--entrypoint", "/huker/bin/huker-supervisor"}
	c.run(append(append(args, c.extra...), image())...)
}

func (c *container) docker(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...) // #nosec G204 -- a test's own words
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("docker %q: %w: %s", args, err, stderr.String())
	}
	if args[0] == "logs" {
		return out.String() + stderr.String(), err
	}
	return strings.TrimSpace(out.String()), err
}

func (c *container) run(args ...string) string {
	c.t.Helper()
	out, err := c.docker(args...)
	c.ok(err)
	return out
}

func (c *container) exec(args ...string) string {
	c.t.Helper()
	return c.run(append([]string{"exec", c.name}, args...)...)
}

// sql runs statements as root, by the socket.
func (c *container) sql(text string) string {
	c.t.Helper()
	return c.exec("mysql", "-uroot", "-S", "/huker/run/mysqld.sock", "-N", "-B", "-e", text)
}

// await waits for a status.
func (c *container) await(what string, is func(control.Status) bool) control.Status {
	c.t.Helper()
	var st control.Status
	deadline := time.Now().Add(90 * time.Second)
	for time.Now().Before(deadline) {
		out, err := c.docker("exec", c.name, "/huker/bin/huker-ctl", "watch", fmt.Sprint(st.Serial))
		if err != nil {
			if state, ierr := c.docker("inspect", "-f", "{{.State.Status}}", c.name); ierr != nil || state != "running" {
				c.t.Fatalf("%s: the container is %s: %v", what, state, err)
			}
			<-time.After(20 * time.Millisecond)
			continue
		}
		c.ok(json.Unmarshal([]byte(out), &st))
		if is(st) {
			return st
		}
	}
	c.t.Fatalf("%s: %+v", what, st)
	return st
}
