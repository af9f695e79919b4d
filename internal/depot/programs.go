package depot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ProgramPath of a program on a host: ProgramPath + its SHA-256 in hex.
const ProgramPath = "/programs/"

// programMost bounds a program, in bytes: what is larger is none of ours.
const programMost = 1 << 30

var sumForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ErrNoProgram means that no other host gave a program.
var ErrNoProgram = errors.New("depot: no such program")

// FetchProgram has the program whose SHA-256 is sum be at path, from the first of sources that gives it. What another host sends is not in its place before all
// of it is here and found to be what was asked for, so it does not matter whom it comes from. ErrNoProgram: nobody gave it.
func (d *Depot) FetchProgram(ctx context.Context, sum, path string, sources []string) error {
	if !sumForm.MatchString(sum) {
		return fmt.Errorf("depot: %q is no SHA-256 in hex", sum)
	}
	var errs []error
	for _, source := range sources {
		began := time.Now()
		err := d.programFrom(ctx, source, sum, path)
		if err == nil {
			d.log.Info("program fetched", "op", "fetch", "program", filepath.Base(path), "sha256", sum, "from", source, "seconds", time.Since(began).Seconds())
			return nil
		}
		d.log.Warn("program not fetched", "op", "fetch", "program", filepath.Base(path), "sha256", sum, "from", source, "error", err)
		errs = append(errs, err)
	}
	return fmt.Errorf("%w: %s with SHA-256 %s: asked %d other hosts: %w", ErrNoProgram, filepath.Base(path), sum, len(sources), errors.Join(errs...))
}

func (d *Depot) programFrom(ctx context.Context, source, sum, path string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, transferDeadline)
	defer cancel()
	a, err := d.get(ctx, source, ProgramPath+sum)
	if err != nil {
		return err
	}
	defer func() { _ = a.Body.Close() }()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("keeping a program: %w", err)
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), io.LimitReader(a.Body, programMost)); err != nil {
		return fmt.Errorf("receiving what %s sent: %w", source, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("what %s sent is another program, with SHA-256 %s", source, got)
	}
	if err := errors.Join(f.Chmod(0o755), f.Sync()); err != nil { //nolint:gosec // guests run it, and it holds no secret
		return fmt.Errorf("keeping a program: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("keeping a program: %w", err)
	}
	return nil
}

// ProgramHandler serves programs to principals that allow lets in. find says where the one with a SHA-256 is; empty: not here.
func ProgramHandler(find func(sum string) (path string), allow func(principal string) bool, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal := principalOf(r)
		if !allow(principal) {
			http.Error(w, "this certificate does not allow it", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodGet {
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		sum := strings.TrimPrefix(r.URL.Path, ProgramPath)
		path := ""
		if sumForm.MatchString(sum) {
			path = find(sum)
		}
		if path == "" {
			http.Error(w, "no such program here", http.StatusNotFound)
			return
		}
		f, err := os.Open(path) //nolint:gosec // a path of find's, never one of the request's
		if err != nil {
			log.Warn("opening a program", "op", "serve", "program", path, "error", err)
			http.Error(w, "the program cannot be read", http.StatusInternalServerError)
			return
		}
		defer func() { _ = f.Close() }()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
}
