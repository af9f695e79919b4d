package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/metastore"
)

// TestSettings: no test can take the machine's power away, so what durability rests on is looked at.
func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	write, err := pool(path, 1, "_txlock", "immediate")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, write.Close()) })
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1", "temp_store": "2",
		"busy_timeout": "1000",
	} {
		var got string
		require.NoError(t, write.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		require.Equal(t, want, got, pragma)
	}
}

// TestDiskFull: a full disk is an error of that write only; nothing is lost, and writes go on when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("SKIPPED: a small disk needs root: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s, err := Open(t.Context(), filepath.Join(dir, "meta.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	put := func(ctx context.Context, n int) error {
		return s.Update(ctx, func(tx metastore.Tx) error {
			return tx.Secrets().Put(ctx, "o", fmt.Sprint(n), []byte(strings.Repeat("x", 20000)))
		})
	}
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 300<<10), 0o600))
	kept := 0
	for ; ; kept++ {
		require.Less(t, kept, 1000, "the disk does not fill up")
		if err := put(t.Context(), kept); err != nil {
			t.Logf("after %d writes: %v", kept, err)
			break
		}
	}
	// Not even a page is left.
	require.ErrorIs(t, os.WriteFile(ballast+"2", make([]byte, 1<<20), 0o600), unix.ENOSPC)
	// What the failed write had taken of the log is used first.
	var full error
	for n := 0; full == nil; n++ {
		require.Less(t, n, 1000, "a store that cannot be written is not healthy")
		full = s.Ping(t.Context())
	}
	check := func(want int) {
		t.Helper()
		require.NoError(t, s.View(t.Context(), func(tx metastore.Tx) error {
			for n := range want {
				v, err := tx.Secrets().Get(t.Context(), "o", fmt.Sprint(n))
				if err != nil || len(v) != 20000 {
					return fmt.Errorf("write %d: %d bytes, %w", n, len(v), err)
				}
			}
			_, err := tx.Secrets().Get(t.Context(), "o", fmt.Sprint(want))
			require.ErrorIs(t, err, metastore.ErrNotFound)
			return nil
		}))
	}
	check(kept)
	require.NoError(t, errors.Join(os.Remove(ballast), os.Remove(ballast+"2")))
	require.NoError(t, put(t.Context(), kept))
	require.NoError(t, s.Ping(t.Context()))
	check(kept + 1)
}
