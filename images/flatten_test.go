package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPatternsAreWellFormed(t *testing.T) {
	for _, p := range append(droppedPaths(), alwaysDropped()...) {
		_, err := path.Match(p, "x")
		require.NoError(t, err, p)
		require.Equal(t, path.Clean(p), p)
		require.False(t, path.IsAbs(p), p)
	}
}

func TestWhatAnInstanceNeedsIsNotDropped(t *testing.T) {
	f := flattener{drop: append(droppedPaths(), alwaysDropped()...)}
	for _, file := range []string{
		"usr/sbin/mysqld", "usr/bin/mysql", "usr/bin/bash", "usr/lib/mysql/plugin/mysql_clone.so", "usr/lib/mysql/plugin/semisync_source.so",
		"usr/lib/mysql/plugin/semisync_replica.so", "usr/lib/mysql/plugin/component_validate_password.so", "usr/share/huker/template/mysql.ibd",
		"var/lib/mysql", "huker/bin", "huker/etc", "huker/run", "usr/share/mysql/english/errmsg.sys", "usr/share/mysql/charsets/Index.xml",
		"usr/lib/x86_64-linux-gnu/libssl.so.3", "etc/passwd", "etc/ssl/openssl.cnf", "tmp", "run", "var/lib/dpkg/status",
	} {
		require.False(t, f.matches(file), file)
	}
	for _, file := range []string{
		"usr/share/doc/a/b/c", "usr/bin/mysqldump", "usr/bin/mysqladmin", "var/lib/apt/lists/x", "huker-build/out/version", "tmp/x", "var/lib/mysql/x",
		"usr/lib/mysql/plugin/component_telemetry.so", "root/.bash_history", "usr/lib/x86_64-linux-gnu/gconv/X.so", ".dockerenv",
	} {
		require.True(t, f.matches(file), file)
	}
}

type entry struct {
	name, link, data string
	kind             byte
}

func pack(t *testing.T, entries []entry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Size: int64(len(e.data)), Mode: 0o4755, Uid: 7, Uname: "x"}))
		_, err := w.Write([]byte(e.data))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return &b
}

func TestFlatten(t *testing.T) {
	src := pack(t, []entry{
		{name: "./", kind: tar.TypeDir}, {name: "a/", kind: tar.TypeDir}, {name: "a/keep", kind: tar.TypeReg, data: "1"},
		{name: "a/drop/", kind: tar.TypeDir}, {name: "a/drop/below", kind: tar.TypeReg, data: "22"}, {name: "a/pkg", kind: tar.TypeReg},
		{name: "./b", kind: tar.TypeReg, data: "old"}, {name: "c", kind: tar.TypeLink, link: "a/keep"}, {name: "d", kind: tar.TypeSymlink, link: "/a/drop"},
	})
	f := flattener{
		drop: []string{"a/dr*"}, dropped: func(s string) bool { return s == "a/pkg" }, modified: time.Unix(1, 0),
		add: map[string][]byte{"b": []byte("new"), "e/f": []byte("added")},
	}
	var dst bytes.Buffer
	require.NoError(t, f.copy(&dst, src))
	got := map[string]string{}
	r := tar.NewReader(&dst)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NotContains(t, got, h.Name)
		got[h.Name] = string(data) + h.Linkname
		require.Empty(t, h.Uname)
		if h.Name == "a/keep" {
			require.Equal(t, 7, h.Uid)
			require.Equal(t, int64(0o4755), h.Mode)
		}
	}
	require.Equal(t, map[string]string{"a/": "", "a/keep": "1", "b": "new", "c": "a/keep", "d": "/a/drop", "e/f": "added"}, got)
}

func TestFlattenRefusesALinkToNothing(t *testing.T) {
	f := flattener{drop: []string{"a"}}
	err := f.copy(io.Discard, pack(t, []entry{{name: "a", kind: tar.TypeReg, data: "1"}, {name: "b", kind: tar.TypeLink, link: "a"}}))
	require.ErrorContains(t, err, "hard link to a")
	require.Error(t, f.copy(io.Discard, bytes.NewReader([]byte("not a tar at all, but long enough to look like something"))))
	cut := pack(t, []entry{{name: "x", kind: tar.TypeReg, data: string(make([]byte, 4096))}}).Bytes()[:2048]
	require.Error(t, f.copy(io.Discard, bytes.NewReader(cut)), "a stream that breaks off")
}
