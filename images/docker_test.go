package images

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// testBuilder gives a Builder on the real engine. What a test makes is removed by the test.
func testBuilder(t *testing.T) (*Builder, *client.Client) {
	t.Helper()
	testenv.RequireDocker(t)
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	require.NoError(t, err)
	t.Cleanup(func() { _ = docker.Close() })
	mirror, err := HostMirror("/etc/apt")
	require.NoError(t, err)
	return NewBuilder(docker, slog.New(slog.DiscardHandler), WithMirror(mirror)), docker
}

// builtMySQL gives the image of the default entry, made now if need be: then it takes a minute or two.
func builtMySQL(t *testing.T, b *Builder) (Entry, Built) {
	t.Helper()
	c, err := Load()
	require.NoError(t, err)
	e := c.Built()[0]
	built, err := b.Build(t.Context(), e, func(l string) { t.Log(l) })
	require.NoError(t, err)
	return e, built
}

func removeImage(t *testing.T, docker *client.Client, ref string) {
	t.Helper()
	t.Cleanup(func() {
		_, err := docker.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true, PruneChildren: true})
		if err != nil && !strings.Contains(err.Error(), "No such image") {
			t.Errorf("removing %s: %v", ref, err)
		}
	})
}

// derive makes a test's image out of another by running a script in it.
func derive(t *testing.T, b *Builder, docker *client.Client, from, name, script string, changes ...string) string {
	t.Helper()
	id, err := b.create(t.Context(), work{image: from, user: "0", cmd: []string{"/bin/sh", "-c", script}})
	require.NoError(t, err)
	defer b.discard(t.Context(), id)
	require.NoError(t, b.run(t.Context(), id, func(string) {}))
	ref := "huker-test-" + name + ":" + testenv.Suffix(t)
	_, err = docker.ContainerCommit(t.Context(), id, container.CommitOptions{Reference: ref, Changes: append(changes, "USER 999:999", `ENTRYPOINT []`)})
	require.NoError(t, err)
	removeImage(t, docker, ref)
	return ref
}

func TestBuildOnceOnly(t *testing.T) {
	b, _ := testBuilder(t)
	e, first := builtMySQL(t, b)
	require.True(t, strings.HasPrefix(first.Facts.Version, e.Version+"."), first.Facts.Version)
	require.Equal(t, "huker/mysql:"+first.Facts.Version+"-"+first.Facts.Content[:12], first.Ref)
	require.Less(t, first.Size, int64(300e6), "the image grew: images/README.md says what it should weigh")

	began := time.Now()
	again, err := b.Build(t.Context(), e, nil)
	require.NoError(t, err)
	require.Less(t, time.Since(began), time.Second)
	require.True(t, again.Reused)
	require.Equal(t, first.ID, again.ID)

	found, err := b.Resolve(t.Context(), e)
	require.NoError(t, err)
	require.Equal(t, again, found)
	other := e
	other.Source.Packages = append(slices.Clone(e.Source.Packages), "no-such-package")
	_, err = b.Resolve(t.Context(), other)
	require.ErrorIs(t, err, ErrNotBuilt)
}

func TestVerifyTheRealImage(t *testing.T) {
	b, _ := testBuilder(t)
	_, built := builtMySQL(t, b)
	r, err := b.Verify(t.Context(), built.Ref)
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.Equal(t, built.Facts, r.Facts)

	p, err := b.Parameters(t.Context(), built.Ref)
	require.NoError(t, err)
	for name, want := range map[string]Parameter{
		"max_connections":       {Scope: "global", Type: "integer", Min: "1", Max: "100000", Dynamic: true},
		"innodb_page_size":      {Scope: "global", Type: "integer"},
		"sort_buffer_size":      {Scope: "both", Type: "integer", Dynamic: true},
		"gtid_mode":             {Scope: "global", Type: "enumeration", Dynamic: true, Values: []string{"OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"}},
		"transaction_isolation": {Scope: "both", Type: "enumeration", Dynamic: true, Values: []string{"READ-UNCOMMITTED", "READ-COMMITTED", "REPEATABLE-READ", "SERIALIZABLE"}},
	} {
		got, ok := p.Find(name)
		require.True(t, ok, name)
		require.NotEmpty(t, got.Doc, name)
		require.NotNil(t, got.Default, name)
		require.Equal(t, []any{want.Scope, want.Type, want.Dynamic, want.Values}, []any{got.Scope, got.Type, got.Dynamic, got.Values}, name)
		if want.Max != "" {
			require.Equal(t, []string{want.Min, want.Max}, []string{got.Min, got.Max}, name)
		}
	}
}

// Each image lacks one thing; verify must say which.
func TestVerifyFindsWhatIsBroken(t *testing.T) {
	b, docker := testBuilder(t)
	_, built := builtMySQL(t, b)
	for name, test := range map[string]struct {
		script  string
		changes []string
		failed  []string
	}{
		"clone":     {"rm /usr/lib/mysql/plugin/mysql_clone.so", nil, []string{"plugin clone", "clone"}},
		"semisync":  {"rm /usr/lib/mysql/plugin/semisync_source.so", nil, []string{"plugin rpl_semi_sync_source", "semi-sync"}},
		"catalogue": {"echo '{}' >/usr/share/huker/catalogue.json", nil, []string{"catalogue"}},
		"template":  {"echo x >/usr/share/huker/template/auto.cnf", nil, []string{"template"}},
		"server":    {"rm /usr/share/huker/template/mysql.ibd", nil, []string{"template", "starts", "shutdown"}},
		"library":   {"rm /usr/lib/*/libicudata.so.*", nil, []string{"libraries", "starts"}},
		"version":   {"true", []string{"LABEL " + LabelVersion + "=9.7.99"}, []string{"facts", "version"}},
	} {
		t.Run(name, func(t *testing.T) {
			ref := derive(t, b, docker, built.Ref, name, test.script, test.changes...)
			r, err := b.Verify(t.Context(), ref)
			require.NoError(t, err)
			require.ErrorIs(t, r.Err(), ErrBroken)
			for _, want := range test.failed {
				i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == want })
				require.GreaterOrEqual(t, i, 0, want)
				require.False(t, r.Checks[i].OK, "%s: %+v", want, r.Checks)
			}
		})
	}
	_, err := b.Verify(t.Context(), "huker-test/no-such-image:"+testenv.Suffix(t))
	require.ErrorIs(t, err, ErrNotBuilt)
	_, err = b.Verify(t.Context(), baseOf(t, b))
	require.ErrorIs(t, err, ErrBroken)
}

func baseOf(t *testing.T, b *Builder) string {
	t.Helper()
	ref, err := b.Base(t.Context(), "sid", nil)
	require.NoError(t, err)
	return ref
}

// A stock image has mysqld, its own idea of the user and nothing of Huker's.
func TestStockImage(t *testing.T) {
	b, docker := testBuilder(t)
	_, built := builtMySQL(t, b)
	stock := derive(t, b, docker, built.Ref, "stock", `rm -rf /usr/share/huker /huker && sed -i 's/^mysql:x:999:999/mysql:x:27:27/;s/^mysql:x:999/mysql:x:27/' /etc/passwd /etc/group && chown 27:27 /var/lib/mysql`,
		"LABEL "+LabelKind+"=x", "LABEL "+LabelContent+"=x")
	e := Entry{Engine: "mysql", Version: built.Facts.Series, Source: Source{Kind: SourceStock, Image: stock}}
	got, err := b.Build(t.Context(), e, func(l string) { t.Log(l) })
	require.NoError(t, err)
	removeImage(t, docker, got.Ref)
	require.NotEqual(t, built.Ref, got.Ref)
	require.Zero(t, got.Facts.Zones, "the tool that fills them was pruned from what the test calls stock")
	r, err := b.Verify(t.Context(), got.Ref)
	require.NoError(t, err)
	require.NoError(t, r.Err())

	e.Version = "8.4"
	_, err = b.Build(t.Context(), e, nil)
	require.ErrorContains(t, err, "not one of series 8.4")
}

func TestABuildThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	b, docker := testBuilder(t)
	baseOf(t, b)
	e := Entry{Engine: "mysql", Version: "9.7", Source: Source{Kind: SourceDebian, Suite: "sid", Packages: []string{"no-such-package-" + testenv.Suffix(t)}}}
	before := ourContainers(t, docker)
	_, err := b.Build(t.Context(), e, nil)
	require.ErrorContains(t, err, "Unable to locate package no-such-package-")
	require.Subset(t, before, ourContainers(t, docker))

	ctx, cancel := context.WithCancel(t.Context())
	_, err = b.Build(ctx, e, func(string) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Subset(t, before, ourContainers(t, docker))
}

func ourContainers(t *testing.T, docker *client.Client) []string {
	t.Helper()
	list, err := docker.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelBuild))})
	require.NoError(t, err)
	ids := []string{}
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestSweepRemovesWhatAKilledBuildLeft(t *testing.T) {
	b, docker := testBuilder(t)
	_, built := builtMySQL(t, b)
	create := func(began time.Time) string {
		id, err := b.create(t.Context(), work{image: built.Ref, cmd: []string{"/bin/true"}, labels: map[string]string{labelBuild: strconv.FormatInt(began.Unix(), 10)}})
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = docker.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true})
		})
		return id
	}
	old, young := create(time.Now().Add(-leftoverAge-time.Minute)), create(time.Now())
	require.NoError(t, b.sweep(t.Context()))
	left := ourContainers(t, docker)
	require.NotContains(t, left, old)
	require.Contains(t, left, young)
}

// serviceDir gives a project with programs of its own.
func serviceDir(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	dockerfile, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), dockerfile, 0o600))
	for _, name := range []string{"huker", "huker-guestagent", "huker-supervisor"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\niptables --version && echo "+program+" "+name+" $1\n"), 0o600))
	}
	return dir
}

func TestBuildService(t *testing.T) {
	b, docker := testBuilder(t)
	program := "test-" + testenv.Suffix(t)
	dir := serviceDir(t, program)
	built, err := b.BuildService(t.Context(), dir, "1.2.3", func(l string) { t.Log(l) })
	require.NoError(t, err)
	removeImage(t, docker, built.Ref)
	require.False(t, built.Reused)

	began := time.Now()
	again, err := b.BuildService(t.Context(), dir, "1.2.3", nil)
	require.NoError(t, err)
	require.Less(t, time.Since(began), time.Second)
	require.True(t, again.Reused)
	require.Equal(t, built.Ref, again.Ref)

	id, err := b.create(t.Context(), work{image: built.Ref, cmd: []string{"/usr/local/bin/huker", "hello"}})
	require.NoError(t, err)
	defer b.discard(t.Context(), id)
	var said []string
	require.NoError(t, b.run(t.Context(), id, func(l string) { said = append(said, l) }))
	require.Contains(t, strings.Join(said, "\n"), "iptables v1.")
	require.Contains(t, said, program+" huker hello")
}

func TestList(t *testing.T) {
	b, _ := testBuilder(t)
	e, built := builtMySQL(t, b)
	c, err := Load()
	require.NoError(t, err)
	never := Entry{Engine: "mysql", Version: "1.0", Source: Source{Kind: SourceStock, Image: "x"}}
	c.Images = append(c.Images, never)
	list, err := b.List(t.Context(), c)
	require.NoError(t, err)
	var found, missing bool
	for _, l := range list {
		if l.Ref == built.Ref {
			found = true
			require.Equal(t, Listed{Kind: KindDatabase, Entry: e.String(), Version: built.Facts.Version, Ref: built.Ref, Size: built.Size, Created: l.Created, Current: true}, l)
		}
		if l.Entry == never.String() {
			missing = true
			require.Empty(t, l.Ref)
		}
	}
	require.True(t, found)
	require.True(t, missing)
}
