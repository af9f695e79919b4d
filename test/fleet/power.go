package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Lose ends the host as a power failure would: at one moment it sends nothing any more, not even what the kernel says for processes that die, and all
// that ran on it is gone, with its memory. What was written to files stays, flushed or not: the machine's page cache is not the host's. It waits until
// no process is left. A host that is down stays down.
func (h *Host) Lose(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	return h.lose(ctx)
}

func (h *Host) lose(ctx context.Context) error {
	pid := h.Pid()
	if pid == 0 {
		return nil
	}
	err := enter(h.fleet.hub, ofNetwork, func() error { return silence(h.Name) })
	if kerr := kill(ctx, []int{pid}, h.cgroup()); kerr != nil {
		return errors.Join(err, fmt.Errorf("losing host %s: %w", h.Name, kerr))
	}
	h.pid.Store(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.programs {
		if p.done != nil {
			<-p.done // it was killed: only to be noted
		}
	}
	return errors.Join(err, enter(h.fleet.hub, ofNetwork, func() error { return pullOut(h.Name) }))
}

// Reboot loses the host, when it is up, and starts it again. Cuts stay.
func (h *Host) Reboot(ctx context.Context) error {
	h.power.Lock()
	defer h.power.Unlock()
	if err := h.lose(ctx); err != nil {
		return err
	}
	if err := h.boot(ctx); err != nil {
		return errors.Join(fmt.Errorf("rebooting host %s: %w", h.Name, err), h.lose(context.WithoutCancel(ctx)))
	}
	return nil
}

// Pause stops all processes of the host at one moment, or only some, given by their numbers on the host, as Docker says them. The host's kernel goes
// on: it answers pings, and accepts connections that nobody serves.
func (h *Host) Pause(ctx context.Context, pids ...int) error { return h.signal(ctx, "STOP", pids) }

// Resume has them go on.
func (h *Host) Resume(ctx context.Context, pids ...int) error { return h.signal(ctx, "CONT", pids) }

// Kill kills some processes, given by their numbers on the host, as Docker says them.
func (h *Host) Kill(ctx context.Context, pids ...int) error {
	if len(pids) == 0 {
		return fmt.Errorf("%w: no process", ErrInvalid)
	}
	return h.signal(ctx, "KILL", pids)
}

func (h *Host) signal(ctx context.Context, name string, pids []int) error {
	args := []string{"bash", "-c", `kill -s "$0" -- "$@"`, name}
	if len(pids) == 0 {
		args = append(args, "-1") // all but the one that says it, and the host's first
	}
	for _, p := range pids {
		args = append(args, strconv.Itoa(p))
	}
	_, err := h.Exec(ctx, args...)
	return err
}

// Heal takes away all that was done to the host: it is started if it was lost, goes on if it was paused, has room on its disk, and no cut that it is part of and no limit
// of its speed is left.
func (h *Host) Heal(ctx context.Context) error {
	if h.Up() {
		if err := h.Resume(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(h.mend(ctx), h.Slow(0), h.Boot(ctx), h.emptyDisk()); err != nil {
		return err
	}
	return h.StartDocker(ctx)
}

// Pids are all processes of the host, those in containers included, as the machine numbers them.
func (h *Host) Pids() ([]int, error) {
	if !h.Up() {
		return nil, nil
	}
	return inside([]int{h.Pid()})
}

func (h *Host) cgroup() string { return cgroupOf(h.fleet.Name) + "/" + h.Name }

// Memory is what the host's processes have for themselves, in bytes (PSS: what several share is divided among them).
func (h *Host) Memory() (int64, error) {
	pids, err := h.Pids()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, p := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		sum += field(data, "Pss:") << 10
	}
	return sum, nil
}
