package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeMysql writes down all that it is started with: command line, environment, option file, certificate, standard input.
const fakeMysql = `#!/bin/sh
[ "$1" = --version ] && { echo "mysql  Ver 9.7.4 for Linux"; exit 0; }
d=$(dirname "$0")
printf '%s\n' "$@" > $d/args; env > $d/env; cat ${1#--defaults-file=} > $d/options; cat /dev/fd/4 > $d/ca; cat > $d/stdin
echo from mysql
exit ${FAKE_EXIT:-0}
`

// fakeDocker has one container, in which sh is the host's.
const fakeDocker = `#!/bin/sh
d=$(dirname "$0")
printf '%s\n' "$*" >> $d/docker
case "$1" in
ps) [ -e $d/nothing ] || echo c0ffee; exit 0;;
exec) shift; while [ "${1#-}" != "$1" ]; do shift; done; shift; exec "$@";;
esac
`

const secret = `s"e#c\r et`

func install(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
}

func left(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(text)
}

const wantOptions = `[client]
host="10.88.0.7"
port="3306"
user="app"
password="s\"e#c\\r et"
[mysql]
database="shop"
[client]
protocol="tcp"
`

func TestConnectWithTheLocalClient(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop", "--user", "app")
	bin, tmp := t.TempDir(), t.TempDir()
	install(t, bin, "mysql", fakeMysql)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	t.Setenv("TMPDIR", tmp)
	r := s.with(run{stdin: secret + "\nSELECT 1;\nSELECT 2;\n"}, "instance", "connect", "shop", "--password-stdin", "--database", "shop", "--", "--table")
	require.NoError(t, r.failure, r.err)
	assert.Equal(t, "from mysql\n", r.out)
	assert.Equal(t, "--defaults-file=/dev/fd/3\n--table\n", left(t, bin, "args"))
	assert.Equal(t, wantOptions+"ssl-ca=\"/dev/fd/4\"\nssl-mode=\"VERIFY_CA\"\n", left(t, bin, "options"))
	assert.Equal(t, testCA, left(t, bin, "ca"))
	assert.Equal(t, "SELECT 1;\nSELECT 2;\n", left(t, bin, "stdin"), "what follows the password is SQL")
	assert.NotContains(t, left(t, bin, "env"), secret)
	files, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, files, "nothing is left behind")

	file := filepath.Join(t.TempDir(), "pw")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	r = s.with(run{stdin: "SELECT 3;"}, "instance", "connect", "shop", "--user", "app", "--password-file", file)
	require.NoError(t, r.failure)
	assert.Equal(t, "SELECT 3;", left(t, bin, "stdin"))
	r = s.with(run{stdin: "not this"}, "instance", "connect", "shop", "--password-file", file, "--execute", "SELECT 4")
	require.NoError(t, r.failure)
	assert.Equal(t, "SELECT 4\n", left(t, bin, "stdin"))
	r = s.with(run{stdin: secret + "\n", terminal: true}, "instance", "connect", "shop")
	require.NoError(t, r.failure)
	assert.Contains(t, r.err, "Password of user app on shop: ")

	t.Setenv("FAKE_EXIT", "3")
	r = s.with(run{}, "instance", "connect", "shop", "--password-file", file)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.failure.Error(), "mysql ended with code 3")
	assert.Contains(t, s.refused(1, "instance", "connect", "shop"), "no terminal to ask")
	s.refused(2, "instance", "connect", "shop", "--password-file", file, "--via", "ssh")
}

func TestConnectInTheContainer(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop", "--user", "app")
	bin, inner := t.TempDir(), t.TempDir()
	install(t, bin, "docker", fakeDocker)
	// The container's own mysql; the host's PATH must not have it.
	install(t, inner, "mysql", strings.ReplaceAll(fakeMysql, "cat /dev/fd/4 > $d/ca;", ""))
	install(t, bin, "sh", "#!/bin/sh\nPATH="+inner+":$PATH exec /bin/sh \"$@\"\n")
	for _, tool := range []string{"cat", "rm", "mktemp", "env", "dirname"} {
		require.NoError(t, os.Symlink("/usr/bin/"+tool, filepath.Join(bin, tool)))
	}
	t.Setenv("PATH", bin)
	r := s.with(run{stdin: secret + "\nSELECT 1;\n"}, "instance", "connect", "shop", "--password-stdin", "--database", "shop", "--", "--table")
	require.NoError(t, r.failure, r.err)
	assert.Equal(t, "from mysql\n", r.out)
	assert.Equal(t, "--defaults-file=/dev/fd/3\n--table\n", left(t, inner, "args"))
	assert.Equal(t, wantOptions+"ssl-ca=\"/huker/etc/ca.pem\"\nssl-mode=\"VERIFY_CA\"\n", left(t, inner, "options"))
	assert.Equal(t, "SELECT 1;\n", left(t, inner, "stdin"))
	assert.NotContains(t, left(t, inner, "env"), secret)
	commands := left(t, bin, "docker")
	assert.NotContains(t, commands, secret)
	assert.NotContains(t, commands, "--tty", "standard input is no terminal")
	id := field(t, s.ok("instance", "show", "shop", "-o", "json"), "id")
	assert.Contains(t, commands, "--filter label=io.huker.owner --filter label=io.huker.instance="+id)
	remains, err := filepath.Glob("/tmp/huker-connect.*")
	require.NoError(t, err)
	assert.Empty(t, remains)

	install(t, bin, "nothing", "")
	r = s.with(run{stdin: secret + "\n"}, "instance", "connect", "shop", "--password-stdin")
	require.Error(t, r.failure)
	assert.Contains(t, r.failure.Error(), "no container of instance shop runs on this machine")
	t.Setenv("PATH", t.TempDir())
	r = s.with(run{stdin: secret + "\n"}, "instance", "connect", "shop", "--password-stdin")
	require.Error(t, r.failure)
	assert.Contains(t, r.failure.Error(), "default-mysql-client")
}
