package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostMirror(t *testing.T) {
	const other = "deb https://packages.example.org/apt cloud-bookworm main\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, ""},
		"one line": {map[string]string{"sources.list": other + `
			# deb http://commented.example.org/debian sid main
			deb-src http://src.example.org/debian bookworm main
			deb [arch=amd64 signed-by=/x] http://a.example.org/debian/ bookworm main contrib`}, "http://a.example.org/debian"},
		"security is not the archive": {map[string]string{"sources.list": "deb http://s.example.org/security bookworm-security main\ndeb http://a.example.org/debian bookworm main"}, "http://a.example.org/debian"},
		"deb822": {map[string]string{"sources.list": other, "sources.list.d/debian.sources": `# comment
Types: deb
URIs: http://s.example.org/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
# http://pinned.example.org/
URIs: ftp://f.example.org/debian
 https://a.example.org/debian
Suites: trixie trixie-updates
Components: main
`}, "https://a.example.org/debian"},
		"switched off":        {map[string]string{"sources.list.d/a.sources": "Types: deb\nURIs: http://a.example.org/debian\nSuites: sid\nComponents: main\nEnabled: no\n"}, ""},
		"another component":   {map[string]string{"sources.list": "deb http://a.example.org/debian sid contrib"}, ""},
		"a local folder":      {map[string]string{"sources.list": "deb file:/srv/debian sid main\ndeb cdrom:[x]/ sid main"}, ""},
		"nothing for a shell": {map[string]string{"sources.list": "deb http://a.example.org/$(reboot) sid main"}, ""},
		"an unclosed option":  {map[string]string{"sources.list": "deb [arch=amd64 http://a.example.org/debian sid main"}, ""},
		"a stranger's file":   {map[string]string{"sources.list.d/a.save": "deb http://a.example.org/debian sid main"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755))
			for f, data := range test.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte(data), 0o600))
			}
			got, err := HostMirror(dir)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func FuzzMirror(f *testing.F) {
	f.Add([]byte("deb [arch=amd64] http://a.example.org/debian sid main"))
	f.Add([]byte("Types: deb\nURIs: http://a.example.org/debian\nSuites: sid\nComponents: main\n"))
	f.Add([]byte("deb ]x[ http://a.example.org/debian sid main"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []string{firstMirror(parseOneLine(data)), firstMirror(parseDeb822(data))} {
			if m != "" && (!strings.HasPrefix(strings.ToLower(m), "http") || !shellSafe(m)) {
				t.Errorf("%q became a mirror", m)
			}
		}
	})
}

const dpkgStatus = `Package: app
Status: install ok installed
Version: 1.0
Architecture: amd64
Depends: libc6 (>= 2.38), liba (>= 1) | libb, perl:any,
 awk
Description: x
 long text

Package: libc6
Status: install ok installed
Version: 2.43
Depends: libgcc

Package: libgcc
Status: install ok installed
Pre-Depends: libc6
Version: 3

Package: libb
Status: install ok installed
Version: 2

Package: mawk
Status: install ok installed
Provides: awk (= 1), nothing
Version: 5

Package: perl
Status: install ok installed
Depends: perl-modules
Version: 6

Package: perl-modules
Status: install ok installed
Version: 7

Package: removed
Status: deinstall ok config-files
Version: 8
`

func TestPackages(t *testing.T) {
	p := readPackages([]byte(dpkgStatus), map[string][]byte{
		"app.list":          []byte("/.\n/usr\n/usr/bin\n/usr/bin/app\n"),
		"libc6:amd64.list":  []byte("/.\n/lib\n/lib/x/libc.so.6\n/usr\n"),
		"perl.list":         []byte("/usr\n/usr/bin\n/usr/bin/perl\n/usr/share/perl\n"),
		"perl-modules.list": []byte("/usr/share/perl\n/usr/share/perl/A.pm\n"),
	})
	require.Len(t, p.stanza, 7)
	keep, err := p.needed([]string{"app"}, []string{"perl"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"app": true, "libc6": true, "libgcc": true, "libb": true, "mawk": true}, keep)

	for file, dropped := range map[string]bool{
		"usr": false, "usr/bin": false, "usr/bin/app": false, "usr/bin/perl": true, "usr/share/perl": true, "usr/share/perl/A.pm": true,
		"usr/lib/x/libc.so.6": false, "lib/x/libc.so.6": false, "lib": false, "etc/made-by-a-script": false,
	} {
		require.Equal(t, dropped, p.drops(file, keep), file)
	}
	status := string(p.status(keep))
	require.Equal(t, 5, strings.Count(status, "Package: "))
	require.NotContains(t, status, "Package: perl")
	again := readPackages(p.status(keep), nil)
	require.Equal(t, "1.0", again.stanza["app"]["version"])
	require.Contains(t, again.stanza["app"]["depends"], "awk")

	all, err := p.needed([]string{"app"}, nil)
	require.NoError(t, err)
	require.True(t, all["perl-modules"])
	_, err = p.needed([]string{"removed"}, nil)
	require.ErrorContains(t, err, "removed is not installed")
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte(dpkgStatus), []byte("/usr/bin/app\n"))
	f.Add([]byte("Package: app\nStatus: x installed\nDepends: app | (, :"), []byte("//../.."))
	f.Fuzz(func(t *testing.T, status, list []byte) {
		p := readPackages(status, map[string][]byte{"app.list": list})
		keep, err := p.needed([]string{"app"}, nil)
		if err != nil {
			return
		}
		if !keep["app"] {
			t.Error("what was asked for is not kept")
		}
		for file := range p.owner {
			if p.drops(file, keep) {
				t.Errorf("%q of a kept package is dropped", file)
			}
		}
	})
}
