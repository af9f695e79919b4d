package disk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/disk"
)

func TestOwn(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("what was there"), 0o600))
	machine, err := disk.Room(dir)
	require.NoError(t, err)
	off := disk.Own(t, dir, 64<<20)
	kept, err := os.ReadFile(filepath.Join(dir, "kept"))
	require.NoError(t, err)
	require.Equal(t, "what was there", string(kept))
	room, err := disk.Room(dir)
	require.NoError(t, err)
	require.Less(t, room, int64(64<<20))

	for _, left := range []int64{4 << 20, 0} {
		require.NoError(t, disk.Fill(dir, left))
		room, err = disk.Room(dir)
		require.NoError(t, err)
		require.LessOrEqual(t, room, left)
		require.GreaterOrEqual(t, room, left-1<<20)
	}
	err = os.WriteFile(filepath.Join(dir, "more"), bytes.Repeat([]byte("x"), 1<<20), 0o600)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, disk.Empty(dir))
	require.NoError(t, disk.Empty(dir), "once more")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "more"), bytes.Repeat([]byte("x"), 1<<20), 0o600))

	off()
	room, err = disk.Room(dir)
	require.NoError(t, err)
	require.Greater(t, room, machine/2)
	require.NoFileExists(t, filepath.Join(dir, "more"))
	require.FileExists(t, filepath.Join(dir, "kept"))
}

func TestNoSuchDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	require.ErrorIs(t, disk.Fill(dir, 0), os.ErrNotExist)
	_, err := disk.Room(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, disk.Empty(dir))
	require.ErrorIs(t, disk.Fill(t.TempDir(), 1<<20), disk.ErrShared)
	require.Error(t, disk.Make(t.Context(), filepath.Join(dir, "image"), 1<<20))
}
