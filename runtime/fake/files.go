package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/huker/huker/runtime"
)

// tree is a file system: the files below one mount, by path. Folders come and go with what is in them.
type tree struct {
	mu    sync.Mutex
	files map[string][]byte
}

func newTree() *tree { return &tree{files: map[string][]byte{}} }

func (t *tree) read(name string) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	data, ok := t.files[name]
	return bytes.Clone(data), ok
}

func (t *tree) write(name string, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files[name] = bytes.Clone(data)
}

// below lists files whose path is name or lies under it.
func (t *tree) below(name string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, f := range slices.Sorted(maps.Keys(t.files)) {
		if f == name || name == "" || strings.HasPrefix(f, name+"/") {
			all = append(all, f)
		}
	}
	return all
}

// Files is what a container sees of its mounts and of its own root.
type Files struct {
	e *Engine
	c *container
}

// Read gives a file's content, or fs.ErrNotExist.
func (f Files) Read(name string) ([]byte, error) {
	f.e.mu.Lock()
	t, rest, _ := f.e.resolve(f.c, name)
	f.e.mu.Unlock()
	data, ok := t.read(rest)
	if !ok {
		return nil, fmt.Errorf("fake: %s: %w", name, fs.ErrNotExist)
	}
	return data, nil
}

// Write makes or replaces a file; EROFS where the container may not write.
func (f Files) Write(name string, data []byte) error {
	f.e.mu.Lock()
	t, rest, readOnly := f.e.resolve(f.c, name)
	f.e.mu.Unlock()
	if readOnly {
		return fmt.Errorf("fake: %s: %w", name, syscall.EROFS)
	}
	t.write(rest, data)
	return nil
}

// resolve finds the file system that a path lies in: the mount with the longest target, or else the container's own. e.mu is held.
func (e *Engine) resolve(c *container, name string) (t *tree, rest string, readOnly bool) {
	name = path.Clean("/" + name)
	t, readOnly = c.root, c.spec.ReadOnly
	target := ""
	for _, m := range c.spec.Mounts {
		at := path.Clean(m.Target)
		if (name != at && !strings.HasPrefix(name, at+"/")) || len(at) <= len(target) {
			continue
		}
		target, readOnly = at, m.ReadOnly
		switch m.Kind {
		case runtime.MountVolume:
			if v := e.volumes[m.Source]; v != nil {
				t = v.files
			}
		case runtime.MountBind:
			if e.binds[m.Source] == nil {
				e.binds[m.Source] = newTree()
			}
			t = e.binds[m.Source]
		case runtime.MountMemory:
			if t = c.memory[m.Target]; t == nil {
				t = newTree() // not started yet: what is written there is gone
			}
		}
	}
	return t, strings.TrimPrefix(strings.TrimPrefix(name, target), "/"), readOnly
}

// CopyTo implements runtime.Copier.
func (d *Driver) CopyTo(ctx context.Context, name, dir string, archive io.Reader) error {
	return d.e.callFree(ctx, OpCopyTo, name, func() error {
		d.e.mu.Lock()
		c, err := d.own(name)
		d.e.mu.Unlock()
		if err != nil {
			return err
		}
		files := Files{e: d.e, c: c}
		for r := tar.NewReader(archive); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			if err := files.Write(path.Join(dir, h.Name), data); err != nil { //nolint:gosec // files in memory: there is nothing to break out to
				return err
			}
		}
	})
}

// CopyFrom implements runtime.Copier.
func (d *Driver) CopyFrom(ctx context.Context, name, from string) (r io.ReadCloser, err error) {
	err = d.e.callFree(ctx, OpCopyFrom, name, func() error {
		d.e.mu.Lock()
		c, err := d.own(name)
		if err != nil {
			d.e.mu.Unlock()
			return err
		}
		t, rest, _ := d.e.resolve(c, from)
		d.e.mu.Unlock()
		found := t.below(rest)
		if len(found) == 0 {
			return fmt.Errorf("%s: %w", from, runtime.ErrNotFound)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, f := range found {
			data, _ := t.read(f)
			h := &tar.Header{Name: path.Join(path.Base(from), strings.TrimPrefix(f, rest)), Mode: 0o644, Size: int64(len(data))}
			if err := errors.Join(w.WriteHeader(h), write(w, data)); err != nil {
				return err
			}
		}
		r = io.NopCloser(&b)
		return w.Close()
	})
	return r, err
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// execOutput bounds what Exec keeps of each stream.
const execOutput = 1 << 20

// bounded keeps the first execOutput bytes. It is locked: a Program may still write when Exec has given it up.
type bounded struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := execOutput - b.b.Len(); room > 0 {
		b.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *bounded) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}
