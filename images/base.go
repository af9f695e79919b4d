package images

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
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
)

// baseVersion is raised when the way a base image is made changes.
const baseVersion = 1

// Times that a registry is given: to say anything at all, and to be silent in the middle of a pull. A machine without a way to a
// registry must not wait long for what it makes by itself in half a minute.
const (
	firstWord = 15 * time.Second
	nextWord  = 60 * time.Second
)

// serviceSuite is the Debian release below Huker's own image.
const serviceSuite = "bookworm"

func baseRef(suite string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "base %d %s", baseVersion, suite))
	return "huker/base:" + suite + "-" + hex.EncodeToString(sum[:6])
}

// Base gives a minimal Debian of a suite, pulled where a registry answers, else made with debootstrap.
func (b *Builder) Base(ctx context.Context, suite string, progress Progress) (string, error) {
	ref := baseRef(suite)
	if _, err := b.docker.ImageInspect(ctx, ref); err == nil {
		return ref, nil
	} else if !errdefs.IsNotFound(err) {
		return "", fmt.Errorf("looking for base image %s: %w", ref, err)
	}
	if os.Geteuid() != 0 { // only root can make one
		return ref, b.pullBase(ctx, suite, ref, progress)
	}
	pullErr := b.pullBase(ctx, suite, ref, progress)
	if pullErr == nil {
		return ref, nil
	}
	if ctx.Err() != nil {
		return "", pullErr
	}
	b.detail.say("%v", pullErr)
	progress.say("it cannot be pulled: making it with debootstrap, which takes half a minute")
	if err := b.bootstrap(ctx, suite, ref); err != nil {
		return "", fmt.Errorf("%w: %w (and the pull: %w)", ErrNoBase, err, pullErr)
	}
	return ref, nil
}

func (b *Builder) pullBase(ctx context.Context, suite, ref string, progress Progress) error {
	from := "debian:" + suite + "-slim"
	if err := b.pull(ctx, from, progress); err != nil {
		return fmt.Errorf("%w: %w", ErrNoBase, err)
	}
	if err := b.docker.ImageTag(ctx, from, ref); err != nil {
		return fmt.Errorf("naming the base image: %w", err)
	}
	return nil
}

// pull pulls an image unless the registry stays silent.
func (b *Builder) pull(ctx context.Context, ref string, progress Progress) error {
	progress.say("pulling %s", ref)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := fmt.Errorf("the registry is silent")
	timer := time.AfterFunc(firstWord, func() { cancel(silence) })
	defer timer.Stop()
	err := func() error {
		rc, err := b.docker.ImagePull(ctx, ref, image.PullOptions{})
		if err != nil {
			return err
		}
		defer func() { _ = rc.Close() }()
		_, err = engineStream(rc, func(string) { timer.Reset(nextWord) })
		return err
	}()
	if err != nil && errors.Is(context.Cause(ctx), silence) {
		err = silence
	}
	if err != nil {
		return fmt.Errorf("pulling %s: %w", ref, err)
	}
	return nil
}

// bootstrap makes a base image from packages.
func (b *Builder) bootstrap(ctx context.Context, suite, ref string) error {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return fmt.Errorf("debootstrap is not installed (apt-get install debootstrap): %w", err)
	}
	dir, err := os.MkdirTemp(bootstrapDir(), "huker-base-")
	if err != nil {
		return fmt.Errorf("making a folder for the base image: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			b.log.Warn("the folder of a base image was not removed", "op", "image.build", "folder", dir, "error", err)
		}
	}()
	args := []string{"--variant=minbase", suite, dir}
	if b.mirror != "" {
		args = append(args, b.mirror)
	}
	if err := command(ctx, b.detail, "debootstrap", args...); err != nil {
		return err
	}
	for _, junk := range []string{"var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/log/*"} {
		if err := removeAll(filepath.Join(dir, junk)); err != nil {
			return err
		}
	}
	return b.importDir(ctx, dir, ref, []string{"CMD [\"bash\"]", label(LabelKind, KindBase), "ENV PATH=" + searchPath})
}

// bootstrapDir is where there is room for a Debian, with devices: /tmp often is memory, mounted with nodev, which debootstrap refuses.
func bootstrapDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	return "/var/tmp"
}

// importDir makes an image of a folder.
func (b *Builder) importDir(ctx context.Context, dir, ref string, changes []string) error {
	ctx, cancel := context.WithCancel(ctx) // ends tar when the import fails
	defer cancel()
	tar := exec.CommandContext(ctx, "tar", "--numeric-owner", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*", "-C", dir, "-c", ".")
	out, err := tar.StdoutPipe()
	if err != nil {
		return fmt.Errorf("packing the base image: %w", err)
	}
	if err := tar.Start(); err != nil {
		return fmt.Errorf("packing the base image: %w", err)
	}
	importErr := b.importTar(ctx, out, ref, changes)
	if importErr != nil {
		cancel()
	}
	if err := tar.Wait(); err != nil && importErr == nil {
		return fmt.Errorf("packing the base image: %w", err)
	}
	return importErr
}

// importTar makes an image of one layer.
func (b *Builder) importTar(ctx context.Context, r io.Reader, ref string, changes []string) error {
	rc, err := b.docker.ImageImport(ctx, image.ImportSource{Source: r, SourceName: "-"}, ref, image.ImportOptions{Changes: changes, Message: "made by huker"})
	if err != nil {
		return fmt.Errorf("importing %s: %w", ref, err)
	}
	defer func() { _ = rc.Close() }()
	if _, err := engineStream(rc, func(string) {}); err != nil {
		return fmt.Errorf("importing %s: %w", ref, err)
	}
	return nil
}

// command runs a program and hands its lines to line.
func command(ctx context.Context, line Progress, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 10 * time.Second
	lines := &lineWriter{line: line}
	cmd.Stdout, cmd.Stderr = lines, lines
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w; its last lines:\n%s", name, err, &lines.tail)
	}
	return nil
}

// lineWriter cuts what is written into lines. os/exec writes to it from one goroutine, since it is both outputs.
type lineWriter struct {
	line Progress
	rest string
	tail tail
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest += string(p)
	for {
		l, rest, ok := strings.Cut(w.rest, "\n")
		if !ok {
			return len(p), nil
		}
		w.rest = rest
		w.line.line(l)
		w.tail.add(l)
	}
}

func removeAll(pattern string) error {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("looking for %s: %w", pattern, err)
	}
	for _, f := range found {
		if err := os.RemoveAll(f); err != nil {
			return fmt.Errorf("clearing the base image: %w", err)
		}
	}
	return nil
}
