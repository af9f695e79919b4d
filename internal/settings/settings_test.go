package settings

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

type values struct {
	dataDir string
	port    int
	wait    time.Duration
	quiet   bool
	images  []string
	labels  map[string]string
}

func flags(t *testing.T, v *values, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.StringVar(&v.dataDir, "data-dir", "/default", "")
	fs.IntVar(&v.port, "port", 1, "")
	fs.DurationVar(&v.wait, "wait", time.Second, "")
	fs.BoolVar(&v.quiet, "quiet", false, "")
	fs.StringSliceVar(&v.images, "image", nil, "")
	fs.StringToStringVar(&v.labels, "label", nil, "")
	fs.Bool("version", false, "")
	Register(fs)
	require.NoError(t, fs.Parse(args))
	return fs
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "huker.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const all = `
data-dir: /file
port: 7
wait: 3s
quiet: true
image: [a, b]
label: zone=east,disk=ssd
`

func TestAFlagComesBeforeTheEnvironmentBeforeTheFile(t *testing.T) {
	path := file(t, all)
	var v values
	require.NoError(t, Apply(flags(t, &v, "--config", path)))
	require.Equal(t, values{
		dataDir: "/file", port: 7, wait: 3 * time.Second, quiet: true, images: []string{"a", "b"},
		labels: map[string]string{"zone": "east", "disk": "ssd"},
	}, v)

	t.Setenv("HUKER_DATA_DIR", "/env")
	t.Setenv("HUKER_IMAGE", "c,d")
	v = values{}
	require.NoError(t, Apply(flags(t, &v, "--config", path)))
	require.Equal(t, "/env", v.dataDir)
	require.Equal(t, []string{"c", "d"}, v.images)

	v = values{}
	require.NoError(t, Apply(flags(t, &v, "--config", path, "--data-dir", "/flag")))
	require.Equal(t, "/flag", v.dataDir)

	v = values{}
	t.Setenv("HUKER_CONFIG", path)
	require.NoError(t, Apply(flags(t, &v)))
	require.Equal(t, 7, v.port)
}

func TestDefaultsStandWhereNothingIsSaid(t *testing.T) {
	var v values
	require.NoError(t, Apply(flags(t, &v)))
	require.Equal(t, "/default", v.dataDir)
}

func TestWhatMeansNothingIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"data_dir: /x\n":        "no such setting: data_dir (there are: data-dir, image, label, port, quiet, wait)",
		"port: many\n":          "port (from ",
		"config: other\n":       "no such setting: config",
		"version: true\n":       "no such setting: version",
		"label: {zone: east}\n": "write it in one line, as label: name=value,name=value",
		"image: {a: b}\n":       "write it in one line, as image:",
		"data-dir: [\n":         "settings: reading ",
	} {
		var v values
		err := Apply(flags(t, &v, "--config", file(t, text)))
		require.ErrorContains(t, err, want)
	}
	var v values
	require.ErrorContains(t, Apply(flags(t, &v, "--config", "/nowhere/huker.yaml")), "/nowhere/huker.yaml")
	t.Setenv("HUKER_PORT", "x")
	require.ErrorContains(t, Apply(flags(t, &v)), "port (from HUKER_PORT)")
}

// TestAllThatIsWrongIsSaid: names in the file, values in the file and in the environment; and what is good is taken.
func TestAllThatIsWrongIsSaid(t *testing.T) {
	t.Setenv("HUKER_WAIT", "soon")
	t.Setenv("HUKER_VERSION", "9") // asks for nothing, and is no setting
	var v values
	err := Apply(flags(t, &v, "--config", file(t, "port: many\nports: 7\nsome: {thing: 1}\nquiet: true\n")))
	for _, want := range []string{"no such setting: ports, some (", "port (from ", "wait (from HUKER_WAIT)"} {
		require.ErrorContains(t, err, want)
	}
	require.NotErrorIs(t, err, ErrFile)
	require.True(t, v.quiet)
	require.ErrorIs(t, Apply(flags(t, &v, "--config", "/nowhere")), ErrFile)
}
