// Package osclient runs OpenStack's own programs, as Debian has them, as somebody and in nobody's home directory.
//
// It knows nothing of Huker: who signs in, and where, is in the environment that it is given.
package osclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// Client is one of OpenStack's programs, run as somebody.
type Client struct {
	t     *testing.T
	path  string
	env   []string
	ready *ready // nil: the program is started for each command
}

// Python is what Debian's programs run with, whatever python is first in PATH.
const Python = "/usr/bin/python3"

// New gives a program (openstack, trove) with an environment of its own, and these variables in it.
func New(t *testing.T, program string, env ...string) Client {
	t.Helper()
	home := t.TempDir()
	return Client{t: t, path: testenv.RequireBinary(t, program), env: append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, "cache"), "PYTHONWARNINGS=ignore", "LANG=C.UTF-8",
		"OS_IDENTITY_API_VERSION=3", "COLUMNS=1000",
	}, env...)}
}

// In gives the same client for another test.
func (c Client) In(t *testing.T) Client {
	c.t = t
	return c
}

// Run runs a command, and says how it ended.
func (c Client) Run(args ...string) (stdout, stderr string, err error) {
	c.t.Helper()
	if c.ready != nil {
		return c.ready.run(c.env, args)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env = c.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// ready is a Python that has loaded the openstack program and runs its main function, in a process forked for each command: loading
// is most of the time of a command. What is to be loaded is learned from a command that finds nobody to talk to, in a process of its own too.
type ready struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

const readyProgram = `
import gc, importlib, json, os, sys, tempfile
from openstackclient import shell
import openstackclient.identity.v3, troveclient.osc.plugin, troveclient.v1.client
names, tell = os.pipe()
if os.fork() == 0:
    os.environ.update(OS_AUTH_TYPE='none', OS_ENDPOINT='http://127.0.0.1:1')
    silence = os.open(os.devnull, os.O_RDWR)
    for fd in 0, 1, 2:
        os.dup2(silence, fd)
    try:
        shell.main(['database', 'instance', 'list'])
    finally:
        os.write(tell, '\n'.join(sys.modules).encode())
        os._exit(0)
os.close(tell)
with open(names) as loaded:
    for name in loaded.read().split('\n'):
        try:
            importlib.import_module(name)
        except Exception:
            pass # parts of others, which load them themselves
os.wait()
gc.collect()
gc.freeze() # or each process would copy all of it, to look for what it can free
for line in sys.stdin:
    order = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull) as nothing:
        pid = os.fork()
        if pid == 0:
            os.dup2(nothing.fileno(), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ.clear()
            os.environ.update(v.split('=', 1) for v in order['env'])
            code = 70
            try:
                code = shell.main(order['args']) or 0
            except SystemExit as e:
                code = e.code if isinstance(e.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out.seek(0)
        err.seek(0)
        print(json.dumps({'out': out.read().decode(), 'err': err.read().decode(), 'code': code}), flush=True)
`

// Loaded gives the client with its program loaded for many commands.
func (c Client) Loaded() Client {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, Python, "-c", readyProgram)
	cmd.Env = c.env
	in, err := cmd.StdinPipe()
	require.NoError(c.t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	c.ready = &ready{in: in, out: bufio.NewReader(out)}
	return c
}

// As gives the same client for somebody else.
func (c Client) As(env ...string) Client {
	other := New(c.t, filepath.Base(c.path), env...)
	other.ready = c.ready
	return other
}

func (r *ready) run(env, args []string) (stdout, stderr string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	order, err := json.Marshal(map[string]any{"env": env, "args": args})
	if err != nil {
		return "", "", err
	}
	if _, err := r.in.Write(append(order, '\n')); err != nil {
		return "", "", err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return "", "", err
	}
	var answer struct {
		Out, Err string
		Code     int
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return "", "", err
	}
	if answer.Code != 0 {
		err = errors.New("exit status " + fmt.Sprint(answer.Code))
	}
	return answer.Out, answer.Err, err
}

// With gives the same client with other variables.
func (c Client) With(env ...string) Client {
	c.env = slices.Concat(c.env, env)
	return c
}

// Env is what its program sees as its environment.
func (c Client) Env() []string { return slices.Clone(c.env) }

// split makes arguments of a line, and of what may have spaces in it.
func split(line string, more []string) []string { return append(strings.Fields(line), more...) }

func (c Client) told(args []string) string {
	return filepath.Base(c.path) + " " + strings.Join(args, " ")
}

// Do runs a command that must succeed, and gives what it prints. Words of the line are arguments; so is each of more as it is.
func (c Client) Do(line string, more ...string) string {
	c.t.Helper()
	args := split(line, more)
	out, errs, err := c.Run(args...)
	require.NoError(c.t, err, "%s\nstdout: %s\nstderr: %s", c.told(args), out, errs)
	return out
}

// Fails runs a command that must fail, and gives what it says.
func (c Client) Fails(line string, more ...string) string {
	c.t.Helper()
	args := split(line, more)
	out, errs, err := c.Run(args...)
	require.Error(c.t, err, "%s\nstdout: %s", c.told(args), out)
	require.NotContains(c.t, errs, "Traceback", "%s", c.told(args))
	return errs
}

// Refused runs a command that must fail, and say why.
func (c Client) Refused(line, why string) {
	c.t.Helper()
	require.Contains(c.t, c.Fails(line), why, "%s", line)
}

// Object runs a command that prints one thing.
func (c Client) Object(line string, more ...string) map[string]any {
	c.t.Helper()
	var v map[string]any
	c.decode(&v, line, more)
	return v
}

// List runs a command that prints a table.
func (c Client) List(line string, more ...string) []map[string]any {
	c.t.Helper()
	var v []map[string]any
	c.decode(&v, line, more)
	return v
}

func (c Client) decode(v any, line string, more []string) {
	c.t.Helper()
	out := c.Do(line, append(more, "-f", "json")...)
	require.NoError(c.t, json.Unmarshal([]byte(out), v), "%s %s %v -f json: %s", filepath.Base(c.path), line, more, out)
}

// Column takes one column of a table.
func Column(rows []map[string]any, name string) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, fmt.Sprint(r[name]))
	}
	return out
}
