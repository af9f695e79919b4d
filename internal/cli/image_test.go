package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/images"
	"github.com/huker/huker/internal/testenv"
)

func runImage(args ...string) (out, errOut string, err error) {
	cmd := NewImageCommand()
	var o, e bytes.Buffer
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	return o.String(), e.String(), err
}

func TestImageCommandRefuses(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"build", "mysql:1.0"}, "known: mysql:9.7"},
		{[]string{"build", "--service", "mysql"}, "takes no names"},
		{[]string{"build", "--service", "--all"}, "none of the others can be"},
		{[]string{"list", "--output", "xml"}, "want table or json"},
		{[]string{"verify", "--output", "xml"}, "want table or json"},
		{[]string{"list", "extra"}, "unknown command"},
		{[]string{"nonsense"}, "unknown command"},
	} {
		_, _, err := runImage(test.args...)
		require.ErrorContains(t, err, test.says, strings.Join(test.args, " "))
	}
}

func TestImageNames(t *testing.T) {
	c, err := images.Load()
	require.NoError(t, err)
	all, err := entriesOf(c, nil, true)
	require.NoError(t, err)
	require.Len(t, all, len(c.Images))
	def, err := entriesOf(c, nil, false)
	require.NoError(t, err)
	require.Less(t, len(def), len(all))
	one, err := entriesOf(c, []string{"mysql:8.4"}, false)
	require.NoError(t, err)
	require.Equal(t, "mysql:8.4", one[0].String())
	names, _ := completeEntries(nil, nil, "")
	require.Len(t, names, len(all))
}

func TestImageCommandsOnTheRealEngine(t *testing.T) {
	testenv.RequireDocker(t)
	out, _, err := runImage("build", "--quiet")
	require.NoError(t, err)
	require.Contains(t, out, "huker/mysql:")
	out, progress, err := runImage("build")
	require.NoError(t, err)
	require.Contains(t, out, "there already")
	require.Empty(t, progress)
	ref := strings.Fields(out)[0]

	out, _, err = runImage("list")
	require.NoError(t, err)
	require.Contains(t, out, ref)
	require.Contains(t, out, "(not built)")
	out, _, err = runImage("list", "-o", "json")
	require.NoError(t, err)
	var list []images.Listed
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.NotEmpty(t, list)

	out, _, err = runImage("verify", "-o", "json")
	require.NoError(t, err)
	var reports []images.Report
	require.NoError(t, json.Unmarshal([]byte(out), &reports))
	require.Len(t, reports, 1)
	require.Equal(t, ref, reports[0].Ref)
	out, _, err = runImage("verify", ref)
	require.NoError(t, err)
	require.NotContains(t, out, "FAILED")
	_, _, err = runImage("verify", "huker-test/no-such-image")
	require.ErrorIs(t, err, images.ErrNotBuilt)
}
