// Package datadir makes a database's data directory, once.
//
// It owns what is in a new data directory and the order of steps that makes the making safe against a crash of the process, the host or
// the power at any point. It must not know how mysqld is configured or watched.
//
// # When a data directory counts as made
//
// Copying the image's template takes 0.15 s; having it on disk takes about 0.2 s more on a good disk and seconds on a bad one. mysqld needs
// some 0.7 s of CPU, not disk, to start. So the two overlap: Ensure gives a directory that is whole for everyone who reads it, but
// not yet on disk, and Made.Commit then brings it there while mysqld is already starting on it. Until Commit has returned the database does
// not exist: the supervisor does not report it as running, so nobody writes to it and nobody is told that it is there.
//
// A file beside it, the mark, says that the directory does not count yet. It is made, and on disk, before anything else, and removed,
// which is brought to disk too, after everything else is there. So:
//
//	power fails before the mark is gone from the disk: the mark is found, and whatever lies there is thrown away and made anew. mysqld may
//	  have been writing there, but for nobody;
//	power fails later: all that was copied is on disk. What mysqld changed since is on disk in the order that it wanted, since
//	  its own flushes count from a base that is complete.
//
// The mark says "throw away", and not its absence: were a directory thrown away because a "finished" file is missing, a restored or
// moved volume that lost one small file would lose the database. A data directory without a mark is never touched.
package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/huker/huker/internal/fault"
)

// ErrInUse means that another supervisor holds the volume.
var ErrInUse = errors.New("datadir: the volume is in use by another container")

// Points at which the making may die.
const (
	PointMarked    fault.Point = "datadir.make.marked"
	PointFilling   fault.Point = "datadir.make.filling"
	PointFilled    fault.Point = "datadir.make.filled"
	PointRenamed   fault.Point = "datadir.make.renamed"
	PointSynced    fault.Point = "datadir.commit.synced"
	PointCommitted fault.Point = "datadir.commit.unmarked"
)

// Points are all of them, in order.
func Points() []fault.Point {
	return []fault.Point{PointMarked, PointFilling, PointFilled, PointRenamed, PointSynced, PointCommitted}
}

// Config says what to make.
type Config struct {
	Data     string   // the data directory
	New      string   // in the making; on the same file system
	Beside   []string // other directories to be had, 0700
	Template string   // a data directory to copy; where there is none, Initialize makes one
	// Initialize fills the empty directory dir with a new database, as `mysqld --initialize-insecure` does.
	Initialize func(ctx context.Context, dir string) error
}

// Made is a data directory that can be started on.
type Made struct {
	Fresh bool // it was made just now

	volume string
	mark   string
	open   []*os.File // all that is to be brought to disk, opened before mysqld can rename or remove it
}

// Mark is the file that says that the data directory does not count yet.
func (c Config) Mark() string { return c.Data + ".making" }

// Ensure has a data directory be there. It is safe to repeat after a crash at any point, and touches nothing of a finished one.
// A fresh one counts only once Commit has returned; Close gives up on that.
func Ensure(ctx context.Context, c Config) (_ *Made, err error) {
	for _, d := range c.Beside {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("datadir: %w", err)
		}
	}
	m := &Made{volume: filepath.Dir(c.Data), mark: c.Mark()}
	marked, err := exists(m.mark)
	if err != nil {
		return nil, err
	}
	there, err := exists(c.Data)
	if err != nil {
		return nil, err
	}
	if there && !marked {
		return m, nil
	}
	m.Fresh = true
	if err := m.setMark(); err != nil {
		return nil, err
	}
	fault.Pass(ctx, PointMarked)
	for _, leftover := range []string{c.Data, c.New} {
		if err := os.RemoveAll(leftover); err != nil {
			return nil, fmt.Errorf("datadir: remove what a crash left: %w", err)
		}
	}
	defer func() {
		if err != nil {
			_ = m.Close()
			_ = os.RemoveAll(c.New) // on a full disk, leave room for those who have to say so
		}
	}()
	if err := fill(ctx, c); err != nil {
		return nil, err
	}
	fault.Pass(ctx, PointFilled)
	if err := m.collect(c.New); err != nil {
		return nil, err
	}
	if err := os.Rename(c.New, c.Data); err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	fault.Pass(ctx, PointRenamed)
	return m, nil
}

// Commit brings a fresh data directory to disk; the database exists when it has returned without an error. It may run beside mysqld.
func (m *Made) Commit(ctx context.Context) error {
	if !m.Fresh {
		return nil
	}
	for i, f := range m.open {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("datadir: bring %s to disk: %w", f.Name(), err)
		}
		_ = f.Close() // only read
		m.open[i] = nil
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
	}
	m.open = nil
	if err := syncDir(m.volume); err != nil { // the rename
		return err
	}
	fault.Pass(ctx, PointSynced)
	if err := os.Remove(m.mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("datadir: %w", err)
	}
	if err := syncDir(m.volume); err != nil {
		return err
	}
	fault.Pass(ctx, PointCommitted)
	return nil
}

// Close lets go of what Commit would have needed.
func (m *Made) Close() error {
	for _, f := range m.open {
		if f != nil {
			_ = f.Close() // only read
		}
	}
	m.open = nil
	return nil
}

func (m *Made) setMark() error {
	f, err := os.OpenFile(m.mark, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	return syncDir(m.volume)
}

// collect opens all files and directories below dir.
func (m *Made) collect(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		f, err := os.Open(path) //nolint:gosec // below the directory that was just made, in which nobody else can write
		if err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		m.open = append(m.open, f)
		return nil
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir) // #nosec G304 -- the volume
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if err := f.Sync(); err != nil {
		return fmt.Errorf("datadir: bring %s to disk: %w", dir, err)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("datadir: %w", err)
}
