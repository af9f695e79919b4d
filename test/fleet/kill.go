package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// cgroups is the parent of all control groups of fleets, in each hierarchy.
	cgroups = "huker-fleet"
)

func cgroupOf(fleet string) string { return "/" + cgroups + "/" + fleet }

// kill ends processes, and all that live in process namespaces below them: the kernel ends these when their first process ends. It waits until none runs
// any more, and takes the control groups that they were in away.
func kill(ctx context.Context, pids []int, cgroup string) error {
	all, err := inside(pids)
	if err != nil {
		return err
	}
	all = append(all, pids...)
	for _, p := range pids {
		if err := unix.Kill(p, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("killing process %d: %w", p, err)
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		// What was frozen (docker pause) dies when it is thawed.
		left, err := removeGroups(cgroup)
		if all = slices.DeleteFunc(all, dead); len(all) == 0 && !left {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("processes %v, or control groups in %s, stay: %w", all, cgroup, ctx.Err()), err)
		}
	}
}

// dead says whether a process has ended, with its files and connections closed. One that is only not waited for has, and so has one that waits, on its way
// out, for the processes that it was the first of: the last thing that either gives up are its namespaces.
func dead(pid int) bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err != nil
}

// inside lists the processes in the process namespaces of some first processes, and in namespaces below these: containers.
func inside(firsts []int) ([]int, error) {
	var wanted []uint64
	for _, p := range firsts {
		if id, err := namespaces(p, 1); err == nil {
			wanted = append(wanted, id...)
		}
	}
	own, err := namespaces(os.Getpid(), 1)
	if err != nil {
		return nil, err
	}
	var found []int
	for _, pid := range processes() {
		ids, err := namespaces(pid, 32)
		if err != nil || slices.Equal(ids[:1], own) {
			continue // it has ended, or is the machine's
		}
		if slices.ContainsFunc(ids, func(id uint64) bool { return slices.Contains(wanted, id) && id != own[0] }) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// namespaces identifies the process namespace of a process and those above it, as far as this process may know, depth at most.
func namespaces(pid, depth int) ([]uint64, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/pid", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		if err == nil {
			ids = append(ids, st.Ino)
		}
		if err != nil || len(ids) == depth {
			_ = unix.Close(fd)
			return ids, err
		}
		above, err := unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		_ = unix.Close(fd)
		if err != nil {
			return ids, nil //nolint:nilerr // the one above is not below ours: that is all
		}
		fd = above
	}
}

// processes lists all processes of the machine.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// holding finds the processes that run a script below dir: the first ones of its hosts, and the switch's. They are known by their command lines, which
// no other program has.
func holding(dir string) map[string]int {
	found := map[string]int{}
	for _, pid := range processes() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := strings.Split(string(data), "\x00")
		if len(args) > 2 && filepath.Base(args[0]) == "bash" && strings.HasPrefix(args[1], dir+"/") && strings.HasSuffix(args[1], ".sh") && !child(pid, args[1]) {
			found[args[1]] = pid
		}
	}
	return found
}

// child says whether a process is not the one that was started with its script, but one that bash has made from it.
func child(pid int, script string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	parent, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", field(data, "PPid:")))
	return err == nil && bytes.Contains(parent, []byte(script))
}

// field reads a number from lines of "Name: number".
func field(data []byte, name string) int64 {
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// removeGroups takes a control group away in all hierarchies, with those below it. left is whether there is any that cannot go yet.
func removeGroups(group string) (left bool, err error) {
	roots, err := filepath.Glob(cgroupRoot + "/*" + group)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, root := range append(roots, cgroupRoot+group) {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return fs.SkipDir // it has gone
			}
			if d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		errs = append(errs, err)
		for _, d := range slices.Backward(dirs) {
			thaw(d)
			if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
				left = true
				errs = append(errs, err)
			}
		}
	}
	return left, errors.Join(errs...)
}

func thaw(group string) {
	for file, on := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} { // versions 1 and 2
		if f, err := os.OpenFile(filepath.Join(group, file), os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString(on)
			_ = f.Close()
		}
	}
}
