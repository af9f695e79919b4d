package datadir

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes a volume for this process; it is free again when the file is closed or the process ends, however it ends. Without it a second
// container on the same volume could throw away what the first is making.
func Lock(volume string) (*os.File, error) {
	f, err := os.Open(volume) // #nosec G304 -- the volume
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // only read
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, volume)
		}
		return nil, fmt.Errorf("datadir: lock %s: %w", volume, err)
	}
	return f, nil
}
