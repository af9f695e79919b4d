package sysmgr

import (
	"time"

	"github.com/huker/huker/runtime"
)

// Bounds of the pause before a container that keeps dying is started again. The first restart is at once.
const (
	minRestartPause = 500 * time.Millisecond
	maxRestartPause = 30 * time.Second
	// restartForgiven is how long a container must have run for its earlier deaths to be forgotten.
	restartForgiven = 30 * time.Second
)

// backoff says when an instance's container may be brought back again, so that one that dies at once, or that cannot be made, does not
// eat the host.
type backoff struct {
	failures int
	next     time.Time
	forgiven time.Time   // the death before which all is forgotten
	timer    *time.Timer // for the end of the pause; there is at most one
	trouble  error       // why the last attempt failed; nil: it did not
}

// wait says how long to wait before a container in state s is brought back, and counts the attempt when the answer is zero.
func (b *backoff) wait(now time.Time, s runtime.State) time.Duration {
	// Once for each death, or attempts to start it that fail would never slow down.
	if s.Finished.After(b.forgiven) && s.Finished.Sub(s.Started) > restartForgiven {
		b.failures, b.next, b.forgiven = 0, time.Time{}, s.Finished
	}
	if now.Before(b.next) {
		return b.next.Sub(now)
	}
	b.next = now.Add(min(minRestartPause<<min(b.failures, 10), maxRestartPause))
	b.failures++
	return 0
}

// backoffOf gives an instance's; h.mu is held.
func (h *Host) backoffOf(instance string) *backoff {
	b := h.restarts[instance]
	if b == nil {
		b = &backoff{}
		h.restarts[instance] = b
	}
	return b
}

// pause says how long to wait before an instance's container is brought back, and why the last attempt failed. Unless done is closed
// before, the instance is looked at when the pause is over.
func (h *Host) pause(instance string, s runtime.State, done <-chan struct{}) (pause time.Duration, trouble error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.backoffOf(instance)
	pause = b.wait(time.Now(), s)
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if pause > 0 {
		b.timer = time.AfterFunc(pause, func() {
			select {
			case h.due <- instance:
			case <-done:
			}
		})
	}
	return pause, b.trouble
}
