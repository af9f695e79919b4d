package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// programVariable makes this test's program huker.
const programVariable = "HUKER_CLI_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func TestStatus(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
		says   []string
	}{
		"help":            {[]string{"--help"}, 0, []string{"huker up", "serve"}},
		"help of serve":   {[]string{"serve", "--help"}, 0, []string{"--data-dir"}},
		"no such command": {[]string{"nonsense"}, 2, []string{`unknown command "nonsense"`}},
		"no such flag":    {[]string{"serve", "--prot", "1"}, 2, []string{"unknown flag: --prot"}},
		"a bad value":     {[]string{"serve", "--coord-port", "many"}, 2, []string{`invalid argument "many" for "--coord-port"`}},
		"a control plane that cannot be": {[]string{"serve", "--data-dir", "relative", "--name", "No Name", "--listen", "8779"}, 2, []string{
			`name "No Name"`, `data directory "relative" must be absolute`, `listen address "8779" must be HOST:PORT`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, said := exec.Command(os.Args[0], c.args...), &bytes.Buffer{}
			cmd.Env = append(os.Environ(), programVariable+"=1")
			cmd.Stdout, cmd.Stderr = said, said
			require.NoError(t, testenv.StartChild(cmd))
			_ = cmd.Wait()
			require.Equal(t, c.status, cmd.ProcessState.ExitCode(), said)
			for _, want := range c.says {
				require.Contains(t, said.String(), want)
			}
		})
	}
}
