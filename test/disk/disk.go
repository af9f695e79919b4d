// Package disk makes file systems of their own out of files, for tests of what happens when one is full.
//
// It knows nothing of what is kept there.
package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ballast is the file that takes up the room.
const ballast = "huker-ballast"

// Make makes a file system of so many bytes in a file, which takes up no more than is written to it.
func Make(ctx context.Context, image string, size int64) error {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making a disk: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return fmt.Errorf("making a disk: %w", err)
	}
	// Nothing is kept for root, as whom everything runs here.
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		return fmt.Errorf("making a disk: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Room is how many bytes are free on the file system that a directory is on.
func Room(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("asking how much is free in %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil //nolint:gosec // bytes of a disk
}

// ErrShared means that a directory is not on a disk that Make has made.
var ErrShared = errors.New("disk: it is not on a disk of its own")

// loopMajor is the number that the kernel has for loop devices.
const loopMajor = 7

// Fill leaves so many bytes on the file system of a directory, at most, by a file there. Others may write meanwhile: then less is left. The machine's own disks are not
// filled (ErrShared).
func Fill(dir string, room int64) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("filling %s: %w", dir, err)
	}
	if unix.Major(st.Dev) != loopMajor {
		return fmt.Errorf("filling %s: %w", dir, ErrShared)
	}
	f, err := os.OpenFile(filepath.Join(dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("filling %s: %w", dir, err)
	}
	defer func() { _ = f.Close() }()
	for range 100 {
		free, err := Room(dir)
		if err != nil || free <= room {
			return err
		}
		end, err := f.Seek(0, 2)
		if err != nil {
			return fmt.Errorf("filling %s: %w", dir, err)
		}
		// ENOSPC: others were quicker, or what the file's own bookkeeping takes does not fit. What did fit is taken.
		if err := unix.Fallocate(int(f.Fd()), 0, end, free-room); err != nil && !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("filling %s: %w", dir, err)
		}
		if now, err := f.Seek(0, 2); err == nil && now == end {
			return nil // not even a block more
		}
	}
	return fmt.Errorf("filling %s: there is room again and again", dir)
}

// Empty takes away what Fill put there; nothing is done where there is none.
func Empty(dir string) error {
	if err := os.Remove(filepath.Join(dir, ballast)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("making room in %s: %w", dir, err)
	}
	return nil
}
