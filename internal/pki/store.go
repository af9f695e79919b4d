package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Files of the deployment's authority. Certificate and key are one file, so that no crash can leave one without the other.
const (
	AuthorityFile = "authority.pem" // certificate and key, 0600
	authorityCert = "authority.crt" // certificate only, 0644: for people and other programs
	lockFile      = "authority.lock"
)

// OpenCA gives the deployment's authority, which it makes in dir when there is none. Several processes may do so at once, and each
// may be killed at any point: all that come through have the same authority.
func OpenCA(dir string) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	defer unlock()
	ca, err := readCA(filepath.Join(dir, AuthorityFile))
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = createCA(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open authority in %s: %w", dir, err)
	}
	// Put back what a crash between the two files left out.
	crt := filepath.Join(dir, authorityCert)
	if have, err := os.ReadFile(crt); err != nil || string(have) != string(ca.certPEM) {
		if err := WriteFile(crt, ca.certPEM, 0o644); err != nil {
			return nil, fmt.Errorf("open authority: %w", err)
		}
	}
	return ca, nil
}

// ReadCA gives the authority that OpenCA made in dir.
func ReadCA(dir string) (*CA, error) {
	ca, err := readCA(filepath.Join(dir, AuthorityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no authority in %s: make it with `huker pki init --dir %s`", dir, dir)
	}
	return ca, err
}

func readCA(path string) (*CA, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// A file that was copied by hand may have become readable for others.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	ca, err := ParseCA(text, text)
	if err != nil {
		// Never replaced by itself: every certificate in use hangs on it.
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ca, nil
}

func createCA(dir string) (*CA, error) {
	name, err := newSerial()
	if err != nil {
		return nil, err
	}
	// A name of its own keeps two deployments apart in a client's trust store.
	ca, err := NewCA("huker deployment " + name.Text(36)[:8])
	if err != nil {
		return nil, err
	}
	both := append(ca.CertPEM(), ca.keyPEM...)
	if err := WriteFile(filepath.Join(dir, AuthorityFile), both, 0o600); err != nil {
		return nil, err
	}
	return ca, nil
}

// WriteFile replaces a file as a whole and durably: after a crash it holds the old or the new content. The
// file is never readable with wider permissions than perm. Concurrent writers of one file must exclude one another.
func WriteFile(path string, content []byte, perm fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	// A fixed name, so that what a crash left behind is overwritten by the next attempt.
	temp := filepath.Join(dir, "."+filepath.Base(path)+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close(), os.Remove(temp))
		}
	}()
	if _, err = f.Write(content); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lock waits until it has the file's lock; the kernel drops it when the process dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
