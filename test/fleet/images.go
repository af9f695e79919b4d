package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
)

// baseKept is how long a base that nobody uses stays.
const baseKept = 7 * 24 * time.Hour

func basesDir() string { return filepath.Join(BaseDir(), "images") }

// machine gives a driver of the machine's own engine.
func machine(ctx context.Context) (*docker.Driver, error) {
	d, err := docker.Open(ctx, docker.Config{Owner: "huker-fleet"})
	if err != nil {
		return nil, fmt.Errorf("the engine with the images: %w", err)
	}
	return d, nil
}

// LoadImage has all hosts that are up hold an image of the machine's engine; nothing is done where it is there.
func (f *Fleet) LoadImage(ctx context.Context, ref string) error {
	from, err := machine(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	image, err := from.InspectImage(ctx, ref)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	var pipes []io.Writer
	var ends []*io.PipeWriter
	for _, h := range f.Hosts {
		if !h.Up() {
			continue
		}
		to, err := h.Docker(ctx, "huker-fleet")
		if err != nil {
			return err
		}
		defer to.Close()
		if there, err := to.InspectImage(ctx, ref); err == nil && there.ID == image.ID {
			continue
		} else if err != nil && !errors.Is(err, runtime.ErrNoImage) {
			return err
		}
		r, w := io.Pipe()
		pipes, ends = append(pipes, w), append(ends, w)
		g.Go(func() error {
			err := to.LoadImage(ctx, r)
			_ = r.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // who writes must not wait for one that has ended
			if err != nil {
				err = fmt.Errorf("loading %s on %s: %w", ref, h.Name, err)
			}
			return err
		})
	}
	if len(pipes) > 0 {
		g.Go(func() error {
			err := from.SaveImage(ctx, ref, io.MultiWriter(pipes...))
			for _, w := range ends {
				_ = w.CloseWithError(err)
			}
			return err
		})
	}
	return g.Wait()
}

// base gives a directory with the data of an engine that has some images, made the first time that it is asked for: a host with a copy of it need not load
// them, which takes some 9 s for a database's image and 0.1 s so.
func base(ctx context.Context, refs []string) (string, error) {
	if len(refs) == 0 {
		return "", nil
	}
	key, err := baseKey(ctx, refs)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(basesDir(), 0o700); err != nil {
		return "", fmt.Errorf("making the images' directory: %w", err)
	}
	held, err := lock(filepath.Join(basesDir(), "lock"), true)
	if err != nil {
		return "", err
	}
	defer held.Close()
	if err := prune(); err != nil {
		return "", err
	}
	dir := filepath.Join(basesDir(), key)
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err == nil {
		return dir, nil
	}
	f, err := register(Options{Hosts: 1, Name: "i" + suffix()})
	if err != nil {
		return "", err
	}
	err = f.start(ctx, "", 0)
	for _, ref := range refs {
		if err == nil {
			err = f.LoadImage(ctx, ref)
		}
	}
	if err == nil {
		err = f.Hosts[0].takeData(ctx, dir)
	}
	if err = errors.Join(err, f.Close(context.WithoutCancel(ctx))); err != nil {
		return "", fmt.Errorf("preparing images %s: %w", strings.Join(refs, ", "), err)
	}
	return dir, nil
}

// baseKey names a base by what is in it: images by content, under the names that they have.
func baseKey(ctx context.Context, refs []string) (string, error) {
	from, err := machine(ctx)
	if err != nil {
		return "", err
	}
	defer from.Close()
	var parts []string
	for _, ref := range refs {
		i, err := from.InspectImage(ctx, ref)
		if err != nil {
			return "", err
		}
		parts = append(parts, ref+" "+i.ID)
	}
	slices.Sort(parts)
	engine, _, err := from.Version(ctx)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(engine + "\n" + strings.Join(slices.Compact(parts), "\n")))
	return hex.EncodeToString(sum[:8]), nil
}

// takeData ends the engine in order and moves its data away.
func (h *Host) takeData(ctx context.Context, to string) error {
	for _, name := range []string{dockerdProgram, containerdProgram} {
		p, err := h.Program(name)
		if err != nil {
			return err
		}
		if err := p.Signal(unix.SIGTERM); err != nil {
			return err
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	for _, own := range []string{"network", "engine-id"} { // each engine has its own
		if err := os.RemoveAll(h.path("data", "docker", own)); err != nil {
			return err
		}
	}
	return os.Rename(h.path("data"), to)
}

// cloneBase fills a host's data directory. Layers of images are never written to, only laid under others, so their files may be the same ones on all
// hosts; all else is copied.
func cloneBase(ctx context.Context, base, data string) error {
	if base == "" {
		return nil
	}
	for _, engine := range []string{"docker", "containerd"} {
		entries, err := os.ReadDir(filepath.Join(base, engine))
		if err != nil {
			return fmt.Errorf("copying images: %w", err)
		}
		if err := os.Mkdir(filepath.Join(data, engine), 0o710); err != nil {
			return fmt.Errorf("copying images: %w", err)
		}
		for _, e := range entries {
			args := []string{"--archive", filepath.Join(base, engine, e.Name()), filepath.Join(data, engine)}
			if e.Name() == "overlay2" {
				args = append([]string{"--link"}, args...)
			}
			if out, err := exec.CommandContext(ctx, "cp", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("copying images: %w: %s", err, strings.TrimSpace(string(out)))
			}
		}
	}
	return nil
}

// RemoveImages removes what is kept to have images on hosts quickly.
func RemoveImages() error {
	held, err := lock(filepath.Join(basesDir(), "lock"), true)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer held.Close()
	return os.RemoveAll(basesDir())
}

// prune removes bases that nobody has used for long. The bases' lock must be held.
func prune() error {
	entries, err := os.ReadDir(basesDir())
	if err != nil {
		return fmt.Errorf("looking for images: %w", err)
	}
	for _, e := range entries {
		i, err := e.Info()
		if err == nil && e.IsDir() && time.Since(i.ModTime()) > baseKept {
			if err := os.RemoveAll(filepath.Join(basesDir(), e.Name())); err != nil {
				return fmt.Errorf("removing old images: %w", err)
			}
		}
	}
	return nil
}
