package e2e

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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// osClient runs one of OpenStack's programs as somebody, and in nobody's home directory.
type osClient struct {
	t     *testing.T
	path  string
	env   []string
	ready *osReady // nil: the program is started for each command
}

// debianPython is what Debian's programs run with, whatever python is first in PATH.
const debianPython = "/usr/bin/python3"

func newOSClient(t *testing.T, program string, env ...string) osClient {
	t.Helper()
	home := t.TempDir()
	return osClient{t: t, path: testenv.RequireBinary(t, program), env: append([]string{
		"PATH=/usr/bin:/bin", "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, "cache"), "PYTHONWARNINGS=ignore", "LANG=C.UTF-8",
		"OS_IDENTITY_API_VERSION=3", "COLUMNS=1000",
	}, env...)}
}

func (c osClient) in(t *testing.T) osClient {
	c.t = t
	return c
}

func (c osClient) run(args ...string) (stdout, stderr string, err error) {
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

// osReady is a Python that has loaded the openstack program and runs its main function, in a process forked for each command: loading
// is four fifths of the time of a command.
type osReady struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

const osReadyProgram = `
import json, os, sys, tempfile
from openstackclient import shell
import openstackclient.identity.v3, troveclient.osc.plugin, troveclient.v1.client
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

// loaded gives the client with its program loaded for many commands.
func (c osClient) loaded() osClient {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, debianPython, "-c", osReadyProgram)
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
	c.ready = &osReady{in: in, out: bufio.NewReader(out)}
	return c
}

// as gives the same client for somebody else.
func (c osClient) as(env ...string) osClient {
	other := newOSClient(c.t, filepath.Base(c.path), env...)
	other.ready = c.ready
	return other
}

func (r *osReady) run(env, args []string) (stdout, stderr string, err error) {
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

func (c osClient) line(args []string) string {
	return filepath.Base(c.path) + " " + strings.Join(args, " ")
}

// do runs a command, given as one line, that must succeed, and gives what it prints.
func (c osClient) do(line string) string {
	c.t.Helper()
	args := strings.Fields(line)
	out, errs, err := c.run(args...)
	require.NoError(c.t, err, "%s\nstdout: %s\nstderr: %s", c.line(args), out, errs)
	return out
}

// refused runs a command that must fail, and say why.
func (c osClient) refused(line, why string) {
	c.t.Helper()
	args := strings.Fields(line)
	out, errs, err := c.run(args...)
	require.Error(c.t, err, "%s\nstdout: %s", c.line(args), out)
	require.Contains(c.t, errs, why, "%s", c.line(args))
	require.NotContains(c.t, errs, "Traceback", "%s", c.line(args))
}

// object runs a command that prints one thing.
func (c osClient) object(line string) map[string]any {
	c.t.Helper()
	var v map[string]any
	c.decode(line, &v)
	return v
}

// list runs a command that prints a table.
func (c osClient) list(line string) []map[string]any {
	c.t.Helper()
	var v []map[string]any
	c.decode(line, &v)
	return v
}

func (c osClient) decode(line string, v any) {
	c.t.Helper()
	out := c.do(line + " -f json")
	require.NoError(c.t, json.Unmarshal([]byte(out), v), "%s %s -f json: %s", filepath.Base(c.path), line, out)
}

// column takes one column of a table.
func column(rows []map[string]any, name string) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, fmt.Sprint(r[name]))
	}
	return out
}

// passwordEnv is how a user signs in with a password.
func (p *plane) passwordEnv(user, password, project string) []string {
	return []string{
		"OS_AUTH_TYPE=password", "OS_AUTH_URL=http://" + p.listen + "/identity/v3", "OS_USERNAME=" + user, "OS_PASSWORD=" + password,
		"OS_PROJECT_NAME=" + project, "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
	}
}

func (p *plane) endpoint() string { return "http://" + p.listen + "/v1.0/" + p.project }
