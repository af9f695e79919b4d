package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/guest/paths"
)

const (
	// full is how little space left means that the volume is full: less than mysqld needs for anything.
	full = 1 << 20
	// tail is how much of a log is looked at.
	tail = 64 << 10
	// reasons is how many lines are quoted.
	reasons = 3
)

// volumeFull says so in words if there is no space, and nothing otherwise.
func volumeFull(volume string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(volume, &st); err != nil {
		return ""
	}
	size := uint64(st.Bsize) * st.Blocks // #nosec G115 -- a block size is positive
	switch {
	case uint64(st.Bsize)*st.Bavail < full: // #nosec G115 -- as above
		return fmt.Sprintf("the volume is full (%d MB)", size>>20)
	case st.Files > 0 && st.Ffree == 0:
		return "the volume is full: it can hold no more files"
	}
	return ""
}

// reasonOf says why something did not work.
func reasonOf(p paths.Paths, err error) string {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if r := volumeFull(p.Volume); r != "" {
			return r
		}
		return "the volume is full: " + err.Error()
	}
	return err.Error()
}

// reasonOfExit says why mysqld ended, from what it wrote to its error log since the offset, or to its standard error.
func reasonOfExit(p paths.Paths, since int64, said, exit string) string {
	if r := volumeFull(p.Volume); r != "" {
		return r
	}
	text, err := readTail(p.ErrorLog(), since)
	if err != nil {
		text = ""
	}
	for _, t := range []string{text, said} {
		if lines := errorLines(t); len(lines) > 0 {
			return fmt.Sprintf("mysqld does not start (%s): %s", exit, strings.Join(lines, "; "))
		}
	}
	return fmt.Sprintf("mysqld does not start (%s), and says nothing about it", exit)
}

func readTail(path string, since int64) (string, error) {
	f, err := os.Open(path) // #nosec G304 -- mysqld's log
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if since > st.Size() {
		since = 0
	}
	from := max(since, st.Size()-tail)
	b, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	return string(b), err
}

// errorLines are the last [ERROR] lines without their times and numbers; "Aborting" only repeats that there was one.
func errorLines(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		_, message, ok := strings.Cut(line, "[ERROR]")
		if !ok {
			continue
		}
		for {
			message = strings.TrimSpace(message)
			if !strings.HasPrefix(message, "[") {
				break
			}
			_, rest, ok := strings.Cut(message, "]")
			if !ok {
				break
			}
			message = rest
		}
		if message != "" && message != "Aborting" {
			found = append(found, message)
		}
	}
	return found[max(0, len(found)-reasons):]
}

// ring keeps the end of what a child writes.
type ring struct {
	mu sync.Mutex
	b  []byte
}

const ringSize = 8 << 10

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = append(r.b, p...)
	if extra := len(r.b) - ringSize; extra > 0 {
		r.b = append(r.b[:0], r.b[extra:]...)
	}
	return len(p), nil
}

func (r *ring) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.b)
}

func (r *ring) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = r.b[:0]
}
