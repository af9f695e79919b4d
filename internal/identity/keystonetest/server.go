// Package keystonetest starts a real Keystone, Debian's, for tests.
//
// It owns that Keystone's files, process and sign-ins. It must not know what is tested with it.
package keystonetest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// What Start makes.
const (
	AdminName     = "admin"
	AdminPassword = "keystone's secret" //nolint:gosec // of a test's own Keystone
	AdminProject  = "admin"
	Region        = "RegionOne"
)

const baseConf = `
[database]
connection = sqlite:///%[1]s/keystone.db
[fernet_tokens]
key_repository = %[1]s/fernet
[credential]
key_repository = %[1]s/credential
[identity]
password_hash_rounds = 4
[token]
provider = fernet
`

// Keystone is a real one, on SQLite, until the test ends.
type Keystone struct {
	URL string // of v3: OS_AUTH_URL

	t    *testing.T
	dir  string
	stop func()
}

// In gives the same Keystone to a subtest.
func (k Keystone) In(t *testing.T) Keystone {
	k.t = t
	return k
}

// Stop ends this entrance to Keystone: nothing answers there any more.
func (k Keystone) Stop() { k.stop() }

// Start makes a Keystone with an administrator. It takes about 20 s: short runs skip.
func Start(t *testing.T) Keystone {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: Keystone takes 20 s to start (-short)")
	}
	manage := testenv.RequireBinary(t, "keystone-manage")
	testenv.RequireBinary(t, "uwsgi")
	testenv.RequireBinary(t, "keystone-wsgi-public")
	k := Keystone{t: t, dir: t.TempDir()}
	conf := k.configure("keystone.conf", "")
	me, err := user.Current()
	require.NoError(t, err)
	group, err := user.LookupGroupId(me.Gid)
	require.NoError(t, err)
	run := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, manage, append([]string{"--config-file", conf}, args...)...).CombinedOutput()
		require.NoError(t, err, "keystone-manage %v: %s", args, out)
	}
	owner := []string{"--keystone-user", me.Username, "--keystone-group", group.Name}
	address := freeAddress(t)
	k.URL = "http://" + address + "/v3"
	run("db_sync")
	run(append([]string{"fernet_setup"}, owner...)...)
	run(append([]string{"credential_setup"}, owner...)...)
	run("bootstrap", "--bootstrap-password", AdminPassword, "--bootstrap-public-url", k.URL, "--bootstrap-region-id", Region)
	k.stop = k.serve(conf, address)
	return k
}

// ShortLived gives another entrance to the same Keystone, whose tokens end so soon. Both take each other's tokens.
func (k Keystone) ShortLived(life time.Duration) Keystone {
	k.t.Helper()
	address := freeAddress(k.t)
	conf := k.configure("short.conf", fmt.Sprintf("expiration = %d\n", int(life.Seconds())))
	k.URL = "http://" + address + "/v3"
	k.stop = k.serve(conf, address)
	return k
}

// configure writes a configuration; extra goes below [token].
func (k Keystone) configure(name, extra string) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	require.NoError(k.t, os.WriteFile(path, append(fmt.Appendf(nil, baseConf, k.dir), extra...), 0o600))
	return path
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// serve runs Keystone's program until it is stopped, or the test ends.
func (k Keystone) serve(conf, address string) (stop func()) {
	t := k.t
	t.Helper()
	var log buffer
	server := exec.Command(testenv.RequireBinary(t, "uwsgi"), "--http-socket", address, "--plugin", "python3", //nolint:noctx // it ends with the test
		"--wsgi-file", testenv.RequireBinary(t, "keystone-wsgi-public"), "--processes", "1", "--threads", "1", "--die-on-term",
		"--add-header", "Connection: close") // else it closes connections without saying so, and clients that use them again stumble
	server.Env = append(os.Environ(), "OS_KEYSTONE_CONFIG_FILES="+conf)
	server.Stdout, server.Stderr = &log, &log
	require.NoError(t, testenv.StartChild(server))
	ended := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(ended)
	}()
	stop = func() {
		_ = server.Process.Kill()
		<-ended
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("Keystone said:\n%s", log.String())
		}
	})
	require.Eventually(t, func() bool { code, _, _ := k.Try(http.MethodGet, "", "", nil); return code == http.StatusOK }, time.Minute, 200*time.Millisecond,
		"Keystone does not answer")
	return stop
}

// buffer is written to by a process and read meanwhile.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
