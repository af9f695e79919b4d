package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	dir := fleetDir(name)
	own, err := lock(filepath.Join(dir, "lock"), false)
	if errors.Is(err, ErrTaken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer own.Close()
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
	if _, err := os.Stat(fleetDir(name)); err != nil || !names.MatchString(name) {
		return fmt.Errorf("fleet %q: %w", name, ErrNotFound)
	}
	own, err := lock(filepath.Join(fleetDir(name), "lock"), false)
	if err != nil {
		return fmt.Errorf("fleet %s: %w", name, err)
	}
	defer own.Close()
	return remove(ctx, name)
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
