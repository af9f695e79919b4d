package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Sweep removes what is left of fleets whose makers have ended without doing so, and gives their names. Fleets that are in use stay, and so do those that
// are to be kept, while they run.
func Sweep(ctx context.Context) ([]string, error) {
	held, err := registry()
	if err != nil {
		return nil, err
	}
	defer held.Close()
	entries, err := os.ReadDir(fleetsDir())
	if err != nil {
		return nil, fmt.Errorf("looking for fleets: %w", err)
	}
	var swept []string
	for _, e := range entries {
		if !names.MatchString(e.Name()) {
			continue
		}
		gone, err := sweep(ctx, e.Name())
		if err != nil {
			return swept, err
		}
		if gone {
			swept = append(swept, e.Name())
		}
	}
	return swept, nil
}

func sweep(ctx context.Context, name string) (bool, error) {
	own, err := take(name)
	if errors.Is(err, ErrTaken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer own.Close()
	dir := fleetDir(name)
	// One without a state is one whose maker was killed before it could write it.
	if s, err := readState(dir); err == nil && s.Keep && holding(dir)[switchScript(dir)] != 0 {
		return false, nil
	}
	return true, remove(ctx, name)
}

// Remove ends a fleet that was kept and removes all of it; ErrTaken while somebody uses it, ErrNotFound when there is none.
func Remove(ctx context.Context, name string) error {
	held, err := registry()
	if err != nil {
		return err
	}
	defer held.Close()
	own, err := take(name)
	if err != nil {
		return err
	}
	defer own.Close()
	return remove(ctx, name)
}

// remove ends a fleet and removes all of it. Its lock and the registry must be held.
func remove(ctx context.Context, name string) error {
	if err := end(ctx, name); err != nil {
		return err
	}
	return erase(name)
}

// end ends what runs of a fleet. Its lock must be held.
func end(ctx context.Context, name string) error {
	var pids []int
	for _, pid := range holding(fleetDir(name)) {
		pids = append(pids, pid)
	}
	if err := kill(ctx, pids, cgroupOf(name)); err != nil {
		return fmt.Errorf("ending fleet %s: %w", name, err)
	}
	// The kernel takes it away in its own time, as the other end was in the switch.
	if link, err := netlink.LinkByName(linkPrefix + name); err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("removing interface %s: %w", linkPrefix+name, err)
		}
	}
	_, _ = removeGroups("/" + cgroups) // unless other fleets are in it
	return nil
}

// erase removes what an ended fleet has on the disk. Its lock and the registry must be held.
func erase(name string) error {
	if err := os.RemoveAll(fleetDir(name)); err != nil {
		return fmt.Errorf("removing fleet %s: %w", name, err)
	}
	return nil
}

// Names lists the fleets that there are, in use or not.
func Names() ([]string, error) {
	all, err := known()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, s := range all {
		list = append(list, s.Name)
	}
	return list, nil
}
