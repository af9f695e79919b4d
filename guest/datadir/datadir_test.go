package datadir_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/huker/huker/guest/datadir"
	"github.com/huker/huker/internal/fault"
)

// Environment of a child that makes a data directory and dies at a point.
const (
	rootEnv  = "HUKER_DATADIR_ROOT"
	pointEnv = "HUKER_DATADIR_POINT"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(rootEnv); root != "" {
		ctx := fault.With(context.Background(), killer(os.Getenv(pointEnv)))
		made, err := datadir.Ensure(ctx, config(root))
		if err == nil {
			err = made.Commit(ctx)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type killer fault.Point

func (k killer) Strike(p fault.Point) {
	if fault.Point(k) == p {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func config(root string) datadir.Config {
	volume := filepath.Join(root, "volume")
	return datadir.Config{
		Data: filepath.Join(volume, "data"), New: filepath.Join(volume, "data.new"), Template: filepath.Join(root, "template"),
		Beside: []string{filepath.Join(volume, "tmp"), filepath.Join(volume, "log")},
		Initialize: func(_ context.Context, dir string) error {
			return os.WriteFile(filepath.Join(dir, "ibdata1"), []byte("initialized"), 0o600)
		},
	}
}

// page is content that has zero pages in the middle and at the end, and ends off any boundary.
func page() []byte {
	b := make([]byte, 1<<20+77)
	for i := range 40 << 10 {
		b[i], b[300<<10+i] = byte(i), byte(i>>3)
	}
	b[len(b)-1] = 1
	return b
}

// newRoot makes a template.
func newRoot(t *testing.T) (string, datadir.Config) {
	t.Helper()
	root := t.TempDir()
	c := config(root)
	for name, text := range map[string][]byte{
		"ibdata1": page(), "mysql.ibd": page()[:1<<20], "undo_001": make([]byte, 1<<20), "empty": nil, "sys/sys_config.ibd": page(), "mysql/general_log.CSM": []byte("x"),
		// What a new database must not have.
		"auto.cnf": []byte("[auto]\nserver-uuid=template"), "private_key.pem": []byte("key"), "ca-key.pem": []byte("key"), "binlog.000001": []byte("b"), "binlog.index": []byte("b"),
		"mysqld-auto.cnf": []byte("{}"), "ibtmp1": []byte("t"), "#innodb_temp/temp_1.ibt": []byte("t"), "mysqld.pid": []byte("1"),
	} {
		path := filepath.Join(c.Template, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, text, 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(c.Template, "performance_schema"), 0o700))
	must(t, os.MkdirAll(filepath.Dir(c.Data), 0o700))
	return root, c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// files are the names below dir, and of directories with a slash.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			rel += "/"
		}
		names = append(names, rel)
		return err
	}))
	slices.Sort(names)
	return names
}

// whole checks a finished data directory made from newRoot's template.
func whole(t *testing.T, c datadir.Config) {
	t.Helper()
	want := []string{
		"#innodb_temp/", "./", "empty", "ibdata1", "mysql.ibd", "mysql/", "mysql/general_log.CSM", "performance_schema/", "private_key.pem", "public_key.pem",
		"sys/", "sys/sys_config.ibd", "undo_001",
	}
	if got := files(t, c.Data); !slices.Equal(got, want) {
		t.Errorf("files %q\nwant  %q", got, want)
	}
	for _, name := range []string{"ibdata1", "mysql.ibd", "undo_001", "empty", "sys/sys_config.ibd"} {
		a, err := os.ReadFile(filepath.Join(c.Template, name))
		must(t, err)
		b, err := os.ReadFile(filepath.Join(c.Data, name))
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs", name)
		}
	}
	if got := files(t, filepath.Dir(c.Data)); slices.Contains(got, "data.making") || slices.Contains(got, "data.new/") {
		t.Errorf("leftovers: %q", got)
	}
}

func makeIt(t *testing.T, c datadir.Config) bool {
	t.Helper()
	m, err := datadir.Ensure(t.Context(), c)
	must(t, err)
	must(t, m.Commit(t.Context()))
	must(t, m.Close())
	return m.Fresh
}

func TestMakeAndKeep(t *testing.T) {
	t.Parallel()
	_, c := newRoot(t)
	if !makeIt(t, c) {
		t.Error("not fresh")
	}
	whole(t, c)
	must(t, os.WriteFile(filepath.Join(c.Data, "ibdata1"), []byte("precious"), 0o600))
	must(t, os.MkdirAll(c.New, 0o700)) // a stray one is no reason to touch anything
	if makeIt(t, c) {
		t.Error("made twice")
	}
	if b, err := os.ReadFile(filepath.Join(c.Data, "ibdata1")); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

func TestKeysAreItsOwn(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for range 2 {
		_, c := newRoot(t)
		makeIt(t, c)
		text, err := os.ReadFile(filepath.Join(c.Data, "private_key.pem"))
		must(t, err)
		block, _ := pem.Decode(text)
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		must(t, err)
		text, err = os.ReadFile(filepath.Join(c.Data, "public_key.pem"))
		must(t, err)
		block, _ = pem.Decode(text)
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		must(t, err)
		if !key.PublicKey.Equal(pub) {
			t.Error("the keys are no pair")
		}
		keys[key.N.String()] = true
	}
	if len(keys) != 2 {
		t.Error("two databases have the same key")
	}
}

func TestSpaceIsReserved(t *testing.T) {
	t.Parallel()
	_, c := newRoot(t)
	makeIt(t, c)
	var st syscall.Stat_t
	must(t, syscall.Stat(filepath.Join(c.Data, "undo_001"), &st))
	if st.Blocks*512 < st.Size {
		t.Errorf("undo_001 has %d of its %d bytes", st.Blocks*512, st.Size)
	}
}

// TestKilledAtEveryPoint: whatever a death leaves, the next attempt ends in a whole data directory, and one that was committed is kept.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	for i, point := range datadir.Points() {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			root, c := newRoot(t)
			for range 2 { // and once more, over what the first death left
				cmd := exec.CommandContext(t.Context(), os.Args[0]) // #nosec G204 -- this test
				cmd.Env = append(os.Environ(), rootEnv+"="+root, pointEnv+"="+string(point))
				err := cmd.Run()
				var exit *exec.ExitError
				if i == len(datadir.Points())-1 && err == nil {
					break // the second time there is nothing to be done, so nothing dies
				}
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the child was to die at %s: %v", point, err)
				}
				_, err = os.Stat(c.Mark())
				if committed := point == datadir.PointCommitted; committed != errors.Is(err, fs.ErrNotExist) {
					t.Errorf("mark: %v", err)
				}
				if point != datadir.PointCommitted { // what mysqld may have done meanwhile is for nobody
					_ = os.WriteFile(filepath.Join(c.Data, "auto.cnf"), []byte("x"), 0o600)
				}
			}
			if fresh := makeIt(t, c); fresh == (point == datadir.PointCommitted) {
				t.Errorf("fresh %v", fresh)
			}
			whole(t, c)
		})
	}
}

func TestInitialize(t *testing.T) {
	t.Parallel()
	_, c := newRoot(t)
	must(t, os.RemoveAll(c.Template))
	good, failure := c.Initialize, errors.New("no")
	c.Initialize = func(ctx context.Context, dir string) error {
		must(t, good(ctx, dir))
		return failure
	}
	if _, err := datadir.Ensure(t.Context(), c); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(c.New); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half of it stays: %v", err)
	}
	c.Initialize = good
	makeIt(t, c)
	if got := files(t, c.Data); !slices.Equal(got, []string{"./", "ibdata1", "private_key.pem", "public_key.pem"}) {
		t.Errorf("%q", got)
	}
	c.Initialize, c.Data, c.New = nil, c.Data+"2", c.New+"2"
	if _, err := datadir.Ensure(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no template") {
		t.Errorf("%v", err)
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	_, c := newRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := datadir.Ensure(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	m, err := datadir.Ensure(t.Context(), c)
	must(t, err)
	if err := m.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	must(t, m.Close())
	if !makeIt(t, c) {
		t.Error("what was not committed counts")
	}
	whole(t, c)
}

func TestTemplateWithStrangeFiles(t *testing.T) {
	t.Parallel()
	_, c := newRoot(t)
	must(t, os.Symlink("/etc/passwd", filepath.Join(c.Template, "link")))
	if _, err := datadir.Ensure(t.Context(), c); err == nil {
		t.Error("a link was taken")
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := datadir.Lock(dir)
	must(t, err)
	if _, err := datadir.Lock(dir); !errors.Is(err, datadir.ErrInUse) {
		t.Errorf("%v", err)
	}
	must(t, first.Close())
	again, err := datadir.Lock(dir)
	must(t, err)
	must(t, again.Close())
}
