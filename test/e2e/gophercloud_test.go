package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

const gophercloudModule = `module scratch

go 1.25.0

require github.com/gophercloud/gophercloud/v2 v2.15.0
`

// gophercloudTests are all of gophercloud's own acceptance tests of db/v1 but one. Left out: TestConfigurationsCRUD, because
// configuration groups are not implemented yet.
var gophercloudTests = []string{"TestDatabases", "TestFlavorsList", "TestFlavorsGet", "TestInstances", "TestUsers"}

const gophercloudLater = "TestConfigurationsCRUD"

// gophercloud's own acceptance tests, as its module ships them, pass against Huker.
func TestGophercloudAcceptance(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT TESTED: real clients take a while (-short)")
	}
	goProgram := testenv.RequireBinary(t, "go")
	testenv.RequireDocker(t)
	bin := filepath.Join(t.TempDir(), "acceptance.test")
	buildGophercloud(t, goProgram, bin)

	p := newPlane(t)
	p.start()
	a := p.admin()
	cmd := exec.CommandContext(t.Context(), goProgram, "tool", "test2json", "-t", bin, "-test.v=test2json", "-test.count=1", "-test.timeout=5m",
		"-test.run=^("+strings.Join(gophercloudTests, "|")+")$")
	cmd.Env = append(os.Environ(),
		"OS_AUTH_URL=http://"+p.listen+"/identity/v3", "OS_USERNAME="+a.Username, "OS_PASSWORD="+a.Password, "OS_PROJECT_NAME="+a.Project,
		"OS_DOMAIN_ID=default", "OS_REGION_NAME=RegionOne", "OS_FLAVOR_ID=1", "OS_FLAVOR_ID_RESIZE=2",
		"OS_DB_DATASTORE_TYPE=mysql", "OS_DB_DATASTORE_VERSION=9.7.4",
		"OS_IMAGE_ID=unused", "OS_POOL_NAME=unused", "OS_EXTGW_ID=unused") // these must merely be set
	out, err := cmd.Output()
	results, output := testResults(t, out)
	require.NoError(t, err, "%s:\n%s", cmd, output)
	for _, name := range gophercloudTests {
		require.Equal(t, "pass", results[name], "%s:\n%s", name, output)
	}
	require.Len(t, results, len(gophercloudTests), "%v", results)
}

// buildGophercloud builds the tests from a module of their own: Huker's does not need what they need. It makes sure that no test is
// there of which this file does not know.
func buildGophercloud(t *testing.T, goProgram, bin string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(gophercloudModule), 0o600))
	build := exec.CommandContext(t.Context(), goProgram, "test", "-mod=mod", "-tags", "fixtures acceptance", "-c", "-o", bin,
		"github.com/gophercloud/gophercloud/v2/internal/acceptance/openstack/db/v1")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s: %s", build, out)
	out, err = exec.CommandContext(t.Context(), bin, "-test.list", ".*").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.ElementsMatch(t, append([]string{gophercloudLater}, gophercloudTests...), strings.Fields(string(out)))
}

// testResults reads `go tool test2json`: what became of each test, and what all of them printed.
func testResults(t *testing.T, events []byte) (results map[string]string, output string) {
	t.Helper()
	results = map[string]string{}
	var text strings.Builder
	for line := range strings.Lines(string(events)) {
		var e struct{ Action, Test, Output string }
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		switch e.Action {
		case "output":
			_, _ = fmt.Fprint(&text, e.Output)
		case "pass", "fail", "skip":
			if e.Test != "" {
				results[e.Test] = e.Action
			}
		}
	}
	return results, text.String()
}
