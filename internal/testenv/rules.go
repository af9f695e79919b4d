package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// HostRules waits until the rules of this host's firewall are a test's. Alone, for one that has its own come before all others' and looks whether they still do: nobody else's
// tests have Docker make a network meanwhile, with which Docker puts its rules first. Not alone, for those that have it do so, besides one another. They are given back with done, or
// with the process. A process must not wait for them alone while it has them otherwise.
func HostRules(alone bool) (done func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "huker-test-rules.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the lock of this host's rules: %w", err)
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		err = unix.Flock(int(f.Fd()), how) //nolint:gosec // a descriptor fits
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the lock of this host's rules: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil // which unlocks it, whatever it says
}
