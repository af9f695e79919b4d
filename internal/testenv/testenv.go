// Package testenv says what a test may count on: Docker, root, programs. A test that lacks something skips loudly, or fails when
// HUKER_REQUIRE_DOCKER=1 says that everything must be there.
package testenv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// RequireDocker gives the address of a Docker engine that answers. HUKER_NO_DOCKER=1 pretends there is none.
func RequireDocker(t testing.TB) string {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	if os.Getenv("HUKER_NO_DOCKER") == "1" {
		missing(t, "HUKER_NO_DOCKER=1")
	}
	network, address, _ := strings.Cut(host, "://")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		missing(t, "no Docker engine answers at "+host)
		return ""
	}
	_ = c.Close()
	return host
}

// RequireRoot is for tests that change the host's network or users.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "not root")
	}
}

// RequireBinary gives the path of a program.
func RequireBinary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not installed")
	}
	return path
}

// Suffix makes names of one test run differ from those of any other.
func Suffix(t testing.TB) string {
	t.Helper()
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("HUKER_REQUIRE_DOCKER") == "1" && os.Getenv("HUKER_NO_DOCKER") != "1" {
		t.Fatalf("this test must run here (HUKER_REQUIRE_DOCKER=1), but: %s", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s", what)
}
