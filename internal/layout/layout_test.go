package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module       = "github.com/huker/huker"
	root         = "../.."
	maxFileLines = 500
	maxMainLines = 80
)

func relative(path string) string { return strings.TrimPrefix(path, module+"/") }

// relatives leaves out the standard library, whose "runtime" and "runtime/debug" look like this module's once they are relative.
func relatives(paths []string) []string {
	var out []string
	for _, p := range paths {
		if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
			out = append(out, relative(p))
		}
	}
	return out
}

// load asks the go command for the module's packages and for all that they import.
func load(t *testing.T) Graph {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	g := Graph{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath                         string
			Standard                           bool
			Imports, TestImports, XTestImports []string
		}
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		require.NoError(t, err)
		if !p.Standard {
			path := relative(p.ImportPath)
			g[path] = Package{
				Path: path, Imports: relatives(p.Imports), TestImports: relatives(slices.Concat(p.TestImports, p.XTestImports)),
			}
		}
	}
}

func TestImports(t *testing.T) {
	g := load(t)
	for _, must := range []string{"internal/model", "internal/metastore/sqlite", "modernc.org/sqlite", "cmd/huker-guestagent"} {
		require.NotEmpty(t, g[must].Path, "%s is not among the packages", must)
	}
	require.NotEmpty(t, g.reach("internal/metastore/sqlite", []string{"modernc.org/sqlite"}), "chains are not followed")
	for _, v := range Check(g) {
		t.Error(v)
	}
}

// TestRulesBite: each rule finds what it is there for.
func TestRulesBite(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		inTest   bool
		via      string // a package between the two
		want     string // "": allowed
	}{
		"model to gtid":                     {from: "internal/model", to: "internal/gtid", want: "reached"},
		"gtid to durability":                {from: "internal/gtid", to: "internal/durability", want: "reached"},
		"gtid to failover by another":       {from: "internal/gtid", via: "internal/x", to: "internal/failover", want: "reached"},
		"durability to failover":            {from: "internal/durability", to: "internal/failover", want: "reached"},
		"failover to durability":            {from: "internal/failover", to: "internal/durability"},
		"durability to gtid":                {from: "internal/durability", to: "internal/gtid"},
		"object store to backup":            {from: "internal/objectstore/s3", via: "internal/x", to: "internal/backup", want: "reached"},
		"backup to object store":            {from: "internal/backup", to: "internal/objectstore"},
		"interface to component":            {from: "internal/metastore", to: "internal/keeper", want: "interface package"},
		"interface to its engine":           {from: "internal/coord", to: "internal/coord/etcd", want: "interface package"},
		"interface's test to its suite":     {from: "internal/coord", to: "internal/coord/coordtest", inTest: true},
		"interface to noun":                 {from: "internal/protocol", to: "internal/model"},
		"fault to component":                {from: "internal/fault", to: "api/trove", want: "interface package"},
		"runtime to model":                  {from: "runtime/docker", to: "internal/model", want: "runtime/ and network/"},
		"runtime to network":                {from: "runtime/docker", to: "network"},
		"runtime's test to testenv":         {from: "runtime/docker", to: "internal/testenv", inTest: true},
		"runtime to testenv":                {from: "runtime/docker", to: "internal/testenv", want: "runtime/ and network/"},
		"network to api":                    {from: "network/iptables", to: "api", want: "runtime/ and network/"},
		"keeper to an engine":               {from: "internal/keeper", to: "internal/metastore/sqlite", want: "an engine"},
		"sysmgr to docker":                  {from: "internal/sysmgr", to: "runtime/docker", want: "an engine"},
		"sysmgr's test to fake":             {from: "internal/sysmgr", to: "runtime/fake", inTest: true},
		"control plane to an engine":        {from: "internal/controlplane", to: "internal/coord/etcd/embedded"},
		"the command line to an engine":     {from: "internal/cli", to: "runtime/docker"},
		"cmd to an engine":                  {from: "cmd/huker", to: "runtime/docker"},
		"whole test to an engine":           {from: "test/e2e", to: "runtime/docker"},
		"engine to what it shares":          {from: "internal/metastore/sqlite", to: "internal/metastore/sqlstore"},
		"engine built on another":           {from: "internal/bus/x", to: "internal/coord/etcd"},
		"interface to another's engine":     {from: "internal/bus", to: "internal/coord/etcd", want: "an engine"},
		"guest to api":                      {from: "guest/agent", via: "internal/x", to: "api/trove", want: "reached"},
		"guest to keeper":                   {from: "guest/agent", to: "internal/keeper", want: "reached"},
		"guest to sysmgr":                   {from: "guest/admin", to: "internal/sysmgr", want: "reached"},
		"agent links etcd's server":         {from: "cmd/huker-guestagent", via: "guest/agent", to: "go.etcd.io/etcd/server/v3/embed", want: "reached"},
		"agent links etcd's client":         {from: "cmd/huker-guestagent", via: "guest/agent", to: "go.etcd.io/etcd/client/v3"},
		"agent links SQLite":                {from: "cmd/huker-guestagent", via: "guest/agent", to: "modernc.org/sqlite", want: "reached"},
		"supervisor links a docker client":  {from: "cmd/huker-supervisor", via: "guest/agent", to: "github.com/docker/docker/client", want: "reached"},
		"code to a suite":                   {from: "internal/keeper", to: "internal/metastore/metastoretest", want: "for tests"},
		"code to testenv":                   {from: "internal/keeper", to: "internal/testenv", want: "for tests"},
		"a test to a suite":                 {from: "internal/metastore/sqlite", to: "internal/metastore/metastoretest", inTest: true},
		"a suite to the library for tests":  {from: "internal/metastore/metastoretest", to: "github.com/stretchr/testify/require"},
		"a command to another":              {from: "internal/x", to: "cmd/huker", want: "nothing imports cmd/"},
		"a name that only begins like cmd/": {from: "internal/x", to: "internal/cmdline"},
	} {
		t.Run(name, func(t *testing.T) {
			g := Graph{c.to: {Path: c.to}}
			first := c.to
			if c.via != "" {
				g[c.via] = Package{Path: c.via, Imports: []string{c.to}}
				first = c.via
			}
			p := Package{Path: c.from, Imports: []string{first}}
			if c.inTest {
				p = Package{Path: c.from, TestImports: []string{first}}
			}
			g[c.from] = p
			found := []string{}
			for _, v := range Check(g) {
				if v.Package == c.from {
					found = append(found, v.String())
				}
			}
			if c.want == "" {
				require.Empty(t, found)
				return
			}
			require.Contains(t, strings.Join(found, "\n"), c.want)
		})
	}
}

// long gives the Go files below dir with more lines than they may have.
func long(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || rel == "bin" || rel == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		b, err := os.ReadFile(path) //nolint:gosec // a file of this module
		if err != nil {
			return err
		}
		limit := maxFileLines
		if d.Name() == "main.go" && strings.HasPrefix(rel, "cmd/") {
			limit = maxMainLines
		}
		if bytes.Count(b, []byte("\n")) > limit {
			found = append(found, rel)
		}
		return nil
	}))
	require.NotZero(t, files, "nothing was looked at")
	return found
}

func TestLengths(t *testing.T) {
	require.Empty(t, long(t, root))
}

func TestLengthsBite(t *testing.T) {
	dir := t.TempDir()
	for path, lines := range map[string]int{
		"a/ok.go": maxFileLines, "a/long.go": maxFileLines + 1, "cmd/x/main.go": maxMainLines + 1, "cmd/y/main.go": maxMainLines,
		"cmd/x/other.go": maxMainLines + 1, "a/long.txt": 9999, ".cache/long.go": 9999, "bin/long.go": 9999,
	} {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("//\n"), lines), 0o600))
	}
	require.ElementsMatch(t, []string{"a/long.go", "cmd/x/main.go"}, long(t, dir))
}
