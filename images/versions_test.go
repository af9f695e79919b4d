package images

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestTheCatalogueInTheProgram(t *testing.T) {
	c, err := Load()
	require.NoError(t, err)
	require.NotEmpty(t, c.Built(), "something must be made by `huker image build`")
	e, err := c.Find("mysql")
	require.NoError(t, err)
	require.Equal(t, c.Images[0], e)
	e, err = c.Find("mysql:8.4")
	require.NoError(t, err)
	require.Equal(t, SourceStock, e.Source.Kind)
	for _, unknown := range []string{"", "mysql:1.0", "postgres", "mysql:", ":9.7"} {
		_, err = c.Find(unknown)
		require.ErrorIs(t, err, ErrUnknown, unknown)
	}
}

const goodImages = `
images:
  - engine: mysql
    version: "9.7"
    build: true
    source: {kind: debian, suite: sid, packages: [mysql-server-core], without: [perl]}
  - engine: mysql
    version: "8.4"
    source: {kind: stock, image: "registry:5000/mysql:8.4"}
`

func TestParse(t *testing.T) {
	c, err := Parse([]byte(goodImages))
	require.NoError(t, err)
	require.Len(t, c.Images, 2)
	require.Equal(t, Source{Kind: SourceDebian, Suite: "sid", Packages: []string{"mysql-server-core"}, Without: []string{"perl"}}, c.Images[0].Source)
	require.Equal(t, c.Images[:1], c.Built())

	for name, test := range map[string]struct{ old, new, says string }{
		"not yaml":              {"images:", "images: [", "versions.yaml"},
		"empty":                 {goodImages, "", "EOF"},
		"no images":             {goodImages, "images: []", "no images"},
		"an unknown field":      {"build: true", "bulid: true", "bulid"},
		"two documents":         {goodImages, goodImages + "\n---\nimages: []\n", "more than one document"},
		"the same twice":        {`"8.4"`, `"9.7"`, "twice"},
		"no engine":             {"engine: mysql\n    version: \"9.7\"", "version: \"9.7\"", `engine ""`},
		"an unknown engine":     {"engine: mysql\n    version: \"8.4\"", "engine: maria\n    version: \"8.4\"", "not supported"},
		"an engine with a path": {"engine: mysql\n    version: \"8.4\"", "engine: ../x\n    version: \"8.4\"", "lower-case"},
		"a wordy version":       {`"9.7"`, `"latest"`, "series"},
		"no kind":               {"kind: debian, ", "", "kind is missing"},
		"an unknown kind":       {"kind: debian", "kind: rpm", "neither"},
		"no suite":              {"suite: sid, ", "", "suite"},
		"a suite with a shell":  {"suite: sid", "suite: sid;reboot", "suite"},
		"no packages":           {"packages: [mysql-server-core], ", "", "packages"},
		"an option as package":  {"[mysql-server-core]", "[--force]", "name of a package"},
		"an option as without":  {"[perl]", "['p $(x)']", "name of a package"},
		"image and packages":    {"kind: debian,", "kind: debian, image: x,", "no image"},
		"stock with packages":   {"kind: stock,", "kind: stock, packages: [x],", "image only"},
		"stock without image":   {`, image: "registry:5000/mysql:8.4"`, "", "image reference"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodImages, test.old)
			_, err := Parse([]byte(strings.Replace(goodImages, test.old, test.new, 1)))
			require.ErrorContains(t, err, test.says)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(versionsYAML)
	f.Add([]byte(goodImages))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for _, e := range c.Images {
			for _, word := range append(append([]string{e.Engine, e.Version, e.Source.Suite, e.Source.Image}, e.Source.Packages...), e.Source.Without...) {
				if strings.ContainsAny(word, " \t\n'\"$`;&|<>\\") || strings.HasPrefix(word, "-") {
					t.Errorf("%q got through, and would end in a shell", word)
				}
			}
		}
	})
}

func TestContentFollowsWhatDecides(t *testing.T) {
	c, err := Parse([]byte(goodImages))
	require.NoError(t, err)
	e := c.Images[0]
	content := func(e Entry) string {
		t.Helper()
		h, err := e.Content()
		require.NoError(t, err)
		require.Len(t, h, 64)
		return h
	}
	first := content(e)
	require.Equal(t, first, content(e), "twice the same")
	same := e
	same.Build = false
	require.Equal(t, first, content(same), "whether it is made by default does not change what is made")
	seen := map[string]bool{first: true}
	for _, change := range []func(*Entry){
		func(e *Entry) { e.Version = "9.8" },
		func(e *Entry) { e.Source.Suite = "forky" },
		func(e *Entry) { e.Source.Packages = []string{"mysql-server-core", "x1"} },
		func(e *Entry) { e.Source.Packages, e.Source.Without = nil, []string{"mysql-server-core", "perl"} },
		func(e *Entry) { *e = c.Images[1] },
	} {
		other := e
		change(&other)
		h := content(other)
		require.False(t, seen[h], "%+v", other)
		seen[h] = true
	}
}

func TestHashFilesKeepsNamesAndContentsApart(t *testing.T) {
	hash := func(files map[string]string, parts ...string) string {
		m := fstest.MapFS{}
		for name, data := range files {
			m["r/"+name] = &fstest.MapFile{Data: []byte(data)}
		}
		var p [][]byte
		for _, s := range parts {
			p = append(p, []byte(s))
		}
		h, err := hashFiles(m, "r", p...)
		require.NoError(t, err)
		return h
	}
	a := hash(map[string]string{"a": "x", "b": "y"}, "1", "2")
	require.Equal(t, a, hash(map[string]string{"b": "y", "a": "x"}, "1", "2"))
	for _, other := range []string{
		hash(map[string]string{"a": "xy", "b": ""}, "1", "2"),
		hash(map[string]string{"a": "x", "c": "y"}, "1", "2"),
		hash(map[string]string{"a": "x", "b": "y"}, "12", ""),
		hash(map[string]string{"a": "x", "b": "y"}, "1"),
	} {
		require.NotEqual(t, a, other)
	}
	_, err := hashFiles(fstest.MapFS{}, "nowhere")
	require.Error(t, err)
}

func TestFactsSurviveLabels(t *testing.T) {
	f := Facts{Engine: "mysql", Series: "9.7", Version: "9.7.4", UID: 999, GID: 998, Plugins: []string{"a", "b"}, Zones: 7, Content: "c0ffee"}
	got, err := factsOf(f.labels())
	require.NoError(t, err)
	require.Equal(t, f, got)
	for _, gone := range []string{LabelKind, LabelEngine, LabelVersion, LabelUID, LabelGID, LabelZones} {
		l := f.labels()
		delete(l, gone)
		_, err := factsOf(l)
		require.ErrorIs(t, err, ErrBroken, gone)
	}
}

func TestReport(t *testing.T) {
	require.NoError(t, Report{Checks: []Check{{Name: "a", OK: true}}}.Err())
	err := Report{Ref: "x", Checks: []Check{{Name: "a", OK: true}, {Name: "clone", Detail: "gone"}}}.Err()
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorContains(t, err, "clone: gone")
	require.NotContains(t, err.Error(), "a:")

	c, ok := parseCheck("check\tplugin clone\tfailed\tit does not load \t")
	require.True(t, ok)
	require.Equal(t, Check{Name: "plugin clone", Detail: "it does not load"}, c)
	for _, line := range []string{"", "check", "check\tx\tok", "check\t\tok\t", "check\tx\tmaybe\t", "checked\tx\tok\t"} {
		_, ok := parseCheck(line)
		require.False(t, ok, "%q", line)
	}
}

// A script that ends early, or an image that claims to need no plugins, must not pass.
func TestWhatWasNotReachedFails(t *testing.T) {
	script, err := recipe("verify-mysql.sh")
	require.NoError(t, err)
	all := missing(nil, Facts{})
	require.Len(t, all, 12+len(neededPlugins()))
	for _, c := range all {
		require.False(t, c.OK)
		if name, plugin := strings.CutPrefix(c.Name, "plugin "); plugin {
			require.Contains(t, libraries()+name, name)
			continue
		}
		require.True(t, strings.Contains(script, "check "+c.Name+" ") || strings.Contains(script, `check "`+c.Name+`" `), "the script never says %q", c.Name)
	}
	var said []Check
	for _, c := range all {
		said = append(said, Check{Name: c.Name, OK: true})
	}
	require.Empty(t, missing(said, Facts{}))
}

func TestEngineStream(t *testing.T) {
	var lines []string
	last, err := engineStream(strings.NewReader(`{"status":"a"}{"stream":"b\n"}{"aux":{"ID":"x"}}`), func(l string) { lines = append(lines, l) })
	require.NoError(t, err)
	require.Equal(t, "b", last)
	require.Equal(t, []string{"a", "b"}, lines)
	_, err = engineStream(strings.NewReader(`{"status":"a"}{"error":"no space left"}`), func(string) {})
	require.EqualError(t, err, "no space left")
	_, err = engineStream(strings.NewReader(`{"status":`), func(string) {})
	require.Error(t, err)
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := &lineWriter{line: func(l string) { lines = append(lines, l) }}
	for _, s := range []string{"a", "b\nc\n\nd", "e\nrest"} {
		n, err := w.Write([]byte(s))
		require.NoError(t, err)
		require.Equal(t, len(s), n)
	}
	require.Equal(t, []string{"ab", "c", "", "de"}, lines)
}

func TestServiceContent(t *testing.T) {
	dir := serviceDir(t, "one")
	a, err := serviceContent(dir)
	require.NoError(t, err)
	again, err := serviceContent(serviceDir(t, "one"))
	require.NoError(t, err)
	require.Equal(t, a, again, "neither the folder nor the time matters")
	b, err := serviceContent(serviceDir(t, "two"))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	_, err = serviceContent(t.TempDir())
	require.ErrorContains(t, err, "make build")
}

func TestErrorsStayApart(t *testing.T) {
	all := []error{ErrUnknown, ErrNotBuilt, ErrBroken, ErrNoBase}
	for i, a := range all {
		for j, b := range all {
			require.Equal(t, i == j, errors.Is(a, b))
		}
	}
}
