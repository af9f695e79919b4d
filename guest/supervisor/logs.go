package supervisor

import (
	"errors"
	"fmt"
	"os"

	"github.com/huker/huker/guest/paths"
)

// Bounds of logs: of each there is the one that is written to and the one before, so they take twice this.
const (
	maxErrorLog = 8 << 20
	maxQueryLog = 32 << 20
)

// rotate puts aside the logs that have grown beyond their bounds, and reports whether there was one. mysqld goes on writing to the old
// file until it is told to open its logs anew.
func rotate(p paths.Paths) (bool, error) {
	done := false
	var errs []error
	for _, l := range []struct {
		path  string
		limit int64
	}{{p.ErrorLog(), maxErrorLog}, {p.SlowLog(), maxQueryLog}, {p.GeneralLog(), maxQueryLog}} {
		st, err := os.Stat(l.path)
		if err != nil || st.Size() <= l.limit {
			continue // not written to yet
		}
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			errs = append(errs, fmt.Errorf("rotate: %w", err))
			continue
		}
		done = true
	}
	return done, errors.Join(errs...)
}
