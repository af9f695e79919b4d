package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/huker/huker/internal/pki"
)

// hostAuthorities are where distributions keep the authorities that a host trusts.
func hostAuthorities() []string {
	return []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
}

// keystoneCAFiles matches what bringCA writes.
const keystoneCAFiles = "keystone-ca-*.pem"

// bringCA puts the authorities that vouch for Keystone into the data directory, which is all that the control plane's container sees of this
// host: those that were given, or those that the host trusts, as the container has none. The name carries the content, so that others
// make another container.
func (f *planeFlags) bringCA() error {
	if f.keystoneCA == "" && !strings.HasPrefix(strings.ToLower(f.keystoneURL), "https:") {
		return nil
	}
	from := []string{f.keystoneCA}
	if f.keystoneCA == "" {
		from = hostAuthorities()
	}
	var pem []byte
	for _, path := range from {
		var err error
		if pem, err = os.ReadFile(path); err == nil {
			break
		}
		if f.keystoneCA != "" || !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading the authority of Keystone's certificate: %w", err)
		}
	}
	if len(pem) == 0 {
		return fmt.Errorf("this host has no list of authorities that vouch for %s: give one with --keystone-ca", f.keystoneURL)
	}
	if err := os.MkdirAll(f.dataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	sum := sha256.Sum256(pem)
	f.keystoneCA = filepath.Join(f.dataDir, strings.Replace(keystoneCAFiles, "*", hex.EncodeToString(sum[:6]), 1))
	return pki.WriteFile(f.keystoneCA, pem, 0o600)
}

// forgetCAs removes what bringCA has written for other containers than the one that runs now.
func (f *planeFlags) forgetCAs() error {
	old, err := filepath.Glob(filepath.Join(f.dataDir, keystoneCAFiles))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range old {
		if path != f.keystoneCA {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
