package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/deploy"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/fake"
)

// engine is a container engine in memory that has a size.
type engine struct {
	*fake.Driver
	ramMB int
	err   error
}

func (e engine) Capacity(context.Context) (cpus float64, ramMB int, name string, err error) {
	return 2, e.ramMB, "fake 1", e.err
}

// patient is a host as it should be, which a test makes ill.
type patient struct {
	t      *testing.T
	bin    string // all programs that can be found
	plane  deploy.Plane
	fake   *fake.Engine
	engine engine
}

const iptables = `#!/bin/sh
case "$*" in
*--version*) echo "iptables v1.8.9 (nf_tables)";;
"-w 5 -S") echo "-P FORWARD DROP
-N DOCKER-USER
-N HUKER
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j HUKER
-A HUKER -d 10.88.0.10/32 -j ACCEPT
-A HUKER -o bridge -j DROP
-A HUKER -i bridge -j DROP";;
*) exit 64;;
esac
`

// without gives a host's iptables that lacks rules.
func without(rules ...string) string {
	text := withChain(iptables)
	for _, r := range rules {
		text = strings.ReplaceAll(text, r+"\n", "")
	}
	return text
}

// withChain has Huker's chain have its name.
func withChain(text string) string {
	return strings.ReplaceAll(text, " HUKER", " "+network.ChainName("test"))
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	e := fake.New()
	p := &patient{
		t: t, bin: t.TempDir(), plane: deploy.Plane{Name: "test", DataDir: t.TempDir()}, fake: e,
		engine: engine{Driver: e.Open("test"), ramMB: 4096},
	}
	require.NoError(t, os.Chmod(p.plane.DataDir, 0o700))
	t.Setenv("PATH", p.bin)
	p.program("iptables", withChain(iptables))
	p.program("iptables-restore", iptables)
	p.answers(http.StatusOK, "")
	p.control(p.engine.Driver)
	require.NoError(t, p.engine.Start(t.Context(), "test-control"))
	return p
}

func (p *patient) program(name, script string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(filepath.Join(p.bin, name), []byte(script), 0o700))
}

// answers has the API answer so.
func (p *patient) answers(code int, body string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, body)
	}))
	p.t.Cleanup(s.Close)
	p.plane.Health = s.URL + "/health"
}

func (p *patient) control(d *fake.Driver) {
	p.t.Helper()
	require.NoError(p.t, d.Create(p.t.Context(), runtime.Spec{Name: "test-control", Image: "fake"}))
}

func (p *patient) examine() []deploy.Finding {
	return deploy.Examine(p.t.Context(), p.plane, p.engine, nil)
}

// check gives the finding of a name. What is wrong always comes with what to do, and what is right never does.
func check(t *testing.T, findings []deploy.Finding, name string) deploy.Finding {
	t.Helper()
	var found []deploy.Finding
	for _, f := range findings {
		require.NotEmpty(t, f.Detail, f.Check)
		require.Equal(t, f.OK, f.Mend == "", "%s: %+v", f.Check, f)
		if f.Check == name {
			found = append(found, f)
		}
	}
	require.Len(t, found, 1, name)
	return found[0]
}

// ofTheHost are what the test's own machine decides.
func ofTheHost(name string) bool {
	return name == "root" || name == "IP forwarding" || name == "disk space"
}

func TestExamineWell(t *testing.T) {
	p := newPatient(t)
	found := p.examine()
	var names []string
	for _, f := range found {
		names = append(names, f.Check)
		if !ofTheHost(f.Check) {
			require.True(t, check(t, found, f.Check).OK, "%+v", f)
		}
	}
	require.Equal(t, []string{
		"root", "iptables", "iptables-restore", "IP forwarding", "disk space", "data directory", "Docker engine", "memory",
		"chain DOCKER-USER", "iptables backend", "control plane", "API", "firewall",
	}, names)
	require.Equal(t, filepath.Join(p.bin, "iptables"), check(t, found, "iptables").Detail)
	require.Equal(t, "4096 MB, 2 cores", check(t, found, "memory").Detail)
}

func TestExamineIll(t *testing.T) {
	for _, c := range []struct {
		name, check, detail, mend string
		ail                       func(*patient)
	}{
		{"no iptables", "iptables", "not found", "apt-get install iptables", func(p *patient) { require.NoError(t, os.Remove(filepath.Join(p.bin, "iptables"))) }},
		{"iptables that does not run", "iptables backend", "exit status 1", "reinstall", func(p *patient) { p.program("iptables", "#!/bin/sh\nexit 1\n") }},
		{"no chain for Huker", "chain DOCKER-USER", "not there", "--iptables=false", func(p *patient) {
			p.program("iptables", without("-N DOCKER-USER"))
		}},
		{"rules that are not told", "chain DOCKER-USER", "exit status 4", "root", func(p *patient) {
			p.program("iptables", strings.Replace(iptables, `echo "-P`, `exit 4; echo "-P`, 1))
		}},
		{"no jump to Huker's chain", "firewall", "asked by nobody", "ten seconds", func(p *patient) {
			p.program("iptables", without("-A DOCKER-USER -j "+network.ChainName("test")))
		}},
		{"no jump to Docker's chain", "firewall", "asked by nobody", "ten seconds", func(p *patient) {
			p.program("iptables", without("-A FORWARD -j DOCKER-USER"))
		}},
		{"Huker's chain flushed", "firewall", "empty", "ten seconds", func(p *patient) {
			p.program("iptables", strings.ReplaceAll(iptables, "-A HUKER", "-A OTHER"))
		}},
		{"legacy iptables", "iptables backend", "iptables v1.8.9 (legacy)", "update-alternatives", func(p *patient) {
			p.program("iptables", strings.ReplaceAll(iptables, "nf_tables", "legacy"))
		}},
		{"open data directory", "data directory", "mode 0750", "chmod 700", func(p *patient) { require.NoError(t, os.Chmod(p.plane.DataDir, 0o750)) }},
		{"data directory below a file", "data directory", "not a directory", "disk", func(p *patient) {
			require.NoError(t, os.WriteFile(filepath.Join(p.plane.DataDir, "f"), nil, 0o600))
			p.plane.DataDir = filepath.Join(p.plane.DataDir, "f", "data")
		}},
		{"engine that cannot tell", "Docker engine", "broken", "log", func(p *patient) { p.engine.err = errors.New("broken") }},
		{"little memory", "memory", "1023 MB", "1024 MB", func(p *patient) { p.engine.ramMB = 1023 }},
		{"no control plane", "control plane", "there is no container test-control", "huker up", func(p *patient) {
			require.NoError(t, p.engine.Remove(t.Context(), "test-control"))
		}},
		{"somebody else's", "control plane", "not Huker's", "rename", func(p *patient) {
			require.NoError(t, p.engine.Remove(t.Context(), "test-control"))
			p.control(p.fake.Open("stranger"))
		}},
		{"dead control plane", "control plane", "exited (exit code 3)", "docker logs test-control", func(p *patient) {
			require.NoError(t, p.fake.Exit("test-control", 3))
		}},
		{"unwell API", "API", "503 Service Unavailable: metadata: disk full", "docker logs test-control", func(p *patient) {
			p.answers(http.StatusServiceUnavailable, "metadata: disk full")
		}},
		{"silent API", "API", "refused", "docker logs test-control", func(p *patient) { p.plane.Health = "http://127.0.0.1:1/health" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPatient(t)
			c.ail(p)
			f := check(t, p.examine(), c.check)
			require.False(t, f.OK)
			require.Contains(t, f.Detail, c.detail)
			require.Contains(t, f.Mend, c.mend)
		})
	}
}

// TestExamineWithoutDockersChain: what Huker does without it is enough.
func TestExamineWithoutDockersChain(t *testing.T) {
	p := newPatient(t)
	name := network.ChainName("test")
	p.program("iptables", strings.ReplaceAll(without("-N DOCKER-USER", "-A DOCKER-USER -j "+name), "-A FORWARD -j DOCKER-USER", "-A FORWARD -j "+name))
	found := p.examine()
	require.True(t, check(t, found, "chain DOCKER-USER").OK)
	require.True(t, check(t, found, "firewall").OK)
}

// TestExamineWithoutEngine: what needs none is looked at all the same.
func TestExamineWithoutEngine(t *testing.T) {
	p := newPatient(t)
	p.plane.DataDir = filepath.Join(p.plane.DataDir, "not", "made", "yet")
	found := deploy.Examine(t.Context(), p.plane, nil, errors.New("dial unix /var/run/docker.sock: no such file"))
	f := check(t, found, "Docker engine")
	require.False(t, f.OK)
	require.Contains(t, f.Detail, "docker.sock")
	require.Equal(t, f, found[len(found)-1], "nothing is asked of an engine that is not there")
	require.True(t, check(t, found, "data directory").OK, "huker up makes it")
	require.Contains(t, check(t, found, "disk space").Detail, "MB free below "+filepath.Dir(filepath.Dir(filepath.Dir(p.plane.DataDir))), "of the directory that it will be in")
	require.NoDirExists(t, p.plane.DataDir, "it changes nothing")
}

func TestExamineVolumes(t *testing.T) {
	const known, lost = "0198a1b2-0000-7000-8000-000000000001", "0198a1b2-0000-7000-8000-000000000002"
	p := newPatient(t)
	for name, instance := range map[string]string{"v-known": known, "v-lost": lost} {
		require.NoError(t, p.engine.CreateVolume(t.Context(), name, map[string]string{"io.huker.instance": instance}))
	}
	require.NoError(t, p.engine.CreateVolume(t.Context(), "of-no-instance", nil))
	require.NoError(t, p.fake.Open("stranger").CreateVolume(t.Context(), "foreign", map[string]string{"io.huker.instance": lost}))
	guest := filepath.Join(p.plane.DataDir, "guests", known)
	require.NoError(t, os.MkdirAll(guest, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(guest, "ensure.json"), []byte("{}"), 0o600))
	f := check(t, p.examine(), "volume")
	require.False(t, f.OK)
	require.Equal(t, "v-lost belongs to no instance", f.Detail)
	require.Contains(t, f.Mend, "docker volume rm v-lost")
}
