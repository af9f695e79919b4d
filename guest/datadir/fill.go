package datadir

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/fault"
)

const (
	// copiers run beside one another; two keep a disk and two cores busy.
	copiers = 2
	// piece is what is looked at for being zero: a page of InnoDB's.
	piece = 16 << 10
	// chunk is read at once.
	chunk = 16 * piece
	// rsaBits is what mysqld itself takes.
	rsaBits = 2048
)

// skipped reports whether a file of a template is not for a new database: what would make two databases the same (the server's UUID,
// keys), what belongs to the server that made the template, and what only a running server has.
func skipped(rel string) bool {
	dir, name := filepath.Split(rel)
	if dir != "" {
		return strings.HasPrefix(dir, "#innodb_temp")
	}
	switch {
	case name == "auto.cnf", name == "mysqld-auto.cnf", name == "mysqld-auto.cnf.backup", name == "ibtmp1":
		return true
	case strings.HasPrefix(name, "binlog."):
		return true
	}
	switch filepath.Ext(name) {
	case ".pem", ".pid", ".err", ".sock", ".lock":
		return true
	}
	return false
}

// fill makes c.New from the template, or has it initialized, and gives it a key pair of its own.
func fill(ctx context.Context, c Config) error {
	keys := make(chan error, 1)
	var private, public []byte
	go func() { // 0.15 s of CPU, beside the copying
		var err error
		private, public, err = newKeys()
		keys <- err
	}()
	err := os.Mkdir(c.New, 0o700)
	if err != nil {
		err = fmt.Errorf("datadir: %w", err)
	} else if err = copyOrInitialize(ctx, c); err == nil {
		err = ctx.Err()
	}
	if kerr := <-keys; err == nil && kerr != nil {
		err = kerr
	}
	if err != nil {
		return err
	}
	// Clients without TLS send a new account's password under this key (caching_sha2_password). mysqld could make it, but only while it
	// starts, one thing after the other.
	for name, text := range map[string][]byte{"private_key.pem": private, "public_key.pem": public} {
		if err := os.WriteFile(filepath.Join(c.New, name), text, 0o600); err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
	}
	return nil
}

func copyOrInitialize(ctx context.Context, c Config) error {
	template, err := exists(c.Template)
	if err != nil {
		return err
	}
	if template {
		return copyTree(ctx, c.Template, c.New)
	}
	if c.Initialize == nil {
		return errors.New("datadir: there is no template and no way to initialize")
	}
	if err := c.Initialize(ctx, c.New); err != nil {
		return fmt.Errorf("datadir: initialize: %w", err)
	}
	return nil
}

func newKeys() (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, nil, fmt.Errorf("datadir: key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("datadir: key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), nil
}

type pair struct{ from, to string }

// copyTree copies the files below from that a new database may have.
func copyTree(ctx context.Context, from, to string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan pair)
	var wg sync.WaitGroup
	for range copiers {
		wg.Go(func() {
			buf := make([]byte, chunk)
			for p := range work {
				if ctx.Err() != nil {
					continue // drain
				}
				if err := copyFile(p, buf); err != nil {
					cancel(err)
				}
				fault.Pass(ctx, PointFilling)
			}
		})
	}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		target := filepath.Join(to, rel)
		switch {
		case rel == ".", skipped(rel):
			return nil
		case d.IsDir():
			if err := os.Mkdir(target, 0o700); err != nil {
				return fmt.Errorf("datadir: %w", err)
			}
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("datadir: template: %s is no regular file", path)
		}
		work <- pair{path, target}
		return nil
	})
	close(work)
	wg.Wait()
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}

// copyFile copies a file without writing its zeros: more than half of a template is. Its space is reserved all the same, since InnoDB
// takes the pages of a tablespace for its own and would die of finding no space for one.
func copyFile(p pair, buf []byte) (err error) {
	in, err := os.Open(p.from)
	if err != nil {
		return fmt.Errorf("datadir: template: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	st, err := in.Stat()
	if err != nil {
		return fmt.Errorf("datadir: template: %w", err)
	}
	out, err := os.OpenFile(p.to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	defer func() {
		if cerr := out.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("datadir: %w", cerr)
		}
	}()
	reserved, err := reserve(out, st.Size())
	if err != nil {
		return err
	}
	for off := int64(0); ; {
		n, rerr := io.ReadFull(in, buf)
		if err := writePieces(out, buf[:n], off, reserved); err != nil {
			return fmt.Errorf("datadir: %w", err)
		}
		off += int64(n)
		switch {
		case errors.Is(rerr, io.EOF), errors.Is(rerr, io.ErrUnexpectedEOF):
			// Lets the disk begin; Commit is what waits for it. Some file systems cannot: then they begin later.
			_ = unix.SyncFileRange(int(out.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			return nil
		case rerr != nil:
			return fmt.Errorf("datadir: template: %w", rerr)
		}
	}
}

// reserve reports whether the file's space is its own now and reads as zeros.
func reserve(f *os.File, size int64) (bool, error) {
	if size == 0 {
		return false, nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return false, nil
		default:
			return false, fmt.Errorf("datadir: reserve %s: %w", f.Name(), err)
		}
	}
}

var zeros [piece]byte

func writePieces(f *os.File, b []byte, off int64, skipZeros bool) error {
	for len(b) > 0 {
		n := min(piece, len(b))
		if !skipZeros || !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := f.WriteAt(b[:n], off); err != nil {
				return err
			}
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
