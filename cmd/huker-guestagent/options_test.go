package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/testenv"
)

// programVariable makes this test's program the agent.
const programVariable = "HUKER_GUESTAGENT_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(start())
	}
	os.Exit(m.Run())
}

// called is the agent's program with arguments; its output and status are there when it has ended.
func called(t *testing.T, args ...string) (cmd *exec.Cmd, out, complaint *bytes.Buffer) {
	t.Helper()
	cmd, out, complaint = exec.Command(os.Args[0], args...), &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Env = append(os.Environ(), programVariable+"=1")
	cmd.Stdout, cmd.Stderr = out, complaint
	require.NoError(t, testenv.StartChild(cmd))
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, out, complaint
}

func TestHelpAndMistakes(t *testing.T) {
	root := t.TempDir()
	p := paths.Under(root)
	require.NoError(t, os.MkdirAll(p.Etc, 0o700))
	write := func(text string) { require.NoError(t, os.WriteFile(p.Config(), []byte(text), 0o600)) }
	for _, c := range []struct {
		name      string
		config    string
		args      []string
		status    int
		out       string
		complaint []string
	}{
		{"help", "", []string{"--help"}, 0, "huker-guestagent is the guest agent", nil},
		{"its flags", "", []string{"-h"}, 0, "-ready", nil},
		{"version", "", []string{"--version"}, 0, "dev\n", nil},
		{"several mistakes", "", []string{"--root", "/nowhere", "--log-level", "loud", "now"}, statusUsage, "", []string{
			`"now" means nothing to it`, `log-level "loud": want`, `root "/nowhere" is no directory`, "--help tells",
		}},
		{"an unknown flag", "", []string{"--rot", "/"}, statusUsage, "", []string{"flag provided but not defined: -rot"}},
		{"no configuration", "", []string{"--root", root}, statusUsage, "", []string{p.Config() + ": no such file", "the host's huker-sysmgr writes it"}},
		{"no JSON", "{", []string{"--root", root}, statusUsage, "", []string{"unexpected end of JSON input"}},
		{"an empty one", "{}", []string{"--root", root}, statusUsage, "", []string{"names no instance"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config != "" {
				write(c.config)
			}
			cmd, out, complaint := called(t, c.args...)
			_ = cmd.Wait()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), complaint)
			require.Contains(t, out.String(), c.out)
			for _, want := range c.complaint {
				require.Contains(t, complaint.String(), want)
			}
		})
	}
}

func TestAFlagComesBeforeTheEnvironment(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"HUKER_ROOT": "/usr", "HUKER_LOG_LEVEL": "warn"}[name]
	}
	o, err := parse(nil, env, nil)
	require.NoError(t, err)
	require.Equal(t, "/usr", o.root)
	require.Equal(t, "WARN", o.level.String())
	o, err = parse([]string{"--root", "/var", "--log-level=debug"}, env, nil)
	require.NoError(t, err)
	require.Equal(t, "/var", o.root)
	require.Equal(t, "DEBUG", o.level.String())
	o, err = parse(nil, func(string) string { return "" }, nil)
	require.NoError(t, err)
	require.Equal(t, "/", o.root)
}

// TestItStops: without a supervisor, coordination or mysqld the agent goes on trying; told to stop it does.
func TestItStops(t *testing.T) {
	root := t.TempDir()
	p := paths.Under(root)
	require.NoError(t, os.MkdirAll(p.Etc, 0o700))
	require.NoError(t, os.WriteFile(p.Config(), []byte(`{"instance":"x"}`), 0o600))
	cmd, _, complaint := called(t, "--root", root)
	require.Eventually(t, func() bool { // it has begun
		_, err := os.Stat(p.State())
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	begun := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Zero(t, cmd.ProcessState.ExitCode(), complaint)
	require.Less(t, time.Since(begun), 10*time.Second)
}

// fixed is a supervisor that says one thing.
type fixed struct{ status control.Status }

func (f fixed) Watch(context.Context, uint64) (control.Status, error) { return f.status, nil }
func (fixed) StartMysqld(context.Context) error                       { return errors.ErrUnsupported }
func (fixed) StopMysqld(context.Context) error                        { return errors.ErrUnsupported }
func (fixed) KillMysqld(context.Context) error                        { return errors.ErrUnsupported }
func (fixed) RestartMysqld(context.Context) error                     { return errors.ErrUnsupported }
func (fixed) ReplaceAgent(context.Context) error                      { return errors.ErrUnsupported }
func (fixed) AgentReady(context.Context, int) error                   { return errors.ErrUnsupported }

func TestHealth(t *testing.T) {
	running := control.Mysqld{Phase: control.Running}
	for name, c := range map[string]struct {
		status        *control.Status
		healthy, well bool
		says          string
	}{
		"nobody":          {nil, false, false, `"supervisor":"does not answer"`},
		"all well":        {&control.Status{Serial: 1, Mysqld: running, Agent: control.Agent{Pid: 7, Ready: true}}, true, true, `{"supervisor":"ok","agent":"ok","mysqld":"running"}`},
		"no agent":        {&control.Status{Serial: 1, Mysqld: running, Agent: control.Agent{LastExit: "signal 9"}}, false, false, `"agent":"does not run","mysqld":"running","reason":"signal 9"`},
		"it is beginning": {&control.Status{Serial: 1, Mysqld: running, Agent: control.Agent{Pid: 7}}, true, false, `"agent":"starting"`},
		"mysqld starts": {
			&control.Status{Serial: 1, Mysqld: control.Mysqld{Phase: control.Starting}, Agent: control.Agent{Pid: 7, Ready: true}}, true, false, `"mysqld":"starting"`,
		},
		"mysqld fails": {
			&control.Status{Serial: 1, Mysqld: control.Mysqld{Phase: control.Failed, Reason: "the disk is full"}, Agent: control.Agent{Pid: 7, Ready: true}}, true, false,
			`"mysqld":"failed","reason":"the disk is full"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			p := paths.Under(root)
			require.NoError(t, os.MkdirAll(filepath.Dir(p.SupervisorSocket()), 0o700))
			if c.status != nil {
				l, err := net.Listen("unix", p.SupervisorSocket())
				require.NoError(t, err)
				server := &http.Server{Handler: control.NewHandler(fixed{*c.status}), ReadHeaderTimeout: time.Second}
				go func() { _ = server.Serve(l) }()
				t.Cleanup(func() { _ = server.Close() })
			}
			for flag, want := range map[string]bool{"--health": c.healthy, "--ready": c.well} {
				cmd, out, complaint := called(t, "--root", root, flag)
				_ = cmd.Wait()
				require.Equal(t, want, cmd.ProcessState.ExitCode() == 0, "%s: %s %s", flag, out, complaint)
				if flag == "--ready" {
					require.Contains(t, out.String(), c.says)
				}
			}
		})
	}
}
