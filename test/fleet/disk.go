package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/huker/huker/test/disk"
)

// ErrNoDisk means that a host has no disk of its own.
var ErrNoDisk = errors.New("fleet: the host's volumes are on the machine's disk")

// diskImage is the file with the host's file system for volumes; init.sh knows it, too.
func (h *Host) diskImage() string { return h.path("disk") }

func (h *Host) makeDisk(ctx context.Context, size int64) error {
	if size == 0 {
		return nil
	}
	return disk.Make(ctx, h.diskImage(), size)
}

// awaitDisk waits until nobody has the disk mounted any more. The kernel lets go of a lost host's mounts in its own time, and a file system is not to be mounted by two.
func (h *Host) awaitDisk(ctx context.Context) error {
	if _, err := os.Stat(h.diskImage()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		used, err := attached(h.diskImage())
		if err != nil || !used {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the disk of %s stays in use: %w", h.Name, ctx.Err())
		}
	}
}

// attached says whether a file is a block device.
func attached(image string) (bool, error) {
	all, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return false, fmt.Errorf("looking for loop devices: %w", err)
	}
	for _, path := range all {
		if name, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(name)) == image { //nolint:gosec // the kernel's
			return true, nil
		}
	}
	return false, nil
}

// volumes is where the host's engine keeps them, as this machine finds it.
func (h *Host) volumes() string {
	return fmt.Sprintf("/proc/%d/root%s", h.Pid(), h.path("data", "docker", "volumes"))
}

// FillDisk leaves so many bytes, at most, on the disk that the host's volumes are on.
func (h *Host) FillDisk(room int64) error {
	if _, err := os.Stat(h.diskImage()); err != nil {
		return fmt.Errorf("filling the disk of %s: %w", h.Name, ErrNoDisk)
	}
	if !h.Up() {
		return ErrDown
	}
	return disk.Fill(h.volumes(), room)
}

// Room is how many bytes are free where the host's volumes are.
func (h *Host) Room() (int64, error) {
	if !h.Up() {
		return 0, ErrDown
	}
	return disk.Room(h.volumes())
}

func (h *Host) emptyDisk() error {
	if !h.Up() {
		return nil
	}
	return disk.Empty(h.volumes())
}
